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
    config::http::HttpResponse,
    operation::{head_object::HeadObjectOutput, list_objects_v2::ListObjectsV2Error, put_object::PutObjectError},
    primitives::SdkBody,
};
use aws_sdk_sfn::{
    operation::{send_task_failure::SendTaskFailureError, send_task_heartbeat::SendTaskHeartbeatError},
    types::error::{KmsAccessDeniedException, TaskTimedOut},
};
use aws_smithy_mocks::{MockResponse, Rule, mock};
use common::{SentCallbacks, Store, TokioClock, accepting_sfn, clients, clients_with_s3, report};
use lambdas::{
    aws::Clients,
    job::FaceAttributes,
    start_detection::{Config, start_detection},
};
use serde_json::{Value, json};
use tokio::time::Instant;

const STARTED: &str = "2026-11-22T17:38:00.123Z";
/// Before everything that happens in a test.
const EARLY: &str = "2000-01-01T00:00:00Z";
/// After everything that happens in a test, as for an execution that is redriven.
const LATE: &str = "9999-01-01T00:00:00Z";
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The idempotency keys of the jobs that were started.
type Started = Arc<Mutex<Vec<String>>>;

fn start_call(started: &Started) -> Rule {
    let keys = started.clone();
    mock!(Rekognition::start_face_detection).then_compute_output(move |request| {
        let idempotency_key = request.job_tag().unwrap().to_owned();
        assert_eq!(request.client_request_token(), Some(idempotency_key.as_str()));
        let mut keys = keys.lock().unwrap();
        if !keys.contains(&idempotency_key) {
            keys.push(idempotency_key.clone());
        }
        let number = keys.iter().position(|other| *other == idempotency_key).unwrap();
        StartFaceDetectionOutput::builder().job_id(number.to_string()).build()
    })
}

/// Rekognition whose n-th job (by idempotency key) is named by n and has the n-th status.
fn jobs(started: &Started, statuses: &'static [VideoJobStatus]) -> Vec<Rule> {
    let status = mock!(Rekognition::get_face_detection).then_compute_response(move |request| {
        let number: usize = request.job_id().unwrap().parse().unwrap();
        MockResponse::Http(report("", &statuses[number], Some("Video codec not supported")))
    });
    vec![start_call(started), status]
}

/// Rekognition whose n-th answer of `GetFaceDetection` is `answer` of the job and n: a status, or an error's code.
fn answering(
    started: &Started,
    answer: impl Fn(&str, usize) -> Result<VideoJobStatus, &'static str> + Send + Sync + 'static,
) -> Vec<Rule> {
    let asked = AtomicUsize::new(0);
    let status = mock!(Rekognition::get_face_detection).then_compute_response(move |request| {
        match answer(request.job_id().unwrap(), asked.fetch_add(1, Ordering::Relaxed)) {
            Ok(status) => MockResponse::Http(report("", &status, None)),
            Err(code) => {
                let meta = ErrorMetadata::builder().code(code).build();
                MockResponse::Error(GetFaceDetectionError::generic(meta))
            }
        }
    });
    vec![start_call(started), status]
}

fn refused_start(code: &'static str) -> Rule {
    mock!(Rekognition::start_face_detection).then_error(move || {
        let meta = ErrorMetadata::builder().code(code).message("no").build();
        match code {
            "LimitExceededException" => {
                StartFaceDetectionError::LimitExceededException(LimitExceededException::builder().meta(meta).build())
            }
            _ => StartFaceDetectionError::generic(meta),
        }
    })
}

fn full_account() -> Rule {
    refused_start("LimitExceededException")
}

fn no_start() -> Rule {
    mock!(Rekognition::start_face_detection).then_compute_output(|request| panic!("started {request:?}"))
}

fn video() -> Value {
    json!({"bucket": "uploads", "key": "holiday.mp4", "etag": "e", "bytes": 1000})
}

