//! From when to when the longest tracks are visible: a lane for each, in a bounded number.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use crate::results::{BestMoment, Track};

/// The most lanes, for a result of any size.
pub(super) const MOST_LANES: usize = 30;

/// The tracks with the most detections. Its size depends on [`MOST_LANES`] and on the number of faces in a frame, not on the number
/// of tracks.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    /// The tracks of which another part follows, by their ids. Their faces are visible at the same time, so that they are at most as
    /// many as the faces of a frame.
    continued: BTreeMap<usize, Lane>,
    /// The ended tracks with the most detections; of equal ones, the first.
    longest: BTreeMap<(Reverse<usize>, usize), Lane>,
    /// The number of tracks that have ended.
    ended: usize,
}

/// A track, with all its parts together.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    pub(super) id: usize,
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
    pub(super) detections: usize,
    /// The sum of the confidences of the detections.
    confidence: f64,
    /// The best detection. Of several parts, the one with the largest box: the parts do not contain their scores.
    best: BestMoment,
}

impl Lanes {
    /// Adds a track, or a part of one. The parts of a track are added in their order.
    pub(crate) fn add(&mut self, track: &Track) {
        let part = Lane::of(track);
        let lane = match self.continued.remove(&track.id) {
            Some(lane) => lane.followed_by(&part),
            None => part,
        };
        if track.continues {
            self.continued.insert(track.id, lane);
            return;
        }
        self.ended += 1;
        self.longest.insert((Reverse(lane.detections), lane.id), lane);
        if self.longest.len() > MOST_LANES {
            self.longest.pop_last();
        }
    }

    /// The number of tracks that have ended.
    pub(super) fn tracks(&self) -> usize {
        self.ended
    }

    /// The lanes in the order of the first detections, which is that of the ids.
    pub(super) fn shown(&self) -> Vec<&Lane> {
        let ids: BTreeSet<_> = self.longest.keys().map(|(detections, id)| (*id, *detections)).collect();
        ids.into_iter().map(|(id, detections)| &self.longest[&(detections, id)]).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "fewer detections than 2^52")]
impl Lane {
    fn of(track: &Track) -> Self {
        Self {
            id: track.id,
            first_ms: track.first_ms,
            last_ms: track.last_ms,
            detections: track.detections,
            confidence: track.mean_confidence * track.detections as f64,
            best: track.best,
        }
    }

    /// This lane together with the next part of its track.
    fn followed_by(mut self, part: &Self) -> Self {
        self.last_ms = part.last_ms;
        self.detections += part.detections;
        self.confidence += part.confidence;
        let area = |best: &BestMoment| best.bounding_box[2] * best.bounding_box[3];
        if area(&part.best) > area(&self.best) {
            self.best = part.best;
        }
        self
    }

    /// The mean confidence of its detections, from 0 to 100.
    pub(super) fn mean_confidence(&self) -> f64 {
        self.confidence / self.detections as f64
    }

    /// The time of the best detection, in milliseconds.
    pub(super) fn best_ms(&self) -> i64 {
        self.best.timestamp_ms
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A track of detections every half second, from a second on, with the same box.
    pub(in crate::report) fn track(id: usize, second: i64, detections: usize) -> Track {
        let first_ms = second * 1000;
        let timestamps_ms: Vec<_> =
            (0..detections).map(|index| first_ms + 500 * i64::try_from(index).unwrap()).collect();
        let last_ms = timestamps_ms[detections - 1];
        let bounding_box = [0.1, 0.1, 0.2, 0.2];
        Track {
            id,
            part: 0,
            continues: false,
            first_ms,
            last_ms,
            detections,
            mean_confidence: 99.0,
            best: BestMoment { timestamp_ms: first_ms, face: 0, bounding_box },
            timestamps_ms,
            faces: vec![0; detections],
            boxes: vec![bounding_box; detections],
        }
    }

    fn ids(lanes: &Lanes) -> Vec<usize> {
        lanes.shown().iter().map(|lane| lane.id).collect()
    }

    #[test]
    fn the_longest_tracks_have_a_lane_in_the_order_of_the_video() {
        let mut lanes = Lanes::default();
        // Each tenth track is long, and they end in another order than that in which they begin.
        for id in (0..400).rev() {
            lanes.add(&track(id, i64::try_from(id).unwrap(), if id % 10 == 0 { 20 } else { 2 }));
        }
        assert_eq!(lanes.tracks(), 400);
        assert_eq!(ids(&lanes), (0..300).step_by(10).collect::<Vec<_>>(), "the first 30 of the 40 long ones");
    }

    #[test]
    fn the_parts_of_a_track_are_one_lane() {
        let mut lanes = Lanes::default();
        let mut first = Track { continues: true, ..track(7, 10, 4) };
        first.mean_confidence = 90.0;
        let mut second = Track { part: 1, ..track(7, 12, 12) };
        second.best = BestMoment { timestamp_ms: 13_000, face: 5, bounding_box: [0.1, 0.1, 0.3, 0.3] };
        lanes.add(&first);
        lanes.add(&track(8, 10, 1));
        assert_eq!((lanes.tracks(), ids(&lanes)), (1, vec![8]), "a track that continues has not ended");
        lanes.add(&second);
        let lane = lanes.shown()[0];
        assert_eq!((lane.id, lane.first_ms, lane.last_ms, lane.detections), (7, 10_000, 17_500, 16));
        assert_eq!(lane.best_ms(), 13_000, "the larger face is the best one");
        assert!((lane.mean_confidence() - (90.0 * 4.0 + 99.0 * 12.0) / 16.0).abs() < 1e-9);
        assert_eq!(lanes.tracks(), 2);
    }

    #[test]
    fn the_lanes_do_not_depend_on_the_order_in_which_tracks_end() {
        let tracks: Vec<_> = (0..90).map(|id| track(id, 5, 1 + id % 7)).collect();
        let (mut one, mut other) = (Lanes::default(), Lanes::default());
        for (track, reversed) in tracks.iter().zip(tracks.iter().rev()) {
            one.add(track);
            other.add(reversed);
        }
        assert_eq!(ids(&one), ids(&other));
        assert_eq!(ids(&one).len(), MOST_LANES);
    }

    #[test]
    fn a_long_result_holds_few_lanes() {
        let mut lanes = Lanes::default();
        for second in 0..20_000 {
            lanes.add(&track(usize::try_from(second).unwrap(), second, 3));
        }
        assert_eq!((lanes.longest.len(), lanes.continued.len()), (MOST_LANES, 0));
    }
}
