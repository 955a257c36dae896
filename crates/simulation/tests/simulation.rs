//! The workflow in virtual time: no fault breaks a rule, and a burst of uploads is processed in order and without idle
//! slots.
//!
//! `cargo test` runs fixed seeds only, so that its result is always the same. `scripts/search-seeds` searches for new
//! ones; `cargo run -p simulation -- replay 17` prints every event of one.

mod common;

use std::collections::BTreeMap;

use common::{assert_no_violation, count, repairs, upload, video};
use serde_json::json;
use simulation::{
    Batch, Content, FaultRates, HOUR, InjectedBug, Kind, Limits, MINUTE, Ms, Run, SECOND, Scenario,
    UnspecifiedBehaviour, Upload, Versioning, run,
};

/// The number of seeds that every test run covers, from 0: enough for every event of the required coverage.
const FIXED_SEEDS: u64 = 220;

/// The events that must occur in the fixed seeds: the seeds show nothing about an event that never occurs.
const REQUIRED_COVERAGE: &[&str] = &[
    "LimitExceeded",
    "ResourceNotFound",
    "InvalidPaginationToken",
    "callback too late",
    "heartbeat of a closed task",
    "job not visible yet",
    "backfill",
    "backfill iteration: StepFunctions.AWSStepFunctionsException",
    "backfill iteration: StepFunctions.SdkClientException",
    "backfill iteration: States.TaskFailed",
    "job of the second stack",
    "more than 20 queue entries",
    "token of a failed job forgotten",
    "dead letter",
    "deploy",
    "fault: aborted",
    "fault: answer lost",
    "fault: conflict",
    "fault: message early",
    "fault: message forged",
    "fault: message late",
    "fault: message lost",
    "fault: message twice",
    "fault: not invoked",
    "fault: refused",
    "fault: result lost",
    "fault: slow",
    "fault: throttled",
    "fault: InspectVideo killed",
    "fault: StartDetection killed",
    "fault: ResumeExecution killed",
    "fault: StartWaitingJobs killed",
    "fault: ListPages killed",
    "fault: FetchPage killed",
    "fault: Summarize killed",
    "fault: Lambda throttled by concurrency",
    "fault: KMS key denied",
    "HeadObject: 301 PermanentRedirect",
    "HeadObject: 400 InvalidBucketName",
    "HeadObject: 403 AccessDenied",
    "GetObject: 403 InvalidObjectState",
    "InspectVideo failed: AccessDenied",
    "InspectVideo failed: NotAVideo",
    "InspectVideo failed: VideoArchived",
    "InspectVideo failed: VideoEmpty",
    "InspectVideo failed: VideoNotFound",
    "InspectVideo failed: VideoTooLarge",
    "InspectVideo failed: VideoUnreadable",
    "StartDetection failed: JobFailed",
    "StartDetection failed: VideoReplaced",
    "StartDetection failed: VideoNotFound",
    "StartDetection failed: VideoTooLarge",
    "StartDetection failed: VideoUnreadable",
    "StartDetection failed: States.HeartbeatTimeout",
    "StartDetection failed: States.Timeout",
    "given up by the operator",
    "repair while others run",
    "redrive of InspectVideo",
    "redrive of StartDetection",
    "redrive of ReadPages",
    "redrive of Summarize",
    "new execution after InspectVideo",
    "new execution after StartDetection",
    "new execution after ReadPages",
    "new execution after Summarize",
];

#[test]
fn fixed_seeds_break_no_rule_and_reach_the_required_coverage() {
    let batch = Batch::run(0..FIXED_SEEDS, Limits::default());
    println!("coverage of {} seeds: {:#?}", batch.seeds, batch.coverage);
    println!(
        "callbacks of closed tasks that are left to expire: {}; longest history: {} events",
        batch.left_to_expire, batch.most_events
    );
    if let Some((seed, violations)) = batch.failures.first_key_value() {
        let seeds: Vec<_> = batch.failures.keys().collect();
        let trace = run(&Scenario::generate(*seed)).trace;
        panic!("{} seeds break the rules: {seeds:?}\nseed {seed}: {violations:#?}\nits trace:\n{trace}", seeds.len());
    }
    let missing: Vec<_> = REQUIRED_COVERAGE.iter().filter(|event| !batch.coverage.contains_key(**event)).collect();
    assert!(missing.is_empty(), "never occurred: {missing:?}");
}

