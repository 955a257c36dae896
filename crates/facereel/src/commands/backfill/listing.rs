//! Lists the videos of a source.

use std::collections::BTreeSet;

use aws_sdk_s3::types::{ObjectVersion, OptionalObjectAttributes};
use futures_util::{Stream, StreamExt as _, stream};
use lambdas::video::{MAX_BYTES, immutable_version};
use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::deployed::{Deployed, Error, S3Uri, billing::VideoLength};

/// S3 answers thousands of requests a second for each prefix
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html>).
pub(super) const CONCURRENT_READS: usize = 32;

/// The suffixes of keys whose upload starts an execution, as in `terraform/upload_events.tf`.
const SUFFIXES: [&str; 2] = [".mp4", ".mov"];

/// The action that a listing of versions needs.
const LIST_VERSIONS: &str = "s3:ListBucketVersions";

/// A video in the listing of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedVideo {
    /// Its raw key.
    pub key: String,
    /// Its entity tag, without quotes.
    pub etag: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its length, if its header contains it.
    pub duration: Option<std::time::Duration>,
    /// Why an execution for it would fail, as far as the listing shows.
    pub obstacle: Option<Obstacle>,
}

/// Why a video cannot be analysed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// It is in S3 Glacier or Deep Archive and is not restored.
    Archived,
    /// It has no bytes.
    Empty,
    /// It is larger than Rekognition accepts.
    TooLarge,
}

impl Obstacle {
    fn of(object: &ObjectVersion, bytes: u64) -> Option<Self> {
        // The API documents only STANDARD for a version, and S3 answers with the storage class that the object has.
        let archived =
            object.storage_class().is_some_and(|class| ["GLACIER", "DEEP_ARCHIVE"].contains(&class.as_str()));
        // A restored copy has a date on which it expires.
        let restored = object.restore_status().is_some_and(|status| status.restore_expiry_date().is_some());
        match bytes {
            0 => Some(Self::Empty),
            _ if bytes > MAX_BYTES => Some(Self::TooLarge),
            _ if archived && !restored => Some(Self::Archived),
            _ => None,
        }
    }
}

impl ListedVideo {
    /// The start of the names of its executions: the same for the same content.
    pub(super) fn name(&self, bucket: &str) -> String {
        // JSON, because two different lists of strings never have the same JSON.
        let identity = serde_json::json!([bucket, self.key, self.etag]).to_string();
        format!("backfill-{}", &hex::encode(Sha256::digest(identity))[..24])
    }
}

/// A video as it is in the bucket now, with its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CurrentVideo {
    /// The video.
    pub(super) listed: ListedVideo,
    /// Its version, in a versioned bucket.
    pub(super) version_id: Option<String>,
}

/// The position of a listing of versions: a key and one of its versions.
type Marker = (Option<String>, Option<String>);

/// The videos with the prefix of the source, a page of the listing at a time.
///
/// The versions are listed, because the idempotency key of a job contains the version. In a bucket without versions, the call
/// lists the same objects as `ListObjectsV2`, with the version id `null`
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html>).
pub(super) fn pages<'a>(
    deployed: &'a Deployed,
    source: &'a S3Uri,
) -> impl Stream<Item = Result<Vec<CurrentVideo>, Error>> + 'a {
    stream::try_unfold(Some(Marker::default()), async |position: Option<Marker>| {
        let Some((key, version)) = position else { return Ok(None) };
        let page = deployed
            .s3
            .list_object_versions()
            .bucket(&source.bucket)
            .prefix(&source.key)
            .set_key_marker(key)
            .set_version_id_marker(version)
            // This attribute distinguishes archived objects that are restored from those that are not.
            .optional_object_attributes(OptionalObjectAttributes::RestoreStatus)
            .send()
            .await
            .map_err(Error::s3(LIST_VERSIONS, &source.bucket))?;
        let next = match (page.is_truncated, page.next_key_marker) {
            (Some(true), Some(key)) => Some((Some(key), page.next_version_id_marker)),
            (Some(true), None) => return Err(Error::Incomplete { action: LIST_VERSIONS, missing: "NextKeyMarker" }),
            _ => None,
        };
        let videos = page.versions.unwrap_or_default().into_iter().filter_map(current).collect();
        Ok(Some((videos, next)))
    })
}

