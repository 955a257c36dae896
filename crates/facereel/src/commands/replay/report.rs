//! What became of every execution, for a person.

use std::fmt;

use aws_sdk_sfn::{operation::describe_execution::DescribeExecutionOutput, types::ExecutionStatus};
use comfy_table::{Table, presets};

use super::{Case, Decision, State, Way};
use crate::deployed::{Error, StateMachineArn};

/// Links to single executions, above which the list of them all is the better place.
const MAX_LINKS: usize = 10;

/// What was done about an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on.
    Redriven {
        /// The execution that runs.
        arn: String,
    },
    /// Another one with its input has begun.
    Started {
        /// The execution that runs.
        arn: String,
    },
    /// A dry run.
    WouldBeReplayed,
    /// It has been replayed before, and still runs.
    Runs,
    /// It has been replayed before.
    WasReplayed,
    /// It would be billed, and nobody agreed.
    NotBilled {
        /// Whether somebody was asked.
        asked: bool,
    },
    /// Its input cannot be read.
    NoInput,
    /// It could not be replayed.
    Failed {
        /// Why, and what to do.
        why: String,
    },
    /// The command was stopped before its turn.
    NotTried,
}

impl Outcome {
    pub(super) fn failed(error: &Error) -> Self {
        Self::Failed { why: error.to_string() }
    }

    /// The execution that runs now because of this command.
    fn replayed(&self) -> Option<&str> {
        match self {
            Self::Redriven { arn } | Self::Started { arn } => Some(arn),
            _ => None,
        }
    }

    fn is_well(&self) -> bool {
        matches!(
            self,
            Self::Redriven { .. } | Self::Started { .. } | Self::WouldBeReplayed | Self::Runs | Self::WasReplayed
        )
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redriven { .. } | Self::Started { .. } => "runs",
            Self::WouldBeReplayed => "dry run: nothing was done",
            Self::Runs => "already replayed, runs",
            Self::WasReplayed => "already replayed",
            Self::NotBilled { asked: true } => "left: it would be billed",
            Self::NotBilled { asked: false } => "left: it would be billed; --yes agrees to that",
            Self::NoInput => "left: its input cannot be read; these credentials need kms:Decrypt on the stack's key",
            Self::Failed { why } => return write!(f, "NOT replayed: {why}"),
            Self::NotTried => "not yet: run again",
        })
    }
}

/// An execution in the report.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name.
    pub execution: String,
    /// The error that it failed with.
    pub error: String,
    /// How it is replayed; empty where it is not.
    pub way: String,
    /// What was done.
    pub outcome: Outcome,
    /// How the replayed execution ended, once it was waited for: `Ok`, or the error's name.
    pub ended: Option<Result<(), String>>,
}

impl Row {
    pub(super) fn of(case: &Case, outcome: Outcome) -> Self {
        let (error, way) = match &case.state {
            State::Failed { error, decision: Decision { way, billed }, .. } => {
                let way = match way {
                    Way::Redrive => "redrive",
                    Way::Start => "new execution",
                };
                (error.clone(), format!("{way}{}", if billed.is_some() { ", billed" } else { "" }))
            }
            State::Running | State::Succeeded => (String::new(), String::new()),
        };
        Self { execution: case.name.clone(), error, way, outcome, ended: None }
    }

    fn is_well(&self) -> bool {
        self.outcome.is_well() && !matches!(self.ended, Some(Err(_)))
    }
}

/// What a replay has come to.
#[derive(Debug, Clone)]
pub struct Report {
    /// Every execution that was looked at.
    pub rows: Vec<Row>,
    /// Whether the command was stopped before its end.
    pub interrupted: bool,
    dry_run: bool,
    state_machine: StateMachineArn,
}

impl Report {
    pub(super) fn new(state_machine: &StateMachineArn, dry_run: bool) -> Self {
        Self { rows: Vec::new(), interrupted: false, dry_run, state_machine: state_machine.clone() }
    }

    pub(super) fn stopped(state_machine: &StateMachineArn) -> Self {
        Self { interrupted: true, ..Self::new(state_machine, false) }
    }

    pub(super) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// The executions that run because of this command, with their rows.
    pub fn replayed(&self) -> impl Iterator<Item = (&str, &Row)> {
        self.rows.iter().filter_map(|row| Some((row.outcome.replayed()?, row)))
    }

    pub(super) fn has_ended(&mut self, arn: &str, execution: &DescribeExecutionOutput) {
        let ended = match &execution.status {
            ExecutionStatus::Succeeded => Ok(()),
            status => Err(execution.error.clone().unwrap_or_else(|| status.as_str().to_owned())),
        };
        if let Some(row) = self.rows.iter_mut().find(|row| row.outcome.replayed() == Some(arn)) {
            row.ended = Some(ended);
        }
    }

    /// Whether everything that failed is replayed, and nothing that was waited for failed again.
    #[must_use]
    pub fn all_well(&self) -> bool {
        !self.interrupted && self.rows.iter().all(Row::is_well)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return f.write_str(if self.interrupted {
                "Stopped; nothing was replayed."
            } else {
                "Nothing to replay: no execution failed in this time, with this error. --since looks further back."
            });
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["EXECUTION", "FAILED WITH", "REPLAY", "OUTCOME"]);
        for row in &self.rows {
            let outcome = match &row.ended {
                None => row.outcome.to_string(),
                Some(Ok(())) => "SUCCEEDED".to_owned(),
                Some(Err(error)) => format!("FAILED again: {error}"),
            };
            table.add_row([&row.execution, &row.error, &row.way, &outcome]);
        }
        writeln!(f, "{}", table.trim_fmt())?;

        let count = |which: fn(&Row) -> bool| self.rows.iter().filter(|row| which(row)).count();
        let replayed = self.replayed().count();
        if self.dry_run {
            write!(f, "\n{} would be replayed", count(|row| row.outcome == Outcome::WouldBeReplayed))?;
        } else {
            write!(f, "\n{replayed} replayed")?;
        }
        for (what, rows) in [
            ("already replayed", count(|row| matches!(row.outcome, Outcome::Runs | Outcome::WasReplayed))),
            ("failed again", count(|row| matches!(row.ended, Some(Err(_))))),
            ("not replayed", count(|row| !row.outcome.is_well() && row.outcome != Outcome::NotTried)),
            ("left for the next run", count(|row| row.outcome == Outcome::NotTried)),
        ] {
            if rows > 0 {
                write!(f, ", {rows} {what}")?;
            }
        }
        writeln!(f, ".")?;
        if self.interrupted {
            writeln!(f, "Stopped. Run again for the rest: nothing is replayed twice.")?;
        }
        if (1..=MAX_LINKS).contains(&replayed) {
            for (arn, _) in self.replayed() {
                writeln!(f, "{}", self.state_machine.execution_url(arn))?;
            }
        }
        write!(f, "All executions: {}", self.state_machine.url())
    }
}
