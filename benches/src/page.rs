//! Processor time and memory for pages of 1000 faces.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    BenchError,
    function::{Function, Program},
    packages::Packages,
    python::Python,
    services::{Attributes, Services, job_id},
    table::{Table, ms},
};

/// The number of pages for the mean: the kernel reports processor time in steps of 10 ms.
const PAGES: u32 = 100;

/// The lengths, in pages, of the results whose peaks of memory are compared.
const LENGTHS: [usize; 3] = [1, 10, 100];

/// Prints the two tables.
pub async fn measure(packages: &Packages, python: &Python) -> Result<(), BenchError> {
    let services = Services::start(Duration::ZERO).await?;
    let list = Program::packaged(packages, "list-pages")?;
    let fetch = Program::packaged(packages, "fetch-page")?;
    let summarize = Program::packaged(packages, "summarize")?;
    let peer = Program::peer(python);
    let mut time =
        Table::new(&["processor time a page, ms", "list-pages", "fetch-page", "summarize", "Python", "Python x"]);
    let mut memory = Table::new(&["peak memory, MB", "1 page", "10 pages", "100 pages"]);
    for attributes in Attributes::EACH {
        let mut times = Vec::new();
        for program in [&list, &fetch, &summarize, &peer] {
            let mut peaks = vec![format!("{}, {}", program.name, attributes.as_str())];
            for pages in LENGTHS {
                let mut function = Function::start(program, services.url()).await?;
                call(program, &mut function, attributes, 1).await?;
                let warm = function.processor_time()?;
                call(program, &mut function, attributes, pages).await?;
                peaks.push(format!("{:.0}", function.peak_mb()?));
                if pages == LENGTHS[LENGTHS.len() - 1] {
                    times.push(function.processor_time()?.saturating_sub(warm) / PAGES);
                }
            }
            memory.row(&peaks);
        }
        // Python does not summarize.
        let ratio = times[3].as_secs_f64() / (times[0] + times[1]).as_secs_f64();
        let cells = times.iter().map(|time| ms(*time));
        let cells = [attributes.as_str().to_owned()].into_iter().chain(cells).chain([format!("{ratio:.1}")]);
        time.row(&cells.collect::<Vec<_>>());
    }
    println!("{time}\n{memory}");
    Ok(())
}

/// Has a function process this number of pages: Python and list-pages in one invocation, fetch-page in one invocation per page,
/// as in the Map.
async fn call(
    program: &Program,
    function: &mut Function,
    attributes: Attributes,
    pages: usize,
) -> Result<(), BenchError> {
    let job_id = job_id(attributes, pages);
    match program.name {
        "list-pages" => {
            let window =
                function.invoke(json!({ "execution_name": "e", "job": job(&job_id), "from": { "index": 0 } })).await?;
            expect(&window, "/listed", pages)
        }
        "fetch-page" => {
            for index in 0..pages {
                let token = (index > 0).then(|| index.to_string());
                let batch = json!({ "index": index, "token": token, "pages": 1 });
                let request = json!({ "execution_name": "e", "job": job(&job_id), "batch": batch });
                let fetched = function.invoke(request).await?;
                expect(&fetched, "/faces", 1000)?;
            }
            Ok(())
        }
        "summarize" => {
            let event = json!({ "job": job(&job_id), "pages": pages, "execution_arn": "arn" });
            expect(&function.invoke(event).await?, "/faces", 1000 * pages)
        }
        _ => {
            let event = json!({ "job_id": job_id, "bucket": "results", "key": "faces.json" });
            expect(&function.invoke(event).await?, "/faces", 1000 * pages)
        }
    }
}

/// Checks that the measured work was done.
fn expect(answer: &Value, pointer: &str, count: usize) -> Result<(), BenchError> {
    if answer.pointer(pointer) == Some(&json!(count)) { Ok(()) } else { Err(BenchError::Failed(answer.to_string())) }
}

/// A finished job, as the state machine passes it.
pub fn job(job_id: &str) -> Value {
    json!({
        "job_id": job_id, "idempotency_key": "0".repeat(64), "attempt": 0, "face_attributes": "DEFAULT",
        "video": { "bucket": "uploads", "key": job_id, "etag": "0", "bytes": 1 },
        "metadata": {},
    })
}
