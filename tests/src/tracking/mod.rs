//! Measures tracks against the known faces of a clip.
//!
//! The measures are those of the field: switches and fragmentations of CLEAR MOT
//! (<https://doi.org/10.1155/2008/246309>), and IDF1 (<https://arxiv.org/abs/1609.01775>).

mod clips;
mod overlap_tracker;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use face_detection::FaceDetection;
use lambdas::results::Track;
use lambdas::tracks::{Detection, Tracker, assignment};
use serde::Deserialize;

pub use clips::{Measured, measure_clips};
pub use overlap_tracker::overlap_tracks;

/// Left, top, width and height as ratios of the frame.
type Ratios = [f32; 4];

/// The minimum intersection over union at which a found face counts as the known one.
const SAME_FACE: f32 = 0.4;

/// The sampling interval of the stand-in in milliseconds: it analyses the first frame of each interval.
const INTERVAL_MS: i64 = 500;

/// A known face that is not seen for longer begins another track, as the contract of the tracks says: no face is recognised.
const LONGEST_GAP_MS: i64 = 1250;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Frame {
    timestamp: i64,
    faces: Vec<KnownFace>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KnownFace {
    number: usize,
    left: f32,
    top: f32,
    width: f32,
    height: f32,
    expected: bool,
}

/// The known faces of a clip, at the times that are analysed.
#[derive(Debug)]
pub struct Truth {
    samples: BTreeMap<i64, Vec<Known>>,
    /// The number of tracks.
    pub tracks: usize,
    /// The number of expected faces in all samples together.
    pub faces: usize,
}

/// A known face at a time.
#[derive(Debug, Clone, Copy)]
struct Known {
    track: usize,
    ratios: Ratios,
    /// False for a face that is hidden or outside of the picture so far that it counts neither as missed nor as wrong.
    expected: bool,
}

impl Truth {
    /// Reads the file `truth.json` of a clip. `found` are the detector's faces: a face that is hidden in part and was found is not away.
    ///
    /// # Panics
    /// When the file cannot be read.
    #[must_use]
    pub fn read(file: &Path, found: &[FaceDetection]) -> Self {
        let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut frames: Vec<Frame> =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        frames.dedup_by_key(|frame| frame.timestamp / INTERVAL_MS);
        let mut truth = Self { samples: BTreeMap::new(), tracks: 0, faces: 0 };
        // The time when a face was last seen, and its track, by its number.
        let mut last: BTreeMap<usize, (i64, usize)> = BTreeMap::new();
        for Frame { timestamp, faces } in frames {
            let known = |face: &KnownFace| Known {
                track: face.number,
                ratios: [face.left, face.top, face.width, face.height],
                expected: face.expected,
            };
            let mut known: Vec<_> = faces.iter().map(known).collect();
            let found: Vec<_> =
                found.iter().filter(|face| face.timestamp == timestamp).map(|face| (0, ratios(face))).collect();
            let matches = matches(&known, &found, &BTreeMap::new());
            for (known, found) in known.iter_mut().zip(matches) {
                let before = last.get(&known.track).filter(|(seen, _)| timestamp - seen <= LONGEST_GAP_MS);
                let track = before.map_or(truth.tracks, |(_, track)| *track);
                if known.expected || found.is_some() {
                    truth.tracks += usize::from(before.is_none());
                    last.insert(known.track, (timestamp, track));
                }
                truth.faces += usize::from(known.expected);
                known.track = track;
            }
            truth.samples.insert(timestamp, known);
        }
        truth
    }
}

/// The box of a found face.
fn ratios(FaceDetection { face, .. }: &FaceDetection) -> Ratios {
    let of = face.bounding_box;
    [of.left, of.top, of.width, of.height]
}

/// The tracks that the functions would write for these faces.
#[must_use]
pub fn tracks(faces: &[FaceDetection], frame: (u64, u64)) -> Vec<Track> {
    let mut tracker = Tracker::new(Some(frame));
    for (index, face) in faces.iter().enumerate() {
        tracker.add(Detection {
            face: index,
            timestamp_ms: face.timestamp,
            bounding_box: ratios(face),
            confidence: face.face.confidence.into(),
            clarity: 1.0,
        });
    }
    tracker.finish();
    tracker.take_ended()
}

/// How well tracks agree with the known faces.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// The number of tracks that were found.
    pub tracks: usize,
    /// The number of expected faces that are in a track.
    pub found: usize,
    /// Identity switches: how often a known face goes over to another track.
    pub switches: usize,
    /// Fragmentations: how often a known face is missed and then found again.
    pub fragmentations: usize,
    /// Tracks that join different known faces.
    pub joined: usize,
    /// The harmonic mean of the shares of the faces, known and found, that have the right identity.
    pub idf1: f64,
}

