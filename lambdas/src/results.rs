//! The results of a job: their objects and documents.
//!
//! A result is a folder: `faces/00000.jsonl` and so on, one object a page; `tracks/00000.jsonl` and so on, the faces through time;
//! `summary.json`; `report.html`, the summary as a page; and `manifest.json`, which is written last, so that its presence means that every object that it names is complete. Each job has
//! its own folder, so that a job never overwrites the results of another. A page that is fetched twice overwrites itself.

use serde::{Deserialize, Serialize};

use crate::{
    job::{FaceAttributes, FinishedJob, VideoMetadata},
    layout,
    video::Video,
};

impl FinishedJob {
    /// The folder of this job's results, with a `/` at its end.
    #[must_use]
    pub fn results_prefix(&self) -> String {
        layout::result(&self.video.key, &self.idempotency_key)
    }

    /// The key of a page. `index` counts from 0.
    #[must_use]
    pub fn page_key(&self, index: usize) -> String {
        format!("{}faces/{index:05}.jsonl", self.results_prefix())
    }

    /// The key of an object with tracks. `index` counts from 0.
    #[must_use]
    pub fn tracks_key(&self, index: usize) -> String {
        format!("{}tracks/{index:05}.jsonl", self.results_prefix())
    }
}

/// `manifest.json`: everything that belongs to a complete result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The video.
    pub video: Video,
    /// The job.
    pub job: JobFacts,
    /// The ARN of the execution that wrote this result.
    pub execution_arn: String,
    /// Faces in all pages together.
    pub faces: usize,
    /// The summary's object.
    pub summary: ObjectFacts,
    /// The report's object.
    pub report: ObjectFacts,
    /// The pages' objects, in order.
    pub pages: Vec<PageFacts>,
    /// The objects of the tracks, in order; `None` in results of before there were tracks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracks: Option<Vec<TracksFacts>>,
}

/// The job behind a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFacts {
    /// The `JobId` of Rekognition.
    pub job_id: String,
    /// See [`Job::idempotency_key`](crate::job::Job::idempotency_key).
    pub idempotency_key: String,
    /// 0 for the first job of this content.
    pub attempt: u32,
    /// The attributes that Rekognition returned for a face.
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
    /// Its key in the results bucket.
    pub key: String,
    /// Its size in bytes.
    pub bytes: usize,
}

/// A page's object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageFacts {
    /// Its key in the results bucket.
    pub key: String,
    /// Its size in bytes.
    pub bytes: usize,
    /// The number of its lines: one a face.
    pub faces: usize,
    /// The first face's timestamp in milliseconds; absent on a page without faces.
    pub first_ms: Option<i64>,
    /// The last face's timestamp in milliseconds; absent on a page without faces.
    pub last_ms: Option<i64>,
}

/// An object with tracks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracksFacts {
    /// Its key in the results bucket.
    pub key: String,
    /// Its size in bytes.
    pub bytes: usize,
    /// The number of its lines: one a track, or a part of a long track.
    pub lines: usize,
    /// The first detection's timestamp of all its lines, in milliseconds.
    pub first_ms: i64,
    /// The last detection's timestamp of all its lines, in milliseconds.
    pub last_ms: i64,
}

/// A line of `tracks/*.jsonl`: one face through time, or a part of that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Track {
    /// Identifies the track in this result. Tracks are counted from 0 in the order of their first detections.
    pub id: usize,
    /// The number of the part, from 0. Only a track of more than [`MOST_DETECTIONS`](crate::tracks::MOST_DETECTIONS) detections has
    /// several parts.
    pub part: usize,
    /// Whether another part follows.
    pub continues: bool,
    /// The first detection, in milliseconds from the start of the video.
    pub first_ms: i64,
    /// The last detection, in milliseconds from the start of the video.
    pub last_ms: i64,
    /// The number of detections.
    pub detections: usize,
    /// The mean confidence of the detections, from 0 to 100.
    pub mean_confidence: f64,
    /// The detection in which the face can be seen best.
    pub best: BestMoment,
    /// The time of each detection, in milliseconds from the start of the video.
    pub timestamps_ms: Vec<i64>,
    /// For each detection the number of its line, counted over all pages from 0.
    pub faces: Vec<usize>,
    /// The box of each detection: left, top, width and height as ratios of the frame, rounded to a ten-thousandth.
    pub boxes: Vec<[f32; 4]>,
}

/// The detection of a track with the largest, sharpest and most frontal face.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BestMoment {
    /// Milliseconds from the start of the video.
    pub timestamp_ms: i64,
    /// The number of its line, counted over all pages from 0.
    pub face: usize,
    /// Left, top, width and height.
    #[serde(rename = "box")]
    pub bounding_box: [f32; 4],
}

/// `summary.json`: the numbers of faces in the video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The video.
    pub video: Video,
    /// The metadata of the video, as Rekognition reports it.
    pub metadata: VideoMetadata,
    /// The job.
    pub job: JobFacts,
    /// The sum of the faces over all frames.
    pub faces: usize,
    /// The number of tracks; `None` in results of before there were tracks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracks: Option<usize>,
    /// Sampled frames that show at least one face.
    pub frames_with_faces: usize,
    /// The frame with the most faces; absent if there is no face.
    pub most_faces: Option<Moment>,
    /// One entry for each second that has a face, in order.
    pub timeline: Vec<Second>,
}

/// A frame and its number of faces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The faces in the frame.
    pub faces: usize,
    /// Milliseconds from the video's start.
    pub timestamp_ms: i64,
}

/// One second of the video.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// The second, counted from the start of the video.
    pub second: i64,
    /// The sum of the faces over its frames.
    pub faces: usize,
    /// Its frames with at least one face.
    pub frames: usize,
    /// The most faces in one of its frames.
    pub most_faces: usize,
    /// The mean confidence of its faces, from 0 to 100.
    pub mean_confidence: f64,
}