#[test]
fn equal_seeds_have_equal_runs() {
    for seed in 0..8 {
        let (one, other) = (run(&Scenario::generate(seed)), run(&Scenario::generate(seed)));
        assert_eq!(one.hash, other.hash, "seed {seed}");
        assert!(one.trace.lines().count() > 5, "seed {seed} has no trace");
    }
    assert_ne!(run(&Scenario::generate(1)).hash, run(&Scenario::generate(2)).hash);
}

/// Each check finds the bug that it is written for.
mod injected_bug_is_found {
    use super::*;

    #[track_caller]
    fn assert_found(injected_bug: InjectedBug, scenario: Scenario, message: &str) {
        assert_no_violation(&run(&scenario));
        let run = run(&Scenario { injected_bug: Some(injected_bug), ..scenario });
        assert!(
            run.violations.iter().any(|violation| violation.contains(message)),
            "no {message:?} among {:#?}\n{}",
            run.violations,
            run.trace
        );
    }

    /// Two executions for each of three videos.
    fn scenario() -> Scenario {
        let uploads = (0..3).map(|id| Upload {
            events: vec![SECOND, 2 * MINUTE],
            ..upload(0, &format!("{id}.mp4"), video(id, 50, MINUTE))
        });
        Scenario { uploads: uploads.collect(), faces_per_page: 20, ..Scenario::fault_free(1) }
    }

    #[test]
    fn a_content_that_is_paid_twice() {
        // If the answer to Start is lost, Start is called again.
        let fault_rates = FaultRates { answer_lost: 0.3, ..FaultRates::default() };
        let uploads = (0..12).map(|id| upload(0, &format!("{id}.mp4"), video(id, 50, MINUTE))).collect();
        let scenario = Scenario { fault_rates, faults_end: 10 * MINUTE, uploads, ..scenario() };
        assert_found(InjectedBug::IgnoresClientRequestToken, scenario, "was paid twice");
    }

    #[test]
    fn a_success_that_is_reported_before_the_end_of_the_job() {
        // The second execution starts while the job of the first one runs, and asks for its status.
        let mut scenario = scenario();
        for upload in &mut scenario.uploads {
            upload.events = vec![SECOND, 30 * SECOND];
        }
        let message = "received a success that names a job that still runs";
        assert_found(InjectedBug::ReportsSuccessEarly, scenario, message);
    }

    #[test]
    fn an_execution_that_waits_forever() {
        let scenario = Scenario { uploads: vec![upload(0, "a.mp4", video(1, 5, MINUTE))], ..Scenario::fault_free(1) };
        assert_found(InjectedBug::NeverReportsCompletion, scenario, "waited forever");
    }

    #[test]
    fn a_truncated_page() {
        assert_found(InjectedBug::TruncatesPages, scenario(), "are not the 50 that Rekognition found");
    }

    #[test]
    fn a_page_that_changes_after_its_manifest_was_written() {
        assert_found(InjectedBug::RewritesPages, scenario(), "was changed after its manifest was written");
    }

    #[test]
    fn a_manifest_that_is_written_before_its_pages() {
        assert_found(InjectedBug::DelaysPages, scenario(), "was written before");
    }

    #[test]
    fn a_manifest_that_is_written_before_its_summary() {
        assert_found(InjectedBug::DelaysSummaries, scenario(), "was written before");
    }

    #[test]
    fn a_manifest_that_is_replaced_by_that_of_another_job() {
        assert_found(InjectedBug::ReplacesManifests, scenario(), "was replaced by the manifest of another job");
    }

    #[test]
    fn a_summary_with_another_number() {
        assert_found(InjectedBug::ChangesSummaries, scenario(), "its summary is");
    }

    #[test]
    fn a_callback_that_is_not_removed() {
        assert_found(InjectedBug::KeepsCallbacks, scenario(), "was not removed");
    }

    #[test]
    fn an_error_with_an_unexpected_name() {
        assert_found(InjectedBug::FailsWithUnknownError, scenario(), "failed with the unexpected error");
    }

    #[test]
    fn callbacks_that_are_stored_after_their_jobs_have_started() {
        let scenario = Scenario { uploads: vec![upload(0, "a.mp4", video(1, 5, MINUTE))], ..Scenario::fault_free(1) };
        assert_found(InjectedBug::StoresCallbacksLate, scenario, "waited forever");
    }

