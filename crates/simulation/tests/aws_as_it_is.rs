//! What AWS does and an idealised model does not: slots that others take and free, objects that change, small accounts,
//! answers without a body.

mod common;

use common::{assert_no_violation, count, repairs, upload, video};
use serde_json::json;
use simulation::{
    Content, DAY, DeniedKey, FaultRates, HOUR, Kind, MINUTE, OtherWorkload, Run, SECOND, Scenario, SecondStack,
    UnspecifiedBehaviour, Upload, Versioning, run,
};

#[test]
fn a_new_account_with_ten_concurrent_functions_is_slow_and_no_execution_fails() {
    // Lambda refused most of the invocations. Eight retries that are shared with other errors ended within minutes.
    for seed in 0..3 {
        let uploads = (0..25).map(|id| upload(0, &format!("{id}.mp4"), video(id, 40, 2 * MINUTE)));
        let run = run(&Scenario {
            uploads: uploads.collect(),
            concurrency: 10,
            faces_per_page: 2,
            ..Scenario::fault_free(seed)
        });
        assert_no_violation(&run);
        assert!(count(&run, "fault: Lambda throttled by concurrency") > 0, "{:?}", run.coverage);
        assert_eq!(repairs(&run), 0, "{:?}\n{}", run.coverage, run.trace);
    }
}

#[test]
fn an_execution_whose_key_is_denied_does_not_fail_the_function_that_starts_jobs() {
    // The function that held the lease asked whether the first execution of the queue waits, and failed with the answer.
    // The execution behind the first one waited until the event was delivered again.
    let uploads = (0..4).map(|id| upload(id * SECOND, &format!("{id}.mp4"), video(id, 5, 10 * MINUTE)));
    let denied_key = DeniedKey { execution: "event-1_0".to_owned(), from: 10 * MINUTE + SECOND, until: 14 * MINUTE };
    let run = run(&Scenario {
        uploads: uploads.collect(),
        denied_key: Some(denied_key),
        slots: 1,
        ..Scenario::fault_free(1)
    });
    assert_no_violation(&run);
    assert!(count(&run, "fault: KMS key denied") > 0, "{:?}", run.coverage);
    assert_eq!((count(&run, "dead letter"), repairs(&run)), (0, 0), "{:?}\n{}", run.coverage, run.trace);
    let next = &run.jobs[1];
    let waited = next.started - (run.jobs[0].started + 10 * MINUTE);
    assert!(next.key == "2.mp4" && waited < 10 * SECOND, "{next:?} after {waited} ms\n{}", run.trace);
}

#[test]
fn slots_that_other_workloads_free_are_used_within_minutes() {
    // No message reports that another workload has freed a slot: the first execution waited for its heartbeat.
    for seed in 0..3 {
        let uploads = (0..3).map(|id| upload(MINUTE, &format!("{id}.mp4"), video(id, 5, 2 * MINUTE)));
        let workload = OtherWorkload { from: 0, until: 3 * MINUTE, slots: 2 };
        let run = run(&Scenario {
            uploads: uploads.collect(),
            other_workloads: vec![workload],
            slots: 2,
            ..Scenario::fault_free(seed)
        });
        assert_no_violation(&run);
    }
}

#[test]
fn slots_that_a_second_stack_frees_are_used_within_minutes() {
    for seed in 0..3 {
        let uploads = (0..4).map(|id| upload(MINUTE, &format!("{id}.mp4"), video(id, 5, 2 * MINUTE)));
        let run = run(&Scenario {
            uploads: uploads.collect(),
            second_stack: Some(SecondStack { from: 0, jobs: 2, job_ms: 10 * MINUTE }),
            slots: 1,
            ..Scenario::fault_free(seed)
        });
        assert_no_violation(&run);
    }
}

#[test]
fn a_slot_that_is_free_only_after_the_message_of_its_job_is_used_within_minutes() {
    for seed in 0..5 {
        let uploads = (0..3).map(|id| upload(MINUTE, &format!("{id}.mp4"), video(id, 5, 2 * MINUTE)));
        let unspecified = UnspecifiedBehaviour { slots_free_late: true, ..UnspecifiedBehaviour::default() };
        let run = run(&Scenario { uploads: uploads.collect(), unspecified, slots: 1, ..Scenario::fault_free(seed) });
        assert_no_violation(&run);
    }
}

