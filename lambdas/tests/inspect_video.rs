//! inspect-video: which content it finds, and why an object cannot be analysed.

mod common;

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::ErrorMetadata,
    operation::{get_object::GetObjectError, head_object::HeadObjectOutput},
    primitives::SdkBody,
    types::error::InvalidObjectState,
};
use aws_smithy_mocks::{Rule, mock};
use common::{Store, clients_with_s3};
use lambdas::{
    aws::ErrorName as _,
    inspect_video::inspect_video,
    video::{InspectError, Video},
};
use serde_json::{Value, json};

const VIDEO: &[u8] = b"\0\0\0\x20ftypisom and so on";

async fn inspect(rules: &[Rule], body: Option<&[u8]>, input: Value) -> Result<Video, InspectError> {
    let store = Store::default();
    if let Some(body) = body {
        store.put("holiday.mp4", body);
    }
    let request = json!({"execution_name": "one", "input": input});
    inspect_video(&clients_with_s3(rules, &store, &[], &[]), serde_json::from_value(request).unwrap()).await
}

fn input() -> Value {
    json!({"bucket": "uploads", "key": "holiday.mp4"})
}

#[tokio::test(start_paused = true)]
async fn a_video_has_its_size_and_its_entity_tag() {
    let video = inspect(&[], Some(VIDEO), input()).await.unwrap();
    let expected = json!({"bucket": "uploads", "key": "holiday.mp4", "etag": "e", "bytes": VIDEO.len()});
    assert_eq!(serde_json::to_value(video).unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn the_version_is_pinned_even_if_the_input_does_not_name_it() {
    for (answered, pinned) in [(Some("v7"), Some("v7")), (Some("null"), None), (None, None)] {
        let head = mock!(aws_sdk_s3::Client::head_object).then_output(move || {
            let head = HeadObjectOutput::builder().content_length(9).e_tag("\"e\"");
            head.set_version_id(answered.map(str::to_owned)).build()
        });
        let video = inspect(&[head], Some(VIDEO), input()).await.unwrap();
        assert_eq!(video.version_id.as_deref(), pinned);
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_not_a_video_fails_by_name() {
    for (body, error) in
        [(Some(&b""[..]), "VideoEmpty"), (Some(b"just some text"), "NotAVideo"), (None, "VideoNotFound")]
    {
        assert_eq!(inspect(&[], body, input()).await.unwrap_err().error_name(), error);
    }
    let large = mock!(aws_sdk_s3::Client::head_object)
        .then_output(|| HeadObjectOutput::builder().content_length(10_737_418_241).e_tag("\"e\"").build());
    assert_eq!(inspect(&[large], Some(VIDEO), input()).await.unwrap_err().error_name(), "VideoTooLarge");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_s3_does_not_serve_fails_by_name() {
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
        let failure = inspect(&[rule], Some(VIDEO), input()).await.unwrap_err();
        assert_eq!(failure.error_name(), error);
        assert!(failure.to_string().contains(part), "{error}: {failure}");
    }
}

#[tokio::test]
async fn an_input_that_names_no_video_fails_by_name_without_a_call() {
    let head = mock!(aws_sdk_s3::Client::head_object).then_compute_output(|_| panic!("no object is named"));
    let failure = inspect(&[head], None, json!({"bucket": "uploads"})).await.unwrap_err();
    assert_eq!(failure.error_name(), "InvalidInput");
    assert!(failure.to_string().contains("missing field `key`"), "{failure}");
}
