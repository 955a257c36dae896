//! The parameters of a single call, and how it is refused.

use std::time::Duration;

use aws_sdk_rekognition::operation::start_face_detection::StartFaceDetectionError as Refused;
use aws_sdk_rekognition::types::{FaceAttributes, S3Object, Video};
use axum::body::Bytes;
use rekognition_local::{Config, Server, StartError};

use crate::support::{BUCKET, Canned, KEY, Object, Setup, TOPIC, channel, video};

const MINUTE: Duration = Duration::from_mins(1);
const NEARLY_A_WEEK: Duration = Duration::from_mins(7 * 24 * 60 - 1);

#[tokio::test]
async fn a_token_used_again_finds_its_job_and_neither_analyses_nor_notifies_again() {
    let detector = Canned::faces(1);
    let setup = Setup::new(&detector).await;
    let start = || setup.start().client_request_token("token-1").job_tag("tag");
    let first = start().send().await.unwrap().job_id;
    setup.aws.messages(1).await;

    let again = start().send().await.unwrap().job_id;

    assert_eq!(first, again);
    // If the second call had published a message, it would be in front of the message of this later job.
    setup.finished().await;
    assert_eq!(setup.aws.messages(2).await.len(), 2);
    assert_eq!(detector.analyses(), 2);
    assert_eq!(setup.server.calls().start, 3);
    assert_eq!(setup.server.calls().jobs, 2);
}

#[tokio::test]
async fn the_attributes_are_default_by_default() {
    let setup = Setup::new(&Canned::faces(1)).await;
    let start = || setup.start().client_request_token("token");
    let first = start().send().await.unwrap().job_id;
    assert_eq!(first, start().face_attributes(FaceAttributes::Default).send().await.unwrap().job_id);
}

