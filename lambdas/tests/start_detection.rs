//! start-detection: what it leaves in the bucket, what it starts, and what it tells the execution.

mod common;

use std::sync::{Arc, Mutex};

use aws_sdk_rekognition::{
    Client as Rekognition,
    error::ErrorMetadata,
    operation::start_face_detection::{StartFaceDetectionError, StartFaceDetectionOutput},
    types::{VideoJobStatus, error::LimitExceededException},
};
use aws_smithy_mocks::{Rule, mock};
use common::{Store, Told, clients, listening_sfn, report};
use lambdas::{
    job::FaceAttributes,
    start_detection::{Config, start_detection},
};
use serde_json::json;

const VIDEO: &[u8] = b"\0\0\0\x20ftypisom and so on";

/// The generations that were started, by their tags.
type Started = Arc<Mutex<Vec<String>>>;

/// Rekognition whose n-th job (by tag) is named `job-n` and stands as told.
fn jobs(started: &Started, statuses: &'static [VideoJobStatus]) -> Vec<Rule> {
    let tags = started.clone();
    vec![
        mock!(Rekognition::start_face_detection).then_compute_output(move |request| {
            let tag = request.job_tag().unwrap().to_owned();
            assert_eq!(request.client_request_token(), Some(tag.as_str()));
            let mut tags = tags.lock().unwrap();
            if !tags.contains(&tag) {
                tags.push(tag.clone());
            }
            let number = tags.iter().position(|other| *other == tag).unwrap();
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
async fn a_job_that_runs_leaves_a_waiter_and_no_answer() {
    let (store, told, started) = (with_video(VIDEO), Told::default(), Started::default());
    start(&store, &jobs(&started, &[VideoJobStatus::InProgress]), &told, "one", "secret token").await;
    let tag = started.lock().unwrap()[0].clone();
    let keys = store.keys();
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert!(keys[1].starts_with(&format!("waiting/{tag}/one/")), "{keys:?}");
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
    let ended = format!("queue/ended/{}", started.lock().unwrap()[0]);
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
async fn a_failure_is_told_first_and_only_a_replay_starts_the_next_generation() {
    let (store, told, started) = (with_video(VIDEO), Told::default(), Started::default());
    // It fails before anybody could look: no second job is paid for that.
    start(&store, &jobs(&started, &[VideoJobStatus::Failed]), &told, "one", "first token").await;
    assert_eq!(error_told(&told), "JobFailed");
    assert_eq!(started.lock().unwrap().len(), 1);

    let rekognition = jobs(&started, &[VideoJobStatus::Failed, VideoJobStatus::InProgress]);
    replay(&store, &rekognition, &told, "replay", "second token").await;
    let tags = started.lock().unwrap().clone();
    assert_eq!((tags.len(), told.lock().unwrap().len()), (2, 1));
    let waiting: Vec<_> = store.keys().into_iter().filter(|key| key.starts_with("waiting/")).collect();
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert!(waiting[0].starts_with(&format!("waiting/{}/replay/", tags[1])), "{waiting:?}");
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
    assert!(!store.keys().iter().any(|key| key.starts_with("waiting/")), "{:?}", store.keys());
}

#[tokio::test(start_paused = true)]
async fn a_full_account_leaves_a_ticket_and_the_oldest_starts_first() {
    let (store, told, started) = (with_video(VIDEO), Told::default(), Started::default());
    start(&store, &[full_account()], &told, "one", "token").await;
    let tickets = |store: &Store| store.keys().into_iter().filter(|key| key.starts_with("queue/")).collect::<Vec<_>>();
    assert_eq!(tickets(&store), ["queue/tickets/1795369080123-one"]);
    assert!(told.lock().unwrap().is_empty());

    // Whoever comes next starts the waiting ticket as well as its own.
    start(&store, &jobs(&started, &[VideoJobStatus::InProgress]), &told, "two", "another token").await;
    assert_eq!(tickets(&store), Vec::<String>::new());
    assert!(told.lock().unwrap().is_empty());
    assert_eq!(store.keys().iter().filter(|key| key.starts_with("waiting/")).count(), 2);
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
