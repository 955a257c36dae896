//! Markdown tables of `BENCHMARKS.md`.

use std::fmt::{self, Display, Write as _};

use strum::{EnumIter, IntoStaticStr};

/// The name of a table, which is in the markers around it in `BENCHMARKS.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Name {
    Goals,
    Startup,
    FirstInvocation,
    FirstInvocationAtShare,
    MemorySizes,
    Size,
    PageTime,
    PageMemory,
    Tracks,
    TrackCost,
    Pagination,
    PaginationInVirtualTime,
    ShortClips,
    Run,
    RunPeer,
    Remaining,
    Blur,
    Calls,
    Executions,
    Videos,
    CatalogueOfADirectory,
    CatalogueOfABucket,
}

/// A Markdown table.
#[derive(Debug, Clone)]
pub struct Table {
    /// Where it is in `BENCHMARKS.md`.
    pub name: Name,
    columns: usize,
    text: String,
}

impl Table {
    /// A table with a heading for each column. The first column is text, the others are figures.
    pub fn new(name: Name, headings: &[&str]) -> Self {
        Self::with_texts(name, headings, &[0])
    }

    /// A table whose columns at these positions are text.
    pub fn with_texts(name: Name, headings: &[&str], texts: &[usize]) -> Self {
        let mut table = Self { name, columns: headings.len(), text: String::new() };
        table.row(headings);
        let rule = |column: usize| if texts.contains(&column) { "---" } else { "---:" };
        let rules: Vec<_> = (0..headings.len()).map(rule).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::new(Name::Startup, &["function", "ms"]);
        table.row(&["hello", "1.0"]);
        assert_eq!(table.to_string(), "| function | ms |\n|---|---:|\n| hello | 1.0 |\n");
    }
}
