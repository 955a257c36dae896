//! start-waiting-jobs: what the schedule does with the queue.

mod common;

use aws_sdk_rekognition::{Client as Rekognition, operation::start_face_detection::StartFaceDetectionOutput};
use aws_smithy_mocks::mock;
use common::{SentCallbacks, Store, accepting_sfn, clients};
use lambdas::{
    job::{FaceAttributes, JobParameters},
    pending_callbacks::{PendingCallback, TaskToken},
    queue::QueueEntry,
    start_waiting_jobs::{Config, start_waiting_jobs},
    video::Video,
};

/// The event of a schedule as EventBridge sends it
/// (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-run-lambda-schedule.html>).
const EVENT: &str = include_str!("../../tests/fixtures/events/schedule.json");

async fn call(store: &Store) {
    let started = mock!(Rekognition::start_face_detection)
        .then_output(|| StartFaceDetectionOutput::builder().job_id("job").build());
    let clients = clients(store, &[started], &accepting_sfn(&SentCallbacks::default()));
    let config = Config { results_bucket: "results".into() };
    start_waiting_jobs(&clients, &config, serde_json::from_str(EVENT).unwrap()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_job_of_an_entry_is_started() {
    let job = JobParameters {
        video: Video {
            bucket: "uploads".into(),
            key: "holiday.mp4".into(),
            version_id: Some("v".into()),
            etag: "e".into(),
            bytes: 9,
        },
        face_attributes: FaceAttributes::Default,
        topic_arn: "topic".into(),
        role_arn: "role".into(),
        attempt: 0,
    };
    let (execution_name, task_attempt) = ("one".to_owned(), 0);
    let task_token = TaskToken("token".into());
    let callback = PendingCallback {
        execution_name: execution_name.clone(),
        entered_ms: 0,
        task_attempt,
        task_token,
        job: job.into(),
    };
    let entry = QueueEntry { execution_name, task_attempt, started_ms: 0, entered_ms: 0, job: callback.job.clone() };
    let store = Store::default();
    store.put(&callback.object_key(), serde_json::to_vec(&callback).unwrap());
    store.put(&entry.object_key(), serde_json::to_vec(&entry).unwrap());
    call(&store).await;
    let record = format!("queue/started-jobs/{}", callback.job.idempotency_key());
    assert_eq!(store.keys(), [callback.object_key(), record]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_queue_is_not_written_to() {
    let store = Store::default();
    store.put("queue/lease", "{}");
    call(&store).await;
    assert_eq!(store.text("queue/lease"), "{}");
}
