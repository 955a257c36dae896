//! The search for task tokens in the logs.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::{Instant, sleep};

use super::checks::{NotPassed, Seen};
use crate::deployed::{Deployed, Error};
use crate::terminal::text::counted;
use lambdas::functions::Function;

/// The maximum number of responses that are read from one log group. A response has at most 1 MB
/// (<https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html>).
const MAX_PAGES: usize = 100;

/// The time between two searches while the logs are not complete.
const SEARCH_INTERVAL: Duration = Duration::from_secs(5);

/// The functions whose lines name the key of the video, so that they show whether the logs have been delivered.
const NAME_THE_VIDEO: [Function; 2] = [Function::StartDetection, Function::Summarize];

/// The log groups of the functions of the stack. The first is of a function whose lines name the video.
pub(super) async fn of_functions(deployed: &Deployed) -> Result<Vec<LogGroup>, Error> {
    let mut groups = Vec::new();
    for function in Function::ALL {
        let name = deployed.state_machine.named(function.name());
        let configuration = deployed.lambda.get_function_configuration().function_name(&name).send().await;
        let logging = configuration.map_err(Error::aws("lambda:GetFunctionConfiguration"))?.logging_config;
        // Without another setting, the name of the group is derived from that of the function
        // (https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-loggroups.html).
        let group = logging.and_then(|logging| logging.log_group);
        let group = group.filter(|group| !group.is_empty()).unwrap_or_else(|| format!("/aws/lambda/{name}"));
        groups.push(LogGroup { name: group, names_the_video: NAME_THE_VIDEO.contains(function) });
    }
    Ok(groups)
}

/// The log group of the state machine. `None`, if its logging is off.
pub(super) async fn of_state_machine(deployed: &Deployed) -> Result<Option<LogGroup>, Error> {
    let machine = deployed.sfn.describe_state_machine().state_machine_arn(deployed.state_machine.to_string());
    let machine = machine.send().await.map_err(Error::aws("states:DescribeStateMachine"))?;
    let destinations = machine.logging_configuration.and_then(|logging| logging.destinations).unwrap_or_default();
    let arn = destinations.into_iter().find_map(|one| one.cloud_watch_logs_log_group?.log_group_arn);
    Ok(arn.and_then(|arn| Some(LogGroup { name: group_name(&arn)?.to_owned(), names_the_video: true })))
}

/// The name in the ARN of a log group, which ends with `:*`.
fn group_name(arn: &str) -> Option<&str> {
    let (_, name) = arn.split_once(":log-group:")?;
    Some(name.strip_suffix(":*").unwrap_or(name))
}

/// A log group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogGroup {
    name: String,
    /// Whether its lines contain the key of the video or the name of the execution.
    names_the_video: bool,
}

/// What is searched for.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    /// The task tokens of the executions.
    pub tokens: &'a BTreeSet<String>,
    /// A text that is in the keys of the videos and in the names of the executions.
    pub run: &'a str,
    /// When the run started.
    pub since: SystemTime,
}

/// A group after the search.
#[derive(Debug, Default)]
struct Searched {
    events: usize,
    names_the_run: bool,
    /// Whether there are more events than were read.
    more: bool,
}

/// Searches the groups for the tokens until the logs of this run have been delivered, at most for `limit`.
pub(super) async fn search(deployed: &Deployed, groups: &[LogGroup], wanted: &Wanted<'_>, limit: Duration) -> Seen {
    let deadline = Instant::now() + limit;
    loop {
        let mut events = 0;
        let mut missing = None;
        for group in groups {
            let searched = search_group(deployed, group, wanted).await?;
            events += searched.events;
            if searched.more {
                let read = counted(searched.events, "event");
                return Err(NotPassed::Failed(format!("{} has more than the {read} that were searched", group.name)));
            }
            if group.names_the_video && !searched.names_the_run {
                missing = Some(&group.name);
            }
        }
        match missing {
            None => {
                let (tokens, groups) = (counted(wanted.tokens.len(), "token"), counted(groups.len(), "log group"));
                return Ok(format!("none of {tokens} in {} of {groups}", counted(events, "event")));
            }
            Some(group) if Instant::now() + SEARCH_INTERVAL >= deadline => {
                let seconds = limit.as_secs();
                return Err(NotPassed::Failed(format!("{group} has no line about the video after {seconds} s")));
            }
            Some(_) => sleep(SEARCH_INTERVAL).await,
        }
    }
}

/// Reads every event of a group since the start of the run. The texts are compared here, because a filter pattern of
/// CloudWatch Logs matches terms, and a part of a token may not be one
/// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html>).
async fn search_group(deployed: &Deployed, group: &LogGroup, wanted: &Wanted<'_>) -> Result<Searched, NotPassed> {
    let since = wanted.since.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let filter = deployed.logs.filter_log_events().log_group_name(&group.name);
    let filter = filter.start_time(i64::try_from(since).unwrap_or_default());
    let mut pages = filter.into_paginator().send();
    let mut searched = Searched::default();
    for _ in 0..MAX_PAGES {
        let page = match pages.next().await {
            None => return Ok(searched),
            // A function that has never run may have no group.
            Some(Err(error))
                if error.as_service_error().is_some_and(|error| error.is_resource_not_found_exception()) =>
            {
                return Ok(searched);
            }
            Some(page) => page.map_err(Error::aws("logs:FilterLogEvents"))?,
        };
        for event in page.events.unwrap_or_default() {
            let message = event.message.unwrap_or_default();
            searched.events += 1;
            searched.names_the_run |= message.contains(wanted.run);
            if wanted.tokens.iter().any(|token| message.contains(piece(token))) {
                return Err(NotPassed::Failed(format!("{} contains the task token of an execution", group.name)));
            }
        }
    }
    searched.more = true;
    Ok(searched)
}

/// The middle of a token, which is found in a token that was cut as well. The start of a token may be that of others.
fn piece(token: &str) -> &str {
    const CHARACTERS: usize = 40;
    let start = token.len().saturating_sub(CHARACTERS) / 2;
    token.get(start..token.len().min(start + CHARACTERS)).unwrap_or(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_group_is_read_from_its_arn() {
        let arn = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/vendedlogs/states/facereel-analyze-video:*";
        assert_eq!(group_name(arn), Some("/aws/vendedlogs/states/facereel-analyze-video"));
        assert_eq!(group_name("arn:aws:s3:::bucket"), None);
    }

    #[test]
    fn a_piece_of_a_token_is_its_middle() {
        let token = format!("{}{}{}", "A".repeat(300), "m".repeat(40), "Z".repeat(300));
        assert_eq!(piece(&token), "m".repeat(40));
        assert_eq!(piece("short"), "short");
    }
}
