//! resume-execution against recorded SNS events.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_rekognition::{
    Client as Rekognition,
    config::http::HttpResponse,
    error::ErrorMetadata,
    operation::{
        get_face_detection::GetFaceDetectionError,
        start_face_detection::{StartFaceDetectionError, StartFaceDetectionOutput},
    },
    types::{VideoJobStatus, error::ResourceNotFoundException},
};
use aws_sdk_sfn::{
    operation::send_task_success::SendTaskSuccessError,
    types::error::{InvalidToken, TaskTimedOut},
};
use aws_smithy_mocks::{MockResponse, Rule, mock};
use common::{SentCallbacks, Store, accepting_sfn, clients, report};
use lambdas::{
    aws::ErrorName,
    completed_job::CompletedJob,
    job::{FaceAttributes, JobParameters},
    pending_callbacks::{PendingCallback, TaskToken},
    queue::QueueEntry,
    resume_execution::{Config, ResumeExecutionError, resume_execution},
    video::Video,
};
use serde_json::{Value, json};

fn callback(execution: &str, key: &str) -> PendingCallback {
    PendingCallback {
        execution_name: execution.into(),
        entered_ms: 0,
        task_attempt: 0,
        task_token: TaskToken(format!("token of {execution}")),
        job: JobParameters {
            video: Video { bucket: "uploads".into(), key: key.into(), version_id: None, etag: "e".into(), bytes: 1000 },
            face_attributes: FaceAttributes::Default,
            topic_arn: "topic".into(),
            role_arn: "role".into(),
            attempt: 0,
        }
        .into(),
    }
}

/// A store in which these callbacks wait for the job of the first one.
fn waiting(callbacks: &[PendingCallback]) -> (Store, String) {
    let idempotency_key = callbacks[0].job.idempotency_key();
    let store = Store::default();
    for callback in callbacks {
        let name = callback.object_key();
        let name = name.rsplit_once(&format!("{}/", callback.job.idempotency_key())).unwrap().1;
        store.put(&format!("callbacks/{idempotency_key}/{name}"), serde_json::to_vec(callback).unwrap());
    }
    (store, idempotency_key.to_owned())
}

fn callbacks(store: &Store) -> Vec<String> {
    store.keys().into_iter().filter(|key| key.starts_with("callbacks/")).collect()
}

fn answer(response: impl Fn() -> HttpResponse + Send + Sync + 'static) -> Vec<Rule> {
    vec![mock!(Rekognition::get_face_detection).then_http_response(response)]
}

async fn resume(store: &Store, rekognition: &[Rule], sfn: &[Rule], event: &str) -> Result<(), ResumeExecutionError> {
    let path = format!("{}/../tests/fixtures/sns/{event}.json", env!("CARGO_MANIFEST_DIR"));
    let event = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    resume_execution(&clients(store, rekognition, sfn), &Config { results_bucket: "results".into() }, event).await
}

#[tokio::test]
async fn every_execution_that_waits_is_resumed_and_its_callback_is_deleted() {
    let (store, idempotency_key) = waiting(&[callback("one", "holiday.mp4"), callback("two", "holiday.mp4")]);
    let sent = SentCallbacks::default();
    let rekognition = answer(move || report(&idempotency_key, &VideoJobStatus::Succeeded, None));
    resume(&store, &rekognition, &accepting_sfn(&sent), "succeeded").await.unwrap();
    let sent = sent.lock().unwrap();
    assert_eq!(sent.iter().map(|(token, _)| token.as_str()).collect::<Vec<_>>(), ["token of one", "token of two"]);
    for (_, output) in sent.iter() {
        let detected: Value = serde_json::from_str(output.as_ref().unwrap()).unwrap();
        let job = &detected["job"];
        assert_eq!(job["job_id"], "8f14e45fceea167a5a36dedd4bea2543b6f4b7f0ad3ce8b1d7d4b2a1e5c6f7a8");
        assert_eq!(job["video"]["key"], "holiday.mp4");
        assert_eq!(detected["window"], json!({"batches": [{"index": 0, "pages": 1}], "listed": 1}));
    }
    assert_eq!(callbacks(&store), Vec::<String>::new());
}

#[tokio::test]
async fn failed_and_error_fail_the_execution_with_the_reason_of_rekognition() {
    for event in ["failed", "error"] {
        let (store, idempotency_key) = waiting(&[callback("one", "holiday.mp4")]);
        let sent = SentCallbacks::default();
        let rekognition =
            answer(move || report(&idempotency_key, &VideoJobStatus::Failed, Some("Video codec not supported")));
        resume(&store, &rekognition, &accepting_sfn(&sent), event).await.unwrap();
        let (error, cause) = sent.lock().unwrap()[0].1.clone().unwrap_err();
        assert_eq!(error, "JobFailed", "{event}");
        assert!(cause.starts_with("Video codec not supported (face detection job "), "{event}: {cause}");
    }
}

