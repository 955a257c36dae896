//! The running and the failed executions of a stack, as rows of the catalogue.

use std::time::{Duration, SystemTime};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lambdas::layout;

use crate::commands::replay::{Failures, time_ago};
use crate::deployed::{CONCURRENT_CALLS, Deployed, Error, FailureReason, Video, active_since};
use crate::stored::ListedState;

/// The number of running and of failed executions whose video is read: the burst that AWS allows for `DescribeExecution` is at least as
/// large as both together (<https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>).
const MOST: usize = 100;

/// Failures of this time are shown.
const SINCE: Duration = Duration::from_hours(7 * 24);

/// An execution of a video.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) arn: String,
    /// The title of the row: the key of the video, cut as in the key of its results.
    pub(super) title: String,
    /// When it was started or redriven, or when it has failed.
    pub(super) date: SystemTime,
    pub(super) state: ListedState,
}

/// The executions that are shown.
#[derive(Debug, Default)]
pub(super) struct Executions {
    pub(super) listed: Vec<Listed>,
    /// How many are not shown.
    pub(super) note: Option<String>,
}

/// The newest running executions, and the newest that failed within a week and were not replayed, whose results have keys that start
/// with the prefix.
pub(super) async fn of(deployed: &Deployed, prefix: &str) -> Result<Executions, Error> {
    let mut running = deployed.running_executions().await?;
    let mut failed = Failures::find(deployed, time_ago(SINCE), &running).await?.open;
    running.sort_by_key(|execution| std::cmp::Reverse(active_since(execution)));
    failed.reverse();
    let more = [running.len(), failed.len()].map(|count| count.saturating_sub(MOST));
    let note = (more != [0, 0]).then(|| {
        let [running, failed] = more;
        format!(
            "the newest {MOST} running and {MOST} failed executions are shown; {running} running and {failed} failed ones are not: `facereel status` counts all"
        )
    });
    let mut shown: Vec<(String, SystemTime, bool)> = Vec::new();
    shown.extend(running.into_iter().take(MOST).map(|one| {
        let since = active_since(&one);
        (one.execution_arn, since, true)
    }));
    shown.extend(failed.into_iter().take(MOST).map(|one| (one.arn, one.ended, false)));
    let described: Vec<_> = stream::iter(shown)
        .map(|(arn, date, is_running)| describe(deployed, arn, date, is_running))
        .buffered(CONCURRENT_CALLS)
        .try_collect()
        .await?;
    let listed = described.into_iter().flatten();
    let listed = listed.filter(|one| format!("{}{}/", layout::RESULTS, one.title).starts_with(prefix)).collect();
    Ok(Executions { listed, note })
}

/// Reads the video of an execution, and why it failed. `None`, if its input names no video or is encrypted for these credentials.
async fn describe(
    deployed: &Deployed,
    arn: String,
    date: SystemTime,
    is_running: bool,
) -> Result<Option<Listed>, Error> {
    let Some(described) = deployed.describe_execution(&arn).await? else { return Ok(None) };
    let Some(video) = described.input.as_deref().and_then(Video::of_input) else { return Ok(None) };
    let folder = layout::results_of_video(&video.key);
    let title = folder.strip_prefix(layout::RESULTS).unwrap_or(&folder);
    let title = title.strip_suffix('/').unwrap_or(title).to_owned();
    let state = if is_running {
        ListedState::Running
    } else {
        let FailureReason { error, meaning, cause, .. } = FailureReason::of(&described);
        ListedState::Failed { error, cause: cause.or(meaning) }
    };
    Ok(Some(Listed { arn, title, date, state }))
}
