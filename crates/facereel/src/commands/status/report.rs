//! The state of a stack.

use std::{collections::BTreeMap, fmt, time::SystemTime};

use comfy_table::{Table, presets};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::Status;
use crate::commands::replay::NEEDS_DECRYPT;
use crate::deployed::{FailureReason, StateMachineArn, Video, stage::Stage};
use crate::documents::document;
use crate::terminal::{
    exit::{self, ExitStatus, FAILURE, SUCCESS},
    text::{counted, duration},
    time::Time,
};

/// The column of the text in which values begin.
const INDENT: &str = "             ";

/// The state of a stack.
#[derive(Debug, Clone)]
pub struct Overview {
    /// The number of running executions.
    pub running: usize,
    /// The earliest start or redrive of a running execution.
    pub oldest: Option<Time>,
    /// The number of executions that wait for a job slot of the account.
    pub waiting: usize,
    /// The earliest start or redrive of those.
    pub first_waiting: Option<Time>,
    /// The number of executions that have been running for too long.
    pub stuck: usize,
    /// The executions that have been running longest, the longest first.
    pub running_executions: Vec<RunningExecution>,
    /// The number of failed executions that were not replayed.
    pub failed: usize,
    /// The number of failed executions that were replayed.
    pub replayed: usize,
    /// The number of failed executions, the newest ones, whose error was read.
    pub errors_read: usize,
    /// Their errors, the most frequent first.
    pub errors: Vec<ErrorGroup>,
    /// The newest failed executions, the newest first.
    pub failed_executions: Vec<FailedExecution>,
    /// The number of undelivered events of uploads.
    pub undelivered_uploads: u64,
    /// The number of undelivered completions of jobs.
    pub undelivered_completions: u64,
    /// Whether the input of an execution could not be decrypted.
    pub is_encrypted: bool,
    pub(super) options: Status,
    pub(super) now: SystemTime,
    pub(super) state_machine: StateMachineArn,
}

/// A running execution.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RunningExecution {
    /// Its name.
    pub execution: String,
    /// Its ARN.
    pub execution_arn: String,
    /// Its video. null, if its input cannot be read or names none.
    pub video: Option<Video>,
    /// Where it is. null, if its history cannot be decrypted.
    pub stage: Option<Stage>,
    /// When it started.
    pub started: Time,
    /// When it was redriven last. null, if it was not.
    pub redriven: Option<Time>,
    /// Its URL in the console.
    pub console_url: String,
}

/// A failed execution.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct FailedExecution {
    /// Its name.
    pub execution: String,
    /// Its ARN.
    pub execution_arn: String,
    /// Its video. null, if its input cannot be read or names none.
    pub video: Option<Video>,
    /// Why it failed, and what to do.
    #[serde(flatten)]
    pub reason: FailureReason,
    /// When it ended.
    pub ended: Time,
    /// Its URL in the console.
    pub console_url: String,
}

/// The failed executions with the same error.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ErrorGroup {
    /// The number of executions.
    pub count: usize,
    /// The newest of them.
    pub newest: FailedExecution,
}

impl ErrorGroup {
    /// Groups executions, the newest first, by the name of their error. The most frequent error is first.
    pub(super) fn of(failed: &[FailedExecution]) -> Vec<Self> {
        let mut groups: BTreeMap<&str, Self> = BTreeMap::new();
        for execution in failed {
            let group = groups.entry(&execution.reason.error);
            group.or_insert_with(|| Self { count: 0, newest: execution.clone() }).count += 1;
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        groups
    }
}

impl Overview {
    /// An execution of the listing of failed ones runs again.
    pub(super) fn count_as_replayed(&mut self) {
        self.failed -= 1;
        self.replayed += 1;
    }

    /// Whether nothing needs the operator.
    #[must_use]
    pub fn all_well(&self) -> bool {
        self.attention().is_empty()
    }

    /// What needs the operator, as phrases.
    fn attention(&self) -> Vec<String> {
        let undelivered = self.undelivered_uploads + self.undelivered_completions;
        let found = [
            (self.failed > 0).then(|| format!("{} failed", self.failed)),
            (self.stuck > 0).then(|| format!("{} stuck", self.stuck)),
            (undelivered > 0).then(|| format!("{undelivered} undelivered")),
        ];
        found.into_iter().flatten().collect()
    }

