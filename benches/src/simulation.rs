//! The time and the number of calls for a video and for many clips, with the real state machine and functions, in virtual time.

use std::{collections::BTreeMap, thread};

use simulation::{Content, Kind, Ms, Run, SECOND, Scenario, Upload};

use crate::{
    BenchError,
    pagination::{LATENCY_MS, LENGTHS, limit},
    report::{Goal, Report},
    samples::Samples,
    table::{Name, Table},
};

/// The duration of the job, which is not part of what is measured.
const JOB: Ms = 60 * SECOND;

/// The quotas of `GetFaceDetection`, in calls a second. The first one is never reached.
const QUOTAS: [(&str, f64); 3] = [("no rate quota", 1e9), ("20 a second", 20.0), ("5 a second", 5.0)];

/// The position, among the numbers of pages, of the one with a goal: 100.
const GOAL: usize = 2;

/// The number of seeds. SNS takes up to two seconds, which is much for a video of few pages.
const SEEDS: u64 = 9;

/// The number of faces on a page. It has no influence on virtual time: only the number of pages matters.
const FACES_PER_PAGE: usize = 10;

/// The number of short clips.
const CLIPS: u32 = 1000;

/// The short clips: the seconds of a job, the job slots, and the quota of `GetFaceDetection`.
const BURSTS: [(u32, u32, f64); 4] = [(10, 20, 5.0), (20, 20, 5.0), (10, 100, 20.0), (20, 100, 20.0)];

/// The price of a state transition in USD (<https://aws.amazon.com/step-functions/pricing/>).
const STATE_USD: f64 = 0.025 / 1e3;

/// Adds the three tables and the goals.
pub async fn measure(report: &mut Report) -> Result<(), BenchError> {
    // The simulation has a runtime with its own clock, so it needs another thread.
    let measured = tokio::task::spawn_blocking(|| Ok((pagination()?, short_clips()?, calls()?)));
    let measured: Result<_, BenchError> = measured.await.map_err(|error| BenchError::Failed(error.to_string()))?;
    let (pagination, short_clips, calls) = measured?;

    let mut headings = vec!["pages".to_owned(), "chain limit, s".to_owned()];
    headings.extend(QUOTAS.iter().flat_map(|(quota, _)| [format!("{quota}, s"), "x limit".to_owned()]));
    let headings: Vec<_> = headings.iter().map(String::as_str).collect();
    let mut table = Table::new(Name::PaginationInVirtualTime, &headings);
    for (pages, times) in &pagination {
        let limit = limit(*pages);
        let figures = times.each_ref().map(|times| [times.show(1), times.divided_by(limit).show(2)]);
        table.row(&[&[pages.to_string(), format!("{limit:.1}")], figures.as_flattened()].concat());
    }
    report.add(table);
    report.add(short_clips);
    report.add(calls);

    let (pages, times) = &pagination[GOAL];
    let ratios: Vec<_> =
        QUOTAS.iter().zip(times).map(|((quota, _), times)| (*quota, times.divided_by(limit(*pages)))).collect();
    let (reachable, slow) = ratios.split_at(2);
    report.goal(Goal::at_most("100 pages, x the chain of 300 ms calls: at most 1.08", 1.08, 2, reachable));
    report.goal(Goal::at_most("the same, where the quota alone makes it 1.33: at most 1.08", 1.08, 2, slow));
    Ok(())
}

/// For each number of pages and each quota, the seconds from the end of the job to the end of the execution.
#[expect(clippy::cast_precision_loss, reason = "hours in milliseconds")]
fn pagination() -> Result<Vec<(u32, [Samples; QUOTAS.len()])>, BenchError> {
    let mut measured = Vec::new();
    for pages in LENGTHS {
        let mut times = <[Samples; QUOTAS.len()]>::default();
        for ((_, quota), times) in QUOTAS.iter().zip(&mut times) {
            *times = with_each_seed(|seed| {
                let run = one_video(pages as usize, *quota, seed)?;
                Ok((run.makespan - run.jobs[0].started - JOB) as f64 / 1e3)
            })?;
        }
        measured.push((pages, times));
    }
    Ok(measured)
}

