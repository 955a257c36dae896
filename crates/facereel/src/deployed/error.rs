//! Errors of calls to AWS, with what to do about them.

use aws_sdk_sfn::{
    config::http::HttpResponse,
    error::{BoxError, ProvideErrorMetadata, SdkError},
};

use super::{arn::NotAnArn, credentials::CredentialsProblem};
use lambdas::aws::error_chain;

/// Why a call to AWS could not be made, or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are no credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialsProblem),
    /// AWS rejects the credentials.
    #[error("AWS does not accept these credentials: {problem}; {remedy}")]
    Rejected {
        /// What is wrong with them.
        problem: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// Neither the profile nor the environment sets a Region.
    #[error("no Region is set; give one with --region or AWS_REGION, or the state machine's ARN with --state-machine")]
    NoRegion,
    /// `--region` is not the Region of the state machine.
    #[error("--region {region} is not the Region of {arn}; omit --region, or name a state machine there")]
    OtherRegion {
        /// The ARN of the state machine.
        arn: String,
        /// The Region.
        region: String,
    },
    /// The service cannot be reached.
    #[error(
        "{action} failed, because the service cannot be reached: {reason}; check the Region, the network and the proxy"
    )]
    Unreachable {
        /// The IAM action of the call.
        action: &'static str,
        /// The innermost cause.
        reason: String,
    },
    /// The bucket does not exist.
    #[error("there is no bucket {0}; check its name and the account (--profile)")]
    NoBucket(String),
    /// The bucket is in another Region.
    #[error(
        "the bucket {0} is in another Region; choose it with --region. A stack only analyses videos in the same Region"
    )]
    BucketElsewhere(String),
    /// No rule starts executions for uploads.
    #[error(
        "there is no EventBridge rule {0}…, which starts an execution for each upload; create it with `terraform apply`"
    )]
    NoUploadRule(String),
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
    /// The action of [`Denied`](Self::Denied) for data that is encrypted with a customer-managed key.
    pub const DECRYPT: &'static str = "kms:Decrypt";

    /// Converts an SDK error of the call with this IAM action.
    pub(crate) fn aws<E>(action: &'static str) -> impl Fn(SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        move |error| {
            let status = error.raw_response().map(|response| response.status().as_u16());
            let code = error.code().unwrap_or_default().to_owned();
            // The service's code and message are sufficient; the SDK's error would add the whole response.
            let source: BoxError = match (error.code(), error.message(), &error) {
                (Some(code), Some(message), _) => format!("{code}: {message}").into(),
                (Some(code), None, _) => code.to_owned().into(),
                (None, _, SdkError::DispatchFailure(_) | SdkError::TimeoutError(_)) => {
                    return Self::Unreachable { action, reason: innermost(&error) };
                }
                (None, _, SdkError::ServiceError(_)) => {
                    format!("status {} without a reason", status.unwrap_or_default()).into()
                }
                _ => error.into(),
            };
            if let Some((problem, remedy)) = rejected(&code) {
                return Self::Rejected { problem, remedy };
            }
            match code.as_str() {
                "AccessDeniedException" | "AccessDenied" | "AuthorizationError" => Self::Denied { action, source },
                "KmsAccessDeniedException" => Self::Denied { action: Self::DECRYPT, source },
                // The response to HeadObject has no body, and so no code.
                "" if status == Some(403) => Self::Denied { action, source },
                _ => Self::Call { action, source },
            }
        }
    }

    /// Converts an SDK error of a call to S3 for this bucket.
    pub(crate) fn s3<E>(action: &'static str, bucket: &str) -> impl Fn(SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        move |error| match (error.code(), error.raw_response().map(|response| response.status().as_u16())) {
            (Some("NoSuchBucket"), _) => Self::NoBucket(bucket.to_owned()),
            (Some("PermanentRedirect"), _) | (_, Some(301)) => Self::BucketElsewhere(bucket.to_owned()),
            _ => Self::aws(action)(error),
        }
    }
}

/// What is wrong with the credentials, if AWS rejects a call with this code, and what to do
/// (<https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html>,
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>).
fn rejected(code: &str) -> Option<(&'static str, &'static str)> {
    match code {
        "ExpiredTokenException" | "ExpiredToken" | "TokenRefreshRequired" => Some((
            "they have expired",
            "log in again (aws sso login --profile NAME), or renew AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN",
        )),
        "UnrecognizedClientException" | "InvalidClientTokenId" | "InvalidAccessKeyId" | "InvalidToken" => Some((
            "the access key does not exist, or no longer",
            "check AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN, or choose another profile with --profile",
        )),
        "InvalidSignatureException" | "SignatureDoesNotMatch" | "IncompleteSignature" => Some((
            "the secret key does not belong to the access key",
            "check AWS_SECRET_ACCESS_KEY, or choose another profile with --profile",
        )),
        "RequestTimeTooSkewed" | "RequestExpired" => {
            Some(("the clock of this machine is wrong", "set the clock and try again"))
        }
        _ => None,
    }
}

/// The text of the innermost error.
pub(super) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source()).last().map(ToString::to_string).unwrap_or_default()
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
        assert!(
            expired.starts_with("AWS does not accept these credentials: they have expired; log in again"),
            "{expired}"
        );
        assert_eq!(message("InvalidArn", "bad"), "states:DescribeExecution failed: InvalidArn: bad");
    }

    #[test]
    fn the_message_of_an_error_without_a_response_contains_its_sources() {
        let broken = std::io::Error::other("connection refused");
        let error: SdkError<DescribeExecutionError, HttpResponse> = SdkError::construction_failure(broken);
        assert!(Error::aws("states:DescribeExecution")(error).to_string().contains("connection refused"));
    }
}
