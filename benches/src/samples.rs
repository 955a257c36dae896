//! The values of one figure in several runs, and how the tables show them.

use std::time::Duration;

/// With this many values or more, the spread is that of the middle half, so that it ignores outliers.
const ENOUGH_FOR_QUARTILES: usize = 20;

/// The values of one figure, one of each run. Values of the same runs are at the same positions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds the value of the next run.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The ratio to another figure in each run.
    pub fn over(&self, base: &Self) -> Self {
        self.with(base, |value, base| value / base)
    }

    /// The difference to another figure in each run.
    pub fn minus(&self, other: &Self) -> Self {
        self.with(other, |value, other| value - other)
    }

    /// The sum with another figure in each run.
    pub fn plus(&self, other: &Self) -> Self {
        self.with(other, |value, other| value + other)
    }

    /// How many times as much a constant is in each run.
    pub fn of(&self, constant: f64) -> Self {
        self.0.iter().map(|value| constant / value).collect()
    }

    /// Each value divided by a constant.
    pub fn divided_by(&self, divisor: f64) -> Self {
        self.0.iter().map(|value| value / divisor).collect()
    }

    fn with(&self, other: &Self, combine: impl Fn(f64, f64) -> f64) -> Self {
        assert_eq!(self.0.len(), other.0.len(), "both figures are of the same runs");
        self.0.iter().zip(&other.0).map(|(value, other)| combine(*value, *other)).collect()
    }

    /// The median: of an even number of values, the lower one of the two in the middle.
    ///
    /// # Panics
    /// Without a value.
    pub fn median(&self) -> f64 {
        at(&self.sorted(), 2)
    }

    /// The median, and in parentheses the lowest and the highest value, or the quartiles if there are enough values. Only the median, if
    /// the others look the same.
    pub fn show(&self, decimals: usize) -> String {
        let sorted = self.sorted();
        let (low, high) = if sorted.len() < ENOUGH_FOR_QUARTILES { (0, 4) } else { (1, 3) };
        let [low, median, high] = [low, 2, high].map(|quarter| format!("{:.decimals$}", at(&sorted, quarter)));
        if low == high { median } else { format!("{median} ({low}–{high})") }
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

/// The value at this quarter of sorted values: 0 is the lowest and 4 the highest.
fn at(sorted: &[f64], quarter: usize) -> f64 {
    sorted[(sorted.len() - 1) * quarter / 4]
}

impl FromIterator<f64> for Samples {
    fn from_iter<T: IntoIterator<Item = f64>>(values: T) -> Self {
        Self(values.into_iter().collect())
    }
}

/// A figure that is the same in each run.
impl From<f64> for Samples {
    fn from(value: f64) -> Self {
        Self(vec![value])
    }
}

/// Milliseconds.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_median_with_its_range() {
        assert_eq!(Samples::from_iter([10.9, 10.1, 10.4]).show(1), "10.4 (10.1–10.9)");
        assert_eq!(Samples::from_iter([1.0, 2.0, 3.0, 4.0]).show(0), "2 (1–4)");
    }

    #[test]
    fn with_many_runs_the_range_is_that_of_the_middle_half() {
        let values: Samples = (0..=20).map(f64::from).collect();
        assert_eq!(values.show(0), "10 (5–15)");
    }

    #[test]
    fn a_figure_without_a_visible_spread_is_alone() {
        assert_eq!(Samples::from(3.0).show(2), "3.00");
        assert_eq!(Samples::from_iter([7.1, 6.9, 7.0]).show(0), "7");
    }

    #[test]
    fn ratios_are_those_of_each_run() {
        let (slow, fast) = (Samples::from_iter([10.0, 30.0, 20.0]), Samples::from_iter([1.0, 2.0, 10.0]));
        assert_eq!(slow.over(&fast), Samples::from_iter([10.0, 15.0, 2.0]));
        assert_eq!(slow.over(&fast).show(0), "10 (2–15)");
        assert_eq!(fast.of(60.0), Samples::from_iter([60.0, 30.0, 6.0]));
    }
}