fn request(execution: &str, task_attempt: u32, token: &str, entered: &str) -> Value {
    json!({
        "task_token": token, "execution_name": execution, "task_attempt": task_attempt,
        "started": STARTED, "entered": entered, "video": video(),
    })
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

/// Calls the function for the first attempt of an execution that entered before everything that happens.
async fn start(store: &Store, rekognition: &[Rule], sent: &SentCallbacks, execution: &str, token: &str) {
    call(&clients(store, rekognition, &accepting_sfn(sent)), request(execution, 0, token, EARLY)).await;
}

/// Calls the function for the second attempt, after a missed heartbeat.
async fn start_again(store: &Store, rekognition: &[Rule], sent: &SentCallbacks, execution: &str, token: &str) {
    call(&clients(store, rekognition, &accepting_sfn(sent)), request(execution, 1, token, EARLY)).await;
}

/// Calls the function for an execution that entered after everything that has happened so far.
async fn replay(store: &Store, rekognition: &[Rule], sent: &SentCallbacks, execution: &str, token: &str) {
    call(&clients(store, rekognition, &accepting_sfn(sent)), request(execution, 1000, token, LATE)).await;
}

fn with_video() -> Store {
    let store = Store::default();
    store.put("holiday.mp4", &b"\0\0\0\x20ftypisom and so on"[..]);
    store
}

fn keys(store: &Store, prefix: &str) -> Vec<String> {
    store.keys().into_iter().filter(|key| key.starts_with(prefix)).collect()
}

fn last_error(sent: &SentCallbacks) -> (String, String) {
    sent.lock().unwrap().last().unwrap().1.clone().unwrap_err()
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// The idempotency key of the first job of the video.
async fn first_key() -> String {
    let (store, sent, started) = (with_video(), SentCallbacks::default(), Started::default());
    start(&store, &[start_call(&started)], &sent, "one", "token").await;
    started.lock().unwrap()[0].clone()
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_started_is_recorded_and_has_a_pending_callback_and_no_answer() {
    let (store, sent, started) = (with_video(), SentCallbacks::default(), Started::default());
    // The mock has no rule for GetFaceDetection: a request for the status would fail the test.
    start(&store, &[start_call(&started)], &sent, "one", "secret token").await;
    let idempotency_key = started.lock().unwrap()[0].clone();
    let keys = store.keys();
    let [callback, video, record] = keys.as_slice() else { panic!("{keys:?}") };
    assert!(callback.starts_with(&format!("callbacks/{idempotency_key}/one/000000-")), "{keys:?}");
    assert!(!callback.contains("secret"));
    assert!(store.text(callback).contains("secret token"));
    assert_eq!(video, "holiday.mp4");
    assert_eq!(*record, format!("queue/started-jobs/{idempotency_key}"));
    assert!(sent.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_has_succeeded_answers_immediately_without_a_slot_and_without_the_object() {
    let (store, sent, started) = (with_video(), SentCallbacks::default(), Started::default());
    start(&store, &[start_call(&started)], &sent, "one", "one").await;
    store.0.lock().unwrap().remove("holiday.mp4");
    let [_, status] = jobs(&started, &[VideoJobStatus::Succeeded]).try_into().unwrap();
    for execution in ["two", "three"] {
        start(&store, &[no_start(), status.clone()], &sent, execution, execution).await;
    }
    let sent = sent.lock().unwrap();
    // The message for the first execution was lost: the second one resumes it as well.
    let resumed: Vec<_> = sent.iter().map(|(token, sent)| (token.as_str(), sent.is_ok())).collect();
    assert_eq!(resumed, [("one", true), ("two", true), ("three", true)]);
    let idempotency_key = &started.lock().unwrap()[0];
    let records = ["completed-jobs", "started-jobs"].map(|kind| format!("queue/{kind}/{idempotency_key}"));
    assert_eq!(store.keys(), records);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_runs_is_found_again_without_a_slot_and_without_the_object() {
    let (store, sent, started) = (with_video(), SentCallbacks::default(), Started::default());
    start(&store, &[start_call(&started)], &sent, "one", "first token").await;
    store.0.lock().unwrap().remove("holiday.mp4");
    let [_, status] = jobs(&started, &[VideoJobStatus::InProgress]).try_into().unwrap();
    start_again(&store, &[no_start(), status], &sent, "one", "second token").await;
    let callbacks = keys(&store, "callbacks/");
    assert_eq!(callbacks.len(), 1, "{callbacks:?}");
    assert!(store.text(&callbacks[0]).contains("second token"));
    assert_eq!(keys(&store, "queue/entries/"), Vec::<String>::new());
    assert!(sent.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_ends_while_its_callback_is_stored_answers_immediately() {
    let (store, sent, started) = (with_video(), SentCallbacks::default(), Started::default());
    start(&store, &[start_call(&started)], &sent, "one", "first token").await;
    // It runs when the function asks first. Its message arrives before the function has stored the new callback.
    let rekognition = answering(&started, |_, asked| {
        Ok(if asked == 0 { VideoJobStatus::InProgress } else { VideoJobStatus::Succeeded })
    });
    start_again(&store, &rekognition, &sent, "one", "second token").await;
    let sent = sent.lock().unwrap();
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].0.as_str(), sent[0].1.is_ok()), ("second token", true));
}

#[tokio::test(start_paused = true)]
async fn a_failure_whose_message_was_lost_is_sent_before_a_new_job_is_paid_for() {
    let (store, sent, started) = (with_video(), SentCallbacks::default(), Started::default());
    start(&store, &[start_call(&started)], &sent, "one", "first token").await;
    start_again(&store, &jobs(&started, &[VideoJobStatus::Failed]), &sent, "one", "second token").await;
    {
        let sent = sent.lock().unwrap();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].0, "second token");
        let (error, cause) = sent[0].1.clone().unwrap_err();
        assert_eq!(error, "JobFailed");
        assert!(cause.starts_with("Video codec not supported (face detection job "), "{cause}");
    }
    assert_eq!(started.lock().unwrap().len(), 1);
    assert_eq!(keys(&store, "callbacks/"), Vec::<String>::new());

    // That callback was lost as well: the same failure again, and no job.
    start_again(&store, &jobs(&started, &[VideoJobStatus::Failed]), &sent, "one", "third token").await;
    assert_eq!((started.lock().unwrap().len(), sent.lock().unwrap().len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn only_an_execution_that_entered_after_the_failure_starts_the_next_attempt() {
    let (store, sent, started) = (with_video(), SentCallbacks::default(), Started::default());
    start(&store, &[start_call(&started)], &sent, "one", "first token").await;
    let rekognition = jobs(&started, &[VideoJobStatus::Failed]);
    start_again(&store, &rekognition, &sent, "one", "second token").await;
    // A second delivery of the same event entered at the time of the event.
    start(&store, &rekognition, &sent, "duplicate", "third token").await;
    assert_eq!((started.lock().unwrap().len(), last_error(&sent).0.as_str()), (1, "JobFailed"));

    replay(&store, &rekognition, &sent, "one", "fourth token").await;
    let jobs = started.lock().unwrap().clone();
    assert_eq!((jobs.len(), sent.lock().unwrap().len()), (2, 2));
    let waiting = keys(&store, "callbacks/");
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert!(waiting[0].starts_with(&format!("callbacks/{}/one/001000-", jobs[1])), "{waiting:?}");
}

mod visibility {
    use super::*;

    const NOT_FOUND: Result<VideoJobStatus, &str> = Err("ResourceNotFoundException");

    #[tokio::test(start_paused = true)]
    async fn a_job_that_is_not_visible_yet_is_asked_for_again() {
        let (store, sent, started) = (with_video(), SentCallbacks::default(), Started::default());
        start(&store, &[start_call(&started)], &sent, "one", "first token").await;
        let rekognition =
            answering(&started, |_, asked| if asked < 5 { NOT_FOUND } else { Ok(VideoJobStatus::InProgress) });
        start_again(&store, &rekognition, &sent, "one", "token").await;
        assert_eq!(started.lock().unwrap().len(), 1);
        assert!(sent.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_stays_invisible_is_retried_and_never_paid_twice() {
        let (store, sent, started) = (with_video(), SentCallbacks::default(), Started::default());
        start(&store, &[start_call(&started)], &sent, "one", "first token").await;
        let begun = Instant::now();
        replay(&store, &answering(&started, |_, _| NOT_FOUND), &sent, "two", "second token").await;
        assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
        let (error, cause) = last_error(&sent);
        assert_eq!(error, "ServiceUnavailable");
        assert!(cause.contains("the job 0 has been started but cannot be found yet"), "{cause}");
        assert_eq!(started.lock().unwrap().len(), 1);
        assert!(keys(&store, "callbacks/").iter().all(|key| key.contains("/one/")), "{:?}", store.keys());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_start_without_a_job_id_is_retried() {
        for job_id in [None, Some("")] {
            let (store, sent) = (with_video(), SentCallbacks::default());
            let rekognition = [mock!(Rekognition::start_face_detection).then_output(move || {
                StartFaceDetectionOutput::builder().set_job_id(job_id.map(str::to_owned)).build()
            })];
            start(&store, &rekognition, &sent, "one", "token").await;
            let (error, cause) = last_error(&sent);
            assert_eq!(error, "ServiceUnavailable");
            assert!(cause.contains("StartFaceDetection") && cause.contains("has no JobId"), "{cause}");
            assert_eq!(store.keys(), ["holiday.mp4"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_is_not_found_has_expired_only_if_it_is_recorded_to_be_old() {
        let first_key = first_key().await;
        let completed = |job_id: &str, seen_ms: u64| {
            (format!("queue/completed-jobs/{first_key}"), json!({"job_id": job_id, "seen_ms": seen_ms}))
        };
        let was_started = |job_id: &str, started_ms: u64| {
            (format!("queue/started-jobs/{first_key}"), json!({"job_id": job_id, "started_ms": started_ms}))
        };
        let now = now_ms();
        for (records, expired) in [
            (vec![completed("old", now - 6 * DAY_MS)], true),
            (vec![completed("old", now - 6 * DAY_MS), was_started("old", now - 6 * DAY_MS)], true),
            (vec![was_started("old", now - 8 * DAY_MS)], true),
            // Another invocation has seen the end of a job that this call cannot see yet.
            (vec![completed("new", now)], false),
            // Its end was never seen, and its results cannot have expired.
            (vec![was_started("new", now - 6 * DAY_MS)], false),
            // Rekognition had deleted the older job and its ClientRequestToken.
            (vec![completed("old", now - 9 * DAY_MS), was_started("new", now - DAY_MS)], false),
        ] {
            let (store, sent, started) = (with_video(), SentCallbacks::default(), Started::default());
            for (key, record) in &records {
                store.put(key, record.to_string());
            }
            replay(&store, &answering(&started, |_, _| NOT_FOUND), &sent, "replay", "token").await;
            let jobs = started.lock().unwrap().clone();
            if expired {
                assert!(matches!(&jobs[..], [key] if *key != first_key), "{records:?}: {jobs:?}");
            } else {
                assert_eq!((jobs.len(), last_error(&sent).0.as_str()), (0, "ServiceUnavailable"), "{records:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_analysis_after_the_records_have_expired_does_not_write_into_the_earlier_result() {
    let first_key = first_key().await;
    for object in ["manifest.json", "faces/00000.jsonl"] {
        let (store, sent, started) = (with_video(), SentCallbacks::default(), Started::default());
        store.put(&format!("results/holiday.mp4/{first_key}/{object}"), "{}");
        start(&store, &[start_call(&started)], &sent, "one", "token").await;
        let jobs = started.lock().unwrap().clone();
        assert!(matches!(&jobs[..], [key] if *key != first_key), "{object}: {jobs:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_account_keeps_the_entry_and_the_oldest_entry_starts_first() {
    let (store, sent, started) = (with_video(), SentCallbacks::default(), Started::default());
    start(&store, &[full_account()], &sent, "one", "token").await;
    assert_eq!(keys(&store, "queue/"), ["queue/entries/1795369080123-one/000000"]);
    assert!(sent.lock().unwrap().is_empty());

    // The next invocation starts the waiting entry before its own.
    store.put("another.mp4", "");
    let mut other = request("two", 0, "another token", EARLY);
    other["started"] = "2026-11-22T17:39:00Z".into();
    other["video"]["key"] = "another.mp4".into();
    call(&clients(&store, &[start_call(&started)], &accepting_sfn(&sent)), other).await;
    assert_eq!(keys(&store, "queue/entries/"), Vec::<String>::new());
    let first_key = first_key().await;
    assert_eq!(started.lock().unwrap()[0], first_key);
    assert_eq!((started.lock().unwrap().len(), keys(&store, "callbacks/").len()), (2, 2));
    assert!(sent.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn throttled_start_calls_keep_the_entry_and_fail_no_execution() {
    let (store, sent) = (with_video(), SentCallbacks::default());
    let throttled = refused_start("ProvisionedThroughputExceededException");
    start(&store, &[throttled], &sent, "one", "token").await;
    assert_eq!(keys(&store, "queue/"), ["queue/entries/1795369080123-one/000000"]);
    assert!(sent.lock().unwrap().is_empty());
}

mod an_entry_of_another_execution {
    use super::*;

    /// A store in which the execution "other" waits for a slot, with the token "other token".
    async fn store() -> (Store, SentCallbacks, Started) {
        let (store, sent) = (with_video(), SentCallbacks::default());
        store.put("other.mp4", "");
        let mut other = request("other", 0, "other token", EARLY);
        other["started"] = "2026-11-22T17:37:00Z".into();
        other["video"]["key"] = "other.mp4".into();
        call(&clients(&store, &[full_account()], &accepting_sfn(&sent)), other).await;
        (store, sent, Started::default())
    }

    fn heartbeat(error: fn(ErrorMetadata) -> SendTaskHeartbeatError, code: &'static str) -> Rule {
        mock!(aws_sdk_sfn::Client::send_task_heartbeat)
            .match_requests(|request| request.task_token() == Some("other token"))
            .then_error(move || error(ErrorMetadata::builder().code(code).build()))
    }

    #[tokio::test(start_paused = true)]
    async fn is_removed_without_a_job_if_that_execution_was_stopped() {
        let (store, sent, started) = store().await;
        let closed = |meta| SendTaskHeartbeatError::TaskTimedOut(TaskTimedOut::builder().meta(meta).build());
        let mut sfn = vec![heartbeat(closed, "TaskTimedOut")];
        sfn.extend(accepting_sfn(&sent));
        call(&clients(&store, &[start_call(&started)], &sfn), request("one", 0, "token", EARLY)).await;
        let own = first_key().await;
        assert_eq!(*started.lock().unwrap(), [own], "one job, for the execution that waits");
        let left: Vec<_> =
            store.keys().into_iter().filter(|key| key.contains("-other/") || key.contains("/other/")).collect();
        assert_eq!(left, Vec::<String>::new(), "the entry and the callback of the stopped execution");
    }

    #[tokio::test(start_paused = true)]
    async fn does_not_fail_the_holder_of_the_lease_if_its_token_is_denied() {
        let (store, sent, started) = store().await;
        let failure_denied = mock!(aws_sdk_sfn::Client::send_task_failure)
            .match_requests(|request| request.task_token() == Some("other token"))
            .then_error(|| {
                let meta = ErrorMetadata::builder().code("KmsAccessDeniedException").build();
                SendTaskFailureError::KmsAccessDeniedException(KmsAccessDeniedException::builder().meta(meta).build())
            });
        let mut sfn = vec![heartbeat(SendTaskHeartbeatError::generic, "AccessDeniedException"), failure_denied];
        sfn.extend(accepting_sfn(&sent));
        call(&clients(&store, &[start_call(&started)], &sfn), request("one", 0, "token", EARLY)).await;
        let own = first_key().await;
        assert_eq!(*started.lock().unwrap(), [own]);
        assert!(sent.lock().unwrap().is_empty(), "{:?}", sent.lock().unwrap());
        assert_eq!(keys(&store, "queue/entries/"), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn an_earlier_attempt_removes_nothing_of_a_later_one() {
    let (store, sent) = (with_video(), SentCallbacks::default());
    start_again(&store, &[full_account()], &sent, "one", "later token").await;
    let later = [keys(&store, "callbacks/"), keys(&store, "queue/entries/")].concat();
    // The invocation of the first attempt runs on after Step Functions has started the second one.
    start(&store, &[full_account()], &sent, "one", "earlier token").await;
    assert!(later.iter().all(|key| store.keys().contains(key)), "{later:?} {:?}", store.keys());

    // If it fails, it withdraws what is its own.
    let denied = mock!(aws_sdk_s3::Client::list_objects_v2)
        .match_requests(|request| request.prefix() == Some("queue/entries/"))
        .then_error(|| ListObjectsV2Error::generic(ErrorMetadata::builder().code("AccessDenied").build()));
    let clients = clients_with_s3(&[denied], &store, &[full_account()], &accepting_sfn(&sent));
    call(&clients, request("one", 0, "earlier token", EARLY)).await;
    assert_eq!([keys(&store, "callbacks/"), keys(&store, "queue/entries/")].concat(), later);
    assert_eq!(sent.lock().unwrap().last().unwrap().0, "earlier token");
}

mod just_before_the_start {
    use super::*;

    async fn start_with_head(head: Rule, video: Value, started: &Started) -> (Store, SentCallbacks) {
        let (store, sent) = (with_video(), SentCallbacks::default());
        let clients = clients_with_s3(&[head], &store, &[start_call(started)], &accepting_sfn(&sent));
        let mut request = request("one", 0, "token", EARLY);
        request["video"] = video;
        call(&clients, request).await;
        (store, sent)
    }

    fn head_status(status: u16) -> Rule {
        mock!(aws_sdk_s3::Client::head_object)
            .then_http_response(move || HttpResponse::new(status.try_into().unwrap(), SdkBody::empty()))
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_was_overwritten_is_not_paid_for() {
        let started = Started::default();
        let head = mock!(aws_sdk_s3::Client::head_object)
            .then_output(|| HeadObjectOutput::builder().content_length(7).e_tag("\"other\"").build());
        let (store, sent) = start_with_head(head, video(), &started).await;
        let (error, cause) = last_error(&sent);
        assert_eq!(error, "VideoReplaced");
        assert!(cause.starts_with("s3://uploads/holiday.mp4 was overwritten while it waited"), "{cause}");
        assert!(started.lock().unwrap().is_empty());
        assert_eq!(store.keys(), ["holiday.mp4"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_s3_does_not_serve_is_not_paid_for() {
        for (status, error) in [(404, "VideoNotFound"), (403, "AccessDenied"), (301, "VideoUnreadable")] {
            let started = Started::default();
            let (_, sent) = start_with_head(head_status(status), video(), &started).await;
            assert_eq!(last_error(&sent).0, error);
            assert!(started.lock().unwrap().is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_version_is_not_looked_at_again() {
        let started = Started::default();
        let head = mock!(aws_sdk_s3::Client::head_object).then_compute_output(|_| panic!("a version never changes"));
        let versioned = json!({"bucket": "uploads", "key": "holiday.mp4", "version_id": "v", "etag": "e", "bytes": 9});
        start_with_head(head, versioned, &started).await;
        assert_eq!(started.lock().unwrap().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_status_call_does_not_fail_an_execution_whose_job_is_paid_for() {
    let (store, sent, started) = (with_video(), SentCallbacks::default(), Started::default());
    start(&store, &[start_call(&started)], &sent, "one", "first token").await;
    let rekognition = answering(&started, |_, asked| {
        if asked < 6 { Err("ProvisionedThroughputExceededException") } else { Ok(VideoJobStatus::InProgress) }
    });
    start_again(&store, &rekognition, &sent, "one", "second token").await;
    assert!(sent.lock().unwrap().is_empty(), "{:?}", sent.lock().unwrap());
    assert_eq!(keys(&store, "callbacks/").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_is_named() {
    let (store, sent) = (with_video(), SentCallbacks::default());
    start(&store, &[refused_start("AccessDeniedException")], &sent, "one", "token").await;
    let (error, cause) = last_error(&sent);
    assert_eq!(error, "AccessDenied");
    assert!(cause.starts_with("rekognition:StartFaceDetection was denied"), "{cause}");
    assert_eq!(store.keys(), ["holiday.mp4"]);
}

/// Many entries for one invocation.
mod a_long_queue {
    use super::*;

    /// A store with entries of other executions, each of which waits for a job for a different version of one video.
    async fn store(entries: usize) -> Store {
        let (store, sent) = (Store::default(), SentCallbacks::default());
        for number in 0..entries {
            let mut request = request(&format!("e-{number}"), 0, &format!("token {number}"), EARLY);
            request["video"]["version_id"] = number.to_string().into();
            call(&clients(&store, &[full_account()], &accepting_sfn(&sent)), request).await;
        }
        store
    }

    #[tokio::test(start_paused = true)]
    async fn is_started_at_almost_five_jobs_a_second() {
        let (store, sent, started) = (store(20).await, SentCallbacks::default(), Started::default());
        store.put("holiday.mp4", "");
        let begun = Instant::now();
        start(&store, &[start_call(&started)], &sent, "one", "token").await;
        assert_eq!(started.lock().unwrap().len(), 21);
        let distance = begun.elapsed() / 21;
        assert!((Duration::from_millis(200)..Duration::from_millis(220)).contains(&distance), "{distance:?}");
    }

    /// Start calls that are throttled until the sixth one: more than seven seconds for each job.
    fn slow_start() -> Rule {
        let calls = AtomicUsize::new(0);
        mock!(Rekognition::start_face_detection).then_compute_response(move |_| {
            if calls.fetch_add(1, Ordering::Relaxed) % 6 < 5 {
                let meta = ErrorMetadata::builder().code("ThrottlingException").build();
                return MockResponse::Error(StartFaceDetectionError::generic(meta));
            }
            MockResponse::Output(StartFaceDetectionOutput::builder().job_id("job").build())
        })
    }

    #[tokio::test(start_paused = true)]
    async fn is_kept_when_the_answer_to_a_renewal_of_the_lease_is_lost() {
        for code in ["PreconditionFailed", "ConditionalRequestConflict"] {
            let (store, sent) = (store(10).await, SentCallbacks::default());
            store.put("holiday.mp4", "");
            // The SDK repeats a write whose answer was lost, and the second write fails because of the first one.
            let written = store.clone();
            let renewal = mock!(aws_sdk_s3::Client::put_object)
                .match_requests(|request| request.if_match().is_some())
                .then_compute_response(move |request| {
                    written.put(request.key().unwrap(), request.body().bytes().unwrap());
                    MockResponse::Error(PutObjectError::generic(ErrorMetadata::builder().code(code).build()))
                });
            let mut clients = clients_with_s3(&[renewal], &store, &[slow_start()], &accepting_sfn(&sent));
            clients.clock = TokioClock::shared();
            let begun = Instant::now();
            call(&clients, request("one", 0, "token", EARLY)).await;
            assert!(begun.elapsed() > Duration::from_mins(1), "the lease was renewed");
            assert_eq!(keys(&store, "queue/entries/"), Vec::<String>::new(), "{code}: the holder lost its own lease");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn is_left_to_others_after_two_minutes() {
        let (store, sent) = (store(30).await, SentCallbacks::default());
        store.put("holiday.mp4", "");
        let slow = slow_start();
        let begun = Instant::now();
        start(&store, &[slow], &sent, "one", "token").await;
        let took = begun.elapsed();
        assert!((Duration::from_mins(2)..Duration::from_secs(140)).contains(&took), "{took:?}");
        assert!(!keys(&store, "queue/entries/").is_empty(), "there is more to do");
        assert!(!store.keys().contains(&"queue/lease".to_owned()), "the lease is free for the next invocation");
        assert!(sent.lock().unwrap().is_empty());
    }
}
