//! Where a running execution is.

use std::{fmt, time::SystemTime};

use aws_sdk_sfn::types::{HistoryEvent, HistoryEventType};
use lambdas::list_pages::{PAGES_PER_BATCH, SINGLE_PAGES};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Deployed, Error, Queue, system_time};
use crate::terminal::time::Time;

/// Where an execution is, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Stage {
    /// Where it is.
    #[serde(flatten)]
    pub step: Step,
    /// When it entered the state of the state machine in which it is, or was redriven in it.
    pub since: Time,
}

/// The part of the work that an execution does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Step {
    /// It inspects the video.
    Inspecting,
    /// It waits for a job slot of the account.
    Queued {
        /// Its place in the queue, from 1.
        queue_place: usize,
        /// The number of executions in the queue.
        queue_length: usize,
    },
    /// Its job runs, or is about to be started.
    Detecting,
    /// It fetches the pages of the result.
    FetchingPages {
        /// The number of pages that are stored. After the first thousand, about that number.
        pages: usize,
    },
    /// It writes the summary.
    Summarizing,
    /// It has ended, with or without a result.
    Ended,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.step.fmt(f)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inspecting => f.write_str("inspecting the video"),
            Self::Queued { queue_place, queue_length } => {
                write!(f, "waiting for a job slot, place {queue_place} of {queue_length}")
            }
            Self::Detecting => f.write_str("detecting faces"),
            Self::FetchingPages { pages } => write!(f, "fetching page {}", pages + 1),
            Self::Summarizing => f.write_str("summarizing"),
            Self::Ended => f.write_str("ended"),
        }
    }
}

/// Where an execution is. The queue is read only if the execution is in the state that waits for a job.
///
/// # Errors
/// [`Error`] of `states:GetExecutionHistory`, `lambda:GetFunctionConfiguration` or `s3:ListBucket`.
pub async fn of(deployed: &Deployed, execution_arn: &str) -> Result<Stage, Error> {
    let stage = from_history(deployed, execution_arn).await?;
    if stage.step != Step::Detecting {
        return Ok(stage);
    }
    Ok(stage.in_queue(&Queue::read(deployed).await?, execution_arn))
}

/// Where an execution is, if the queue is known.
///
/// # Errors
/// [`Error`] of `states:GetExecutionHistory`.
pub async fn of_queued(deployed: &Deployed, queue: &Queue, execution_arn: &str) -> Result<Stage, Error> {
    Ok(from_history(deployed, execution_arn).await?.in_queue(queue, execution_arn))
}

impl Stage {
    /// An execution that waits for its job may wait for a job slot first.
    fn in_queue(self, queue: &Queue, execution_arn: &str) -> Self {
        let name = execution_arn.rsplit(':').next().unwrap_or_default();
        match (self.step, queue.place(name)) {
            (Step::Detecting, Some(queue_place)) => {
                Self { step: Step::Queued { queue_place, queue_length: queue.len() }, ..self }
            }
            _ => self,
        }
    }
}

/// Reads the history backwards, to the state that the execution has entered last.
async fn from_history(deployed: &Deployed, execution_arn: &str) -> Result<Stage, Error> {
    let mut events = deployed.history_backwards(execution_arn).into_paginator().items().send();
    let mut reader = Reader::default();
    while let Some(event) = events.next().await {
        let event = event.map_err(|error| match error.as_service_error() {
            Some(reason) if reason.is_execution_does_not_exist() => Error::NoExecution(execution_arn.to_owned()),
            _ => Error::aws("states:GetExecutionHistory")(error),
        })?;
        if let Some(stage) = reader.read(&event) {
            return Ok(stage);
        }
    }
    Ok(reader.at_the_start())
}

/// What the events that were read backwards so far mean together.
#[derive(Default)]
struct Reader {
    /// The last redrive.
    redriven: Option<SystemTime>,
    /// Iterations of the Map that have ended.
    iterations: usize,
    /// When the execution entered the first of the states that list and fetch pages, as far as it was read.
    in_pages: Option<SystemTime>,
    /// The time of the event that was read last. `None`, if the history is empty: it is eventually consistent.
    earliest: Option<SystemTime>,
}

