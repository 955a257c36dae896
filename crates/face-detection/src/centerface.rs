//! The `CenterFace` network: faces and five landmarks of one picture.

use std::path::{Path, PathBuf};

use rten::ModelOptions;

use crate::frame::Frame;
use crate::model::{self, SHA256};
use crate::network::{Network, Worker};

/// Faces below this score, of at most 1.0, are not reported.
const THRESHOLD: f32 = 0.5;
/// Two boxes that overlap more than this (intersection over union) are the same face; the one with the lower score is dropped.
const SAME_FACE: f32 = 0.3;
/// The sampling interval in milliseconds.
pub(super) const INTERVAL_MILLIS: i64 = 500;
/// The longer side of the picture that the network sees, in pixels.
const INPUT_SIDE: usize = 640;
/// The network halves its input five times.
const INPUT_MULTIPLE: usize = 32;
/// One cell of the network's output spans this many pixels of its input.
const CELL: f32 = 4.0;

/// Finds the faces in a video with the `CenterFace` network: see [`Detector`](crate::Detector).
pub struct CenterFace {
    pub(super) network: Network,
    /// The sampling interval in milliseconds: the first frame shown in each interval is analysed.
    pub(super) interval_millis: i64,
}

/// Why the network could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("the face model {path} cannot be read; fetch it again")]
    Read {
        /// The model file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is not the expected model.
    #[error("{path} is not the CenterFace model (its sha256 is {found}, not {expected}); delete it and fetch it again", expected = SHA256)]
    NotTheModel {
        /// The model file.
        path: PathBuf,
        /// Its sha256, in hexadecimal.
        found: String,
    },
    /// The inference engine cannot load the model.
    #[error("the inference engine cannot load the face model")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A face in pixels of the analysed picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Face {
    pub(super) left: f32,
    pub(super) top: f32,
    pub(super) right: f32,
    pub(super) bottom: f32,
    /// 0.0 to 1.0.
    pub(super) score: f32,
    /// x and y of the left eye, right eye, nose, left and right corner of the mouth, as the viewer sees left.
    pub(super) landmarks: [(f32, f32); 5],
}

impl CenterFace {
    /// Loads the network from `model`, the file that [`crate::model::fetch`] provides.
    ///
    /// # Errors
    /// [`LoadError`] when the file cannot be read or is not the expected model.
    pub fn load(model: &Path) -> Result<Self, LoadError> {
        let mut bytes = std::fs::read(model).map_err(|source| LoadError::Read { path: model.to_owned(), source })?;
        let found = model::sha256(&bytes);
        if found != SHA256 {
            return Err(LoadError::NotTheModel { path: model.to_owned(), found });
        }
        free_input_shape(&mut bytes);
        let model = ModelOptions::with_all_ops().load(bytes).map_err(|error| LoadError::Engine(error.into()))?;
        Ok(Self { network: Network::new(model)?, interval_millis: INTERVAL_MILLIS })
    }

    /// The same detector, which analyses the first frame shown in every `interval_millis` instead of every half second.
    #[must_use]
    pub fn with_interval(self, interval_millis: i64) -> Self {
        Self { interval_millis: interval_millis.max(1), ..self }
    }

    /// The faces of one picture, ordered by score, the highest first.
    pub(super) fn detect(
        &self,
        worker: &Worker,
        frame: &Frame,
    ) -> Result<Vec<Face>, Box<dyn std::error::Error + Send + Sync>> {
        let fit = Fit::new(frame.width, frame.height);
        let input = fit.input(frame);
        let [heat, size, offset, points] = self.network.run(worker, &input, fit.padded_height, fit.padded_width)?;
        let maps = Maps { columns: fit.padded_width / 4, heat, size, offset, points };
        Ok(suppress(maps.faces()).into_iter().map(|face| fit.to_frame(face)).collect())
    }
}

