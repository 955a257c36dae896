//! The report of a replay.

use std::fmt;

use aws_sdk_sfn::{operation::describe_execution::DescribeExecutionOutput, types::ExecutionStatus};
use comfy_table::{Table, presets};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{
    Planned,
    candidates::CandidateState,
    decision::{Decision, Strategy},
};
use crate::commands::consent::{self, BilledAnalysis, Price};
use crate::deployed::{Error, StateMachineArn, Video};
use crate::documents::document;
use crate::terminal::exit::{self, ExitStatus};

/// The maximum number of links to single executions. For more executions, only the list of all is linked.
const MAX_LINKS: usize = 10;

/// The maximum number of executions in the table. The JSON document has all.
const MAX_ROWS: usize = 100;

/// The outcome for an execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ReplayOutcome {
    /// It was redriven.
    Redriven {
        /// The ARN of the running execution.
        #[serde(rename = "replay_arn")]
        arn: String,
    },
    /// A new execution with its input was started.
    Started {
        /// The ARN of the running execution.
        #[serde(rename = "replay_arn")]
        arn: String,
    },
    /// It was a dry run: nothing was done.
    WouldBeReplayed,
    /// It was already replayed and still runs.
    Runs,
    /// It was already replayed.
    WasReplayed,
    /// It would be billed, and the user has chosen only what is free.
    LeftOut,
    /// It would be billed, and the user could not be asked.
    NotAgreed,
    /// The user has chosen to replay nothing.
    Declined,
    /// Its input cannot be read, so no new execution can be started.
    NoInput,
    /// The replay failed.
    Failed {
        /// The reason, with what to do.
        #[serde(rename = "reason")]
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
            Self::Redriven { .. }
                | Self::Started { .. }
                | Self::WouldBeReplayed
                | Self::Runs
                | Self::WasReplayed
                | Self::LeftOut
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
            Self::LeftOut => "left out: it would be billed",
            Self::NotAgreed => "not replayed: it would be billed; agree with --yes, or leave it out with --free",
            Self::Declined => "not replayed",
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
    /// Its ARN.
    pub arn: String,
    /// Its video. `None`, if its input cannot be read or names none.
    pub video: Option<Video>,
    /// Whether its input cannot be read.
    pub is_encrypted: bool,
    /// The name of the error with which it failed. Empty, if it was already replayed.
    pub error: String,
    /// The strategy of the replay. `None`, if it was already replayed.
    pub strategy: Option<Strategy>,
    /// The analysis that the replay would start, or has started, if that is billed.
    pub billed: Option<BilledAnalysis>,
    /// The outcome.
    pub outcome: ReplayOutcome,
    /// How the replayed execution ended, if the command has waited for it: `Ok`, or the name of the error.
    pub ended: Option<Result<(), String>>,
}

impl ReplayRow {
    fn of(Planned { candidate, billed }: &Planned, outcome: ReplayOutcome) -> Self {
        let (error, strategy) = match &candidate.state {
            CandidateState::Failed { error, decision: Decision { strategy, .. } } => (error.clone(), Some(*strategy)),
            CandidateState::Running | CandidateState::Succeeded => (String::new(), None),
        };
        Self {
            execution: candidate.name.clone(),
            arn: candidate.arn.clone(),
            video: candidate.video(),
            is_encrypted: candidate.input.is_none(),
            error,
            strategy,
            billed: billed.clone(),
            outcome,
            ended: None,
        }
    }

    fn is_well(&self) -> bool {
        self.outcome.is_well() && !matches!(self.ended, Some(Err(_)))
    }

    /// The video, or the name of the execution if the video is not known.
    fn subject(&self) -> String {
        self.video.as_ref().map_or_else(|| self.execution.clone(), Video::short)
    }

    /// For example `new execution, billed: 4.0 min, USD 0.40`.
    fn replay_text(&self) -> String {
        let Some(strategy) = self.strategy else { return String::new() };
        let cost = self.billed.as_ref().map(BilledAnalysis::cost);
        match cost.as_deref() {
            None => strategy.to_string(),
            Some("") => format!("{strategy}, billed"),
            Some(cost) => format!("{strategy}, billed: {cost}"),
        }
    }

    fn outcome_text(&self) -> String {
        match &self.ended {
            None => self.outcome.to_string(),
            Some(Ok(())) => "SUCCEEDED".to_owned(),
            Some(Err(error)) => format!("FAILED again: {error}"),
        }
    }
}