/// A thousand clips that are uploaded at the same time. The ideal makespan is the total time of the jobs over the slots, or the time
/// that the quotas of the account need for the calls (one `StartFaceDetection` and two `GetFaceDetection` for each clip) and then the
/// last job.
#[expect(clippy::cast_precision_loss, reason = "minutes in milliseconds")]
fn short_clips() -> Result<Table, BenchError> {
    let headings = ["job, s", "slots", "Get calls a second", "ideal, s", "makespan, s", "x ideal"];
    let mut table = Table::with_texts(Name::ShortClips, &headings, &[]);
    for (job_s, slots, gets_per_second) in BURSTS {
        let scenario =
            |seed| Scenario { slots: slots as usize, gets_per_second, ..Scenario::burst(seed, CLIPS.into()) };
        let (clips, job) = (f64::from(CLIPS), f64::from(job_s));
        let calls = (clips / scenario(0).starts_per_second).max(2.0 * clips / gets_per_second);
        let ideal = (clips * job / f64::from(slots)).max(calls + job);
        let makespans = with_each_seed(|seed| {
            let mut scenario = scenario(seed);
            for upload in &mut scenario.uploads {
                upload.content.job_ms = Ms::from(job_s) * SECOND;
            }
            Ok(run(&scenario)?.makespan as f64 / 1e3)
        })?;
        table.row(&[
            job_s.to_string(),
            slots.to_string(),
            gets_per_second.to_string(),
            format!("{ideal:.0}"),
            makespans.show(0),
            makespans.divided_by(ideal).show(2),
        ]);
    }
    Ok(table)
}

/// The calls and the states for a video without faults and without a quota.
fn calls() -> Result<Table, BenchError> {
    let mut table = Table::new(
        Name::Calls,
        &[
            "pages",
            "states entered",
            "Lambda invocations",
            "StartFaceDetection",
            "GetFaceDetection",
            "S3 reads and lists",
            "S3 writes",
            "SendTask",
            "Step Functions, $",
        ],
    );
    // Every scenario ends with another small video, which is not counted.
    let last = run(&Scenario { get_ms: Some(LATENCY_MS.into()), ..Scenario::fault_free(1) })?;
    for pages in [1, 3, 100] {
        let video = one_video(pages, QUOTAS[0].1, 1)?;
        let calls = |names: &[&str]| sum(&video.calls, names) - sum(&last.calls, names);
        let invocations = |run: &Run| run.trace.lines().filter(|line| line.ends_with(" begins")).count() as u64;
        let states = video.transitions - last.transitions;
        let counts = [
            states,
            invocations(&video) - invocations(&last),
            calls(&["StartFaceDetection"]),
            calls(&["GetFaceDetection"]),
            calls(&["GetObject", "HeadObject", "ListObjectsV2"]),
            calls(&["PutObject", "DeleteObject"]),
            calls(&["SendTaskSuccess", "SendTaskFailure", "SendTaskHeartbeat"]),
        ];
        #[expect(clippy::cast_precision_loss, reason = "some hundred states")]
        let price = format!("{:.6}", states as f64 * STATE_USD);
        table.row(&[&[pages.to_string()], &counts.map(|count| count.to_string())[..], &[price]].concat());
    }
    Ok(table)
}

fn sum(calls: &BTreeMap<String, u64>, names: &[&str]) -> u64 {
    names.iter().filter_map(|name| calls.get(*name)).sum()
}

/// A scenario without faults: one video with this number of pages.
fn one_video(pages: usize, gets_per_second: f64, seed: u64) -> Result<Run, BenchError> {
    let content = Content { id: 1, kind: Kind::Video, faces: FACES_PER_PAGE * pages, job_ms: JOB, failures: 0 };
    run(&Scenario {
        uploads: vec![Upload { at: 0, key: "video.mp4".to_owned(), content, events: vec![0] }],
        gets_per_second,
        get_ms: Some(LATENCY_MS.into()),
        faces_per_page: FACES_PER_PAGE,
        ..Scenario::fault_free(seed)
    })
}

/// Measures with each seed, at the same time: virtual time does not depend on what else runs.
fn with_each_seed(measure: impl Fn(u64) -> Result<f64, BenchError> + Sync) -> Result<Samples, BenchError> {
    let measure = &measure;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..SEEDS).map(|seed| scope.spawn(move || measure(seed))).collect();
        threads.into_iter().map(|thread| thread.join().expect("the scenario is simulated")).collect()
    })
}

/// Runs a scenario in which no rule may be broken.
fn run(scenario: &Scenario) -> Result<Run, BenchError> {
    let run = simulation::run(scenario);
    if run.violations.is_empty() { Ok(run) } else { Err(BenchError::Failed(run.violations.join("; "))) }
}