/// The number of jobs that were paid for a video.
fn jobs(run: &Run, key: &str) -> usize {
    run.jobs.iter().filter(|job| job.key == key).count()
}

/// A video that changes while its execution waits: found by seed 11082685031583095905.
mod a_video_that_changes {
    use super::*;

    /// A job that takes longer than the first heartbeats.
    fn scenario(seed: u64) -> Scenario {
        Scenario { uploads: vec![upload(0, "a.mp4", video(1, 40, HOUR))], ..Scenario::fault_free(seed) }
    }

    #[test]
    fn keeps_its_result_if_it_is_deleted_during_its_job() {
        // After a missed heartbeat the function inspected the object again and did not find it. The execution failed, and
        // the result that was paid for was lost.
        for versioning in [Versioning::Disabled, Versioning::Enabled] {
            let deletions = vec![(10 * MINUTE, "a.mp4".to_owned())];
            let run = run(&Scenario { deletions, versioning, ..scenario(1) });
            assert_no_violation(&run);
            assert_eq!((jobs(&run, "a.mp4"), repairs(&run)), (1, 0), "{}", run.trace);
            assert_eq!(run.executions[0].error, "", "{}", run.trace);
        }
    }

    #[test]
    fn keeps_its_result_if_it_is_overwritten_during_its_job() {
        // After a missed heartbeat the execution changed over to the new content, and the result of the first one, which was
        // paid for, was lost.
        let mut scenario = scenario(1);
        scenario.uploads.push(upload(10 * MINUTE, "a.mp4", video(2, 30, MINUTE)));
        let run = run(&scenario);
        assert_no_violation(&run);
        assert_eq!((jobs(&run, "a.mp4"), repairs(&run)), (2, 0), "{}", run.trace);
        let errors: Vec<_> = run.executions.iter().map(|end| end.error.as_str()).collect();
        assert_eq!(errors, ["", "", ""], "{}", run.trace);
    }

    #[test]
    fn is_not_paid_for_if_it_is_overwritten_before_its_job() {
        // Rekognition read the new content, and the result had the name of the first one.
        let uploads = vec![
            upload(0, "first.mp4", video(1, 5, 10 * MINUTE)),
            upload(MINUTE, "second.mp4", video(2, 5, MINUTE)),
            upload(5 * MINUTE, "second.mp4", video(3, 7, MINUTE)),
        ];
        let run = run(&Scenario { uploads, slots: 1, ..Scenario::fault_free(1) });
        assert_no_violation(&run);
        let errors: Vec<_> = run.executions.iter().map(|end| end.error.as_str()).collect();
        assert_eq!(errors, ["", "VideoReplaced", "", ""], "{}", run.trace);
        assert_eq!(jobs(&run, "second.mp4"), 1, "{}", run.trace);
    }
}

#[test]
fn a_version_that_a_person_did_not_name_is_analysed_although_a_newer_one_is_uploaded() {
    let uploads = vec![
        upload(0, "first.mp4", video(1, 5, 10 * MINUTE)),
        Upload { events: Vec::new(), ..upload(0, "second.mp4", video(2, 5, MINUTE)) },
        upload(5 * MINUTE, "second.mp4", video(3, 7, MINUTE)),
    ];
    let manual = vec![(MINUTE, json!({ "bucket": "uploads", "key": "second.mp4" }))];
    let versioning = Versioning::Enabled;
    let run = run(&Scenario { uploads, manual, versioning, slots: 1, ..Scenario::fault_free(1) });
    assert_no_violation(&run);
    assert_eq!(jobs(&run, "second.mp4"), 2, "{}", run.trace);
}

#[test]
fn a_storm_of_pages_fails_no_execution() {
    // A status call was throttled through the retries of the SDK, and its execution failed while its job ran.
    let large = (0..12).map(|id| upload(0, &format!("large-{id}.mp4"), video(id, 100, 5 * MINUTE)));
    let small =
        (0..10).map(|id| upload(5 * MINUTE + id * SECOND, &format!("small-{id}.mp4"), video(20 + id, 1, MINUTE)));
    let run = run(&Scenario { uploads: large.chain(small).collect(), faces_per_page: 1, ..Scenario::fault_free(1) });
    assert_no_violation(&run);
    assert!(count(&run, "fault: Get throttled by its rate") > 0, "{:?}", run.coverage);
    assert_eq!(repairs(&run), 0, "{:?}", run.coverage);
}

