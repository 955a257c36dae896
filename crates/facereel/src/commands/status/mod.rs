//! `facereel status`: where the running executions are, what failed and what to do about it, and what is undelivered.

mod report;

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use aws_sdk_sfn::types::{ExecutionListItem, ExecutionStatus};
use aws_sdk_sqs::types::QueueAttributeName;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::commands::replay::{Failure, Failures, time_ago};
use crate::deployed::{
    CONCURRENT_CALLS, Deployed, Error, FailureReason, Queue, Video, active_since, stage, system_time,
};
use crate::terminal::text::parse_duration;
use local_stack::Progress;

pub use report::{ErrorGroup, FailedExecution, Overview, RunningExecution, StatusDocument};

/// The number of failed executions whose error is read: the burst that AWS allows for `DescribeExecution` is at least twice as
/// large (<https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>).
const ERRORS_READ: usize = 100;

const EXAMPLES: &str = "\
Examples:
  facereel status
  facereel status --since 7days --limit 50
  facereel status --check --quiet || echo 'facereel needs attention'
  facereel status --json | jq '.failed.errors'";

/// Show where the running videos are, which failed and what to do about it, and what is undelivered.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Status {
    /// Show failures of this time, such as 90m, 24h or 7days.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_duration)]
    since: Duration,
    /// List at most COUNT running and COUNT failed executions. All of them are counted.
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
    /// Exit with status 1 if an execution failed and was not replayed, if one is stuck, or if something is undelivered.
    #[arg(long)]
    check: bool,
    /// An execution is stuck if it has been running for longer than this since it was started or redriven. The default is
    /// that of the alarm `stuck` (the Terraform variable `stuck_after_hours`).
    #[arg(long, value_name = "TIME", default_value = "12h", value_parser = parse_duration)]
    stuck_after: Duration,
}

impl Status {
    /// Reads the state of the stack. Nothing is changed.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn run(&self, deployed: &Deployed, progress: &dyn Progress) -> Result<Overview, Error> {
        progress.step("Reading the state of the stack");
        let (mut running, queue, undelivered_uploads, undelivered_completions) = tokio::try_join!(
            deployed.running_executions(),
            Queue::read(deployed),
            undelivered(deployed, "undelivered-uploads"),
            undelivered(deployed, "undelivered-completions"),
        )?;
        let failures = Failures::find(deployed, time_ago(self.since), &running).await?;
        let now = SystemTime::now();
        running.sort_by_cached_key(|execution| (active_since(execution), execution.name.clone()));
        let names: HashSet<_> = running.iter().map(|execution| execution.name.as_str()).collect();
        let queue = queue.retain(|name| names.contains(name));
        let waiting = running.iter().filter(|execution| queue.place(&execution.name).is_some());
        let stuck = |execution: &&ExecutionListItem| {
            now.duration_since(active_since(execution)).unwrap_or_default() > self.stuck_after
        };

        let mut overview = Overview {
            running: running.len(),
            oldest: running.first().map(|execution| active_since(execution).into()),
            waiting: queue.len(),
            first_waiting: waiting.map(active_since).min().map(Into::into),
            stuck: running.iter().filter(stuck).count(),
            running_executions: Vec::new(),
            failed: failures.open.len(),
            replayed: failures.replayed_running + failures.replayed_succeeded,
            errors_read: 0,
            errors: Vec::new(),
            failed_executions: Vec::new(),
            undelivered_uploads,
            undelivered_completions,
            is_encrypted: false,
            options: self.clone(),
            now,
            state_machine: deployed.state_machine.clone(),
        };
        self.read_executions(deployed, progress, &queue, &running, failures.open, &mut overview).await?;
        Ok(overview)
    }

    /// Reads the executions that have run longest and those that failed last.
    async fn read_executions(
        &self,
        deployed: &Deployed,
        progress: &dyn Progress,
        queue: &Queue,
        running: &[ExecutionListItem],
        mut failures: Vec<Failure>,
        overview: &mut Overview,
    ) -> Result<(), Error> {
        let running = &running[..running.len().min(self.limit)];
        failures.reverse();
        failures.truncate(self.limit.max(ERRORS_READ));
        let total = running.len() + failures.len();
        if total == 0 {
            return Ok(());
        }
        progress.step("Reading the executions");
        #[expect(clippy::cast_precision_loss, reason = "a ratio for display")]
        let show = |read: usize| progress.ratio(read as f32 / total as f32);

        let mut reads = Box::pin(
            stream::iter(running).map(|execution| read_running(deployed, queue, execution)).buffered(CONCURRENT_CALLS),
        );
        while let Some((execution, is_encrypted)) = reads.try_next().await? {
            overview.is_encrypted |= is_encrypted;
            overview.running_executions.push(execution);
            show(overview.running_executions.len());
        }
        let mut reads =
            Box::pin(stream::iter(&failures).map(|failure| read_failed(deployed, failure)).buffered(CONCURRENT_CALLS));
        let mut failed = Vec::new();
        while let Some((execution, is_encrypted)) = reads.try_next().await? {
            match execution {
                Some(execution) => failed.push(execution),
                None => overview.count_as_replayed(),
            }
            overview.is_encrypted |= is_encrypted;
            show(running.len() + failed.len());
        }
        overview.errors_read = failed.len();
        overview.errors = ErrorGroup::of(&failed);
        failed.truncate(self.limit);
        overview.failed_executions = failed;
        Ok(())
    }
}

/// Reads a running execution, and whether its input is encrypted for these credentials.
async fn read_running(
    deployed: &Deployed,
    queue: &Queue,
    execution: &ExecutionListItem,
) -> Result<(RunningExecution, bool), Error> {
    let arn = &execution.execution_arn;
    let (described, stage) = tokio::join!(deployed.describe_execution(arn), stage::of_queued(deployed, queue, arn));
    let described = described?;
    let is_encrypted = described.as_ref().is_some_and(|described| described.input.is_none());
    let input = described.and_then(|described| described.input);
    let stage = match stage {
        Ok(stage) => Some(stage),
        Err(Error::Denied { action: Error::DECRYPT, .. }) => None,
        Err(error) => return Err(error),
    };
    let running = RunningExecution {
        execution: execution.name.clone(),
        execution_arn: arn.clone(),
        video: input.as_deref().and_then(Video::of_input),
        stage,
        started: system_time(execution.start_date).into(),
        redriven: execution.redrive_date.map(|date| system_time(date).into()),
        console_url: deployed.state_machine.execution_url(arn),
    };
    Ok((running, is_encrypted))
}

/// Reads a failed execution, and whether its input is encrypted for these credentials. `None`, if it was redriven since it
/// was listed.
async fn read_failed(deployed: &Deployed, failure: &Failure) -> Result<(Option<FailedExecution>, bool), Error> {
    let described = deployed.describe_execution(&failure.arn).await?;
    let described = described.ok_or_else(|| Error::NoExecution(failure.arn.clone()))?;
    if [ExecutionStatus::Running, ExecutionStatus::Succeeded].contains(&described.status) {
        return Ok((None, false));
    }
    let failed = FailedExecution {
        execution: failure.name.clone(),
        execution_arn: failure.arn.clone(),
        video: described.input.as_deref().and_then(Video::of_input),
        reason: FailureReason::of(&described),
        ended: failure.ended.into(),
        console_url: deployed.state_machine.execution_url(&failure.arn),
    };
    Ok((Some(failed), described.input.is_none()))
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
