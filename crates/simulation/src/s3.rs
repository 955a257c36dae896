//! The part of S3 that the functions use: strongly consistent objects, versions, conditional writes, paginated
//! listings.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Bound;
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::clock::{Clock, DAY, Ms, sleep};
use crate::content::Kind;
use crate::identity::{COMPLETED_JOBS, NULL_VERSION, QUEUE_ENTRIES, RESULT_FOLDERS, STARTED_JOBS};
use crate::scenario::{InjectedBug, Scenario, Versioning};
use crate::wire::{Answer, Call};
use crate::world::{Cloud, RESULTS, UPLOADS, World};

/// The prefixes of the results bucket whose objects expire, as terraform deploys it.
const TEMPORARY: [&str; 3] = ["backfill/", "callbacks/", "queue/"];

/// The age at which they expire.
const EXPIRY: Ms = 15 * DAY;

/// Runs the lifecycle rules once a day, as S3 does
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html>).
pub(super) async fn run_lifecycle_rules(cloud: Cloud) {
    loop {
        sleep(DAY).await;
        cloud.lock().s3.expire();
    }
}

/// A bucket in another Region.
pub(super) const FAR_BUCKET: &str = "another-region";

/// All buckets.
#[derive(Debug)]
pub(super) struct S3 {
    clock: Clock,
    buckets: BTreeMap<&'static str, Bucket>,
    /// The maximum number of keys on a page of a listing: small, so that listings have several pages.
    keys_per_listing: usize,
}

#[derive(Debug, Default)]
struct Bucket {
    versioning: Versioning,
    objects: BTreeMap<String, Vec<Version>>,
    versions: u64,
    writes: Vec<Write>,
}

/// A version of an object, or a delete marker.
#[derive(Debug, Clone)]
struct Version {
    id: Option<String>,
    object: Option<Object>,
}

/// An object.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) body: Arc<[u8]>,
    /// The size that S3 reports, in bytes: the bodies of the largest videos are shorter.
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) version: Option<String>,
    /// When it was written.
    written: Ms,
}

impl Object {
    /// The version id; `None` if the next upload overwrites that version.
    pub(super) fn kept_version(&self) -> Option<String> {
        self.version.clone().filter(|version| *version != NULL_VERSION)
    }
}

/// A write of a result, recorded for the checks.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub(super) key: String,
    pub(super) etag: String,
    /// The checks read the manifests.
    pub(super) body: Arc<[u8]>,
}

impl S3 {
    pub(super) fn new(scenario: &Scenario, clock: Clock) -> Self {
        let uploads = Bucket { versioning: scenario.versioning, ..Bucket::default() };
        let buckets = BTreeMap::from([(UPLOADS, uploads), (RESULTS, Bucket::default())]);
        Self { clock, buckets, keys_per_listing: scenario.keys_per_listing }
    }

    /// Writes an object without a call, and so without faults.
    pub(super) fn put(&mut self, bucket: &str, key: &str, body: &[u8], size: u64) -> Object {
        let now = self.clock.now();
        self.buckets.get_mut(bucket).expect("a bucket of the scenario").put(key, body, size, now)
    }

    /// Deletes what the lifecycle rules of the results bucket expire.
    fn expire(&mut self) {
        let now = self.clock.now();
        let objects = &mut self.buckets.get_mut(RESULTS).expect("the bucket exists").objects;
        objects.retain(|key, versions| {
            let temporary = TEMPORARY.iter().any(|prefix| key.starts_with(prefix));
            let expired =
                |version: &Version| version.object.as_ref().is_none_or(|object| object.written + EXPIRY <= now);
            !temporary || !versions.iter().all(expired)
        });
    }

    pub(super) fn delete(&mut self, bucket: &str, key: &str) {
        self.buckets.get_mut(bucket).expect("a bucket of the scenario").delete(key);
    }

    pub(super) fn get(&self, bucket: &str, key: &str, version: Option<&str>) -> Option<&Object> {
        self.buckets.get(bucket)?.get(key, version)
    }

