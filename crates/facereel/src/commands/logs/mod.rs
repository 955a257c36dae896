//! `facereel logs`: what the functions have logged about one video, merged in the order of time.

mod line;
mod report;

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use aws_sdk_cloudwatchlogs::error::ProvideErrorMetadata as _;
use futures_util::future::try_join_all;
use lambdas::{functions::Function, input::location};
use local_stack::Progress;
use tokio::time::sleep;

pub use report::{LogsDocument, LogsReport};

use crate::deployed::{Deployed, Error, NotAnS3Uri, S3Uri};
use crate::terminal::{print, text::parse_duration};
use line::{FAILED_REPORTS, Line, Subject, pattern};

/// The time between two requests with `--follow`.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(3);

/// `CloudWatch` Logs may show a line this much later than lines with a later time.
const LATE: Duration = Duration::from_mins(2);

/// Show what the functions have logged about one video.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  facereel logs 2027/holiday.mp4                   the last 24 hours
  facereel logs --since 7days s3://my-videos/2027/holiday.mp4
  facereel logs --follow 2027/holiday.mp4          until Ctrl-C
  facereel logs 0f3a…_5b1c…                        one execution, by its name or ARN")]
pub struct Logs {
    /// The video, as its key or `s3://BUCKET/KEY`; or one of its executions, as a name or an ARN.
    video: String,
    /// Show lines of this time, such as 90m, 24h or 7days. For an execution, it is the time since its start.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_duration)]
    since: Duration,
    /// Continue with new lines until Ctrl-C.
    #[arg(long, short, conflicts_with = "json")]
    follow: bool,
}