    fn age(&self, time: Time) -> String {
        duration(time.age(self.now))
    }
}

/// The state of a stack as JSON.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "The report of `facereel status --json`")]
pub struct StatusDocument {
    /// When the state was read.
    time: Time,
    /// Whether nothing failed, is stuck or is undelivered: what `--check` reports as its exit status.
    all_well: bool,
    /// The running executions.
    running: Running,
    /// The failed executions that were not replayed.
    failed: Failed,
    /// What could not be delivered.
    undelivered: Undelivered,
    /// The URL of all executions in the console.
    console_url: String,
}

/// The running executions.
#[derive(Debug, Serialize, JsonSchema)]
struct Running {
    /// Their number.
    count: usize,
    /// The earliest start or redrive. null, if no execution runs.
    oldest: Option<Time>,
    /// The number of those that wait for a job slot of the account.
    waiting: usize,
    /// The number of those that have been running for longer than `stuck_after_seconds` since their start or redrive.
    stuck: usize,
    /// See `stuck`.
    stuck_after_seconds: u64,
    /// Those that have been running longest, the longest first: at most `--limit`.
    executions: Vec<RunningExecution>,
}

/// The failed executions that were not replayed.
#[derive(Debug, Serialize, JsonSchema)]
struct Failed {
    /// Executions that failed longer ago are not counted.
    since_seconds: u64,
    /// Their number.
    count: usize,
    /// The number of failed executions that were replayed.
    replayed: usize,
    /// The number of executions, the newest ones, whose error was read for `errors`.
    errors_read: usize,
    /// The errors, the most frequent first.
    errors: Vec<ErrorGroup>,
    /// The newest failed executions, the newest first: at most `--limit`.
    executions: Vec<FailedExecution>,
}

/// What could not be delivered.
#[derive(Debug, Serialize, JsonSchema)]
struct Undelivered {
    /// The number of events of uploads.
    uploads: u64,
    /// The number of completions of jobs.
    completions: u64,
}

impl exit::Report for Overview {
    fn exit_status(&self) -> ExitStatus {
        if self.options.check && !self.all_well() { FAILURE } else { SUCCESS }
    }

    fn json(&self) -> Value {
        document(&StatusDocument {
            time: self.now.into(),
            all_well: self.all_well(),
            running: Running {
                count: self.running,
                oldest: self.oldest,
                waiting: self.waiting,
                stuck: self.stuck,
                stuck_after_seconds: self.options.stuck_after.as_secs(),
                executions: self.running_executions.clone(),
            },
            failed: Failed {
                since_seconds: self.options.since.as_secs(),
                count: self.failed,
                replayed: self.replayed,
                errors_read: self.errors_read,
                errors: self.errors.clone(),
                executions: self.failed_executions.clone(),
            },
            undelivered: Undelivered { uploads: self.undelivered_uploads, completions: self.undelivered_completions },
            console_url: self.state_machine.url(),
        })
    }
}

impl fmt::Display for Overview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_running(f)?;
        self.write_failed(f)?;
        let (uploads, completions) =
            (counted(self.undelivered_uploads, "upload"), counted(self.undelivered_completions, "completion"));
        write!(f, "\nUndelivered  {uploads}, {completions}")?;
        if self.undelivered_uploads + self.undelivered_completions > 0 {
            write!(f, "; deliver them with `facereel replay --dead-letters`")?;
        }
        if self.is_encrypted {
            write!(f, "\n\nSome videos are shown as the names of their executions: {NEEDS_DECRYPT}.")?;
        }
        if self.options.check {
            let attention = self.attention();
            let attention = match attention.join(", ") {
                none if none.is_empty() => "all well".to_owned(),
                some => format!("needs attention: {some}"),
            };
            write!(f, "\nCheck        {attention}")?;
        }
        write!(f, "\n\nAll executions: {}", self.state_machine.url())
    }
}

