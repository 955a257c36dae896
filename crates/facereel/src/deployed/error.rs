//! What can go wrong between here and AWS, and what to do about it.

use aws_sdk_sfn::{
    config::http::HttpResponse,
    error::{BoxError, ProvideErrorMetadata, SdkError},
};

use super::arn::NotAnArn;

/// Why AWS could not be asked, or did not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody is logged in.
    #[error(
        "there are no AWS credentials that work; log in (`aws sso login`), or set AWS_PROFILE or AWS_ACCESS_KEY_ID: {}", reason(.0.as_ref())
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
    /// An execution's ARN names one of another state machine, Region or account.
    #[error("{arn} is no execution of {state_machine}; --state-machine chooses another one")]
    NotOfThisStateMachine {
        /// What was given.
        arn: String,
        /// What was looked in.
        state_machine: String,
    },
    /// The credentials lack a permission.
    #[error("these credentials may not do {action}; add it to their IAM policy: {}", reason(source.as_ref()))]
    Denied {
        /// As IAM names it.
        action: &'static str,
        /// What the SDK said.
        source: BoxError,
    },
    /// Anything else.
    #[error("{action}: {}", reason(source.as_ref()))]
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
            // A service's own words say all; the SDK's add the whole answer to them.
            let source: BoxError = match (error.code(), error.message()) {
                (Some(code), Some(message)) => format!("{code}: {message}").into(),
                (Some(code), None) => code.to_owned().into(),
                _ => error.into(),
            };
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

/// An error and what is behind it, in one line.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use aws_sdk_sfn::operation::describe_execution::DescribeExecutionError;
    use aws_smithy_types::{body::SdkBody, error::ErrorMetadata};

    use super::*;

    fn told(code: &str, message: &str) -> String {
        let error = DescribeExecutionError::generic(ErrorMetadata::builder().code(code).message(message).build());
        let answer = HttpResponse::new(400.try_into().unwrap(), SdkBody::empty());
        Error::aws("states:DescribeExecution")(SdkError::service_error(error, answer)).to_string()
    }

    #[test]
    fn an_error_says_the_action_the_reason_and_what_to_do() {
        assert_eq!(
            told("AccessDeniedException", "User: me is not authorized"),
            "these credentials may not do states:DescribeExecution; add it to their IAM policy: AccessDeniedException: User: me is not authorized"
        );
        let expired = told("ExpiredTokenException", "The security token included in the request is expired");
        assert!(expired.contains("aws sso login") && expired.ends_with("is expired"), "{expired}");
        assert_eq!(told("InvalidArn", "bad"), "states:DescribeExecution: InvalidArn: bad");
    }

    #[test]
    fn an_error_without_an_answer_says_all_that_is_behind_it() {
        let broken = std::io::Error::other("connection refused");
        let error: SdkError<DescribeExecutionError, HttpResponse> = SdkError::construction_failure(broken);
        assert!(Error::aws("states:DescribeExecution")(error).to_string().contains("connection refused"));
    }
}
