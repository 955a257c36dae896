//! Errors of calls to AWS, with what to do about them.

use aws_sdk_sfn::{
    config::http::HttpResponse,
    error::{BoxError, ProvideErrorMetadata, SdkError},
};

use super::arn::NotAnArn;
use lambdas::aws::error_chain;

/// Why a call to AWS could not be made, or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are no valid credentials.
    #[error(
        "there are no valid AWS credentials; log in (`aws sso login`), or set AWS_PROFILE or AWS_ACCESS_KEY_ID: {}", error_chain(.0.as_ref())
    )]
    NoCredentials(#[source] BoxError),
    /// Neither the profile nor the environment sets a Region.
    #[error("no Region is set; set AWS_REGION, or give the state machine's ARN with --state-machine")]
    NoRegion,
    /// `--state-machine` is not the ARN of a facereel state machine.
    #[error(transparent)]
    NotAnArn(#[from] NotAnArn),
    /// The Region has no stack.
    #[error(
        "{region} has no state machine named …-analyze-video in this account; choose another Region (AWS_REGION) or account (AWS_PROFILE), or deploy a stack (terraform/README.md)"
    )]
    NoStack {
        /// The Region that was searched.
        region: String,
    },
    /// The Region has several stacks.
    #[error("{region} has several state machines named …-analyze-video; choose one with --state-machine:\n  {}", arns.join("\n  "))]
    ManyStacks {
        /// The Region that was searched.
        region: String,
        /// The ARNs of their state machines.
        arns: Vec<String>,
    },
    /// The state machine does not exist.
    #[error(
        "there is no state machine {0}; check the account (AWS_PROFILE) and whether the stack is still deployed: `terraform output -raw state_machine_arn` prints the ARN"
    )]
    NoStateMachine(String),
    /// The execution does not exist.
    #[error("there is no execution {0}; check the ARN: Step Functions deletes executions after 90 days")]
    NoExecution(String),
    /// The execution is one of another state machine, Region or account.
    #[error("{arn} is not an execution of {state_machine}; choose its state machine with --state-machine")]
    NotOfThisStateMachine {
        /// The ARN of the execution.
        arn: String,
        /// The ARN of the state machine.
        state_machine: String,
    },
    /// The credentials lack a permission.
    #[error("these credentials do not allow {action}; add it to their IAM policy: {}", error_chain(source.as_ref()))]
    Denied {
        /// The IAM action of the call.
        action: &'static str,
        /// The error of the SDK.
        source: BoxError,
    },
    /// A call failed for another reason.
    #[error("{action} failed: {}", error_chain(source.as_ref()))]
    Call {
        /// The IAM action of the call.
        action: &'static str,
        /// The error of the SDK.
        source: BoxError,
    },
    /// A response lacks a field that responses of AWS always have.
    #[error("the response to {action} has no {missing}; update the stack to this version with `terraform apply`")]
    Incomplete {
        /// The IAM action of the call.
        action: &'static str,
        /// The missing field.
        missing: &'static str,
    },
}

impl Error {
    /// Converts an SDK error of the call with this IAM action.
    pub(crate) fn aws<E>(action: &'static str) -> impl Fn(SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        move |error| {
            let forbidden = error.raw_response().is_some_and(|response| response.status().as_u16() == 403);
            let code = error.code().unwrap_or_default().to_owned();
            // The service's code and message are sufficient; the SDK's error would add the whole response.
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
                // The response to HeadObject has no body, and so no code.
                "" if forbidden => Self::Denied { action, source },
                _ => Self::Call { action, source },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_sfn::operation::describe_execution::DescribeExecutionError;
    use aws_smithy_types::{body::SdkBody, error::ErrorMetadata};

    use super::*;

    fn message(code: &str, message: &str) -> String {
        let error = DescribeExecutionError::generic(ErrorMetadata::builder().code(code).message(message).build());
        let response = HttpResponse::new(400.try_into().unwrap(), SdkBody::empty());
        Error::aws("states:DescribeExecution")(SdkError::service_error(error, response)).to_string()
    }

    #[test]
    fn a_message_contains_the_action_the_reason_and_the_remedy() {
        assert_eq!(
            message("AccessDeniedException", "User: me is not authorized"),
            "these credentials do not allow states:DescribeExecution; add it to their IAM policy: AccessDeniedException: User: me is not authorized"
        );
        let expired = message("ExpiredTokenException", "The security token included in the request is expired");
        assert!(expired.contains("aws sso login") && expired.ends_with("is expired"), "{expired}");
        assert_eq!(message("InvalidArn", "bad"), "states:DescribeExecution failed: InvalidArn: bad");
    }

    #[test]
    fn the_message_of_an_error_without_a_response_contains_its_sources() {
        let broken = std::io::Error::other("connection refused");
        let error: SdkError<DescribeExecutionError, HttpResponse> = SdkError::construction_failure(broken);
        assert!(Error::aws("states:DescribeExecution")(error).to_string().contains("connection refused"));
    }
}
