//! Where the results of a job lie, and what they look like.
//!
//! `results/<key>/<idempotency key>/faces/00000.jsonl`, … one object a page; `summary.json`; `report.html`, the same for people; and
//! `manifest.json`, which is written last: its presence means that everything it names is there. A job has its own folder, so that no job overwrites
//! another's results, and a page that is fetched twice overwrites itself.

use serde::{Deserialize, Serialize};

use crate::{
    job::{FaceAttributes, FinishedJob, VideoMetadata},
    video::Video,
};

/// S3 keys have at most 1024 bytes; this much of the video's key leaves room for the rest.
const MAX_KEY_BYTES: usize = 900;

/// The folder of a job's results, with a `/` at its end.
///
/// A very long key is cut at a character's border: the tag alone makes the folder unique.
#[must_use]
pub fn prefix(key: &str, idempotency_key: &str) -> String {
    let end = (0..=MAX_KEY_BYTES.min(key.len())).rev().find(|&end| key.is_char_boundary(end)).unwrap_or(0);
    format!("results/{}/{idempotency_key}/", &key[..end])
}

impl FinishedJob {
    /// The folder of this job's results, with a `/` at its end.
    #[must_use]
    pub fn results_prefix(&self) -> String {
        prefix(&self.video.key, &self.idempotency_key)
    }

    /// The object of a page.
    #[must_use]
    pub fn page_key(&self, index: usize) -> String {
        format!("{}faces/{index:05}.jsonl", self.results_prefix())
    }
}

/// `manifest.json`: everything that belongs to a complete result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// What was analysed.
    pub video: Video,
    /// By which job.
    pub job: JobFacts,
    /// The ARN of the execution that wrote this.
    pub execution: String,
    /// Faces in all pages together.
    pub faces: usize,
    /// The summary's object.
    pub summary: ObjectFacts,
    /// The report's object.
    pub report: ObjectFacts,
    /// The pages' objects, in order.
    pub pages: Vec<PageFacts>,
}

/// The job behind a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFacts {
    /// Rekognition's name of the job.
    pub job_id: String,
    /// Our name of the job.
    pub idempotency_key: String,
    /// 0 for the content's first job.
    pub attempt: u32,
    /// How much Rekognition told of a face.
    pub face_attributes: FaceAttributes,
}

impl From<&FinishedJob> for JobFacts {
    fn from(job: &FinishedJob) -> Self {
        Self {
            job_id: job.job_id.clone(),
            idempotency_key: job.idempotency_key.clone(),
            attempt: job.attempt,
            face_attributes: job.face_attributes,
        }
    }
}

/// An object of the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectFacts {
    /// In the results bucket.
    pub key: String,
    /// Its size.
    pub bytes: usize,
}

/// A page's object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageFacts {
    /// In the results bucket.
    pub key: String,
    /// Its size.
    pub bytes: usize,
    /// Lines, one a face.
    pub faces: usize,
    /// The first face's timestamp in milliseconds; absent on a page without faces.
    pub first_ms: Option<i64>,
    /// The last face's timestamp in milliseconds; absent on a page without faces.
    pub last_ms: Option<i64>,
}

/// `summary.json`: the video's faces in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// What was analysed.
    pub video: Video,
    /// What Rekognition knows of the video.
    pub metadata: VideoMetadata,
    /// By which job.
    pub job: JobFacts,
    /// Faces in all frames together.
    pub faces: usize,
    /// Sampled frames that show at least one face.
    pub frames_with_faces: usize,
    /// The busiest moment; absent where there is no face.
    pub most_faces: Option<Moment>,
    /// One entry for each second that has a face, in order.
    pub timeline: Vec<Second>,
}

/// A frame and its faces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Faces at once.
    pub faces: usize,
    /// Milliseconds from the video's start.
    pub timestamp_ms: i64,
}

/// One second of the video.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// From the video's start.
    pub second: i64,
    /// Faces in all of its frames together.
    pub faces: usize,
    /// Its frames that show a face.
    pub frames: usize,
    /// Most faces in one of its frames.
    pub most_faces: usize,
    /// Of its faces, 0 to 100.
    pub mean_confidence: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_lies_under_its_videos_own_name() {
        assert_eq!(prefix("a b+c%2F/🎬.mp4", "idempotency_key"), "results/a b+c%2F/🎬.mp4/tag/");
    }

    #[test]
    fn the_longest_key_leaves_room_for_the_longest_name() {
        let idempotency_key = "f".repeat(64);
        for key in ["k".repeat(1024), "🎬".repeat(256), format!("x{}", "é".repeat(511))] {
            let longest = format!("{}faces/00000.jsonl", prefix(&key, &idempotency_key));
            assert!(longest.len() <= 1024, "{} bytes", longest.len());
        }
    }
}
