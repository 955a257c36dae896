//! start-detection: what it leaves in the bucket, what it starts, and what it tells the execution.

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
use aws_smithy_mocks::{MockResponse, Rule, mock};
use common::{Store, Told, clients, listening_sfn, report};
use lambdas::{
    job::FaceAttributes,
    start_detection::{Config, start_detection},
};
use serde_json::json;

const VIDEO: &[u8] = b"\0\0\0\x20ftypisom and so on";

/// The attempts that were started, by their keys.
type Started = Arc<Mutex<Vec<String>>>;

/// Rekognition whose n-th job (by tag) is named `job-n` and stands as told.
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

async fn start(store: &Store, rekognition: &[Rule], told: &Told, execution: &str, token: &str) {
    start_entered("2000-01-01T00:00:00Z", store, rekognition, told, execution, token).await;
}

/// Of an execution that was started or redriven after whatever has happened by now.
async fn replay(store: &Store, rekognition: &[Rule], told: &Told, execution: &str, token: &str) {
    start_entered("9999-01-01T00:00:00Z", store, rekognition, told, execution, token).await;
}

async fn start_entered(entered: &str, store: &Store, rekognition: &[Rule], told: &Told, execution: &str, token: &str) {
    let config = Config {
        results_bucket: "results".into(),
        completion_topic_arn: "arn:aws:sns:us-east-1:123456789012:completions".into(),
        publish_role_arn: "arn:aws:iam::123456789012:role/publish".into(),
        face_attributes: FaceAttributes::Default,
    };
    let request = json!({
        "task_token": token,
        "execution": {"name": execution, "started": "2026-11-22T17:38:00.123Z", "entered": entered, "arn": "not needed"},
        "input": {"bucket": "uploads", "key": "holiday.mp4"},
    });
    let request = serde_json::from_value(request).unwrap();
    start_detection(&clients(store, rekognition, &listening_sfn(told)), &config, request).await.unwrap();
}

fn with_video(body: &[u8]) -> Store {
    let store = Store::default();
    store.put("holiday.mp4", body);
    store
}

fn error_told(told: &Told) -> String {
    told.lock().unwrap().last().unwrap().1.clone().unwrap_err().0
}

