//! summarize: counts the faces in the pages, joins them to tracks, and writes `tracks/*.jsonl`, `summary.json`, `report.html` and,
//! last, `manifest.json`.

mod track_objects;

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};

use self::track_objects::TrackObjects;
use crate::{
    aws::{AwsError, Clients, named_by_variant},
    face::{Face, FaceDetection},
    job::FinishedJob,
    layout,
    metrics::{self, Metric},
    report::{self, Timeline},
    results::{Manifest, Moment, ObjectFacts, PageFacts, Second, Summary},
    store::Store,
};

/// The pages that are read ahead: enough to hide the latency of S3, at no more than 3.3 MB a page.
const PAGES_READ_AHEAD: usize = 8;

/// The environment of the function.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// `RESULTS_BUCKET`: the bucket of the pages and of the result.
    pub results_bucket: String,
}

/// The payload of the `Summarize` state.
#[derive(Debug, Deserialize)]
pub struct Summarize {
    /// The job whose pages were fetched.
    pub job: FinishedJob,
    /// The number of its pages.
    pub pages: usize,
    /// The ARN of the execution.
    pub execution_arn: String,
}

/// The output of the execution.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Summarized {
    /// The results bucket.
    pub bucket: String,
    /// The folder of the results.
    pub prefix: String,
    /// The manifest's key.
    pub manifest: String,
    /// The report's key.
    pub report: String,
    /// The number of pages.
    pub pages: usize,
    /// The sum of the faces over all pages.
    pub faces: usize,
    /// The frame with the most faces.
    pub most_faces: Option<Moment>,
}

/// Why a result is not complete. The state machine sees the variant's name.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
pub enum SummarizeError {
    /// A page that was fetched no longer exists.
    #[error(
        "the page s3://{bucket}/{key} does not exist; start a new execution with the same input: it fetches the pages again"
    )]
    PageMissing {
        /// The results bucket.
        bucket: String,
        /// The key of the page.
        key: String,
    },
    /// A line of a page is not a face.
    #[error(
        "line {line} of the page s3://{bucket}/{key} is not a face: {source}; start a new execution with the same input: it fetches the pages again"
    )]
    PageUnreadable {
        /// The results bucket.
        bucket: String,
        /// The key of the page.
        key: String,
        /// The line, counted from 1.
        line: usize,
        /// The reason.
        source: serde_json::Error,
    },
    /// An error that any AWS call can return.
    #[error(transparent)]
    Aws(#[from] AwsError),
}
named_by_variant!(SummarizeError);

/// Counts the pages and writes the summary, the report and the manifest.
///
/// # Errors
/// [`SummarizeError`]; then no manifest is written.
#[tracing::instrument(skip_all, fields(execution_arn = request.execution_arn, key = request.job.video.key, idempotency_key = request.job.idempotency_key))]
pub async fn summarize(clients: &Clients, config: &Config, request: Summarize) -> Result<Summarized, SummarizeError> {
    let Summarize { job, pages, execution_arn } = request;
    let bucket = &config.results_bucket;
    let store = Store::new(clients, bucket);
    let (mut counts, mut tracks) = (Counts::new(&job), TrackObjects::new(&job));
    let mut page_facts = Vec::with_capacity(pages);
    let mut bodies =
        stream::iter(0..pages).map(|index| read_page(store, bucket, job.page_key(index))).buffered(PAGES_READ_AHEAD);
    while let Some((key, body)) = bodies.try_next().await? {
        page_facts.push(add_page(bucket, key, &body, |timestamp_ms, face| {
            counts.add_face(timestamp_ms, face);
            tracks.add(timestamp_ms, face);
        })?);
        tracks.write_full(store, &job).await?;
    }
    let prefix = job.results_prefix();
    let (tracks, tracks_facts, lanes) = tracks.finish(store, &job).await?;
    let (summary, timeline) = counts.finish(&job, tracks);
    let summary_facts = write_json(store, format!("{prefix}summary.json"), &summary).await?;
    let html = report::html(&summary, &timeline, &lanes, &summary_facts, &page_facts, &tracks_facts);
    let report_facts =
        write(store, format!("{prefix}report.html"), "text/html; charset=utf-8", html.into_bytes()).await?;
    let report = report_facts.key.clone();
    let manifest = Manifest {
        video: job.video.clone(),
        job: (&job).into(),
        execution_arn,
        faces: summary.faces,
        summary: summary_facts,
        report: report_facts,
        pages: page_facts,
        tracks: Some(tracks_facts),
    };
    let manifest = write_json(store, format!("{prefix}{}", layout::MANIFEST), &manifest).await?.key;
    tracing::info!(pages, faces = summary.faces, tracks, manifest, "the result is complete");
    metrics::emit(clients, &[Metric::Videos(1), Metric::Faces(summary.faces), Metric::Pages(pages)]);
    Ok(Summarized {
        bucket: bucket.clone(),
        prefix,
        manifest,
        report,
        pages,
        faces: summary.faces,
        most_faces: summary.most_faces,
    })
}

