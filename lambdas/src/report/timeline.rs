//! The faces over time, in a bounded number of bins, so that a video of any length makes a small page.

use std::{cmp::Reverse, collections::BTreeMap};

use strum::EnumCount as _;

use crate::face::{BoundingBox, Emotion, Face};

/// The most bins, for a video of any length.
const MOST_BINS: u64 = 240;

/// The possible lengths of a bin, in milliseconds. With the longest one, the longest video of Rekognition (6 hours) has 180 bins.
const BIN_LENGTHS: [u64; 9] = [500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000];

/// The faces over time. Its size depends on the number of bins, not on the number of faces.
#[derive(Debug)]
pub(crate) struct Timeline {
    /// The length of a bin in milliseconds.
    pub(super) bin_ms: i64,
    /// The bins with at least one face, by their index.
    pub(super) bins: BTreeMap<i64, Bin>,
    /// The frame whose faces are being added.
    frame: Option<Frame>,
}

/// A part of the video with at least one face.
#[derive(Debug, Default)]
pub(super) struct Bin {
    /// The sum of the faces over its frames.
    pub(super) faces: usize,
    /// Its frames with at least one face.
    pub(super) frames: usize,
    /// The sum of the confidences of its faces.
    confidence: f64,
    /// The first of its frames with the most faces.
    pub(super) busiest: Frame,
    /// The faces by their main emotion.
    pub(super) emotions: [usize; Emotion::COUNT],
    /// The number of faces with an age range, and the sums of its lower and upper ends.
    aged: usize,
    age_low: f64,
    age_high: f64,
}

/// A frame with faces.
#[derive(Debug, Default)]
pub(super) struct Frame {
    pub(super) timestamp_ms: i64,
    pub(super) faces: usize,
    pub(super) boxes: Vec<BoundingBox>,
}

impl Timeline {
    /// An empty timeline for a video of this length.
    pub(crate) fn new(duration_ms: Option<u64>) -> Self {
        let [shorter @ .., longest] = &BIN_LENGTHS;
        let fits = |bin_ms: &&u64| duration_ms.is_some_and(|duration| duration.div_ceil(**bin_ms) <= MOST_BINS);
        let bin_ms = *shorter.iter().find(fits).unwrap_or(longest);
        Self { bin_ms: bin_ms.cast_signed(), bins: BTreeMap::new(), frame: None }
    }

    /// Adds a face. The faces are ordered by time, so that the faces of one frame follow each other.
    pub(crate) fn add(&mut self, timestamp_ms: i64, face: &Face) {
        if self.frame.as_ref().is_none_or(|frame| frame.timestamp_ms != timestamp_ms) {
            self.end_frame();
        }
        let frame = self.frame.get_or_insert_with(|| Frame { timestamp_ms, ..Frame::default() });
        frame.faces += 1;
        frame.boxes.extend(face.bounding_box);

        let bin = self.bins.entry(timestamp_ms.div_euclid(self.bin_ms)).or_default();
        bin.faces += 1;
        bin.confidence += face.confidence.unwrap_or_default();
        if let Some(emotion) = face.emotion() {
            bin.emotions[emotion as usize] += 1;
        }
        if let Some(age) = face.age_range {
            bin.aged += 1;
            bin.age_low += age.low;
            bin.age_high += age.high;
        }
    }

    /// Ends the last frame, after the last face was added.
    pub(crate) fn end_frame(&mut self) {
        let Some(frame) = self.frame.take() else { return };
        let bin = self.bins.entry(frame.timestamp_ms.div_euclid(self.bin_ms)).or_default();
        bin.frames += 1;
        if frame.faces > bin.busiest.faces {
            bin.busiest = frame;
        }
    }

    /// The length of the charts: that of the video, or a little more if a face is after its end.
    pub(super) fn length_ms(&self, duration_ms: Option<u64>) -> i64 {
        let last = self.bins.last_key_value().map_or(0, |(index, _)| (index + 1) * self.bin_ms);
        let duration = duration_ms.and_then(|duration| i64::try_from(duration).ok()).unwrap_or_default();
        // A last bin that extends past the end is cut there.
        if last - duration < self.bin_ms && duration > 0 { duration } else { last.max(self.bin_ms) }
    }

    /// The busiest frames in the order of the video: at most `most`. They are spread over the video: two of them are at least
    /// the length of the charts divided by `2 * most` apart, and not in neighbouring bins. Of frames that are equally busy, the one
    /// is chosen that is the farthest from those that were already chosen.
    pub(super) fn busiest(&self, most: usize, length_ms: i64) -> Vec<&Frame> {
        let apart_ms = (length_ms / i64::try_from(2 * most.max(1)).unwrap_or(i64::MAX)).unsigned_abs();
        let mut chosen: Vec<(i64, &Frame)> = Vec::new();
        while chosen.len() < most {
            let candidates = self.bins.iter().filter_map(|(&index, Bin { busiest, .. })| {
                let nearest = chosen.iter().map(|(_, other)| busiest.timestamp_ms.abs_diff(other.timestamp_ms)).min();
                let is_neighbour = chosen.iter().any(|(other, _)| other.abs_diff(index) <= 1);
                let is_near = is_neighbour || nearest.is_some_and(|nearest| nearest < apart_ms);
                (!is_near).then_some((index, busiest, nearest))
            });
            let next = candidates.max_by_key(|(index, busiest, nearest)| (busiest.faces, *nearest, Reverse(*index)));
            let Some((index, frame, _)) = next else { break };
            chosen.push((index, frame));
        }
        chosen.sort_by_key(|(index, _)| *index);
        chosen.into_iter().map(|(_, frame)| frame).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "fewer faces than 2^52")]