impl Reader {
    /// Reads the event before the ones that were read. Returns the stage once it is certain.
    fn read(&mut self, event: &HistoryEvent) -> Option<Stage> {
        let at = system_time(event.timestamp);
        self.earliest = Some(at);
        match event.r#type {
            HistoryEventType::ExecutionRedriven if self.redriven.is_none() => self.redriven = Some(at),
            // The end before a redrive is not the end of the execution.
            HistoryEventType::ExecutionSucceeded
            | HistoryEventType::ExecutionFailed
            | HistoryEventType::ExecutionAborted
            | HistoryEventType::ExecutionTimedOut
                if self.redriven.is_none() =>
            {
                return Some(Stage { step: Step::Ended, since: at.into() });
            }
            HistoryEventType::TaskStateExited
                if event.state_exited_event_details().is_some_and(|details| details.name() == "FetchPage") =>
            {
                self.iterations += 1;
            }
            _ => {}
        }
        let entered = event.state_entered_event_details().map(|details| details.name());
        match (entered?, self.in_pages) {
            ("InspectVideo", None) => Some(self.since(Step::Inspecting, at)),
            ("StartDetection", None) => Some(self.since(Step::Detecting, at)),
            ("Summarize", None) => Some(self.since(Step::Summarizing, at)),
            ("ReadPages" | "ListOrFetch?" | "ListPages" | "FetchPage" | "MorePages?", _) => {
                self.in_pages = Some(at);
                None
            }
            (_, Some(first)) => Some(self.fetching(first)),
            _ => None,
        }
    }

    /// The stage of an execution whose history was read to its start.
    fn at_the_start(&self) -> Stage {
        match self.in_pages {
            Some(first) => self.fetching(first),
            None => self.since(Step::Inspecting, self.earliest.unwrap_or_else(SystemTime::now)),
        }
    }

    fn fetching(&self, first: SystemTime) -> Stage {
        let batches = self.iterations.saturating_sub(SINGLE_PAGES);
        let pages = self.iterations.min(SINGLE_PAGES) + batches * PAGES_PER_BATCH;
        self.since(Step::FetchingPages { pages }, first)
    }

    fn since(&self, step: Step, entered: SystemTime) -> Stage {
        Stage { step, since: self.redriven.map_or(entered, |redriven| redriven.max(entered)).into() }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_sfn::{
        primitives::DateTime,
        types::{StateEnteredEventDetails, StateExitedEventDetails},
    };

    use super::*;

    /// The stage after these events: their types, or the names of states that were entered or, after `-`, exited.
    fn after(events: &[&str]) -> (Step, u64) {
        let mut reader = Reader::default();
        let read = (1..).zip(events).collect::<Vec<_>>();
        let stage = read.into_iter().rev().find_map(|(seconds, event)| reader.read(&history_event(event, seconds)));
        let stage = stage.unwrap_or_else(|| reader.at_the_start());
        let since = SystemTime::from(stage.since).duration_since(SystemTime::UNIX_EPOCH).unwrap();
        (stage.step, since.as_secs())
    }

    fn history_event(text: &str, seconds: i64) -> HistoryEvent {
        let event = HistoryEvent::builder().id(seconds).timestamp(DateTime::from_secs(seconds));
        if text.starts_with("Execution") || text.starts_with("Task") {
            return event.r#type(text.into()).build().unwrap();
        }
        match text.strip_prefix('-') {
            Some(state) => event
                .r#type(HistoryEventType::TaskStateExited)
                .state_exited_event_details(StateExitedEventDetails::builder().name(state).build().unwrap()),
            None => event
                .r#type(HistoryEventType::TaskStateEntered)
                .state_entered_event_details(StateEnteredEventDetails::builder().name(text).build().unwrap()),
        }
        .build()
        .unwrap()
    }

    #[test]
    fn the_stage_is_the_state_that_was_entered_last() {
        let fetching = |pages| Step::FetchingPages { pages };
        let events = [
            ("ExecutionStarted", (Step::Inspecting, 1)),
            ("InspectVideo", (Step::Inspecting, 2)),
            ("-InspectVideo", (Step::Inspecting, 2)),
            ("StartDetection", (Step::Detecting, 4)),
            ("TaskSubmitted", (Step::Detecting, 4)),
            ("-StartDetection", (Step::Detecting, 4)),
            ("ReadPages", (fetching(0), 7)),
            ("ListOrFetch?", (fetching(0), 7)),
            ("ListPages", (fetching(0), 7)),
            ("FetchPage", (fetching(0), 7)),
            ("-FetchPage", (fetching(1), 7)),
            ("-ListPages", (fetching(1), 7)),
            ("MorePages?", (fetching(1), 7)),
            ("ReadPages", (fetching(1), 7)),
            ("FetchPage", (fetching(1), 7)),
            ("-FetchPage", (fetching(2), 7)),
            ("-FetchPage", (fetching(3), 7)),
            ("Summarize", (Step::Summarizing, 18)),
            ("-Summarize", (Step::Summarizing, 18)),
            ("ExecutionSucceeded", (Step::Ended, 20)),
        ];
        for count in 1..=events.len() {
            let texts: Vec<_> = events[..count].iter().map(|(text, _)| *text).collect();
            assert_eq!(after(&texts), events[count - 1].1, "after {texts:?}");
        }
    }

    /// AWS does not document whether the state is entered again in the history of a redriven execution.
    #[test]
    fn a_redriven_execution_is_in_the_state_that_failed_since_the_redrive() {
        let failed = ["ExecutionStarted", "InspectVideo", "-InspectVideo", "StartDetection", "ExecutionFailed"];
        assert_eq!(after(&failed), (Step::Ended, 5));
        let redriven = [&failed[..], &["ExecutionRedriven"]].concat();
        assert_eq!(after(&redriven), (Step::Detecting, 6));
        assert_eq!(after(&[&redriven[..], &["TaskScheduled"]].concat()), (Step::Detecting, 6));
        assert_eq!(after(&[&redriven[..], &["StartDetection"]].concat()), (Step::Detecting, 7));
        assert_eq!(after(&[&redriven[..], &["ExecutionFailed"]].concat()), (Step::Ended, 7));
    }

    #[test]
    fn after_a_thousand_pages_an_iteration_fetches_a_batch() {
        let events: Vec<_> = ["StartDetection", "ReadPages"].into_iter().chain(vec!["-FetchPage"; 1003]).collect();
        assert_eq!(after(&events).0, Step::FetchingPages { pages: 1150 });
    }

    #[test]
    fn an_execution_with_a_queue_entry_waits_for_a_slot() {
        let queue: Queue = ["other", "mine"].map(str::to_owned).into_iter().collect();
        let arn = "arn:aws:states:eu-west-1:123456789012:execution:facereel-analyze-video:mine";
        let stage = |step| Stage { step, since: SystemTime::UNIX_EPOCH.into() }.in_queue(&queue, arn).to_string();
        assert_eq!(stage(Step::Detecting), "waiting for a job slot, place 2 of 2");
        // The entry of an execution that has continued is about to be deleted.
        assert_eq!(stage(Step::FetchingPages { pages: 6 }), "fetching page 7");
    }
}