/// The video behind a version; `None` for an earlier version, and for an object with another suffix.
fn current(object: ObjectVersion) -> Option<CurrentVideo> {
    let bytes = object.size.and_then(|size| size.try_into().ok()).unwrap_or_default();
    let obstacle = Obstacle::of(&object, bytes);
    let key = object.key?;
    let lower = key.to_ascii_lowercase();
    let is_video = object.is_latest == Some(true) && SUFFIXES.iter().any(|suffix| lower.ends_with(suffix));
    is_video.then(|| CurrentVideo {
        listed: ListedVideo {
            key,
            etag: object.e_tag.unwrap_or_default().trim_matches('"').to_owned(),
            bytes,
            duration: None,
            obstacle,
        },
        version_id: immutable_version(object.version_id),
    })
}

/// The names, without the id of the backfill, of the running executions that an earlier backfill, or a replay of its failed
/// executions, has started.
pub(super) async fn running(deployed: &Deployed) -> Result<BTreeSet<String>, Error> {
    let mut names = BTreeSet::new();
    for execution in deployed.running_executions().await? {
        let mut parts = execution.name.split('-');
        if let (Some("backfill"), Some(content)) = (parts.next(), parts.next()) {
            names.insert(format!("backfill-{content}"));
        }
    }
    Ok(names)
}

/// Reads the length of each video.
pub(super) async fn with_durations(
    deployed: &Deployed,
    bucket: &str,
    videos: Vec<ListedVideo>,
    mut done: impl FnMut(usize),
) -> Vec<ListedVideo> {
    let mut reads = stream::iter(videos)
        .map(|video| async move {
            let duration = VideoLength::read(deployed, bucket, &video.key, None).await.duration;
            ListedVideo { duration, ..video }
        })
        .buffered(CONCURRENT_READS);
    let mut videos = Vec::new();
    while let Some(video) = reads.next().await {
        videos.push(video);
        done(videos.len());
    }
    videos
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::{
        primitives::DateTime,
        types::{RestoreStatus, builders::ObjectVersionBuilder},
    };

    use super::*;

    #[test]
    fn different_content_has_a_different_name() {
        let video = ListedVideo { key: "k.mp4".into(), etag: "e".into(), bytes: 1, duration: None, obstacle: None };
        let name = video.name("b");
        assert_eq!(name, video.name("b"));
        for other in [
            ListedVideo { key: "l.mp4".into(), ..video.clone() }.name("b"),
            ListedVideo { etag: "f".into(), ..video.clone() }.name("b"),
            video.name("c"),
        ] {
            assert_ne!(name, other);
        }
    }

    fn version(bytes: i64) -> ObjectVersionBuilder {
        ObjectVersion::builder().key("in/a.MOV").size(bytes).e_tag("\"e\"").is_latest(true).version_id("v1")
    }

    #[test]
    fn an_object_that_cannot_be_analysed_is_listed_with_its_obstacle() {
        let restored = RestoreStatus::builder().restore_expiry_date(DateTime::from_secs(1_900_000_000)).build();
        let restoring = RestoreStatus::builder().is_restore_in_progress(true).build();
        for (object, obstacle) in [
            (version(7), None),
            (version(0), Some(Obstacle::Empty)),
            (version(10_737_418_240), None),
            (version(10_737_418_241), Some(Obstacle::TooLarge)),
            (version(7).storage_class("STANDARD".into()), None),
            (version(7).storage_class("GLACIER_IR".into()), None),
            (version(7).storage_class("GLACIER".into()), Some(Obstacle::Archived)),
            (version(7).storage_class("DEEP_ARCHIVE".into()), Some(Obstacle::Archived)),
            (version(7).storage_class("GLACIER".into()).restore_status(restoring), Some(Obstacle::Archived)),
            (version(7).storage_class("GLACIER".into()).restore_status(restored), None),
        ] {
            let object = object.build();
            assert_eq!(current(object.clone()).unwrap().listed.obstacle, obstacle, "{object:?}");
        }
    }

    #[test]
    fn only_the_current_versions_of_videos_are_listed() {
        let version_of = |object: ObjectVersionBuilder| current(object.build()).map(|video| video.version_id);
        assert_eq!(version_of(version(7)), Some(Some("v1".to_owned())));
        assert_eq!(version_of(version(7).version_id("null")), Some(None));
        assert_eq!(version_of(version(7).is_latest(false)), None);
        assert_eq!(version_of(version(7).key("notes.txt")), None);
    }
}