impl Score {
    /// Compares the tracks of each face with the known ones. `track_of` has the track of each face; a face without one was not found.
    ///
    /// # Panics
    /// When a face was found in a frame that the stand-in does not analyse.
    #[must_use]
    pub fn of(truth: &Truth, faces: &[FaceDetection], track_of: &BTreeMap<usize, usize>) -> Self {
        let mut found: BTreeMap<i64, Vec<(usize, Ratios)>> = BTreeMap::new();
        for (index, face) in faces.iter().enumerate() {
            assert!(truth.samples.contains_key(&face.timestamp), "a face in a frame that was not analysed");
            found.entry(face.timestamp).or_default().extend(track_of.get(&index).map(|track| (*track, ratios(face))));
        }
        let mut counts = Counts::default();
        for (timestamp, known) in &truth.samples {
            counts.add_sample(known, found.get(timestamp).map(Vec::as_slice).unwrap_or_default());
        }
        counts.score(truth, track_of.values().collect::<BTreeSet<_>>().len())
    }
}

/// The counts over the samples so far.
#[derive(Default)]
struct Counts {
    /// The last found track of each known one, and whether it was missed since.
    last: BTreeMap<usize, (usize, bool)>,
    /// How often a known track and a found one have the same face.
    together: BTreeMap<(usize, usize), usize>,
    /// Found faces that count: all but those that match a face that is not expected.
    counted: usize,
    found: usize,
    switches: usize,
    fragmentations: usize,
}

impl Counts {
    fn add_sample(&mut self, known: &[Known], found: &[(usize, Ratios)]) {
        let matches = matches(known, found, &self.last);
        for (Known { track, expected, .. }, face) in known.iter().zip(&matches) {
            match face {
                Some(face) if *expected => {
                    let (other, _) = found[*face];
                    self.found += 1;
                    *self.together.entry((*track, other)).or_default() += 1;
                    if let Some((before, missed)) = self.last.insert(*track, (other, false)) {
                        self.switches += usize::from(before != other);
                        self.fragmentations += usize::from(missed);
                    }
                }
                None if *expected => {
                    self.last.entry(*track).and_modify(|(_, missed)| *missed = true);
                }
                _ => {}
            }
        }
        let optional = known.iter().zip(&matches).filter(|(known, face)| !known.expected && face.is_some()).count();
        self.counted += found.len() - optional;
    }

    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn score(self, truth: &Truth, tracks: usize) -> Score {
        let found_tracks: Vec<_> =
            self.together.keys().map(|(_, found)| *found).collect::<BTreeSet<_>>().into_iter().collect();
        let joined =
            found_tracks.iter().filter(|track| self.together.keys().filter(|(_, found)| found == *track).count() > 1);
        let joined = joined.count();
        // Each known track has one found track, for the most faces with the right identity.
        let most = self.together.values().max().copied().unwrap_or_default() as f64;
        let candidates: Vec<Vec<_>> = (0..truth.tracks)
            .map(|known| {
                let of = found_tracks.iter().enumerate();
                of.filter_map(|(column, found)| Some((column, most - *self.together.get(&(known, *found))? as f64)))
                    .collect()
            })
            .collect();
        let assigned = assignment::assign(&candidates, found_tracks.len(), &vec![most; truth.tracks]);
        let right: usize = assigned
            .iter()
            .enumerate()
            .filter_map(|(known, column)| self.together.get(&(known, found_tracks[(*column)?])))
            .sum();
        Score {
            tracks,
            found: self.found,
            switches: self.switches,
            fragmentations: self.fragmentations,
            joined,
            idf1: 2.0 * right as f64 / (truth.faces + self.counted) as f64,
        }
    }
}

