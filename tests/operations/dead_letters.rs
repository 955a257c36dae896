//! Tests of `facereel replay --dead-letters`.

use std::{fs, future::pending, path::Path};

use facereel::commands::dead_letters::{self, DeadLetterQueue, DeadLetterReport};
use facereel::deployed::Deployed;
use facereel::terminal::stop_at;
use local_stack::Silent;
use rekognition_local::{Fault, JobStatus};
use serde_json::{Value, json};
use tests::workflow::{ANY_VIDEO, Canned, Gated, Rig};

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

    async fn replay(&self) -> DeadLetterReport {
        dead_letters::replay(&self.deployed, &Silent, &stop_at(pending())).await.unwrap()
    }
}

fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/{name}.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn outcomes(report: &DeadLetterReport) -> Vec<&str> {
    let mut outcomes: Vec<_> =
        report.rows.iter().map(|row| row.outcome.as_ref().map_or("not delivered", |done| *done)).collect();
    outcomes.sort_unstable();
    outcomes
}

#[tokio::test]
async fn an_undelivered_upload_starts_one_execution() {
    let queues = Queues::with(Rig::start(Canned::faces(3)).await).await;
    // The bucket has no rule that starts executions, as if EventBridge had failed.
    queues.deployed.s3.create_bucket().bucket("elsewhere").send().await.unwrap();
    let video = ANY_VIDEO.to_vec().into();
    let put = queues.deployed.s3.put_object().bucket("elsewhere").key("a \"b\".mp4").body(video).send().await.unwrap();
    let mut event = fixture("events/put-object");
    event["detail"]["bucket"]["name"] = json!("elsewhere");
    event["detail"]["object"]["key"] = json!("a \"b\".mp4");
    event["detail"]["object"]["size"] = json!(ANY_VIDEO.len());
    event["detail"]["object"]["etag"] = json!(put.e_tag().unwrap().trim_matches('"'));
    // The event is in the queue twice, together with a message that is not an event.
    for body in [&event.to_string(), &event.to_string(), "{\"hello\": \"world\"}"] {
        queues.put("undelivered-uploads", body).await;
    }

    let report = queues.replay().await;
    assert_eq!(outcomes(&report), ["not delivered", "started", "was already started"], "{report}");
    assert!(!report.all_well());
    assert!(report.to_string().contains("s3://elsewhere/a \"b\".mp4"), "{report}");
    assert!(
        report.to_string().contains("NOT delivered, stays in the queue: the message is not the event of an upload"),
        "{report}"
    );
    let executions = queues.rig.workflow.executions.about("a \"b\".mp4").await.unwrap();
    assert_eq!(executions.len(), 1);
    assert_eq!(executions[0].input, event);
    assert!(queues.rig.end_of(&executions[0].arn).await.has_succeeded());

    // An undelivered message is visible again immediately, and delivered ones are removed. Another event for a video with a
    // result starts nothing.
    event["id"] = json!("b2f1a5b0-0000-4000-8000-3d1c6f1d2a3b");
    queues.put("undelivered-uploads", &event.to_string()).await;
    let again = queues.replay().await;
    assert_eq!(outcomes(&again), ["has a result already", "not delivered"], "{again}");
    assert_eq!(queues.rig.workflow.executions.about("a \"b\".mp4").await.unwrap().len(), 1);
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
    assert_eq!(outcomes(&early), ["not delivered"]);
    assert!(early.to_string().contains("JobNotFinished"), "{early}");

    gate.open();
    rig.until("the job has ended", async || rig.workflow.rekognition.jobs()[0].status == JobStatus::Succeeded).await;
    assert!(rig.workflow.executions.describe(&execution.arn).await.unwrap().is_running());
    // The same completion again, in the format of SNS.
    queues.put("undelivered-completions", &event["Records"][0]["Sns"].to_string()).await;
    let late = queues.replay().await;
    assert_eq!(outcomes(&late), ["delivered", "delivered"], "{late}");
    assert!(late.all_well() && late.rows.iter().all(|row| row.queue == DeadLetterQueue::Completions));
    assert_eq!(rig.results_of(&execution.arn).await.faces.len(), 3);

    let empty = queues.replay().await;
    assert!(empty.all_well() && empty.to_string().starts_with("No dead letters"), "{empty}");
}
