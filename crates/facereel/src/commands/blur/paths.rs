//! Where a face is expected between and around its detections.
//!
//! A face is looked for twice a second, so most frames have no detection. A path is a track with the rules for these frames:
//!
//! - Between two detections the box moves evenly from one to the other. It grows by the deviation of a path with the acceleration
//!   that the detections around show.
//! - If two boxes in sequence hardly overlap, or a sample without the face is between them, both are held beside the moving one: the face
//!   was fast or away, or a cut was between them.
//! - Before the first and after the last detection the box is held, and extended to where the motion leads. Its margin grows with the
//!   time, because the face can start to move faster.

use lambdas::results::Track;

/// Two boxes in sequence that share less than this part of the smaller one are both held.
const LEAST_OVERLAP: f32 = 0.3;

/// Two detections that are further apart, in milliseconds, have a sample without the face between them: samples are half a second
/// apart.
pub(super) const MISSED_MS: i64 = 750;

/// The time in which the margin of a held box doubles, in milliseconds: that between two samples.
const MARGIN_DOUBLES_MS: i64 = 500;

/// A box as ratios of the frame: left, top, width, height.
pub(super) type Ratios = [f32; 4];

/// A detection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sighting {
    /// Milliseconds from the start of the video.
    pub at_ms: i64,
    /// The box.
    pub ratios: Ratios,
    /// The number of its line, counted over all pages from 0.
    pub face: usize,
}

/// A track as it is hidden.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FacePath {
    /// The id of the track.
    pub track: usize,
    /// Its detections, by time. Never empty.
    pub sightings: Vec<Sighting>,
}

/// How much more than the detections is hidden.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reach {
    /// The share of a box's width and height that is added on each side.
    pub margin: f32,
    /// How long a box is hidden before the first and after the last detection, in milliseconds.
    pub hold_ms: i64,
}

/// Joins the parts of tracks, which are in the order of their ends, to paths.
pub(super) fn paths_of(tracks: impl IntoIterator<Item = Track>) -> Vec<FacePath> {
    let mut paths = std::collections::BTreeMap::<usize, Vec<Sighting>>::new();
    for track in tracks {
        let sightings = track.timestamps_ms.iter().zip(&track.boxes).zip(&track.faces);
        let sightings =
            sightings.map(|((at_ms, ratios), face)| Sighting { at_ms: *at_ms, ratios: *ratios, face: *face });
        paths.entry(track.id).or_default().extend(sightings);
    }
    let mut paths: Vec<_> = paths.into_iter().map(|(track, sightings)| FacePath { track, sightings }).collect();
    paths.retain(|path| !path.sightings.is_empty());
    for path in &mut paths {
        path.sightings.sort_by_key(|sighting| sighting.at_ms);
        path.sightings.dedup_by_key(|sighting| sighting.at_ms);
    }
    paths.sort_by_key(|path| path.first().at_ms);
    paths
}

impl FacePath {
    pub(super) fn first(&self) -> Sighting {
        self.sightings[0]
    }

    pub(super) fn last(&self) -> Sighting {
        self.sightings[self.sightings.len() - 1]
    }

    /// Adds the boxes to hide at a time.
    fn add_boxes(&self, at_ms: i64, Reach { margin, hold_ms }: Reach, boxes: &mut Vec<Ratios>) {
        let next = self.sightings.partition_point(|sighting| sighting.at_ms <= at_ms);
        let near = |sighting: &Sighting| (sighting.at_ms - at_ms).abs() <= hold_ms;
        let with_margin =
            |ratios: Ratios, margin: f32| grown_by(ratios, [margin * ratios[2], margin * ratios[3], 0.0, 0.0]);
        // The box of the detection at an end, with where the motion leads from the detection before that.
        let held = |end: Sighting, other: Option<Sighting>| {
            let moved = other.map(|other| between(end, other, at_ms));
            let growth = 1.0 + millis((end.at_ms - at_ms).abs()) / millis(MARGIN_DOUBLES_MS);
            with_margin(moved.map_or(end.ratios, |moved| hull(end.ratios, moved)), margin * growth)
        };
        let neighbours = (next.checked_sub(1).map(|before| self.sightings[before]), self.sightings.get(next).copied());
        match neighbours {
            (Some(before), Some(after)) => {
                let moving = grown_by(between(before, after, at_ms), self.deviation(next - 1, at_ms));
                boxes.push(with_margin(moving, margin));
                let apart = after.at_ms - before.at_ms > MISSED_MS;
                if apart || overlap(before.ratios, after.ratios) < LEAST_OVERLAP {
                    let both = [before, after];
                    boxes.extend(both.iter().filter(|end| near(end)).map(|end| with_margin(end.ratios, margin)));
                }
            }
            (None, Some(first)) if near(&first) => boxes.push(held(first, self.sightings.get(1).copied())),
            (Some(last), None) if near(&last) => {
                boxes.push(held(last, self.sightings.len().checked_sub(2).map(|index| self.sightings[index])));
            }
            _ => {}
        }
    }