    /// The current objects under a prefix, in the order of their keys.
    pub(super) fn keys<'a>(&'a self, bucket: &str, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Object)> {
        self.buckets[bucket].under(prefix, None)
    }

    /// Every object of a bucket, including older versions.
    pub(super) fn all(&self, bucket: &str) -> impl Iterator<Item = (&str, &Object)> {
        let objects = self.buckets[bucket].objects.iter();
        objects.flat_map(|(key, versions)| {
            versions.iter().filter_map(|version| Some((key.as_str(), version.object.as_ref()?)))
        })
    }

    /// Removes the last write of a result from the record.
    fn forget_write(&mut self) {
        self.buckets.get_mut(RESULTS).expect("the bucket exists").writes.pop();
    }

    /// Every write of a result to a bucket, in order.
    pub(super) fn writes(&self, bucket: &str) -> &[Write] {
        &self.buckets[bucket].writes
    }
}

impl Bucket {
    fn put(&mut self, key: &str, body: &[u8], size: u64, now: Ms) -> Object {
        let etag = hex::encode(&Sha256::digest(body)[..16]);
        self.versions += 1;
        let version = match self.versioning {
            Versioning::Disabled => None,
            Versioning::Enabled => Some(format!("version-{}", self.versions)),
            Versioning::Suspended => Some(NULL_VERSION.to_owned()),
        };
        let object = Object { body: body.into(), size, etag: etag.clone(), version: version.clone(), written: now };
        if key.starts_with(RESULT_FOLDERS) {
            self.writes.push(Write { key: key.to_owned(), etag, body: Arc::clone(&object.body) });
        }
        let versions = self.objects.entry(key.to_owned()).or_default();
        if self.versioning != Versioning::Enabled {
            versions.clear();
        }
        versions.push(Version { id: version, object: Some(object.clone()) });
        object
    }

    fn delete(&mut self, key: &str) {
        if self.versioning == Versioning::Enabled {
            self.objects.entry(key.to_owned()).or_default().push(Version { id: None, object: None });
        } else {
            self.objects.remove(key);
        }
    }

    fn get(&self, key: &str, version: Option<&str>) -> Option<&Object> {
        let versions = self.objects.get(key)?;
        match version {
            Some(id) => versions.iter().find(|version| version.id.as_deref() == Some(id))?.object.as_ref(),
            None => versions.last()?.object.as_ref(),
        }
    }

    fn under<'a>(&'a self, prefix: &'a str, after: Option<&str>) -> impl Iterator<Item = (&'a str, &'a Object)> {
        let from = after.map_or(Bound::Included(prefix), |after| Bound::Excluded(after.max(prefix)));
        let from = from.map(str::to_owned);
        let keys = self.objects.range((from, Bound::Unbounded)).take_while(move |(key, _)| key.starts_with(prefix));
        keys.filter_map(|(key, versions)| Some((key.as_str(), versions.last()?.object.as_ref()?)))
    }
}

impl World {
    /// Answers a call of S3.
    pub(super) fn s3_answers(&mut self, call: &Call) -> Answer {
        let version = call.query.get("versionId").map(String::as_str);
        if version == Some(NULL_VERSION) {
            self.add_violation(format!("{call} requests the version null, which does not identify a content"));
        }
        if let Some((status, code)) = refusal(&call.bucket, version) {
            return self.refused(call, status, code);
        }
        let Some(bucket) = self.s3.buckets.get(call.bucket.as_str()) else {
            return self.refused(call, 404, "NoSuchBucket");
        };
        match call.operation.as_str() {
            "ListObjectsV2" => self.list(bucket, call),
            "HeadObject" | "GetObject" => {
                let Some(object) = bucket.get(&call.key, version) else {
                    return self.refused(call, 404, if version.is_some() { "NoSuchVersion" } else { "NoSuchKey" });
                };
                let kind = self.contents.get(&object.etag).map(|content| content.kind);
                match (kind, call.operation.as_str()) {
                    (Some(Kind::Denied), _) => self.refused(call, 403, "AccessDenied"),
                    // Described as any other object, but not served.
                    (Some(Kind::Archived), "GetObject") => self.refused(call, 403, "InvalidObjectState"),
                    (_, "HeadObject") => {
                        described(Answer::empty(200), object).with("content-length", object.size.to_string())
                    }
                    _ => {
                        let (status, body) = match call.header("range") {
                            Some(range) => (206, part(&object.body, range)),
                            None => (200, &object.body[..]),
                        };
                        described(Answer { status, headers: Vec::new(), body: body.to_vec() }, object)
                    }
                }
            }
            "PutObject" => self.s3_put(call),
            "DeleteObject" => {
                let kept = self.injected_bug == Some(InjectedBug::KeepsCallbacks) && call.key.starts_with("callbacks/");
                if !kept {
                    self.s3.delete(&call.bucket, &call.key);
                }
                Answer::empty(204)
            }
            _ => {
                self.add_violation(format!("{call} is not simulated"));
                xml_error(call, 501, "NotImplemented")
            }
        }
    }