    #[test]
    fn an_execution_that_is_resumed_only_by_its_heartbeat() {
        let scenario = Scenario { uploads: vec![upload(0, "a.mp4", video(1, 5, MINUTE))], ..Scenario::fault_free(1) };
        assert_found(InjectedBug::LosesMessages, scenario, "comes long after the end of its job");
    }
}

/// Bugs that were found once.
mod regressions {
    use super::*;

    /// A video whose job fails after `job_ms`, and an account with one slot.
    fn failing(seed: u64, job_ms: Ms) -> Scenario {
        let content = Content { kind: Kind::UnknownCodec, ..video(1, 0, job_ms) };
        let unspecified = UnspecifiedBehaviour { limit_before_idempotency: true, ..UnspecifiedBehaviour::default() };
        Scenario {
            uploads: vec![upload(0, "failing.mp4", content)],
            unspecified,
            slots: 1,
            ..Scenario::fault_free(seed)
        }
    }

    #[track_caller]
    fn assert_paid_once(scenario: &Scenario) {
        let run = run(scenario);
        assert_no_violation(&run);
        assert_eq!(run.jobs.iter().filter(|job| job.key == "failing.mp4").count(), 1, "{}", run.trace);
    }

    #[test]
    fn a_failing_job_that_outlasts_heartbeats_is_paid_once() {
        // Each heartbeat left a callback with the token of a closed task. Sending a failure to it counted as notifying
        // the execution, so each attempt of the task started the next attempt of the job: up to 20 jobs for one broken
        // video.
        for job_ms in [14 * MINUTE, 20 * MINUTE, 45 * MINUTE, 2 * HOUR] {
            assert_paid_once(&failing(1, job_ms));
        }
    }

    #[test]
    fn a_failing_job_whose_message_is_lost_is_paid_once() {
        for seed in 0..5 {
            let fault_rates = FaultRates { message_lost: 1.0, ..FaultRates::default() };
            assert_paid_once(&Scenario { fault_rates, faults_end: 24 * HOUR, ..failing(seed, 5 * MINUTE) });
        }
    }

    #[test]
    fn a_failing_job_is_paid_once_if_its_message_and_its_queue_entry_are_processed_at_the_same_time() {
        // After a missed heartbeat the queue entry waits for a slot. Another upload made a function process the entry
        // just as the message notified the execution. The failure counted as notified through the entry, and a second
        // job was started that no execution waited for.
        for seed in 0..100 {
            let mut scenario = failing(seed, 20 * MINUTE);
            let after = 20 * MINUTE + SECOND + seed * 25;
            scenario.uploads.push(upload(after, "other.mp4", video(2, 5, MINUTE)));
            assert_paid_once(&scenario);
        }
    }

    #[test]
    fn a_failing_job_is_paid_once_if_its_callback_is_lost() {
        for seed in 0..100 {
            let fault_rates = FaultRates { message_lost: 1.0, result_lost: 0.5, killed: 0.3, ..FaultRates::default() };
            let unspecified =
                UnspecifiedBehaviour { callback_waits_for_function: true, ..UnspecifiedBehaviour::default() };
            assert_no_violation(&run(&Scenario {
                fault_rates,
                unspecified,
                faults_end: 6 * HOUR,
                ..failing(seed, 20 * MINUTE)
            }));
        }
    }

    #[test]
    fn a_lease_that_ends_in_the_far_future_blocks_no_execution() {
        let lease = r#"{"owner":"unknown","until_ms":17990532005000}"#;
        let foreign_objects = vec![("queue/lease".to_owned(), lease.to_owned())];
        assert_no_violation(&run(&Scenario {
            uploads: vec![upload(0, "a.mp4", video(1, 5, MINUTE))],
            foreign_objects,
            ..Scenario::fault_free(1)
        }));
    }

    #[test]
    fn a_video_that_is_overwritten_while_it_waits_for_a_slot_leaves_no_callback() {
        // Found by seed 3731: after a missed heartbeat the execution sees the new content and makes a queue entry for
        // it. The callback for the old content stayed, for a job that no function would ever start, until it expired.
        let uploads = vec![
            upload(0, "first.mp4", video(1, 5, 20 * MINUTE)),
            upload(MINUTE, "second.mp4", video(2, 5, MINUTE)),
            upload(5 * MINUTE, "second.mp4", video(3, 5, MINUTE)),
        ];
        assert_no_violation(&run(&Scenario { uploads, slots: 1, ..Scenario::fault_free(1) }));
    }

