//! A line of a page as it is read back: the parts of Rekognition's `FaceDetection` that are counted and drawn.

use serde::Deserialize;

/// A face at a moment (<https://docs.aws.amazon.com/rekognition/latest/APIReference/API_FaceDetection.html>).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct FaceDetection {
    /// Milliseconds from the video's start.
    pub(crate) timestamp: i64,
    pub(crate) face: Face,
}

/// A face. Age and emotions are told when all attributes were asked for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Face {
    /// 0 to 100.
    pub(crate) confidence: Option<f64>,
    pub(crate) bounding_box: Option<BoundingBox>,
    pub(crate) age_range: Option<AgeRange>,
    pub(crate) emotions: Option<Vec<FeltEmotion>>,
}

/// Ratios of the frame's width and height; a box may lie partly outside of the frame.
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

/// An emotion and how sure Rekognition is of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct FeltEmotion {
    #[serde(rename = "Type")]
    pub(crate) kind: Emotion,
    /// 0 to 100.
    pub(crate) confidence: f64,
}

/// What a face seems to express; the order is that of the report's colours.
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
    /// And whatever a later API may add.
    #[serde(other)]
    Unknown,
}

impl Face {
    /// The emotion that Rekognition is most sure of.
    pub(crate) fn emotion(&self) -> Option<Emotion> {
        let felt = self.emotions.iter().flatten();
        felt.max_by(|a, b| a.confidence.total_cmp(&b.confidence)).map(|felt| felt.kind)
    }
}