    fn refused(&mut self, call: &Call, status: u16, code: &str) -> Answer {
        if status != 404 {
            self.cover(&format!("{}: {status} {code}", call.operation));
        }
        xml_error(call, status, code)
    }

    fn s3_put(&mut self, call: &Call) -> Answer {
        let existing = self.s3.get(&call.bucket, &call.key, None);
        // <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>
        let refused = match (call.header("if-none-match"), call.header("if-match"), existing) {
            (Some(_), _, Some(_)) => Some((412, "PreconditionFailed")),
            (_, Some(_), None) => Some((404, "NoSuchKey")),
            (_, Some(etag), Some(object)) if etag.trim_matches('"') != object.etag => Some((412, "PreconditionFailed")),
            _ => None,
        };
        if let Some((status, code)) = refused {
            return xml_error(call, status, code);
        }
        let body = self.body_with_bug(call);
        let object = self.s3.put(&call.bucket, &call.key, &body, body.len() as u64);
        if call.key.starts_with(STARTED_JOBS) || call.key.starts_with(COMPLETED_JOBS) {
            let record: Value = serde_json::from_slice(&body).unwrap_or_default();
            let id = record["job_id"].as_str().unwrap_or_default().to_owned();
            self.recorded_jobs.push((self.now(), call.key.clone(), id));
        }
        if call.key.starts_with(QUEUE_ENTRIES) {
            self.entry_written.send_replace(());
        }
        self.inject_bug_after_put(call);
        described(Answer::empty(200), &object)
    }

    /// The body that is stored: another one if a bug is injected.
    fn body_with_bug(&self, call: &Call) -> Vec<u8> {
        let body = &call.body;
        match self.injected_bug {
            Some(InjectedBug::TruncatesPages) if call.key.contains("/faces/") => {
                let lines = body.split_inclusive(|byte| *byte == b'\n');
                body[..lines.take(10).map(<[u8]>::len).sum()].to_vec()
            }
            Some(InjectedBug::ChangesSummaries) if call.key.ends_with("/summary.json") => {
                let mut summary: Value = serde_json::from_slice(body).expect("a summary is JSON");
                summary["frames_with_faces"] = 7.into();
                // The manifest has the size of the body.
                let mut changed = serde_json::to_vec_pretty(&summary).expect("a summary is JSON");
                changed.resize(body.len(), b' ');
                changed
            }
            _ => body.clone(),
        }
    }

    fn inject_bug_after_put(&mut self, call: &Call) {
        let (is_page, is_manifest) = (call.key.contains("/faces/"), call.key.ends_with("/manifest.json"));
        match self.injected_bug {
            Some(InjectedBug::RewritesPages) if is_manifest => {
                let page = call.key.replace("manifest.json", "faces/00000.jsonl");
                self.s3.put(&call.bucket, &page, b"", 0);
            }
            Some(InjectedBug::ReplacesManifests) if is_manifest => {
                let mut other: Value = serde_json::from_slice(&call.body).expect("a manifest is JSON");
                other["job"]["job_id"] = "another job".into();
                let other = other.to_string();
                self.s3.put(&call.bucket, &call.key, other.as_bytes(), other.len() as u64);
            }
            Some(InjectedBug::DelaysPages) if is_page => self.s3.forget_write(),
            Some(InjectedBug::DelaysSummaries) if call.key.ends_with("/summary.json") => self.s3.forget_write(),
            _ => {}
        }
    }

