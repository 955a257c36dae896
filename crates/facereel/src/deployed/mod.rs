//! A stack that Terraform has deployed to AWS: found by its state machine, reached with the user's own credentials.

mod arn;
mod error;

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_sdk_sfn::{
    config::ProvideCredentials,
    types::{ExecutionListItem, ExecutionStatus},
};
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};

pub use arn::{NotAnArn, StateMachineArn};
pub use error::Error;

/// Calls under way at once. Step Functions refills the quotas of `DescribeExecution` by 10 to 15 a second and of
/// `StartExecution` by 150 to 300 (<https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>); what is
/// too much for them is slowed down by the SDK's adaptive retry.
pub const CALLS_AT_ONCE: usize = 8;

/// How often the SDK tries a call: with its waits of up to 20 s, a quota that is used up has time to fill again.
const MAX_ATTEMPTS: u32 = 10;

/// Which stack.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Target {
    /// The state machine's ARN, as `terraform output -raw state_machine_arn` prints it [default: the Region's only one
    /// that is named …-analyze-video].
    #[arg(long, value_name = "ARN")]
    state_machine: Option<String>,
}

impl Target {
    /// Finds the stack with the user's own profile and Region; an ARN brings its own Region.
    ///
    /// # Errors
    /// [`Error`] says whether credentials, Region, permission or stack is missing.
    pub async fn connect(&self) -> Result<Deployed, Error> {
        let state_machine: Option<StateMachineArn> = self.state_machine.as_deref().map(str::parse).transpose()?;
        let retry = RetryConfig::adaptive().with_max_attempts(MAX_ATTEMPTS);
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).retry_config(retry);
        if let Some(arn) = &state_machine {
            loader = loader.region(Region::new(arn.region().to_owned()));
        }
        let aws = loader.load().await;
        let region = aws.region().ok_or(Error::NoRegion)?.to_string();
        // Asked here, where the answer is a clear one: within a call it is a failed request like any other.
        let credentials =
            aws.credentials_provider().ok_or_else(|| Error::NoCredentials("none are configured".into()))?;
        credentials.provide_credentials().await.map_err(|error| Error::NoCredentials(error.into()))?;
        let state_machine = match state_machine {
            Some(arn) => arn,
            None => only_one(&aws_sdk_sfn::Client::new(&aws), region).await?,
        };
        Ok(Deployed::new(&aws, state_machine))
    }
}

/// The Region's only state machine of ours.
async fn only_one(sfn: &aws_sdk_sfn::Client, region: String) -> Result<StateMachineArn, Error> {
    let mut machines = sfn.list_state_machines().into_paginator().items().send();
    let mut found: Vec<StateMachineArn> = Vec::new();
    while let Some(machine) = machines.try_next().await.map_err(Error::aws("states:ListStateMachines"))? {
        found.extend(machine.state_machine_arn.parse());
    }
    match (found.pop(), found.len()) {
        (None, _) => Err(Error::NoStack { region }),
        (Some(arn), 0) => Ok(arn),
        (Some(last), _) => {
            let arns = found.iter().chain([&last]).map(StateMachineArn::to_string).collect();
            Err(Error::ManyStacks { region, arns })
        }
    }
}

/// A deployed stack, and the clients that reach it.
#[derive(Debug, Clone)]
pub struct Deployed {
    /// `analyze-video`.
    pub state_machine: StateMachineArn,
    /// Executions.
    pub sfn: aws_sdk_sfn::Client,
    /// Videos and results.
    pub s3: aws_sdk_s3::Client,
    /// What could not be delivered.
    pub sqs: aws_sdk_sqs::Client,
    /// The functions.
    pub lambda: aws_sdk_lambda::Client,
}

impl Deployed {
    /// The stack of this state machine, wherever `aws` leads.
    #[must_use]
    pub fn new(aws: &SdkConfig, state_machine: StateMachineArn) -> Self {
        Self {
            state_machine,
            sfn: aws_sdk_sfn::Client::new(aws),
            s3: aws_sdk_s3::Client::new(aws),
            sqs: aws_sdk_sqs::Client::new(aws),
            lambda: aws_sdk_lambda::Client::new(aws),
        }
    }

    /// The bucket that results lie in, as the functions know it.
    ///
    /// # Errors
    /// [`Error`] of `lambda:GetFunctionConfiguration`.
    pub async fn results_bucket(&self) -> Result<String, Error> {
        const ACTION: &str = "lambda:GetFunctionConfiguration";
        let function = self.state_machine.named("start-detection");
        let facts = self.lambda.get_function_configuration().function_name(function).send().await;
        let environment = facts.map_err(Error::aws(ACTION))?.environment.and_then(|environment| environment.variables);
        environment
            .and_then(|mut variables| variables.remove("RESULTS_BUCKET"))
            .ok_or(Error::Incomplete { action: ACTION, missing: "RESULTS_BUCKET" })
    }

    /// Looks at every execution of the state machine that stands like this, the latest start first.
    ///
    /// # Errors
    /// [`Error::NoStateMachine`], or [`Error`] of `states:ListExecutions`.
    pub async fn each_execution(
        &self,
        status: ExecutionStatus,
        mut look: impl FnMut(ExecutionListItem),
    ) -> Result<(), Error> {
        let arn = self.state_machine.to_string();
        let listing = self.sfn.list_executions().state_machine_arn(&arn).status_filter(status);
        let mut executions = listing.into_paginator().items().send();
        while let Some(execution) = executions.next().await {
            look(execution.map_err(|error| match error.as_service_error() {
                Some(reason) if reason.is_state_machine_does_not_exist() => Error::NoStateMachine(arn.clone()),
                _ => Error::aws("states:ListExecutions")(error),
            })?);
        }
        Ok(())
    }

    /// The URL of one of the stack's queues.
    ///
    /// # Errors
    /// [`Error`] of `sqs:GetQueueUrl`.
    pub async fn queue_url(&self, part: &str) -> Result<String, Error> {
        const ACTION: &str = "sqs:GetQueueUrl";
        let queue = self.sqs.get_queue_url().queue_name(self.state_machine.named(part)).send().await;
        queue.map_err(Error::aws(ACTION))?.queue_url.ok_or(Error::Incomplete { action: ACTION, missing: "QueueUrl" })
    }
}

/// Resolves when the user asks to stop: what has been begun is ended, nothing more is begun.
pub type Stop = Shared<BoxFuture<'static, ()>>;

/// Stops when `signal` resolves.
pub fn stop_at(signal: impl Future<Output = ()> + Send + 'static) -> Stop {
    signal.boxed().shared()
}

/// Reads `24h`, `7days`, `1h 30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, humantime::DurationError> {
    humantime::parse_duration(text)
}