#[tokio::test]
async fn an_execution_that_entered_after_the_failure_was_seen_does_not_receive_it() {
    let (store, idempotency_key) = waiting(&[
        callback("one", "holiday.mp4"),
        PendingCallback { entered_ms: 1001, ..callback("replay", "holiday.mp4") },
    ]);
    let completed = CompletedJob {
        job_id: "8f14e45fceea167a5a36dedd4bea2543b6f4b7f0ad3ce8b1d7d4b2a1e5c6f7a8".into(),
        seen_ms: 1000,
    };
    store.put(&format!("queue/completed-jobs/{idempotency_key}"), serde_json::to_vec(&completed).unwrap());
    let sent = SentCallbacks::default();
    let rekognition =
        answer(move || report(&idempotency_key, &VideoJobStatus::Failed, Some("Video codec not supported")));
    resume(&store, &rekognition, &accepting_sfn(&sent), "failed").await.unwrap();
    assert_eq!(sent.lock().unwrap().iter().map(|(token, _)| token.as_str()).collect::<Vec<_>>(), ["token of one"]);
    assert_eq!(callbacks(&store).len(), 1, "the replay goes on waiting");
}

#[tokio::test]
async fn the_status_comes_from_rekognition_and_not_from_the_message() {
    // The message says SUCCEEDED, but Rekognition reports that the job failed.
    let (store, idempotency_key) = waiting(&[callback("one", "holiday.mp4")]);
    let sent = SentCallbacks::default();
    let rekognition = answer(move || report(&idempotency_key, &VideoJobStatus::Failed, Some("unreadable")));
    resume(&store, &rekognition, &accepting_sfn(&sent), "succeeded").await.unwrap();
    assert!(sent.lock().unwrap()[0].1.is_err());
}

#[tokio::test]
async fn a_message_that_arrives_before_the_end_of_the_job_is_delivered_again() {
    let (store, idempotency_key) = waiting(&[callback("one", "holiday.mp4")]);
    let sent = SentCallbacks::default();
    let rekognition = answer(move || report(&idempotency_key, &VideoJobStatus::InProgress, None));
    let error = resume(&store, &rekognition, &accepting_sfn(&sent), "succeeded").await.unwrap_err();
    assert_eq!(error.error_name(), "JobNotFinished");
    assert_eq!((sent.lock().unwrap().len(), store.keys().len()), (0, 1));
}

#[tokio::test]
async fn malformed_messages_are_ignored_without_a_call() {
    for event in ["no-json", "other-json"] {
        let sent = SentCallbacks::default();
        let asked = answer(|| panic!("a malformed message asks for no status"));
        resume(&Store::default(), &asked, &accepting_sfn(&sent), event).await.unwrap();
        assert!(sent.lock().unwrap().is_empty(), "{event}");
    }
}