    fn list(&self, bucket: &Bucket, call: &Call) -> Answer {
        let parameter = |name| call.query.get(name).map(String::as_str);
        let limit =
            parameter("max-keys").and_then(|keys| keys.parse().ok()).unwrap_or(1000).min(self.s3.keys_per_listing);
        let prefix = parameter("prefix").unwrap_or_default();
        let after = parameter("continuation-token").or(parameter("start-after"));
        let mut found = bucket.under(prefix, after);
        let (mut contents, mut last) = (String::new(), "");
        for (key, object) in found.by_ref().take(limit) {
            let Object { etag, size, .. } = object;
            write!(
                contents,
                "<Contents><Key>{}</Key><ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size></Contents>",
                escaped(key)
            )
            .expect("writing to a string succeeds");
            last = key;
        }
        let next = found.next().map(|_| format!("<NextContinuationToken>{}</NextContinuationToken>", escaped(last)));
        let body = format!(
            "<ListBucketResult><IsTruncated>{}</IsTruncated>{}{contents}</ListBucketResult>",
            next.is_some(),
            next.unwrap_or_default()
        );
        Answer { status: 200, headers: vec![("content-type", "application/xml".to_owned())], body: body.into_bytes() }
    }
}

/// Why S3 refuses every request for a bucket or a version, if it does.
pub(super) fn refusal(bucket: &str, version: Option<&str>) -> Option<(u16, &'static str)> {
    let well_formed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if bucket == FAR_BUCKET {
        Some((301, "PermanentRedirect"))
    } else if !bucket.bytes().all(well_formed) {
        Some((400, "InvalidBucketName"))
    } else if version.is_some_and(|version| version != NULL_VERSION && !version.starts_with("version-")) {
        Some((400, "InvalidArgument"))
    } else {
        None
    }
}

/// An error of S3. The answer to a HEAD has no body, and so no error code
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>).
pub(super) fn xml_error(call: &Call, status: u16, code: &str) -> Answer {
    let body = match call.operation.as_str() {
        "HeadObject" => String::new(),
        _ => format!("<Error><Code>{code}</Code><Message>simulated</Message></Error>"),
    };
    Answer { body: body.into_bytes(), ..Answer::empty(status) }
}

/// Adds the headers of an object.
fn described(answer: Answer, object: &Object) -> Answer {
    let answer = answer.with("etag", format!("\"{}\"", object.etag));
    match &object.version {
        Some(version) => answer.with("x-amz-version-id", version.clone()),
        None => answer,
    }
}

/// `bytes=0-11` of a body.
fn part<'a>(body: &'a [u8], range: &str) -> &'a [u8] {
    let bounds = range.strip_prefix("bytes=").and_then(|bounds| bounds.split_once('-'));
    let (from, to) = bounds.expect("a range with two ends, as the functions request it");
    let from: usize = from.parse().expect("a number of bytes");
    let to: usize = to.parse().expect("a number of bytes");
    &body[from.min(body.len())..body.len().min(to + 1)]
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_objects_expire_as_terraform_deploys_it() {
        let read = |file| std::fs::read_to_string(format!("{}/../../terraform/{file}", env!("CARGO_MANIFEST_DIR")));
        let days = format!("temporary_objects_expire_after_days = {}\n", EXPIRY / DAY);
        assert!(read("main.tf").unwrap().contains(&days), "{days}");
        let prefixes = format!("toset({:?})", TEMPORARY.map(|prefix| prefix.trim_end_matches('/')));
        assert!(read("buckets.tf").unwrap().contains(&prefixes), "{prefixes}");
    }
}
