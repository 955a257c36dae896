//! A decoded picture, and the measurements on it.

use crate::ImageQuality;
use crate::container::Rotation;

/// A picture in planar YUV 4:2:0, 8 bits a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) width: usize,
    pub(super) height: usize,
    planes: [Plane; 3],
    full_range: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Plane {
    width: usize,
    height: usize,
    samples: Vec<u8>,
}

/// A rectangle in pixels of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crop {
    pub(super) left: usize,
    pub(super) top: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Frame {
    /// A limited-range picture of the planes Y, U and V, row by row without gaps.
    pub(super) fn new(width: usize, height: usize, planes: [Vec<u8>; 3]) -> Self {
        let [luma, blue, red] = planes;
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        Self {
            width,
            height,
            planes: [
                Plane { width, height, samples: luma },
                Plane { width: half_width, height: half_height, samples: blue },
                Plane { width: half_width, height: half_height, samples: red },
            ],
            full_range: false,
        }
    }

    pub(super) fn with_full_range(mut self, full_range: bool) -> Self {
        self.full_range = full_range;
        self
    }

    /// The picture as a player shows it.
    pub(super) fn rotated(self, rotation: Rotation) -> Self {
        let planes = self.planes.map(|plane| plane.rotated(rotation));
        Self { width: planes[0].width, height: planes[0].height, planes, full_range: self.full_range }
    }

    /// The picture scaled to `width` x `height`: red, green and blue planes of 0.0 to 255.0, row by row.
    pub(super) fn to_rgb(&self, width: usize, height: usize) -> [Vec<f32>; 3] {
        let [mut first, mut second, mut third] = self.planes.each_ref().map(|plane| plane.scaled(width, height));
        // BT.709, which nearly all videos use; for the network, the difference to BT.601 does not matter.
        let (black, luma_gain, chroma_gain) =
            if self.full_range { (0.0, 1.0, 1.0) } else { (16.0, 255.0 / 219.0, 255.0 / 224.0) };
        for ((y, u), v) in first.iter_mut().zip(&mut second).zip(&mut third) {
            let luma = (*y - black) * luma_gain;
            let blue = (*u - 128.0) * chroma_gain;
            let red = (*v - 128.0) * chroma_gain;
            *y = (luma + 1.5748 * red).clamp(0.0, 255.0);
            *u = (luma - 0.1873 * blue - 0.4681 * red).clamp(0.0, 255.0);
            *v = (luma + 1.8556 * blue).clamp(0.0, 255.0);
        }
        [first, second, third]
    }

    /// How bright and sharp a part of the picture is; `None` if it is too small to measure.
    ///
    /// Brightness is the mean luma. Sharpness is one minus the blur metric of Crété-Roffet et al. ("The blur effect",
    /// 2007): how much of the variation between neighbours is lost when the part is blurred again.
    pub(super) fn quality(&self, crop: Crop) -> Option<ImageQuality> {
        const SMALLEST: usize = 2 * BLUR_RADIUS + 2;
        if crop.width < SMALLEST || crop.height < SMALLEST {
            return None;
        }
        let luma = &self.planes[0];
        let rows: Vec<&[u8]> =
            (crop.top..crop.top + crop.height).map(|row| &luma.row(row)[crop.left..crop.left + crop.width]).collect();
        let columns: Vec<Vec<u8>> =
            (0..crop.width).map(|column| rows.iter().map(|row| row[column]).collect()).collect();
        let sum: u64 = rows.iter().flat_map(|row| row.iter()).map(|sample| u64::from(*sample)).sum();
        let mean = as_f32(sum) / as_f32((crop.width * crop.height) as u64);
        let brightness = if self.full_range { mean / 255.0 } else { (mean - 16.0) / 219.0 };
        let sharpness = sharpness_along(rows.into_iter()).min(sharpness_along(columns.iter().map(Vec::as_slice)));
        Some(ImageQuality { brightness: 100.0 * brightness.clamp(0.0, 1.0), sharpness: 100.0 * sharpness })
    }
}

