//! A backfill: the real definition starts an execution for each video that was uploaded before the deployment.

mod common;

use common::{assert_no_violation, count, repairs, upload, video};
use simulation::{Backfill, Content, FaultRates, HOUR, Kind, MINUTE, Scenario, Upload, run};

/// Videos without events, and a backfill of them.
fn scenario(seed: u64, at_once: usize) -> Scenario {
    let uploads =
        (0..9).map(|id| Upload { events: Vec::new(), ..upload(0, &format!("{id}.mp4"), video(id, 5, MINUTE)) });
    let backfill = Some(Backfill { at: MINUTE, at_once });
    Scenario { uploads: uploads.collect(), backfill, ..Scenario::fault_free(seed) }
}

#[test]
fn analyses_every_video_and_only_some_at_the_same_time() {
    for at_once in [1, 3, 40] {
        let run = run(&scenario(1, at_once));
        assert_no_violation(&run);
        assert_eq!((count(&run, "backfill"), repairs(&run)), (1, 0), "{:?}", run.coverage);
        // The videos, and the one that every scenario ends with.
        assert_eq!((run.jobs.len(), run.executions.len()), (9 + 1, 9 + 1));
        let starts: Vec<_> = run.jobs.iter().take(9).map(|job| job.started).collect();
        let together = starts.iter().filter(|start| **start < starts[0] + MINUTE).count();
        assert_eq!(together, at_once.min(9), "{starts:?}");
    }
}

#[test]
fn a_video_that_cannot_be_analysed_does_not_stop_the_others() {
    let mut scenario = scenario(1, 2);
    for (index, kind) in [(1, Kind::Text), (3, Kind::UnknownCodec), (4, Kind::Archived)] {
        scenario.uploads[index].content = Content { kind, ..scenario.uploads[index].content.clone() };
    }
    let run = run(&scenario);
    assert_no_violation(&run);
    assert_eq!(count(&run, "backfill iteration: States.TaskFailed"), 3, "{:?}", run.coverage);
    let errors: Vec<_> =
        run.executions.iter().map(|end| end.error.as_str()).filter(|error| !error.is_empty()).collect();
    assert_eq!(errors, ["NotAVideo", "JobFailed", "VideoArchived"]);
}

#[test]
fn a_start_whose_answer_is_lost_starts_one_execution() {
    let mut lost = 0;
    for seed in 0..5 {
        let fault_rates = FaultRates { result_lost: 0.3, ..FaultRates::default() };
        let run = run(&Scenario { fault_rates, faults_end: 12 * HOUR, ..scenario(seed, 3) });
        assert_no_violation(&run);
        lost += count(&run, "backfill iteration: StepFunctions.SdkClientException");
        assert_eq!(run.jobs.len(), 9 + 1, "{:?}", run.jobs);
        assert!(run.trace.contains("the backfill ends; 0 of 9 iterations have failed"), "{}", run.trace);
    }
    assert!(lost > 0, "no answer was lost");
}
