//! The time for all pages of a result when each call of Rekognition takes 300 ms, in real time.

use std::time::{Duration, Instant};

use rekognition_local::{Call, Fault};
use serde_json::json;
use tests::workflow::{ANY_VIDEO, Canned, Rig};

use crate::{
    BenchError,
    function::{Function, Program},
    python::Python,
    report::Report,
    samples::Samples,
    services::{Attributes, Services, job_id},
    table::{Name, Table},
};

/// The latency of each call of `GetFaceDetection`, in milliseconds.
pub const LATENCY_MS: u32 = 300;

/// The numbers of pages. In real time, 1000 pages take seven minutes and are not part of `bench all`.
pub const LENGTHS: [u32; 4] = [1, 10, 100, 1000];
/// Those of `bench all` in real time.
pub const SHORT: [u32; 3] = [1, 10, 100];

/// The number of rounds, each of three runs of both programs at the same time: they mostly wait for a call.
fn rounds(pages: u32) -> usize {
    if pages >= 1000 { 1 } else { 2 }
}

/// The least time for this number of pages, in seconds: a page's token comes only from the page before it.
pub fn limit(pages: u32) -> f64 {
    f64::from(LATENCY_MS) * f64::from(pages) / 1e3
}

/// Adds the table, with a row for each number of pages.
pub async fn measure(lengths: &[u32], python: &Python, report: &mut Report) -> Result<(), BenchError> {
    let services = Services::start(Duration::from_millis(LATENCY_MS.into())).await?;
    let peer = Program::peer(python);
    let headings = ["pages", "chain limit, s", "Python loop, s", "x limit", "on the emulator, s", "x limit"];
    let mut table = Table::new(Name::Pagination, &headings);
    for pages in lengths.iter().copied() {
        let (mut loops, mut walks) = (Vec::new(), Vec::new());
        for _ in 0..rounds(pages) {
            let python = || python_loop(&peer, &services, pages);
            let walk = async || Ok::<_, BenchError>(walk(pages).await);
            let measured = tokio::try_join!(python(), python(), python(), walk(), walk(), walk())?;
            loops.extend([measured.0, measured.1, measured.2]);
            walks.extend([measured.3, measured.4, measured.5]);
        }
        let limit = limit(pages);
        let cells =
            [loops, walks].map(Samples::from_iter).map(|times| [times.show(1), times.divided_by(limit).show(2)]);
        table.row(&[&[pages.to_string(), format!("{limit:.1}")], cells.as_flattened()].concat());
    }
    report.add(table);
    Ok(())
}

/// The time of the Python loop, in seconds.
async fn python_loop(peer: &Program, services: &Services, pages: u32) -> Result<f64, BenchError> {
    let mut function = Function::start(peer, services.url()).await?;
    let job_id = job_id(Attributes::Default, usize::try_from(pages).unwrap_or_default());
    let began = Instant::now();
    function.invoke(json!({ "job_id": job_id, "bucket": "results", "key": "faces.json" })).await?;
    let seconds = began.elapsed().as_secs_f64();
    function.end().await?;
    Ok(seconds)
}

/// The time of the state machine and the functions on the emulator, from the callback to the end, in seconds. A page has one face.
async fn walk(pages: u32) -> f64 {
    let detector = Canned::faces(usize::try_from(pages).unwrap_or_default());
    let rig = Rig::with(detector, |options| options.page_limit = 1).await;
    let slow = Fault::Slow { call: Call::Get, millis: LATENCY_MS.into(), times: u32::MAX };
    rig.workflow.rekognition.faults().inject(slow);
    let execution = rig.upload("video.mp4", ANY_VIDEO).await;
    rig.time_after_the_callback(&execution.arn).await.as_secs_f64()
}