#[allow(clippy::cast_precision_loss)] // sums of pixels of one picture
fn as_f32(value: u64) -> f32 {
    value as f32
}

/// A mean over nine neighbours, as the metric's authors chose.
const BLUR_RADIUS: usize = 4;

/// The share of the variation along lines that a blur removes: near 1 for sharp lines, near 0 for blurred ones.
fn sharpness_along<'a>(lines: impl Iterator<Item = &'a [u8]>) -> f32 {
    let (mut variation, mut lost) = (0, 0);
    for line in lines {
        let window = 2 * BLUR_RADIUS + 1;
        let blurred: Vec<u64> =
            line.windows(window).map(|near| near.iter().map(|sample| u64::from(*sample)).sum()).collect();
        for (pair, blurred) in line[BLUR_RADIUS..].windows(2).zip(blurred.windows(2)) {
            // All values are multiplied by the window, so that they are whole numbers.
            let sharp = u64::from(pair[0].abs_diff(pair[1])) * window as u64;
            variation += sharp;
            lost += sharp.saturating_sub(blurred[0].abs_diff(blurred[1]));
        }
    }
    // A flat area has no variation, so it is not sharp.
    if variation == 0 { 0.0 } else { as_f32(lost) / as_f32(variation) }
}

impl Plane {
    fn row(&self, row: usize) -> &[u8] {
        &self.samples[row * self.width..(row + 1) * self.width]
    }

    fn rotated(self, rotation: Rotation) -> Self {
        let Self { width, height, mut samples } = self;
        match rotation {
            Rotation::None => Self { width, height, samples },
            Rotation::Half => {
                samples.reverse();
                Self { width, height, samples }
            }
            Rotation::Quarter | Rotation::ThreeQuarter => {
                let mut turned = Vec::with_capacity(samples.len());
                for column in 0..width {
                    let source = if rotation == Rotation::Quarter { column } else { width - 1 - column };
                    let walk = (0..height).map(|row| samples[row * width + source]);
                    if rotation == Rotation::Quarter { turned.extend(walk.rev()) } else { turned.extend(walk) }
                }
                Self { width: height, height: width, samples: turned }
            }
        }
    }

    /// Resamples with a triangle filter that widens with the reduction, so that every source pixel counts.
    fn scaled(&self, width: usize, height: usize) -> Vec<f32> {
        let (across, down) = (taps(self.width, width), taps(self.height, height));
        let mut scaled = Vec::with_capacity(width * height);
        let mut low = vec![0.0; self.width];
        for (start, weights) in &down {
            low.fill(0.0);
            for (row, weight) in (*start..).zip(weights) {
                for (sum, sample) in low.iter_mut().zip(self.row(row)) {
                    *sum += weight * f32::from(*sample);
                }
            }
            scaled.extend(across.iter().map(|(start, weights)| {
                weights.iter().zip(&low[*start..]).map(|(weight, sample)| weight * sample).sum::<f32>()
            }));
        }
        scaled
    }
}

/// For each of `to` pixels: the first of the `from` source pixels that contribute to it, and their weights.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // pixel positions
fn taps(from: usize, to: usize) -> Vec<(usize, Vec<f32>)> {
    let ratio = from as f32 / to as f32;
    let reach = ratio.max(1.0);
    (0..to)
        .map(|target| {
            let center = (target as f32 + 0.5) * ratio - 0.5;
            let start = (center - reach).ceil().max(0.0) as usize;
            let end = ((center + reach).floor() as usize + 1).min(from);
            let mut weights: Vec<f32> =
                (start..end).map(|source| (1.0 - (source as f32 - center).abs() / reach).max(0.0)).collect();
            let sum: f32 = weights.iter().sum();
            for weight in &mut weights {
                *weight /= sum;
            }
            (start, weights)
        })
        .collect()
}

