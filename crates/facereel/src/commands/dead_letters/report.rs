//! The outcome for the messages in the dead-letter queues.

use std::fmt;

use comfy_table::{Table, presets};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{DeadLetterQueue, Letter, Plan};
use crate::commands::consent::{self, BilledAnalysis, Price};
use crate::deployed::Video;
use crate::documents::document;
use crate::terminal::exit::{self, ExitStatus};

/// The maximum number of messages in the table. The JSON document has all.
const MAX_ROWS: usize = 100;

/// The outcome for a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum DeadLetterOutcome {
    /// An execution was started for the upload.
    Started {
        /// The ARN of the running execution.
        #[serde(rename = "execution_arn")]
        arn: String,
    },
    /// An execution was started for the upload before.
    WasStarted,
    /// The video has a result, so the message was only removed.
    HadResult,
    /// The completion was sent to `resume-execution`.
    Delivered,
    /// It was a dry run: nothing was done.
    WouldBeDelivered,
    /// It would be billed, and the user has chosen only what is free.
    LeftOut,
    /// It would be billed, and the user could not be asked.
    NotAgreed,
    /// The user has chosen to deliver nothing.
    Declined,
    /// It was not delivered.
    Failed {
        /// The reason, with what to do.
        #[serde(rename = "reason")]
        why: String,
    },
    /// The command was stopped before it was delivered.
    NotTried,
}

impl DeadLetterOutcome {
    /// Whether the message was delivered and removed from its queue.
    fn is_removed(&self) -> bool {
        matches!(self, Self::Started { .. } | Self::WasStarted | Self::HadResult | Self::Delivered)
    }

    fn is_well(&self) -> bool {
        self.is_removed() || matches!(self, Self::WouldBeDelivered | Self::LeftOut)
    }
}

impl fmt::Display for DeadLetterOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Started { .. } => "started",
            Self::WasStarted => "was already started",
            Self::HadResult => "removed: the video has a result already",
            Self::Delivered => "delivered",
            Self::WouldBeDelivered => "dry run: nothing was done",
            Self::LeftOut => "left out, stays in the queue: it would be billed",
            Self::NotAgreed => {
                "not delivered, stays in the queue: it would be billed; agree with --yes, or leave it out with --free"
            }
            Self::Declined => "not delivered, stays in the queue",
            Self::Failed { why } => return write!(f, "NOT delivered, stays in the queue: {why}"),
            Self::NotTried => "not delivered yet: run again",
        })
    }
}

/// What is done with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeadLetterAction {
    /// An execution is started with the event of an upload.
    StartExecution,
    /// It is only removed, because the video has a result.
    Remove,
    /// It is sent to `resume-execution`.
    Deliver,
}

/// A message, and the outcome of its delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetterRow {
    /// The queue of the message.
    pub queue: DeadLetterQueue,
    /// The id of the message.
    pub message_id: String,
    /// The video or the job of the message.
    pub subject: String,
    /// The video. `None`, if the message names none.
    pub video: Option<Video>,
    /// The id of the job, for a completion.
    pub job_id: Option<String>,
    /// What is done with it. `None`, if it cannot be delivered.
    pub action: Option<DeadLetterAction>,
    /// The analysis that its delivery would start, or has started, if that is billed.
    pub billed: Option<BilledAnalysis>,
    /// The outcome.
    pub outcome: DeadLetterOutcome,
}

impl DeadLetterRow {
    fn of(letter: &Letter<'_>, outcome: DeadLetterOutcome) -> Self {
        let (video, job_id, action) = match &letter.plan {
            Plan::Start { upload, .. } => (Some(upload.video.clone()), None, Some(DeadLetterAction::StartExecution)),
            Plan::Remove(video) => (Some(video.clone()), None, Some(DeadLetterAction::Remove)),
            Plan::Resume(completion) => {
                (completion.video.clone(), Some(completion.job_id.clone()), Some(DeadLetterAction::Deliver))
            }
            Plan::Nothing { subject, .. } => (subject.clone(), None, None),
        };
        let subject = match (&letter.plan, &video) {
            (Plan::Resume(completion), _) => completion.subject(),
            (_, Some(video)) => video.short(),
            (_, None) => format!("message {}", letter.message_id),
        };
        Self {
            queue: letter.received.queue,
            message_id: letter.message_id.clone(),
            subject,
            video,
            job_id,
            action,
            billed: letter.billed().cloned(),
            outcome,
        }
    }

    /// Whether the message was removed from its queue.
    pub(super) fn is_removed(&self) -> bool {
        self.outcome.is_removed()
    }

    /// For example `new execution, billed: 4.0 min, USD 0.40`.
    fn action_text(&self) -> String {
        let action = match self.action {
            Some(DeadLetterAction::StartExecution) => "new execution",
            Some(DeadLetterAction::Remove) => "remove",
            Some(DeadLetterAction::Deliver) => "deliver",
            None => "",
        };
        match self.billed.as_ref().map(BilledAnalysis::cost).as_deref() {
            None => action.to_owned(),
            Some("") => format!("{action}, billed"),
            Some(cost) => format!("{action}, billed: {cost}"),
        }
    }
}

