//! Hides rectangles of uncompressed video pictures in planar YUV.
//!
//! It is a separate crate so that a debug build can optimise only this crate.

use std::ops::Range;

/// The cells across the longer side of a hidden rectangle. A face fills about two thirds of it, so four cells: less than a face
/// detector or a person needs, and every value that remains of the face is one of these means.
pub const CELLS: usize = 6;

/// How a rectangle is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// A smooth blur: the colours between the means of at most [`CELLS`] times [`CELLS`] cells.
    #[default]
    Blur,
    /// The means of the cells.
    Pixelate,
    /// Black. Nothing of the picture remains.
    Box,
}

/// The format of the samples of a picture: planes Y, U and V, row by row without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// The bits of a sample: 8, or up to 16, which are stored in two bytes, the lower one first.
    pub bits: u32,
    /// The base-2 logarithm of the columns of the picture for a sample of U and V: 1 in 4:2:0 and 4:2:2, 0 in 4:4:4.
    pub chroma_across: u32,
    /// The base-2 logarithm of the rows of the picture for a sample of U and V: 1 in 4:2:0.
    pub chroma_down: u32,
    /// Whether black is 0 and not 16 (of 8 bits).
    pub full_range: bool,
}

/// The size and the format of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// The samples.
    pub format: Format,
}

/// A rectangle in pixels, which can reach outside of the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rect {
    /// The left edge.
    pub left: f32,
    /// The top edge.
    pub top: f32,
    /// The right edge.
    pub right: f32,
    /// The bottom edge.
    pub bottom: f32,
}

/// The part of a plane that is hidden.
#[derive(Debug, Clone)]
struct Area {
    columns: Range<usize>,
    rows: Range<usize>,
}

impl Picture {
    /// The bytes of a picture.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.planes().iter().map(|(width, height)| width * height * self.format.sample_bytes()).sum()
    }

    /// The width and height of each plane.
    fn planes(&self) -> [(usize, usize); 3] {
        let chroma =
            (self.width.div_ceil(1 << self.format.chroma_across), self.height.div_ceil(1 << self.format.chroma_down));
        [(self.width, self.height), chroma, chroma]
    }

    /// Hides a rectangle. Returns whether a part of it is inside of the picture.
    ///
    /// # Panics
    /// When `samples` does not have [`Picture::bytes`] bytes.
    pub fn hide(&self, samples: &mut [u8], rect: Rect, style: Style) -> bool {
        assert_eq!(samples.len(), self.bytes(), "the bytes of a picture");
        let Some(area) = self.area(rect) else { return false };
        // The cells follow the size of the whole rectangle: a face at the edge of the picture does not get finer cells.
        let longer = (rect.right - rect.left).max(rect.bottom - rect.top);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "pixels"
        )]
        let cell = ((longer / CELLS as f32).ceil() as usize).max(2);
        let mut following = samples;
        for (index, (width, height)) in self.planes().into_iter().enumerate() {
            let (plane, after) = following.split_at_mut(width * height * self.format.sample_bytes());
            following = after;
            let (across, down) = if index == 0 { (0, 0) } else { (self.format.chroma_across, self.format.chroma_down) };
            let area = Area {
                columns: area.columns.start >> across..area.columns.end.div_ceil(1 << across),
                rows: area.rows.start >> down..area.rows.end.div_ceil(1 << down),
            };
            let cells = ((cell >> across).max(1), (cell >> down).max(1));
            let mut plane = Plane { samples: plane, width, bits: self.format.bits };
            match style {
                Style::Box => plane.fill(&area, self.format.black(index)),
                Style::Pixelate => plane.pixelate(&area, cells),
                Style::Blur => plane.blur(&area, cells),
            }
        }
        true
    }

    /// The whole pixels that a rectangle touches, extended to whole samples of U and V, inside of the picture.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "pixels")]
    fn area(&self, rect: Rect) -> Option<Area> {
        let range = |from: f32, to: f32, limit: usize, shift: u32| {
            let from = from.floor().clamp(0.0, limit as f32) as usize;
            let to = to.ceil().clamp(0.0, limit as f32) as usize;
            let step = 1 << shift;
            (from < to).then(|| from / step * step..to.next_multiple_of(step).min(limit))
        };
        Some(Area {
            columns: range(rect.left, rect.right, self.width, self.format.chroma_across)?,
            rows: range(rect.top, rect.bottom, self.height, self.format.chroma_down)?,
        })
    }
}

