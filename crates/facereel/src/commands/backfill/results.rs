//! Finds the complete results of videos, without reading what is already known.
//!
//! A result is in the folder `results/<key of the video>/<idempotency key>/`. The idempotency key is a hash of the content and
//! of the parameters with which the stack starts jobs, so the command computes the key that a result of the current content has.
//! If that folder has a manifest, the video is complete. The manifests in other folders of the video are read: they are of
//! earlier content, or of a deployment with another topic or role.

use std::{collections::BTreeMap, iter, ops::Bound};

use lambdas::{
    job::{FaceAttributes, Job, JobParameters},
    layout,
    results::Manifest,
    start_detection::Config,
    video::Video,
};

use super::listing::{CurrentVideo, ListedVideo};
use crate::deployed::{Deployed, Error};

/// The number of jobs for a content, of which the idempotency key is computed. The manifests of later ones are read.
const ATTEMPTS: usize = 8;

/// The end of the key of a manifest. The presence of a manifest means that the result is complete.
const MANIFEST: &str = "/manifest.json";

/// The results of a stack.
#[derive(Debug, Clone, Copy)]
pub(super) struct Results<'a> {
    /// The stack.
    pub(super) deployed: &'a Deployed,
    /// The bucket of the videos.
    pub(super) bucket: &'a str,
    /// The parameters with which the stack starts jobs now, and the bucket of its results.
    pub(super) config: &'a Config,
}

/// What the listing of the results shows about a video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Completeness {
    /// It has a complete result for its current content.
    Complete,
    /// It has the manifests with these keys, which must be read. Most videos that are not complete have none.
    ManifestsToRead(Vec<String>),
}

