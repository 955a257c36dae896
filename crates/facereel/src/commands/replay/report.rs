//! The report of a replay.

use std::fmt;

use aws_sdk_sfn::{operation::describe_execution::DescribeExecutionOutput, types::ExecutionStatus};
use comfy_table::{Table, presets};

use super::{
    candidates::{Candidate, CandidateState},
    decision::{Decision, Strategy},
};
use crate::deployed::{Error, StateMachineArn};
use crate::terminal::exit::{self, ExitStatus, FAILURE, INTERRUPTED, SUCCESS};

/// The maximum number of links to single executions. For more executions, only the list of all is linked.
const MAX_LINKS: usize = 10;

/// The outcome for an execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayOutcome {
    /// It was redriven.
    Redriven {
        /// The ARN of the running execution.
        arn: String,
    },
    /// A new execution with its input was started.
    Started {
        /// The ARN of the running execution.
        arn: String,
    },
    /// It was a dry run: nothing was done.
    WouldBeReplayed,
    /// It was already replayed and still runs.
    Runs,
    /// It was already replayed.
    WasReplayed,
    /// It would be billed, and the user has not agreed.
    NotBilled {
        /// Whether the user was asked.
        asked: bool,
    },
    /// Its input cannot be read, so no new execution can be started.
    NoInput,
    /// The replay failed.
    Failed {
        /// The reason, with what to do.
        why: String,
    },
    /// The command was stopped before it was replayed.
    NotTried,
}

impl ReplayOutcome {
    pub(super) fn failed(error: &Error) -> Self {
        Self::Failed { why: error.to_string() }
    }

    /// The ARN of the execution that this command has redriven or started.
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

impl fmt::Display for ReplayOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redriven { .. } | Self::Started { .. } => "runs",
            Self::WouldBeReplayed => "dry run: nothing was done",
            Self::Runs => "already replayed, runs",
            Self::WasReplayed => "already replayed",
            Self::NotBilled { asked: true } => "not replayed: it would be billed",
            Self::NotBilled { asked: false } => "not replayed: it would be billed; agree with --yes",
            Self::NoInput => {
                "not replayed: its input cannot be read; these credentials need kms:Decrypt for the key of the stack"
            }
            Self::Failed { why } => return write!(f, "NOT replayed: {why}"),
            Self::NotTried => "not replayed yet: run again",
        })
    }
}

/// An execution in the report.
#[derive(Debug, Clone)]
pub struct ReplayRow {
    /// Its name.
    pub execution: String,
    /// The name of the error with which it failed.
    pub error: String,
    /// The strategy of the replay. Empty, if it is not replayed.
    pub strategy: String,
    /// The outcome.
    pub outcome: ReplayOutcome,
    /// How the replayed execution ended, if the command has waited for it: `Ok`, or the name of the error.
    pub ended: Option<Result<(), String>>,
}

impl ReplayRow {
    pub(super) fn of(candidate: &Candidate, outcome: ReplayOutcome) -> Self {
        let (error, strategy) = match &candidate.state {
            CandidateState::Failed { error, decision: Decision { strategy, billed }, .. } => {
                let strategy = match strategy {
                    Strategy::Redrive => "redrive",
                    Strategy::NewExecution => "new execution",
                };
                (error.clone(), format!("{strategy}{}", if billed.is_some() { ", billed" } else { "" }))
            }
            CandidateState::Running | CandidateState::Succeeded => (String::new(), String::new()),
        };
        Self { execution: candidate.name.clone(), error, strategy, outcome, ended: None }
    }

    fn is_well(&self) -> bool {
        self.outcome.is_well() && !matches!(self.ended, Some(Err(_)))
    }
}

/// The outcome for all inspected executions.
#[derive(Debug, Clone)]
pub struct ReplayReport {
    /// Every inspected execution.
    pub rows: Vec<ReplayRow>,
    /// Whether the command was stopped before everything was replayed.
    pub interrupted: bool,
    dry_run: bool,
    state_machine: StateMachineArn,
}

impl ReplayReport {
    pub(super) fn new(state_machine: &StateMachineArn, dry_run: bool) -> Self {
        Self { rows: Vec::new(), interrupted: false, dry_run, state_machine: state_machine.clone() }
    }

    pub(super) fn stopped(state_machine: &StateMachineArn) -> Self {
        Self { interrupted: true, ..Self::new(state_machine, false) }
    }

    pub(super) fn push(&mut self, row: ReplayRow) {
        self.rows.push(row);
    }

    /// The ARNs of the executions that this command has redriven or started, with their rows.
    pub fn replayed(&self) -> impl Iterator<Item = (&str, &ReplayRow)> {
        self.rows.iter().filter_map(|row| Some((row.outcome.replayed()?, row)))
    }

    pub(super) fn record_end(&mut self, arn: &str, execution: &DescribeExecutionOutput) {
        let ended = match &execution.status {
            ExecutionStatus::Succeeded => Ok(()),
            status => Err(execution.error.clone().unwrap_or_else(|| status.as_str().to_owned())),
        };
        if let Some(row) = self.rows.iter_mut().find(|row| row.outcome.replayed() == Some(arn)) {
            row.ended = Some(ended);
        }
    }

    /// Whether all failed executions were replayed, and none for which the command has waited failed again.
    #[must_use]
    pub fn all_well(&self) -> bool {
        !self.interrupted && self.rows.iter().all(ReplayRow::is_well)
    }
}

impl exit::Report for ReplayReport {
    fn json(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn exit_status(&self) -> ExitStatus {
        match self.interrupted {
            true => INTERRUPTED,
            false if self.all_well() => SUCCESS,
            false => FAILURE,
        }
    }
}

impl fmt::Display for ReplayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return f.write_str(if self.interrupted {
                "Stopped; nothing was replayed."
            } else {
                "Nothing to replay: no execution failed in this time with this error. Select a longer time with --since."
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
            table.add_row([&row.execution, &row.error, &row.strategy, &outcome]);
        }
        writeln!(f, "{}", table.trim_fmt())?;

        let count = |which: fn(&ReplayRow) -> bool| self.rows.iter().filter(|row| which(row)).count();
        let replayed = self.replayed().count();
        if self.dry_run {
            write!(f, "\n{} would be replayed", count(|row| row.outcome == ReplayOutcome::WouldBeReplayed))?;
        } else {
            write!(f, "\n{replayed} replayed")?;
        }
        for (what, rows) in [
            ("already replayed", count(|row| matches!(row.outcome, ReplayOutcome::Runs | ReplayOutcome::WasReplayed))),
            ("failed again", count(|row| matches!(row.ended, Some(Err(_))))),
            ("not replayed", count(|row| !row.outcome.is_well() && row.outcome != ReplayOutcome::NotTried)),
            ("left for the next run", count(|row| row.outcome == ReplayOutcome::NotTried)),
        ] {
            if rows > 0 {
                write!(f, ", {rows} {what}")?;
            }
        }
        writeln!(f, ".")?;
        if self.interrupted {
            writeln!(f, "Stopped. Run again for the others: no execution is replayed twice.")?;
        }
        if (1..=MAX_LINKS).contains(&replayed) {
            for (arn, _) in self.replayed() {
                writeln!(f, "{}", self.state_machine.execution_url(arn))?;
            }
        }
        write!(f, "All executions: {}", self.state_machine.url())
    }
}
