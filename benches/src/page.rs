//! Processor time and memory for pages of 1000 faces.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    BenchError,
    function::{Function, Program},
    packages::Packages,
    python::Python,
    report::{Goal, Report},
    samples::{Samples, ms},
    services::{Attributes, Services, job_id},
    table::{Name, Table},
};

/// The number of pages for the mean: the kernel reports processor time in steps of 10 ms.
const PAGES: u32 = 100;

/// The lengths, in pages, of the results whose peaks of memory are compared. The last one is [`PAGES`].
const LENGTHS: [usize; 3] = [1, 10, 100];

/// The number of rounds, each of all programs.
const ROUNDS: usize = 3;

/// A program with the attributes of its faces, and its measurements.
struct Pages<'a> {
    program: &'a Program,
    attributes: Attributes,
    /// The processor time of a page.
    page_ms: Samples,
    /// The peak memory for each of the lengths.
    peaks_mb: [Samples; LENGTHS.len()],
}

impl Pages<'_> {
    async fn measure(&mut self, services: &Services) -> Result<(), BenchError> {
        for (pages, peak) in LENGTHS.into_iter().zip(&mut self.peaks_mb) {
            let mut function = Function::start(self.program, services.url()).await?;
            call(self.program, &mut function, self.attributes, 1).await?;
            let warm = function.processor_time()?;
            call(self.program, &mut function, self.attributes, pages).await?;
            peak.push(function.peak_mb()?);
            if pages == LENGTHS[LENGTHS.len() - 1] {
                self.page_ms.push(ms(function.processor_time()?.saturating_sub(warm) / PAGES));
            }
            function.end().await?;
        }
        Ok(())
    }

    fn name(&self) -> String {
        format!("{}, {}", self.program.name, self.attributes.as_str())
    }
}

/// Adds the two tables and the goals.
pub async fn measure(packages: &Packages, python: &Python, report: &mut Report) -> Result<(), BenchError> {
    let services = Services::start(Duration::ZERO).await?;
    let [list, fetch, summarize] = ["list-pages", "fetch-page", "summarize"];
    let programs = [
        Program::packaged(packages, list)?,
        Program::packaged(packages, fetch)?,
        Program::packaged(packages, summarize)?,
        Program::peer(python),
    ];
    let mut measured = Attributes::EACH.map(|attributes| {
        programs.each_ref().map(|program| Pages {
            program,
            attributes,
            page_ms: Samples::default(),
            peaks_mb: Default::default(),
        })
    });
    for _ in 0..ROUNDS {
        for pages in measured.as_flattened_mut() {
            pages.measure(&services).await?;
        }
    }

    let headings = ["processor time a page, ms", list, fetch, summarize, "Python", "Python x"];
    let mut table = Table::new(Name::PageTime, &headings);
    let mut ratios = Vec::new();
    for programs in &measured {
        let attributes = programs[0].attributes.as_str();
        let [list, fetch, _, python] = programs.each_ref().map(|pages| &pages.page_ms);
        // Python does not summarize.
        let ratio = python.over(&list.plus(fetch));
        let times = programs.iter().map(|pages| pages.page_ms.show(1));
        let cells = [attributes.to_owned()].into_iter().chain(times).chain([ratio.show(1)]);
        table.row(&cells.collect::<Vec<_>>());
        ratios.push((attributes, ratio));
    }
    report.add(table);
    report.goal(Goal::at_least("processor time a page, times less than Python: at least 10", 10.0, 1, &ratios));

    let mut table = Table::new(Name::PageMemory, &["peak memory, MB", "1 page", "10 pages", "100 pages"]);
    for pages in measured.as_flattened() {
        let peaks = pages.peaks_mb.iter().map(|peak| peak.show(0));
        table.row(&[pages.name()].into_iter().chain(peaks).collect::<Vec<_>>());
    }
    report.add(table);
    let ours = measured.iter().flat_map(|programs| &programs[..3]);
    let peaks: Vec<_> = ours.map(|pages| (pages.name(), pages.peaks_mb[LENGTHS.len() - 1].clone())).collect();
    report.goal(Goal::at_most("peak memory for 100 pages, MB: at most 64", 64.0, 0, &peaks));
    Ok(())
}

/// Has a function process this number of pages: Python in one invocation, the functions as in the Map.
async fn call(
    program: &Program,
    function: &mut Function,
    attributes: Attributes,
    pages: usize,
) -> Result<(), BenchError> {
    let job_id = job_id(attributes, pages);
    match program.name {
        "list-pages" => {
            // One invocation for each window, as in the Map.
            let mut from = json!({ "index": 0 });
            loop {
                let request = json!({ "execution_name": "e", "job": job(&job_id), "from": from });
                let window = function.invoke(request).await?;
                match &window["next"] {
                    Value::Null => return expect(&window, "/listed", pages),
                    next => from = next.clone(),
                }
            }
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
