//! `facereel replay`.

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
use facereel::commands::replay::{Outcome, Replay, Report};
use facereel::deployed::{Deployed, Error, Stop, stop_at};
use facereel::terminal::Answer;
use local_stack::{Progress, Silent};
use serde_json::json;
use tests::workflow::{ANY_VIDEO, Canned, Gated, Rig};
use tokio::sync::Notify;

use crate::cloud::{Cloud, Execution, arn};

const HOUR: Duration = Duration::from_hours(1);
const WEEK: Duration = Duration::from_hours(7 * 24);

/// The command as it is typed.
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

async fn replay(deployed: &Deployed, arguments: &[&str]) -> Result<Report, Error> {
    let nobody = async |question: &str| panic!("nothing is to be asked: {question}");
    command(arguments).run(deployed, &Silent, nobody, never()).await
}

/// Each execution's name and what was done about it.
fn outcomes(report: &Report) -> Vec<(&str, &Outcome)> {
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

/// Failed while pages were fetched that had been listed so long ago.
fn failed_with_pages(error: &str, began: Duration, listed: Duration) -> Execution {
    let now = SystemTime::now();
    let mut execution = Execution::failed(error, began);
    execution.history = vec![
        event(&HistoryEventType::TaskStateEntered, "StartDetection", now - began),
        event(&HistoryEventType::TaskStateExited, "StartDetection", now - listed),
        event(&HistoryEventType::TaskStateEntered, "ListPages", now - listed),
        event(&HistoryEventType::TaskStateExited, "ListPages", now - listed),
        event(&HistoryEventType::MapStateEntered, "FetchPages", now - listed),
        event(&HistoryEventType::TaskStateEntered, "FetchPage", now - listed),
    ];
    execution
}

mod ways {
    use super::*;

    #[tokio::test]
    async fn what_can_go_on_is_redriven() {
        let cloud = Cloud::with([
            ("denied", Execution::failed("AccessDenied", 2 * HOUR)),
            ("fresh-pages", failed_with_pages("AccessDenied", 30 * HOUR, 20 * HOUR)),
        ]);
        let report = replay(&cloud.deployed(), &[]).await.unwrap();
        let mut calls = cloud.calls();
        calls.sort();
        assert_eq!(calls, [("redrive", "denied".to_owned()), ("redrive", "fresh-pages".to_owned())]);
        assert!(report.all_well(), "{report}");
    }

    #[tokio::test]
    async fn what_cannot_begins_anew_with_its_own_input() {
        let mut too_old = Execution::failed("Throttled", 2 * HOUR);
        too_old.redrivable = false;
        too_old.input = r#"{"bucket":"uploads","key":"a b+c%2F\"🎬.mp4"}"#.to_owned();
        let cloud = Cloud::with([
            ("expired", Execution::failed("PageTokenExpired", 2 * HOUR)),
            ("old-pages", failed_with_pages("AccessDenied", 30 * HOUR, 25 * HOUR)),
            ("too-old", too_old.clone()),
        ]);
        replay(&cloud.deployed(), &[]).await.unwrap();
        let mut calls = cloud.calls();
        calls.sort();
        let names = ["expired-replay-1", "old-pages-replay-1", "too-old-replay-1"];
        assert_eq!(calls, names.map(|name| ("start", name.to_owned())));
        assert_eq!(cloud.execution("too-old-replay-1").input, too_old.input);
    }

    #[tokio::test]
    async fn timed_out_and_aborted_executions_are_replayed_as_well() {
        let ended = |status| Execution { status, error: None, ..Execution::failed("", 2 * HOUR) };
        let cloud = Cloud::with([
            ("late", ended(ExecutionStatus::TimedOut)),
            ("stopped", ended(ExecutionStatus::Aborted)),
            ("fine", ended(ExecutionStatus::Succeeded)),
        ]);
        let report = replay(&cloud.deployed(), &[]).await.unwrap();
        let errors: Vec<_> = report.rows.iter().map(|row| (row.execution.as_str(), row.error.as_str())).collect();
        assert_eq!(errors, [("late", "TIMED_OUT"), ("stopped", "ABORTED")]);
    }
}

mod choice {
    use super::*;

    fn several() -> Cloud {
        let mut yesterday = Execution::failed("AccessDenied", 31 * HOUR);
        yesterday.stopped = Some(SystemTime::now() - 30 * HOUR);
        yesterday.history =
            vec![event(&HistoryEventType::TaskStateEntered, "StartDetection", SystemTime::now() - 31 * HOUR)];
        Cloud::with([
            ("yesterday", yesterday),
            ("denied-1", Execution::failed("AccessDenied", 2 * HOUR)),
            ("denied-2", Execution::failed("AccessDenied", 2 * HOUR)),
            ("throttled", Execution::failed("Throttled", 2 * HOUR)),
        ])
    }

    async fn chosen(arguments: &[&str]) -> Vec<String> {
        let cloud = several();
        replay(&cloud.deployed(), arguments).await.unwrap();
        let mut names: Vec<_> = cloud.calls().into_iter().map(|(_, name)| name).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn by_time_error_name_and_count() {
        assert_eq!(chosen(&[]).await, ["denied-1", "denied-2", "throttled"]);
        assert_eq!(chosen(&["--since", "2days"]).await.len(), 4);
        assert_eq!(chosen(&["--error", "Throttled"]).await, ["throttled"]);
        assert_eq!(chosen(&["--error", "AccessDenied", "--limit", "1", "--since", "2days"]).await, ["yesterday"]);
        assert_eq!(chosen(&["--execution", &arn("yesterday"), &arn("throttled")]).await, ["throttled", "yesterday"]);
    }

    #[tokio::test]
    async fn a_dry_run_says_everything_and_changes_nothing() {
        let cloud = several();
        cloud.put("broken", Execution::failed("JobFailed", 2 * HOUR));
        let report = replay(&cloud.deployed(), &["--dry-run"]).await.unwrap();
        assert_eq!(cloud.calls(), []);
        let text = report.to_string();
        for part in ["denied-1", "AccessDenied", "redrive, billed", "4 would be replayed"] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }
}

mod twice {
    use super::*;

    #[tokio::test]
    async fn what_runs_is_left_alone() {
        let cloud = Cloud::with([
            ("redriven", Execution::failed("AccessDenied", 2 * HOUR)),
            ("anew", Execution::failed("PageTokenExpired", 2 * HOUR)),
        ]);
        replay(&cloud.deployed(), &[]).await.unwrap();
        let report = replay(&cloud.deployed(), &[]).await.unwrap();
        assert_eq!(cloud.calls().len(), 2);
        assert_eq!(outcomes(&report), [("anew-replay-1", &Outcome::Runs)]);
        assert!(report.all_well());
    }

    #[tokio::test]
    async fn what_has_succeeded_is_left_alone() {
        let cloud = Cloud::with([("anew", Execution::failed("PageTokenExpired", 2 * HOUR))]);
        replay(&cloud.deployed(), &[]).await.unwrap();
        cloud.end_all(&ExecutionStatus::Succeeded, None);
        let report = replay(&cloud.deployed(), &["--since", "2days"]).await.unwrap();
        assert_eq!(outcomes(&report), [("anew-replay-1", &Outcome::WasReplayed)]);
        assert_eq!(cloud.calls().len(), 1);
    }

    /// The one that failed last is replayed, and nobody before it.
    #[tokio::test]
    async fn what_failed_again_is_replayed_again() {
        let cloud = Cloud::with([("anew", Execution::failed("PageTokenExpired", 2 * HOUR))]);
        for round in 1..=3 {
            replay(&cloud.deployed(), &[]).await.unwrap();
            assert_eq!(cloud.calls().last(), Some(&("start", format!("anew-replay-{round}"))));
            cloud.end_all(&ExecutionStatus::Failed, Some("PageTokenExpired"));
        }
        // Named by its oldest ancestor, too.
        replay(&cloud.deployed(), &["--execution", &arn("anew")]).await.unwrap();
        assert_eq!(cloud.calls().last(), Some(&("start", "anew-replay-4".to_owned())));
        assert_eq!(cloud.calls().len(), 4);
    }

    #[tokio::test]
    async fn two_people_at_once_replay_once() {
        let cloud = Cloud::default();
        for index in 0..30 {
            let error = if index % 2 == 0 { "AccessDenied" } else { "PageTokenExpired" };
            cloud.put(&format!("video-{index}"), Execution::failed(error, 2 * HOUR));
        }
        let (one, other) = (cloud.deployed(), cloud.deployed());
        let (one, other) = tokio::join!(replay(&one, &[]), replay(&other, &[]));
        assert_eq!(cloud.calls().len(), 30);
        let (one, other) = (one.unwrap(), other.unwrap());
        assert!(one.all_well() && other.all_well(), "{one}\n{other}");
        assert_eq!(one.replayed().count() + other.replayed().count(), 30);
    }

    #[tokio::test]
    async fn stopped_half_way_it_tells_and_the_next_run_does_the_rest() {
        let cloud = Cloud::default();
        for index in 0..100 {
            cloud.put(&format!("video-{index}"), Execution::failed("AccessDenied", 2 * HOUR));
        }
        let signal = Arc::new(Notify::new());
        let raised = signal.clone();
        cloud.after_each_call(move |calls| {
            if calls == 40 {
                raised.notify_one();
            }
        });
        let stop = stop_at(async move { signal.notified().await });
        let nobody = async |_: &str| Answer::NotAsked;
        let first = command(&[]).run(&cloud.deployed(), &Silent, nobody, stop).await.unwrap();
        let replayed = first.replayed().count();
        assert_eq!(cloud.calls().len(), replayed, "what was begun is told");
        assert!((40..60).contains(&replayed), "{replayed}");
        assert!(first.interrupted && !first.all_well());
        assert!(first.to_string().contains(&format!("{} left for the next run", 100 - replayed)), "{first}");

        let second = replay(&cloud.deployed(), &[]).await.unwrap();
        assert_eq!(second.replayed().count(), 100 - replayed);
        assert_eq!(cloud.calls().len(), 100);
    }
}

mod billing {
    use super::*;

    fn one_of_each() -> Cloud {
        let mut old = Execution::failed("AccessDenied", 8 * WEEK / 7);
        old.history = vec![event(&HistoryEventType::TaskStateEntered, "StartDetection", old.started)];
        Cloud::with([
            ("denied", Execution::failed("AccessDenied", 2 * HOUR)),
            ("broken", Execution::failed("JobFailed", 2 * HOUR)),
            ("forgotten", Execution::failed("JobGone", 2 * HOUR)),
            ("old", old),
        ])
    }

    async fn answered(answer: Answer) -> (Cloud, Report, String) {
        let cloud = one_of_each();
        let question = Mutex::new(String::new());
        let ask = async |text: &str| {
            *question.lock().unwrap() = text.to_owned();
            answer
        };
        let report = command(&[]).run(&cloud.deployed(), &Silent, ask, never()).await.unwrap();
        (cloud, report, question.into_inner().unwrap())
    }

    #[tokio::test]
    async fn is_told_beforehand_and_agreed_to() {
        let (cloud, report, question) = answered(Answer::Yes).await;
        for name in ["broken", "forgotten", "old"] {
            assert!(question.contains(name), "{question}");
        }
        assert!(!question.contains("denied"), "{question}");
        assert_eq!(cloud.calls().len(), 4);
        assert!(report.all_well());
    }

    #[tokio::test]
    async fn is_left_where_nobody_agrees() {
        for answer in [Answer::No, Answer::NotAsked] {
            let (cloud, report, _) = answered(answer).await;
            assert_eq!(cloud.calls(), [("redrive", "denied".to_owned())], "{answer:?}");
            assert!(!report.all_well());
            assert_eq!(report.to_string().contains("--yes"), answer == Answer::NotAsked, "{report}");
        }
    }

    #[tokio::test]
    async fn may_be_left_unanswered() {
        let cloud = one_of_each();
        let ask = async |_: &str| pending().await;
        let stop = stop_at(async { tokio::time::sleep(Duration::from_millis(20)).await });
        let report = command(&[]).run(&cloud.deployed(), &Silent, ask, stop).await.unwrap();
        assert!(report.interrupted && report.to_string().starts_with("Stopped"), "{report}");
        assert_eq!(cloud.calls(), []);
    }

    #[tokio::test]
    async fn needs_no_question_with_yes() {
        let cloud = one_of_each();
        assert!(replay(&cloud.deployed(), &["--yes"]).await.unwrap().all_well());
        assert_eq!(cloud.calls().len(), 4);
    }
}

mod messages {
    use super::*;

    #[tokio::test]
    async fn nothing_failed() {
        let report = replay(&Cloud::default().deployed(), &[]).await.unwrap();
        assert!(report.all_well());
        assert!(report.to_string().starts_with("Nothing to replay"), "{report}");
    }

    #[tokio::test]
    async fn no_permission_to_look() {
        let cloud = Cloud::with([("denied", Execution::failed("AccessDenied", 2 * HOUR))]);
        cloud.deny("states:ListExecutions");
        let error = replay(&cloud.deployed(), &[]).await.unwrap_err().to_string();
        assert!(error.starts_with("these credentials may not do states:ListExecutions"), "{error}");
        assert!(error.contains("user/me"), "{error}");
    }

    #[tokio::test]
    async fn no_permission_to_replay() {
        let cloud = Cloud::with([("denied", Execution::failed("AccessDenied", 2 * HOUR))]);
        cloud.deny("states:RedriveExecution");
        let report = replay(&cloud.deployed(), &[]).await.unwrap();
        assert!(!report.all_well());
        assert!(report.to_string().contains("may not do states:RedriveExecution"), "{report}");
    }

    #[tokio::test]
    async fn the_arn_of_a_state_machine_that_is_not_there() {
        let cloud = Cloud::default();
        cloud.remove_state_machine();
        let error = replay(&cloud.deployed(), &[]).await.unwrap_err().to_string();
        assert!(
            error.contains("no state machine arn:aws:states:eu-west-1") && error.contains("AWS_PROFILE"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn the_arn_of_an_execution_that_is_not_there_or_of_another_state_machine_or_region() {
        let deployed = Cloud::default().deployed();
        for (wrong, says) in [
            (arn("missing"), "there is no execution"),
            (arn("one").replace("facereel", "other"), "is no execution of"),
            (arn("one").replace("eu-west-1", "us-east-1"), "is no execution of"),
        ] {
            let error = replay(&deployed, &["--execution", &wrong]).await.unwrap_err().to_string();
            assert!(error.contains(&wrong) && error.contains(says), "{error}");
        }
    }

    #[tokio::test]
    async fn how_it_ended_is_told_when_it_is_waited_for() {
        let cloud = Cloud::with([("again", Execution::failed("AccessDenied", 2 * HOUR))]);
        let ends = cloud.clone();
        let deployed = cloud.deployed();
        let (report, ()) = tokio::join!(replay(&deployed, &["--wait"]), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            ends.end_all(&ExecutionStatus::Failed, Some("VideoNotFound"));
        });
        let report = report.unwrap();
        assert!(!report.all_well());
        assert!(report.to_string().contains("FAILED again: VideoNotFound"), "{report}");
    }
}

/// The emulator has no `RedriveExecution`, and says so by calling nothing redrivable: executions begin anew.
mod on_the_emulator {
    use super::*;

    fn deployed(rig: &Rig) -> Deployed {
        Deployed::new(rig.workflow.emulator.aws(), rig.workflow.stack.state_machine_arn.parse().unwrap())
    }

    /// Breaks off at the first video, and is repaired then.
    struct Repaired(Gated, AtomicBool);

    impl Detector for Repaired {
        fn analyze(&self, video: &Path, progress: &dyn Fn(f32) -> Continue) -> Result<Analysis, AnalyzeError> {
            let analysis = self.0.analyze(video, progress)?;
            if self.1.swap(true, Ordering::Relaxed) {
                return Ok(analysis);
            }
            Err(AnalyzeError::Failed { at_millis: 500, reason: "out of luck".to_owned() })
        }
    }

    #[tokio::test]
    async fn a_job_that_failed_is_replayed_to_its_results() {
        let (gate, detector) = Gated::before(Canned::faces(5));
        let rig = Rig::start(Repaired(detector, AtomicBool::new(false))).await;
        let execution = rig.upload("repaired.mp4", ANY_VIDEO).await;
        // Told in progress, so that its end is told once: by the message, which then is not on its way any more.
        rig.until("its status was asked for", async || rig.workflow.rekognition.calls().get > 0).await;
        gate.open();
        assert_eq!(rig.failure_of(&execution.arn).await.0, "JobFailed");

        let report = replay(&deployed(&rig), &["--yes", "--wait"]).await.unwrap();
        assert!(report.all_well(), "{report}");
        let (replayed, row) = report.replayed().next().expect("it was replayed");
        assert_eq!((row.error.as_str(), row.way.as_str()), ("JobFailed", "new execution, billed"));
        assert_eq!(rig.results_of(replayed).await.faces.len(), 5);
        assert_eq!(rig.billed(), 2);

        let again = replay(&deployed(&rig), &["--yes"]).await.unwrap();
        assert_eq!((again.replayed().count(), again.rows.len()), (0, 1));
        assert_eq!(rig.billed(), 2);
    }

    /// Stops the command when half of the work is done.
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
    async fn a_hundred_failed_executions_stopped_half_way_and_run_again() {
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
        let nobody = async |_: &str| Answer::NotAsked;
        let first = command(&[]).run(&deployed(&rig), &*half_way, nobody, stop).await.unwrap();
        assert!(first.interrupted);
        assert!((50..100).contains(&first.replayed().count()), "{first}");

        let second = replay(&deployed(&rig), &["--wait"]).await.unwrap();
        assert!(second.all_well(), "{second}");
        let mut replayed: Vec<_> =
            [&first, &second].into_iter().flat_map(Report::replayed).map(|(arn, _)| arn).collect();
        replayed.sort_unstable();
        replayed.dedup();
        assert_eq!(replayed.len(), 100, "each once");
        for arn in replayed {
            assert!(rig.end_of(arn).await.has_succeeded());
        }
        assert_eq!(rig.billed(), 1);
    }
}
