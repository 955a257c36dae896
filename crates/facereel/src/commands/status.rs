//! `facereel status`: the executions that run, wait for a job slot or failed, and the undelivered events.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, SystemTime},
};

use aws_sdk_sfn::types::{ExecutionListItem, ExecutionStatus};
use aws_sdk_sqs::types::QueueAttributeName;

use crate::commands::replay::{CandidateState, Selection, find_candidates, time_ago};
use crate::deployed::{Deployed, Error, StateMachineArn};
use crate::terminal::{
    exit,
    text::{counted, parse_duration},
};
use lambdas::layout;
use local_stack::Progress;

/// The maximum number of waiting executions to list.
const MAX_LISTED: usize = 10;

/// Show which executions run, wait for a job slot or failed, and how many events are undelivered.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  facereel status
  facereel status --json | jq .failed")]
pub struct Status {
    /// Show failures of this time, such as 90m, 24h or 7days.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_duration)]
    last: Duration,
}

/// The state of a stack.
#[derive(Debug, Clone)]
pub struct Overview {
    /// The number of running executions.
    pub running: usize,
    /// The start of the oldest running execution.
    pub oldest: Option<SystemTime>,
    /// The executions that wait for a job slot of the account, oldest first.
    pub waiting: Vec<WaitingExecution>,
    /// The number of failed executions that were not replayed, by the name of the error.
    pub failed: BTreeMap<String, usize>,
    /// The number of failed executions that were replayed.
    pub replayed: usize,
    /// The number of undelivered events of uploads.
    pub undelivered_uploads: u64,
    /// The number of undelivered completions of jobs.
    pub undelivered_completions: u64,
    last: Duration,
    now: SystemTime,
    state_machine: StateMachineArn,
}

/// An execution that waits for a job slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingExecution {
    /// Its name.
    pub execution: String,
    /// When it started.
    pub since: SystemTime,
}

impl WaitingExecution {
    /// Parses the key of a queue entry.
    fn of(key: &str) -> Option<Self> {
        let entry = layout::read_queue_entry(key)?;
        let since = SystemTime::UNIX_EPOCH + Duration::from_millis(entry.started_ms.try_into().ok()?);
        Some(Self { execution: entry.execution_name.to_owned(), since })
    }
}

impl Status {
    /// Reads the state of the stack. Nothing is changed.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn run(&self, deployed: &Deployed, progress: &dyn Progress) -> Result<Overview, Error> {
        progress.step("Reading the state of the stack");
        let selection = Selection::Since(time_ago(self.last));
        let (running, waiting, candidates, undelivered_uploads, undelivered_completions) = tokio::try_join!(
            running(deployed),
            waiting(deployed),
            find_candidates(deployed, &selection),
            undelivered(deployed, "undelivered-uploads"),
            undelivered(deployed, "undelivered-completions"),
        )?;
        let mut failed = BTreeMap::new();
        let mut replayed = 0;
        for candidate in candidates {
            match candidate.state {
                CandidateState::Failed { error, .. } => *failed.entry(error).or_default() += 1,
                CandidateState::Running | CandidateState::Succeeded => replayed += 1,
            }
        }
        Ok(Overview {
            running: running.len(),
            oldest: running.into_iter().min(),
            waiting,
            failed,
            replayed,
            undelivered_uploads,
            undelivered_completions,
            last: self.last,
            now: SystemTime::now(),
            state_machine: deployed.state_machine.clone(),
        })
    }
}

/// The start of each running execution.
async fn running(deployed: &Deployed) -> Result<Vec<SystemTime>, Error> {
    let mut started = Vec::new();
    let visit = |execution: ExecutionListItem| started.extend(SystemTime::try_from(execution.start_date));
    deployed.each_execution(ExecutionStatus::Running, visit).await?;
    Ok(started)
}

/// The executions that wait for a job slot, in the order in which they get one.
async fn waiting(deployed: &Deployed) -> Result<Vec<WaitingExecution>, Error> {
    let bucket = deployed.results_bucket().await?;
    let mut pages = deployed.s3.list_objects_v2().bucket(bucket).prefix(layout::QUEUE_ENTRIES).into_paginator().send();
    let mut waiting = Vec::new();
    while let Some(page) = pages.try_next().await.map_err(Error::aws("s3:ListBucket"))? {
        waiting.extend(page.contents().iter().filter_map(|object| WaitingExecution::of(object.key()?)));
    }
    Ok(waiting)
}

/// The approximate number of messages in a queue.
async fn undelivered(deployed: &Deployed, queue: &str) -> Result<u64, Error> {
    let url = deployed.queue_url(queue).await?;
    let attribute = QueueAttributeName::ApproximateNumberOfMessages;
    let response = deployed.sqs.get_queue_attributes().queue_url(url).attribute_names(attribute.clone()).send().await;
    let response = response.map_err(Error::aws("sqs:GetQueueAttributes"))?;
    let count =
        response.attributes().and_then(|attributes| attributes.get(&attribute)).and_then(|count| count.parse().ok());
    count.ok_or(Error::Incomplete { action: "sqs:GetQueueAttributes", missing: "ApproximateNumberOfMessages" })
}

impl Overview {
    fn time_since(&self, since: SystemTime) -> String {
        let seconds = self.now.duration_since(since).unwrap_or_default().as_secs();
        // After a minute, seconds are not relevant.
        let shown = if seconds < 60 { seconds } else { seconds / 60 * 60 };
        humantime::format_duration(Duration::from_secs(shown)).to_string()
    }
}

impl exit::Report for Overview {
    fn json(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

impl fmt::Display for Overview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const INDENT: &str = "             ";
        write!(f, "Running      {}", self.running)?;
        if let Some(oldest) = self.oldest {
            write!(f, ", the oldest for {}", self.time_since(oldest))?;
        }
        write!(f, "\nWaiting      {} for a job slot", self.waiting.len())?;
        if let Some(first) = self.waiting.first() {
            write!(f, ", the first for {}", self.time_since(first.since))?;
        }
        for WaitingExecution { execution, since } in self.waiting.iter().take(MAX_LISTED) {
            write!(f, "\n{INDENT}  {execution} for {}", self.time_since(*since))?;
        }
        if self.waiting.len() > MAX_LISTED {
            write!(f, "\n{INDENT}  and {} more", self.waiting.len() - MAX_LISTED)?;
        }
        let (failed, last) = (self.failed.values().sum::<usize>(), humantime::format_duration(self.last));
        write!(f, "\nFailed       {failed} in the last {last}")?;
        if self.replayed > 0 {
            write!(f, ", and {} already replayed", self.replayed)?;
        }
        for (error, count) in &self.failed {
            write!(f, "\n{INDENT}  {count} {error}")?;
        }
        let Self { undelivered_uploads, undelivered_completions, .. } = self;
        let (uploads, completions) =
            (counted(*undelivered_uploads, "upload"), counted(*undelivered_completions, "completion"));
        write!(f, "\nUndelivered  {uploads}, {completions}")?;
        write!(f, "\n\n{}", self.state_machine.url())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_queue_entry_contains_the_execution_and_its_start() {
        let started_ms = 1_764_000_000_123;
        let key = layout::queue_entry(started_ms, "6d2a-9f_x", 0);
        let since = SystemTime::UNIX_EPOCH + Duration::from_millis(1_764_000_000_123);
        assert_eq!(WaitingExecution::of(&key), Some(WaitingExecution { execution: "6d2a-9f_x".to_owned(), since }));
        assert_eq!(WaitingExecution::of(layout::LEASE), None);
    }
}
