//! Which videos there are, and which of them have a complete result.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_sfn::types::{ExecutionListItem, ExecutionStatus};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lambdas::results::{self, Manifest};
use sha2::{Digest, Sha256};

use super::{Source, duration};
use crate::deployed::{Deployed, Error};

/// S3 answers thousands of requests a second for each prefix
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html>).
const READS_AT_ONCE: usize = 32;

/// The endings that start an execution when they are uploaded, as in `terraform/upload_events.tf`.
const ENDINGS: [&str; 2] = [".mp4", ".mov"];

/// The end of a manifest's key; its presence means that a result is complete.
const MANIFEST: &str = "/manifest.json";

/// A video as the listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its key, raw.
    pub key: String,
    /// Its entity tag, without quotes.
    pub etag: String,
    /// Its size.
    pub bytes: u64,
    /// How long it is, where its header says so.
    pub duration: Option<std::time::Duration>,
}

impl Found {
    /// What its executions' names begin with: the same for the same content.
    pub(super) fn name(&self, bucket: &str) -> String {
        // As JSON, because no two different lists of strings have the same JSON.
        let identity = serde_json::json!([bucket, self.key, self.etag]).to_string();
        format!("backfill-{}", &hex::encode(Sha256::digest(identity))[..24])
    }
}

/// Every video below the prefix.
pub(super) async fn videos(deployed: &Deployed, source: &Source) -> Result<Vec<Found>, Error> {
    let Source { bucket, prefix } = source;
    let mut pages = deployed.s3.list_objects_v2().bucket(bucket).prefix(prefix).into_paginator().send();
    let mut videos = Vec::new();
    while let Some(page) = pages.try_next().await.map_err(Error::aws("s3:ListBucket"))? {
        videos.extend(page.contents.unwrap_or_default().into_iter().filter_map(|object| {
            let key = object.key?;
            let lower = key.to_ascii_lowercase();
            ENDINGS.iter().any(|completed| lower.ends_with(completed)).then(|| Found {
                key,
                etag: object.e_tag.unwrap_or_default().trim_matches('"').to_owned(),
                bytes: object.size.and_then(|size| size.try_into().ok()).unwrap_or_default(),
                duration: None,
            })
        }));
    }
    Ok(videos)
}

/// Those without a complete result of this very content.
pub(super) async fn without_result(
    deployed: &Deployed,
    source: &Source,
    results_bucket: &str,
    videos: Vec<Found>,
) -> Result<Vec<Found>, Error> {
    // A folder's name is cut where the video's key is very long, and so is the prefix.
    let manifests = manifests(deployed, results_bucket, folder(&source.prefix)).await?;
    let manifests = &manifests;
    let looked_at: Vec<_> = stream::iter(videos)
        .map(|video| async move {
            for key in manifests.get(&folder(&video.key)).into_iter().flatten() {
                if is_result_of(deployed, results_bucket, key, &source.bucket, &video).await? {
                    return Ok(None);
                }
            }
            Ok::<_, Error>(Some(video))
        })
        .buffered(READS_AT_ONCE)
        .try_collect()
        .await?;
    Ok(looked_at.into_iter().flatten().collect())
}

/// Whether this very content of a video has a complete result.
pub(crate) async fn has_result(
    deployed: &Deployed,
    results_bucket: &str,
    bucket: &str,
    video: &Found,
) -> Result<bool, Error> {
    let manifests = manifests(deployed, results_bucket, folder(&video.key) + "/").await?;
    for key in manifests.values().flatten() {
        if is_result_of(deployed, results_bucket, key, bucket, video).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The manifests that lie in each folder of results below `prefix`.
async fn manifests(
    deployed: &Deployed,
    results_bucket: &str,
    prefix: String,
) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let mut pages = deployed.s3.list_objects_v2().bucket(results_bucket).prefix(prefix).into_paginator().send();
    let mut manifests: BTreeMap<String, Vec<String>> = BTreeMap::new();
    while let Some(page) = pages.try_next().await.map_err(Error::aws("s3:ListBucket"))? {
        for key in page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key) {
            if let Some((folder, _tag)) = key.strip_suffix(MANIFEST).and_then(|folder| folder.rsplit_once('/')) {
                manifests.entry(folder.to_owned()).or_default().push(key);
            }
        }
    }
    Ok(manifests)
}

