//! start-detection: what it stores, which jobs it starts, and which callbacks it sends.

mod common;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_sdk_rekognition::{
    Client as Rekognition,
    error::ErrorMetadata,
    operation::{
        get_face_detection::GetFaceDetectionError,
        start_face_detection::{StartFaceDetectionError, StartFaceDetectionOutput},
    },
    types::{VideoJobStatus, error::LimitExceededException},
};
use aws_sdk_s3::{
    config::http::HttpResponse, operation::get_object::GetObjectError, primitives::SdkBody,
    types::error::InvalidObjectState,
};
use aws_sdk_sfn::{operation::send_task_heartbeat::SendTaskHeartbeatError, types::error::TaskTimedOut};
use aws_smithy_mocks::{MockResponse, Rule, mock};
use common::{SentCallbacks, Store, accepting_sfn, clients, clients_with_s3, report};
use lambdas::{
    aws::Clients,
    job::FaceAttributes,
    start_detection::{Config, start_detection},
};
use serde_json::{Value, json};

const VIDEO: &[u8] = b"\0\0\0\x20ftypisom and so on";

/// The idempotency keys of the jobs that were started.
type Started = Arc<Mutex<Vec<String>>>;

/// Rekognition whose n-th job (by idempotency key) is named `job-n` and has the n-th status.
fn jobs(started: &Started, statuses: &'static [VideoJobStatus]) -> Vec<Rule> {
    let keys = started.clone();
    vec![
        mock!(Rekognition::start_face_detection).then_compute_output(move |request| {
            let idempotency_key = request.job_tag().unwrap().to_owned();
            assert_eq!(request.client_request_token(), Some(idempotency_key.as_str()));
            let mut keys = keys.lock().unwrap();
            if !keys.contains(&idempotency_key) {
                keys.push(idempotency_key.clone());
            }
            let number = keys.iter().position(|other| *other == idempotency_key).unwrap();
            StartFaceDetectionOutput::builder().job_id(number.to_string()).build()
        }),
        mock!(Rekognition::get_face_detection).then_compute_output(move |request| {
            let number: usize = request.job_id().unwrap().parse().unwrap();
            report("", statuses[number].clone(), Some("Video codec not supported"))
        }),
    ]
}

fn full_account() -> Rule {
    mock!(Rekognition::start_face_detection).then_error(|| {
        let meta = ErrorMetadata::builder().code("LimitExceededException").build();
        StartFaceDetectionError::LimitExceededException(LimitExceededException::builder().meta(meta).build())
    })
}

async fn start(store: &Store, rekognition: &[Rule], sent: &SentCallbacks, execution: &str, token: &str) {
    start_entered("2000-01-01T00:00:00Z", store, rekognition, sent, execution, token).await;
}

/// Calls the function for an execution that was started or redriven after everything that has happened so far.
async fn replay(store: &Store, rekognition: &[Rule], sent: &SentCallbacks, execution: &str, token: &str) {
    start_entered("9999-01-01T00:00:00Z", store, rekognition, sent, execution, token).await;
}

async fn start_entered(
    entered: &str,
    store: &Store,
    rekognition: &[Rule],
    sent: &SentCallbacks,
    execution: &str,
    token: &str,
) {
    let request = json!({
        "task_token": token,
        "execution_name": execution, "started": "2026-11-22T17:38:00.123Z", "entered": entered,
        "input": {"bucket": "uploads", "key": "holiday.mp4"},
    });
    call(&clients(store, rekognition, &accepting_sfn(sent)), request).await;
}

/// Calls the function for an execution of another video.
async fn start_video(key: &str, store: &Store, rekognition: &[Rule], sfn: &[Rule], execution: &str) {
    let request = json!({
        "task_token": format!("token of {execution}"),
        "execution_name": execution, "started": "2026-11-22T17:39:00.000Z", "entered": "2026-11-22T17:39:00.000Z",
        "input": {"bucket": "uploads", "key": key},
    });
    call(&clients(store, rekognition, sfn), request).await;
}

