//! Tests of `facereel status`.

use clap::Parser as _;
use facereel::commands::status::Status;
use facereel::deployed::Deployed;
use local_stack::Silent;
use serde_json::json;
use tests::workflow::{ANY_VIDEO, Canned, Gated, Rig};

/// Parses the command line.
#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    status: Status,
}

#[tokio::test]
async fn the_overview_contains_running_waiting_failed_and_undelivered() {
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
    let command = Command::parse_from(["status", "--last", "1h"]).status;
    let overview = command.run(&deployed, &Silent).await.unwrap();
    assert_eq!(overview.running, 2);
    let waiting: Vec<_> = overview.waiting.iter().map(|waiting| waiting.execution.as_str()).collect();
    assert_eq!(waiting, [second.arn.rsplit(':').next().unwrap()]);
    let failed: Vec<_> = overview.failed.iter().map(|(error, count)| (error.as_str(), *count)).collect();
    assert_eq!(failed, [("InvalidInput", 1), ("VideoNotFound", 2)]);
    assert_eq!((overview.undelivered_uploads, overview.undelivered_completions), (0, 1));
    for part in [
        "Running      2, the oldest for",
        "1 for a job slot",
        "3 in the last 1h",
        "2 VideoNotFound",
        "0 uploads, 1 completion\n",
    ] {
        assert!(overview.to_string().contains(part), "{part} is not in:\n{overview}");
    }

    gate.open();
    for execution in [first, second] {
        rig.results_of(&execution.arn).await;
    }
    let overview = command.run(&deployed, &Silent).await.unwrap();
    assert_eq!((overview.running, overview.waiting.len()), (0, 0));
}