/// A job whose results or whose start Rekognition has forgotten.
mod a_forgotten_job {
    use super::*;

    #[test]
    fn does_not_write_among_the_pages_of_the_first_analysis() {
        // The second job had the idempotency key of the first one, and so its folder.
        for again in [8 * DAY, 20 * DAY] {
            let uploads = vec![upload(0, "a.mp4", video(1, 40, MINUTE))];
            let manual = vec![(again, json!({ "bucket": "uploads", "key": "a.mp4" }))];
            let run = run(&Scenario { uploads, manual, faces_per_page: 10, ..Scenario::fault_free(1) });
            assert_no_violation(&run);
            assert_eq!(jobs(&run, "a.mp4"), 2, "{}", run.trace);
        }
    }

    #[test]
    fn is_not_paid_twice_if_it_has_failed() {
        // The message of the job is lost. Start with the token of the failed job, which looks for the job, starts another.
        for seed in 0..5 {
            let failing = Content { kind: Kind::UnknownCodec, ..video(1, 0, 5 * MINUTE) };
            let unspecified = UnspecifiedBehaviour { failed_tokens_forgotten: true, ..UnspecifiedBehaviour::default() };
            let run = run(&Scenario {
                uploads: vec![upload(0, "a.mp4", failing)],
                fault_rates: FaultRates { message_lost: 1.0, ..FaultRates::default() },
                faults_end: DAY,
                unspecified,
                ..Scenario::fault_free(seed)
            });
            assert_no_violation(&run);
            assert_eq!(jobs(&run, "a.mp4"), 1, "{}", run.trace);
        }
    }

    #[test]
    fn keeps_its_result_if_the_object_is_gone_when_start_reads_it_again() {
        let unspecified = UnspecifiedBehaviour { object_before_idempotency: true, ..UnspecifiedBehaviour::default() };
        let run = run(&Scenario {
            uploads: vec![upload(0, "a.mp4", video(1, 40, 20 * MINUTE))],
            deletions: vec![(MINUTE, "a.mp4".to_owned())],
            fault_rates: FaultRates { message_lost: 1.0, ..FaultRates::default() },
            faults_end: DAY,
            unspecified,
            ..Scenario::fault_free(1)
        });
        assert_no_violation(&run);
        assert_eq!((jobs(&run, "a.mp4"), repairs(&run)), (1, 0), "{}", run.trace);
    }
}

#[test]
fn a_second_delivery_of_an_event_after_a_failure_is_not_paid() {
    // The second execution entered after the failure and counted as a request for another job.
    let failing = Content { kind: Kind::UnknownCodec, ..video(1, 0, 5 * MINUTE) };
    let uploads = vec![Upload { events: vec![SECOND, 30 * MINUTE], ..upload(0, "a.mp4", failing) }];
    let run = run(&Scenario { uploads, ..Scenario::fault_free(1) });
    assert_no_violation(&run);
    assert_eq!(jobs(&run, "a.mp4"), 1, "{}", run.trace);
    let errors: Vec<_> = run.executions.iter().map(|end| end.error.as_str()).collect();
    assert_eq!(errors, ["JobFailed", "JobFailed", ""], "{}", run.trace);
}

#[test]
fn a_second_start_after_a_failure_is_paid() {
    // A person who starts an execution again wants another job, and a new execution for it.
    let failing = Content { kind: Kind::UnknownCodec, ..video(1, 0, 5 * MINUTE) };
    let manual = vec![(30 * MINUTE, json!({ "bucket": "uploads", "key": "a.mp4" }))];
    let uploads = vec![upload(0, "a.mp4", failing)];
    let run = run(&Scenario { uploads, manual, ..Scenario::fault_free(1) });
    assert_no_violation(&run);
    assert_eq!(jobs(&run, "a.mp4"), 2, "{}", run.trace);
}

