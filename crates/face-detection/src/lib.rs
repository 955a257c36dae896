//! Finds the faces in a video file on this machine: what a Rekognition face-detection job does on AWS.
//!
//! [`CenterFace`] reads an MP4 or MOV file, decodes two frames a second and returns every face in them, in Rekognition's types.
//! It is a separate crate from the server that answers Rekognition's calls, so that a debug build can optimise only this crate.

use std::path::Path;

use serde::{Deserialize, Serialize};

mod centerface;
mod container;
mod ffmpeg;
mod frame;
mod h264;
pub mod model;
mod network;
mod pipeline;
#[cfg(test)]
mod tests;

pub use centerface::{CenterFace, LoadError};
pub use container::Rotation;
pub use model::SHA256 as MODEL_SHA256;

/// Finds the faces in one video file.
///
/// The server depends only on this trait, so a test or a benchmark can serve a canned result with the same API.
pub trait Detector: Send + Sync {
    /// Analyses the whole file and returns its faces ordered by time.
    ///
    /// `progress` is called with the share that is done, from 0.0 to 1.0, and returns whether to continue.
    ///
    /// # Errors
    /// [`AnalyzeError`]: its text is what Rekognition would report as the failed job's `StatusMessage`.
    fn analyze(&self, video: &Path, progress: &dyn Fn(f32) -> Continue) -> Result<Analysis, AnalyzeError>;
}

/// The picture and the times of a video, from the index of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoInfo {
    /// Pixels, before the rotation.
    pub width: usize,
    /// Pixels, before the rotation.
    pub height: usize,
    /// The rotation of the picture for display. Boxes of faces refer to the displayed picture.
    pub rotation: Rotation,
    /// The number of frames that are shown.
    pub frames: usize,
    /// When the first frame is shown, in milliseconds from the start of the video.
    pub first_millis: i64,
    /// Milliseconds from the start of the video to the end of its last frame.
    pub duration_millis: i64,
}

impl VideoInfo {
    /// Reads the index of an MP4 or MOV file.
    ///
    /// # Errors
    /// [`AnalyzeError::NotReadable`], [`AnalyzeError::NoVideoTrack`].
    pub fn read(video: &Path) -> Result<Self, AnalyzeError> {
        let track = container::Movie::open(video)?.track;
        let shown = || track.samples.iter().filter_map(|sample| sample.shown_at);
        Ok(Self {
            width: track.width,
            height: track.height,
            rotation: track.rotation,
            frames: shown().count(),
            first_millis: shown().min().unwrap_or_default(),
            duration_millis: track.duration_millis,
        })
    }
}

/// Whether an analysis should continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continue {
    /// The result is still needed.
    Yes,
    /// The server is stopping: return [`AnalyzeError::Cancelled`].
    No,
}

/// The result of an analysis.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    /// Properties of the video.
    pub metadata: VideoMetadata,
    /// Every face in every sampled frame, ordered by timestamp.
    pub faces: Vec<FaceDetection>,
}

/// Rekognition's `VideoMetadata`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct VideoMetadata {
    /// For example `h264`.
    pub codec: String,
    /// The length in milliseconds.
    pub duration_millis: i64,
    /// For example `QuickTime / MOV`.
    pub format: String,
    /// Frames per second.
    pub frame_rate: f32,
    /// Pixels.
    pub frame_height: i64,
    /// Pixels.
    pub frame_width: i64,
    /// `FULL` or `LIMITED`.
    pub color_range: String,
}

/// Rekognition's `FaceDetection`: a face at one time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FaceDetection {
    /// Milliseconds from the start of the video.
    pub timestamp: i64,
    /// The face.
    pub face: FaceDetail,
}

/// The part of Rekognition's `FaceDetail` that this crate can measure; the rest is absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FaceDetail {
    /// Where the face is.
    pub bounding_box: BoundingBox,
    /// 0 to 100.
    pub confidence: f32,
    /// Eyes, nose and mouth corners.
    pub landmarks: Vec<Landmark>,
    /// The head's rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pose: Option<Pose>,
    /// How bright and sharp the face is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<ImageQuality>,
}

/// A box as ratios of the frame's width and height.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BoundingBox {
    /// Ratio of the frame's width.
    pub width: f32,
    /// Ratio of the frame's height.
    pub height: f32,
    /// The left edge, as a ratio of the frame's width.
    pub left: f32,
    /// The top edge, as a ratio of the frame's height.
    pub top: f32,
}

/// A point of the face, as ratios of the frame's width and height.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Landmark {
    /// `eyeLeft`, `eyeRight`, `nose`, `mouthLeft` or `mouthRight`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Ratio of the frame's width.
    pub x: f32,
    /// Ratio of the frame's height.
    pub y: f32,
}

/// Rotation in degrees.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Pose {
    /// Around the axis towards the viewer.
    pub roll: f32,
    /// Left and right.
    pub yaw: f32,
    /// Up and down.
    pub pitch: f32,
}

/// 0 to 100 each.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageQuality {
    /// Mean brightness.
    pub brightness: f32,
    /// Sharpness.
    pub sharpness: f32,
}

/// Why a video could not be analysed.
#[derive(Debug, thiserror::Error)]
pub enum AnalyzeError {
    /// The file is not an MP4 or MOV file, or is incomplete.
    #[error("the file is not a readable MP4 or MOV video: {0}")]
    NotReadable(String),
    /// The file has no video track.
    #[error("the file has no video track")]
    NoVideoTrack,
    /// Neither the built-in decoder nor an installed ffmpeg decodes the video track.
    #[error("the video's codec cannot be decoded here: {0}; re-encode it as 8-bit H.264, or install ffmpeg")]
    UnsupportedCodec(String),
    /// The decoder or the model failed during the analysis.
    #[error("the analysis failed at {at_millis} ms: {reason}")]
    Failed {
        /// The position in the video, in milliseconds.
        at_millis: i64,
        /// The error of the decoder or the model.
        reason: String,
    },
    /// The server is stopping.
    #[error("the analysis was cancelled")]
    Cancelled,
}