    /// How far a path with the acceleration around the detections `index` and `index + 1` is away from the straight one between them.
    fn deviation(&self, index: usize, at_ms: i64) -> Ratios {
        let mut acceleration = [0.0_f32; 4];
        for start in index.saturating_sub(1)..=index {
            let Some([one, two, three]) = self.sightings.get(start..start + 3) else { continue };
            let (first, second) = (velocity(*one, *two), velocity(*two, *three));
            let time = millis(three.at_ms - one.at_ms) / 2.0;
            for (most, (first, second)) in acceleration.iter_mut().zip(first.iter().zip(second)) {
                *most = most.max((second - first).abs() / time);
            }
        }
        let (before, after) = (self.sightings[index], self.sightings[index + 1]);
        // The distance of the parabola through both ends from the line between them.
        acceleration.map(|most| most * millis(at_ms - before.at_ms) * millis(after.at_ms - at_ms) / 2.0)
    }
}

/// The regions to hide, for times that increase.
#[derive(Debug)]
pub(super) struct Regions {
    paths: Vec<FacePath>,
    reach: Reach,
    /// The number of paths that have begun.
    begun: usize,
    /// The indices of those that have begun and not ended.
    active: Vec<usize>,
}

impl Regions {
    /// The paths are in the order of their first detections.
    pub(super) fn new(paths: Vec<FacePath>, reach: Reach) -> Self {
        Self { paths, reach, begun: 0, active: Vec::new() }
    }

    /// The boxes to hide at a time, with the margin. The times of the calls must increase.
    pub(super) fn at(&mut self, at_ms: i64) -> Vec<Ratios> {
        let hold_ms = self.reach.hold_ms;
        while let Some(path) = self.paths.get(self.begun).filter(|path| path.first().at_ms - hold_ms <= at_ms) {
            debug_assert!(!path.sightings.is_empty());
            self.active.push(self.begun);
            self.begun += 1;
        }
        self.active.retain(|index| self.paths[*index].last().at_ms + hold_ms >= at_ms);
        let mut boxes = Vec::new();
        for index in &self.active {
            self.paths[*index].add_boxes(at_ms, self.reach, &mut boxes);
        }
        boxes
    }
}

/// The box at a time, which can be before or after both, on the straight line through two detections.
fn between(one: Sighting, other: Sighting, at_ms: i64) -> Ratios {
    let velocity = velocity(one, other);
    let time = millis(at_ms - one.at_ms);
    let mut ratios = one.ratios;
    for (value, velocity) in ratios.iter_mut().zip(velocity) {
        *value += velocity * time;
    }
    // A face that comes nearer would have a negative size before.
    [ratios[0], ratios[1], ratios[2].max(0.0), ratios[3].max(0.0)]
}

/// The change of a box in a millisecond. The detections can be in either order, and are at different times.
fn velocity(one: Sighting, other: Sighting) -> Ratios {
    let time = millis(other.at_ms - one.at_ms);
    let mut velocity = other.ratios;
    for (value, from) in velocity.iter_mut().zip(one.ratios) {
        *value = (*value - from) / time;
    }
    velocity
}

/// A box that is extended by a distance on each side, and by half of a growth of its size.
fn grown_by([left, top, width, height]: Ratios, [across, down, wider, higher]: Ratios) -> Ratios {
    let (across, down) = (across + wider / 2.0, down + higher / 2.0);
    [left - across, top - down, width + 2.0 * across, height + 2.0 * down]
}

