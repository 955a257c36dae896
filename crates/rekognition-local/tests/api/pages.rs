//! `GetFaceDetection`: a job's status, and its faces page by page.

use std::time::Duration;

use aws_sdk_rekognition::error::ProvideErrorMetadata;
use aws_sdk_rekognition::operation::get_face_detection::GetFaceDetectionOutput;
use aws_sdk_rekognition::types::{FaceDetection, LandmarkType, VideoColorRange, VideoJobStatus};
use rekognition_local::Fault;

use crate::support::{BUCKET, Canned, KEY, Setup, until};

const NEARLY_A_DAY: Duration = Duration::from_mins(24 * 60 - 1);
const NEARLY_A_WEEK: Duration = Duration::from_mins(7 * 24 * 60 - 1);
const MINUTE: Duration = Duration::from_mins(1);

async fn page(setup: &Setup, job_id: &str, max_results: i32, token: Option<&str>) -> GetFaceDetectionOutput {
    let get = setup.client.get_face_detection().job_id(job_id).max_results(max_results);
    get.set_next_token(token.map(Into::into)).send().await.unwrap()
}

/// Whether the token is refused as invalid.
async fn refused_token(setup: &Setup, job_id: &str, token: &str) -> bool {
    let get = setup.client.get_face_detection().job_id(job_id).next_token(token);
    get.send().await.unwrap_err().into_service_error().is_invalid_pagination_token_exception()
}

#[tokio::test]
async fn the_faces_are_those_of_the_detector() {
    let setup = Setup::new(&Canned::faces(3)).await;
    let job_id = setup.start().job_tag("a-tag").send().await.unwrap().job_id.unwrap();
    setup.aws.messages(1).await;

    let got = setup.get(&job_id).await;

    assert_eq!(got.job_status, Some(VideoJobStatus::Succeeded));
    assert_eq!(got.status_message, None);
    assert_eq!(got.next_token, None);
    assert_eq!(got.job_id.as_deref(), Some(job_id.as_str()));
    assert_eq!(got.job_tag.as_deref(), Some("a-tag"));
    let object = got.video.unwrap().s3_object.unwrap();
    assert_eq!((object.bucket.as_deref(), object.name.as_deref(), object.version), (Some(BUCKET), Some(KEY), None));
    let metadata = got.video_metadata.unwrap();
    assert_eq!(metadata.codec.as_deref(), Some("h264"));
    assert_eq!(metadata.duration_millis, Some(61_500));
    assert_eq!(metadata.format.as_deref(), Some("QuickTime / MOV"));
    assert_eq!(metadata.frame_rate, Some(29.97));
    assert_eq!((metadata.frame_width, metadata.frame_height), (Some(1280), Some(720)));
    assert_eq!(metadata.color_range, Some(VideoColorRange::Limited));
    let faces = got.faces.unwrap();
    assert_eq!(faces.iter().map(|face| face.timestamp).collect::<Vec<_>>(), [0, 0, 500]);
    let face = faces[0].face.as_ref().unwrap();
    let bounding_box = face.bounding_box.as_ref().unwrap();
    assert_eq!((bounding_box.left, bounding_box.top), (Some(0.5), Some(0.0625)));
    assert_eq!((bounding_box.width, bounding_box.height), (Some(0.125), Some(0.25)));
    assert_eq!(face.confidence, Some(99.5));
    let landmark = &face.landmarks()[0];
    assert_eq!(
        (landmark.r#type.clone(), landmark.x, landmark.y),
        (Some(LandmarkType::MouthRight), Some(0.5625), Some(0.75))
    );
    assert_eq!((face.pose.as_ref(), face.quality.as_ref()), (None, None));
}

#[tokio::test]
async fn a_job_in_progress_has_a_status_and_no_faces() {
    let detector = Canned::faces(3).shut();
    let setup = Setup::new(&detector).await;
    let job_id = setup.start().job_tag("tag").send().await.unwrap().job_id.unwrap();
    let got = setup.get(&job_id).await;
    assert_eq!(got.job_status, Some(VideoJobStatus::InProgress));
    assert_eq!(got.faces().len(), 0);
    assert_eq!(got.video_metadata, None);
    assert_eq!(got.job_tag.as_deref(), Some("tag"));

    until(|| setup.server.jobs()[0].progress > 0.0).await;
    let seen = setup.server.jobs().remove(0);
    assert_eq!((seen.job_id, seen.job_tag.as_deref(), seen.faces), (job_id, Some("tag"), 0));
    detector.open();
    setup.aws.messages(1).await;
    let seen = setup.server.jobs().remove(0);
    assert_eq!((seen.status, seen.faces), (rekognition_local::JobStatus::Succeeded, 3));
    assert!((seen.progress - 1.0).abs() < f32::EPSILON);
}

#[tokio::test]
async fn the_pages_contain_every_face_once_and_in_order() {
    let setup = Setup::new(&Canned::faces(10)).await;
    let job_id = setup.finished().await;
    let whole = page(&setup, &job_id, 1000, None).await;

    let mut faces: Vec<FaceDetection> = Vec::new();
    let mut sizes = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let page = page(&setup, &job_id, 4, token.as_deref()).await;
        assert_eq!(page.job_status, Some(VideoJobStatus::Succeeded));
        assert_eq!(page.video_metadata, whole.video_metadata);
        sizes.push(page.faces().len());
        faces.extend(page.faces.unwrap_or_default());
        token = page.next_token;
        match &token {
            Some(token) => assert!(token.len() <= 255),
            None => break,
        }
    }
    assert_eq!(sizes, [4, 4, 2]);
    assert_eq!(faces, whole.faces.unwrap());
    assert!(faces.is_sorted_by_key(|face| face.timestamp));
}

