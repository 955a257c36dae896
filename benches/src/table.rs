//! Markdown tables, and how figures are formatted in them.

use std::fmt::{self, Display, Write as _};
use std::time::Duration;

/// A Markdown table.
#[derive(Debug)]
pub struct Table {
    columns: usize,
    text: String,
}

impl Table {
    /// A table with a heading for each column. The first column is text, the others are figures.
    pub fn new(headings: &[&str]) -> Self {
        let mut table = Self { columns: headings.len(), text: String::new() };
        table.row(headings);
        let rules: Vec<_> = (0..headings.len()).map(|column| if column == 0 { "---" } else { "---:" }).collect();
        writeln!(table.text, "|{}|", rules.join("|")).expect("writing to a string does not fail");
        table
    }

    /// Adds a row with one cell per column.
    pub fn row<T: Display>(&mut self, cells: &[T]) {
        assert_eq!(cells.len(), self.columns, "one cell per column");
        let cells: Vec<_> = cells.iter().map(ToString::to_string).collect();
        writeln!(self.text, "| {} |", cells.join(" | ")).expect("writing to a string does not fail");
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The median: of an even number of values, the lower one of the two in the middle; of none, zero.
pub fn median(mut durations: Vec<Duration>) -> Duration {
    durations.sort();
    let middle = durations.len().saturating_sub(1) / 2;
    durations.get(middle).copied().unwrap_or_default()
}

/// Milliseconds with one decimal.
pub fn ms(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1e3)
}

/// `duration` as a multiple of `base`, with two decimals.
pub fn times(duration: Duration, base: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() / base.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::new(&["function", "ms"]);
        table.row(&["hello", "1.0"]);
        assert_eq!(table.to_string(), "| function | ms |\n|---|---:|\n| hello | 1.0 |\n");
    }

    #[test]
    fn the_median_ignores_an_outlier() {
        assert_eq!(median([9000, 2, 1].map(Duration::from_millis).into()), Duration::from_millis(2));
        assert_eq!(median(Vec::new()), Duration::ZERO);
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(
            (ms(Duration::from_micros(1250)), times(Duration::from_secs(3), Duration::from_secs(2))),
            ("1.2".to_owned(), "1.50".to_owned())
        );
    }
}