#[cfg(test)]
impl Frame {
    /// All samples: Y, U and V.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.planes.iter().flat_map(|plane| plane.samples.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Six by four pixels with luma 0 to 23, and grey chroma.
    fn counting() -> Frame {
        Frame::new(6, 4, [(0..24).collect(), vec![128; 6], vec![128; 6]])
    }

    fn grey(luma: Vec<u8>, width: usize, height: usize) -> Frame {
        let chroma = vec![128; width.div_ceil(2) * height.div_ceil(2)];
        Frame::new(width, height, [luma, chroma.clone(), chroma])
    }

    #[test]
    fn a_quarter_turn_is_clockwise() {
        let turned = counting().rotated(Rotation::Quarter);
        assert_eq!((turned.width, turned.height), (4, 6));
        // The left column, read upwards, becomes the top row.
        assert_eq!(turned.planes[0].row(0), [18, 12, 6, 0]);
        assert_eq!(turned.clone().rotated(Rotation::ThreeQuarter), counting());
        assert_eq!(turned.rotated(Rotation::Quarter), counting().rotated(Rotation::Half));
    }

    #[test]
    fn scaling_keeps_a_flat_picture_flat_and_the_mean_of_any() {
        for (width, height) in [(3, 2), (6, 4), (13, 9), (1, 1)] {
            let flat = grey(vec![77; 24], 6, 4).planes[0].scaled(width, height);
            assert!(flat.iter().all(|sample| (sample - 77.0).abs() < 0.001), "{width}x{height}: {flat:?}");
            let counting = counting().planes[0].scaled(width, height);
            let mean: f32 = counting.iter().sum::<f32>() / as_f32(counting.len() as u64);
            assert!((mean - 11.5).abs() < 0.6, "{width}x{height}: {mean}");
        }
    }

    #[test]
    fn black_and_white_follow_the_range() {
        let picture = grey(vec![16, 235, 16, 235], 2, 2);
        assert_eq!(picture.to_rgb(2, 2)[0], [0.0, 255.0, 0.0, 255.0]);
        let full = grey(vec![0, 255, 0, 255], 2, 2).with_full_range(true);
        assert_eq!(full.to_rgb(2, 2)[2], [0.0, 255.0, 0.0, 255.0]);
    }

    #[test]
    fn red_is_red() {
        // The limited-range BT.709 code of pure red.
        let [red, green, blue] = Frame::new(1, 1, [vec![63], vec![102], vec![240]]).to_rgb(1, 1).map(|plane| plane[0]);
        assert!(red > 250.0 && green < 5.0 && blue < 5.0, "{red} {green} {blue}");
    }

    #[test]
    fn sharpness_falls_with_blur_and_brightness_follows_luma() {
        let side = 40;
        let all = Crop { left: 0, top: 0, width: side, height: side };
        let stripes = |width: usize| {
            (0..side * side).map(|at| if at % side / width % 2 == at / side / width % 2 { 235 } else { 16 }).collect()
        };
        let sharp = grey(stripes(1), side, side).quality(all).unwrap();
        let ramp = (0..side * side).map(|at| u8::try_from(40 + at % side + at / side).unwrap()).collect();
        let soft = grey(ramp, side, side).quality(all).unwrap();
        assert!(sharp.sharpness > 80.0 && soft.sharpness < 20.0, "{sharp:?} {soft:?}");
        let flat = grey(vec![235; side * side], side, side).quality(all).unwrap();
        assert!((flat.brightness - 100.0).abs() < 0.001 && flat.sharpness.abs() < 0.001, "{flat:?}");
        assert!((sharp.brightness - 50.0).abs() < 1.0, "{sharp:?}");
    }

    #[test]
    fn a_crop_of_a_few_pixels_has_no_quality() {
        assert_eq!(counting().quality(Crop { left: 0, top: 0, width: 6, height: 4 }), None);
    }
}
