//! Access to a stack that Terraform has deployed to AWS. The stack is found by its state machine, and called with the user's
//! credentials.

mod arn;
pub mod billing;
mod call_log;
mod credentials;
mod duration;
mod error;
mod executions;
mod failure;
mod queue;
mod s3_uri;
pub mod stage;
mod upload_rules;
mod video;

use std::collections::HashMap;

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_sdk_sfn::config::ProvideCredentials;

use lambdas::{serve::config_from, start_detection};

pub use arn::{NotAnArn, StateMachineArn};
pub(crate) use call_log::CallLog;
pub use credentials::CredentialsProblem;
pub use error::Error;
pub use executions::{FAILED, Listing, active_since, system_time};
pub use failure::FailureReason;
pub use queue::Queue;
pub use s3_uri::{NotAnS3Uri, S3Uri};
pub use stage::{Stage, Step};
pub use upload_rules::{KeyPattern, UploadRule};
pub use video::Video;

/// The number of concurrent calls. Step Functions refills the quotas of `DescribeExecution` by 10 to 15 a second and of
/// `StartExecution` by 150 to 300 (<https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>); the SDK's
/// adaptive retry slows down calls that exceed them.
pub const CONCURRENT_CALLS: usize = 8;

/// The action that reads the environment of a function.
const GET_CONFIGURATION: &str = "lambda:GetFunctionConfiguration";

/// How often the SDK tries a call. With its waits of up to 20 s, an exhausted quota has time to be refilled.
const MAX_ATTEMPTS: u32 = 10;

/// How the commands retry calls: after a throttled one, the SDK limits the rate of all calls to the service.
#[must_use]
pub fn retry_config() -> RetryConfig {
    RetryConfig::adaptive().with_max_attempts(MAX_ATTEMPTS)
}

/// A client whose calls are written to standard error with `--verbose`.
macro_rules! client {
    ($sdk:ident, $aws:expr) => {
        $sdk::Client::from_conf($sdk::config::Builder::from($aws).interceptor($crate::deployed::CallLog).build())
    };
}
pub(crate) use client;

/// The AWS account and Region, as in the AWS CLI.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Account {
    /// The AWS profile [default: `AWS_PROFILE`, or the profile `default`].
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// The AWS Region [default: that of --state-machine, `AWS_REGION`, or that of the profile].
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
}

impl Account {
    /// An account with these options.
    #[cfg(test)]
    pub(crate) fn named(profile: Option<&str>, region: Option<&str>) -> Self {
        Self { profile: profile.map(str::to_owned), region: region.map(str::to_owned) }
    }

    /// The configuration of the SDK's clients, with valid credentials. `region` is used unless `--region` is given.
    ///
    /// # Errors
    /// [`Error::Credentials`], if there are no credentials; [`Error::NoRegion`].
    pub async fn connect(&self, region: Option<&str>) -> Result<SdkConfig, Error> {
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).retry_config(retry_config());
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = self.region.as_deref().or(region) {
            loader = loader.region(Region::new(region.to_owned()));
        }
        let aws = loader.load().await;
        // A profile that does not exist has no Region either, and its name is the more useful message.
        credentials::check_profile(self.profile.as_deref()).await?;
        if aws.region().is_none() {
            return Err(Error::NoRegion);
        }
        // Requested here, where a failure has a clear message: within a call it is a failed request like any other.
        let provider = aws.credentials_provider().ok_or(CredentialsProblem::Missing { profiles: Vec::new() })?;
        match provider.provide_credentials().await {
            Ok(_) => Ok(aws),
            Err(error) => Err(credentials::explain(self.profile.as_deref(), &error).await.into()),
        }
    }
}

/// The stack that a command works on.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Target {
    /// The ARN of the state machine, as `terraform output -raw state_machine_arn` prints it [default: the only state
    /// machine of the Region that is named …-analyze-video].
    #[arg(long, value_name = "ARN")]
    state_machine: Option<String>,
    #[command(flatten)]
    account: Account,
}

impl Target {
    /// Finds the stack with the user's profile, in the Region of the ARN, or else in the user's Region.
    ///
    /// # Errors
    /// [`Error`], if credentials, Region, permission or stack are missing.
    pub async fn connect(&self) -> Result<Deployed, Error> {
        self.connect_with(None).await
    }

    /// As [`connect`](Self::connect), with the configuration `aws` if there is one.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_with(&self, aws: Option<&SdkConfig>) -> Result<Deployed, Error> {
        let state_machine: Option<StateMachineArn> = self.state_machine.as_deref().map(str::parse).transpose()?;
        let region_of_arn = state_machine.as_ref().map(StateMachineArn::region);
        if let (Some(arn), Some(region)) = (&state_machine, &self.account.region)
            && arn.region() != region
        {
            return Err(Error::OtherRegion { arn: arn.to_string(), region: region.clone() });
        }
        let aws = match aws {
            Some(aws) => aws.clone(),
            None => self.account.connect(region_of_arn).await?,
        };
        let region = aws.region().ok_or(Error::NoRegion)?.to_string();
        let state_machine = match state_machine {
            Some(arn) => arn,
            None => only_state_machine(&client!(aws_sdk_sfn, &aws), region).await?,
        };
        Ok(Deployed::new(&aws, state_machine))
    }
}

impl From<Account> for Target {
    /// The only stack of the account.
    fn from(account: Account) -> Self {
        Self { state_machine: None, account }
    }
}