    #[test]
    fn a_video_that_is_overwritten_in_a_bucket_with_suspended_versioning_has_a_separate_job() {
        // Both uploads have the version id `null`. With the version id in the idempotency key, both had the same job,
        // and the second video had the faces of the first one.
        let uploads = vec![upload(0, "a.mp4", video(1, 5, MINUTE)), upload(10 * MINUTE, "a.mp4", video(2, 7, MINUTE))];
        let run = run(&Scenario { uploads, versioning: Versioning::Suspended, ..Scenario::fault_free(1) });
        assert_no_violation(&run);
        let keys: Vec<_> = run.jobs.iter().filter(|job| job.key == "a.mp4").map(|job| &job.idempotency_key).collect();
        assert!(matches!(keys[..], [first, second] if first != second), "{keys:?}\n{}", run.trace);
    }

    #[test]
    fn a_video_waits_for_its_slot_for_days_with_either_error_name_of_a_missed_heartbeat() {
        // The last of six videos waits 30 hours and misses ten heartbeats. Reported as States.Timeout, they used up the
        // eight retries that are meant for failed calls.
        for heartbeat_is_timeout in [false, true] {
            let uploads = (0..6).map(|id| upload(id * MINUTE, &format!("{id}.mp4"), video(id, 5, 6 * HOUR)));
            let unspecified = UnspecifiedBehaviour { heartbeat_is_timeout, ..UnspecifiedBehaviour::default() };
            let run = run(&Scenario { uploads: uploads.collect(), unspecified, slots: 1, ..Scenario::fault_free(1) });
            assert_no_violation(&run);
            assert_eq!(repairs(&run), 0, "{:?}\n{}", run.coverage, run.trace);
        }
    }

    #[test]
    fn a_job_that_becomes_visible_seconds_after_its_start_is_paid_once() {
        // GetFaceDetection answered ResourceNotFound right after Start. The functions took that for expired results and
        // started the next job of the content, and so on: up to twenty for one video.
        let unspecified = UnspecifiedBehaviour { jobs_visible_late: true, ..UnspecifiedBehaviour::default() };
        // Some end before they are visible.
        let uploads = (0..5).map(|id| upload(id * HOUR, &format!("{id}.mp4"), video(id, 5, SECOND << (2 * id))));
        for seed in 0..5 {
            let run = run(&Scenario { uploads: uploads.clone().collect(), unspecified, ..Scenario::fault_free(seed) });
            assert_no_violation(&run);
            assert!(run.coverage.contains_key("job not visible yet"), "{:?}", run.coverage);
            // And the video that every scenario ends with.
            assert_eq!(run.jobs.len(), 5 + 1, "{}", run.trace);
        }
    }

    #[test]
    fn no_job_is_started_for_an_execution_that_was_stopped_while_it_waited() {
        // Nothing reports that an execution was stopped. Its queue entry was started when its turn came, and billed.
        let uploads: Vec<_> = (0..5).map(|id| upload(0, &format!("{id}.mp4"), video(id, 5, 20 * MINUTE))).collect();
        let mut stopped = 0;
        for seed in 0..5 {
            let aborts = (1..4).map(|minute| minute * MINUTE).collect();
            let run = run(&Scenario {
                uploads: uploads.clone(),
                aborts,
                slots: 1,
                operator_waits: vec![30 * HOUR],
                ..Scenario::fault_free(seed)
            });
            assert_no_violation(&run);
            stopped += count(&run, "heartbeat of a closed task");
        }
        assert!(stopped > 0, "no execution was stopped while it waited");
    }

    #[test]
    fn a_valid_entry_under_another_key_is_removed() {
        // An entry was deleted by the key that its content gives. Under any other key it was listed forever, and every
        // invocation looked at it again and again.
        let entry = json!({
            "execution_name": "unknown",
            "task_attempt": 0,
            "started_ms": 1,
            "entered_ms": 1,
            "job": {
                "video": {"bucket": "uploads", "key": "unknown.mp4", "etag": "e", "bytes": 5},
                "face_attributes": "DEFAULT",
                "topic_arn": "topic",
                "role_arn": "role",
                "attempt": 0
            }
        });
        let foreign_objects = vec![("queue/entries/0000000000000-other".to_owned(), entry.to_string())];
        let uploads = vec![upload(0, "a.mp4", video(1, 5, MINUTE))];
        assert_no_violation(&run(&Scenario { uploads, foreign_objects, ..Scenario::fault_free(1) }));
    }