#[tokio::test]
async fn a_malformed_record_does_not_stop_the_next_one() {
    let (store, idempotency_key) = waiting(&[callback("one", "holiday.mp4")]);
    let sent = SentCallbacks::default();
    let rekognition = answer(move || report(&idempotency_key, &VideoJobStatus::Succeeded, None));
    resume(&store, &rekognition, &accepting_sfn(&sent), "malformed-then-succeeded").await.unwrap();
    assert_eq!(sent.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_completion_that_arrives_before_its_job_is_visible_resumes_the_execution() {
    let (store, idempotency_key) = waiting(&[callback("one", "holiday.mp4")]);
    let (sent, asked) = (SentCallbacks::default(), AtomicUsize::new(0));
    let rekognition = vec![mock!(Rekognition::get_face_detection).then_compute_response(move |_| {
        if asked.fetch_add(1, Ordering::Relaxed) < 3 {
            let meta = ErrorMetadata::builder().code("ResourceNotFoundException").build();
            MockResponse::Error(GetFaceDetectionError::ResourceNotFoundException(
                ResourceNotFoundException::builder().meta(meta).build(),
            ))
        } else {
            MockResponse::Http(report(&idempotency_key, &VideoJobStatus::Succeeded, None))
        }
    })];
    resume(&store, &rekognition, &accepting_sfn(&sent), "succeeded").await.unwrap();
    assert_eq!(sent.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_forged_job_id_resumes_no_execution() {
    let (store, _) = waiting(&[callback("one", "holiday.mp4")]);
    let sent = SentCallbacks::default();
    let unknown = vec![mock!(Rekognition::get_face_detection).then_error(|| {
        GetFaceDetectionError::ResourceNotFoundException(
            ResourceNotFoundException::builder()
                .meta(ErrorMetadata::builder().code("ResourceNotFoundException").build())
                .build(),
        )
    })];
    resume(&store, &unknown, &accepting_sfn(&sent), "succeeded").await.unwrap();
    assert_eq!((sent.lock().unwrap().len(), store.keys().len()), (0, 1));
}

#[tokio::test]
async fn a_callback_for_another_video_is_not_resumed() {
    let (store, idempotency_key) = waiting(&[callback("one", "holiday.mp4"), callback("other", "other.mp4")]);
    let sent = SentCallbacks::default();
    let rekognition = answer(move || report(&idempotency_key, &VideoJobStatus::Succeeded, None));
    resume(&store, &rekognition, &accepting_sfn(&sent), "succeeded").await.unwrap();
    assert_eq!(sent.lock().unwrap().iter().map(|(token, _)| token.as_str()).collect::<Vec<_>>(), ["token of one"]);
}

#[tokio::test]
async fn callbacks_with_late_and_invalid_tokens_are_deleted_without_an_error() {
    let late = || {
        let meta = ErrorMetadata::builder().code("TaskTimedOut").build();
        SendTaskSuccessError::TaskTimedOut(TaskTimedOut::builder().meta(meta).build())
    };
    let invalid = || {
        let meta = ErrorMetadata::builder().code("InvalidToken").build();
        SendTaskSuccessError::InvalidToken(InvalidToken::builder().meta(meta).build())
    };
    for rule in [
        mock!(aws_sdk_sfn::Client::send_task_success).then_error(late),
        mock!(aws_sdk_sfn::Client::send_task_success).then_error(invalid),
    ] {
        let (store, idempotency_key) = waiting(&[callback("one", "holiday.mp4")]);
        let rekognition = answer(move || report(&idempotency_key, &VideoJobStatus::Succeeded, None));
        resume(&store, &rekognition, &[rule], "succeeded").await.unwrap();
        assert_eq!(callbacks(&store), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_callback_fails_the_invocation_and_keeps_the_callback() {
    let (store, idempotency_key) = waiting(&[callback("one", "holiday.mp4")]);
    let throttled = mock!(aws_sdk_sfn::Client::send_task_success).then_error(|| {
        SendTaskSuccessError::generic(ErrorMetadata::builder().code("ThrottlingException").message("slowly").build())
    });
    let rekognition = answer(move || report(&idempotency_key, &VideoJobStatus::Succeeded, None));
    let error = resume(&store, &rekognition, &[throttled], "succeeded").await.unwrap_err();
    assert_eq!(error.error_name(), "Throttled");
    assert_eq!(callbacks(&store).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_is_free_some_seconds_after_its_job_has_ended_starts_the_next_job() {
    let (store, idempotency_key) = waiting(&[callback("one", "holiday.mp4")]);
    let next = callback("next", "next.mp4");
    store.put("next.mp4", "");
    store.put(&next.object_key(), serde_json::to_vec(&next).unwrap());
    let entry = QueueEntry {
        execution_name: "next".into(),
        task_attempt: 0,
        started_ms: 0,
        entered_ms: 0,
        job: next.job.clone(),
    };
    store.put(&entry.object_key(), serde_json::to_vec(&entry).unwrap());
    let (sent, calls) = (SentCallbacks::default(), AtomicUsize::new(0));
    let start = mock!(Rekognition::start_face_detection).then_compute_response(move |_| {
        if calls.fetch_add(1, Ordering::Relaxed) < 2 {
            let meta = ErrorMetadata::builder().code("LimitExceededException").build();
            return MockResponse::Error(StartFaceDetectionError::generic(meta));
        }
        MockResponse::Output(StartFaceDetectionOutput::builder().job_id("next job").build())
    });
    let mut rekognition = answer(move || report(&idempotency_key, &VideoJobStatus::Succeeded, None));
    rekognition.push(start);
    resume(&store, &rekognition, &accepting_sfn(&sent), "succeeded").await.unwrap();
    assert!(!store.keys().contains(&entry.object_key()), "{:?}", store.keys());
    assert!(store.keys().contains(&format!("queue/started-jobs/{}", next.job.idempotency_key())));
}
