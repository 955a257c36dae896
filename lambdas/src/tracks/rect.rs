//! Boxes in one unit for both directions: the height of the frame.

use std::cmp::Ordering;

/// A box around a face, in heights of the frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rect {
    /// The middle, from the left edge and from the top edge of the frame.
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Rect {
    /// A box from left, top, width and height as ratios of the frame; `None` if it has no size. `aspect` is the width of the frame
    /// divided by its height.
    pub(super) fn new(ratios: [f32; 4], aspect: f64) -> Option<Self> {
        let [left, top, width, height] = ratios.map(f64::from);
        let rect = Self { x: (left + width / 2.0) * aspect, y: top + height / 2.0, width: width * aspect, height };
        let finite = [rect.x, rect.y, rect.width, rect.height].iter().all(|number| number.is_finite());
        (finite && width > 0.0 && height > 0.0).then_some(rect)
    }

    /// The order from the left to the right; of two boxes with the same middle, another order that depends only on the boxes.
    pub(super) fn order(self, other: Self) -> Ordering {
        let [one, other] = [self, other].map(|rect| [rect.x, rect.y, rect.width, rect.height]);
        one.iter().zip(&other).map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// The side of the square with the same area.
    pub(super) fn size(self) -> f64 {
        (self.width * self.height).sqrt()
    }

    /// The shared area of two boxes divided by their united area.
    pub(super) fn overlap(self, other: Self) -> f64 {
        let shared = |middle: f64, length: f64, other_middle: f64, other_length: f64| {
            let end = (middle + length / 2.0).min(other_middle + other_length / 2.0);
            (end - (middle - length / 2.0).max(other_middle - other_length / 2.0)).max(0.0)
        };
        let shared =
            shared(self.x, self.width, other.x, other.width) * shared(self.y, self.height, other.y, other.height);
        shared / (self.width * self.height + other.width * other.height - shared)
    }

    /// The distance between the middles of two boxes, in their mean size.
    pub(super) fn distance(self, other: Self) -> f64 {
        let (x, y) = (self.x - other.x, self.y - other.y);
        2.0 * (x * x + y * y).sqrt() / (self.size() + other.size())
    }

    /// The size of the larger box divided by the size of the smaller one.
    pub(super) fn growth(self, other: Self) -> f64 {
        let growth = self.size() / other.size();
        growth.max(1.0 / growth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rect(left: f32, top: f32, width: f32, height: f32) -> Rect {
        Rect::new([left, top, width, height], 2.0).unwrap()
    }

    #[test]
    fn a_box_is_measured_in_heights_of_the_frame() {
        let (one, other) = (rect(0.1, 0.2, 0.1, 0.2), rect(0.15, 0.2, 0.1, 0.2));
        assert!((one.size() - 0.2).abs() < 1e-6);
        assert!((one.overlap(other) - 1.0 / 3.0).abs() < 1e-6);
        assert!((one.distance(other) - 0.5).abs() < 1e-6);
        assert!((one.growth(rect(0.1, 0.2, 0.05, 0.1)) - 2.0).abs() < 1e-6);
        assert!(one.overlap(rect(0.5, 0.2, 0.1, 0.2)).abs() < 1e-6);
    }

    #[test]
    fn a_box_without_a_size_is_not_a_box() {
        for (width, height) in [(0.0, 0.1), (0.1, 0.0), (-0.1, 0.1), (f32::NAN, 0.1), (f32::INFINITY, 0.1)] {
            assert_eq!(Rect::new([0.1, 0.1, width, height], 1.0), None);
        }
    }
}
