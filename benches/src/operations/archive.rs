//! S3: a bucket with many videos, of which 99 of 100 have a result, and the bucket of the results. The objects are computed from
//! their number, so that a million of them need no memory.

use std::fmt::Write as _;

use lambdas::{
    job::{Job, JobParameters, VideoMetadata},
    layout,
    results::{JobFacts, Manifest, Moment, ObjectFacts, Second, Summary},
    start_detection::Config,
    video::Video,
};

use super::{
    account::{RESULTS, UPLOADS},
    wire::{Answer, Call},
};

/// The prefix of the videos.
pub const PREFIX: &str = "archive/";

/// One of this many videos has no result.
const ONE_DUE_OF: u64 = 100;

/// The maximum number of keys on a page of a listing
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>).
const KEYS_PER_PAGE: usize = 1000;

/// The size of each video in bytes.
const BYTES: u64 = 60_000_000;

/// Where the movie header is: at the end, as cameras write it, so that its length takes two reads.
const MOVIE_HEADER: u64 = BYTES - 116;

/// The videos in the bucket of the uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Videos {
    /// How many there are.
    pub count: u64,
    /// The number of pages of faces of each result.
    pub pages: u64,
    /// The number of objects with tracks of each result.
    pub tracks: u64,
}

/// The buckets.
#[derive(Debug)]
pub struct Archive {
    videos: Videos,
    config: Config,
    /// The number of bytes that were written.
    pub written: u64,
}

impl Archive {
    /// A bucket with these videos.
    pub fn new(videos: Videos, config: Config) -> Self {
        Self { videos, config, written: 0 }
    }

    /// The number of videos without a result.
    pub fn due(&self) -> u64 {
        self.videos.count / ONE_DUE_OF
    }

    /// The number of complete results.
    pub fn complete(&self) -> usize {
        (self.videos.count - self.due()).try_into().expect("a number of results")
    }

    /// `ListObjectVersions` of the videos. Each has one version.
    pub fn list_versions(&self, call: &Call) -> Answer {
        assert_eq!(call.bucket, UPLOADS);
        let (prefix, after) = (call.parameter("prefix"), call.parameter("key-marker"));
        let mut page = Page::new();
        let mut videos = self.videos(after.max(prefix)).filter(|video| video.key.as_str() > after);
        for video in videos.by_ref().take_while(|video| video.key.starts_with(prefix)).take(KEYS_PER_PAGE) {
            let version = video.version_id.as_deref().unwrap_or("null");
            page.add(
                "Version",
                &video.key,
                &video.etag,
                video.bytes,
                &format!("<VersionId>{version}</VersionId><IsLatest>true</IsLatest>"),
            );
        }
        let is_truncated = videos.next().is_some_and(|video| video.key.starts_with(prefix));
        let next = format!("<NextKeyMarker>{}</NextKeyMarker>", page.last);
        page.answer("ListVersionsResult", is_truncated, &next)
    }

    /// `ListObjectsV2` of a bucket.
    pub fn list_objects(&self, call: &Call) -> Answer {
        let (prefix, token) = (call.parameter("prefix"), call.parameter("continuation-token"));
        let after = if token.is_empty() { call.parameter("start-after") } else { token };
        let mut page = Page::new();
        let from = after.max(prefix);
        let objects: Box<dyn Iterator<Item = (String, String, u64)>> = if call.bucket == UPLOADS {
            Box::new(self.videos(from).map(|video| (video.key, video.etag, video.bytes)))
        } else {
            Box::new(self.results(from).map(|(key, bytes)| (key, "e".to_owned(), bytes)))
        };
        let mut matching = objects
            .take_while(|(key, ..)| key.starts_with(prefix))
            .map(|(key, etag, bytes)| match group(&key, prefix, call.parameter("delimiter")) {
                Some(group) => (group, None),
                None => (key, Some((etag, bytes))),
            })
            // A group is an entry too, and is left out if it is not behind `after`.
            .filter(|(entry, _)| entry.as_str() > after)
            .peekable();
        let mut entries = 0;
        while entries < KEYS_PER_PAGE {
            let Some((entry, object)) = matching.next() else { break };
            if let Some((etag, bytes)) = object {
                page.add("Contents", &entry, &etag, bytes, "");
            } else {
                page.add_group(&entry);
                while matching.next_if(|(next, _)| *next == entry).is_some() {}
            }
            entries += 1;
        }
        let is_truncated = matching.next().is_some();
        let next = format!("<NextContinuationToken>{}</NextContinuationToken>", page.last);
        page.answer("ListBucketResult", is_truncated, &next)
    }