impl Format {
    fn sample_bytes(self) -> usize {
        if self.bits > 8 { 2 } else { 1 }
    }

    /// The sample of black in a plane.
    fn black(self, plane: usize) -> u32 {
        let eight = match (plane, self.full_range) {
            (0, true) => 0,
            (0, false) => 16,
            _ => 128,
        };
        eight << (self.bits - 8)
    }
}

struct Plane<'a> {
    samples: &'a mut [u8],
    width: usize,
    bits: u32,
}

impl Plane<'_> {
    fn get(&self, column: usize, row: usize) -> u32 {
        let at = row * self.width + column;
        if self.bits > 8 {
            u32::from(u16::from_le_bytes([self.samples[2 * at], self.samples[2 * at + 1]]))
        } else {
            u32::from(self.samples[at])
        }
    }

    fn set(&mut self, column: usize, row: usize, value: u32) {
        let at = row * self.width + column;
        let [low, high, ..] = value.to_le_bytes();
        if self.bits > 8 {
            (self.samples[2 * at], self.samples[2 * at + 1]) = (low, high);
        } else {
            self.samples[at] = low;
        }
    }

    fn fill(&mut self, area: &Area, value: u32) {
        for row in area.rows.clone() {
            for column in area.columns.clone() {
                self.set(column, row, value);
            }
        }
    }

    fn pixelate(&mut self, area: &Area, (across, down): (usize, usize)) {
        for top in area.rows.clone().step_by(down) {
            for left in area.columns.clone().step_by(across) {
                let cell = Area {
                    columns: left..(left + across).min(area.columns.end),
                    rows: top..(top + down).min(area.rows.end),
                };
                let mean = self.mean(&cell);
                self.fill(&cell, mean);
            }
        }
    }

    fn mean(&self, cell: &Area) -> u32 {
        let mut sum = 0_u64;
        for row in cell.rows.clone() {
            for column in cell.columns.clone() {
                sum += u64::from(self.get(column, row));
            }
        }
        let count = (cell.rows.len() * cell.columns.len()) as u64;
        u32::try_from((sum + count / 2) / count.max(1)).unwrap_or_default()
    }

    /// Replaces each sample by one between the means of the four nearest cells, weighted by the distance to their middles.
    fn blur(&mut self, area: &Area, (across, down): (usize, usize)) {
        let (columns, rows) = (area.columns.len().div_ceil(across), area.rows.len().div_ceil(down));
        let mut means = Vec::with_capacity(columns * rows);
        for top in area.rows.clone().step_by(down) {
            for left in area.columns.clone().step_by(across) {
                means.push(self.mean(&Area {
                    columns: left..(left + across).min(area.columns.end),
                    rows: top..(top + down).min(area.rows.end),
                }));
            }
        }
        let (left, top) = (weights(area.columns.len(), across), weights(area.rows.len(), down));
        for (row, vertical) in area.rows.clone().zip(&top) {
            for (column, horizontal) in area.columns.clone().zip(&left) {
                let at = |row: usize, column: usize| means[row * columns + column];
                let between = |row: usize| {
                    at(row, horizontal.first) * (ONE - horizontal.second_share)
                        + at(row, horizontal.second) * horizontal.second_share
                };
                let upper = between(vertical.first) >> 4;
                let lower = between(vertical.second) >> 4;
                let value = (upper * (ONE - vertical.second_share) + lower * vertical.second_share) >> 12;
                self.set(column, row, value);
            }
        }
    }
}

/// The fixed-point number 1: 16 bits of a sample and twice 8 bits of a share fit into 32 bits.
const ONE: u32 = 1 << 8;

/// The two cells that a sample is between, and the share of the second one, of [`ONE`].
struct Between {
    first: usize,
    second: usize,
    second_share: u32,
}

/// For each of `length` samples: the cells of `cell` samples that it is between.
fn weights(length: usize, cell: usize) -> Vec<Between> {
    let last = length.div_ceil(cell) - 1;
    (0..length)
        .map(|at| {
            // In halves of a sample from the middle of the first cell.
            let from_middle = (2 * at + 1).saturating_sub(cell);
            let first = (from_middle / (2 * cell)).min(last);
            let second = (first + 1).min(last);
            let share = (from_middle - first * 2 * cell).min(2 * cell) * ONE as usize / (2 * cell);
            Between { first, second, second_share: u32::try_from(share).unwrap_or(ONE) }
        })
        .collect()
}

#[cfg(test)]
mod tests;
