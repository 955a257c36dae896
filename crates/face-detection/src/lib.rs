//! Finds the faces in a video file on this machine: what a Rekognition face-detection job does on AWS.
//!
//! [`CenterFace`] reads an MP4 or MOV file, decodes two frames a second and returns every face in them, in Rekognition's own
//! shapes. The crate is apart from the server that answers Rekognition's calls, because it alone has to be optimised in a
//! debug build.

use std::path::Path;

use serde::{Deserialize, Serialize};

mod centerface;
mod container;
mod ffmpeg;
mod frame;
mod h264;
pub mod model;
mod pipeline;
#[cfg(test)]
mod tests;

pub use centerface::{CenterFace, LoadError};
pub use model::SHA256 as MODEL_SHA256;

/// Finds the faces in one video file.
///
/// The server talks to this trait alone, so a test or a benchmark can put a canned result behind the same API.
pub trait Detector: Send + Sync {
    /// Analyses the whole file and returns its faces ordered by time.
    ///
    /// `progress` is told how much is done, from 0.0 to 1.0, and answers whether to go on.
    ///
    /// # Errors
    /// [`AnalyzeError`]: its text is what Rekognition would report as the failed job's `StatusMessage`.
    fn analyze(&self, video: &Path, progress: &dyn Fn(f32) -> Continue) -> Result<Analysis, AnalyzeError>;
}

/// Whether an analysis should go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continue {
    /// Someone still waits for the result.
    Yes,
    /// The server is stopping: give up with [`AnalyzeError::Cancelled`].
    No,
}

/// All that one job found.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    /// The facts of the video itself.
    pub metadata: VideoMetadata,
    /// Every face in every sampled frame, ordered by timestamp.
    pub faces: Vec<FaceDetection>,
}

/// Rekognition's `VideoMetadata`, in its own field names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct VideoMetadata {
    /// For example `h264`.
    pub codec: String,
    /// The length in milliseconds.
    pub duration_millis: i64,
    /// For example `QuickTime / MOV`.
    pub format: String,
    /// Frames a second.
    pub frame_rate: f32,
    /// Pixels.
    pub frame_height: i64,
    /// Pixels.
    pub frame_width: i64,
    /// `FULL` or `LIMITED`.
    pub color_range: String,
}

/// Rekognition's `FaceDetection`: a face at a moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FaceDetection {
    /// Milliseconds from the start of the video.
    pub timestamp: i64,
    /// The face.
    pub face: FaceDetail,
}

/// The part of Rekognition's `FaceDetail` that this stand-in can measure honestly; what it cannot, is absent.
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
    /// Around the axis that points at the viewer.
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
    /// The file is no MP4 or MOV, or one that breaks off.
    #[error("the file is not a readable MP4 or MOV video: {0}")]
    NotReadable(String),
    /// The file holds no video track.
    #[error("the file has no video track")]
    NoVideoTrack,
    /// Nothing on this machine decodes the video track.
    #[error("the video's codec cannot be decoded here: {0}; re-encode it as 8-bit H.264, or install ffmpeg")]
    UnsupportedCodec(String),
    /// The decoder or the model gave up in the middle.
    #[error("the analysis broke off at {at_millis} ms: {reason}")]
    BrokeOff {
        /// Where in the video, in milliseconds.
        at_millis: i64,
        /// What the decoder or the model said.
        reason: String,
    },
    /// The server is stopping.
    #[error("the analysis was cancelled")]
    Cancelled,
}