#[tokio::test]
async fn concurrent_calls_with_one_token_start_one_job() {
    let detector = Canned::faces(1);
    let setup = Setup::new(&detector).await;
    let calls = (0..10).map(|_| tokio::spawn(setup.start().client_request_token("token").send()));
    let mut ids = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        ids.push(call.await.unwrap().unwrap().job_id.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(setup.server.calls().jobs, 1);
}

#[tokio::test]
async fn a_token_used_again_with_another_parameter_is_a_mismatch() {
    let setup = Setup::new(&Canned::faces(1)).await;
    setup.aws.put("other.mp4", Object::Bytes(Bytes::from_static(b"another video")));
    let start = || setup.start().client_request_token("token").job_tag("tag");
    start().send().await.unwrap();
    let others = [
        start().job_tag("other"),
        start().set_job_tag(None),
        start().video(video("other.mp4")),
        start().face_attributes(FaceAttributes::All),
        start().notification_channel(channel(&format!("{TOPIC}-2"))),
        start().set_notification_channel(None),
    ];
    for other in others {
        let refused = other.send().await.unwrap_err().into_service_error();
        assert!(refused.is_idempotent_parameter_mismatch_exception(), "{refused:?}");
    }
    assert_eq!(setup.server.calls().jobs, 1);
}

#[tokio::test]
async fn a_token_expires_after_seven_days() {
    let setup = Setup::new(&Canned::faces(1)).await;
    let start = || setup.start().client_request_token("token");
    let first = start().send().await.unwrap().job_id;
    setup.advance(NEARLY_A_WEEK);
    assert_eq!(first, start().send().await.unwrap().job_id);
    setup.advance(MINUTE);
    assert_ne!(first, start().send().await.unwrap().job_id);
}

#[tokio::test]
async fn without_a_token_every_call_starts_a_job() {
    let setup = Setup::new(&Canned::faces(1)).await;
    assert_ne!(setup.start().send().await.unwrap().job_id, setup.start().send().await.unwrap().job_id);
}

#[tokio::test]
async fn a_job_id_is_64_hex_characters() {
    let setup = Setup::new(&Canned::faces(1)).await;
    let job_id = setup.start().send().await.unwrap().job_id.unwrap();
    assert_eq!(job_id.len(), 64);
    assert!(job_id.chars().all(|c| c.is_ascii_hexdigit()));
}

#[tokio::test]
async fn the_quota_counts_jobs_in_progress_and_does_not_apply_to_known_tokens() {
    let detector = Canned::faces(1).shut();
    let setup = Setup::new(&detector).await;
    let first = setup.start().client_request_token("first").send().await.unwrap().job_id;
    for _ in 1..20 {
        setup.start().send().await.unwrap();
    }

    let refused = setup.start().send().await.unwrap_err().into_service_error();
    let Refused::LimitExceededException(limit) = refused else { panic!("{refused:?}") };
    assert!(limit.message().unwrap().contains("Maximum limit: 20"));
    let known = setup.start().client_request_token("first").send().await.unwrap().job_id;
    assert_eq!(first, known);

    detector.open();
    setup.aws.messages(20).await;
    setup.start().send().await.expect("a slot is free again");
    assert_eq!(setup.server.calls().jobs, 21);
}

#[tokio::test]
async fn a_missing_or_forbidden_object_is_refused_with_the_message_of_the_service() {
    let setup = Setup::new(&Canned::faces(1)).await;
    setup.aws.put("forbidden.mp4", Object::Forbidden);
    for key in ["missing.mp4", "forbidden.mp4"] {
        let refused = setup.start().video(video(key)).send().await.unwrap_err().into_service_error();
        let Refused::InvalidS3ObjectException(object) = refused else { panic!("{refused:?}") };
        let expected = "Unable to get object metadata from S3. Check object key, region and/or access permissions.";
        assert_eq!(object.message(), Some(expected));
    }
    assert_eq!(setup.server.calls().jobs, 0);
}

#[tokio::test]
async fn the_version_of_the_call_is_read() {
    let detector = Canned::faces(1);
    let setup = Setup::new(&detector).await;
    setup.aws.put(KEY, Object::Version("v2".into(), Bytes::from_static(b"second")));
    let version = |version: &str| {
        let object = S3Object::builder().bucket(BUCKET).name(KEY).version(version).build();
        setup.start().video(Video::builder().s3_object(object).build())
    };
    let refused = version("v1").send().await.unwrap_err().into_service_error();
    assert!(refused.is_invalid_s3_object_exception());

    let job_id = version("v2").send().await.unwrap().job_id.unwrap();
    setup.aws.messages(1).await;
    assert_eq!(detector.seen.lock().unwrap()[0].1, b"second");
    let object = setup.get(&job_id).await.video.unwrap().s3_object.unwrap();
    assert_eq!(object.version.as_deref(), Some("v2"));
}

#[tokio::test]
async fn ten_gigabytes_are_accepted_and_one_byte_more_is_too_large() {
    const LIMIT: u64 = 10 * 1024 * 1024 * 1024;
    let setup = Setup::new(&Canned::faces(1)).await;
    setup.aws.put("large.mp4", Object::Sized(LIMIT + 1));
    let refused = setup.start().video(video("large.mp4")).send().await.unwrap_err().into_service_error();
    assert!(refused.is_video_too_large_exception(), "{refused:?}");
    setup.aws.put("large.mp4", Object::Sized(LIMIT));
    setup.start().video(video("large.mp4")).send().await.unwrap();
}

#[tokio::test]
async fn an_s3_that_does_not_answer_is_an_internal_server_error() {
    let setup = Setup::with(&Canned::faces(1), |config| config.aws_endpoint = "http://127.0.0.1:1".into()).await;
    let refused = setup.start().send().await.unwrap_err().into_service_error();
    assert!(refused.is_internal_server_error(), "{refused:?}");
}

#[tokio::test]
async fn a_violation_of_the_service_model_is_a_validation_error_that_names_the_member() {
    let setup = Setup::new(&Canned::faces(1)).await;
    let video = r#""Video":{"S3Object":{"Bucket":"videos","Name":"clip.mp4"}}"#;
    let (long_token, long_tag, long_key) = ("t".repeat(65), "t".repeat(1025), "k".repeat(1025));
    let cases = [
        ("video", "{}".to_owned()),
        ("video", r#"{"Video":null}"#.to_owned()),
        ("clientRequestToken", format!(r#"{{{video},"ClientRequestToken":""}}"#)),
        ("clientRequestToken", format!(r#"{{{video},"ClientRequestToken":"a b"}}"#)),
        ("clientRequestToken", format!(r#"{{{video},"ClientRequestToken":"{long_token}"}}"#)),
        ("jobTag", format!(r#"{{{video},"JobTag":""}}"#)),
        ("jobTag", format!(r#"{{{video},"JobTag":"ümlaut"}}"#)),
        ("jobTag", format!(r#"{{{video},"JobTag":"{long_tag}"}}"#)),
        ("faceAttributes", format!(r#"{{{video},"FaceAttributes":"SOME"}}"#)),
        ("video.s3Object.bucket", r#"{"Video":{"S3Object":{"Bucket":"no","Name":"k"}}}"#.to_owned()),
        ("video.s3Object.bucket", r#"{"Video":{"S3Object":{"Bucket":"a/b","Name":"k"}}}"#.to_owned()),
        ("video.s3Object.name", r#"{"Video":{"S3Object":{"Bucket":"videos","Name":""}}}"#.to_owned()),
        ("video.s3Object.name", format!(r#"{{"Video":{{"S3Object":{{"Bucket":"videos","Name":"{long_key}"}}}}}}"#)),
        ("video.s3Object.version", r#"{"Video":{"S3Object":{"Bucket":"videos","Name":"k","Version":""}}}"#.to_owned()),
        (
            "sNSTopicArn",
            format!(r#"{{{video},"NotificationChannel":{{"RoleArn":"arn:aws:iam::000000000000:role/r"}}}}"#),
        ),
        ("roleArn", format!(r#"{{{video},"NotificationChannel":{{"SNSTopicArn":"{TOPIC}"}}}}"#)),
        ("sNSTopicArn", notified(video, "arn:aws:sqs:us-east-1:000000000000:q", "arn:aws:iam::000000000000:role/r")),
        ("sNSTopicArn", notified(video, "arn:aws:sns:us-east-1:42:t", "arn:aws:iam::000000000000:role/r")),
        ("roleArn", notified(video, TOPIC, "arn:aws:iam::000000000000:user/u")),
        ("roleArn", notified(video, TOPIC, "arn:aws:iam::42:role/r")),
    ];
    for (member, body) in cases {
        let (name, message) = setup.refused_start(&body).await;
        assert_eq!(name, "ValidationException", "{body}");
        assert!(message.starts_with("1 validation error detected: Value "), "{message}");
        assert!(message.contains(&format!("{member}' failed to satisfy constraint: Member must ")), "{message}");
    }
    assert_eq!(setup.server.calls().jobs, 0);
}

fn notified(video: &str, topic: &str, role: &str) -> String {
    format!(r#"{{{video},"NotificationChannel":{{"SNSTopicArn":"{topic}","RoleArn":"{role}"}}}}"#)
}

#[tokio::test]
async fn the_longest_tokens_and_all_allowed_characters_are_accepted() {
    let setup = Setup::new(&Canned::faces(1)).await;
    let start = setup.start().client_request_token("aZ09-_".repeat(10) + "-_-_").job_tag("aZ09_.-:+=/".repeat(93));
    start.send().await.unwrap();
}

#[tokio::test]
async fn several_violations_are_reported_in_one_error() {
    let setup = Setup::new(&Canned::faces(1)).await;
    let (_, message) = setup.refused_start(r#"{"JobTag":"","FaceAttributes":"SOME"}"#).await;
    assert!(message.starts_with("3 validation errors detected: "), "{message}");
}

#[tokio::test]
async fn a_call_that_names_no_video_has_invalid_parameters() {
    let setup = Setup::new(&Canned::faces(1)).await;
    for object in [None, Some(S3Object::builder().bucket(BUCKET).build()), Some(S3Object::builder().name(KEY).build())]
    {
        let start = setup.start().video(Video::builder().set_s3_object(object).build());
        let refused = start.send().await.unwrap_err().into_service_error();
        assert!(refused.is_invalid_parameter_exception(), "{refused:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_the_json_of_the_call_is_a_serialization_error() {
    let setup = Setup::new(&Canned::faces(1)).await;
    for body in ["", "{", "[1]", r#"{"Video":"clip.mp4"}"#, r#"{"JobTag":7}"#] {
        assert_eq!(setup.refused_start(body).await.0, "SerializationException", "{body}");
    }
}

#[tokio::test]
async fn any_other_operation_is_unknown() {
    let setup = Setup::new(&Canned::faces(1)).await;
    for target in ["RekognitionService.DetectFaces", "StartFaceDetection", ""] {
        assert_eq!(setup.refused(target, "{}").await.0, "UnknownOperationException", "{target}");
    }
}

#[tokio::test]
async fn a_server_does_not_start_on_an_address_that_other_machines_can_reach() {
    let mut config = Config::new("http://127.0.0.1:1", Canned::faces(0));
    config.listen = "0.0.0.0:0".parse().unwrap();
    let refused = Server::start(config).await.err().expect("it does not start");
    assert!(matches!(refused, StartError::NotLoopback(_)), "{refused:?}");
}

#[tokio::test]
async fn the_error_for_a_used_port_names_the_address() {
    let setup = Setup::new(&Canned::faces(1)).await;
    let address = setup.server.url().replace("http://", "");
    let mut config = Config::new("http://127.0.0.1:1", Canned::faces(0));
    config.listen = address.parse().unwrap();
    let refused = Server::start(config).await.err().expect("it does not start");
    assert!(refused.to_string().contains(&address), "{refused}");
}
