//! The input of an execution: the event of S3 as EventBridge delivers it, or the location that a person enters.

use aws_lambda_events::event::eventbridge::EventBridgeEvent;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::video::{Location, immutable_version};

/// The input does not name a video.
#[derive(Debug, thiserror::Error)]
#[error(
    "the execution's input does not name a video: {reason}; enter an EventBridge \"Object Created\" event of S3, or {{\"bucket\": …, \"key\": …}}"
)]
pub struct InvalidInput {
    reason: String,
}

/// The `detail` of S3's "Object Created"
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html>): keys in it are raw.
#[derive(Deserialize, Serialize)]
#[serde(expecting = "an object with `bucket` and `object`")]
struct ObjectCreated {
    bucket: Bucket,
    object: Object,
}

#[derive(Deserialize, Serialize)]
#[serde(expecting = "an object with `name`")]
struct Bucket {
    name: String,
}

#[derive(Deserialize, Serialize)]
#[serde(expecting = "an object with `key`")]
struct Object {
    key: String,
    #[serde(rename = "version-id")]
    version_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `bucket` and `key`")]
struct Manual {
    bucket: String,
    key: String,
    version_id: Option<String>,
}

/// Finds the video in an execution's input.
///
/// # Errors
/// [`InvalidInput`] names the member that is missing or invalid.
pub fn location(input: Value) -> Result<Location, InvalidInput> {
    let location = if input.get("detail").is_some() {
        let event: EventBridgeEvent<ObjectCreated> = parse(input)?;
        if event.source != "aws.s3" || event.detail_type != "Object Created" {
            return Err(InvalidInput {
                reason: format!("it is a \"{}\" event of {}", event.detail_type, event.source),
            });
        }
        let ObjectCreated { bucket, object } = event.detail;
        Location { bucket: bucket.name, key: object.key, version_id: immutable_version(object.version_id) }
    } else {
        let Manual { bucket, key, version_id } = parse(input)?;
        Location { bucket, key, version_id: immutable_version(version_id) }
    };
    for (name, value) in [("bucket", &location.bucket), ("key", &location.key)] {
        if value.is_empty() {
            return Err(InvalidInput { reason: format!("{name} is empty") });
        }
    }
    Ok(location)
}

fn parse<T: serde::de::DeserializeOwned>(input: Value) -> Result<T, InvalidInput> {
    serde_json::from_value(input).map_err(|error| InvalidInput { reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fixture(name: &str) -> Value {
        let path = format!("{}/../tests/fixtures/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn every_event_of_a_created_object_names_the_video() {
        for name in ["put-object", "complete-multipart-upload", "copy-object", "post-object"] {
            let location = location(fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(location.bucket, "amzn-s3-demo-bucket", "{name}");
            assert_eq!(location.key, "holiday/day 1.mp4", "{name}");
        }
    }

    #[test]
    fn the_version_of_a_versioned_bucket_is_kept() {
        let version = location(fixture("put-object-versioned")).unwrap().version_id;
        assert_eq!(version.as_deref(), Some("IYV3p45BT0ac8hjHg1houSdS1a.Mro8e"));
    }

    #[test]
    fn the_version_null_of_a_bucket_with_suspended_versioning_is_no_version() {
        let mut event = fixture("put-object-versioned");
        event["detail"]["object"]["version-id"] = json!("null");
        let manual = json!({"bucket": "b", "key": "k", "version_id": "null"});
        for input in [event, manual] {
            assert_eq!(location(input.clone()).unwrap().version_id, None, "{input}");
        }
    }

    #[test]
    fn keys_stay_raw() {
        for key in ["a b+c%2Fd.mp4", "\"quoted\" 'key'.mp4", "🎬/ünïcode.mp4", "../..//x.mp4", "%7B%25"] {
            let manual = location(json!({"bucket": "b", "key": key})).unwrap();
            assert_eq!(manual.key, key);
            let mut event = fixture("put-object");
            event["detail"]["object"]["key"] = json!(key);
            assert_eq!(location(event).unwrap().key, key);
        }
    }

    #[test]
    fn the_reason_names_the_invalid_member() {
        for (input, expected) in [
            (json!({}), "missing field `bucket`"),
            (json!({"bucket": "b"}), "missing field `key`"),
            (json!({"bucket": "b", "Key": "k"}), "unknown field `Key`"),
            (json!({"bucket": "b", "key": ""}), "key is empty"),
            (json!({"bucket": "b", "key": 7}), "invalid type: integer `7`"),
            (json!("s3://b/k"), "invalid type: string"),
            (json!(null), "invalid type: null"),
            (fixture("object-deleted"), "\"Object Deleted\" event of aws.s3"),
        ] {
            let error = location(input.clone()).unwrap_err().to_string();
            assert!(error.contains(expected), "{input}: {error}");
        }
    }

    #[test]
    fn no_name_of_a_rust_type_is_in_the_reason() {
        let mut inputs =
            vec![json!(null), json!(7), json!("s3://b/k"), json!(["b"]), json!({"bucket": {}, "key": "k"})];
        for pointer in ["/detail", "/detail/bucket", "/detail/object", "/detail/object/key"] {
            for value in [json!(null), json!(7), json!([])] {
                let mut event = fixture("put-object");
                *event.pointer_mut(pointer).unwrap() = value;
                inputs.push(event);
            }
        }
        for input in inputs {
            let error = location(input.clone()).unwrap_err().to_string();
            let reason = error.strip_prefix("the execution's input does not name a video: ").unwrap();
            let names = ["struct", "Manual", "ObjectCreated", "Bucket", "EventBridgeEvent"];
            assert!(!names.iter().any(|name| reason.contains(name)), "{input}: {error}");
        }
    }
}
