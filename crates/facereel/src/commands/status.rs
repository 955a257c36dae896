//! `facereel status`: what runs, what waits for a job slot, what failed, what could not be delivered.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, SystemTime},
};

use aws_sdk_sfn::types::{ExecutionListItem, ExecutionStatus};
use aws_sdk_sqs::types::QueueAttributeName;

use crate::commands::replay::{Selection, State, ago, plan};
use crate::deployed::{self, Deployed, Error, StateMachineArn};
use crate::text::counted;
use local_stack::Progress;

/// Where the functions keep the entries of those who wait for a slot: `<start of the execution, ms>-<its name>`.
const ENTRIES: &str = "queue/entries/";

/// Those who wait that are named one by one.
const NAMED: usize = 10;

/// Says what runs, what waits for a job slot, what failed, and what could not be delivered.
#[derive(Debug, Clone, clap::Args)]
pub struct Status {
    /// How far to look back for failures, such as 90m, 24h or 7days.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = deployed::duration)]
    last: Duration,
}

/// How a stack stands.
#[derive(Debug, Clone)]
pub struct Overview {
    /// How many executions run.
    pub running: usize,
    /// Since when the oldest of them does.
    pub oldest: Option<SystemTime>,
    /// Those that wait for one of the account's job slots, oldest first.
    pub waiting: Vec<Waiting>,
    /// How many executions failed with each error and have not been replayed.
    pub failed: BTreeMap<String, usize>,
    /// How many failed, and have been replayed since.
    pub replayed: usize,
    /// Events of uploads that started nothing.
    pub undelivered_uploads: u64,
    /// Completions of jobs that were not handled.
    pub undelivered_completions: u64,
    last: Duration,
    now: SystemTime,
    state_machine: StateMachineArn,
}

/// An execution that waits for a job slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its name.
    pub execution: String,
    /// When it started.
    pub since: SystemTime,
}

impl Waiting {
    /// Reads a entry's key.
    fn of(key: &str) -> Option<Self> {
        let (millis, execution) = key.strip_prefix(ENTRIES)?.split_once('-')?;
        let since = SystemTime::UNIX_EPOCH + Duration::from_millis(millis.parse().ok()?);
        Some(Self { execution: execution.to_owned(), since })
    }
}

impl Status {
    /// Looks at the stack; nothing is changed.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn run(&self, deployed: &Deployed, progress: &dyn Progress) -> Result<Overview, Error> {
        progress.step("Looking");
        let selection = Selection::Since(ago(self.last));
        let (running, waiting, cases, undelivered_uploads, undelivered_completions) = tokio::try_join!(
            running(deployed),
            waiting(deployed),
            plan(deployed, &selection),
            undelivered(deployed, "undelivered-uploads"),
            undelivered(deployed, "undelivered-completions"),
        )?;
        let mut failed = BTreeMap::new();
        let mut replayed = 0;
        for case in cases {
            match case.state {
                State::Failed { error, .. } => *failed.entry(error).or_default() += 1,
                State::Running | State::Succeeded => replayed += 1,
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

/// When each execution that runs began.
async fn running(deployed: &Deployed) -> Result<Vec<SystemTime>, Error> {
    let mut started = Vec::new();
    let look = |execution: ExecutionListItem| started.extend(SystemTime::try_from(execution.start_date));
    deployed.each_execution(ExecutionStatus::Running, look).await?;
    Ok(started)
}

/// Who waits for a slot, in the order in which they get one.
async fn waiting(deployed: &Deployed) -> Result<Vec<Waiting>, Error> {
    let bucket = deployed.results_bucket().await?;
    let mut pages = deployed.s3.list_objects_v2().bucket(bucket).prefix(ENTRIES).into_paginator().send();
    let mut waiting = Vec::new();
    while let Some(page) = pages.try_next().await.map_err(Error::aws("s3:ListBucket"))? {
        waiting.extend(page.contents().iter().filter_map(|object| Waiting::of(object.key()?)));
    }
    Ok(waiting)
}

/// About how many messages a queue holds.
async fn undelivered(deployed: &Deployed, queue: &str) -> Result<u64, Error> {
    let url = deployed.queue_url(queue).await?;
    let attribute = QueueAttributeName::ApproximateNumberOfMessages;
    let facts = deployed.sqs.get_queue_attributes().queue_url(url).attribute_names(attribute.clone()).send().await;
    let facts = facts.map_err(Error::aws("sqs:GetQueueAttributes"))?;
    let count =
        facts.attributes().and_then(|attributes| attributes.get(&attribute)).and_then(|count| count.parse().ok());
    count.ok_or(Error::Incomplete { action: "sqs:GetQueueAttributes", missing: "ApproximateNumberOfMessages" })
}

impl Overview {
    fn for_how_long(&self, since: SystemTime) -> String {
        let seconds = self.now.duration_since(since).unwrap_or_default().as_secs();
        // Seconds matter to nobody who has waited for minutes.
        let shown = if seconds < 60 { seconds } else { seconds / 60 * 60 };
        humantime::format_duration(Duration::from_secs(shown)).to_string()
    }
}

impl fmt::Display for Overview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const INDENT: &str = "             ";
        write!(f, "Running      {}", self.running)?;
        if let Some(oldest) = self.oldest {
            write!(f, ", the oldest for {}", self.for_how_long(oldest))?;
        }
        write!(f, "\nWaiting      {} for a job slot", self.waiting.len())?;
        if let Some(first) = self.waiting.first() {
            write!(f, ", the first for {}", self.for_how_long(first.since))?;
        }
        for Waiting { execution, since } in self.waiting.iter().take(NAMED) {
            write!(f, "\n{INDENT}  {execution} for {}", self.for_how_long(*since))?;
        }
        if self.waiting.len() > NAMED {
            write!(f, "\n{INDENT}  and {} more", self.waiting.len() - NAMED)?;
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
    use lambdas::{
        job::{FaceAttributes, Job},
        queue::QueueEntry,
        video::Video,
    };

    use super::*;

    #[test]
    fn a_entry_says_who_waits_and_since_when() {
        let video = Video { bucket: "b".into(), key: "k".into(), version_id: None, etag: "e".into(), bytes: 1 };
        let job = Job {
            video,
            face_attributes: FaceAttributes::Default,
            topic_arn: String::new(),
            role_arn: String::new(),
            attempt: 0,
        };
        let started_ms = 1_764_000_000_123;
        let entry = QueueEntry { execution: "6d2a-9f_x".to_owned(), started_ms, entered_ms: started_ms, job };
        let since = SystemTime::UNIX_EPOCH + Duration::from_millis(1_764_000_000_123);
        assert_eq!(Waiting::of(&entry.object_key()), Some(Waiting { execution: entry.execution, since }));
        assert_eq!(Waiting::of("queue/lease"), None);
    }
}
