//! Compares the faces that were found with those that are known to be in the sample clip.

use std::collections::BTreeSet;

use face_detection::BoundingBox;
use serde::Deserialize;

use super::clips;

/// The minimum intersection over union at which a found face counts as the known one.
const SAME_FACE: f32 = 0.4;

/// The longest gap between two analysed frames in milliseconds, in which a face may be missing from the result. The stand-in
/// analyses the first frame of each half second; how often Rekognition analyses a frame is not documented.
const INTERVAL_MS: i64 = 500;

/// The time between two frames of the sample clip in milliseconds.
const FRAME_MS: i64 = 40;

/// A face that was found. Its JSON is a line of a page of results.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(from = "Line")]
pub struct FoundFace {
    /// Milliseconds from the start of the video.
    pub timestamp: i64,
    /// Where the face is.
    pub bounding_box: BoundingBox,
}

/// The part of a line that says when and where the face is.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Line {
    timestamp: i64,
    face: LineFace,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LineFace {
    bounding_box: BoundingBox,
}

impl From<Line> for FoundFace {
    fn from(line: Line) -> Self {
        Self { timestamp: line.timestamp, bounding_box: line.face.bounding_box }
    }
}

/// The picture that the boxes refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Picture {
    /// The picture as it is stored in the file.
    Stored,
    /// The picture turned clockwise by 90 degrees, as a player shows a file whose header asks for that.
    Turned,
}

impl Picture {
    fn place(self, stored: BoundingBox) -> BoundingBox {
        match self {
            Self::Stored => stored,
            Self::Turned => BoundingBox {
                left: 1.0 - stored.top - stored.height,
                top: stored.left,
                width: stored.height,
                height: stored.width,
            },
        }
    }
}

/// A frame of `truth.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Frame {
    timestamp: i64,
    faces: Vec<KnownFace>,
}

#[derive(Clone, Deserialize)]
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
    /// Matches `found` with the known faces of the sample clip, each known face once.
    ///
    /// Every frame with a found face was analysed. Of every half second without one, the first frame is assumed to have been
    /// analysed, so its expected faces are missed.
    #[must_use]
    pub fn of(found: &[FoundFace], picture: Picture) -> Self {
        let frames: Vec<Frame> = serde_json::from_str(clips::TRUTH).expect("a test parses the embedded truth.json");
        let mut analysed: BTreeSet<i64> = found.iter().map(|face| face.timestamp).collect();
        let intervals: BTreeSet<i64> = analysed.iter().map(|timestamp| timestamp / INTERVAL_MS).collect();
        let mut last_interval = None;
        for frame in &frames {
            let interval = frame.timestamp / INTERVAL_MS;
            if last_interval.replace(interval) != Some(interval) && !intervals.contains(&interval) {
                analysed.insert(frame.timestamp);
            }
        }

        let mut score = Self { expected: 0, hits: 0, wrong: 0 };
        for timestamp in analysed {
            let distance = |frame: &&Frame| (frame.timestamp - timestamp).abs();
            let frame = frames.iter().min_by_key(distance).filter(|frame| distance(frame) <= FRAME_MS);
            let mut known = frame.map(|frame| frame.faces.clone()).unwrap_or_default();
            score.expected += known.iter().filter(|face| face.expected).count();
            for face in found.iter().filter(|face| face.timestamp == timestamp) {
                let same =
                    |known: &KnownFace| overlap(picture.place(known.bounding_box), face.bounding_box) >= SAME_FACE;
                match known.iter().position(same) {
                    Some(index) => score.hits += usize::from(known.swap_remove(index).expected),
                    None => score.wrong += 1,
                }
            }
        }
        score
    }

    /// The share of the expected faces that were found, from 0 to 1.
    #[must_use]
    pub fn recall(&self) -> f64 {
        ratio(self.hits, self.expected)
    }

    /// The share of the found faces that are faces, from 0 to 1.
    #[must_use]
    pub fn precision(&self) -> f64 {
        ratio(self.hits, self.hits + self.wrong)
    }
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The intersection of two boxes over their union.
fn overlap(a: BoundingBox, b: BoundingBox) -> f32 {
    let span = |start_a: f32, length_a: f32, start_b: f32, length_b: f32| {
        ((start_a + length_a).min(start_b + length_b) - start_a.max(start_b)).max(0.0)
    };
    let both = span(a.left, a.width, b.left, b.width) * span(a.top, a.height, b.top, b.height);
    both / (a.width * a.height + b.width * b.height - both)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected faces, found in the first frame of every interval of `every` milliseconds.
    fn perfect(every: i64, picture: Picture) -> Vec<FoundFace> {
        let mut frames: Vec<Frame> = serde_json::from_str(clips::TRUTH).unwrap();
        frames.dedup_by_key(|frame| frame.timestamp / every);
        frames
            .into_iter()
            .flat_map(|frame| {
                let Frame { timestamp, faces } = frame;
                let expected = faces.into_iter().filter(|face| face.expected);
                expected.map(move |face| FoundFace { timestamp, bounding_box: picture.place(face.bounding_box) })
            })
            .collect()
    }

    #[test]
    fn the_known_faces_have_a_perfect_score_at_any_sampling_rate() {
        for (every, picture) in [(500, Picture::Stored), (200, Picture::Stored), (500, Picture::Turned)] {
            let score = Score::of(&perfect(every, picture), picture);
            assert!(score.expected > 20 && score.hits == score.expected && score.wrong == 0, "{every} ms: {score:?}");
        }
    }

    #[test]
    fn missed_moved_and_additional_faces_lower_the_score() {
        let found = perfect(500, Picture::Stored);
        let (first, rest) = found.split_first().unwrap();
        let missed = Score::of(rest, Picture::Stored);
        assert_eq!((missed.expected - missed.hits, missed.wrong), (1, 0), "{missed:?}");

        let mut moved = found.clone();
        for face in &mut moved {
            face.bounding_box.left += face.bounding_box.width;
        }
        assert!(Score::of(&moved, Picture::Stored).recall() < 0.2, "a box beside each face");

        let twice = [&found[..], &[*first]].concat();
        assert_eq!(Score::of(&twice, Picture::Stored).wrong, 1, "a known face counts once");
        let after_the_end = FoundFace { timestamp: 60_000, ..*first };
        assert_eq!(Score::of(&[after_the_end], Picture::Stored).wrong, 1);
        let turned = Score::of(&perfect(500, Picture::Turned), Picture::Stored);
        assert!(turned.recall() < 0.5, "boxes of the turned picture: {turned:?}");
    }

    #[test]
    fn no_face_is_found_where_there_is_none() {
        let score = Score::of(&[], Picture::Stored);
        assert!(score.hits == 0 && score.expected > 20, "{score:?}");
        assert!(score.recall().abs() < f64::EPSILON && score.precision().abs() < f64::EPSILON);
    }

    #[test]
    fn a_line_with_members_of_rekognition_is_a_found_face() {
        let line = r#"{"Timestamp":500,"Face":{"BoundingBox":{"Width":0.1,"Height":0.2,"Left":-0.01,"Top":0.3},"Confidence":99.9,"EyeDirection":null}}"#;
        let face: FoundFace = serde_json::from_str(line).unwrap();
        assert_eq!((face.timestamp, face.bounding_box.left), (500, -0.01));
    }
}