/// The smallest box around two boxes.
fn hull(one: Ratios, other: Ratios) -> Ratios {
    let from = |side: usize| one[side].min(other[side]);
    let to = |side: usize| (one[side] + one[side + 2]).max(other[side] + other[side + 2]);
    [from(0), from(1), to(0) - from(0), to(1) - from(1)]
}

/// The part of the smaller of two boxes that is inside of the other one.
pub(super) fn overlap(one: Ratios, other: Ratios) -> f32 {
    let span = |side: usize| {
        ((one[side] + one[side + 2]).min(other[side] + other[side + 2]) - one[side].max(other[side])).max(0.0)
    };
    let smaller = (one[2] * one[3]).min(other[2] * other[3]);
    if smaller > 0.0 { span(0) * span(1) / smaller } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "a difference of times in a track")]
fn millis(time: i64) -> f32 {
    time as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const REACH: Reach = Reach { margin: 0.0, hold_ms: 600 };

    fn path(sightings: &[(i64, f32)]) -> FacePath {
        let sighting = |(at_ms, left): &(i64, f32)| Sighting { at_ms: *at_ms, ratios: [*left, 0.4, 0.1, 0.2], face: 0 };
        FacePath { track: 0, sightings: sightings.iter().map(sighting).collect() }
    }

    fn at(path: &FacePath, reach: Reach, at_ms: i64) -> Vec<Ratios> {
        Regions::new(vec![path.clone()], reach).at(at_ms)
    }

    #[track_caller]
    fn assert_boxes(found: &[Ratios], expected: &[Ratios]) {
        let near = |one: &Ratios, other: &Ratios| one.iter().zip(other).all(|(one, other)| (one - other).abs() < 1e-4);
        let same = found.len() == expected.len() && found.iter().zip(expected).all(|(one, other)| near(one, other));
        assert!(same, "{found:?} and not {expected:?}");
    }

    #[test]
    fn a_box_moves_evenly_between_two_detections() {
        let path = path(&[(1000, 0.20), (1500, 0.24), (2000, 0.28)]);
        assert_boxes(&at(&path, REACH, 1250), &[[0.22, 0.4, 0.1, 0.2]]);
        assert_boxes(&at(&path, REACH, 1500), &[[0.24, 0.4, 0.1, 0.2]]);
        assert_boxes(&at(&path, REACH, 1900), &[[0.272, 0.4, 0.1, 0.2]]);
    }

    #[test]
    fn the_margin_grows_with_the_face() {
        let path = path(&[(1000, 0.2)]);
        assert_boxes(&at(&path, Reach { margin: 0.5, ..REACH }, 1000), &[[0.15, 0.3, 0.2, 0.4]]);
    }

    #[test]
    fn a_box_is_held_and_extended_where_the_motion_leads() {
        let path = path(&[(1000, 0.20), (1500, 0.25)]);
        assert_boxes(&at(&path, REACH, 700), &[[0.17, 0.4, 0.13, 0.2]]);
        assert_boxes(&at(&path, REACH, 2000), &[[0.25, 0.4, 0.15, 0.2]]);
        assert_boxes(&at(&path, REACH, 2100), &[[0.25, 0.4, 0.16, 0.2]]);
        for outside in [399, 2101] {
            assert_boxes(&at(&path, REACH, outside), &[]);
        }
        let none = Reach { hold_ms: 0, ..REACH };
        assert_boxes(&at(&path, none, 999), &[]);
        assert_boxes(&at(&path, none, 1000), &[[0.2, 0.4, 0.1, 0.2]]);
        assert_boxes(&at(&path, none, 1500), &[[0.25, 0.4, 0.1, 0.2]]);
        assert_boxes(&at(&path, none, 1501), &[]);
    }

    #[test]
    fn the_margin_of_a_held_box_grows_with_the_time() {
        let path = path(&[(1000, 0.2)]);
        let reach = Reach { margin: 0.5, ..REACH };
        assert_boxes(&at(&path, reach, 1250), &[[0.125, 0.25, 0.25, 0.5]]);
        assert_boxes(&at(&path, reach, 500), &[[0.1, 0.2, 0.3, 0.6]]);
    }

    #[test]
    fn a_single_detection_is_held_where_it_is() {
        let path = path(&[(1000, 0.2)]);
        for time in [400, 1000, 1600] {
            assert_boxes(&at(&path, REACH, time), &[[0.2, 0.4, 0.1, 0.2]]);
        }
    }

    #[test]
    fn after_a_jump_the_old_and_the_new_place_are_both_hidden() {
        let path = path(&[(1000, 0.2), (1500, 0.5)]);
        assert_boxes(&at(&path, REACH, 1250), &[[0.35, 0.4, 0.1, 0.2], [0.2, 0.4, 0.1, 0.2], [0.5, 0.4, 0.1, 0.2]]);
    }

    #[test]
    fn in_a_bridged_gap_both_ends_are_held() {
        let path = path(&[(1000, 0.20), (2000, 0.21)]);
        let (before, after) = ([0.2, 0.4, 0.1, 0.2], [0.21, 0.4, 0.1, 0.2]);
        assert_boxes(&at(&path, REACH, 1200), &[[0.202, 0.4, 0.1, 0.2], before]);
        assert_boxes(&at(&path, REACH, 1500), &[[0.205, 0.4, 0.1, 0.2], before, after]);
        assert_boxes(&at(&path, REACH, 1800), &[[0.208, 0.4, 0.1, 0.2], after]);
    }

    #[test]
    fn a_face_that_turns_around_is_inside_of_the_grown_box() {
        // Thrown up and caught: left = 0.5 - 0.2 * (t - 1)^2, and seen each half second.
        let left = |at_ms: i64| 0.5 - 0.2 * (millis(at_ms) / 1000.0 - 1.0).powi(2);
        let path = path(&[0, 500, 1000, 1500, 2000].map(|at_ms| (at_ms, left(at_ms))));
        for time in (0..=2000).step_by(50) {
            let boxes = at(&path, REACH, time);
            let (from, to) = (boxes[0][0], boxes[0][0] + boxes[0][2]);
            assert!(from <= left(time) + 1e-5 && to >= left(time) + 0.1 - 1e-5, "{time}: {boxes:?}");
            assert!(to - from < 0.13, "{time}: {boxes:?}");
        }
    }

    #[test]
    fn a_face_that_comes_nearer_has_no_negative_size_before() {
        let sighting =
            |at_ms, size| Sighting { at_ms, ratios: [0.5 - size / 2.0, 0.5 - size / 2.0, size, size], face: 0 };
        let path = FacePath { track: 0, sightings: vec![sighting(1000, 0.1), sighting(1500, 0.3)] };
        let [[left, top, width, height]] = at(&path, REACH, 500)[..] else { panic!("one box") };
        assert!(width >= 0.1 && height >= 0.1 && left <= 0.45 && top <= 0.45);
    }

    #[test]
    fn every_path_is_hidden_while_it_is_active() {
        let paths: Vec<_> = (0..20_i64)
            .map(|index| {
                let start = 300 * index;
                FacePath { track: 0, ..path(&[(start, 0.1), (start + 500, 0.1), (start + 1000, 0.1)]) }
            })
            .collect();
        let mut regions = Regions::new(paths.clone(), REACH);
        for time in (0..8000).step_by(40) {
            let expected =
                paths.iter().filter(|path| (path.first().at_ms - 600..=path.last().at_ms + 600).contains(&time));
            assert_eq!(regions.at(time).len(), expected.count(), "{time}");
        }
    }

    #[test]
    fn the_parts_of_a_long_track_are_one_path() {
        let part = |id, part, timestamps_ms: Vec<i64>| Track {
            id,
            part,
            continues: part == 0,
            first_ms: timestamps_ms[0],
            last_ms: timestamps_ms[timestamps_ms.len() - 1],
            detections: timestamps_ms.len(),
            mean_confidence: 99.0,
            best: lambdas::results::BestMoment { timestamp_ms: 0, face: 0, bounding_box: [0.0; 4] },
            faces: vec![0; timestamps_ms.len()],
            boxes: vec![[0.1; 4]; timestamps_ms.len()],
            timestamps_ms,
        };
        let paths = paths_of([part(1, 0, vec![500]), part(0, 0, vec![0, 500]), part(0, 1, vec![1000])]);
        let times: Vec<Vec<i64>> =
            paths.iter().map(|path| path.sightings.iter().map(|sighting| sighting.at_ms).collect()).collect();
        assert_eq!(times, [vec![0, 500, 1000], vec![500]]);
    }
}