async fn call(clients: &Clients, request: Value) {
    let config = Config {
        results_bucket: "results".into(),
        completion_topic_arn: "arn:aws:sns:us-east-1:123456789012:completions".into(),
        publish_role_arn: "arn:aws:iam::123456789012:role/publish".into(),
        face_attributes: FaceAttributes::Default,
    };
    start_detection(clients, &config, serde_json::from_value(request).unwrap()).await.unwrap();
}

fn with_video(body: &[u8]) -> Store {
    let store = Store::default();
    store.put("holiday.mp4", body);
    store
}

fn error_sent(sent: &SentCallbacks) -> String {
    sent.lock().unwrap().last().unwrap().1.clone().unwrap_err().0
}

#[tokio::test(start_paused = true)]
async fn a_job_that_runs_has_a_pending_callback_and_no_answer() {
    let (store, sent, started) = (with_video(VIDEO), SentCallbacks::default(), Started::default());
    start(&store, &jobs(&started, &[VideoJobStatus::InProgress]), &sent, "one", "secret token").await;
    let idempotency_key = started.lock().unwrap()[0].clone();
    let keys = store.keys();
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert!(keys[0].starts_with(&format!("callbacks/{idempotency_key}/one/")), "{keys:?}");
    assert!(!keys[0].contains("secret"));
    assert!(store.text(&keys[0]).contains("secret token"));
    assert!(sent.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_has_succeeded_answers_immediately_and_is_not_started_again() {
    let (store, sent, started) = (with_video(VIDEO), SentCallbacks::default(), Started::default());
    for execution in ["one", "two"] {
        start(&store, &jobs(&started, &[VideoJobStatus::Succeeded]), &sent, execution, execution).await;
    }
    let sent = sent.lock().unwrap();
    assert_eq!(
        sent.iter().map(|(token, sent)| (token.as_str(), sent.is_ok())).collect::<Vec<_>>(),
        [("one", true), ("two", true)]
    );
    assert_eq!(started.lock().unwrap().len(), 1);
    let ended = format!("queue/completed-jobs/{}", started.lock().unwrap()[0]);
    assert_eq!(store.keys(), ["holiday.mp4", &ended]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_has_succeeded_answers_immediately_while_every_slot_is_taken() {
    let (store, sent, started) = (with_video(VIDEO), SentCallbacks::default(), Started::default());
    start(&store, &jobs(&started, &[VideoJobStatus::Succeeded]), &sent, "one", "one").await;
    let not_started = [full_account(), jobs(&started, &[VideoJobStatus::Succeeded]).remove(1)];
    start(&store, &not_started, &sent, "two", "two").await;
    assert_eq!(sent.lock().unwrap().iter().filter(|(_, sent)| sent.is_ok()).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_sent_again_to_an_execution_that_entered_before_it_was_seen() {
    let (store, sent, started) = (with_video(VIDEO), SentCallbacks::default(), Started::default());
    // The first callback never arrived, and the same execution retries with another token.
    for token in ["first token", "second token"] {
        start(&store, &jobs(&started, &[VideoJobStatus::Failed]), &sent, "one", token).await;
        assert_eq!(error_sent(&sent), "JobFailed");
    }
    assert_eq!((started.lock().unwrap().len(), sent.lock().unwrap().len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_sent_first_and_only_a_replay_starts_the_next_attempt() {
    let (store, sent, started) = (with_video(VIDEO), SentCallbacks::default(), Started::default());
    // It fails before its status is asked for. No second job is paid for.
    start(&store, &jobs(&started, &[VideoJobStatus::Failed]), &sent, "one", "first token").await;
    assert_eq!(error_sent(&sent), "JobFailed");
    assert_eq!(started.lock().unwrap().len(), 1);

    let rekognition = jobs(&started, &[VideoJobStatus::Failed, VideoJobStatus::InProgress]);
    replay(&store, &rekognition, &sent, "replay", "second token").await;
    let keys = started.lock().unwrap().clone();
    assert_eq!((keys.len(), sent.lock().unwrap().len()), (2, 1));
    let waiting: Vec<_> = store.keys().into_iter().filter(|key| key.starts_with("callbacks/")).collect();
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert!(waiting[0].starts_with(&format!("callbacks/{}/replay/", keys[1])), "{waiting:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_whose_completion_was_lost_is_sent_before_a_new_job_is_paid_for() {
    let (store, sent, started) = (with_video(VIDEO), SentCallbacks::default(), Started::default());
    start(&store, &jobs(&started, &[VideoJobStatus::InProgress]), &sent, "one", "first token").await;
    // After the missed heartbeat, the same execution retries with a new token.
    start(&store, &jobs(&started, &[VideoJobStatus::Failed]), &sent, "one", "second token").await;
    let sent = sent.lock().unwrap();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].0, "second token");
    assert_eq!(sent[0].1.clone().unwrap_err().0, "JobFailed");
    assert_eq!(started.lock().unwrap().len(), 1);
    assert!(!store.keys().iter().any(|key| key.starts_with("callbacks/")), "{:?}", store.keys());
}

mod after_start {
    use super::*;

    /// Rekognition whose n-th job (by idempotency key) is named by n, and whose n-th answer of `GetFaceDetection` is `answer` of the job
    /// and n: a status, or an error's code.
    fn answering(
        started: &Started,
        answer: impl Fn(&str, usize) -> Result<VideoJobStatus, &'static str> + Send + Sync + 'static,
    ) -> Vec<Rule> {
        let asked = AtomicUsize::new(0);
        let get = mock!(Rekognition::get_face_detection).then_compute_response(move |request| {
            match answer(request.job_id().unwrap(), asked.fetch_add(1, Ordering::Relaxed)) {
                Ok(status) => MockResponse::Output(report("", status, None)),
                Err(code) => {
                    let meta = ErrorMetadata::builder().code(code).build();
                    MockResponse::Error(GetFaceDetectionError::generic(meta))
                }
            }
        });
        vec![jobs(started, &[]).remove(0), get]
    }

    const NOT_FOUND: Result<VideoJobStatus, &str> = Err("ResourceNotFoundException");

    fn record_completed_job(store: &Store, idempotency_key: &str, job_id: &str, seen_ms: u64) {
        let completed = json!({"job_id": job_id, "seen_ms": seen_ms});
        store.put(&format!("queue/completed-jobs/{idempotency_key}"), completed.to_string());
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_is_not_visible_yet_is_asked_for_again() {
        let (store, sent, started) = (with_video(VIDEO), SentCallbacks::default(), Started::default());
        let rekognition =
            answering(&started, |_, asked| if asked < 5 { NOT_FOUND } else { Ok(VideoJobStatus::InProgress) });
        start(&store, &rekognition, &sent, "one", "token").await;
        assert_eq!(started.lock().unwrap().len(), 1);
        assert!(sent.lock().unwrap().is_empty());
        assert!(store.keys()[0].starts_with(&format!("callbacks/{}/one/", started.lock().unwrap()[0])));
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_stays_invisible_is_retried_and_never_paid_twice() {
        for code in ["ResourceNotFoundException", "InvalidParameterException"] {
            let (store, sent, started) = (with_video(VIDEO), SentCallbacks::default(), Started::default());
            let begun = tokio::time::Instant::now();
            start(&store, &answering(&started, move |_, _| Err(code)), &sent, "one", "token").await;
            assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
            let (error, cause) = sent.lock().unwrap()[0].1.clone().unwrap_err();
            assert_eq!(error, "ServiceUnavailable", "{code}");
            assert!(cause.contains("the job 0 has been started but cannot be found yet"), "{cause}");
            assert_eq!(started.lock().unwrap().len(), 1, "{code}");
            assert_eq!(store.keys(), ["holiday.mp4"], "{code}");

            // The Retry finds the same job.
            start(&store, &answering(&started, |_, _| Ok(VideoJobStatus::InProgress)), &sent, "one", "next token")
                .await;
            assert_eq!((started.lock().unwrap().len(), sent.lock().unwrap().len()), (1, 1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_start_without_a_job_id_is_retried() {
        for job_id in [None, Some("")] {
            let (store, sent) = (with_video(VIDEO), SentCallbacks::default());
            let rekognition = [
                mock!(Rekognition::start_face_detection).then_output(move || {
                    StartFaceDetectionOutput::builder().set_job_id(job_id.map(str::to_owned)).build()
                }),
                mock!(Rekognition::get_face_detection)
                    .then_compute_output(|request| panic!("asked for the job {:?}", request.job_id())),
            ];
            start(&store, &rekognition, &sent, "one", "token").await;
            let (error, cause) = sent.lock().unwrap()[0].1.clone().unwrap_err();
            assert_eq!(error, "ServiceUnavailable");
            assert!(cause.contains("StartFaceDetection") && cause.contains("has no JobId"), "{cause}");
        }
    }

    /// The idempotency key of the first job of the video.
    async fn first_key() -> String {
        let (store, sent, started) = (with_video(VIDEO), SentCallbacks::default(), Started::default());
        start(&store, &jobs(&started, &[VideoJobStatus::InProgress]), &sent, "one", "token").await;
        started.lock().unwrap()[0].clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_is_not_found_has_expired_only_if_its_end_was_recorded_long_ago() {
        let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
        // The job whose end is recorded, when, and the number of jobs that are started.
        for (ended, seen_ms, jobs_started) in [
            ("0", now - 6 * 24 * 60 * 60 * 1000, 2),
            // Another invocation has seen the end of a job that this call cannot see yet.
            ("0", now, 1),
            // Rekognition has deleted that job and its ClientRequestToken, and has started another job.
            ("an older job", 1000, 1),
        ] {
            let (store, sent, started) = (with_video(VIDEO), SentCallbacks::default(), Started::default());
            record_completed_job(&store, &first_key().await, ended, seen_ms);
            let rekognition =
                answering(&started, |job_id, _| if job_id == "1" { Ok(VideoJobStatus::InProgress) } else { NOT_FOUND });
            replay(&store, &rekognition, &sent, "replay", "token").await;
            assert_eq!(started.lock().unwrap().len(), jobs_started, "{ended} {seen_ms}");
            if jobs_started == 1 {
                assert_eq!(error_sent(&sent), "ServiceUnavailable");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_account_keeps_the_entry_and_the_oldest_entry_starts_first() {
    let (store, sent, started) = (with_video(VIDEO), SentCallbacks::default(), Started::default());
    start(&store, &[full_account()], &sent, "one", "token").await;
    let entries = |store: &Store| store.keys().into_iter().filter(|key| key.starts_with("queue/")).collect::<Vec<_>>();
    assert_eq!(entries(&store), ["queue/entries/1795369080123-one"]);
    assert!(sent.lock().unwrap().is_empty());

    // The next invocation starts the waiting entry as well as its own.
    start(&store, &jobs(&started, &[VideoJobStatus::InProgress]), &sent, "two", "another token").await;
    assert_eq!(entries(&store), Vec::<String>::new());
    assert!(sent.lock().unwrap().is_empty());
    assert_eq!(store.keys().iter().filter(|key| key.starts_with("callbacks/")).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_job_is_not_started_for_an_execution_that_was_stopped_while_it_waited() {
    let (store, sent, started) = (with_video(VIDEO), SentCallbacks::default(), Started::default());
    start(&store, &[full_account()], &sent, "stopped", "closed").await;
    store.put("other.mp4", VIDEO);

    let closed = mock!(aws_sdk_sfn::Client::send_task_heartbeat)
        .match_requests(|request| request.task_token() == Some("closed"))
        .then_error(|| {
            let meta = ErrorMetadata::builder().code("TaskTimedOut").build();
            SendTaskHeartbeatError::TaskTimedOut(TaskTimedOut::builder().meta(meta).build())
        });
    let mut sfn = vec![closed];
    sfn.extend(accepting_sfn(&sent));
    start_video("other.mp4", &store, &jobs(&started, &[VideoJobStatus::InProgress]), &sfn, "other").await;
    assert_eq!(started.lock().unwrap().len(), 1, "one job, for the execution that waits");
    let left: Vec<_> = store.keys().into_iter().filter(|key| key.contains("stopped")).collect();
    assert_eq!(left, Vec::<String>::new(), "the entry and the callback of the stopped execution");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_not_a_video_fails_by_name_and_starts_no_job() {
    for (body, error) in
        [(Some(&b""[..]), "VideoEmpty"), (Some(b"just some text"), "NotAVideo"), (None, "VideoNotFound")]
    {
        let (store, sent, started) = (Store::default(), SentCallbacks::default(), Started::default());
        if let Some(body) = body {
            store.put("holiday.mp4", body);
        }
        start(&store, &jobs(&started, &[]), &sent, "one", "token").await;
        assert_eq!(error_sent(&sent), error);
        assert!(started.lock().unwrap().is_empty(), "{error}");
        assert!(store.keys().iter().all(|key| key == "holiday.mp4"), "{error}: {:?}", store.keys());
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_s3_does_not_serve_fails_by_name_and_starts_no_job() {
    let head = |status: u16| {
        mock!(aws_sdk_s3::Client::head_object)
            .then_http_response(move || HttpResponse::new(status.try_into().unwrap(), SdkBody::empty()))
    };
    let archived = mock!(aws_sdk_s3::Client::get_object).then_error(|| {
        let meta = ErrorMetadata::builder().code("InvalidObjectState").build();
        GetObjectError::InvalidObjectState(InvalidObjectState::builder().meta(meta).build())
    });
    for (rule, error, part) in [
        (head(301), "VideoUnreadable", "another Region"),
        (head(400), "VideoUnreadable", "malformed"),
        (head(403), "AccessDenied", "HTTP status 403"),
        (head(404), "VideoNotFound", "upload it again"),
        (archived, "VideoArchived", "restore it"),
    ] {
        let (store, sent, started) = (with_video(VIDEO), SentCallbacks::default(), Started::default());
        let request = json!({
            "task_token": "token",
            "execution_name": "one", "started": "2026-11-22T17:39:00.000Z", "entered": "2026-11-22T17:39:00.000Z",
            "input": {"bucket": "uploads", "key": "holiday.mp4"},
        });
        call(&clients_with_s3(&[rule], &store, &jobs(&started, &[]), &accepting_sfn(&sent)), request).await;
        let (name, cause) = sent.lock().unwrap()[0].1.clone().unwrap_err();
        assert_eq!(name, error);
        assert!(cause.contains(part), "{error}: {cause}");
        assert!(started.lock().unwrap().is_empty(), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_status_call_does_not_fail_an_execution_whose_job_is_paid_for() {
    let (store, sent, started) = (with_video(VIDEO), SentCallbacks::default(), Started::default());
    let start_call = jobs(&started, &[VideoJobStatus::InProgress]).swap_remove(0);
    let calls = AtomicUsize::new(0);
    let status_call = mock!(Rekognition::get_face_detection).then_compute_response(move |_| {
        if calls.fetch_add(1, Ordering::Relaxed) < 6 {
            let meta = ErrorMetadata::builder().code("ProvisionedThroughputExceededException").build();
            return MockResponse::Error(GetFaceDetectionError::generic(meta));
        }
        MockResponse::Output(report("", VideoJobStatus::InProgress, None))
    });
    start(&store, &[start_call, status_call], &sent, "one", "token").await;
    assert!(sent.lock().unwrap().is_empty(), "{:?}", sent.lock().unwrap());
    assert_eq!(store.keys().iter().filter(|key| key.starts_with("callbacks/")).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_is_named() {
    let (store, sent) = (with_video(VIDEO), SentCallbacks::default());
    let denied = mock!(Rekognition::start_face_detection).then_error(|| {
        StartFaceDetectionError::generic(ErrorMetadata::builder().code("AccessDeniedException").message("no").build())
    });
    start(&store, &[denied], &sent, "one", "token").await;
    let (error, cause) = sent.lock().unwrap()[0].1.clone().unwrap_err();
    assert_eq!(error, "AccessDenied");
    assert!(cause.starts_with("rekognition:StartFaceDetection was denied"), "{cause}");
    assert_eq!(store.keys(), ["holiday.mp4"]);
}
