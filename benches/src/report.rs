//! What was measured: tables and goals.

use std::fmt::Display;

use crate::{
    samples::Samples,
    table::{Name, Table},
};

/// The tables and the goals of the benchmarks so far.
#[derive(Debug, Default)]
pub struct Report {
    /// The tables, in the order in which they were measured.
    pub tables: Vec<Table>,
    goals: Vec<Goal>,
}

impl Report {
    /// Prints a table and keeps it.
    pub fn add(&mut self, table: Table) {
        println!("{table}");
        self.tables.push(table);
    }

    /// Adds a goal.
    pub fn goal(&mut self, goal: Goal) {
        self.goals.push(goal);
    }

    /// The table of the goals.
    pub fn goals(&self) -> Table {
        let mut table = Table::with_texts(Name::Goals, &["goal", "farthest from it", "met"], &[0, 1, 2]);
        for Goal { text, farthest, met } in &self.goals {
            table.row(&[text, farthest, met]);
        }
        table
    }
}

/// A goal for some figures, and the figure that is farthest from it.
#[derive(Debug)]
pub struct Goal {
    text: String,
    farthest: String,
    met: String,
}

impl Goal {
    /// The goal that no figure is greater than `limit`. Each figure has a name; `text` contains the unit.
    pub fn at_most(text: &str, limit: f64, decimals: usize, figures: &[(impl Display, Samples)]) -> Self {
        Self::new(text, decimals, figures, |median| limit - median)
    }

    /// The goal that no figure is less than `limit`.
    pub fn at_least(text: &str, limit: f64, decimals: usize, figures: &[(impl Display, Samples)]) -> Self {
        Self::new(text, decimals, figures, |median| median - limit)
    }

    /// `margin` is how much better than the goal a median is; it is compared as precisely as it is shown.
    fn new(text: &str, decimals: usize, figures: &[(impl Display, Samples)], margin: impl Fn(f64) -> f64) -> Self {
        let margin = |figure: &Samples| margin(rounded(figure.median(), decimals));
        let farthest = figures.iter().min_by(|one, other| margin(&one.1).total_cmp(&margin(&other.1)));
        let (name, figure) = farthest.expect("a goal has a figure");
        let missed = figures.iter().filter(|(_, figure)| margin(figure) < 0.0).count();
        Self {
            text: text.to_owned(),
            farthest: format!("{name}: {}", figure.show(decimals)),
            met: match missed {
                0 => "yes".to_owned(),
                _ if figures.len() == 1 => "**no**".to_owned(),
                _ => format!("**missed by {missed} of {}**", figures.len()),
            },
        }
    }
}

fn rounded(value: f64, decimals: usize) -> f64 {
    format!("{value:.decimals$}").parse().expect("a formatted number is a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(goal: Goal) -> String {
        let mut report = Report::default();
        report.goal(goal);
        report.goals().to_string().lines().nth(2).unwrap().to_owned()
    }

    #[test]
    fn a_goal_shows_the_figure_that_is_farthest_from_it() {
        let figures =
            [("a", Samples::from(2.5)), ("b", Samples::from_iter([3.2, 3.4, 3.3])), ("c", Samples::from(3.1))];
        let goal = Goal::at_most("a package, MB: at most 3", 3.0, 2, &figures);
        assert_eq!(row(goal), "| a package, MB: at most 3 | b: 3.30 (3.20–3.40) | **missed by 2 of 3** |");
    }

    #[test]
    fn a_goal_is_met_as_precisely_as_the_figure_is_shown() {
        let goal = |value: f64| {
            Goal::at_least("faster than the video: at least 4", 4.0, 1, &[("1080p", Samples::from(value))])
        };
        assert_eq!(row(goal(3.96)), "| faster than the video: at least 4 | 1080p: 4.0 | yes |");
        assert_eq!(row(goal(3.94)), "| faster than the video: at least 4 | 1080p: 3.9 | **no** |");
    }
}