async fn read_page(store: Store<'_>, bucket: &str, key: String) -> Result<(String, Vec<u8>), SummarizeError> {
    match store.get(&key).await? {
        Some(body) => Ok((key, body)),
        None => Err(SummarizeError::PageMissing { bucket: bucket.to_owned(), key }),
    }
}

/// Reads the faces on a page in order; returns what the manifest says about the page.
fn add_page(
    bucket: &str,
    key: String,
    body: &[u8],
    mut add: impl FnMut(i64, &Face),
) -> Result<PageFacts, SummarizeError> {
    let mut facts = PageFacts { key, bytes: body.len(), faces: 0, first_ms: None, last_ms: None };
    for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        facts.faces += 1;
        let FaceDetection { timestamp, face } =
            serde_json::from_slice(line).map_err(|source| SummarizeError::PageUnreadable {
                bucket: bucket.to_owned(),
                key: facts.key.clone(),
                line: facts.faces,
                source,
            })?;
        facts.first_ms.get_or_insert(timestamp);
        facts.last_ms = Some(timestamp);
        add(timestamp, &face);
    }
    Ok(facts)
}

async fn write_json<T: Serialize>(store: Store<'_>, key: String, document: &T) -> Result<ObjectFacts, SummarizeError> {
    let body = serde_json::to_vec_pretty(document).expect("results are plain data");
    write(store, key, "application/json", body).await
}

async fn write(
    store: Store<'_>,
    key: String,
    content_type: &str,
    body: Vec<u8>,
) -> Result<ObjectFacts, SummarizeError> {
    let bytes = body.len();
    store.put(&key, content_type, body).await?;
    Ok(ObjectFacts { key, bytes })
}

/// The counts over the pages read so far. Its size grows with the seconds of the video, not with its faces.
struct Counts {
    timeline: Timeline,
    faces: usize,
    frames: usize,
    frame: Option<Moment>,
    most_faces: Option<Moment>,
    seconds: BTreeMap<i64, SecondCounts>,
}

#[derive(Default)]
struct SecondCounts {
    faces: usize,
    frames: usize,
    most_faces: usize,
    confidence: f64,
}

impl Counts {
    fn new(job: &FinishedJob) -> Self {
        Self {
            timeline: Timeline::new(job.metadata.duration_ms),
            faces: 0,
            frames: 0,
            frame: None,
            most_faces: None,
            seconds: BTreeMap::new(),
        }
    }

