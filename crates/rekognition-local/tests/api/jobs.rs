//! The life of a job: download, analysis, message, and the end of the server.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use aws_sdk_rekognition::error::SdkError;
use aws_sdk_rekognition::types::VideoJobStatus;
use axum::body::Bytes;
use face_detection::AnalyzeError;
use rekognition_local::JobStatus;
use serde_json::json;

use crate::support::{BUCKET, Canned, KEY, Object, Setup, TOPIC, client, until, video};

fn unreadable() -> Arc<Canned> {
    Canned::new(|| Err(AnalyzeError::NotReadable("no ftyp box".into())))
}

#[tokio::test]
async fn the_completion_message_has_rekognitions_shape() {
    let setup = Setup::new(&Canned::faces(1)).await;
    let before = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let job_id = setup.start().job_tag("a-tag").send().await.unwrap().job_id;
    let published = setup.aws.messages(1).await.remove(0);
    let after = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();

    assert_eq!(published.topic, TOPIC);
    let mut message = published.message;
    let timestamp = u128::from(message["Timestamp"].take().as_u64().unwrap());
    assert!((before..=after).contains(&timestamp));
    let expected = json!({
        "JobId": job_id,
        "Status": "SUCCEEDED",
        "API": "StartFaceDetection",
        "JobTag": "a-tag",
        "Timestamp": null,
        "Video": { "S3ObjectName": KEY, "S3Bucket": BUCKET },
    });
    assert_eq!(message, expected);
}

#[tokio::test]
async fn the_message_of_a_job_without_a_tag_has_no_tag() {
    let setup = Setup::new(&Canned::faces(1)).await;
    setup.finished().await;
    assert_eq!(setup.aws.messages(1).await[0].message.get("JobTag"), None);
}

#[tokio::test]
async fn the_status_changes_before_the_message_is_published() {
    let setup = Setup::new(&Canned::faces(1)).await;
    setup.finished().await;
    assert_eq!(setup.aws.messages(1).await[0].status, Some(VideoJobStatus::Succeeded));
}

#[tokio::test]
async fn a_failed_analysis_has_a_status_message() {
    let setup = Setup::new(&unreadable()).await;
    let job_id = setup.finished().await;
    let published = setup.aws.messages(1).await.remove(0);
    assert_eq!(published.message["Status"], "FAILED");
    assert_eq!(published.status, Some(VideoJobStatus::Failed));
    let got = setup.get(&job_id).await;
    assert_eq!(got.status_message.as_deref(), Some("the file is not a readable MP4 or MOV video: no ftyp box"));
    assert_eq!((got.faces().len(), got.video_metadata), (0, None));
    let seen = setup.server.jobs().remove(0);
    assert_eq!((seen.status, seen.status_message), (JobStatus::Failed, got.status_message));
}

#[tokio::test]
async fn a_panic_of_the_detector_fails_only_the_job() {
    let detector = Canned::new(|| panic!("on purpose"));
    let setup = Setup::new(&detector).await;
    let job_id = setup.finished().await;
    assert_eq!(setup.get(&job_id).await.job_status, Some(VideoJobStatus::Failed));
    setup.finished().await;
}

#[tokio::test]
async fn an_object_that_is_deleted_after_start_fails_the_job() {
    let setup = Setup::new(&Canned::faces(1)).await;
    setup.aws.put(KEY, Object::Deleted);
    let job_id = setup.finished().await;
    let got = setup.get(&job_id).await;
    assert_eq!(got.job_status, Some(VideoJobStatus::Failed));
    assert!(got.status_message.unwrap().starts_with("Unable to get object metadata from S3."));
}

#[tokio::test]
async fn without_a_channel_no_message_is_published() {
    let setup = Setup::new(&Canned::faces(1)).await;
    let job_id = setup.start().set_notification_channel(None).send().await.unwrap().job_id.unwrap();
    setup.ended(&job_id).await;
    setup.finished().await;
    assert_eq!(setup.aws.messages(1).await.len(), 1);
}

