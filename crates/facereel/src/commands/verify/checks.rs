//! The checks: what each one expects, and the board on which their results are recorded.

use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;

use crate::deployed::Error;
use crate::terminal::text;
use local_stack::Progress;

/// A check of the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Check {
    Rule,
    Pattern,
    UploadEvents,
    ResultEvents,
    Started,
    Succeeded,
    Faces,
    Schemas,
    Sums,
    Found,
    ResultsEvent,
    Missing,
    Redriven,
    FunctionLogs,
    StateMachineLog,
}

impl Check {
    /// What is checked, and what is expected.
    pub(super) fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::Rule => ("the upload rule", "enabled; its target is the state machine, with the whole event"),
            Self::Pattern => ("the upload rule's pattern", "matches an .mp4; not a .txt, not 0 bytes"),
            Self::UploadEvents => ("events of the upload bucket", "sent to EventBridge"),
            Self::ResultEvents => ("events of the results bucket", "sent to EventBridge"),
            Self::Started => ("an upload", "starts its execution"),
            Self::Succeeded => ("the execution", "succeeds"),
            Self::Faces => ("the faces", "are where they are known to be"),
            Self::Schemas => ("every file of the result", "is valid by its schema"),
            Self::Sums => ("the manifest", "names every file, with its bytes, faces and tracks"),
            Self::Found => ("a second execution", "finds the same job, with no second start"),
            Self::ResultsEvent => ("the event of the result", "arrives"),
            Self::Missing => ("an execution for a missing video", "fails with VideoNotFound"),
            Self::Redriven => ("its redrive after the upload", "succeeds"),
            Self::FunctionLogs => ("the logs of the functions", "contain no task token"),
            Self::StateMachineLog => ("the log of the state machine", "contains no task token"),
        }
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As expected.
    Passed,
    /// Not as expected.
    Failed,
    /// The endpoint, such as a local emulator, does not implement a call that the check needs.
    NotSupported,
    /// Not done, because a check that it depends on did not pass.
    Skipped,
    /// An observation that the code does not depend on.
    Recorded,
}

impl Outcome {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::NotSupported => "not supported here",
            Self::Skipped => "skipped",
            Self::Recorded => "recorded",
        }
    }
}

/// A check or a fact, with its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Row {
    /// What was checked.
    pub check: String,
    /// What was expected.
    pub expected: String,
    /// What was seen.
    pub seen: String,
    /// How the check ended.
    pub result: Outcome,
}

/// Why a check did not pass. The text says what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotPassed {
    Failed(String),
    NotSupported(String),
}

/// What a check has seen that is as expected.
pub(super) type Seen = Result<String, NotPassed>;

impl NotPassed {
    pub(super) fn failed(seen: impl Into<String>) -> Self {
        Self::Failed(seen.into())
    }

    /// What was seen.
    pub(super) fn seen(&self) -> &str {
        let (Self::Failed(seen) | Self::NotSupported(seen)) = self;
        seen
    }
}

/// The error codes of endpoints that do not implement a call.
const UNKNOWN_CALL: [&str; 5] =
    ["InvalidAction", "NotImplemented", "UnknownOperationException", "UnsupportedOperation", "501"];

impl From<Error> for NotPassed {
    fn from(error: Error) -> Self {
        match &error {
            Error::Call { source, .. } if UNKNOWN_CALL.iter().any(|code| source.to_string().starts_with(code)) => {
                Self::NotSupported(error.to_string())
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// The results of the checks so far, in the order in which they ended.
#[derive(Debug, Default)]
pub(super) struct Board {
    ended: Vec<(Check, Row)>,
}

impl Board {
    /// Does a check and records its outcome. Returns the value of a check that passed.
    ///
    /// The check is skipped if one of `needs` did not pass, and fails if it takes longer than `limit`.
    pub(super) async fn check<T>(
        &mut self,
        progress: &dyn Progress,
        check: Check,
        needs: &[Check],
        limit: Duration,
        work: impl Future<Output = Result<(String, T), NotPassed>>,
    ) -> Option<T> {
        let (what, _) = check.texts();
        if let Some(missing) = needs.iter().find(|needed| !self.passed(**needed)) {
            let (earlier, _) = missing.texts();
            self.record(check, format!("needs: {earlier}"), Outcome::Skipped);
            return None;
        }
        progress.step(&format!("Checking {what}"));
        let done = timeout(limit, work).await;
        let done = done.unwrap_or_else(|_| Err(NotPassed::Failed(format!("not within {}", text::duration(limit)))));
        match done {
            Ok((seen, value)) => {
                self.record(check, seen, Outcome::Passed);
                Some(value)
            }
            Err(NotPassed::Failed(seen)) => {
                self.record(check, seen, Outcome::Failed);
                None
            }
            Err(NotPassed::NotSupported(why)) => {
                self.record(check, why, Outcome::NotSupported);
                None
            }
        }
    }

    /// Whether this check has passed.
    pub(super) fn passed(&self, check: Check) -> bool {
        self.ended.iter().any(|(ended, row)| *ended == check && row.result == Outcome::Passed)
    }

    /// The rows so far.
    pub(super) fn rows(&self) -> Vec<Row> {
        self.ended.iter().map(|(_, row)| row.clone()).collect()
    }

    fn record(&mut self, check: Check, seen: String, result: Outcome) {
        let (what, expected) = check.texts();
        self.ended.push((check, Row { check: what.to_owned(), expected: expected.to_owned(), seen, result }));
    }
}