/// The outcome for all inspected executions.
#[derive(Debug, Clone)]
pub struct ReplayReport {
    /// Every execution that was selected.
    pub rows: Vec<ReplayRow>,
    /// The number of failed executions that were replayed before, which have no row.
    pub replayed_before: usize,
    /// Whether the command was stopped before everything was replayed.
    pub interrupted: bool,
    dry_run: bool,
    state_machine: StateMachineArn,
}

impl ReplayReport {
    pub(super) fn new(state_machine: &StateMachineArn, dry_run: bool) -> Self {
        Self { rows: Vec::new(), replayed_before: 0, interrupted: false, dry_run, state_machine: state_machine.clone() }
    }

    pub(super) fn push(&mut self, planned: &Planned, outcome: ReplayOutcome) {
        self.rows.push(ReplayRow::of(planned, outcome));
    }

    /// The ARNs of the executions that this command has redriven or started, with their rows.
    pub fn replayed(&self) -> impl Iterator<Item = (&str, &ReplayRow)> {
        self.rows.iter().filter_map(|row| Some((row.outcome.replayed()?, row)))
    }

    pub(super) fn record_end(&mut self, execution: &DescribeExecutionOutput) {
        let ended = match &execution.status {
            ExecutionStatus::Succeeded => Ok(()),
            status => Err(execution.error.clone().unwrap_or_else(|| status.as_str().to_owned())),
        };
        let arn = Some(execution.execution_arn.as_str());
        if let Some(row) = self.rows.iter_mut().find(|row| row.outcome.replayed() == arn) {
            row.ended = Some(ended);
        }
    }

    /// Whether everything was replayed that was chosen, and none for which the command has waited failed again.
    #[must_use]
    pub fn all_well(&self) -> bool {
        !self.interrupted && self.rows.iter().all(ReplayRow::is_well)
    }

    fn count(&self, which: impl Fn(&ReplayRow) -> bool) -> usize {
        self.rows.iter().filter(|row| which(row)).count()
    }

    fn counts(&self) -> ReplayCounts {
        let already = |row: &ReplayRow| matches!(row.outcome, ReplayOutcome::Runs | ReplayOutcome::WasReplayed);
        ReplayCounts {
            replayed: self.replayed().count(),
            would_be_replayed: self.count(|row| row.outcome == ReplayOutcome::WouldBeReplayed),
            already_replayed: self.replayed_before + self.count(already),
            failed_again: self.count(|row| matches!(row.ended, Some(Err(_)))),
            left_out: self.count(|row| row.outcome == ReplayOutcome::LeftOut),
            not_replayed: self.count(|row| !row.outcome.is_well() && row.outcome != ReplayOutcome::NotTried),
            left_for_the_next_run: self.count(|row| row.outcome == ReplayOutcome::NotTried),
        }
    }

    /// The rows for the table. If there are too many, those that need the operator are first.
    fn shown(&self) -> Vec<&ReplayRow> {
        let mut shown: Vec<_> = self.rows.iter().collect();
        if shown.len() > MAX_ROWS {
            shown.sort_by_key(|row| row.is_well());
            shown.truncate(MAX_ROWS);
        }
        shown
    }
}

/// The report of a replay as JSON.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "The report of `facereel replay --json`")]
pub struct ReplayDocument {
    /// Whether it was a dry run: nothing was done.
    dry_run: bool,
    /// Whether the command was stopped before everything was replayed.
    interrupted: bool,
    /// The numbers of executions.
    counts: ReplayCounts,
    /// Every execution that was selected, except those that were replayed before.
    executions: Vec<ReplayedExecution>,
    /// The URL of all executions in the console.
    console_url: String,
}

/// The numbers of executions.
#[derive(Debug, Serialize, JsonSchema)]
struct ReplayCounts {
    /// Redriven or started by this command.
    replayed: usize,
    /// In a dry run: those that would be replayed.
    would_be_replayed: usize,
    /// Replayed before, by this user or another.
    already_replayed: usize,
    /// Replayed, and failed again while the command waited for them.
    failed_again: usize,
    /// Left out because they would be billed, as the user has chosen.
    left_out: usize,
    /// Not replayed for another reason.
    not_replayed: usize,
    /// Not tried before the command was stopped.
    left_for_the_next_run: usize,
}