#[tokio::test]
async fn the_detector_gets_the_whole_video_and_its_file_is_deleted() {
    let detector = Canned::faces(1);
    let setup = Setup::new(&detector).await;
    let bytes: Vec<u8> = (0..5_000_000u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    setup.aws.put("big.mp4", Object::Bytes(Bytes::from(bytes.clone())));
    setup.start().video(video("big.mp4")).send().await.unwrap();
    setup.aws.messages(1).await;
    let (path, seen) = detector.seen.lock().unwrap().remove(0);
    assert!(seen == bytes, "{} bytes arrived", seen.len());
    assert!(!path.exists());
}

#[tokio::test]
async fn keys_are_not_decoded() {
    let detector = Canned::faces(1);
    let setup = Setup::new(&detector).await;
    let long = "k".repeat(1020) + ".mp4";
    for key in ["a b+c.mp4", "100%2F%.mp4", "it's \"quoted\".mp4", "🎬/ü.mp4", "a//b/../c.mp4", &long] {
        setup.aws.put(key, Object::Bytes(Bytes::copy_from_slice(key.as_bytes())));
        let awaited = setup.aws.messages_so_far() + 1;
        let job_id = setup.start().video(video(key)).send().await.expect(key).job_id.unwrap();
        let published = setup.aws.messages(awaited).await.pop().unwrap();
        assert_eq!(published.message["Video"]["S3ObjectName"], key);
        assert_eq!(detector.seen.lock().unwrap().last().unwrap().1, key.as_bytes());
        let object = setup.get(&job_id).await.video.unwrap().s3_object.unwrap();
        assert_eq!(object.name.as_deref(), Some(key));
    }
}

#[tokio::test]
async fn at_most_two_jobs_are_analysed_at_a_time() {
    let detector = Canned::faces(1).shut();
    let setup = Setup::new(&detector).await;
    for _ in 0..6 {
        setup.start().send().await.unwrap();
    }
    until(|| detector.analyses() > 0).await;
    assert!(setup.server.jobs().iter().all(|job| job.status == JobStatus::InProgress));
    detector.open();
    setup.aws.messages(6).await;
    assert!(detector.most_running.load(Ordering::SeqCst) <= 2);
    assert_eq!(detector.analyses(), 6);
}

#[tokio::test]
async fn a_refused_message_is_published_again() {
    let setup = Setup::new(&Canned::faces(1)).await;
    setup.aws.refuse_publications.store(2, Ordering::SeqCst);
    setup.finished().await;
    assert_eq!(setup.aws.publications_tried.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn stopping_a_server_cancels_its_analyses_and_deletes_their_files() {
    let detector = Canned::faces(1).shut();
    let setup = Setup::new(&detector).await;
    setup.start().send().await.unwrap();
    until(|| detector.analyses() == 1).await;
    let (path, url) = (detector.seen.lock().unwrap()[0].0.clone(), setup.server.url());
    assert!(path.exists());

    setup.server.stop().await;

    assert_eq!(detector.cancelled.load(Ordering::SeqCst), 1);
    assert!(!path.exists());
    let refused = client(&url).get_face_detection().job_id("a").send().await.unwrap_err();
    assert!(matches!(&refused, SdkError::DispatchFailure(failure) if failure.is_io()), "{refused:?}");
    assert_eq!(setup.aws.messages_so_far(), 0);
}

#[tokio::test]
async fn a_server_stops_despite_idle_connections() {
    let setup = Setup::new(&Canned::faces(1)).await;
    let idle = tokio::net::TcpStream::connect(setup.server.url().replace("http://", "")).await.unwrap();
    // The server has accepted the idle connection, because it has answered a later one.
    setup.finished().await;
    tokio::time::timeout(Duration::from_secs(30), setup.server.stop()).await.expect("it stops");
    drop(idle);
}

#[tokio::test]
async fn dropping_a_server_cancels_its_analyses() {
    let detector = Canned::faces(1).shut();
    let setup = Setup::new(&detector).await;
    setup.start().send().await.unwrap();
    until(|| detector.analyses() == 1).await;
    drop(setup.server);
    until(|| detector.cancelled.load(Ordering::SeqCst) == 1).await;
}
