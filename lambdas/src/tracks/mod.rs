//! Tracks: the detections that belong to one face through time.
//!
//! Rekognition looks for faces about twice a second and does not say which of them belong together. [`Tracker`] joins them by motion
//! and overlap. For each track it predicts where the face is at the next moment, from the velocity that the track had; then it
//! assigns the faces of that moment to the tracks so that all distances together are as small as possible. So two faces that
//! cross keep their tracks. A face without a track begins one, and a track without a face for more than a second ends.
//!
//! A track is not a person, and no face is recognised: only places and times are compared.
//!
//! The memory of a [`Tracker`] does not depend on the length of the video: it holds the faces of one moment and the tracks that
//! have not ended, and of each track at most [`MOST_DETECTIONS`] detections. A longer track is returned in parts.

pub mod assignment;
mod live;
mod rect;
#[cfg(test)]
mod tests;

use self::{
    live::{Expected, LiveTrack},
    rect::Rect,
};
use crate::{
    face::{BoundingBox, Face},
    results::Track,
};

/// The most detections in a part of a track: ten minutes at two a second. It bounds the memory of the function and the length of a
/// line.
pub const MOST_DETECTIONS: usize = 1200;

/// The longest time between two detections of one track: a second, in which the face is missed once, and a part of the time
/// between two frames, because samples are not exactly half a second apart.
const LONGEST_GAP_MS: i64 = 1250;

/// The ratio of width and height that is assumed if Rekognition does not report one.
const USUAL_ASPECT: f64 = 16.0 / 9.0;

/// A face at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// The number of its line, counted over all pages from 0.
    pub face: usize,
    /// Milliseconds from the start of the video.
    pub timestamp_ms: i64,
    /// Left, top, width and height, as ratios of the frame's width and height.
    pub bounding_box: [f32; 4],
    /// 0 to 100.
    pub confidence: f64,
    /// How well the face can be seen, apart from its size: its sharpness times how frontal it is, from 0 to 1. 1 if neither is known.
    pub clarity: f64,
}

impl Detection {
    /// A line of a page; `None` for a face without a box.
    pub(crate) fn new(index: usize, timestamp_ms: i64, face: &Face) -> Option<Self> {
        let BoundingBox { left, top, width, height } = face.bounding_box?;
        Some(Self {
            face: index,
            timestamp_ms,
            bounding_box: [left, top, width, height],
            confidence: face.confidence.unwrap_or_default(),
            clarity: face.sharpness() * face.frontality(),
        })
    }
}

/// Joins detections to tracks, in one pass over the faces in the order of time.
#[derive(Debug)]
pub struct Tracker {
    /// The width of the frame divided by its height.
    aspect: f64,
    /// The faces of the moment that is being read.
    moment: Vec<(Detection, Rect)>,
    /// The tracks that have not ended, in the order of their ids.
    live: Vec<LiveTrack>,
    /// What was not yet taken with [`Tracker::take_ended`].
    ended: Vec<Track>,
    /// The number of tracks so far.
    tracks: usize,
}

impl Tracker {
    /// A tracker for a video whose frames have this width and height, if they are known.
    #[must_use]
    pub fn new(frame: Option<(u64, u64)>) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a frame has fewer than 2^52 pixels")]
        let aspect = match frame {
            Some((width, height)) if width.min(height) > 0 => width as f64 / height as f64,
            _ => USUAL_ASPECT,
        };
        Self { aspect, moment: Vec::new(), live: Vec::new(), ended: Vec::new(), tracks: 0 }
    }

    /// Adds the next face. The faces are ordered by time; the order of the faces of one moment has no effect on the tracks. A face
    /// whose box has no size belongs to no track.
    pub fn add(&mut self, detection: Detection) {
        if self.moment.first().is_some_and(|(first, _)| first.timestamp_ms != detection.timestamp_ms) {
            self.end_moment();
        }
        self.moment.extend(Rect::new(detection.bounding_box, self.aspect).map(|rect| (detection, rect)));
    }

    /// The parts of tracks that have ended since the last call, in the order of their last detections.
    pub fn take_ended(&mut self) -> Vec<Track> {
        std::mem::take(&mut self.ended)
    }

    /// Ends every track, after the last face was added. Returns the number of tracks in the video.
    pub fn finish(&mut self) -> usize {
        self.end_moment();
        self.end_tracks(|_| true);
        self.tracks
    }

    /// Assigns the faces of a moment that is complete to the tracks.
    fn end_moment(&mut self) {
        let mut moment = std::mem::take(&mut self.moment);
        let Some((first, _)) = moment.first() else { return };
        let now = first.timestamp_ms;
        self.end_tracks(|track| !(0..=LONGEST_GAP_MS).contains(&now.saturating_sub(track.seen_ms())));
        // From the left to the right: an order that does not depend on the order of the lines.
        moment.sort_by(|(one, rect), (other, other_rect)| {
            rect.order(*other_rect).then_with(|| one.face.cmp(&other.face))
        });
        let assigned = self.assign(now, &moment);
        let mut free = vec![true; moment.len()];
        for (track, index) in self.live.iter_mut().zip(assigned) {
            let Some(index) = index else { continue };
            free[index] = false;
            let (detection, rect) = &moment[index];
            self.ended.extend(track.add(detection, *rect));
        }
        for ((detection, rect), _) in moment.iter().zip(&free).filter(|(_, free)| **free) {
            self.live.push(LiveTrack::begin(self.tracks, detection, *rect));
            self.tracks += 1;
        }
    }

    /// The index of each track's face in a moment, whose faces are sorted from the left to the right.
    fn assign(&self, now: i64, moment: &[(Detection, Rect)]) -> Vec<Option<usize>> {
        let expected: Vec<_> = self.live.iter().map(|track| track.expected_at(now)).collect();
        let candidates = |expected: &Expected| {
            let (from, to) = expected.between();
            let first = moment.partition_point(|(_, rect)| rect.x < from);
            let near = moment.iter().enumerate().skip(first).take_while(|(_, (_, rect))| rect.x <= to);
            near.filter_map(|(index, (_, rect))| Some((index, expected.cost(*rect)?))).collect()
        };
        let candidates: Vec<Vec<_>> = expected.iter().map(candidates).collect();
        let unassigned: Vec<_> = expected.iter().map(Expected::cost_of_none).collect();
        assignment::assign(&candidates, moment.len(), &unassigned)
    }

    /// Ends the tracks that have ended, in the order of their last detections and then of their ids.
    fn end_tracks(&mut self, has_ended: impl Fn(&LiveTrack) -> bool) {
        let mut ended: Vec<_> = self.live.extract_if(.., |track| has_ended(track)).collect();
        ended.sort_by_key(|track| track.seen_ms());
        self.ended.extend(ended.into_iter().map(LiveTrack::end));
    }
}