/// Why the lines cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The video is not a valid address.
    #[error(transparent)]
    Address(#[from] NotAnS3Uri),
    /// The address names no object.
    #[error("{0} names no object; the format is s3://BUCKET/KEY")]
    NoKey(S3Uri),
    /// The input of the execution names no video.
    #[error("the execution {0} is not about a video: its input names none; its failure is in `facereel status`")]
    NoVideo(String),
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(std::io::Error),
    /// A call to AWS failed.
    #[error(transparent)]
    Aws(#[from] Error),
}

/// What is searched for.
struct Search {
    subject: Subject,
    since: SystemTime,
}

impl Logs {
    /// Whether the command continues until Ctrl-C.
    #[must_use]
    pub fn follows(&self) -> bool {
        self.follow
    }

    /// Reads the lines about the video.
    ///
    /// # Errors
    /// [`LogsError`].
    pub async fn run(&self, deployed: &Deployed, progress: &dyn Progress) -> Result<LogsReport, LogsError> {
        progress.step("Reading the logs");
        let Search { subject, since } = self.search(deployed).await?;
        let lines = lines(deployed, &subject, since).await?.into_iter().map(|(_, line)| line).collect();
        Ok(LogsReport { subject, since, lines, groups: deployed.state_machine.named("*") })
    }

    /// Writes the lines about the video to standard output, and then each new one, until the future is dropped.
    ///
    /// # Errors
    /// [`LogsError`].
    pub async fn run_and_follow(&self, deployed: &Deployed) -> Result<(), LogsError> {
        let Search { subject, mut since } = self.search(deployed).await?;
        let mut seen = HashSet::new();
        loop {
            for (id, line) in lines(deployed, &subject, since).await? {
                since = since.max(line.time - LATE);
                if seen.insert(id) {
                    print(&format!("{line}\n")).map_err(LogsError::Output)?;
                }
            }
            sleep(FOLLOW_INTERVAL).await;
        }
    }

    /// Finds out which video is meant.
    async fn search(&self, deployed: &Deployed) -> Result<Search, LogsError> {
        let text = &self.video;
        let object = |key: &str| Search {
            subject: Subject { key: key.to_owned(), execution_name: None },
            since: SystemTime::now().checked_sub(self.since).unwrap_or(SystemTime::UNIX_EPOCH),
        };
        if S3Uri::is_meant(text) {
            let uri: S3Uri = text.parse()?;
            return if uri.key.is_empty() { Err(LogsError::NoKey(uri)) } else { Ok(object(&uri.key)) };
        }
        if text.starts_with("arn:") {
            let other = || Error::NotOfThisStateMachine {
                arn: text.clone(),
                state_machine: deployed.state_machine.to_string(),
            };
            let name = deployed.state_machine.execution_name(text).ok_or_else(other)?;
            return execution(deployed, name).await?.ok_or_else(|| Error::NoExecution(text.clone()).into());
        }
        // The names of executions contain neither a dot nor a slash
        // (https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html).
        if !text.contains(['.', '/'])
            && let Some(search) = execution(deployed, text).await?
        {
            return Ok(search);
        }
        Ok(object(text))
    }
}

/// The video of an execution. `None`, if there is no such execution.
async fn execution(deployed: &Deployed, name: &str) -> Result<Option<Search>, LogsError> {
    let arn = deployed.state_machine.execution(name);
    let execution = match deployed.sfn.describe_execution().execution_arn(arn).send().await {
        Ok(execution) => execution,
        // A text that is not a valid name is an invalid ARN.
        Err(error) if matches!(error.code(), Some("ExecutionDoesNotExist" | "InvalidArn")) => return Ok(None),
        Err(error) => return Err(Error::aws("states:DescribeExecution")(error).into()),
    };
    let input = execution.input().and_then(|input| serde_json::from_str(input).ok()).unwrap_or_default();
    let video = location(input).map_err(|_| LogsError::NoVideo(name.to_owned()))?;
    let since = SystemTime::try_from(execution.start_date).unwrap_or(SystemTime::UNIX_EPOCH) - LATE;
    Ok(Some(Search { subject: Subject { key: video.key, execution_name: Some(name.to_owned()) }, since }))
}

/// The lines about a video since this time, in the order of time, each with an id.
async fn lines(deployed: &Deployed, subject: &Subject, since: SystemTime) -> Result<Vec<(String, Line)>, Error> {
    let functions = Function::ALL.iter().map(|function| lines_of(deployed, *function, subject, since));
    let mut lines: Vec<_> = try_join_all(functions).await?.into_iter().flatten().collect();
    // Stable, so lines of the same time and function stay in the order of the log.
    lines.sort_by_key(|(_, line)| line.time);
    Ok(lines)
}

/// The lines of one function, and the reports of Lambda about those of its invocations that failed.
async fn lines_of(
    deployed: &Deployed,
    function: Function,
    subject: &Subject,
    since: SystemTime,
) -> Result<Vec<(String, Line)>, Error> {
    let read = |time_ms, text: &str| Line::read(function, time_ms, text, subject);
    let mut lines = events(deployed, function, pattern(&subject.key), since, read).await?;
    let requests: HashSet<String> = lines.iter().filter_map(|(_, line)| line.request_id.clone()).collect();
    if !requests.is_empty() {
        let requests = requests.iter().map(String::as_str).collect();
        let read = |time_ms, text: &str| Line::of_report(function, time_ms, text, &requests);
        lines.extend(events(deployed, function, Some(FAILED_REPORTS.to_owned()), since, read).await?);
    }
    Ok(lines)
}

/// The events in the log group of a function that match the pattern and that `read` accepts, each with an id.
async fn events(
    deployed: &Deployed,
    function: Function,
    pattern: Option<String>,
    since: SystemTime,
    read: impl Fn(i64, &str) -> Option<Line>,
) -> Result<Vec<(String, Line)>, Error> {
    let group = format!("/aws/lambda/{}", deployed.state_machine.named(function.name()));
    let start_ms = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let request = deployed
        .logs
        .filter_log_events()
        .log_group_name(group)
        .start_time(i64::try_from(start_ms).unwrap_or(i64::MAX))
        .set_filter_pattern(pattern);
    let mut pages = request.into_paginator().send();
    let mut lines = Vec::new();
    while let Some(page) = pages.next().await {
        let page = match page {
            Ok(page) => page,
            // A function that has never run may have no log group.
            Err(error) if error.as_service_error().is_some_and(|reason| reason.is_resource_not_found_exception()) => {
                break;
            }
            Err(error) => return Err(Error::aws("logs:FilterLogEvents")(error)),
        };
        for event in page.events.unwrap_or_default() {
            let (time_ms, text) = (event.timestamp.unwrap_or_default(), event.message.unwrap_or_default());
            if let Some(line) = read(time_ms, text.trim_end()) {
                let id = event.event_id.unwrap_or_else(|| format!("{:?} {time_ms} {text}", event.log_stream_name));
                lines.push((id, line));
            }
        }
    }
    Ok(lines)
}