    /// `HeadObject` of a video.
    pub fn head() -> Answer {
        Answer::object(Vec::new()).with("content-length", BYTES.to_string()).with("etag", "\"e\"")
    }

    /// `GetObject` of a manifest, or of a part of a video.
    pub fn get(&self, call: &Call) -> Answer {
        if call.bucket == RESULTS {
            let video = call.key.strip_prefix(layout::RESULTS).and_then(|key| key.split_once(".mp4/"));
            let Some(number) = video.and_then(|(name, _)| number(name)) else { return not_found(&call.key) };
            let document =
                if call.key.ends_with("/summary.json") { self.summary(number) } else { self.manifest(number) };
            let end = call.range.as_deref().and_then(|range| range.strip_prefix("bytes=0-")?.parse::<usize>().ok());
            let length = end.map_or(document.len(), |last| document.len().min(last + 1));
            return Answer::object(document[..length].to_vec());
        }
        let range = call.range.as_deref().and_then(|range| range.strip_prefix("bytes="));
        let from = range.and_then(|range| range.split_once('-')).and_then(|(from, _)| from.parse().ok());
        let part = match from {
            Some(0) => [&24_u32.to_be_bytes()[..], b"ftyp", &[0; 16], &media_data(), &[0; 472]].concat(),
            Some(MOVIE_HEADER) => movie_header(),
            _ => return not_found(&call.key),
        };
        let from = from.unwrap_or_default();
        let to = from + part.len() as u64 - 1;
        Answer::object(part).with("content-range", format!("bytes {from}-{to}/{BYTES}"))
    }

    /// `PutObject`: the list of a backfill.
    pub fn put(&mut self, call: &Call) -> Answer {
        assert!(call.bucket == RESULTS && call.key.starts_with(layout::BACKFILL), "{call}");
        self.written += call.body.len() as u64;
        Answer::object(Vec::new()).with("etag", "\"list\"")
    }

    /// The videos from a key or the prefix of one.
    fn videos(&self, from: &str) -> impl Iterator<Item = Video> {
        let first = number(from.strip_suffix(".mp4").unwrap_or(from)).unwrap_or(0);
        (first..self.videos.count).map(video)
    }

    /// The objects of the results from a key or the prefix of one, with their sizes.
    fn results(&self, from: &str) -> impl Iterator<Item = (String, u64)> {
        let name = from.strip_prefix(layout::RESULTS).unwrap_or_default();
        let first = name.split_once(".mp4/").map_or(name, |(name, _)| name);
        let numbers = number(first).unwrap_or(0)..self.videos.count;
        numbers.filter(|number| number % ONE_DUE_OF != ONE_DUE_OF - 1).flat_map(|number| {
            let folder = layout::result(&video(number).key, self.job(number).idempotency_key());
            let pages = (0..self.videos.pages).map(|page| (format!("faces/{page:05}.jsonl"), 700_000));
            let others = [("manifest.json", 1_200), ("report.html", 20_000), ("summary.json", 9_000)];
            let tracks = (0..self.videos.tracks).map(|index| (format!("tracks/{index:05}.jsonl"), 4_000_000));
            let objects = pages.chain(others.map(|(name, bytes)| (name.to_owned(), bytes))).chain(tracks);
            objects.map(move |(name, bytes)| (format!("{folder}{name}"), bytes))
        })
    }

    fn job(&self, number: u64) -> Job {
        let Config { completion_topic_arn: topic_arn, publish_role_arn: role_arn, face_attributes, .. } =
            self.config.clone();
        JobParameters { video: video(number), face_attributes, topic_arn, role_arn, attempt: 0 }.into()
    }

    /// The summary of a video of ten minutes with a face in every second.
    fn summary(&self, number: u64) -> Vec<u8> {
        let job = self.job(number);
        let second = |second| Second { second, faces: 6, frames: 2, most_faces: 3, mean_confidence: 99.123_456 };
        let summary = Summary {
            video: job.video().clone(),
            metadata: VideoMetadata { duration_ms: Some(600_000), ..VideoMetadata::default() },
            job: self.job_facts(&job),
            faces: 3600,
            tracks: Some(40),
            frames_with_faces: 1200,
            most_faces: Some(Moment { faces: 3, timestamp_ms: 500 }),
            timeline: (0..600).map(second).collect(),
        };
        serde_json::to_vec(&summary).expect("a summary is JSON")
    }

