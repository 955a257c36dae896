//! What identifies a video, a job and a result, computed without the functions: the checks compare against it.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::world::{PUBLISH_ROLE, UPLOADS};

/// The prefix of the stored task tokens.
pub(super) const CALLBACKS: &str = "callbacks/";
/// The prefix of the queue entries.
pub(super) const QUEUE_ENTRIES: &str = "queue/entries/";
/// The prefix of the records of started jobs.
pub(super) const STARTED_JOBS: &str = "queue/started-jobs/";
/// The prefix of the records of completed jobs.
pub(super) const COMPLETED_JOBS: &str = "queue/completed-jobs/";
/// The prefix of the results.
pub(super) const RESULT_FOLDERS: &str = "results/";

/// A video's key is cut to this number of bytes in the folder of its results.
const MAX_KEY_BYTES: usize = 900;

/// The version id of every object that is uploaded to a bucket with suspended versioning
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/AddingObjectstoVersionSuspendedBuckets.html>).
pub(super) const NULL_VERSION: &str = "null";

/// The object that an execution's input names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) version: Option<String>,
}

/// The object that an execution's input names; `None` if the input is invalid.
pub(super) fn location(input: &Value) -> Option<Location> {
    let (bucket, key, version) = if let Some(detail) = input.get("detail") {
        if input["source"] != "aws.s3" || input["detail-type"] != "Object Created" {
            return None;
        }
        (&detail["bucket"]["name"], &detail["object"]["key"], &detail["object"]["version-id"])
    } else {
        if !input.as_object()?.keys().all(|field| ["bucket", "key", "version_id"].contains(&field.as_str())) {
            return None;
        }
        (&input["bucket"], &input["key"], &input["version_id"])
    };
    let name = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    Some(Location {
        bucket: name(bucket)?,
        key: name(key)?,
        version: name(version).filter(|version| version != NULL_VERSION),
    })
}

/// The `ClientRequestToken` and `JobTag` of a job. `content` is the video's immutable version, or else its entity tag.
pub(super) fn idempotency_key(key: &str, content: &str, topic: &str, attempt: u64) -> String {
    let identity = json!([UPLOADS, key, content, "DEFAULT", topic, PUBLISH_ROLE, attempt]);
    hex::encode(Sha256::digest(identity.to_string()))
}

/// The folder of a job's results, with a `/` at its end.
pub(super) fn result_folder(key: &str, idempotency_key: &str) -> String {
    let mut cut = String::new();
    for character in key.chars() {
        if cut.len() + character.len_utf8() > MAX_KEY_BYTES {
            break;
        }
        cut.push(character);
    }
    format!("{RESULT_FOLDERS}{cut}/{idempotency_key}/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_names_a_video_or_is_invalid() {
        let event = json!({"source": "aws.s3", "detail-type": "Object Created",
            "detail": {"bucket": {"name": "b"}, "object": {"key": "k", "version-id": "null"}}});
        let unversioned = Location { bucket: "b".to_owned(), key: "k".to_owned(), version: None };
        assert_eq!(location(&event), Some(unversioned.clone()));
        assert_eq!(location(&json!({"bucket": "b", "key": "k"})), Some(unversioned));
        for invalid in [json!(7), json!({"bucket": "b"}), json!({"bucket": "b", "key": "k", "version": "1"})] {
            assert_eq!(location(&invalid), None, "{invalid}");
        }
    }

    #[test]
    fn a_long_key_is_cut_between_two_characters() {
        assert_eq!(result_folder("a/b.mp4", "i"), "results/a/b.mp4/i/");
        assert_eq!(result_folder(&format!("x{}", "é".repeat(500)), "i"), format!("results/x{}/i/", "é".repeat(449)));
    }
}