#[tokio::test(start_paused = true)]
async fn a_job_that_runs_leaves_a_callback_and_no_answer() {
    let (store, told, started) = (with_video(VIDEO), Told::default(), Started::default());
    start(&store, &jobs(&started, &[VideoJobStatus::InProgress]), &told, "one", "secret token").await;
    let idempotency_key = started.lock().unwrap()[0].clone();
    let keys = store.keys();
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert!(keys[1].starts_with(&format!("callbacks/{idempotency_key}/one/")), "{keys:?}");
    assert!(!keys[1].contains("secret"));
    assert!(store.text(&keys[1]).contains("secret token"));
    assert!(told.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_already_done_answers_at_once_and_is_not_started_again() {
    let (store, told, started) = (with_video(VIDEO), Told::default(), Started::default());
    for execution in ["one", "two"] {
        start(&store, &jobs(&started, &[VideoJobStatus::Succeeded]), &told, execution, execution).await;
    }
    let told = told.lock().unwrap();
    assert_eq!(
        told.iter().map(|(token, told)| (token.as_str(), told.is_ok())).collect::<Vec<_>>(),
        [("one", true), ("two", true)]
    );
    assert_eq!(started.lock().unwrap().len(), 1);
    let ended = format!("queue/completed-jobs/{}", started.lock().unwrap()[0]);
    assert_eq!(store.keys(), ["holiday.mp4", &ended]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_already_done_answers_at_once_though_every_slot_is_taken() {
    let (store, told, started) = (with_video(VIDEO), Told::default(), Started::default());
    start(&store, &jobs(&started, &[VideoJobStatus::Succeeded]), &told, "one", "one").await;
    let not_started = [full_account(), jobs(&started, &[VideoJobStatus::Succeeded]).remove(1)];
    start(&store, &not_started, &told, "two", "two").await;
    assert_eq!(told.lock().unwrap().iter().filter(|(_, told)| told.is_ok()).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_again_to_who_was_there_when_it_was_seen() {
    let (store, told, started) = (with_video(VIDEO), Told::default(), Started::default());
    // The first callback never arrived: the same execution comes back with another token.
    for token in ["first token", "second token"] {
        start(&store, &jobs(&started, &[VideoJobStatus::Failed]), &told, "one", token).await;
        assert_eq!(error_told(&told), "JobFailed");
    }
    assert_eq!((started.lock().unwrap().len(), told.lock().unwrap().len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_first_and_only_a_replay_starts_the_next_attempt() {
    let (store, told, started) = (with_video(VIDEO), Told::default(), Started::default());
    // It fails before anybody could look: no second job is paid for that.
    start(&store, &jobs(&started, &[VideoJobStatus::Failed]), &told, "one", "first token").await;
    assert_eq!(error_told(&told), "JobFailed");
    assert_eq!(started.lock().unwrap().len(), 1);

    let rekognition = jobs(&started, &[VideoJobStatus::Failed, VideoJobStatus::InProgress]);
    replay(&store, &rekognition, &told, "replay", "second token").await;
    let keys = started.lock().unwrap().clone();
    assert_eq!((keys.len(), told.lock().unwrap().len()), (2, 1));
    let waiting: Vec<_> = store.keys().into_iter().filter(|key| key.starts_with("callbacks/")).collect();
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert!(waiting[0].starts_with(&format!("callbacks/{}/replay/", keys[1])), "{waiting:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_whose_completion_was_lost_is_told_before_a_new_job_is_paid() {
    let (store, told, started) = (with_video(VIDEO), Told::default(), Started::default());
    start(&store, &jobs(&started, &[VideoJobStatus::InProgress]), &told, "one", "first token").await;
    // The missed heartbeat brings the same execution back with a new token.
    start(&store, &jobs(&started, &[VideoJobStatus::Failed]), &told, "one", "second token").await;
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].0, "second token");
    assert_eq!(told[0].1.clone().unwrap_err().0, "JobFailed");
    assert_eq!(started.lock().unwrap().len(), 1);
    assert!(!store.keys().iter().any(|key| key.starts_with("callbacks/")), "{:?}", store.keys());
}

mod after_start {
    use super::*;

    /// Rekognition whose n-th job (by tag) is named by n, and whose n-th answer of `GetFaceDetection` is `answer` of the job
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

    fn note_ending(store: &Store, idempotency_key: &str, job_id: &str, seen_ms: u64) {
        let completed = json!({"job_id": job_id, "seen_ms": seen_ms});
        store.put(&format!("queue/completed-jobs/{idempotency_key}"), completed.to_string());
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_is_not_visible_yet_is_asked_for_again() {
        let (store, told, started) = (with_video(VIDEO), Told::default(), Started::default());
        let rekognition =
            answering(&started, |_, asked| if asked < 5 { NOT_FOUND } else { Ok(VideoJobStatus::InProgress) });
        start(&store, &rekognition, &told, "one", "token").await;
        assert_eq!(started.lock().unwrap().len(), 1);
        assert!(told.lock().unwrap().is_empty());
        assert!(store.keys()[1].starts_with(&format!("callbacks/{}/one/", started.lock().unwrap()[0])));
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_stays_invisible_is_left_to_the_next_attempt_and_never_paid_twice() {
        for code in ["ResourceNotFoundException", "InvalidParameterException"] {
            let (store, told, started) = (with_video(VIDEO), Told::default(), Started::default());
            let begun = tokio::time::Instant::now();
            start(&store, &answering(&started, move |_, _| Err(code)), &told, "one", "token").await;
            assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
            let (error, cause) = told.lock().unwrap()[0].1.clone().unwrap_err();
            assert_eq!(error, "ServiceUnavailable", "{code}");
            assert!(cause.contains("the job 0 has been started but cannot be found yet"), "{cause}");
            assert_eq!(started.lock().unwrap().len(), 1, "{code}");
            assert_eq!(store.keys(), ["holiday.mp4"], "{code}");

            // The Retry comes again, and finds the same job.
            start(&store, &answering(&started, |_, _| Ok(VideoJobStatus::InProgress)), &told, "one", "next token")
                .await;
            assert_eq!((started.lock().unwrap().len(), told.lock().unwrap().len()), (1, 1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_start_without_a_job_id_is_left_to_the_next_attempt() {
        for job_id in [None, Some("")] {
            let (store, told) = (with_video(VIDEO), Told::default());
            let rekognition = [
                mock!(Rekognition::start_face_detection).then_output(move || {
                    StartFaceDetectionOutput::builder().set_job_id(job_id.map(str::to_owned)).build()
                }),
                mock!(Rekognition::get_face_detection)
                    .then_compute_output(|request| panic!("asked for the job {:?}", request.job_id())),
            ];
            start(&store, &rekognition, &told, "one", "token").await;
            let (error, cause) = told.lock().unwrap()[0].1.clone().unwrap_err();
            assert_eq!(error, "ServiceUnavailable");
            assert!(cause.contains("StartFaceDetection") && cause.contains("has no JobId"), "{cause}");
        }
    }

    /// The tag of the first job of the video.
    async fn first_tag() -> String {
        let (store, told, started) = (with_video(VIDEO), Told::default(), Started::default());
        start(&store, &jobs(&started, &[VideoJobStatus::InProgress]), &told, "one", "token").await;
        started.lock().unwrap()[0].clone()
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_job_whose_end_was_noted_long_ago_has_expired_when_it_is_not_found() {
        let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
        // The job whose end is noted, when, and how many jobs are started.
        for (ended, seen_ms, jobs_started) in [
            ("0", now - 6 * 24 * 60 * 60 * 1000, 2),
            // Someone else has seen the end of a job that this call cannot see yet.
            ("0", now, 1),
            // Rekognition has forgotten that job and its ClientRequestToken, and has started another one.
            ("an older job", 1000, 1),
        ] {
            let (store, told, started) = (with_video(VIDEO), Told::default(), Started::default());
            note_ending(&store, &first_tag().await, ended, seen_ms);
            let rekognition =
                answering(&started, |job_id, _| if job_id == "1" { Ok(VideoJobStatus::InProgress) } else { NOT_FOUND });
            replay(&store, &rekognition, &told, "replay", "token").await;
            assert_eq!(started.lock().unwrap().len(), jobs_started, "{ended} {seen_ms}");
            if jobs_started == 1 {
                assert_eq!(error_told(&told), "ServiceUnavailable");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_account_leaves_a_entry_and_the_oldest_starts_first() {
    let (store, told, started) = (with_video(VIDEO), Told::default(), Started::default());
    start(&store, &[full_account()], &told, "one", "token").await;
    let entries = |store: &Store| store.keys().into_iter().filter(|key| key.starts_with("queue/")).collect::<Vec<_>>();
    assert_eq!(entries(&store), ["queue/entries/1795369080123-one"]);
    assert!(told.lock().unwrap().is_empty());

    // Whoever comes next starts the waiting entry as well as its own.
    start(&store, &jobs(&started, &[VideoJobStatus::InProgress]), &told, "two", "another token").await;
    assert_eq!(entries(&store), Vec::<String>::new());
    assert!(told.lock().unwrap().is_empty());
    assert_eq!(store.keys().iter().filter(|key| key.starts_with("callbacks/")).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_video_fails_by_name_and_starts_nothing() {
    for (body, error) in
        [(Some(&b""[..]), "VideoEmpty"), (Some(b"just some text"), "NotAVideo"), (None, "VideoNotFound")]
    {
        let (store, told, started) = (Store::default(), Told::default(), Started::default());
        if let Some(body) = body {
            store.put("holiday.mp4", body);
        }
        start(&store, &jobs(&started, &[]), &told, "one", "token").await;
        assert_eq!(error_told(&told), error);
        assert!(started.lock().unwrap().is_empty(), "{error}");
        assert!(store.keys().iter().all(|key| key == "holiday.mp4"), "{error}: {:?}", store.keys());
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_is_named() {
    let (store, told) = (with_video(VIDEO), Told::default());
    let denied = mock!(Rekognition::start_face_detection).then_error(|| {
        StartFaceDetectionError::generic(ErrorMetadata::builder().code("AccessDeniedException").message("no").build())
    });
    start(&store, &[denied], &told, "one", "token").await;
    let (error, cause) = told.lock().unwrap()[0].1.clone().unwrap_err();
    assert_eq!(error, "AccessDenied");
    assert!(cause.starts_with("rekognition:StartFaceDetection was denied"), "{cause}");
    assert_eq!(store.keys(), ["holiday.mp4"]);
}