/// Replaces the declared input shape of the model by one picture of any size.
///
/// The model file declares the shape that it was exported with, 10 x 3 x 32 x 32, though its operators accept any. The new
/// dimensions have the same encoded length: an empty denotation (field 3) declares a dimension without a size.
fn free_input_shape(model: &mut [u8]) {
    const DECLARED: [u8; 16] = [10, 2, 8, 10, 10, 2, 8, 3, 10, 2, 8, 32, 10, 2, 8, 32];
    const FREE: [u8; 16] = [10, 2, 8, 1, 10, 2, 8, 3, 10, 2, 26, 0, 10, 2, 26, 0];
    // The declaration follows the weights, so the last match is the declaration.
    if let Some(at) = model.windows(DECLARED.len()).rposition(|window| window == DECLARED) {
        model[at..at + FREE.len()].copy_from_slice(&FREE);
    }
}

/// How a picture is fitted into the network's input: scaled to `INPUT_SIDE`, padded at the right and the bottom.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Fit {
    width: usize,
    height: usize,
    padded_width: usize,
    padded_height: usize,
    /// Frame pixels per input pixel.
    across: f32,
    down: f32,
}

#[allow(clippy::cast_precision_loss)] // pixel counts
impl Fit {
    fn new(frame_width: usize, frame_height: usize) -> Self {
        let longer = frame_width.max(frame_height);
        let [width, height] =
            [frame_width, frame_height].map(|side| ((side * INPUT_SIDE + longer / 2) / longer).max(1));
        Self {
            width,
            height,
            padded_width: width.next_multiple_of(INPUT_MULTIPLE),
            padded_height: height.next_multiple_of(INPUT_MULTIPLE),
            across: frame_width as f32 / width as f32,
            down: frame_height as f32 / height as f32,
        }
    }

    fn input(self, frame: &Frame) -> Vec<f32> {
        let mut input = Vec::with_capacity(3 * self.padded_width * self.padded_height);
        for plane in frame.to_rgb(self.width, self.height) {
            for row in plane.chunks_exact(self.width) {
                input.extend_from_slice(row);
                input.resize(input.len() + self.padded_width - self.width, 0.0);
            }
            input.resize(input.len() + (self.padded_height - self.height) * self.padded_width, 0.0);
        }
        input
    }

    fn to_frame(self, face: Face) -> Face {
        Face {
            left: face.left * self.across,
            top: face.top * self.down,
            right: face.right * self.across,
            bottom: face.bottom * self.down,
            score: face.score,
            landmarks: face.landmarks.map(|(x, y)| (x * self.across, y * self.down)),
        }
    }
}

/// The network's four outputs, each channel a map of cells row by row.
struct Maps {
    columns: usize,
    /// The score that a face has its centre in the cell.
    heat: Vec<f32>,
    /// Logarithms of height and width, in cells.
    size: Vec<f32>,
    /// Down and across, from the cell's centre to the face's, in cells.
    offset: Vec<f32>,
    /// Down and across for each landmark, in box heights and widths from the box's corner.
    points: Vec<f32>,
}

#[allow(clippy::cast_precision_loss)] // cell numbers
impl Maps {
    fn faces(&self) -> Vec<Face> {
        let cells = self.heat.len();
        let hot = self.heat.iter().enumerate().filter(|(_, score)| **score > THRESHOLD);
        hot.map(|(cell, &score)| {
            let at = |map: &[f32], channel: usize| map[channel * cells + cell];
            let (row, column) = ((cell / self.columns) as f32, (cell % self.columns) as f32);
            let (height, width) = (at(&self.size, 0).exp() * CELL, at(&self.size, 1).exp() * CELL);
            let left = (column + at(&self.offset, 1) + 0.5) * CELL - width / 2.0;
            let top = (row + at(&self.offset, 0) + 0.5) * CELL - height / 2.0;
            let landmarks = [0, 2, 4, 6, 8].map(|channel| {
                (left + at(&self.points, channel + 1) * width, top + at(&self.points, channel) * height)
            });
            Face { left, top, right: left + width, bottom: top + height, score, landmarks }
        })
        .collect()
    }
}