    #[test]
    fn one_video_without_faults() {
        let run =
            run(&Scenario { uploads: vec![upload(0, "a.mp4", video(1, 2500, MINUTE))], ..Scenario::fault_free(1) });
        assert_no_violation(&run);
        // The video, and the one that every scenario ends with.
        assert_eq!((run.jobs.len(), run.executions.len()), (2, 2));
        // 3 pages in 2 windows: InspectVideo 5, StartDetection 6, ReadPages 4 each, an iteration 9 (3 fetch and 1 lists),
        // MorePages? 2 each, Summarize 5, start and end.
        assert_eq!(run.most_events, 5 + 6 + 2 * (4 + 2) + 4 * 9 + 5 + 2);
    }
}

/// What AWS bills for a video besides the job: state transitions, invocations and calls of S3.
#[test]
fn the_cost_of_one_video() {
    let one = |faces| {
        let uploads = vec![upload(0, "a.mp4", video(1, faces, MINUTE))];
        run(&Scenario { uploads, gets_per_second: 20.0, ..Scenario::fault_free(1) })
    };
    // Every scenario ends with one more video, of one page.
    let none = run(&Scenario::fault_free(1));
    let (small, large) = (one(1000), one(3000));
    for run in [&small, &large] {
        assert_no_violation(run);
        let calls = run.calls.iter().map(|(name, count)| (name, count - none.calls.get(name).copied().unwrap_or(0)));
        println!("{} state transitions, {:?}", run.transitions - none.transitions, calls.collect::<Vec<_>>());
    }
    assert_eq!(small.transitions, 2 * none.transitions);
    // Two pages more: two iterations of the Map that fetch, one that lists, each of two states, and another round.
    assert_eq!(large.transitions, small.transitions + 3 * 2 + 2);
    for operation in ["StartFaceDetection", "SendTaskSuccess"] {
        assert_eq!((none.calls[operation], large.calls[operation]), (1, 2), "{operation}");
    }
    // Each page is read once to list it and once to fetch it.
    assert_eq!(large.calls["GetFaceDetection"], small.calls["GetFaceDetection"] + 2 * 2);
}

/// The largest video that Rekognition accepts: 6 hours, 100 faces a frame, 2 frames a second.
#[test]
fn the_largest_video_stays_within_the_limits() {
    let pages = 6 * 3600 * 2 * 100 / 1000;
    // A page has 10 faces here: only the number of pages matters.
    let scenario = Scenario {
        uploads: vec![upload(0, "largest.mp4", video(1, pages * 10, 6 * HOUR))],
        faces_per_page: 10,
        traced: false,
        ..Scenario::fault_free(1)
    };
    let run = run(&scenario);
    println!("{pages} pages: {} events, {} bytes, {} s", run.most_events, run.largest_payload, run.makespan / SECOND);
    assert_no_violation(&run);
    assert!(run.most_events < 25_000 && run.largest_payload <= 262_144);
    // Redrives append to the same history: a quarter of it must be left for them and for retries.
    assert!(run.most_events < 18_750, "{} events", run.most_events);
}

/// Twenty results of a hundred pages are ready at the same time, and four thousand calls have a quota of five a second:
/// that takes time, but no execution fails.
#[test]
fn many_large_results_at_the_same_time_wait_for_their_pages() {
    let uploads = (0..20).map(|id| upload(0, &format!("{id}.mp4"), video(id, 1000, HOUR)));
    let scenario =
        Scenario { uploads: uploads.collect(), faces_per_page: 10, traced: false, ..Scenario::fault_free(1) };
    let run = run(&scenario);
    println!("{} s; {} events; {:?}", (run.makespan - HOUR) / SECOND, run.most_events, run.coverage);
    assert_no_violation(&run);
    assert_eq!(repairs(&run), 0, "{:?}", run.coverage);
    assert!(run.most_events < 18_750 / 10, "{} events for a hundred pages", run.most_events);
}

mod a_burst {
    use super::*;

    struct Figures {
        /// The makespan over the ideal one: the jobs' total time over the slots.
        ratio: f64,
        /// The longest time by which a job was started after a job that was behind it in the queue.
        overtaken: Ms,
        run: Run,
    }

