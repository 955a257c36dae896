//! summarize: counts what the pages hold, writes `summary.json`, `report.html` and, last of all, `manifest.json`.

use std::collections::BTreeMap;

use aws_sdk_s3::primitives::ByteStream;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};

use crate::{
    aws::{AwsError, Clients, named_by_variant},
    face::{Face, FaceDetection},
    job::FinishedJob,
    metrics::{self, Metric},
    report::{self, Maker, Timeline},
    results::{Manifest, Moment, ObjectFacts, PageFacts, Second, Summary},
    s3,
};

/// Pages that are read ahead: enough to hide S3's latency, at 3.3 MB a page at most.
const PAGES_AT_ONCE: usize = 4;

/// The function's environment.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// `RESULTS_BUCKET`: pages lie there.
    pub results_bucket: String,
}

/// What the `Summarize` state sends.
#[derive(Debug, Deserialize)]
pub struct Summarize {
    /// Whose pages.
    pub job: FinishedJob,
    /// How many pages there are.
    pub pages: usize,
    /// The execution's ARN.
    pub execution: String,
    /// When the execution began, in RFC 3339; a state machine deployed before there was a report does not tell.
    #[serde(default)]
    pub started: Option<String>,
}

/// The execution's output.
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
    /// Pages of faces.
    pub pages: usize,
    /// Faces in all pages together.
    pub faces: usize,
    /// Most faces at once.
    pub most_faces: Option<Moment>,
}

/// Why a result is not complete. The state machine sees the variant's name.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum SummarizeError {
    /// A page that was fetched is not there.
    #[error(
        "the page s3://{bucket}/{key} is gone; start a new execution with the same input: it fetches the pages anew"
    )]
    PageMissing {
        /// The results bucket.
        bucket: String,
        /// The page.
        key: String,
    },
    /// A page holds something else than faces.
    #[error(
        "line {line} of the page s3://{bucket}/{key} is no face: {source}; start a new execution with the same input: it fetches the pages anew"
    )]
    PageUnreadable {
        /// The results bucket.
        bucket: String,
        /// The page.
        key: String,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Anything that every AWS call can meet.
    #[error(transparent)]
    Aws(#[from] AwsError),
}
named_by_variant!(SummarizeError);

/// Counts the pages and writes the summary, the report and the manifest.
///
/// # Errors
/// [`SummarizeError`]; no manifest is written then.
#[tracing::instrument(skip_all, fields(execution = request.execution, key = request.job.video.key, idempotency_key = request.job.idempotency_key))]
pub async fn summarize(clients: &Clients, config: &Config, request: Summarize) -> Result<Summarized, SummarizeError> {
    let Summarize { job, pages, execution, started } = request;
    let bucket = &config.results_bucket;
    let mut counts = Counts::new(&job);
    let mut page_facts = Vec::with_capacity(pages);
    let mut bodies =
        stream::iter(0..pages).map(|index| read_page(clients, bucket, job.page_key(index))).buffered(PAGES_AT_ONCE);
    while let Some((key, body)) = bodies.try_next().await? {
        page_facts.push(counts.add_page(bucket, key, &body)?);
    }
    let prefix = job.results_prefix();
    let (summary, timeline) = counts.finish(&job);
    let summary_facts = write_json(clients, bucket, format!("{prefix}summary.json"), &summary).await?;
    let maker = Maker { execution: &execution, started: started.as_deref() };
    let html = report::html(&summary, &timeline, &summary_facts, &page_facts, &maker);
    let report_facts =
        write(clients, bucket, format!("{prefix}report.html"), "text/html; charset=utf-8", html.into_bytes()).await?;
    let report = report_facts.key.clone();
    let manifest = Manifest {
        video: job.video.clone(),
        job: (&job).into(),
        execution,
        faces: summary.faces,
        summary: summary_facts,
        report: report_facts,
        pages: page_facts,
    };
    let manifest = write_json(clients, bucket, format!("{prefix}manifest.json"), &manifest).await?.key;
    tracing::info!(pages, faces = summary.faces, manifest, "the result is complete");
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

async fn read_page(clients: &Clients, bucket: &str, key: String) -> Result<(String, Vec<u8>), SummarizeError> {
    match s3::get(clients, bucket, &key).await? {
        Some(body) => Ok((key, body)),
        None => Err(SummarizeError::PageMissing { bucket: bucket.to_owned(), key }),
    }
}

async fn write_json<T: Serialize>(
    clients: &Clients,
    bucket: &str,
    key: String,
    document: &T,
) -> Result<ObjectFacts, SummarizeError> {
    let body = serde_json::to_vec_pretty(document).expect("results are plain data");
    write(clients, bucket, key, "application/json", body).await
}

async fn write(
    clients: &Clients,
    bucket: &str,
    key: String,
    content_type: &str,
    body: Vec<u8>,
) -> Result<ObjectFacts, SummarizeError> {
    let bytes = body.len();
    clients
        .s3
        .put_object()
        .bucket(bucket)
        .key(&key)
        .content_type(content_type)
        .body(ByteStream::from(body))
        .send()
        .await
        .map_err(|error| AwsError::new("s3:PutObject", error))?;
    Ok(ObjectFacts { key, bytes })
}

/// What is known of the faces so far. It grows with the video's seconds, not with its faces.
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

    fn add_page(&mut self, bucket: &str, key: String, body: &[u8]) -> Result<PageFacts, SummarizeError> {
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
            self.add_face(timestamp, &face);
        }
        Ok(facts)
    }

    /// Faces come ordered by time, so the faces of one frame follow each other, across pages too.
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

    fn finish(mut self, job: &FinishedJob) -> (Summary, Timeline) {
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

    #[test]
    fn a_frame_that_lies_on_two_pages_is_one_frame() {
        let mut counts = Counts::new(&job());
        counts.add_page("b", "0".into(), &page(&[(0, 90.0), (500, 80.0), (500, 70.0)])).unwrap();
        let facts = counts.add_page("b", "1".into(), &page(&[(500, 60.0), (1000, 50.0)])).unwrap();
        assert_eq!((facts.faces, facts.first_ms, facts.last_ms), (2, Some(500), Some(1000)));
        let (summary, _) = counts.finish(&job());
        assert_eq!((summary.faces, summary.frames_with_faces), (5, 3));
        assert_eq!(summary.most_faces, Some(Moment { faces: 3, timestamp_ms: 500 }));
        let seconds: Vec<_> = summary.timeline.iter().map(|s| (s.second, s.faces, s.frames, s.most_faces)).collect();
        assert_eq!(seconds, [(0, 4, 2, 3), (1, 1, 1, 1)]);
        assert!((summary.timeline[0].mean_confidence - 75.0).abs() < 1e-9);
    }

    #[test]
    fn a_video_without_faces_has_an_empty_summary() {
        let mut counts = Counts::new(&job());
        let facts = counts.add_page("b", "0".into(), b"").unwrap();
        assert_eq!((facts.faces, facts.bytes, facts.first_ms, facts.last_ms), (0, 0, None, None));
        let (summary, _) = counts.finish(&job());
        assert_eq!((summary.faces, summary.most_faces, summary.timeline.len()), (0, None, 0));
    }

    #[test]
    fn a_line_that_is_no_face_is_named() {
        let error =
            Counts::new(&job()).add_page("b", "k".into(), b"{\"Timestamp\":0,\"Face\":{}}\nnonsense\n").unwrap_err();
        assert!(error.to_string().starts_with("line 2 of the page s3://b/k is no face"), "{error}");
    }
}