/// A queue that is longer than one invocation can start.
mod a_long_queue {
    use super::*;

    #[test]
    fn is_started_at_the_rate_of_the_quota() {
        // The calls before a Start and the pause after it added up: 1 to 2.3 calls a second instead of 5.
        let uploads = (0..100).map(|id| upload(0, &format!("{id:03}.mp4"), video(id, 1, 5 * MINUTE)));
        let run = run(&Scenario { uploads: uploads.collect(), slots: 100, traced: false, ..Scenario::fault_free(1) });
        assert_no_violation(&run);
        let took = run.jobs[99].started - run.jobs[0].started;
        println!("100 jobs in {took} ms");
        // The quota allows five a second.
        assert!(took < 30 * SECOND, "{took} ms");
        assert_eq!(count(&run, "fault: Start throttled by its rate"), 0, "{:?}", run.coverage);
    }

    #[test]
    fn ends_no_function_at_its_timeout() {
        // One invocation started every job. Lambda ended it at its timeout, and the lease and the entry remained.
        let uploads = (0..100).map(|id| upload(0, &format!("{id:03}.mp4"), video(id, 0, 2 * HOUR)));
        let (slots, starts_per_second) = (100, 0.2);
        let uploads = uploads.collect();
        let run = run(&Scenario { uploads, slots, starts_per_second, traced: false, ..Scenario::fault_free(1) });
        assert_no_violation(&run);
        let killed = run.coverage.keys().filter(|event| event.ends_with(" killed"));
        assert_eq!(killed.collect::<Vec<_>>(), Vec::<&String>::new());
        assert_eq!((count(&run, "dead letter"), repairs(&run)), (0, 0), "{:?}", run.coverage);
    }
}

#[test]
fn an_older_attempt_of_a_task_removes_nothing_of_a_newer_one() {
    // The result of an invocation was lost, and the next attempt of the task met the slow first one. That one removed every
    // other callback of the execution, and so the only one that could resume it.
    for seed in 0..20 {
        let uploads = (0..3).map(|id| upload(id * MINUTE, &format!("{id}.mp4"), video(id, 5, 5 * MINUTE)));
        let run = run(&Scenario {
            uploads: uploads.collect(),
            fault_rates: FaultRates { result_lost: 0.5, slow: 0.2, ..FaultRates::default() },
            faults_end: HOUR,
            slots: 1,
            ..Scenario::fault_free(seed)
        });
        assert_no_violation(&run);
    }
}

#[test]
fn a_redrive_and_a_replacement_after_a_failure_are_paid() {
    for seed in 0..6 {
        let uploads = (0..3).map(|id| Content { failures: 1, ..video(id, 5, MINUTE) });
        let uploads = uploads.enumerate().map(|(id, content)| upload(0, &format!("{id}.mp4"), content));
        let run = run(&Scenario { uploads: uploads.collect(), ..Scenario::fault_free(seed) });
        assert_no_violation(&run);
        assert_eq!((run.jobs.len(), repairs(&run)), (2 * 3 + 1, 3), "{}", run.trace);
    }
}

#[test]
fn the_first_heartbeat_repairs_a_lost_message() {
    for seed in 0..3 {
        let run = run(&Scenario {
            uploads: vec![upload(0, "a.mp4", video(1, 5, 5 * MINUTE))],
            fault_rates: FaultRates { message_lost: 1.0, ..FaultRates::default() },
            faults_end: DAY,
            ..Scenario::fault_free(seed)
        });
        assert_no_violation(&run);
        assert!(run.executions[0].ended < 17 * MINUTE, "{:?}", run.executions);
    }
}

#[test]
fn a_freed_slot_is_used_at_the_message_of_its_job() {
    // Long before the schedule looks at the queue.
    let uploads = (0..4).map(|id| upload(0, &format!("{id}.mp4"), video(id, 5, 20 * SECOND)));
    let run = run(&Scenario { uploads: uploads.collect(), slots: 1, ..Scenario::fault_free(1) });
    assert_no_violation(&run);
    for (earlier, later) in run.jobs.iter().zip(&run.jobs[1..4]) {
        let idle = later.started - (earlier.started + 20 * SECOND);
        assert!(idle < 10 * SECOND, "{idle} ms before {later:?}\n{}", run.trace);
    }
}

