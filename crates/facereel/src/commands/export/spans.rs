//! Tracks in the order of their starts.

use std::{collections::BTreeMap, mem};

use lambdas::results::{BestMoment, Track};

/// A whole track, without its boxes: when the face is on the screen.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Span {
    /// The id of the track.
    pub id: usize,
    /// The first detection, in milliseconds from the start of the video.
    pub first_ms: i64,
    /// The last detection, in milliseconds from the start of the video.
    pub last_ms: i64,
    /// The number of detections.
    pub detections: usize,
    /// The mean confidence of the detections, from 0 to 100.
    pub mean_confidence: f64,
    /// The detection in which the face can be seen best; of a track of several parts, the largest of the best of each part.
    pub best: BestMoment,
}

impl Span {
    fn new(part: &Track) -> Self {
        let &Track { id, first_ms, last_ms, detections, mean_confidence, best, .. } = part;
        Self { id, first_ms, last_ms, detections, mean_confidence, best }
    }

    /// Adds the next part of the track.
    fn extend(&mut self, part: &Track) {
        #[expect(clippy::cast_precision_loss, reason = "a track has at most a face a moment")]
        let [before, added] = [self.detections, part.detections].map(|count| count as f64);
        let mean = (self.mean_confidence * before + part.mean_confidence * added) / (before + added);
        self.mean_confidence = (mean * 1e4).round() / 1e4;
        self.detections += part.detections;
        self.last_ms = part.last_ms;
        let area = |best: &BestMoment| best.bounding_box[2] * best.bounding_box[3];
        if area(&part.best) > area(&self.best) {
            self.best = part.best;
        }
    }
}

/// Puts tracks, which are stored in the order of their ends and in parts, in the order of their starts.
///
/// The ids count the tracks in the order of their starts, so a track is returned as soon as every track with a smaller id is complete.
/// Until then, about a hundred bytes of it are in memory: the boxes are not kept.
#[derive(Debug, Default)]
pub(super) struct SpansByStart {
    /// The id of the next track to return.
    next: usize,
    /// The tracks that were read and not returned, and whether they are complete.
    waiting: BTreeMap<usize, (Span, bool)>,
}

impl SpansByStart {
    /// Adds the next line of the tracks.
    pub fn add(&mut self, part: &Track) {
        let (_, complete) = self
            .waiting
            .entry(part.id)
            .and_modify(|(span, _)| span.extend(part))
            .or_insert_with(|| (Span::new(part), false));
        *complete = !part.continues;
    }

    /// The next track, if every line of it was added.
    pub fn next_complete(&mut self) -> Option<Span> {
        let (span, complete) = self.waiting.get(&self.next)?;
        let span = complete.then(|| span.clone())?;
        self.waiting.remove(&self.next);
        self.next += 1;
        Some(span)
    }

    /// All other tracks, after the last line was added.
    pub fn finish(&mut self) -> impl Iterator<Item = Span> {
        mem::take(&mut self.waiting).into_values().map(|(span, _)| span)
    }
}