/// Where the results of a video lie, each in a folder of its job's tag.
fn folder(key: &str) -> String {
    let mut folder = results::prefix(key, "");
    folder.truncate(folder.len() - "//".len());
    folder
}

async fn is_result_of(
    deployed: &Deployed,
    results_bucket: &str,
    manifest: &str,
    bucket: &str,
    video: &Found,
) -> Result<bool, Error> {
    let object = deployed.s3.get_object().bucket(results_bucket).key(manifest).send().await;
    let body = object.map_err(Error::aws("s3:GetObject"))?.body.collect().await;
    let body = body.map_err(|error| Error::Call { action: "s3:GetObject", source: error.into() })?;
    // What is no manifest is no result.
    let Ok(Manifest { video: analysed, .. }) = serde_json::from_slice(&body.to_vec()) else { return Ok(false) };
    Ok(analysed.bucket == bucket
        && (&analysed.key, &analysed.etag, analysed.bytes) == (&video.key, &video.etag, video.bytes))
}

/// The names, without what tells one backfill from another, of the executions that an earlier backfill or a replay of
/// its failures has left running.
pub(super) async fn running(deployed: &Deployed) -> Result<BTreeSet<String>, Error> {
    let mut names = BTreeSet::new();
    let look = |execution: ExecutionListItem| {
        let mut parts = execution.name.split('-');
        if let (Some("backfill"), Some(content)) = (parts.next(), parts.next()) {
            names.insert(format!("backfill-{content}"));
        }
    };
    deployed.each_execution(ExecutionStatus::Running, look).await?;
    Ok(names)
}

/// Reads how long each video is.
pub(super) async fn with_durations(
    deployed: &Deployed,
    bucket: &str,
    videos: Vec<Found>,
    mut done: impl FnMut(usize),
) -> Vec<Found> {
    let mut reads = stream::iter(videos)
        .map(|video| async move {
            let duration = duration::duration(async |offset| read(deployed, bucket, &video.key, offset).await).await;
            Found { duration, ..video }
        })
        .buffered(READS_AT_ONCE);
    let mut videos = Vec::new();
    while let Some(video) = reads.next().await {
        videos.push(video);
        done(videos.len());
    }
    videos
}

/// Whatever cannot be read leaves the length unknown: only the estimate depends on it.
async fn read(deployed: &Deployed, bucket: &str, key: &str, offset: u64) -> Option<Vec<u8>> {
    let range = format!("bytes={offset}-{}", offset.saturating_add(duration::WINDOW - 1));
    let part = deployed.s3.get_object().bucket(bucket).key(key).range(range).send().await.ok()?;
    part.body.collect().await.ok().map(|body| body.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_lie_in_the_folder_of_their_video() {
        for key in ["holiday.mp4", "a b/c.mp4", &"k/".repeat(512)] {
            let manifest = format!("{}manifest.json", results::prefix(key, "idempotency_key"));
            let (found, idempotency_key) = manifest.strip_suffix(MANIFEST).unwrap().rsplit_once('/').unwrap();
            assert_eq!((found, idempotency_key), (folder(key).as_str(), "idempotency_key"));
        }
    }

    #[test]
    fn another_content_has_another_name() {
        let video = Found { key: "k.mp4".into(), etag: "e".into(), bytes: 1, duration: None };
        let name = video.name("b");
        assert_eq!(name, video.name("b"));
        for other in [
            Found { key: "l.mp4".into(), ..video.clone() }.name("b"),
            Found { etag: "f".into(), ..video.clone() }.name("b"),
            video.name("c"),
        ] {
            assert_ne!(name, other);
        }
    }
}