/// Keeps the highest score of the boxes that show the same face, and orders the faces by score, the highest first.
fn suppress(mut faces: Vec<Face>) -> Vec<Face> {
    faces.sort_by(|one, other| other.score.total_cmp(&one.score));
    let mut kept: Vec<Face> = Vec::new();
    for face in faces {
        if kept.iter().all(|kept| overlap(kept, &face) <= SAME_FACE) {
            kept.push(face);
        }
    }
    kept
}

/// Intersection over union.
fn overlap(one: &Face, other: &Face) -> f32 {
    let width = one.right.min(other.right) - one.left.max(other.left);
    let height = one.bottom.min(other.bottom) - one.top.max(other.top);
    if width <= 0.0 || height <= 0.0 {
        return 0.0;
    }
    let area = |face: &Face| (face.right - face.left) * (face.bottom - face.top);
    let shared = width * height;
    shared / (area(one) + area(other) - shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(left: f32, width: f32, score: f32) -> Face {
        Face { left, top: 10.0, right: left + width, bottom: 10.0 + width, score, landmarks: [(0.0, 0.0); 5] }
    }

    #[test]
    fn of_boxes_on_one_face_the_highest_score_is_kept() {
        let (weak, sure, neighbour) = (face(102.0, 50.0, 0.6), face(100.0, 50.0, 0.9), face(148.0, 50.0, 0.7));
        assert_eq!(suppress(vec![weak, neighbour, sure]), [sure, neighbour]);
    }

    #[test]
    fn overlap_is_the_intersection_over_the_union() {
        assert!((overlap(&face(0.0, 10.0, 1.0), &face(5.0, 10.0, 1.0)) - 1.0 / 3.0).abs() < 1e-6);
        assert!((overlap(&face(0.0, 10.0, 1.0), &face(0.0, 10.0, 1.0)) - 1.0).abs() < 1e-6);
        assert!(overlap(&face(0.0, 10.0, 1.0), &face(10.0, 10.0, 1.0)).abs() < 1e-6);
    }

    #[test]
    fn pictures_of_any_shape_keep_their_aspect() {
        let fit = |width, height| {
            let fit = Fit::new(width, height);
            (fit.width, fit.height, fit.padded_width, fit.padded_height)
        };
        assert_eq!(fit(1280, 720), (640, 360, 640, 384));
        assert_eq!(fit(1080, 1920), (360, 640, 384, 640));
        assert_eq!(fit(322, 182), (640, 362, 640, 384));
        assert_eq!(fit(4096, 16), (640, 3, 640, 32));
        assert_eq!(fit(1, 4096), (1, 640, 32, 640));
    }

    #[test]
    fn faces_are_mapped_to_pixels_of_the_frame() {
        let mapped = Fit::new(1920, 1080).to_frame(face(100.0, 50.0, 0.9));
        assert_eq!((mapped.left, mapped.top, mapped.right, mapped.bottom), (300.0, 30.0, 450.0, 180.0));
    }

    #[test]
    fn a_cell_with_a_high_score_becomes_a_box_around_its_middle() {
        // Two columns and one row; the second cell has a face: half a cell to the right, 2 cells high and 1 wide.
        let maps = Maps {
            columns: 2,
            heat: vec![0.1, 0.8],
            size: vec![0.0, 2.0_f32.ln(), 0.0, 0.0],
            offset: vec![0.0, 0.0, 0.0, 0.5],
            points: [0.5; 20].to_vec(),
        };
        let [face] = maps.faces()[..] else { panic!("one face") };
        assert_eq!((face.left, face.top, face.right, face.bottom), (6.0, -2.0, 10.0, 6.0));
        assert_eq!(face.landmarks[2], (8.0, 2.0));
    }
}
