//! Lists the videos of a source, and finds those with a complete result.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_s3::types::{Object, ObjectStorageClass, OptionalObjectAttributes};
use aws_sdk_sfn::types::{ExecutionListItem, ExecutionStatus};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lambdas::{layout, results::Manifest, video::MAX_BYTES};
use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::deployed::{Deployed, Error, S3Uri, billing::VideoLength};

/// S3 answers thousands of requests a second for each prefix
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html>).
const CONCURRENT_READS: usize = 32;

/// The suffixes of keys whose upload starts an execution, as in `terraform/upload_events.tf`.
const SUFFIXES: [&str; 2] = [".mp4", ".mov"];

/// The end of the key of a manifest. The presence of a manifest means that the result is complete.
const MANIFEST: &str = "/manifest.json";

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
    fn of(object: &Object, bytes: u64) -> Option<Self> {
        let archived =
            matches!(object.storage_class(), Some(ObjectStorageClass::Glacier | ObjectStorageClass::DeepArchive));
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

/// All videos with the prefix of the source.
pub(super) async fn videos(deployed: &Deployed, source: &S3Uri) -> Result<Vec<ListedVideo>, Error> {
    let S3Uri { bucket, key: prefix } = source;
    // This attribute distinguishes archived objects that are restored from those that are not
    // (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>).
    let listing = deployed.s3.list_objects_v2().optional_object_attributes(OptionalObjectAttributes::RestoreStatus);
    let mut pages = listing.bucket(bucket).prefix(prefix).into_paginator().send();
    let mut videos = Vec::new();
    while let Some(page) = pages.try_next().await.map_err(Error::s3("s3:ListBucket", bucket))? {
        videos.extend(page.contents.unwrap_or_default().into_iter().filter_map(listed));
    }
    Ok(videos)
}

/// The video behind an object; `None` for an object with another suffix.
fn listed(object: Object) -> Option<ListedVideo> {
    let bytes = object.size.and_then(|size| size.try_into().ok()).unwrap_or_default();
    let obstacle = Obstacle::of(&object, bytes);
    let key = object.key?;
    let lower = key.to_ascii_lowercase();
    SUFFIXES.iter().any(|suffix| lower.ends_with(suffix)).then(|| ListedVideo {
        key,
        etag: object.e_tag.unwrap_or_default().trim_matches('"').to_owned(),
        bytes,
        duration: None,
        obstacle,
    })
}

/// The videos without a complete result for their current content.
pub(super) async fn without_result(
    deployed: &Deployed,
    source: &S3Uri,
    results_bucket: &str,
    videos: Vec<ListedVideo>,
) -> Result<Vec<ListedVideo>, Error> {
    // The folder of results for a very long key has a shortened name, so the prefix is shortened in the same way.
    let manifests = manifests(deployed, results_bucket, folder(&source.key)).await?;
    let manifests = &manifests;
    let checked: Vec<_> = stream::iter(videos)
        .map(|video| async move {
            for key in manifests.get(&folder(&video.key)).into_iter().flatten() {
                if is_result_of(deployed, results_bucket, key, &source.bucket, &video).await? {
                    return Ok(None);
                }
            }
            Ok::<_, Error>(Some(video))
        })
        .buffered(CONCURRENT_READS)
        .try_collect()
        .await?;
    Ok(checked.into_iter().flatten().collect())
}

/// Whether the current content of a video has a complete result.
pub(crate) async fn has_result(
    deployed: &Deployed,
    results_bucket: &str,
    bucket: &str,
    video: &ListedVideo,
) -> Result<bool, Error> {
    let manifests = manifests(deployed, results_bucket, folder(&video.key) + "/").await?;
    for key in manifests.values().flatten() {
        if is_result_of(deployed, results_bucket, key, bucket, video).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The keys of the manifests in each folder of results with this prefix.
async fn manifests(
    deployed: &Deployed,
    results_bucket: &str,
    prefix: String,
) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let mut pages = deployed.s3.list_objects_v2().bucket(results_bucket).prefix(prefix).into_paginator().send();
    let mut manifests: BTreeMap<String, Vec<String>> = BTreeMap::new();
    while let Some(page) = pages.try_next().await.map_err(Error::aws("s3:ListBucket"))? {
        for key in page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key) {
            if let Some((folder, _idempotency_key)) =
                key.strip_suffix(MANIFEST).and_then(|folder| folder.rsplit_once('/'))
            {
                manifests.entry(folder.to_owned()).or_default().push(key);
            }
        }
    }
    Ok(manifests)
}

/// The folder for the results of a video, without the `/` at its end.
fn folder(key: &str) -> String {
    let mut folder = layout::results_of_video(key);
    folder.pop();
    folder
}

async fn is_result_of(
    deployed: &Deployed,
    results_bucket: &str,
    manifest: &str,
    bucket: &str,
    video: &ListedVideo,
) -> Result<bool, Error> {
    let object = deployed.s3.get_object().bucket(results_bucket).key(manifest).send().await;
    let body = object.map_err(Error::aws("s3:GetObject"))?.body.collect().await;
    let body = body.map_err(|error| Error::Call { action: "s3:GetObject", source: error.into() })?;
    // An invalid manifest is not counted as a result.
    let Ok(Manifest { video: analysed, .. }) = serde_json::from_slice(&body.to_vec()) else { return Ok(false) };
    Ok(analysed.bucket == bucket
        && (&analysed.key, &analysed.etag, analysed.bytes) == (&video.key, &video.etag, video.bytes))
}

/// The names, without the id of the backfill, of the running executions that an earlier backfill, or a replay of its failed
/// executions, has started.
pub(super) async fn running(deployed: &Deployed) -> Result<BTreeSet<String>, Error> {
    let mut names = BTreeSet::new();
    let visit = |execution: ExecutionListItem| {
        let mut parts = execution.name.split('-');
        if let (Some("backfill"), Some(content)) = (parts.next(), parts.next()) {
            names.insert(format!("backfill-{content}"));
        }
    };
    deployed.each_execution(ExecutionStatus::Running, visit).await?;
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
    use aws_sdk_s3::{primitives::DateTime, types::RestoreStatus};

    use super::*;

    #[test]
    fn results_are_in_the_folder_of_their_video() {
        for key in ["holiday.mp4", "a b/c.mp4", &"k/".repeat(512)] {
            let manifest = layout::result(key, "idempotency_key") + layout::MANIFEST;
            let (result_folder, idempotency_key) = manifest.strip_suffix(MANIFEST).unwrap().rsplit_once('/').unwrap();
            assert_eq!((result_folder, idempotency_key), (folder(key).as_str(), "idempotency_key"));
        }
    }

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

    #[test]
    fn an_object_that_cannot_be_analysed_is_listed_with_its_obstacle() {
        let object = |bytes: i64| Object::builder().key("in/a.MOV").size(bytes).e_tag("\"e\"");
        let restored = RestoreStatus::builder().restore_expiry_date(DateTime::from_secs(1_900_000_000)).build();
        let restoring = RestoreStatus::builder().is_restore_in_progress(true).build();
        for (object, obstacle) in [
            (object(7), None),
            (object(0), Some(Obstacle::Empty)),
            (object(10_737_418_240), None),
            (object(10_737_418_241), Some(Obstacle::TooLarge)),
            (object(7).storage_class(ObjectStorageClass::StandardIa), None),
            (object(7).storage_class(ObjectStorageClass::GlacierIr), None),
            (object(7).storage_class(ObjectStorageClass::Glacier), Some(Obstacle::Archived)),
            (object(7).storage_class(ObjectStorageClass::DeepArchive), Some(Obstacle::Archived)),
            (object(7).storage_class(ObjectStorageClass::Glacier).restore_status(restoring), Some(Obstacle::Archived)),
            (object(7).storage_class(ObjectStorageClass::Glacier).restore_status(restored), None),
        ] {
            let object = object.build();
            assert_eq!(listed(object.clone()).unwrap().obstacle, obstacle, "{object:?}");
        }
        assert_eq!(listed(Object::builder().key("notes.txt").build()), None);
    }
}