#[tokio::test]
async fn a_page_can_be_fetched_again_by_its_token() {
    let setup = Setup::new(&Canned::faces(10)).await;
    let job_id = setup.finished().await;
    let token = page(&setup, &job_id, 4, None).await.next_token;
    let second = page(&setup, &job_id, 4, token.as_deref()).await;
    let again = page(&setup, &job_id, 4, token.as_deref()).await;
    assert_eq!(second.faces, again.faces);
    assert_eq!(second.faces()[0].timestamp, 1000);
}

#[tokio::test]
async fn a_full_last_page_has_no_token() {
    let setup = Setup::new(&Canned::faces(8)).await;
    let job_id = setup.finished().await;
    let token = page(&setup, &job_id, 4, None).await.next_token;
    assert_eq!(page(&setup, &job_id, 4, token.as_deref()).await.next_token, None);
}

#[tokio::test]
async fn a_page_holds_1000_faces_by_default_and_at_most() {
    let setup = Setup::new(&Canned::faces(1001)).await;
    let job_id = setup.finished().await;
    assert_eq!(setup.get(&job_id).await.faces().len(), 1000);
    assert_eq!(page(&setup, &job_id, 5000, None).await.faces().len(), 1000);
    let token = page(&setup, &job_id, 1000, None).await.next_token;
    assert_eq!(page(&setup, &job_id, 1000, token.as_deref()).await.faces().len(), 1);
}

#[tokio::test]
async fn the_servers_page_limit_reduces_the_page_size_of_the_call() {
    let setup = Setup::with(&Canned::faces(10), |config| config.page_limit = 3).await;
    let job_id = setup.finished().await;
    assert_eq!(setup.get(&job_id).await.faces().len(), 3);
    assert_eq!(page(&setup, &job_id, 2, None).await.faces().len(), 2);
}

#[tokio::test]
async fn less_than_one_result_is_a_validation_error() {
    let setup = Setup::new(&Canned::faces(1)).await;
    let job_id = setup.finished().await;
    for max_results in [0, -1] {
        let get = setup.client.get_face_detection().job_id(&job_id).max_results(max_results);
        let refused = get.send().await.unwrap_err().into_service_error();
        assert_eq!(refused.code(), Some("ValidationException"));
        assert!(refused.message().unwrap().contains("'maxResults'"), "{refused:?}");
    }
}

#[tokio::test]
async fn a_get_call_is_checked_against_the_model() {
    let setup = Setup::new(&Canned::faces(1)).await;
    let long = "t".repeat(256);
    let cases = ["{}".to_owned(), r#"{"JobId":"a b"}"#.to_owned(), format!(r#"{{"JobId":"a","NextToken":"{long}"}}"#)];
    for body in cases {
        let (name, _) = setup.refused("RekognitionService.GetFaceDetection", &body).await;
        assert_eq!(name, "ValidationException", "{body}");
    }
}

#[tokio::test]
async fn a_page_token_is_valid_only_for_its_job() {
    let setup = Setup::new(&Canned::faces(10)).await;
    let (one, other) = (setup.finished().await, setup.finished().await);
    let token = page(&setup, &one, 4, None).await.next_token.unwrap();
    assert!(refused_token(&setup, &other, &token).await);
    let malformed = token.replace(|c: char| c.is_ascii_digit(), "x");
    assert!(refused_token(&setup, &one, &malformed).await);
    assert!(refused_token(&setup, &one, "").await);
}

#[tokio::test]
async fn a_page_token_expires_after_24_hours() {
    let setup = Setup::new(&Canned::faces(10)).await;
    let job_id = setup.finished().await;
    let token = page(&setup, &job_id, 4, None).await.next_token.unwrap();
    setup.advance(NEARLY_A_DAY);
    page(&setup, &job_id, 4, Some(&token)).await;
    setup.advance(MINUTE);
    assert!(refused_token(&setup, &job_id, &token).await);
    page(&setup, &job_id, 4, None).await;
}

#[tokio::test]
async fn a_fault_expires_all_page_tokens() {
    let setup = Setup::new(&Canned::faces(10)).await;
    let job_id = setup.finished().await;
    let token = page(&setup, &job_id, 4, None).await.next_token.unwrap();
    setup.server.faults().inject(Fault::ExpirePageTokens);
    assert!(refused_token(&setup, &job_id, &token).await);
}

#[tokio::test]
async fn results_expire_after_seven_days() {
    let setup = Setup::new(&Canned::faces(1)).await;
    let job_id = setup.finished().await;
    setup.advance(NEARLY_A_WEEK);
    setup.get(&job_id).await;
    setup.advance(MINUTE);
    assert!(unknown(&setup, &job_id).await);
    assert_eq!(setup.server.jobs(), []);
}

#[tokio::test]
async fn a_deleted_job_is_unknown_though_its_token_still_names_it() {
    let setup = Setup::new(&Canned::faces(1)).await;
    let start = || setup.start().client_request_token("token");
    let job_id = start().send().await.unwrap().job_id.unwrap();
    setup.aws.messages(1).await;
    setup.server.faults().inject(Fault::ForgetJob { job_id: job_id.clone() });
    assert!(unknown(&setup, &job_id).await);
    assert_eq!(start().send().await.unwrap().job_id, Some(job_id));
}

#[tokio::test]
async fn a_job_that_was_not_started_is_unknown() {
    let setup = Setup::new(&Canned::faces(1)).await;
    assert!(unknown(&setup, &"0".repeat(64)).await);
}

async fn unknown(setup: &Setup, job_id: &str) -> bool {
    let got = setup.client.get_face_detection().job_id(job_id).send().await;
    got.unwrap_err().into_service_error().is_resource_not_found_exception()
}