/// The outcome for the messages in the dead-letter queues.
#[derive(Debug, Clone)]
pub struct DeadLetterReport {
    /// Every message that was received.
    pub rows: Vec<DeadLetterRow>,
    /// Whether the command was stopped before all messages were delivered.
    pub interrupted: bool,
    dry_run: bool,
}

impl DeadLetterReport {
    pub(super) fn new(dry_run: bool) -> Self {
        Self { rows: Vec::new(), interrupted: false, dry_run }
    }

    pub(super) fn push(&mut self, letter: &Letter<'_>, outcome: DeadLetterOutcome) {
        self.rows.push(DeadLetterRow::of(letter, outcome));
    }

    /// Whether every message was delivered that was chosen.
    #[must_use]
    pub fn all_well(&self) -> bool {
        !self.interrupted && self.rows.iter().all(|row| row.outcome.is_well())
    }

    fn count(&self, which: impl Fn(&DeadLetterOutcome) -> bool) -> usize {
        self.rows.iter().filter(|row| which(&row.outcome)).count()
    }
}

/// The report of a replay of dead letters as JSON.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "The report of `facereel replay --dead-letters --json`")]
pub struct DeadLetterDocument {
    /// Whether it was a dry run: nothing was done.
    dry_run: bool,
    /// Whether the command was stopped before all messages were delivered.
    interrupted: bool,
    /// Every message that was received.
    messages: Vec<DeadLetter>,
}

/// A message in the JSON document.
#[derive(Debug, Serialize, JsonSchema)]
struct DeadLetter {
    /// The dead-letter queue: `uploads` or `completions`.
    queue: DeadLetterQueue,
    /// The id of the message.
    message_id: String,
    /// The video. null, if the message names none.
    video: Option<Video>,
    /// The id of the job, for a completion. null for an upload.
    job_id: Option<String>,
    /// What is done with it. null, if it cannot be delivered.
    action: Option<DeadLetterAction>,
    /// The price of the new analysis. null, if nothing is billed.
    billed: Option<Price>,
    /// The outcome.
    #[serde(flatten)]
    outcome: DeadLetterOutcome,
}

impl exit::Report for DeadLetterReport {
    fn exit_status(&self) -> ExitStatus {
        exit::status_of(self.interrupted, self.all_well())
    }

    fn json(&self) -> Value {
        let messages = self.rows.iter().map(|row| DeadLetter {
            queue: row.queue,
            message_id: row.message_id.clone(),
            video: row.video.clone(),
            job_id: row.job_id.clone(),
            action: row.action,
            billed: row.billed.as_ref().map(BilledAnalysis::price),
            outcome: row.outcome.clone(),
        });
        document(&DeadLetterDocument {
            dry_run: self.dry_run,
            interrupted: self.interrupted,
            messages: messages.collect(),
        })
    }
}

impl fmt::Display for DeadLetterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return f.write_str(if self.interrupted {
                "Stopped; nothing was delivered."
            } else {
                "No dead letters: both queues are empty."
            });
        }
        if self.count(|outcome| *outcome == DeadLetterOutcome::Declined) > 0 {
            return f.write_str("Nothing was delivered; every message stays in its queue.");
        }
        self.write_table(f)?;
        self.write_counts(f)
    }
}

impl DeadLetterReport {
    fn write_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["QUEUE", "VIDEO", "DELIVERY", "OUTCOME"]);
        for row in self.rows.iter().take(MAX_ROWS) {
            table.add_row([row.queue.name(), &row.subject, &row.action_text(), &row.outcome.to_string()]);
        }
        writeln!(f, "{}", table.trim_fmt())?;
        if self.rows.len() > MAX_ROWS {
            writeln!(f, "and {} more; --json lists all", self.rows.len() - MAX_ROWS)?;
        }
        writeln!(f)
    }

    fn write_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_done = |row: &&DeadLetterRow| {
            matches!(row.outcome, DeadLetterOutcome::Started { .. } | DeadLetterOutcome::WouldBeDelivered)
        };
        let billed: Vec<_> = self.rows.iter().filter(is_done).filter_map(|row| row.billed.as_ref()).collect();
        consent::write_total(f, &billed, self.dry_run)?;
        if self.dry_run {
            write!(f, "{} would be delivered", self.count(|one| *one == DeadLetterOutcome::WouldBeDelivered))?;
        } else {
            write!(f, "{} delivered", self.count(DeadLetterOutcome::is_removed))?;
        }
        for (what, count) in [
            ("left out", self.count(|outcome| *outcome == DeadLetterOutcome::LeftOut)),
            ("not delivered", self.count(|outcome| !outcome.is_well())),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        f.write_str(if self.interrupted { ". Stopped; run again for the others." } else { "." })
    }
}
