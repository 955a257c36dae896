//! Tests of `facereel replay --dead-letters`.

use std::{fs, future::pending, path::Path, sync::Mutex, time::Duration};

use clap::Parser as _;
use facereel::commands::{
    consent::Consent,
    dead_letters::{self, DeadLetterOutcome, DeadLetterQueue, DeadLetterReport},
};
use facereel::deployed::Deployed;
use facereel::terminal::{Choice, exit::Report as _, stop_at};
use local_stack::Silent;
use rekognition_local::{Fault, JobStatus};
use serde_json::{Value, json};
use tests::{
    schema::assert_report,
    workflow::{ANY_VIDEO, Canned, Gated, Rig},
};

use crate::step_functions::MockStepFunctions;

/// Parses the command line.
#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    consent: Consent,
}

/// A workflow with its dead-letter queues.
struct Queues {
    rig: Rig,
    deployed: Deployed,
}

impl Queues {
    async fn with(rig: Rig) -> Self {
        let deployed =
            Deployed::new(rig.workflow.emulator.aws(), rig.workflow.stack.state_machine_arn.parse().unwrap());
        for queue in ["facereel-undelivered-uploads", "facereel-undelivered-completions"] {
            deployed.sqs.create_queue().queue_name(queue).send().await.unwrap();
        }
        Self { rig, deployed }
    }

    async fn put(&self, queue: &str, body: &str) {
        let url = self.deployed.queue_url(queue).await.unwrap();
        self.deployed.sqs.send_message().queue_url(url).message_body(body).send().await.unwrap();
    }

    /// Replays with these options, and with this answer if the user is asked. Returns the question as well.
    async fn answered(&self, arguments: &[&str], choice: Choice) -> (DeadLetterReport, String) {
        let consent = Command::try_parse_from([&["replay"], arguments].concat()).unwrap().consent;
        let question = Mutex::new(String::new());
        let ask = async |text: &str| {
            *question.lock().unwrap() = text.to_owned();
            choice
        };
        let report = dead_letters::replay(&self.deployed, &Silent, consent, ask, &stop_at(pending())).await.unwrap();
        assert_report("dead-letters-report", &report.json());
        (report, question.into_inner().unwrap())
    }

    async fn replay(&self) -> DeadLetterReport {
        let (report, question) = self.answered(&["--yes"], Choice::None).await;
        assert_eq!(question, "");
        report
    }

    /// Puts the event of an upload into the queue. The video is in a bucket without a rule, as if `EventBridge` had failed.
    async fn put_upload(&self, key: &str, video: &[u8]) -> Value {
        let _ = self.deployed.s3.create_bucket().bucket("elsewhere").send().await;
        let body = video.to_vec().into();
        let put = self.deployed.s3.put_object().bucket("elsewhere").key(key).body(body).send().await.unwrap();
        let mut event = fixture("events/put-object");
        event["id"] = json!(format!("{key}-event").replace(['"', ' ', '.'], "-"));
        event["detail"]["bucket"]["name"] = json!("elsewhere");
        event["detail"]["object"]["key"] = json!(key);
        event["detail"]["object"]["size"] = json!(video.len());
        event["detail"]["object"]["etag"] = json!(put.e_tag().unwrap().trim_matches('"'));
        self.put("undelivered-uploads", &event.to_string()).await;
        event
    }

    /// The number of visible messages in the queue of uploads.
    async fn visible_uploads(&self) -> usize {
        let url = self.deployed.queue_url("undelivered-uploads").await.unwrap();
        let receive = self.deployed.sqs.receive_message().queue_url(&url).max_number_of_messages(10);
        let messages = receive.visibility_timeout(0).send().await.unwrap().messages.unwrap_or_default();
        messages.len()
    }
}

fn sample_clip() -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sample-clip/sample.mp4")).unwrap()
}

fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/{name}.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The outcomes in the JSON document, sorted.
fn outcomes(report: &DeadLetterReport) -> Vec<String> {
    let json = report.json();
    let messages = json["messages"].as_array().unwrap().iter();
    let mut outcomes: Vec<_> = messages.map(|message| message["outcome"].as_str().unwrap().to_owned()).collect();
    outcomes.sort_unstable();
    outcomes
}

