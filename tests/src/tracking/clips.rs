//! The clips with known faces, measured with the real detector: the sample clip, and those of `fixtures/tracking`.

use face_detection::{Analysis, CenterFace, Continue, Detector as _};

use super::{Score, Truth, overlap_tracks, track_of, tracks};
use crate::clips::{detector, fixture};

/// The sampling interval in milliseconds, as in a normal analysis.
const INTERVAL_MS: i64 = 500;

/// A clip with its measures.
#[derive(Debug)]
pub struct Measured {
    /// The clip's name.
    pub name: &'static str,
    /// The known faces.
    pub truth: Truth,
    /// The measures of the tracks of the functions.
    pub tracks: Score,
    /// The measures of the plain tracker's.
    pub overlap: Score,
}

/// Finds the faces of each clip, joins them to tracks and compares those with the known faces.
///
/// # Panics
/// When a clip cannot be analysed, or the network of the detector cannot be downloaded.
#[must_use]
pub fn measure_clips() -> Vec<Measured> {
    let detector = detector(INTERVAL_MS);
    crate::clips::ALL.iter().map(|(name, clip, _)| measure(&detector, name, clip)).collect()
}

fn measure(detector: &CenterFace, name: &'static str, clip: &str) -> Measured {
    let Analysis { faces, metadata } = detector
        .analyze(&fixture(&format!("{clip}.mp4")), &|_| Continue::Yes)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let truth = Truth::read(&crate::clips::truth(clip), &faces);
    let frame = (metadata.frame_width.unsigned_abs(), metadata.frame_height.unsigned_abs());
    let score = Score::of(&truth, &faces, &track_of(&tracks(&faces, frame)));
    Measured { name, tracks: score, overlap: Score::of(&truth, &faces, &overlap_tracks(&faces)), truth }
}