/// An execution in the JSON document.
#[derive(Debug, Serialize, JsonSchema)]
struct ReplayedExecution {
    /// Its name.
    execution: String,
    /// Its ARN.
    execution_arn: String,
    /// Its video. null, if its input cannot be read or names none.
    video: Option<Video>,
    /// The name of the error with which it failed. null, if it was already replayed.
    error: Option<String>,
    /// How it is replayed. null, if it was already replayed.
    strategy: Option<Strategy>,
    /// The price of the new analysis. null, if nothing is billed.
    billed: Option<Price>,
    /// The outcome.
    #[serde(flatten)]
    outcome: ReplayOutcome,
    /// How the replayed execution ended: `SUCCEEDED`, or the name of the error. null, if the command has not waited for it.
    ended: Option<String>,
    /// The URL of the execution in the console.
    console_url: String,
}

impl exit::Report for ReplayReport {
    fn exit_status(&self) -> ExitStatus {
        exit::status_of(self.interrupted, self.all_well())
    }

    fn json(&self) -> Value {
        let executions = self.rows.iter().map(|row| ReplayedExecution {
            execution: row.execution.clone(),
            execution_arn: row.arn.clone(),
            video: row.video.clone(),
            error: (!row.error.is_empty()).then(|| row.error.clone()),
            strategy: row.strategy,
            billed: row.billed.as_ref().map(BilledAnalysis::price),
            outcome: row.outcome.clone(),
            ended: row.ended.clone().map(|ended| ended.err().unwrap_or_else(|| "SUCCEEDED".to_owned())),
            console_url: self.state_machine.execution_url(row.outcome.replayed().unwrap_or(&row.arn)),
        });
        document(&ReplayDocument {
            dry_run: self.dry_run,
            interrupted: self.interrupted,
            counts: self.counts(),
            executions: executions.collect(),
            console_url: self.state_machine.url(),
        })
    }
}

impl fmt::Display for ReplayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return f.write_str(match (self.interrupted, self.replayed_before) {
                (true, _) => "Stopped; nothing was replayed.",
                (false, 0) => {
                    "Nothing to replay: no execution failed in this time with this error. Select a longer time with --since."
                }
                (false, _) => "Nothing to replay: every execution that failed in this time was already replayed.",
            });
        }
        if self.rows.iter().any(|row| row.outcome == ReplayOutcome::Declined) {
            return f.write_str("Nothing was replayed.");
        }
        self.write_table(f)?;
        self.write_counts(f)?;
        if self.interrupted {
            writeln!(f, "Stopped. Run again for the others: no execution is replayed twice.")?;
        }
        let replayed = self.replayed().count();
        if (1..=MAX_LINKS).contains(&replayed) {
            for (arn, _) in self.replayed() {
                writeln!(f, "{}", self.state_machine.execution_url(arn))?;
            }
        }
        write!(f, "All executions: {}", self.state_machine.url())
    }
}

impl ReplayReport {
    fn write_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["VIDEO", "FAILED WITH", "REPLAY", "OUTCOME"]);
        let shown = self.shown();
        for row in &shown {
            table.add_row([&row.subject(), &row.error, &row.replay_text(), &row.outcome_text()]);
        }
        writeln!(f, "{}", table.trim_fmt())?;
        if shown.len() < self.rows.len() {
            writeln!(f, "and {} more; --json lists all", self.rows.len() - shown.len())?;
        }
        if self.rows.iter().any(|row| row.is_encrypted) {
            writeln!(f, "Some videos are shown as the names of their executions: {NEEDS_DECRYPT}.")?;
        }
        Ok(())
    }

    fn write_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts();
        if self.dry_run {
            write!(f, "\n{} would be replayed", counts.would_be_replayed)?;
        } else {
            write!(f, "\n{} replayed", counts.replayed)?;
        }
        for (what, rows) in [
            ("already replayed", counts.already_replayed),
            ("failed again", counts.failed_again),
            ("left out", counts.left_out),
            ("not replayed", counts.not_replayed),
            ("left for the next run", counts.left_for_the_next_run),
        ] {
            if rows > 0 {
                write!(f, ", {rows} {what}")?;
            }
        }
        writeln!(f, ".")?;
        let is_done =
            |row: &&ReplayRow| row.outcome.replayed().is_some() || row.outcome == ReplayOutcome::WouldBeReplayed;
        let billed: Vec<_> = self.rows.iter().filter(is_done).filter_map(|row| row.billed.as_ref()).collect();
        consent::write_total(f, &billed, self.dry_run)
    }
}

/// Why videos are not shown.
pub(crate) const NEEDS_DECRYPT: &str =
    "their input is encrypted, and these credentials need kms:Decrypt for the key of the stack";
