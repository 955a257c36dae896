//! The time and the number of calls for one video, with the real state machine and functions: tables of
//! `BENCHMARKS.md`. Most are measured in virtual time, which does not depend on the machine.
//! `cargo run --release --bin bench -- pagination` prints them.

use std::time::Duration;

use rekognition_local::{Call, Fault};
use simulation::{Content, Kind, Ms, Run, SECOND, Scenario, Upload};
use tests::workflow::{ANY_VIDEO, Canned, Rig};

/// The duration of each call of `GetFaceDetection`.
const GET: Ms = 300;

/// The duration of the job, which is not part of what is measured.
const JOB: Ms = 60 * SECOND;

/// A quota, in calls a second, that is never reached.
const NO_QUOTA: f64 = 1e9;

/// The number of seeds that a time is the median of: SNS takes up to two seconds, which is much for a video of few
/// pages.
const SEEDS: u64 = 9;

/// The number of faces on a page. It has no influence on virtual time: only the number of pages matters.
const FACES_PER_PAGE: usize = 10;

/// Runs a scenario without faults: one video with this number of pages.
fn one_video(pages: usize, gets_per_second: f64, seed: u64) -> Run {
    let content = Content { id: 1, kind: Kind::Video, faces: FACES_PER_PAGE * pages, job_ms: JOB, failures: 0 };
    let uploads = vec![Upload { at: 0, key: "video.mp4".to_owned(), content, events: vec![0] }];
    let run = simulation::run(&Scenario {
        uploads,
        gets_per_second,
        get_ms: Some(GET),
        faces_per_page: FACES_PER_PAGE,
        ..Scenario::fault_free(seed)
    });
    assert_eq!(run.violations, Vec::<String>::new(), "with {pages} pages and seed {seed}");
    run
}

/// From the end of the job to the end of the execution: the completion message, the pages and the summary.
fn after_the_job(run: &Run) -> Ms {
    run.makespan - run.jobs[0].started - JOB
}

fn median(mut times: Vec<Ms>) -> Ms {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The number of lines of the trace that match.
fn count(run: &Run, matches: impl Fn(&str) -> bool) -> usize {
    run.trace.lines().filter(|line| matches(line)).count()
}

#[test]
#[ignore = "prints tables of BENCHMARKS.md"]
#[expect(clippy::cast_precision_loss, reason = "hours in milliseconds")]
fn pagination_at_300_ms_a_call() {
    println!(
        "| pages | chain limit, s | no rate quota, s | x limit | 20 a second, s | x limit | 5 a second, s | x limit |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for pages in [1, 10, 100, 1000] {
        let limit = pages as f64 * GET as f64 / 1e3;
        let cells = [NO_QUOTA, 20.0, 5.0].map(|quota| {
            let times = (0..SEEDS).map(|seed| after_the_job(&one_video(pages, quota, seed))).collect();
            let seconds = median(times) as f64 / 1e3;
            format!("{seconds:.1} | {:.2}", seconds / limit)
        });
        println!("| {pages} | {limit:.1} | {} |", cells.join(" | "));
    }
    println!();
}

/// The same on the local emulator, with the functions as processes, in real time. A page has one face here.
#[tokio::test]
#[ignore = "prints tables of BENCHMARKS.md"]
async fn pagination_on_the_emulator() {
    println!("| pages | chain limit, s | on the emulator, s | x limit |");
    println!("|---|---:|---:|---:|");
    for pages in [1_u32, 10, 100, 1000] {
        let detector = Canned::faces(usize::try_from(pages).expect("a thousand at most"));
        let rig = Rig::with(detector, |options| options.page_limit = 1).await;
        rig.workflow.rekognition.faults().inject(Fault::Slow { call: Call::Get, millis: GET, times: u32::MAX });
        let execution = rig.upload("video.mp4", ANY_VIDEO).await;
        let seconds = rig.time_after_the_callback(&execution.arn).await.as_secs_f64();
        let limit = Duration::from_millis(GET).as_secs_f64() * f64::from(pages);
        println!("| {pages} | {limit:.1} | {seconds:.1} | {:.2} |", seconds / limit);
    }
    println!();
}

#[test]
#[ignore = "prints tables of BENCHMARKS.md"]
#[expect(clippy::cast_precision_loss, reason = "a few thousand of each")]
fn calls_and_transitions_of_a_video() {
    println!(
        "| pages | states entered | Lambda invocations | StartFaceDetection | GetFaceDetection | S3 reads and lists | S3 writes | SendTask | Step Functions, $ |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    // Every scenario ends with another small video, which is not counted.
    let last = simulation::run(&Scenario { get_ms: Some(GET), ..Scenario::fault_free(1) });
    for pages in [1, 3, 100] {
        let run = one_video(pages, NO_QUOTA, 1);
        let calls = |names: &[&str]| {
            let of = |run: &Run| names.iter().filter_map(|name| run.calls.get(*name)).sum::<u64>();
            of(&run) - of(&last)
        };
        let invocations =
            count(&run, |line| line.ends_with(" begins")) - count(&last, |line| line.ends_with(" begins"));
        let states = run.transitions - last.transitions;
        println!(
            "| {pages} | {states} | {} | {} | {} | {} | {} | {} | {:.6} |",
            invocations,
            calls(&["StartFaceDetection"]),
            calls(&["GetFaceDetection"]),
            calls(&["GetObject", "HeadObject", "ListObjectsV2"]),
            calls(&["PutObject", "DeleteObject"]),
            calls(&["SendTaskSuccess", "SendTaskFailure", "SendTaskHeartbeat"]),
            states as f64 * 0.025 / 1e3,
        );
    }
    println!();
}

/// A thousand clips that are uploaded at the same time. The ideal makespan is the total time of the jobs over the slots, or the time
/// that the quotas of the account need for the calls (one `StartFaceDetection` and two `GetFaceDetection` for each clip) and then the
/// last job.
#[test]
#[ignore = "prints tables of BENCHMARKS.md"]
#[expect(clippy::cast_precision_loss, reason = "minutes in milliseconds")]
fn makespan_of_short_clips() {
    const CLIPS: Ms = 1000;
    println!("| job, s | slots | Get calls a second | ideal, s | makespan, s | x ideal |");
    println!("|---:|---:|---:|---:|---:|---:|");
    let cases = [(10, 20, 5.0), (20, 20, 5.0), (10, 100, 20.0), (20, 100, 20.0)];
    for (job_s, slots, gets_per_second) in cases {
        let job_ms = job_s * SECOND;
        let mut scenario = Scenario { slots, gets_per_second, ..Scenario::burst(1, CLIPS) };
        for upload in &mut scenario.uploads {
            upload.content.job_ms = job_ms;
        }
        let clips = CLIPS as f64;
        let calls = (clips / scenario.starts_per_second).max(2.0 * clips / gets_per_second);
        let ideal = (clips * job_s as f64 / slots as f64).max(calls + job_s as f64);
        let run = simulation::run(&scenario);
        assert_eq!(run.violations, Vec::<String>::new(), "with {slots} slots");
        let makespan = run.makespan as f64 / 1e3;
        println!("| {job_s} | {slots} | {gets_per_second} | {ideal:.0} | {makespan:.0} | {:.2} |", makespan / ideal);
    }
    println!();
}
