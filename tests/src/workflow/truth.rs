//! Compares the faces that were found with those that are known to be in the sample clip.

use std::path::Path;

use face_detection::{BoundingBox, FaceDetection};
use serde::Deserialize;

/// The minimum intersection over union at which a found face counts as the known one.
const SAME_FACE: f32 = 0.4;

/// The sampling interval of the stand-in in milliseconds: it analyses the first frame of each interval.
const INTERVAL_MS: i64 = 500;

/// A frame of `truth.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Frame {
    timestamp: i64,
    faces: Vec<KnownFace>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KnownFace {
    #[serde(flatten)]
    bounding_box: BoundingBox,
    /// False for a face so far outside of the picture that it counts neither as missed nor as wrong.
    expected: bool,
}

/// How well the found faces match the known ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Expected faces.
    pub expected: usize,
    /// Expected faces that were found.
    pub hits: usize,
    /// Found faces that are not known faces.
    pub wrong: usize,
}

impl Score {
    /// Matches `found` with the known faces in the file `truth`, each known face once.
    ///
    /// # Panics
    /// When the file cannot be read, or a face was found in a frame that the stand-in does not analyse.
    #[must_use]
    pub fn of(found: &[FaceDetection], truth: &Path) -> Self {
        let text = std::fs::read_to_string(truth).unwrap_or_else(|error| panic!("{}: {error}", truth.display()));
        let mut frames: Vec<Frame> =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", truth.display()));
        frames.dedup_by_key(|frame| frame.timestamp / INTERVAL_MS);
        let known: Vec<_> = frames.iter().map(|frame| frame.timestamp).collect();
        assert!(found.iter().all(|face| known.contains(&face.timestamp)), "a face in a frame that was not analysed");

        let mut score = Self { expected: 0, hits: 0, wrong: 0 };
        for Frame { timestamp, mut faces } in frames {
            score.expected += faces.iter().filter(|face| face.expected).count();
            for face in found.iter().filter(|face| face.timestamp == timestamp) {
                let overlap = |known: &KnownFace| overlap(&known.bounding_box, &face.face.bounding_box);
                match faces.iter().position(|known| overlap(known) >= SAME_FACE) {
                    Some(index) => score.hits += usize::from(faces.swap_remove(index).expected),
                    None => score.wrong += 1,
                }
            }
        }
        score
    }

    /// The share of the expected faces that were found.
    #[must_use]
    pub fn recall(&self) -> f64 {
        ratio(self.hits, self.expected)
    }

    /// The share of the found faces that are faces.
    #[must_use]
    pub fn precision(&self) -> f64 {
        ratio(self.hits, self.hits + self.wrong)
    }
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

/// The intersection of two boxes over their union.
fn overlap(a: &BoundingBox, b: &BoundingBox) -> f32 {
    let span = |start_a: f32, length_a: f32, start_b: f32, length_b: f32| {
        ((start_a + length_a).min(start_b + length_b) - start_a.max(start_b)).max(0.0)
    };
    let both = span(a.left, a.width, b.left, b.width) * span(a.top, a.height, b.top, b.height);
    both / (a.width * a.height + b.width * b.height - both)
}
