//! Detections, by the moments of the video at which Rekognition has looked for faces.

use std::collections::HashMap;

use futures_util::{Stream, TryStreamExt as _};
use lambdas::results::Track;
use serde_json::Value;

use crate::stored::StoredError;

/// A moment that shows at least one face.
#[derive(Debug)]
pub(super) struct FacesAt {
    /// Milliseconds from the start of the video.
    pub ms: i64,
    /// The end of what is known about the moment: the next moment with a face, at most [`LOOK_MS`](super::LOOK_MS) later.
    pub end_ms: i64,
    /// The faces, in the order of the lines.
    pub faces: Vec<TrackedFace>,
}

/// A face at a moment.
#[derive(Debug)]
pub(super) struct TrackedFace {
    /// The number of the line, counted over all pages from 0.
    pub line: usize,
    /// The id of its track; `None` for a face without a box, and in a result without tracks.
    pub track: Option<usize>,
    /// Rekognition's `FaceDetail`.
    pub detail: Value,
}

impl TrackedFace {
    /// Left, top, width and height as ratios of the frame.
    pub fn bounding_box(&self) -> Option<[f64; 4]> {
        bounding_box(&self.detail)
    }

    /// 0 to 100.
    pub fn confidence(&self) -> Option<f64> {
        self.detail["Confidence"].as_f64()
    }
}

fn bounding_box(detail: &Value) -> Option<[f64; 4]> {
    let side = |name: &str| detail["BoundingBox"][name].as_f64();
    Some([side("Left")?, side("Top")?, side("Width")?, side("Height")?])
}

/// Finds the track of each face, in the order of the faces.
///
/// A track is stored after its last detection, so the tracks are read ahead of the faces: up to the end of the longest part of a track,
/// which has 1,200 detections or about ten minutes. In memory are the numbers of the faces that were read ahead, and no boxes.
pub(super) struct TracksOfFaces<S> {
    tracks: S,
    /// The track of each face that was read ahead.
    ahead: HashMap<usize, usize>,
}

impl<S: Stream<Item = Result<Track, StoredError>> + Unpin> TracksOfFaces<S> {
    pub fn new(tracks: S) -> Self {
        Self { tracks, ahead: HashMap::new() }
    }

    /// The track of the face on this line. The lines are asked for in order.
    ///
    /// # Errors
    /// [`StoredError`], if the tracks cannot be read.
    pub async fn of(&mut self, line: usize, detail: &Value) -> Result<Option<usize>, StoredError> {
        // A face whose box has no size belongs to no track; all tracks would be read for it.
        if !bounding_box(detail).is_some_and(|[_, _, width, height]| width > 0.0 && height > 0.0) {
            return Ok(None);
        }
        loop {
            if let Some(track) = self.ahead.remove(&line) {
                return Ok(Some(track));
            }
            let Some(part) = self.tracks.try_next().await? else { return Ok(None) };
            self.ahead.extend(part.faces.iter().filter(|face| **face >= line).map(|face| (*face, part.id)));
        }
    }
}
