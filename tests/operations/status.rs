//! Tests of `facereel status`.

use std::time::{Duration, SystemTime};

use aws_sdk_sfn::{
    primitives::DateTime,
    types::{ExecutionStatus, HistoryEvent, HistoryEventType, StateEnteredEventDetails},
};
use clap::Parser as _;
use facereel::commands::status::{Overview, Status};
use facereel::deployed::{Deployed, Step, stage};
use facereel::terminal::exit::Report as _;
use lambdas::layout;
use local_stack::Silent;
use serde_json::json;
use tests::{
    schema::assert_report,
    workflow::{ANY_VIDEO, Canned, Gated, Rig},
};

use crate::step_functions::{Execution, MockStepFunctions, RESULTS_BUCKET, arn};

const HOUR: Duration = Duration::from_hours(1);

/// Parses the command line.
#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    status: Status,
}

async fn status(deployed: &Deployed, arguments: &[&str]) -> Overview {
    let command = Command::try_parse_from([&["status"], arguments].concat()).unwrap_or_else(|error| panic!("{error}"));
    let overview = command.status.run(deployed, &Silent).await.unwrap_or_else(|error| panic!("{error}"));
    assert_report("status-report", &overview.json());
    overview
}

/// The lines of the text, without the spaces that align them.
fn lines(overview: &Overview) -> Vec<String> {
    let text = overview.to_string();
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[track_caller]
fn assert_lines(overview: &Overview, expected: &[&str]) {
    let lines = lines(overview);
    for line in expected {
        assert!(lines.iter().any(|one| one == line), "{line} is not in:\n{overview}");
    }
}

/// A running execution that has entered this state `since` ago.
fn running_in(state: &str, age: Duration, since: Duration) -> Execution {
    let entered = HistoryEvent::builder()
        .id(1)
        .r#type(HistoryEventType::TaskStateEntered)
        .timestamp(DateTime::from(SystemTime::now() - since))
        .state_entered_event_details(StateEnteredEventDetails::builder().name(state).build().unwrap());
    Execution { history: vec![entered.build().unwrap()], ..Execution::running(age) }
}

fn queue(step_functions: &MockStepFunctions, names: &[&str]) {
    for (started_ms, name) in (1_764_000_000_000..).zip(names) {
        step_functions.put_object(RESULTS_BUCKET, &layout::queue_entry(started_ms, name, 0), b"{}");
    }
}

#[tokio::test]
async fn every_running_execution_has_its_video_its_place_and_its_times() {
    let step_functions = MockStepFunctions::with([
        ("a", running_in("StartDetection", 3 * HOUR, Duration::from_mins(179)).of("long/a.mp4")),
        ("b", running_in("StartDetection", 2 * HOUR, 2 * HOUR).of("b.mp4")),
        ("c", running_in("StartDetection", HOUR, HOUR).of("c.mp4")),
        ("d", running_in("InspectVideo", Duration::from_mins(2), Duration::from_mins(1)).of("d.mp4")),
        ("e", running_in("Summarize", 5 * HOUR, Duration::from_mins(20)).of("e.mp4")),
    ]);
    // An execution that was stopped keeps its entry until its turn comes.
    queue(&step_functions, &["stopped", "b", "c"]);
    let overview = status(&step_functions.deployed(), &[]).await;
    assert_lines(
        &overview,
        &[
            "Running 5, the oldest for 5 h; 2 wait for a job slot, the first for 2 h",
            "VIDEO WHERE SINCE RUNS FOR",
            "uploads/e.mp4 summarizing 20 min 5 h",
            "uploads/long/a.mp4 detecting faces 2 h 59 min 3 h",
            "uploads/b.mp4 waiting for a job slot, place 1 of 2 2 h 2 h",
            "uploads/c.mp4 waiting for a job slot, place 2 of 2 1 h 1 h",
            "uploads/d.mp4 inspecting the video 1 min 2 min",
            &format!(
                "https://eu-west-1.console.aws.amazon.com/states/home?region=eu-west-1#/v2/executions/details/{}",
                arn("b")
            ),
        ],
    );
    let json = overview.json();
    assert_eq!(json["running"]["count"], 5);
    let second = &json["running"]["executions"][2];
    assert_eq!(second["video"], json!({ "bucket": "uploads", "key": "b.mp4" }));
    assert_eq!(second["stage"]["stage"], "queued");
    assert_eq!((&second["stage"]["queue_place"], &second["stage"]["queue_length"]), (&json!(1), &json!(2)));
}

#[tokio::test]
async fn only_the_executions_that_run_longest_are_read_and_all_are_counted() {
    let step_functions = MockStepFunctions::default();
    for index in 0..30_u32 {
        let age = HOUR + Duration::from_mins(index.into());
        step_functions.put(&format!("run-{index}"), running_in("StartDetection", age, age).of(&format!("{index}.mp4")));
    }
    let overview = status(&step_functions.deployed(), &["--limit", "3"]).await;
    let shown: Vec<_> = overview.running_executions.iter().map(|one| one.execution.as_str()).collect();
    assert_eq!((overview.running, shown), (30, vec!["run-29", "run-28", "run-27"]));
    assert_lines(&overview, &["and 27 more"]);
    assert_eq!((step_functions.reads("describe"), step_functions.reads("history")), (3, 3));
}

#[tokio::test]
async fn failures_are_grouped_with_cause_remedy_and_an_example() {
    let ended = |execution: Execution, minutes: u64| Execution {
        stopped: Some(SystemTime::now() - Duration::from_mins(minutes)),
        ..execution
    };
    let denied = |key: &str| Execution {
        cause: Some(format!("start-detection may not call s3:GetObject\non s3://uploads/{key}")),
        ..Execution::failed("AccessDenied", 2 * HOUR).of(key)
    };
    let step_functions = MockStepFunctions::with([
        ("denied-old", ended(denied("old.mp4"), 40)),
        ("denied-new", ended(denied("new.mp4"), 5)),
        ("missing", ended(Execution::failed("VideoNotFound", 2 * HOUR).of("missing.mp4"), 30)),
    ]);
    let overview = status(&step_functions.deployed(), &[]).await;
    assert_lines(
        &overview,
        &[
            "Failed 3 in the last 1 day",
            "2 AccessDenied",
            "meaning a role lacks the permission that the cause names",
            "cause start-detection may not call s3:GetObject on s3://uploads/new.mp4",
            "remedy grant the permission, then replay",
            "newest uploads/new.mp4",
            "1 VideoNotFound",
            "remedy upload it again",
            "VIDEO FAILED WITH ENDED",
            "uploads/new.mp4 AccessDenied 5 min ago",
            "uploads/missing.mp4 VideoNotFound 30 min ago",
            "uploads/old.mp4 AccessDenied 40 min ago",
        ],
    );
    let json = overview.json();
    assert_eq!(json["failed"]["errors"][0]["count"], 2);
    assert_eq!(json["failed"]["errors"][0]["newest"]["error"], "AccessDenied");
    assert_eq!(json["failed"]["executions"][1]["video"]["key"], "missing.mp4");
}

#[tokio::test]
async fn ten_thousand_failures_are_counted_and_a_hundred_are_read() {
    let step_functions = MockStepFunctions::default();
    for index in 0..10_000 {
        let age = 2 * HOUR + Duration::from_millis(index);
        step_functions.put(&format!("failed-{index}"), Execution::failed("AccessDenied", age));
        // Executions that failed before cost nothing.
        let mut old = Execution::failed("AccessDenied", 40 * 24 * HOUR + Duration::from_millis(index));
        old.stopped = Some(SystemTime::now() - 39 * 24 * HOUR);
        step_functions.put(&format!("old-{index}"), old);
    }
    let overview = status(&step_functions.deployed(), &[]).await;
    assert_eq!((overview.failed, overview.errors_read, overview.failed_executions.len()), (10_000, 100, 20));
    assert_lines(
        &overview,
        &["Failed 10000 in the last 1 day; the errors of the newest 100 are", "100 AccessDenied", "and 9980 more"],
    );
    assert_eq!(step_functions.reads("describe"), 100);
    // 11 pages of failed ones, of which the last one is old, and one page of each other status.
    assert_eq!(step_functions.reads("list"), 15);
}

#[tokio::test]
async fn the_exit_status_of_a_check_says_whether_the_operator_is_needed() {
    let step_functions = MockStepFunctions::default();
    let deployed = step_functions.deployed();
    let check = async || {
        let overview = status(&deployed, &["--check"]).await;
        assert_eq!(status(&deployed, &[]).await.exit_status(), 0, "without --check");
        (overview.exit_status(), lines(&overview).into_iter().find(|line| line.starts_with("Check")).unwrap())
    };
    assert_eq!(check().await, (0, "Check all well".to_owned()));

    step_functions.put("busy", running_in("StartDetection", 11 * HOUR, HOUR));
    assert_eq!(check().await.0, 0);
    step_functions.put("stuck", running_in("StartDetection", 13 * HOUR, HOUR));
    assert_eq!(check().await, (1, "Check needs attention: 1 stuck".to_owned()));
    let patient = status(&deployed, &["--check", "--stuck-after", "1day"]).await;
    assert_eq!(patient.exit_status(), 0);

    step_functions.end_all(&ExecutionStatus::Succeeded, None);
    step_functions.set_undelivered(2);
    assert_eq!(check().await, (1, "Check needs attention: 4 undelivered".to_owned()));
    step_functions.set_undelivered(0);
    step_functions.put("expired", Execution::failed("PageTokenExpired", 2 * HOUR));
    assert_eq!(check().await, (1, "Check needs attention: 1 failed".to_owned()));

    // A failure that was replayed needs nothing.
    step_functions.put("expired-replay-1", Execution::running(Duration::from_mins(1)));
    assert_eq!(check().await.0, 0);
    step_functions.end_all(&ExecutionStatus::Succeeded, None);
    let replayed = status(&deployed, &["--check"]).await;
    assert_eq!((replayed.exit_status(), replayed.failed, replayed.replayed), (0, 0, 1));
    assert_lines(&replayed, &["Failed 0 in the last 1 day, and 1 already replayed"]);
}

#[tokio::test]
async fn a_redriven_execution_is_stuck_only_after_its_redrive() {
    let mut redriven = running_in("StartDetection", 13 * HOUR, HOUR).of("again.mp4");
    redriven.redriven = Some(SystemTime::now() - HOUR);
    let step_functions = MockStepFunctions::with([("redriven", redriven)]);
    let overview = status(&step_functions.deployed(), &["--check"]).await;
    assert_eq!((overview.exit_status(), overview.stuck), (0, 0));
    assert_lines(&overview, &["Running 1, the oldest for 1 h", "uploads/again.mp4 detecting faces 1 h 1 h (redriven)"]);
}

/// The listing of failed executions is older than their redrive.
#[tokio::test]
async fn an_execution_that_was_just_redriven_is_not_a_failure() {
    let step_functions = MockStepFunctions::with([("again", Execution::failed("AccessDenied", 2 * HOUR))]);
    step_functions.keep_listings();
    step_functions.put("again", Execution::running(2 * HOUR));
    let overview = status(&step_functions.deployed(), &["--check"]).await;
    assert_eq!((overview.failed, overview.replayed, overview.exit_status()), (0, 1, 0));
}

#[tokio::test]
async fn without_decrypt_the_names_of_executions_are_shown_with_the_reason() {
    let step_functions = MockStepFunctions::with([
        ("run", running_in("StartDetection", HOUR, HOUR)),
        ("queued", running_in("StartDetection", HOUR, HOUR)),
        ("fail", Execution::failed("AccessDenied", 2 * HOUR)),
    ]);
    queue(&step_functions, &["queued"]);
    step_functions.encrypt();
    let overview = status(&step_functions.deployed(), &[]).await;
    assert_lines(&overview, &["run running 1 h", "newest fail"]);
    assert_eq!(overview.to_string().matches("kms:Decrypt").count(), 1, "{overview}");
}

#[tokio::test]
async fn on_the_emulator_the_overview_shows_videos_stages_and_failures() {
    let (gate, detector) = Gated::before(Canned::faces(2));
    let rig = Rig::with(detector, |options| options.max_jobs = 1).await;
    let sqs = aws_sdk_sqs::Client::new(rig.workflow.emulator.aws());
    for queue in ["facereel-undelivered-uploads", "facereel-undelivered-completions"] {
        sqs.create_queue().queue_name(queue).send().await.unwrap();
    }
    let url = sqs.get_queue_url().queue_name("facereel-undelivered-completions").send().await.unwrap();
    sqs.send_message().set_queue_url(url.queue_url).message_body("{}").send().await.unwrap();

    let missing = json!({ "bucket": rig.workflow.stack.upload_bucket, "key": "missing.mp4" });
    for input in [&missing, &missing, &json!({ "bucket": "facereel-uploads" })] {
        rig.failure_of(&rig.workflow.executions.start(input).await.unwrap()).await;
    }
    let first = rig.upload("first.mp4", ANY_VIDEO).await;
    rig.until("the first job runs", async || rig.billed() == 1).await;
    let second = rig.upload("second.mp4", ANY_VIDEO).await;
    rig.until("the second waits", async || rig.workflow.rekognition.calls().start == 2).await;

    let deployed = Deployed::new(rig.workflow.emulator.aws(), rig.workflow.stack.state_machine_arn.parse().unwrap());
    let overview = status(&deployed, &["--since", "1h"]).await;
    let running: Vec<_> = overview
        .running_executions
        .iter()
        .map(|one| (one.video.as_ref().unwrap().key.as_str(), one.stage.unwrap().step))
        .collect();
    let queued = Step::Queued { queue_place: 1, queue_length: 1 };
    assert_eq!(stage::of(&deployed, &second.arn).await.unwrap().step, queued);
    assert_eq!(running, [("first.mp4", Step::Detecting), ("second.mp4", queued)]);
    let failed: Vec<_> =
        overview.errors.iter().map(|group| (group.newest.reason.error.as_str(), group.count)).collect();
    assert_eq!(failed, [("VideoNotFound", 2), ("InvalidInput", 1)]);
    assert_eq!((overview.undelivered_uploads, overview.undelivered_completions), (0, 1));
    let bucket = &rig.workflow.stack.upload_bucket;
    assert_lines(
        &overview,
        &[
            "Failed 3 in the last 1 h",
            &format!(
                "cause there is no object at s3://{bucket}/missing.mp4; upload it again, or correct bucket and key"
            ),
            "Undelivered 0 uploads, 1 completion; deliver them with `facereel replay --dead-letters`",
        ],
    );

    gate.open();
    for execution in [first, second] {
        rig.results_of(&execution.arn).await;
        assert_eq!(stage::of(&deployed, &execution.arn).await.unwrap().step, Step::Ended);
    }
    let overview = status(&deployed, &[]).await;
    assert_eq!((overview.running, overview.waiting), (0, 0));
}
