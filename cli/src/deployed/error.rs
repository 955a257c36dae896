//! What can go wrong between here and AWS, and what to do about it.

use aws_sdk_sfn::{
    config::http::HttpResponse,
    error::{BoxError, DisplayErrorContext, ProvideErrorMetadata, SdkError},
};

use super::arn::NotAnArn;

/// Why AWS could not be asked, or did not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody is logged in.
    #[error(
        "there are no AWS credentials that work; log in (`aws sso login`), or set AWS_PROFILE or AWS_ACCESS_KEY_ID: {}", DisplayErrorContext(.0.as_ref())
    )]
    NoCredentials(#[source] BoxError),
    /// Neither the profile nor the environment names a Region.
    #[error("no Region is chosen; set AWS_REGION, or give the state machine's ARN with --state-machine")]
    NoRegion,
    /// `--state-machine` is no such ARN.
    #[error(transparent)]
    NotAnArn(#[from] NotAnArn),
    /// Nothing is deployed here.
    #[error(
        "{region} has no state machine named …-analyze-video in this account; choose another Region (AWS_REGION) or account (AWS_PROFILE), or deploy one: terraform/README.md"
    )]
    NoStack {
        /// Where it was looked for.
        region: String,
    },
    /// Several stacks are deployed here.
    #[error("{region} has several state machines; choose one with --state-machine:\n  {}", arns.join("\n  "))]
    ManyStacks {
        /// Where it was looked for.
        region: String,
        /// The candidates.
        arns: Vec<String>,
    },
    /// The ARN names nothing.
    #[error(
        "there is no state machine {0}; is it the right account (AWS_PROFILE), and is it still deployed? `terraform output -raw state_machine_arn` prints the ARN"
    )]
    NoStateMachine(String),
    /// An execution's ARN names nothing.
    #[error("there is no execution {0}; Step Functions forgets executions after 90 days")]
    NoExecution(String),
    /// The credentials lack a permission.
    #[error("these credentials may not do {action}; add it to their IAM policy: {}", DisplayErrorContext(source.as_ref()))]
    Denied {
        /// As IAM names it.
        action: &'static str,
        /// What the SDK said.
        source: BoxError,
    },
    /// Anything else.
    #[error("{action}: {}", DisplayErrorContext(source.as_ref()))]
    Call {
        /// As IAM names it.
        action: &'static str,
        /// What the SDK said.
        source: BoxError,
    },
    /// An answer lacks what AWS's always has.
    #[error("{action} was answered without {missing}; is this a stack of this version? `terraform apply` renews it")]
    Incomplete {
        /// As IAM names it.
        action: &'static str,
        /// What was looked for.
        missing: &'static str,
    },
}

impl Error {
    /// Sorts an SDK error under the action that met it, as IAM names it.
    pub(crate) fn aws<E>(action: &'static str) -> impl Fn(SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        move |error| {
            let forbidden = error.raw_response().is_some_and(|response| response.status().as_u16() == 403);
            let code = error.code().unwrap_or_default().to_owned();
            let source: BoxError = error.into();
            match code.as_str() {
                "AccessDeniedException" | "AccessDenied" | "AuthorizationError" => Self::Denied { action, source },
                "ExpiredTokenException"
                | "ExpiredToken"
                | "UnrecognizedClientException"
                | "InvalidClientTokenId"
                | "InvalidSignatureException"
                | "IncompleteSignature"
                | "InvalidAccessKeyId" => Self::NoCredentials(source),
                // HeadObject has no body, and so no code.
                "" if forbidden => Self::Denied { action, source },
                _ => Self::Call { action, source },
            }
        }
    }
}