impl Overview {
    fn write_running(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Running      {}", self.running)?;
        if let Some(oldest) = self.oldest {
            write!(f, ", the oldest for {}", self.age(oldest))?;
        }
        if self.waiting > 0 {
            let verb = if self.waiting == 1 { "waits" } else { "wait" };
            write!(f, "; {} {verb} for a job slot", self.waiting)?;
        }
        if let Some(first) = self.first_waiting.filter(|_| self.waiting > 1) {
            write!(f, ", the first for {}", self.age(first))?;
        }
        if self.stuck > 0 {
            let limit = duration(self.options.stuck_after);
            write!(f, "\nStuck        {} for more than {limit}; docs/operations.md says what to check", self.stuck)?;
        }
        let rows = self.running_executions.iter().map(|running| {
            let stage = running.stage.map_or_else(|| "running".to_owned(), |stage| stage.to_string());
            let since = running.stage.map_or_else(String::new, |stage| self.age(stage.since));
            let started = self.age(running.redriven.unwrap_or(running.started));
            let started = if running.redriven.is_some() { format!("{started} (redriven)") } else { started };
            ([subject(running.video.as_ref(), &running.execution), stage, since, started], &running.console_url)
        });
        write_rows(f, ["VIDEO", "WHERE", "SINCE", "RUNS FOR"], rows)?;
        write_more(f, self.running - self.running_executions.len())?;
        // An empty line ends a list.
        if self.running_executions.is_empty() { Ok(()) } else { writeln!(f) }
    }

    fn write_failed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\nFailed       {} in the last {}", self.failed, duration(self.options.since))?;
        if self.replayed > 0 {
            write!(f, ", and {} already replayed", self.replayed)?;
        }
        if self.errors_read < self.failed {
            write!(f, "; the errors of the newest {} are", self.errors_read)?;
        }
        for ErrorGroup { count, newest } in &self.errors {
            let FailureReason { error, meaning, cause, remedy } = &newest.reason;
            write!(f, "\n{INDENT}{count} {error}")?;
            for (name, text) in [("meaning", meaning), ("cause", cause), ("remedy", remedy)] {
                if let Some(text) = text {
                    write!(f, "\n{INDENT}  {name:<8} {text}")?;
                }
            }
            write!(f, "\n{INDENT}  {:<8} {}", "newest", subject(newest.video.as_ref(), &newest.execution))?;
            write!(f, "\n{INDENT}  {:<8} {}", "", newest.console_url)?;
        }
        // The groups show the only execution of each error already.
        if self.failed > self.errors.len() {
            let rows = self.failed_executions.iter().map(|failed| {
                let video = subject(failed.video.as_ref(), &failed.execution);
                ([video, failed.reason.error.clone(), format!("{} ago", self.age(failed.ended))], &failed.console_url)
            });
            write_rows(f, ["VIDEO", "FAILED WITH", "ENDED"], rows)?;
            write_more(f, self.failed - self.failed_executions.len())?;
        }
        if self.failed > 0 {
            writeln!(f, "\n{INDENT}After the remedy, replay them with `facereel replay`.")?;
        }
        Ok(())
    }
}

/// The video, or the name of the execution if the video is not known.
fn subject(video: Option<&Video>, execution: &str) -> String {
    video.map_or_else(|| execution.to_owned(), Video::short)
}

/// A table, with the link of each row in the line below it.
fn write_rows<'a, const N: usize>(
    f: &mut fmt::Formatter<'_>,
    header: [&str; N],
    rows: impl Iterator<Item = ([String; N], &'a String)>,
) -> fmt::Result {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    let mut links = vec![None];
    for (row, link) in rows {
        table.add_row(row);
        links.push(Some(link));
    }
    if links.len() == 1 {
        return Ok(());
    }
    for (line, link) in table.lines().zip(links) {
        write!(f, "\n{INDENT}{}", line.trim())?;
        if let Some(link) = link {
            write!(f, "\n{INDENT}  {link}")?;
        }
    }
    Ok(())
}

fn write_more(f: &mut fmt::Formatter<'_>, more: usize) -> fmt::Result {
    if more > 0 { write!(f, "\n{INDENT}and {more} more") } else { Ok(()) }
}
