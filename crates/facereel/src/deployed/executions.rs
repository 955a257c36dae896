//! The executions of the state machine.

use std::time::{Duration, SystemTime};

use aws_sdk_sfn::{
    operation::{
        describe_execution::DescribeExecutionOutput, get_execution_history::builders::GetExecutionHistoryFluentBuilder,
    },
    primitives::DateTime,
    types::{ExecutionListItem, ExecutionStatus, IncludedData},
};

use super::{Deployed, Error};

/// The statuses of a failed execution.
pub const FAILED: [ExecutionStatus; 3] = [ExecutionStatus::Failed, ExecutionStatus::TimedOut, ExecutionStatus::Aborted];

/// The number of executions or events of one call: the maximum
/// (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_ListExecutions.html>,
/// <https://docs.aws.amazon.com/step-functions/latest/apireference/API_GetExecutionHistory.html>).
const PAGE: i32 = 1000;

/// The executions with a status, page by page: at least all that have started since a time.
///
/// The results are "sorted by time, with the most recent execution first"
/// (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_ListExecutions.html>). AWS does not document whether
/// that is the time of the start, of the last redrive or of the end. The listing ends after the first page on which no
/// execution has started, was redriven or has ended since the time. In each of these orders, no execution on a later page has
/// started since then.
pub struct Listing<'a> {
    deployed: &'a Deployed,
    status: ExecutionStatus,
    since: SystemTime,
    next_token: Option<String>,
    is_complete: bool,
}

impl<'a> Listing<'a> {
    /// The executions with this status, at least all that have started since then.
    #[must_use]
    pub fn since(deployed: &'a Deployed, status: ExecutionStatus, since: SystemTime) -> Self {
        Self { deployed, status, since, next_token: None, is_complete: false }
    }

    /// The next page. `None` after the last one.
    ///
    /// # Errors
    /// [`Error::NoStateMachine`], or [`Error`] of `states:ListExecutions`.
    pub async fn next(&mut self) -> Result<Option<Vec<ExecutionListItem>>, Error> {
        if self.is_complete {
            return Ok(None);
        }
        let arn = self.deployed.state_machine.to_string();
        let listing = self.deployed.sfn.list_executions().state_machine_arn(&arn).status_filter(self.status.clone());
        let page = listing.max_results(PAGE).set_next_token(self.next_token.take()).send().await;
        let page = page.map_err(|error| match error.as_service_error() {
            Some(reason) if reason.is_state_machine_does_not_exist() => Error::NoStateMachine(arn),
            _ => Error::aws("states:ListExecutions")(error),
        })?;
        self.next_token = page.next_token;
        // A page may be empty although more pages follow.
        let is_old = !page.executions.is_empty() && page.executions.iter().all(|one| latest(one) < self.since);
        self.is_complete = self.next_token.is_none() || is_old;
        Ok(Some(page.executions))
    }

    /// All remaining pages.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn all(mut self) -> Result<Vec<ExecutionListItem>, Error> {
        let mut executions = Vec::new();
        while let Some(page) = self.next().await? {
            executions.extend(page);
        }
        Ok(executions)
    }
}

/// When an execution has started, was redriven or has ended, whichever was last.
fn latest(execution: &ExecutionListItem) -> SystemTime {
    let times = [Some(execution.start_date), execution.redrive_date, execution.stop_date];
    times.into_iter().flatten().map(system_time).max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// When an execution was started or redriven, whichever was last.
#[must_use]
pub fn active_since(execution: &ExecutionListItem) -> SystemTime {
    system_time(execution.redrive_date.unwrap_or(execution.start_date))
}

/// A time of the SDK, which is not before 1970.
#[must_use]
pub fn system_time(time: DateTime) -> SystemTime {
    let millis = time.to_millis().unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis.try_into().unwrap_or_default())
}

impl Deployed {
    /// All running executions, and those that ended a moment ago: the listing is eventually consistent.
    ///
    /// # Errors
    /// As [`Listing::next`].
    pub async fn running_executions(&self) -> Result<Vec<ExecutionListItem>, Error> {
        Listing::since(self, ExecutionStatus::Running, SystemTime::UNIX_EPOCH).all().await
    }

    /// The request for the history of an execution, the newest events first, without inputs and outputs.
    pub(crate) fn history_backwards(&self, arn: &str) -> GetExecutionHistoryFluentBuilder {
        let history = self.sfn.get_execution_history().execution_arn(arn).reverse_order(true);
        history.include_execution_data(false).max_results(PAGE)
    }

    /// An execution. `None`, if it does not exist.
    ///
    /// Without `kms:Decrypt` for a customer-managed key, its input, and possibly its error and cause, are absent.
    ///
    /// # Errors
    /// [`Error`] of `states:DescribeExecution`.
    pub async fn describe_execution(&self, arn: &str) -> Result<Option<DescribeExecutionOutput>, Error> {
        let request = self.sfn.describe_execution().execution_arn(arn);
        let mut described = request.clone().send().await;
        let is_encrypted = described.as_ref().is_err_and(|error| {
            error.as_service_error().is_some_and(|reason| {
                reason.is_kms_access_denied_exception() || reason.is_kms_invalid_state_exception()
            })
        });
        if is_encrypted {
            // https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html
            described = request.included_data(IncludedData::MetadataOnly).send().await;
        }
        match described {
            Ok(execution) => Ok(Some(execution)),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_execution_does_not_exist()) => Ok(None),
            Err(error) => Err(Error::aws("states:DescribeExecution")(error)),
        }
    }
}