impl Target {
    /// Whether the user has chosen the stack.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.state_machine.is_some()
    }

    /// The options of the command line, each with its value.
    pub(crate) fn options(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let Account { profile, region } = &self.account;
        let options = [("--state-machine", &self.state_machine), ("--profile", profile), ("--region", region)];
        options.into_iter().filter_map(|(option, value)| Some((option, value.as_deref()?)))
    }

    /// The account, in which a stack was not searched. Its Region is that of the ARN, unless the user has chosen one.
    #[must_use]
    pub fn account_without_stack(&self) -> Account {
        let arn = self.state_machine.as_deref().and_then(|arn| arn.parse::<StateMachineArn>().ok());
        let region = self.account.region.clone().or_else(|| arn.map(|arn| arn.region().to_owned()));
        Account { profile: self.account.profile.clone(), region }
    }

    /// The account and the Region of the stack that was found, for a command that needs no stack.
    #[must_use]
    pub fn account(&self, deployed: &Deployed) -> Account {
        let region = self.account.region.clone().or_else(|| Some(deployed.state_machine.region().to_owned()));
        Account { profile: self.account.profile.clone(), region }
    }
}

/// The only facereel state machine of the Region.
async fn only_state_machine(sfn: &aws_sdk_sfn::Client, region: String) -> Result<StateMachineArn, Error> {
    let mut found: Vec<StateMachineArn> = Vec::new();
    let mut next_token = None;
    loop {
        // The first call of a command: if the service cannot be reached, the user does not wait for ten attempts.
        let few_attempts = aws_sdk_sfn::Config::builder().retry_config(RetryConfig::standard());
        let call = sfn.list_state_machines().set_next_token(next_token).customize().config_override(few_attempts);
        let page = call.send().await.map_err(Error::aws("states:ListStateMachines"))?;
        found.extend(page.state_machines.into_iter().filter_map(|machine| machine.state_machine_arn.parse().ok()));
        next_token = page.next_token;
        if next_token.is_none() {
            break;
        }
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

/// A deployed stack, with the clients for its services.
#[derive(Debug, Clone)]
pub struct Deployed {
    /// The ARN of `analyze-video`.
    pub state_machine: StateMachineArn,
    /// The client for executions.
    pub sfn: aws_sdk_sfn::Client,
    /// The client for videos and results.
    pub s3: aws_sdk_s3::Client,
    /// The client for the dead-letter queues.
    pub sqs: aws_sdk_sqs::Client,
    /// The client for the functions.
    pub lambda: aws_sdk_lambda::Client,
    /// The client for the rules that start executions.
    pub eventbridge: aws_sdk_eventbridge::Client,
    /// The client for the logs of the functions.
    pub logs: aws_sdk_cloudwatchlogs::Client,
    /// The client for the topic of completed jobs.
    pub sns: aws_sdk_sns::Client,
    /// The client for jobs.
    pub rekognition: aws_sdk_rekognition::Client,
}

impl Deployed {
    /// The stack of this state machine, in the account and at the endpoint of `aws`.
    #[must_use]
    pub fn new(aws: &SdkConfig, state_machine: StateMachineArn) -> Self {
        Self {
            state_machine,
            sfn: client!(aws_sdk_sfn, aws),
            s3: client!(aws_sdk_s3, aws),
            sqs: client!(aws_sdk_sqs, aws),
            lambda: client!(aws_sdk_lambda, aws),
            eventbridge: client!(aws_sdk_eventbridge, aws),
            logs: client!(aws_sdk_cloudwatchlogs, aws),
            sns: client!(aws_sdk_sns, aws),
            rekognition: client!(aws_sdk_rekognition, aws),
        }
    }

    /// The name of the results bucket, from the environment of the function `start-detection`.
    ///
    /// # Errors
    /// [`Error`] of `lambda:GetFunctionConfiguration`.
    pub async fn results_bucket(&self) -> Result<String, Error> {
        let missing = Error::Incomplete { action: GET_CONFIGURATION, missing: "RESULTS_BUCKET" };
        self.environment_of_start_detection().await?.remove("RESULTS_BUCKET").ok_or(missing)
    }

    /// The parameters with which the stack starts jobs, from the environment of the function `start-detection`.
    ///
    /// # Errors
    /// [`Error`] of `lambda:GetFunctionConfiguration`.
    pub async fn start_detection(&self) -> Result<start_detection::Config, Error> {
        let environment = self.environment_of_start_detection().await?;
        config_from(environment.into_iter())
            .map_err(|error| Error::Call { action: GET_CONFIGURATION, source: error.into() })
    }

    async fn environment_of_start_detection(&self) -> Result<HashMap<String, String>, Error> {
        let function = self.state_machine.named("start-detection");
        let configuration = self.lambda.get_function_configuration().function_name(function).send().await;
        let environment = configuration.map_err(Error::aws(GET_CONFIGURATION))?.environment;
        Ok(environment.and_then(|environment| environment.variables).unwrap_or_default())
    }

    /// The URL of the stack's queue `part`.
    ///
    /// # Errors
    /// [`Error`] of `sqs:GetQueueUrl`.
    pub async fn queue_url(&self, part: &str) -> Result<String, Error> {
        const ACTION: &str = "sqs:GetQueueUrl";
        let queue = self.sqs.get_queue_url().queue_name(self.state_machine.named(part)).send().await;
        queue.map_err(Error::aws(ACTION))?.queue_url.ok_or(Error::Incomplete { action: ACTION, missing: "QueueUrl" })
    }
}