impl Results<'_> {
    /// Looks for the results of videos that follow each other in the listing of their bucket. The number of calls is
    /// limited by the number of these videos, however many results there are.
    ///
    /// # Errors
    /// [`Error`] of `s3:ListBucket` on the results.
    pub(super) async fn look_up(&self, videos: Vec<CurrentVideo>) -> Result<Vec<(ListedVideo, Completeness)>, Error> {
        let mut folders: Folders = videos.iter().map(|video| (folder(&video.listed), Vec::new())).collect();
        self.list_manifests(&mut folders).await?;
        let completeness = |video: CurrentVideo| {
            let folder = folder(&video.listed);
            let idempotency_keys = folders.get(&folder).map(Vec::as_slice).unwrap_or_default();
            let found = if is_complete(self.config, self.bucket, idempotency_keys, &video) {
                Completeness::Complete
            } else {
                let manifest = |idempotency_key| format!("{folder}{idempotency_key}{MANIFEST}");
                Completeness::ManifestsToRead(idempotency_keys.iter().map(manifest).collect())
            };
            (video.listed, found)
        };
        Ok(videos.into_iter().map(completeness).collect())
    }

    /// Adds the idempotency key of each manifest to its folder.
    async fn list_manifests(&self, folders: &mut Folders) -> Result<(), Error> {
        let mut position = folders.keys().next().cloned();
        while let Some(after) = position {
            let listing = self.deployed.s3.list_objects_v2().bucket(&self.config.results_bucket);
            let page =
                listing.prefix(layout::RESULTS).start_after(after).send().await.map_err(Error::aws("s3:ListBucket"))?;
            let keys = page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key);
            let mut last = None;
            for key in keys {
                if let Some((folder, idempotency_key)) = manifest(&key)
                    && let Some(found) = folders.get_mut(folder)
                {
                    found.push(idempotency_key.to_owned());
                }
                last = Some(key);
            }
            position = last.filter(|_| page.is_truncated == Some(true)).and_then(|last| next_position(folders, &last));
        }
        Ok(())
    }

    /// Whether one of the manifests is that of a result for the current content of the video.
    ///
    /// # Errors
    /// [`Error`] of `s3:GetObject` on the results.
    pub(super) async fn any_is_of(&self, manifests: &[String], video: &ListedVideo) -> Result<bool, Error> {
        for manifest in manifests {
            if is_result_of(self.deployed, &self.config.results_bucket, manifest, self.bucket, video).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether one of the idempotency keys is that of a job for the current content of the video, started with the parameters of
/// this stack.
fn is_complete(config: &Config, bucket: &str, idempotency_keys: &[String], video: &CurrentVideo) -> bool {
    let CurrentVideo { listed: ListedVideo { key, etag, bytes, .. }, version_id } = video;
    let first_job = |face_attributes| {
        let (key, etag, version_id) = (key.clone(), etag.clone(), version_id.clone());
        Job::from(JobParameters {
            video: Video { bucket: bucket.to_owned(), key, version_id, etag, bytes: *bytes },
            face_attributes,
            topic_arn: config.completion_topic_arn.clone(),
            role_arn: config.publish_role_arn.clone(),
            attempt: 0,
        })
    };
    let is_found = |job: &Job| idempotency_keys.iter().any(|key| key == job.idempotency_key());
    // A result with other attributes than those of today counts as well. The attributes of today are tried first.
    let other = match config.face_attributes {
        FaceAttributes::Default => FaceAttributes::All,
        FaceAttributes::All => FaceAttributes::Default,
    };
    !idempotency_keys.is_empty()
        && [config.face_attributes, other].into_iter().any(|face_attributes| {
            let jobs = iter::successors(Some(first_job(face_attributes)), |job| Some(job.next_attempt()));
            jobs.take(ATTEMPTS).any(|job| is_found(&job))
        })
}

/// Folders of results, each with a `/` at its end, and the idempotency keys in them that have a manifest.
type Folders = BTreeMap<String, Vec<String>>;

/// The folder for the results of a video, with a `/` at its end.
fn folder(video: &ListedVideo) -> String {
    layout::results_of_video(&video.key)
}

/// The folder of the video's results and the idempotency key, if this is the key of a manifest.
fn manifest(key: &str) -> Option<(&str, &str)> {
    let result = key.strip_suffix(MANIFEST)?;
    Some(result.split_at(result.rfind('/')? + 1))
}

/// Where the listing continues after a page that ends with the key `last`; `None` if no folder follows.
///
/// What lies between the folders, the results of other videos, is skipped, and so are the pages of faces of a result.
fn next_position(folders: &Folders, last: &str) -> Option<String> {
    let next_folder = || folders.range::<str, _>((Bound::Excluded(last), Bound::Unbounded)).next().map(|(key, _)| key);
    let is_in_a_folder = last.match_indices('/').any(|(at, _)| folders.contains_key(&last[..=at]));
    if !is_in_a_folder {
        return next_folder().cloned();
    }
    // A folder can follow within the skipped part only if the key of a video looks like the key of a page.
    let skipped = after_faces(last).map(|end| next_folder().map_or(end.clone(), |folder| end.min(folder.clone())));
    Some(skipped.unwrap_or_else(|| last.to_owned()))
}

/// The end of the pages of faces, if this is the key of one: every page sorts before it, and the manifest after it.
fn after_faces(key: &str) -> Option<String> {
    let (result, page) = key.rsplit_once("/faces/")?;
    let is_page = page.strip_suffix(".jsonl")?.bytes().all(|byte| byte.is_ascii_digit());
    is_page.then(|| format!("{result}/faces0"))
}

/// Whether the current content of a video has a complete result.
///
/// # Errors
/// [`Error`] of `s3:ListBucket` or `s3:GetObject` on the results.
pub(crate) async fn has_result(
    deployed: &Deployed,
    results_bucket: &str,
    bucket: &str,
    video: &ListedVideo,
) -> Result<bool, Error> {
    let listing = deployed.s3.list_objects_v2().bucket(results_bucket).prefix(folder(video));
    let mut pages = listing.into_paginator().send();
    while let Some(page) = pages.try_next().await.map_err(Error::aws("s3:ListBucket"))? {
        for key in page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key) {
            if key.ends_with(MANIFEST) && is_result_of(deployed, results_bucket, &key, bucket, video).await? {
                return Ok(true);
            }
        }
    }
    Ok(false)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(key: &str) -> ListedVideo {
        ListedVideo { key: key.into(), etag: "e".into(), bytes: 1, duration: None, obstacle: None }
    }

    fn config(face_attributes: FaceAttributes) -> Config {
        Config {
            results_bucket: "results".into(),
            completion_topic_arn: "arn:aws:sns:eu-west-1:123456789012:facereel-completions".into(),
            publish_role_arn: "arn:aws:iam::123456789012:role/facereel-publish".into(),
            face_attributes,
        }
    }

    /// The idempotency key of a job for `k.mp4` that was started with these parameters.
    fn job(version_id: Option<&str>, etag: &str, face_attributes: FaceAttributes, attempt: u32) -> String {
        let Config { completion_topic_arn: topic_arn, publish_role_arn: role_arn, .. } = config(face_attributes);
        let version_id = version_id.map(str::to_owned);
        let video = Video { bucket: "uploads".into(), key: "k.mp4".into(), version_id, etag: etag.into(), bytes: 1 };
        let job = Job::from(JobParameters { video, face_attributes, topic_arn, role_arn, attempt });
        job.idempotency_key().to_owned()
    }

    #[test]
    fn a_result_of_the_current_content_is_known_without_its_manifest() {
        let [all, default] = [FaceAttributes::All, FaceAttributes::Default];
        let complete = |version_id: Option<&str>, found: String| {
            let video = CurrentVideo { listed: listed("k.mp4"), version_id: version_id.map(str::to_owned) };
            is_complete(&config(all), "uploads", &["0".repeat(64), found], &video)
        };
        assert!(complete(None, job(None, "e", all, 0)));
        assert!(complete(None, job(None, "e", all, 3)), "a later attempt");
        assert!(complete(None, job(None, "e", default, 0)), "with other attributes");
        assert!(complete(Some("v1"), job(Some("v1"), "e", all, 0)));

        assert!(!complete(None, job(None, "other", all, 0)), "earlier content");
        assert!(!complete(Some("v2"), job(Some("v1"), "e", all, 0)), "an earlier version");
        assert!(!complete(Some("v2"), job(None, "e", all, 0)), "from before the bucket had versions");
        let no_manifest = CurrentVideo { listed: listed("k.mp4"), version_id: None };
        assert!(!is_complete(&config(all), "uploads", &[], &no_manifest));
    }

    #[test]
    fn a_manifest_is_in_the_folder_of_its_video() {
        for key in ["holiday.mp4", "a b/c.mp4", "a/faces/b.mp4", &"k/".repeat(512)] {
            let result = layout::result(key, "idempotency_key");
            let found = format!("{result}{}", layout::MANIFEST);
            assert_eq!(manifest(&found), Some((folder(&listed(key)).as_str(), "idempotency_key")));
            assert_eq!(manifest(&format!("{result}summary.json")), None);
        }
    }

    #[test]
    fn the_listing_continues_at_the_next_folder_of_a_video() {
        let folders: Folders =
            ["results/b.mp4/", "results/d/", "results/d/x/faces/e/"].map(|key| (key.to_owned(), Vec::new())).into();
        for (last, next) in [
            ("results/a.mp4/x/report.html", Some("results/b.mp4/")),
            ("results/b.mp4/x/report.html", Some("results/b.mp4/x/report.html")),
            ("results/b.mp4/x/faces/00999.jsonl", Some("results/b.mp4/x/faces0")),
            ("results/c.mp4/x/faces/00999.jsonl", Some("results/d/")),
            // A video whose key resembles that of a page is not skipped.
            ("results/d/x/faces/00999.jsonl", Some("results/d/x/faces/e/")),
            ("results/d/x/faces/e/x/report.html", Some("results/d/x/faces/e/x/report.html")),
            ("results/e.mp4/x/report.html", None),
        ] {
            assert_eq!(next_position(&folders, last).as_deref(), next, "{last}");
        }
    }
}