#[tokio::test]
async fn an_undelivered_upload_starts_one_execution() {
    let queues = Queues::with(Rig::start(Canned::faces(3)).await).await;
    let mut event = queues.put_upload("a \"b\".mp4", ANY_VIDEO).await;
    // The event is in the queue twice, together with a message that is not an event.
    for body in [&event.to_string(), "{\"hello\": \"world\"}"] {
        queues.put("undelivered-uploads", body).await;
    }

    let report = queues.replay().await;
    assert_eq!(outcomes(&report), ["failed", "started", "was_started"], "{report}");
    assert!(!report.all_well());
    // The second delivery of the event finds the same execution, and so one analysis is billed.
    assert_eq!(report.rows.iter().filter(|row| row.billed.is_some()).count(), 1);
    assert!(report.to_string().contains("elsewhere/a \"b\".mp4"), "{report}");
    assert!(
        report.to_string().contains("NOT delivered, stays in the queue: the message is not the event of an upload"),
        "{report}"
    );
    let executions = queues.rig.workflow.executions.about("a \"b\".mp4").await.unwrap();
    assert_eq!(executions.len(), 1);
    assert_eq!(executions[0].input, event);
    assert!(queues.rig.end_of(&executions[0].arn).await.has_succeeded());

    // An undelivered message is visible again immediately, and delivered ones are removed. Another event for a video with a
    // result starts nothing, and so there is nothing to ask.
    event["id"] = json!("b2f1a5b0-0000-4000-8000-3d1c6f1d2a3b");
    queues.put("undelivered-uploads", &event.to_string()).await;
    let (again, question) = queues.answered(&[], Choice::NotAsked).await;
    assert_eq!(
        (outcomes(&again), question.as_str()),
        (vec!["failed".to_owned(), "had_result".to_owned()], ""),
        "{again}"
    );
    assert_eq!(queues.rig.workflow.executions.about("a \"b\".mp4").await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_question_names_the_videos_and_the_answer_decides_what_is_delivered() {
    let queues = Queues::with(Rig::start(Canned::faces(3)).await).await;
    queues.put_upload("clip.mp4", &sample_clip()).await;
    let done = queues.put_upload("done.mp4", ANY_VIDEO).await;
    let done = queues.rig.workflow.executions.start(&done).await.unwrap();
    assert!(queues.rig.end_of(&done).await.has_succeeded());
    let started = async || queues.rig.workflow.executions.about("clip.mp4").await.unwrap().len();

    // Nothing is done, and every message is visible again.
    let (dry, question) = queues.answered(&["--dry-run"], Choice::All).await;
    assert_eq!((outcomes(&dry), question.as_str()), (vec!["would_be_delivered".to_owned(); 2], ""));
    for part in [
        "elsewhere/clip.mp4",
        "new execution, billed: 0.2 min, USD 0.02",
        "remove",
        "2 would be delivered.",
        "Would be billed: 1 analysis, 0.2 minutes: about USD 0.02",
    ] {
        assert!(dry.to_string().contains(part), "{part} is not in:\n{dry}");
    }
    assert_eq!((queues.visible_uploads().await, started().await), (2, 0));

    let (none, question) = queues.answered(&[], Choice::None).await;
    for part in
        ["elsewhere/clip.mp4", "0.2 min, USD 0.02", "Free:   1 other\n", "Deliver all, only the free ones, or none?"]
    {
        assert!(question.contains(part), "{part} is not in:\n{question}");
    }
    assert_eq!((outcomes(&none), none.exit_status()), (vec!["declined".to_owned(); 2], 1));
    assert_eq!((queues.visible_uploads().await, started().await), (2, 0));

    let (unasked, _) = queues.answered(&[], Choice::NotAsked).await;
    assert_eq!(
        (outcomes(&unasked), unasked.exit_status()),
        (vec!["had_result".to_owned(), "not_agreed".to_owned()], 1)
    );
    assert!(unasked.to_string().contains("--yes"), "{unasked}");
    let (free, _) = queues.answered(&["--free"], Choice::All).await;
    assert_eq!((outcomes(&free), free.exit_status()), (vec!["left_out".to_owned()], 0));
    assert_eq!((queues.visible_uploads().await, started().await), (1, 0));

    let (all, _) = queues.answered(&[], Choice::All).await;
    assert_eq!((outcomes(&all), all.exit_status()), (vec!["started".to_owned()], 0));
    assert_eq!((queues.visible_uploads().await, started().await), (0, 1));
}

#[tokio::test]
async fn a_stop_during_the_question_makes_every_message_visible_again() {
    let queues = Queues::with(Rig::start(Canned::faces(3)).await).await;
    queues.put_upload("clip.mp4", ANY_VIDEO).await;
    let asked = tokio::sync::Notify::new();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stop_signal = stop_at(async { stopped.await.unwrap() });
    let ask = async |_: &str| {
        asked.notify_one();
        pending().await
    };
    let (report, ()) =
        tokio::join!(dead_letters::replay(&queues.deployed, &Silent, Consent::default(), ask, &stop_signal), async {
            asked.notified().await;
            assert_eq!(queues.visible_uploads().await, 0);
            stop.send(()).unwrap();
        });
    let report = report.unwrap();
    assert_eq!((report.exit_status(), report.to_string().as_str()), (130, "Stopped; nothing was delivered."));
    tokio::time::timeout(Duration::from_secs(10), async { while queues.visible_uploads().await == 0 {} })
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn messages_stay_invisible_to_others_while_the_user_thinks() {
    let step_functions = MockStepFunctions::default();
    let deployed = step_functions.deployed();
    let ask = async |question: &str| {
        assert!(question.contains("amzn-s3-demo-bucket/holiday/day 1.mp4"), "{question}");
        tokio::time::sleep(Duration::from_mins(11)).await;
        Choice::None
    };
    let stop = stop_at(pending());
    let report = dead_letters::replay(&deployed, &Silent, Consent::default(), ask, &stop).await.unwrap();
    assert_eq!(outcomes(&report), ["declined", "failed"]);
    // Every two minutes for six minutes, in both queues; in the end they are visible.
    assert_eq!(step_functions.visibility_timeouts(), [vec![360; 10], vec![0; 2]].concat());
}

#[tokio::test]
async fn a_completion_stays_in_the_queue_until_the_function_accepts_it() {
    let (gate, detector) = Gated::before(Canned::faces(3));
    let queues = Queues::with(Rig::start(detector).await).await;
    let rig = &queues.rig;
    rig.workflow.rekognition.faults().inject(Fault::MessageNever);
    let execution = rig.upload("lost.mp4", ANY_VIDEO).await;
    rig.until_a_job_is_recorded().await;

    let job_id = rig.workflow.rekognition.jobs()[0].job_id.clone();
    let mut event = fixture("sns/succeeded");
    event["Records"][0]["Sns"]["Message"] = json!(json!({ "JobId": job_id, "Status": "SUCCEEDED" }).to_string());
    let record = json!({ "requestContext": { "condition": "RetriesExhausted" }, "requestPayload": event });
    queues.put("undelivered-completions", &record.to_string()).await;

    // The function rejects the completion while the job runs.
    let early = queues.replay().await;
    assert_eq!(outcomes(&early), ["failed"]);
    assert!(early.to_string().contains("JobNotFinished"), "{early}");

    gate.open();
    rig.until("the job has ended", async || rig.workflow.rekognition.jobs()[0].status == JobStatus::Succeeded).await;
    assert!(rig.workflow.executions.describe(&execution.arn).await.unwrap().is_running());
    // The same completion again, in the format of SNS.
    queues.put("undelivered-completions", &event["Records"][0]["Sns"].to_string()).await;
    let late = queues.replay().await;
    assert!(late.all_well(), "{late}");
    assert_eq!(late.rows.len(), 2);
    for row in &late.rows {
        assert_eq!((row.queue, &row.outcome), (DeadLetterQueue::Completions, &DeadLetterOutcome::Delivered));
    }
    assert_eq!(rig.results_of(&execution.arn).await.faces.len(), 3);

    let empty = queues.replay().await;
    assert!(empty.all_well() && empty.to_string().starts_with("No dead letters"), "{empty}");
}
