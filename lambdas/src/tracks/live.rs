//! A track that has not ended: its motion, and the part of it that is being collected.

use super::{Detection, MOST_DETECTIONS, rect::Rect};
use crate::results::{BestMoment, Track};

/// How far a face can be from where it is expected, in its sizes, if its velocity is known. Twice that after a missed detection.
const REACH: f64 = 1.5;

/// How far a face can be after the first detection of its track, when its velocity is unknown.
const FIRST_REACH: f64 = 3.0;

/// How many times larger or smaller a face can be at the next detection.
const MOST_GROWTH: f64 = 1.75;

/// The usual time between two detections in milliseconds.
const USUAL_INTERVAL_MS: f64 = 500.0;

/// A track that has not ended.
#[derive(Debug)]
pub(super) struct LiveTrack {
    /// The last detection's box, and its time.
    rect: Rect,
    seen_ms: i64,
    /// Between the last two detections, in heights of the frame per millisecond. `None` until the second detection.
    velocity: Option<(f64, f64)>,
    part: Part,
}

impl LiveTrack {
    /// Begins a track.
    pub(super) fn begin(id: usize, detection: &Detection, rect: Rect) -> Self {
        let mut part = Part::new(id, 0);
        part.add(detection);
        Self { rect, seen_ms: detection.timestamp_ms, velocity: None, part }
    }

    /// The time of the last detection.
    pub(super) fn seen_ms(&self) -> i64 {
        self.seen_ms
    }

    /// Where the face is expected at a time.
    pub(super) fn expected_at(&self, now: i64) -> Expected {
        let passed = milliseconds(self.seen_ms, now);
        match self.velocity {
            None => Expected { rect: self.rect, reach: FIRST_REACH },
            Some((x, y)) => Expected {
                rect: Rect { x: self.rect.x + x * passed, y: self.rect.y + y * passed, ..self.rect },
                reach: REACH * (passed / USUAL_INTERVAL_MS).clamp(1.0, 2.0),
            },
        }
    }

    /// Adds the next detection. If the current part of the track is full, the detection begins the next part, and the full one is
    /// returned.
    pub(super) fn add(&mut self, detection: &Detection, rect: Rect) -> Option<Track> {
        let passed = milliseconds(self.seen_ms, detection.timestamp_ms);
        self.velocity = Some(((rect.x - self.rect.x) / passed, (rect.y - self.rect.y) / passed));
        (self.rect, self.seen_ms) = (rect, detection.timestamp_ms);

        let full = (self.part.faces.len() == MOST_DETECTIONS).then(|| {
            let next = Part::new(self.part.id, self.part.number + 1);
            std::mem::replace(&mut self.part, next).finish(true)
        });
        self.part.add(detection);
        full
    }

    /// Ends the track; returns its last part.
    pub(super) fn end(self) -> Track {
        self.part.finish(false)
    }

    /// The number of detections that are held.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.part.faces.len()
    }
}

/// The milliseconds from one moment to a later one.
#[expect(clippy::cast_precision_loss, reason = "two moments are less than 2^52 milliseconds apart")]
fn milliseconds(from: i64, to: i64) -> f64 {
    to.saturating_sub(from).max(1) as f64
}

/// Where the face of a track is expected.
#[derive(Debug)]
pub(super) struct Expected {
    rect: Rect,
    /// The longest distance to it, in sizes of the face.
    reach: f64,
}

impl Expected {
    /// Where the middle of the face can be, from the left to the right.
    pub(super) fn between(&self) -> (f64, f64) {
        // The distance is measured in the mean of two sizes, of which the other is at most `MOST_GROWTH` times as large.
        let longest = self.reach * self.rect.size() * f64::midpoint(1.0, MOST_GROWTH);
        (self.rect.x - longest, self.rect.x + longest)
    }

    /// How badly a face fits; `None` if it cannot be the expected one. The square of the distance keeps two tracks apart whose faces
    /// move along one line: the sum of the distances is the same for both assignments.
    pub(super) fn cost(&self, face: Rect) -> Option<f64> {
        let distance = self.rect.distance(face);
        let fits = distance <= self.reach && self.rect.growth(face) <= MOST_GROWTH;
        fits.then(|| distance * distance + 1.0 - self.rect.overlap(face))
    }

    /// The cost of no face: that of the worst one that fits.
    pub(super) fn cost_of_none(&self) -> f64 {
        self.reach * self.reach + 1.0
    }
}

/// The detections of a track that were not yet returned.
#[derive(Debug)]
struct Part {
    id: usize,
    number: usize,
    timestamps_ms: Vec<i64>,
    faces: Vec<usize>,
    boxes: Vec<[f32; 4]>,
    confidence: f64,
    /// The index of the best detection, and its score.
    best: usize,
    best_score: f64,
}

impl Part {
    fn new(id: usize, number: usize) -> Self {
        Self {
            id,
            number,
            timestamps_ms: Vec::new(),
            faces: Vec::new(),
            boxes: Vec::new(),
            confidence: 0.0,
            best: 0,
            best_score: f64::NEG_INFINITY,
        }
    }

    fn add(&mut self, detection: &Detection) {
        let score = visible_area(detection.bounding_box) * detection.clarity;
        if score > self.best_score {
            (self.best, self.best_score) = (self.faces.len(), score);
        }
        self.timestamps_ms.push(detection.timestamp_ms);
        self.faces.push(detection.face);
        self.boxes.push(detection.bounding_box.map(rounded));
        self.confidence += detection.confidence;
    }

    fn finish(self, continues: bool) -> Track {
        let Self { id, number, timestamps_ms, faces, boxes, confidence, best, .. } = self;
        #[expect(clippy::cast_precision_loss, reason = "a part has a thousand detections")]
        let mean_confidence = confidence / faces.len() as f64;
        Track {
            id,
            part: number,
            continues,
            first_ms: timestamps_ms[0],
            last_ms: timestamps_ms[timestamps_ms.len() - 1],
            detections: faces.len(),
            mean_confidence: (mean_confidence * 1e4).round() / 1e4,
            best: BestMoment { timestamp_ms: timestamps_ms[best], face: faces[best], bounding_box: boxes[best] },
            timestamps_ms,
            faces,
            boxes,
        }
    }
}

/// The area of the part of a box that is inside the frame, as a share of the frame.
fn visible_area([left, top, width, height]: [f32; 4]) -> f64 {
    let inside = |from: f32, length: f32| f64::from(((from + length).min(1.0) - from.max(0.0)).max(0.0));
    inside(left, width) * inside(top, height)
}

/// A ratio in steps of a ten-thousandth: less than a pixel of most videos.
#[expect(clippy::cast_possible_truncation, reason = "the value is that of an f32")]
fn rounded(ratio: f32) -> f32 {
    ((f64::from(ratio) * 1e4).round() / 1e4) as f32
}