    fn job_facts(&self, job: &Job) -> JobFacts {
        JobFacts {
            job_id: "a".repeat(64),
            idempotency_key: job.idempotency_key().to_owned(),
            attempt: 0,
            face_attributes: self.config.face_attributes,
        }
    }

    fn manifest(&self, number: u64) -> Vec<u8> {
        let job = self.job(number);
        let object = |name: &str| ObjectFacts {
            key: layout::result(&job.video().key, job.idempotency_key()) + name,
            bytes: 1_000,
        };
        let manifest = Manifest {
            video: job.video().clone(),
            job: self.job_facts(&job),
            execution_arn: "arn:aws:states:eu-central-1:123456789012:execution:facereel-analyze-video:name".to_owned(),
            faces: 0,
            summary: object("summary.json"),
            report: object("report.html"),
            pages: Vec::new(),
            tracks: Some(Vec::new()),
        };
        serde_json::to_vec(&manifest).expect("a manifest is JSON")
    }
}

/// `ListObjectsV2` of a few objects.
pub fn list_few(keys: impl IntoIterator<Item = String>) -> Answer {
    let mut page = Page::new();
    for key in keys {
        page.add("Contents", &key, "e", 1_000, "");
    }
    page.answer("ListBucketResult", false, "")
}

/// The video with this number. The bucket has versions, as the stack creates it.
fn video(number: u64) -> Video {
    Video {
        bucket: UPLOADS.to_owned(),
        key: format!("{PREFIX}{number:09}.mp4"),
        version_id: Some(format!("{:032x}", number * 7919)),
        etag: format!("{:032x}", number * 104_729),
        bytes: BYTES,
    }
}

/// The number of the video whose key, without its suffix, is this.
fn number(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

/// The header of the box with the pictures, which extends to the movie header.
fn media_data() -> [u8; 16] {
    let mut header = [0; 16];
    header[3] = 1;
    header[4..8].copy_from_slice(b"mdat");
    header[8..].copy_from_slice(&(MOVIE_HEADER - 24).to_be_bytes());
    header
}

/// The movie header of a video of one minute.
fn movie_header() -> Vec<u8> {
    let times = [[0_u8; 8].as_slice(), &1000_u32.to_be_bytes(), &60_000_u32.to_be_bytes(), &[0; 80]].concat();
    [&116_u32.to_be_bytes()[..], b"moov", &108_u32.to_be_bytes(), b"mvhd", &[0; 4], &times].concat()
}

fn not_found(key: &str) -> Answer {
    Answer::xml(404, format!("<Error><Code>NoSuchKey</Code><Key>{key}</Key></Error>"))
}

/// What the keys of a group have in common: up to the first delimiter behind the prefix.
fn group(key: &str, prefix: &str, delimiter: &str) -> Option<String> {
    let at = key[prefix.len()..].find(delimiter).filter(|_| !delimiter.is_empty())?;
    Some(key[..prefix.len() + at + delimiter.len()].to_owned())
}

/// A page of a listing, as XML. No key here needs to be escaped.
struct Page {
    items: String,
    last: String,
}

impl Page {
    fn new() -> Self {
        Self { items: String::with_capacity(KEYS_PER_PAGE * 300), last: String::new() }
    }

    fn add(&mut self, element: &str, key: &str, etag: &str, bytes: u64, more: &str) {
        write!(
            self.items,
            "<{element}><Key>{key}</Key>{more}<LastModified>2026-11-01T10:00:00.000Z</LastModified>\
             <ETag>&quot;{etag}&quot;</ETag><Size>{bytes}</Size><StorageClass>STANDARD</StorageClass></{element}>"
        )
        .expect("writing to a string succeeds");
        key.clone_into(&mut self.last);
    }

    /// Adds what the keys of a group have in common.
    fn add_group(&mut self, prefix: &str) {
        write!(self.items, "<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>")
            .expect("writing to a string succeeds");
        prefix.clone_into(&mut self.last);
    }

    fn answer(self, root: &str, is_truncated: bool, next: &str) -> Answer {
        let next = if is_truncated { next } else { "" };
        let items = self.items;
        Answer::xml(200, format!("<{root}><IsTruncated>{is_truncated}</IsTruncated>{next}{items}</{root}>"))
    }
}