impl Bin {
    /// The mean confidence of its faces, from 0 to 100.
    pub(super) fn mean_confidence(&self) -> f64 {
        self.confidence / self.faces as f64
    }

    /// The means of the lower and upper ends of the age ranges, in years.
    pub(super) fn mean_age(&self) -> Option<(f64, f64)> {
        let aged = self.aged as f64;
        (self.aged > 0).then(|| (self.age_low / aged, self.age_high / aged))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn face(confidence: f64) -> Face {
        serde_json::from_value(json!({ "Confidence": confidence })).unwrap()
    }

    #[test]
    fn no_video_has_more_bins_than_a_page_bears() {
        for minutes in [0, 1, 2, 3, 10, 59, 60, 61, 359, 360] {
            let duration_ms = minutes * 60_000 + 17;
            let bin_ms = Timeline::new(Some(duration_ms)).bin_ms.cast_unsigned();
            assert!(duration_ms.div_ceil(bin_ms) <= MOST_BINS, "{minutes} minutes in bins of {bin_ms} ms");
        }
        assert_eq!(Timeline::new(Some(12_000)).bin_ms, 500);
        assert_eq!(Timeline::new(Some(6 * 3_600_000)).bin_ms, 120_000);
        assert_eq!(Timeline::new(None).bin_ms, 120_000);
    }

    #[test]
    fn a_bin_keeps_the_first_of_its_busiest_frames() {
        let mut timeline = Timeline::new(Some(200_000));
        for (timestamp_ms, confidence) in [(0, 90.0), (200, 80.0), (200, 70.0), (400, 60.0), (400, 50.0)] {
            timeline.add(timestamp_ms, &face(confidence));
        }
        timeline.end_frame();
        let bin = &timeline.bins[&0];
        assert_eq!((bin.faces, bin.frames, bin.busiest.timestamp_ms, bin.busiest.faces), (5, 3, 200, 2));
        assert!((bin.mean_confidence() - 70.0).abs() < 1e-9);
    }

    /// A timeline with this number of faces every half second, and the times and faces of its busiest moments.
    fn busiest(faces: impl IntoIterator<Item = usize>, most: usize) -> Vec<(i64, usize)> {
        let faces: Vec<_> = faces.into_iter().collect();
        let duration = 500 * faces.len() as u64;
        let mut timeline = Timeline::new(Some(duration));
        for (moment, faces) in (0..).zip(faces) {
            (0..faces).for_each(|_| timeline.add(moment * 500, &face(99.0)));
        }
        timeline.end_frame();
        let length_ms = timeline.length_ms(Some(duration));
        timeline.busiest(most, length_ms).into_iter().map(|frame| (frame.timestamp_ms, frame.faces)).collect()
    }

    #[test]
    fn the_busiest_moments_are_apart_and_in_order() {
        assert_eq!(busiest([2, 9, 8, 1, 7, 0, 3], 3), [(500, 9), (2000, 7), (3000, 3)]);
    }

    #[test]
    fn a_peak_is_shown_as_one_moment_and_the_rest_of_the_video_as_well() {
        // A crowd for ten of a hundred seconds, and one or two faces otherwise.
        let faces = (0..200).map(|moment| if (40..60).contains(&moment) { 20 + moment % 5 } else { 1 + moment / 190 });
        let shown = busiest(faces, 5);
        assert_eq!(shown.iter().filter(|(_, faces)| *faces >= 20).count(), 1, "{shown:?}");
        assert_eq!(shown.len(), 5);
        assert!(shown.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 10_000), "{shown:?}");
        assert!(shown.iter().any(|(_, faces)| *faces == 2), "the second peak is missing: {shown:?}");
    }

    #[test]
    fn moments_that_are_equally_busy_are_spread_over_the_whole_video() {
        let shown = busiest(std::iter::repeat_n(3, 200), 5);
        assert_eq!(shown.len(), 5);
        assert!(shown[0].0 < 10_000 && shown[4].0 > 90_000, "{shown:?}");
        assert!(shown.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 20_000), "{shown:?}");
    }

    #[test]
    fn the_charts_end_with_the_video() {
        let mut timeline = Timeline::new(Some(11_900));
        assert_eq!(timeline.length_ms(Some(11_900)), 11_900);
        timeline.add(11_800, &face(99.0));
        assert_eq!(timeline.length_ms(Some(11_900)), 11_900);
        timeline.add(13_000, &face(99.0));
        assert_eq!(timeline.length_ms(Some(11_900)), 13_500);
        assert_eq!(timeline.length_ms(None), 13_500);
    }
}
