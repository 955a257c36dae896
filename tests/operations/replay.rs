//! Tests of `facereel replay`.

use std::{
    future::pending,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use aws_sdk_sfn::{
    primitives::DateTime,
    types::{ExecutionStatus, HistoryEvent, HistoryEventType, StateEnteredEventDetails, StateExitedEventDetails},
};
use clap::Parser;
use face_detection::{Analysis, AnalyzeError, Continue, Detector};
use facereel::commands::replay::{Replay, ReplayOutcome, ReplayReport, Strategy};
use facereel::deployed::{Deployed, Error};
use facereel::terminal::{Choice, Stop, exit::Report as _, stop_at};
use local_stack::{Progress, Silent};
use serde_json::json;
use tests::{
    schema::assert_report,
    workflow::{ANY_VIDEO, Canned, Gated, Rig},
};
use tokio::sync::Notify;

use crate::step_functions::{Execution, MockStepFunctions, arn};

const HOUR: Duration = Duration::from_hours(1);
const WEEK: Duration = Duration::from_hours(7 * 24);

/// Parses the command line.
#[derive(Parser)]
struct Command {
    #[command(flatten)]
    replay: Replay,
}

fn command(arguments: &[&str]) -> Replay {
    Command::try_parse_from([&["replay"], arguments].concat()).unwrap_or_else(|error| panic!("{error}")).replay
}

fn never() -> Stop {
    stop_at(pending())
}

async fn replay(deployed: &Deployed, arguments: &[&str]) -> Result<ReplayReport, Error> {
    let ask = async |question: &str| panic!("unexpected question: {question}");
    let report = command(arguments).run(deployed, &Silent, ask, never()).await?;
    assert_report("replay-report", &report.json());
    Ok(report)
}

/// The name of each execution and its outcome.
fn outcomes(report: &ReplayReport) -> Vec<(&str, &ReplayOutcome)> {
    report.rows.iter().map(|row| (row.execution.as_str(), &row.outcome)).collect()
}

fn event(kind: &HistoryEventType, state: &str, at: SystemTime) -> HistoryEvent {
    let event = HistoryEvent::builder().id(1).r#type(kind.clone()).timestamp(DateTime::from(at));
    match kind {
        HistoryEventType::TaskStateExited => {
            event.state_exited_event_details(StateExitedEventDetails::builder().name(state).build().unwrap())
        }
        _ => event.state_entered_event_details(StateEnteredEventDetails::builder().name(state).build().unwrap()),
    }
    .build()
    .unwrap()
}

/// An execution that started `age` ago and failed while it fetched pages, which were listed `listed` ago.
fn failed_with_pages(error: &str, age: Duration, listed: Duration) -> Execution {
    let now = SystemTime::now();
    let mut execution = Execution::failed(error, age);
    execution.history = vec![
        event(&HistoryEventType::TaskStateEntered, "StartDetection", now - age),
        event(&HistoryEventType::TaskStateExited, "StartDetection", now - listed),
        event(&HistoryEventType::MapStateEntered, "ReadPages", now - listed),
        event(&HistoryEventType::TaskStateEntered, "FetchPage", now - listed),
    ];
    execution
}

mod strategies {
    use super::*;

    #[tokio::test]
    async fn an_execution_with_valid_tokens_is_redriven() {
        let step_functions = MockStepFunctions::with([
            ("denied", Execution::failed("AccessDenied", 2 * HOUR)),
            ("fresh-pages", failed_with_pages("AccessDenied", 30 * HOUR, 20 * HOUR)),
        ]);
        let report = replay(&step_functions.deployed(), &[]).await.unwrap();
        let mut calls = step_functions.calls();
        calls.sort();
        assert_eq!(calls, [("redrive", "denied".to_owned()), ("redrive", "fresh-pages".to_owned())]);
        assert!(report.all_well(), "{report}");
    }

    #[tokio::test]
    async fn an_execution_that_cannot_be_redriven_is_replaced_with_the_same_input() {
        let mut too_old = Execution::failed("Throttled", 2 * HOUR);
        too_old.redrivable = false;
        too_old.input = r#"{"bucket":"uploads","key":"a b+c%2F\"🎬.mp4"}"#.to_owned();
        let step_functions = MockStepFunctions::with([
            ("expired", Execution::failed("PageTokenExpired", 2 * HOUR)),
            ("old-pages", failed_with_pages("AccessDenied", 30 * HOUR, 25 * HOUR)),
            ("too-old", too_old.clone()),
        ]);
        replay(&step_functions.deployed(), &[]).await.unwrap();
        let mut calls = step_functions.calls();
        calls.sort();
        let names = ["expired-replay-1", "old-pages-replay-1", "too-old-replay-1"];
        assert_eq!(calls, names.map(|name| ("start", name.to_owned())));
        assert_eq!(step_functions.execution("too-old-replay-1").input, too_old.input);
    }

    #[tokio::test]
    async fn timed_out_and_aborted_executions_are_replayed_as_well() {
        let ended = |status| Execution { status, error: None, ..Execution::failed("", 2 * HOUR) };
        let step_functions = MockStepFunctions::with([
            ("late", ended(ExecutionStatus::TimedOut)),
            ("stopped", ended(ExecutionStatus::Aborted)),
            ("fine", ended(ExecutionStatus::Succeeded)),
        ]);
        let report = replay(&step_functions.deployed(), &[]).await.unwrap();
        let errors: Vec<_> = report.rows.iter().map(|row| (row.execution.as_str(), row.error.as_str())).collect();
        assert_eq!(errors, [("late", "TIMED_OUT"), ("stopped", "ABORTED")]);
    }
}

mod selection {
    use super::*;

    fn several() -> MockStepFunctions {
        let mut yesterday = Execution::failed("AccessDenied", 31 * HOUR);
        yesterday.stopped = Some(SystemTime::now() - 30 * HOUR);
        yesterday.history =
            vec![event(&HistoryEventType::TaskStateEntered, "StartDetection", SystemTime::now() - 31 * HOUR)];
        MockStepFunctions::with([
            ("yesterday", yesterday),
            ("denied-1", Execution::failed("AccessDenied", 2 * HOUR)),
            ("denied-2", Execution::failed("AccessDenied", 2 * HOUR)),
            ("throttled", Execution::failed("Throttled", 2 * HOUR)),
        ])
    }

    async fn chosen(arguments: &[&str]) -> Vec<String> {
        let step_functions = several();
        replay(&step_functions.deployed(), arguments).await.unwrap();
        let mut names: Vec<_> = step_functions.calls().into_iter().map(|(_, name)| name).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn executions_are_selected_by_time_error_name_and_count() {
        assert_eq!(chosen(&[]).await, ["denied-1", "denied-2", "throttled"]);
        assert_eq!(chosen(&["--since", "2days"]).await.len(), 4);
        assert_eq!(chosen(&["--error", "Throttled"]).await, ["throttled"]);
        assert_eq!(chosen(&["--error", "AccessDenied", "--limit", "1", "--since", "2days"]).await, ["yesterday"]);
        assert_eq!(chosen(&["--execution", &arn("yesterday"), &arn("throttled")]).await, ["throttled", "yesterday"]);
    }

    #[tokio::test]
    async fn a_dry_run_reports_all_candidates_and_changes_nothing() {
        let step_functions = several();
        step_functions.put("broken", Execution::failed("JobFailed", 2 * HOUR));
        let report = replay(&step_functions.deployed(), &["--dry-run"]).await.unwrap();
        assert_eq!(step_functions.calls(), []);
        let text = report.to_string();
        for part in ["uploads/holiday.mp4", "AccessDenied", "redrive, billed: length unknown", "4 would be replayed"] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }
}

mod repeated_runs {
    use super::*;

    #[tokio::test]
    async fn a_running_replay_is_not_replayed_again() {
        let step_functions = MockStepFunctions::with([
            ("redriven", Execution::failed("AccessDenied", 2 * HOUR)),
            ("expired", Execution::failed("PageTokenExpired", 2 * HOUR)),
        ]);
        replay(&step_functions.deployed(), &[]).await.unwrap();
        let report = replay(&step_functions.deployed(), &[]).await.unwrap();
        assert_eq!(step_functions.calls().len(), 2);
        assert_eq!((outcomes(&report), report.replayed_before), (vec![], 1));
        assert!(report.all_well() && report.to_string().contains("was already replayed"), "{report}");
        let named = replay(&step_functions.deployed(), &["--execution", &arn("expired")]).await.unwrap();
        assert_eq!(outcomes(&named), [("expired-replay-1", &ReplayOutcome::Runs)]);
    }

    #[tokio::test]
    async fn a_succeeded_replay_is_not_replayed_again() {
        let step_functions = MockStepFunctions::with([("expired", Execution::failed("PageTokenExpired", 2 * HOUR))]);
        replay(&step_functions.deployed(), &[]).await.unwrap();
        step_functions.end_all(&ExecutionStatus::Succeeded, None);
        let report = replay(&step_functions.deployed(), &["--since", "2days"]).await.unwrap();
        assert_eq!((outcomes(&report), report.replayed_before), (vec![], 1));
        let named = replay(&step_functions.deployed(), &["--execution", &arn("expired")]).await.unwrap();
        assert_eq!(outcomes(&named), [("expired-replay-1", &ReplayOutcome::WasReplayed)]);
        assert_eq!(step_functions.calls().len(), 1);
    }

    /// The listing does not show a replacement that has just been started, or an execution that has just been redriven.
    #[tokio::test]
    async fn an_old_listing_causes_no_second_replay() {
        let step_functions = MockStepFunctions::with([
            ("redriven", Execution::failed("AccessDenied", 2 * HOUR)),
            ("expired", Execution::failed("PageTokenExpired", 2 * HOUR)),
        ]);
        step_functions.keep_listings();
        for _ in 0..2 {
            let report = replay(&step_functions.deployed(), &[]).await.unwrap();
            assert!(report.all_well(), "{report}");
        }
        step_functions.end_all(&ExecutionStatus::Succeeded, None);
        let report = replay(&step_functions.deployed(), &[]).await.unwrap();
        assert!(report.all_well(), "{report}");
        assert_eq!(step_functions.calls().len(), 2);
    }

    #[tokio::test]
    async fn what_was_replayed_or_failed_long_ago_costs_no_calls() {
        let step_functions = MockStepFunctions::default();
        for index in 0..200 {
            step_functions.put(&format!("video-{index}"), Execution::failed("PageTokenExpired", 2 * HOUR));
            let mut ended = Execution::running(Duration::from_mins(30));
            (ended.status, ended.stopped) = (ExecutionStatus::Succeeded, Some(SystemTime::now()));
            step_functions.put(&format!("video-{index}-replay-1"), ended);
        }
        for index in 0..500 {
            let mut old = Execution::failed("AccessDenied", 40 * 24 * HOUR + Duration::from_secs(index));
            old.stopped = Some(SystemTime::now() - 39 * 24 * HOUR);
            step_functions.put(&format!("old-failure-{index}"), old.clone());
            step_functions
                .put(&format!("old-success-{index}"), Execution { status: ExecutionStatus::Succeeded, ..old });
        }
        step_functions.put("new", Execution::failed("AccessDenied", 2 * HOUR));
        step_functions.set_page(100);
        let report = replay(&step_functions.deployed(), &[]).await.unwrap();
        assert_eq!(step_functions.calls(), [("redrive", "new".to_owned())]);
        assert_eq!(report.replayed_before, 200);
        // One page of RUNNING, TIMED_OUT and ABORTED each; three pages of FAILED, and one of old ones, where the listing ends;
        // two pages of SUCCEEDED, after which a single failure is left. It is looked up, and then read.
        assert_eq!(step_functions.reads("list"), 3 + 4 + 2);
        assert_eq!(step_functions.reads("describe"), 2);
    }

    #[tokio::test]
    async fn the_replacements_of_few_failures_among_many_successes_are_looked_up() {
        let step_functions = MockStepFunctions::with([
            ("replaced", Execution::failed("PageTokenExpired", 2 * HOUR)),
            ("new", Execution::failed("PageTokenExpired", 2 * HOUR)),
        ]);
        for index in 0..500 {
            let mut success = Execution::running(Duration::from_secs(index));
            success.status = ExecutionStatus::Succeeded;
            step_functions.put(&format!("success-{index}"), success);
        }
        let mut replacement = Execution::running(Duration::from_mins(30));
        replacement.status = ExecutionStatus::Succeeded;
        step_functions.put("replaced-replay-1", replacement);
        step_functions.set_page(10);
        let report = replay(&step_functions.deployed(), &[]).await.unwrap();
        assert_eq!(step_functions.calls(), [("start", "new-replay-1".to_owned())]);
        assert_eq!(report.replayed_before, 1);
        assert_eq!((step_functions.reads("list"), step_functions.reads("describe")), (4 + 2, 2 + 1));
    }

    /// Only the latest execution of the lineage is replayed.
    #[tokio::test]
    async fn a_failed_replay_is_replayed_again() {
        let step_functions = MockStepFunctions::with([("expired", Execution::failed("PageTokenExpired", 2 * HOUR))]);
        for round in 1..=3 {
            replay(&step_functions.deployed(), &[]).await.unwrap();
            assert_eq!(step_functions.calls().last(), Some(&("start", format!("expired-replay-{round}"))));
            step_functions.end_all(&ExecutionStatus::Failed, Some("PageTokenExpired"));
        }
        // The lineage is also found by its original execution.
        replay(&step_functions.deployed(), &["--execution", &arn("expired")]).await.unwrap();
        assert_eq!(step_functions.calls().last(), Some(&("start", "expired-replay-4".to_owned())));
        assert_eq!(step_functions.calls().len(), 4);
    }

    #[tokio::test]
    async fn two_concurrent_runs_replay_each_execution_once() {
        let step_functions = MockStepFunctions::default();
        for index in 0..30 {
            let error = if index % 2 == 0 { "AccessDenied" } else { "PageTokenExpired" };
            step_functions.put(&format!("video-{index}"), Execution::failed(error, 2 * HOUR));
        }
        let (one, other) = (step_functions.deployed(), step_functions.deployed());
        let (one, other) = tokio::join!(replay(&one, &[]), replay(&other, &[]));
        assert_eq!(step_functions.calls().len(), 30);
        let (one, other) = (one.unwrap(), other.unwrap());
        assert!(one.all_well() && other.all_well(), "{one}\n{other}");
        assert_eq!(one.replayed().count() + other.replayed().count(), 30);
    }

    #[tokio::test]
    async fn a_stopped_run_reports_its_replays_and_the_next_run_does_the_others() {
        let step_functions = MockStepFunctions::default();
        for index in 0..100 {
            step_functions.put(&format!("video-{index}"), Execution::failed("AccessDenied", 2 * HOUR));
        }
        let signal = Arc::new(Notify::new());
        let raised = signal.clone();
        step_functions.after_each_call(move |calls| {
            if calls == 40 {
                raised.notify_one();
            }
        });
        let stop = stop_at(async move { signal.notified().await });
        let ask = async |_: &str| Choice::NotAsked;
        let first = command(&[]).run(&step_functions.deployed(), &Silent, ask, stop).await.unwrap();
        let replayed = first.replayed().count();
        assert_eq!(step_functions.calls().len(), replayed, "every replay that was started is reported");
        assert!((40..60).contains(&replayed), "{replayed}");
        assert!(first.interrupted && !first.all_well());
        assert!(first.to_string().contains(&format!("{} left for the next run", 100 - replayed)), "{first}");

        let second = replay(&step_functions.deployed(), &[]).await.unwrap();
        assert_eq!(second.replayed().count(), 100 - replayed);
        assert_eq!(step_functions.calls().len(), 100);
    }
}

mod billing {
    use super::*;

    fn one_of_each() -> MockStepFunctions {
        let mut old = Execution::failed("AccessDenied", 8 * WEEK / 7);
        old.history = vec![event(&HistoryEventType::TaskStateEntered, "StartDetection", old.started)];
        MockStepFunctions::with([
            ("denied", Execution::failed("AccessDenied", 2 * HOUR).of("denied.mp4")),
            ("broken", Execution::failed("JobFailed", 2 * HOUR).of("broken.mp4")),
            ("forgotten", Execution::failed("JobGone", 2 * HOUR).of("in/forgotten.mp4")),
            ("old", old.of("old.mp4")),
        ])
    }

    async fn answered(choice: Choice, arguments: &[&str]) -> (MockStepFunctions, ReplayReport, String) {
        let step_functions = one_of_each();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sample-clip/sample.mp4");
        let clip = std::fs::read(path).unwrap();
        for key in ["broken.mp4", "in/forgotten.mp4"] {
            step_functions.put_object("uploads", key, &clip);
        }
        let question = Mutex::new(String::new());
        let ask = async |text: &str| {
            *question.lock().unwrap() = text.to_owned();
            choice
        };
        let report = command(arguments).run(&step_functions.deployed(), &Silent, ask, never()).await.unwrap();
        assert_report("replay-report", &report.json());
        (step_functions, report, question.into_inner().unwrap())
    }

    #[tokio::test]
    async fn the_question_names_videos_minutes_and_price() {
        let (step_functions, report, question) = answered(Choice::All, &[]).await;
        let lines: Vec<_> =
            question.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for line in [
            "uploads/broken.mp4 0.2 min, USD 0.02 the job ended without a result; the cause begins with Rekognition's reason",
            "uploads/in/forgotten.mp4 0.2 min, USD 0.02 the results are older than 7 days, and Rekognition has deleted them",
            "uploads/old.mp4 length unknown older than 7 days, so Rekognition no longer has the job",
            "Billed: 3 analyses, 0.4 minutes and 1 of unknown length: about USD 0.04, at 0.10 a minute; prices differ by Region",
            "Free: 1 other",
        ] {
            assert!(lines.iter().any(|one| one == line), "{line} is not in:\n{question}");
        }
        assert!(!question.contains("denied"), "{question}");
        assert_eq!(step_functions.calls().len(), 4);
        assert!(report.all_well());
        let json = report.json();
        let broken = json["executions"].as_array().unwrap().iter().find(|one| one["execution"] == "broken").unwrap();
        assert_eq!((&broken["billed"]["minutes"], &broken["video"]["key"]), (&json!(0.2), &json!("broken.mp4")));
    }

    #[tokio::test]
    async fn no_replays_nothing() {
        let (step_functions, report, _) = answered(Choice::None, &[]).await;
        assert_eq!(step_functions.calls(), []);
        assert_eq!((report.to_string().as_str(), report.exit_status()), ("Nothing was replayed.", 1));
    }

    #[tokio::test]
    async fn free_replays_only_what_is_free() {
        for (choice, arguments) in [(Choice::Free, &[][..]), (Choice::None, &["--free"])] {
            let (step_functions, report, question) = answered(choice, arguments).await;
            assert_eq!(step_functions.calls(), [("redrive", "denied".to_owned())], "{choice:?}");
            assert_eq!(question.is_empty(), arguments == ["--free"], "{question}");
            assert!(report.all_well() && report.to_string().contains("1 replayed, 3 left out."), "{report}");
            assert!(!report.to_string().contains("Billed:"), "{report}");
        }
    }

    #[tokio::test]
    async fn without_a_terminal_nothing_is_billed_and_the_options_are_named() {
        let (step_functions, report, _) = answered(Choice::NotAsked, &[]).await;
        assert_eq!(step_functions.calls(), [("redrive", "denied".to_owned())]);
        assert_eq!(report.exit_status(), 1);
        let text = report.to_string();
        assert!(text.contains("agree with --yes, or leave it out with --free") && text.contains("3 not"), "{text}");
    }

    #[tokio::test]
    async fn a_dry_run_shows_the_price_and_asks_nothing() {
        let (step_functions, report, question) = answered(Choice::All, &["--dry-run"]).await;
        assert_eq!((step_functions.calls(), question.as_str()), (vec![], ""));
        let text = report.to_string();
        for part in [
            "redrive, billed: 0.2 min, USD 0.02",
            "4 would be replayed",
            "Would be billed: 3 analyses, 0.4 minutes and",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
        let (_, report, _) = answered(Choice::All, &["--dry-run", "--free"]).await;
        assert!(report.to_string().contains("1 would be replayed, 3 left out"), "{report}");
    }

    #[tokio::test]
    async fn without_decrypt_the_names_of_executions_are_shown_with_the_reason() {
        let step_functions = MockStepFunctions::with([
            ("denied", Execution::failed("AccessDenied", 2 * HOUR)),
            ("expired", Execution::failed("PageTokenExpired", 2 * HOUR)),
        ]);
        step_functions.encrypt();
        let report = replay(&step_functions.deployed(), &[]).await.unwrap();
        assert_eq!(step_functions.calls(), [("redrive", "denied".to_owned())]);
        let text = report.to_string();
        assert!(text.contains("denied") && text.contains("not replayed: its input cannot be read"), "{text}");
        assert_eq!(text.matches("Some videos are shown as the names of their executions").count(), 1, "{text}");
    }

    #[tokio::test]
    async fn a_stop_ends_the_wait_for_an_answer() {
        let step_functions = one_of_each();
        let ask = async |_: &str| pending().await;
        let stop = stop_at(async { tokio::time::sleep(Duration::from_millis(20)).await });
        let report = command(&[]).run(&step_functions.deployed(), &Silent, ask, stop).await.unwrap();
        assert!(report.interrupted && report.to_string().starts_with("Stopped"), "{report}");
        assert_eq!(step_functions.calls(), []);
    }

    #[tokio::test]
    async fn with_yes_no_question_is_asked() {
        let step_functions = one_of_each();
        assert!(replay(&step_functions.deployed(), &["--yes"]).await.unwrap().all_well());
        assert_eq!(step_functions.calls().len(), 4);
    }
}

mod messages {
    use super::*;

    #[tokio::test]
    async fn without_failed_executions_there_is_nothing_to_replay() {
        let report = replay(&MockStepFunctions::default().deployed(), &[]).await.unwrap();
        assert!(report.all_well());
        assert!(report.to_string().starts_with("Nothing to replay"), "{report}");
    }

    #[tokio::test]
    async fn a_missing_permission_to_list_is_an_error() {
        let step_functions = MockStepFunctions::with([("denied", Execution::failed("AccessDenied", 2 * HOUR))]);
        step_functions.deny("states:ListExecutions");
        let error = replay(&step_functions.deployed(), &[]).await.unwrap_err().to_string();
        assert!(error.starts_with("these credentials do not allow states:ListExecutions"), "{error}");
        assert!(error.contains("user/me"), "{error}");
    }

    #[tokio::test]
    async fn a_missing_permission_to_redrive_is_in_the_report() {
        let step_functions = MockStepFunctions::with([("denied", Execution::failed("AccessDenied", 2 * HOUR))]);
        step_functions.deny("states:RedriveExecution");
        let report = replay(&step_functions.deployed(), &[]).await.unwrap();
        assert!(!report.all_well());
        assert!(report.to_string().contains("do not allow states:RedriveExecution"), "{report}");
    }

    #[tokio::test]
    async fn a_missing_state_machine_is_an_error() {
        let step_functions = MockStepFunctions::default();
        step_functions.remove_state_machine();
        let error = replay(&step_functions.deployed(), &[]).await.unwrap_err().to_string();
        assert!(
            error.contains("no state machine arn:aws:states:eu-west-1") && error.contains("AWS_PROFILE"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_missing_execution_or_one_of_another_state_machine_is_an_error() {
        let deployed = MockStepFunctions::default().deployed();
        for (execution, message) in [
            (arn("missing"), "there is no execution"),
            (arn("one").replace("facereel", "other"), "is not an execution of"),
            (arn("one").replace("eu-west-1", "us-east-1"), "is not an execution of"),
        ] {
            let error = replay(&deployed, &["--execution", &execution]).await.unwrap_err().to_string();
            assert!(error.contains(&execution) && error.contains(message), "{error}");
        }
    }

    #[tokio::test]
    async fn with_wait_the_end_of_the_execution_is_reported() {
        let step_functions = MockStepFunctions::with([("again", Execution::failed("AccessDenied", 2 * HOUR))]);
        let ends = step_functions.clone();
        let deployed = step_functions.deployed();
        let (report, ()) = tokio::join!(replay(&deployed, &["--wait"]), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            ends.end_all(&ExecutionStatus::Failed, Some("VideoNotFound"));
        });
        let report = report.unwrap();
        assert!(!report.all_well());
        assert!(report.to_string().contains("FAILED again: VideoNotFound"), "{report}");
    }
}

/// The emulator has no `RedriveExecution` and reports no execution as redrivable, so every replay is a new execution.
mod on_the_emulator {
    use super::*;

    fn deployed(rig: &Rig) -> Deployed {
        Deployed::new(rig.workflow.emulator.aws(), rig.workflow.stack.state_machine_arn.parse().unwrap())
    }

    /// A detector that fails for the first video only.
    struct FailsOnce(Gated, AtomicBool);

    impl Detector for FailsOnce {
        fn analyze(&self, video: &Path, progress: &dyn Fn(f32) -> Continue) -> Result<Analysis, AnalyzeError> {
            let analysis = self.0.analyze(video, progress)?;
            if self.1.swap(true, Ordering::Relaxed) {
                return Ok(analysis);
            }
            Err(AnalyzeError::Failed { at_millis: 500, reason: "the first analysis fails".to_owned() })
        }
    }

    #[tokio::test]
    async fn a_replay_of_a_failed_job_has_results() {
        let (gate, detector) = Gated::before(Canned::faces(5));
        let rig = Rig::start(FailsOnce(detector, AtomicBool::new(false))).await;
        let execution = rig.upload("repaired.mp4", ANY_VIDEO).await;
        rig.until_a_job_is_recorded().await;
        gate.open();
        assert_eq!(rig.failure_of(&execution.arn).await.0, "JobFailed");

        let report = replay(&deployed(&rig), &["--yes", "--wait"]).await.unwrap();
        assert!(report.all_well(), "{report}");
        let (replayed, row) = report.replayed().next().expect("it was replayed");
        assert_eq!(
            (row.error.as_str(), row.strategy, row.billed.is_some()),
            ("JobFailed", Some(Strategy::NewExecution), true)
        );
        assert_eq!(rig.results_of(replayed).await.faces.len(), 5);
        assert_eq!(rig.billed(), 2);

        let again = replay(&deployed(&rig), &["--yes"]).await.unwrap();
        assert_eq!((again.replayed().count(), again.rows.len(), again.replayed_before), (0, 0, 1));
        assert_eq!(rig.billed(), 2);
    }

    /// Notifies when half of the replays are done.
    struct HalfWay(AtomicBool, Notify);

    impl Progress for HalfWay {
        fn step(&self, what: &str) {
            self.0.store(what == "Replaying", Ordering::Relaxed);
        }

        fn detail(&self, _text: &str) {}

        fn ratio(&self, done: f32) {
            if self.0.load(Ordering::Relaxed) && done >= 0.5 {
                self.1.notify_one();
            }
        }
    }

    #[tokio::test]
    async fn a_stopped_replay_of_100_executions_is_completed_by_a_second_run() {
        let rig = Rig::start(Canned::faces(3)).await;
        let input = json!({ "bucket": rig.workflow.stack.upload_bucket, "key": "late.mp4" });
        let mut failed = Vec::new();
        for _ in 0..100 {
            failed.push(rig.workflow.executions.start(&input).await.unwrap());
        }
        for arn in &failed {
            assert_eq!(rig.failure_of(arn).await.0, "VideoNotFound");
        }
        rig.workflow.uploads.put("late.mp4", ANY_VIDEO).await.unwrap();

        let half_way = Arc::new(HalfWay(AtomicBool::new(false), Notify::new()));
        let signal = half_way.clone();
        let stop = stop_at(async move { signal.1.notified().await });
        let ask = async |_: &str| Choice::NotAsked;
        let first = command(&[]).run(&deployed(&rig), &*half_way, ask, stop).await.unwrap();
        assert!(first.interrupted);
        assert!((50..100).contains(&first.replayed().count()), "{first}");

        let second = replay(&deployed(&rig), &["--wait"]).await.unwrap();
        assert!(second.all_well(), "{second}");
        let mut replayed: Vec<_> =
            [&first, &second].into_iter().flat_map(ReplayReport::replayed).map(|(arn, _)| arn).collect();
        replayed.sort_unstable();
        replayed.dedup();
        assert_eq!(replayed.len(), 100, "each execution is replayed once");
        for arn in replayed {
            assert!(rig.end_of(arn).await.has_succeeded());
        }
        assert_eq!(rig.billed(), 1);
    }
}