    #[expect(clippy::cast_precision_loss, reason = "milliseconds of days")]
    fn figures(scenario: &Scenario) -> Figures {
        let run = run(scenario);
        assert_no_violation(&run);
        let work: Ms = scenario.uploads.iter().map(|upload| upload.content.job_ms).sum();
        let ideal = work / scenario.slots as Ms;
        let starts: BTreeMap<_, _> = run.jobs.iter().map(|job| (job.key.as_str(), job.started)).collect();
        let (mut latest, mut overtaken) = (0, 0);
        // Keys are in the order of arrival.
        for started in starts.values() {
            overtaken = overtaken.max(Ms::saturating_sub(latest, *started));
            latest = latest.max(*started);
        }
        let ratio = run.makespan as f64 / ideal as f64;
        let rate = |counts: &BTreeMap<String, u64>, event: &str| {
            counts.get(event).copied().unwrap_or_default() as f64 / (run.makespan / SECOND) as f64
        };
        println!(
            "{} videos: makespan {} s, ideal {} s, ratio {ratio:.3}; overtaken by {} s at most; {:.2} Start/s ({:.2} throttled), {:.2} Get/s ({:.2} throttled)",
            scenario.uploads.len(),
            run.makespan / SECOND,
            ideal / SECOND,
            overtaken / SECOND,
            rate(&run.calls, "StartFaceDetection"),
            rate(&run.coverage, "fault: Start throttled by its rate"),
            rate(&run.calls, "GetFaceDetection"),
            rate(&run.coverage, "fault: Get throttled by its rate"),
        );
        Figures { ratio, overtaken, run }
    }

    fn assert_in_order_without_idle_slots(figures: &Figures) {
        // First come, first served: no video is overtaken by more than the longest job.
        assert!(figures.overtaken <= 5 * MINUTE, "overtaken by {} ms", figures.overtaken);
        assert!(figures.ratio < 1.1, "a slot was idle: {}", figures.ratio);
        assert_eq!(figures.run.jobs.len(), figures.run.executions.len(), "one job and one execution for each video");
        assert_eq!(count(&figures.run, "fault: Start throttled by its rate"), 0);
        // Pages of several videos may be read in the same second: the SDK retries these calls.
        let gets = figures.run.calls["GetFaceDetection"];
        assert!(count(&figures.run, "fault: Get throttled by its rate") * 100 < gets, "{:?}", figures.run.coverage);
    }

    #[test]
    fn of_a_thousand_videos_is_processed_in_order_without_idle_slots() {
        assert_in_order_without_idle_slots(&figures(&Scenario::burst(1, 1000)));
    }

    #[test]
    #[ignore = "takes minutes; `cargo test --workspace --test simulation ten_thousand -- --ignored --nocapture`"]
    fn of_ten_thousand_videos_is_processed_in_order_without_idle_slots() {
        assert_in_order_without_idle_slots(&figures(&Scenario::burst(1, 10_000)));
    }
}

/// Each fault alone, at a high rate: no rule is broken, and no fault is hidden by another one.
mod a_single_fault {
    use super::*;

    #[track_caller]
    fn assert_no_rule_is_broken(fault_rates: FaultRates) {
        for seed in 0..10 {
            let mut uploads: Vec<_> =
                (0..3).map(|id| upload(id * MINUTE, &format!("{id}.mp4"), video(id, 100, 5 * MINUTE))).collect();
            // Jobs that fail, and run longer than a heartbeat interval.
            let failing = Content { kind: Kind::UnknownCodec, ..video(3, 0, 40 * MINUTE) };
            uploads.push(upload(MINUTE, "unknown codec.mp4", failing));
            uploads.push(upload(MINUTE, "fails once.mp4", Content { failures: 1, ..video(4, 10, 20 * MINUTE) }));
            let scenario = Scenario {
                uploads,
                fault_rates,
                faults_end: 6 * HOUR,
                faces_per_page: 30,
                slots: 2,
                ..Scenario::fault_free(seed)
            };
            let run = run(&scenario);
            assert!(run.violations.is_empty(), "seed {seed}: {:#?}\n{}", run.violations, run.trace);
        }
    }

    macro_rules! faults {
        ($($name:ident: $chance:literal,)*) => {
            $(#[test]
                        fn $name() {
                assert_no_rule_is_broken(FaultRates { $name: $chance, ..FaultRates::default() });
            })*
        };
    }
    faults! {
        outage: 0.3,
        refused: 0.4,
        throttled: 0.5,
        answer_lost: 0.4,
        slow: 0.1,
        killed: 0.6,
        not_invoked: 0.5,
        result_lost: 0.5,
        message_lost: 1.0,
        message_late: 1.0,
        message_early: 1.0,
        message_twice: 1.0,
    }
}