/// The index of the found face of each known one. A known face keeps the track that it had, if that is near enough; then those that are
/// nearest are matched first, and expected faces before those that are not expected.
fn matches(known: &[Known], found: &[(usize, Ratios)], last: &BTreeMap<usize, (usize, bool)>) -> Vec<Option<usize>> {
    let mut pairs = Vec::new();
    for (index, Known { track, ratios, expected }) in known.iter().enumerate() {
        let before = last.get(track).map(|(before, _)| *before);
        for (face, (of, found)) in found.iter().enumerate() {
            let overlap = overlap(*ratios, *found);
            if overlap >= SAME_FACE {
                pairs.push((before != Some(*of), !expected, overlap, index, face));
            }
        }
    }
    pairs.sort_by(|one, other| (one.0, one.1).cmp(&(other.0, other.1)).then(other.2.total_cmp(&one.2)));
    let (mut matches, mut free) = (vec![None; known.len()], vec![true; found.len()]);
    for (.., index, face) in pairs {
        if matches[index].is_none() && free[face] {
            (matches[index], free[face]) = (Some(face), false);
        }
    }
    matches
}

/// The track of each face of some tracks.
#[must_use]
pub fn track_of(tracks: &[Track]) -> BTreeMap<usize, usize> {
    tracks.iter().flat_map(|track| track.faces.iter().map(|face| (*face, track.id))).collect()
}

/// The intersection of two boxes over their union.
fn overlap(a: Ratios, b: Ratios) -> f32 {
    let span = |side: usize| ((a[side] + a[side + 2]).min(b[side] + b[side + 2]) - a[side].max(b[side])).max(0.0);
    let both = span(0) * span(1);
    both / (a[2] * a[3] + b[2] * b[3] - both)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEFT: Ratios = [0.1, 0.1, 0.1, 0.1];
    const RIGHT: Ratios = [0.6, 0.1, 0.1, 0.1];

    /// The score of samples: the track of the left face and of the right one, of which either can be missing.
    fn score(samples: &[[Option<usize>; 2]]) -> Score {
        let mut counts = Counts::default();
        for sample in samples {
            let known =
                [Known { track: 0, ratios: LEFT, expected: true }, Known { track: 1, ratios: RIGHT, expected: true }];
            let found = sample.iter().zip([LEFT, RIGHT]).filter_map(|(track, ratios)| Some(((*track)?, ratios)));
            counts.add_sample(&known, &found.collect::<Vec<_>>());
        }
        counts.score(&Truth { samples: BTreeMap::new(), tracks: 2, faces: 2 * samples.len() }, 2)
    }

    #[test]
    fn perfect_tracks_have_the_best_score() {
        let score = score(&[[Some(7), Some(3)]; 4]);
        assert_eq!((score.found, score.switches, score.fragmentations, score.joined), (8, 0, 0, 0));
        assert!((score.idf1 - 1.0).abs() < 1e-9);
    }

    #[test]
    fn swapped_tracks_are_two_switches() {
        let score = score(&[[Some(0), Some(1)], [Some(0), Some(1)], [Some(1), Some(0)]]);
        assert_eq!((score.switches, score.fragmentations, score.joined), (2, 0, 2));
        assert!((score.idf1 - 4.0 / 6.0).abs() < 1e-9);
    }

    #[test]
    fn a_missed_face_is_a_fragmentation_when_it_is_found_again() {
        let score = score(&[[Some(0), Some(1)], [None, Some(1)], [Some(0), Some(1)], [Some(0), None]]);
        assert_eq!((score.found, score.switches, score.fragmentations, score.joined), (6, 0, 1, 0));
        assert!((score.idf1 - 12.0 / 14.0).abs() < 1e-9);
    }

    #[test]
    fn a_face_that_is_not_expected_counts_neither_as_missed_nor_as_wrong() {
        let mut counts = Counts::default();
        counts.add_sample(&[Known { track: 0, ratios: LEFT, expected: false }], &[(0, LEFT), (1, RIGHT)]);
        assert_eq!((counts.counted, counts.found), (1, 0));
    }
}
