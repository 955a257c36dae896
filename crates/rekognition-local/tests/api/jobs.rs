//! What becomes of a job: download, analysis, message, and the server's end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use aws_sdk_rekognition::error::SdkError;
use aws_sdk_rekognition::types::VideoJobStatus;
use axum::body::Bytes;
use face_detection::AnalyzeError;
use rekognition_local::JobStatus;
use serde_json::json;

use crate::support::{BUCKET, Canned, KEY, Object, Stand, TOPIC, client, until, video};

fn unreadable() -> Arc<Canned> {
    Canned::new(|| Err(AnalyzeError::NotReadable("no ftyp box".into())))
}

#[tokio::test]
async fn the_completion_message_has_rekognitions_shape() {
    let stand = Stand::new(&Canned::faces(1)).await;
    let before = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let job_id = stand.start().job_tag("a-tag").send().await.unwrap().job_id;
    let published = stand.aws.messages(1).await.remove(0);
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
async fn without_a_tag_the_message_has_none() {
    let stand = Stand::new(&Canned::faces(1)).await;
    stand.finished().await;
    assert_eq!(stand.aws.messages(1).await[0].message.get("JobTag"), None);
}

#[tokio::test]
async fn the_status_is_there_before_the_message_goes_out() {
    let stand = Stand::new(&Canned::faces(1)).await;
    stand.finished().await;
    assert_eq!(stand.aws.messages(1).await[0].status, Some(VideoJobStatus::Succeeded));
}

#[tokio::test]
async fn a_failed_analysis_says_why() {
    let stand = Stand::new(&unreadable()).await;
    let job_id = stand.finished().await;
    let published = stand.aws.messages(1).await.remove(0);
    assert_eq!(published.message["Status"], "FAILED");
    assert_eq!(published.status, Some(VideoJobStatus::Failed));
    let got = stand.get(&job_id).await;
    assert_eq!(got.status_message.as_deref(), Some("the file is not a readable MP4 or MOV video: no ftyp box"));
    assert_eq!((got.faces().len(), got.video_metadata), (0, None));
    let seen = stand.server.jobs().remove(0);
    assert_eq!((seen.status, seen.status_message), (JobStatus::Failed, got.status_message));
}

#[tokio::test]
async fn a_detector_that_panics_fails_the_job_and_not_the_server() {
    let detector = Canned::new(|| panic!("on purpose"));
    let stand = Stand::new(&detector).await;
    let job_id = stand.finished().await;
    assert_eq!(stand.get(&job_id).await.job_status, Some(VideoJobStatus::Failed));
    stand.finished().await;
}

#[tokio::test]
async fn an_object_that_vanishes_after_start_fails_the_job() {
    let stand = Stand::new(&Canned::faces(1)).await;
    stand.aws.put(KEY, Object::Vanishing);
    let job_id = stand.finished().await;
    let got = stand.get(&job_id).await;
    assert_eq!(got.job_status, Some(VideoJobStatus::Failed));
    assert!(got.status_message.unwrap().starts_with("Unable to get object metadata from S3."));
}

#[tokio::test]
async fn without_a_channel_nobody_is_told() {
    let stand = Stand::new(&Canned::faces(1)).await;
    let job_id = stand.start().set_notification_channel(None).send().await.unwrap().job_id.unwrap();
    stand.ended(&job_id).await;
    stand.finished().await;
    assert_eq!(stand.aws.messages(1).await.len(), 1);
}

#[tokio::test]
async fn the_video_arrives_whole_and_leaves_no_file_behind() {
    let detector = Canned::faces(1);
    let stand = Stand::new(&detector).await;
    let bytes: Vec<u8> = (0..5_000_000u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    stand.aws.put("big.mp4", Object::Bytes(Bytes::from(bytes.clone())));
    stand.start().video(video("big.mp4")).send().await.unwrap();
    stand.aws.messages(1).await;
    let (path, seen) = detector.seen.lock().unwrap().remove(0);
    assert!(seen == bytes, "{} bytes arrived", seen.len());
    assert!(!path.exists());
}

#[tokio::test]
async fn keys_are_taken_as_they_are() {
    let detector = Canned::faces(1);
    let stand = Stand::new(&detector).await;
    let long = "k".repeat(1020) + ".mp4";
    for key in ["a b+c.mp4", "100%2F%.mp4", "it's \"quoted\".mp4", "🎬/ü.mp4", "a//b/../c.mp4", &long] {
        stand.aws.put(key, Object::Bytes(Bytes::copy_from_slice(key.as_bytes())));
        let awaited = stand.aws.messages_so_far() + 1;
        let job_id = stand.start().video(video(key)).send().await.expect(key).job_id.unwrap();
        let published = stand.aws.messages(awaited).await.pop().unwrap();
        assert_eq!(published.message["Video"]["S3ObjectName"], key);
        assert_eq!(detector.seen.lock().unwrap().last().unwrap().1, key.as_bytes());
        let object = stand.get(&job_id).await.video.unwrap().s3_object.unwrap();
        assert_eq!(object.name.as_deref(), Some(key));
    }
}

#[tokio::test]
async fn accepted_jobs_wait_while_at_most_two_are_analysed() {
    let detector = Canned::faces(1).shut();
    let stand = Stand::new(&detector).await;
    for _ in 0..6 {
        stand.start().send().await.unwrap();
    }
    until(|| detector.analyses() > 0).await;
    assert!(stand.server.jobs().iter().all(|job| job.status == JobStatus::InProgress));
    detector.open();
    stand.aws.messages(6).await;
    assert!(detector.most_running.load(Ordering::SeqCst) <= 2);
    assert_eq!(detector.analyses(), 6);
}

#[tokio::test]
async fn a_message_that_is_refused_is_sent_again() {
    let stand = Stand::new(&Canned::faces(1)).await;
    stand.aws.refuse_publications.store(2, Ordering::SeqCst);
    stand.finished().await;
    assert_eq!(stand.aws.publications_tried.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_server_that_stops_cancels_its_analyses_and_removes_their_files() {
    let detector = Canned::faces(1).shut();
    let stand = Stand::new(&detector).await;
    stand.start().send().await.unwrap();
    until(|| detector.analyses() == 1).await;
    let (path, url) = (detector.seen.lock().unwrap()[0].0.clone(), stand.server.url());
    assert!(path.exists());

    stand.server.stop().await;

    assert_eq!(detector.cancelled.load(Ordering::SeqCst), 1);
    assert!(!path.exists());
    let refused = client(&url).get_face_detection().job_id("a").send().await.unwrap_err();
    assert!(matches!(&refused, SdkError::DispatchFailure(failure) if failure.is_io()), "{refused:?}");
    assert_eq!(stand.aws.messages_so_far(), 0);
}

#[tokio::test]
async fn a_server_stops_under_connections_that_say_nothing() {
    let stand = Stand::new(&Canned::faces(1)).await;
    let silent = tokio::net::TcpStream::connect(stand.server.url().replace("http://", "")).await.unwrap();
    // An answered call is accepted after the silent connection was.
    stand.finished().await;
    tokio::time::timeout(Duration::from_secs(30), stand.server.stop()).await.expect("it stops");
    drop(silent);
}

#[tokio::test]
async fn a_server_that_is_dropped_cancels_its_analyses() {
    let detector = Canned::faces(1).shut();
    let stand = Stand::new(&detector).await;
    stand.start().send().await.unwrap();
    until(|| detector.analyses() == 1).await;
    drop(stand.server);
    until(|| detector.cancelled.load(Ordering::SeqCst) == 1).await;
}