#[test]
fn a_video_of_more_pages_than_one_window_is_complete() {
    let uploads = vec![upload(0, "a.mp4", video(1, 250, MINUTE))];
    let run = run(&Scenario { uploads, faces_per_page: 1, gets_per_second: 20.0, ..Scenario::fault_free(1) });
    assert_no_violation(&run);
}

#[test]
fn a_callback_that_is_refused_keeps_no_other_execution_waiting() {
    // Two executions for one content, the first of which cannot be resumed for some minutes.
    let uploads = vec![Upload { events: vec![SECOND, 2 * SECOND], ..upload(0, "a.mp4", video(1, 5, 5 * MINUTE)) }];
    let denied_key = DeniedKey { execution: "event-0_0".to_owned(), from: MINUTE, until: 9 * MINUTE };
    let run = run(&Scenario { uploads, denied_key: Some(denied_key), ..Scenario::fault_free(1) });
    assert_no_violation(&run);
    assert!(count(&run, "fault: KMS key denied") > 0, "{:?}", run.coverage);
    assert!(run.executions[1].ended < 6 * MINUTE, "{:?}", run.executions);
}

#[test]
fn a_long_reason_of_rekognition_is_cut() {
    let content = Content { kind: Kind::Verbose, ..video(1, 0, MINUTE) };
    let run = run(&Scenario { uploads: vec![upload(0, "a.mp4", content)], ..Scenario::fault_free(1) });
    assert_no_violation(&run);
    let end = &run.executions[0];
    assert_eq!((end.error.as_str(), end.cause.chars().count()), ("JobFailed", 32_768));
}

#[test]
fn an_execution_that_was_stopped_during_its_job_makes_no_dead_letter() {
    // Nothing can be sent to its task any more, and that is not an error.
    let uploads = vec![upload(0, "a.mp4", video(1, 5, 10 * MINUTE))];
    let (aborts, operator_waits) = (vec![5 * MINUTE], vec![30 * HOUR]);
    let run = run(&Scenario { uploads, aborts, operator_waits, ..Scenario::fault_free(1) });
    assert_no_violation(&run);
    assert!(count(&run, "callback too late") > 0, "{:?}", run.coverage);
    assert_eq!(count(&run, "dead letter"), 0, "{}", run.trace);
}

#[test]
fn a_slot_that_is_freed_seconds_after_its_job_is_used_within_seconds() {
    // Start was refused with the message of the job, and the slot stayed idle until the schedule.
    let idle = |seed| {
        let uploads = (0..2).map(|id| upload(0, &format!("{id}.mp4"), video(id, 5, 30 * SECOND)));
        let unspecified = UnspecifiedBehaviour { slots_free_late: true, ..UnspecifiedBehaviour::default() };
        let run = run(&Scenario { uploads: uploads.collect(), unspecified, slots: 1, ..Scenario::fault_free(seed) });
        assert_no_violation(&run);
        run.jobs[1].started - (run.jobs[0].started + 30 * SECOND)
    };
    // The slot is free up to a minute after its job, and tried for a quarter of it.
    let idle: Vec<_> = (0..10).map(idle).collect();
    assert!(idle.iter().any(|idle| (5 * SECOND..15 * SECOND).contains(idle)), "{idle:?}");
}

#[test]
fn the_attempts_of_a_task_are_numbered_over_its_heartbeats_and_redrives() {
    // What an attempt stores has its number in the key, and a later attempt removes what has a smaller number.
    let uploads = vec![upload(0, "a.mp4", Content { failures: 1, ..video(1, 5, HOUR) })];
    let redriven = (0..10).map(|seed| run(&Scenario { uploads: uploads.clone(), ..Scenario::fault_free(seed) }));
    let run = redriven.into_iter().find(|run| count(run, "redrive of StartDetection") > 0).expect("a redrive");
    assert_no_violation(&run);
    for attempt in ["000000", "000001", "001000", "001001"] {
        let stored = format!("/event-0_0/{attempt}-");
        assert!(run.trace.contains(&stored), "no {stored}\n{}", run.trace);
    }
}
