//! The time for all pages of a result when each call of Rekognition takes 300 ms.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    BenchError,
    function::{Function, Program},
    python::Python,
    run_to_end,
    services::{Attributes, Services, job_id},
    table::{Table, times},
};

/// The latency of each call of `GetFaceDetection`.
const LATENCY: Duration = Duration::from_millis(300);

/// Prints the table of the Python loop, then runs the tests that print the tables of the state machine.
pub async fn measure(root: &Path, python: &Python) -> Result<(), BenchError> {
    let services = Services::start(LATENCY).await?;
    let peer = Program::peer(python);
    let mut table = Table::new(&["pages", "chain limit, s", "Python loop, s", "x limit"]);
    for pages in [1_u32, 10, 100, 1000] {
        let mut function = Function::start(&peer, services.url()).await?;
        let job_id = job_id(Attributes::Default, usize::try_from(pages).unwrap_or_default());
        let begun = Instant::now();
        function.invoke(json!({ "job_id": job_id, "bucket": "results", "key": "faces.json" })).await?;
        let (taken, limit) = (begun.elapsed(), LATENCY * pages);
        let seconds = |duration: Duration| format!("{:.1}", duration.as_secs_f64());
        table.row(&[pages.to_string(), seconds(limit), seconds(taken), times(taken, limit)]);
    }
    println!("{table}");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut simulation = Command::new(cargo);
    simulation.current_dir(root).args(["test", "--quiet", "--locked", "--workspace", "--test", "measures"]);
    run_to_end(simulation.args(["--", "--ignored", "--nocapture", "--test-threads", "1"]))
}
