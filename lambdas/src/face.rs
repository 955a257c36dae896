//! A line of a page: the members of Rekognition's `FaceDetection` that are counted, drawn and tracked.

use serde::Deserialize;

/// A face at a time (<https://docs.aws.amazon.com/rekognition/latest/APIReference/API_FaceDetection.html>).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct FaceDetection {
    /// Milliseconds from the video's start.
    pub(crate) timestamp: i64,
    pub(crate) face: Face,
}

/// A face. Rekognition returns the age and the emotions only with `FaceAttributes` ALL.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Face {
    /// 0 to 100.
    pub(crate) confidence: Option<f64>,
    pub(crate) bounding_box: Option<BoundingBox>,
    pub(crate) age_range: Option<AgeRange>,
    pub(crate) emotions: Option<Vec<FeltEmotion>>,
    pub(crate) pose: Option<Pose>,
    pub(crate) quality: Option<Quality>,
}

/// The rotation of the head in degrees, from -180 to 180; 0 looks at the camera.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Pose {
    /// Left and right.
    pub(crate) yaw: f64,
    /// Up and down.
    pub(crate) pitch: f64,
}

/// The quality of the picture of a face.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Quality {
    /// 0 to 100.
    pub(crate) sharpness: Option<f64>,
}

/// Ratios of the width and the height of the frame. A box may be partly outside of the frame.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct BoundingBox {
    pub(crate) left: f32,
    pub(crate) top: f32,
    pub(crate) width: f32,
    pub(crate) height: f32,
}

/// Years.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AgeRange {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// An emotion and its confidence.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct FeltEmotion {
    #[serde(rename = "Type")]
    pub(crate) kind: Emotion,
    /// 0 to 100.
    pub(crate) confidence: f64,
}

/// The emotion that a face appears to express, in the order of the report's colours.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Deserialize, strum::EnumCount, strum::VariantArray, strum::IntoStaticStr,
)]
#[serde(rename_all = "UPPERCASE")]
#[strum(serialize_all = "lowercase")]
pub(crate) enum Emotion {
    Happy,
    Calm,
    Surprised,
    Confused,
    Sad,
    Fear,
    Disgusted,
    Angry,
    /// And any value that a later API may add.
    #[serde(other)]
    Unknown,
}

impl Face {
    /// How sharp the face is, from 0 to 1; 1 if it is unknown.
    pub(crate) fn sharpness(&self) -> f64 {
        self.quality.and_then(|quality| quality.sharpness).map_or(1.0, |sharpness| sharpness / 100.0)
    }

    /// How frontal the face is, from 0 (a profile) to 1; 1 if its pose is unknown. Linear in the angles, so that every processor
    /// computes the same number.
    pub(crate) fn frontality(&self) -> f64 {
        let facing = |degrees: f64| (1.0 - degrees.abs() / 90.0).max(0.0);
        self.pose.map_or(1.0, |Pose { yaw, pitch }| facing(yaw) * facing(pitch))
    }

    /// The emotion with the highest confidence.
    pub(crate) fn emotion(&self) -> Option<Emotion> {
        let felt = self.emotions.iter().flatten();
        felt.max_by(|a, b| a.confidence.total_cmp(&b.confidence)).map(|felt| felt.kind)
    }
}