    /// The faces are ordered by time, so that the faces of one frame follow each other, also across pages.
    fn add_face(&mut self, timestamp_ms: i64, face: &Face) {
        self.timeline.add(timestamp_ms, face);
        let second = self.seconds.entry(timestamp_ms.div_euclid(1000)).or_default();
        let frame = match &mut self.frame {
            Some(frame) if frame.timestamp_ms == timestamp_ms => frame,
            frame => {
                self.frames += 1;
                second.frames += 1;
                frame.insert(Moment { faces: 0, timestamp_ms })
            }
        };
        frame.faces += 1;
        second.faces += 1;
        second.confidence += face.confidence.unwrap_or_default();
        second.most_faces = second.most_faces.max(frame.faces);
        self.faces += 1;
        if self.most_faces.is_none_or(|most| frame.faces > most.faces) {
            self.most_faces = Some(*frame);
        }
    }

    fn finish(mut self, job: &FinishedJob, tracks: usize) -> (Summary, Timeline) {
        self.timeline.end_frame();
        #[expect(clippy::cast_precision_loss, reason = "a second has fewer than 2^52 faces")]
        let timeline = self.seconds.into_iter().map(|(second, counts)| Second {
            second,
            faces: counts.faces,
            frames: counts.frames,
            most_faces: counts.most_faces,
            mean_confidence: counts.confidence / counts.faces as f64,
        });
        let summary = Summary {
            video: job.video.clone(),
            metadata: job.metadata.clone(),
            job: job.into(),
            faces: self.faces,
            tracks: Some(tracks),
            frames_with_faces: self.frames,
            most_faces: self.most_faces,
            timeline: timeline.collect(),
        };
        (summary, self.timeline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> FinishedJob {
        crate::job::tests::job().finished("id", &crate::job::VideoMetadata::default())
    }

    fn page(faces: &[(i64, f64)]) -> Vec<u8> {
        let line = |(timestamp, confidence): &(i64, f64)| {
            serde_json::json!({"Timestamp": timestamp, "Face": {"Confidence": confidence, "Pose": {}}}).to_string()
                + "\n"
        };
        faces.iter().flat_map(|face| line(face).into_bytes()).collect()
    }

    fn count(counts: &mut Counts, body: &[u8]) -> PageFacts {
        add_page("b", "k".into(), body, |timestamp_ms, face| counts.add_face(timestamp_ms, face)).unwrap()
    }

    #[test]
    fn a_frame_on_two_pages_is_one_frame() {
        let mut counts = Counts::new(&job());
        count(&mut counts, &page(&[(0, 90.0), (500, 80.0), (500, 70.0)]));
        let facts = count(&mut counts, &page(&[(500, 60.0), (1000, 50.0)]));
        assert_eq!((facts.faces, facts.first_ms, facts.last_ms), (2, Some(500), Some(1000)));
        let (summary, _) = counts.finish(&job(), 0);
        assert_eq!((summary.faces, summary.frames_with_faces), (5, 3));
        assert_eq!(summary.most_faces, Some(Moment { faces: 3, timestamp_ms: 500 }));
        let seconds: Vec<_> = summary.timeline.iter().map(|s| (s.second, s.faces, s.frames, s.most_faces)).collect();
        assert_eq!(seconds, [(0, 4, 2, 3), (1, 1, 1, 1)]);
        assert!((summary.timeline[0].mean_confidence - 75.0).abs() < 1e-9);
    }

    #[test]
    fn a_video_without_faces_has_an_empty_summary() {
        let mut counts = Counts::new(&job());
        let facts = count(&mut counts, b"");
        assert_eq!((facts.faces, facts.bytes, facts.first_ms, facts.last_ms), (0, 0, None, None));
        let (summary, _) = counts.finish(&job(), 0);
        assert_eq!((summary.faces, summary.most_faces, summary.timeline.len()), (0, None, 0));
    }

    #[test]
    fn a_line_that_is_not_a_face_is_named() {
        let body = b"{\"Timestamp\":0,\"Face\":{}}\nnonsense\n";
        let error = add_page("b", "k".into(), body, |_, _| ()).unwrap_err();
        assert!(error.to_string().starts_with("line 2 of the page s3://b/k is not a face"), "{error}");
    }
}
