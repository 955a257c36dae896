//! The AWS clients, and the classes of AWS errors.

use aws_config::{
    BehaviorVersion,
    environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider},
};
use aws_sdk_rekognition::{
    config::http::HttpResponse,
    error::{BoxError, ProvideErrorMetadata, SdkError},
};
use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_async::time::SharedTimeSource;
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use lambda_runtime::Diagnostic;

/// The five root certificates that sign AWS's endpoints. Amazon Trust Services asks that a custom trust store contains all five (<https://www.amazontrust.com/repository/>).
const AMAZON_ROOTS: &str = include_str!("amazon-roots.pem");

/// The clients of the services that the functions call, and the clock.
#[derive(Debug, Clone)]
pub struct Clients {
    /// Face detection.
    pub rekognition: aws_sdk_rekognition::Client,
    /// Videos, callbacks and results.
    pub s3: aws_sdk_s3::Client,
    /// Task tokens.
    pub sfn: aws_sdk_sfn::Client,
    /// The current time.
    pub clock: SharedTimeSource,
}

impl Clients {
    /// Makes the clients from the environment of the function.
    pub async fn from_env() -> Self {
        // Lambda sets the Region and the credentials as variables. The other providers are not set up, because that takes time.
        let config = aws_config::defaults(BehaviorVersion::latest())
            .region(EnvironmentVariableRegionProvider::new())
            .credentials_provider(EnvironmentVariableCredentialsProvider::new())
            .http_client(http_client())
            .load()
            .await;
        Self {
            rekognition: aws_sdk_rekognition::Client::new(&config),
            s3: aws_sdk_s3::Client::new(&config),
            sfn: aws_sdk_sfn::Client::new(&config),
            clock: SharedTimeSource::default(),
        }
    }

    /// Now, in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        let since_1970 = self.clock.now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
    }
}

/// The SDK's HTTP client, which trusts Amazon's root certificates alone.
///
/// Loading the more than one hundred root certificates of the system dominates the start-up time of an SDK client
/// (`BENCHMARKS.md`). For a proxy with another certificate, set `SSL_CERT_FILE` or `SSL_CERT_DIR`; then the system's are loaded.
fn http_client() -> SharedHttpClient {
    let own_roots = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| std::env::var_os(name).is_some());
    let trust_store =
        if own_roots { TrustStore::default() } else { TrustStore::empty().with_pem_certificate(AMAZON_ROOTS) };
    let tls = TlsContext::builder().with_trust_store(trust_store).build().expect("a trust store is all it needs");
    Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(tls).build_https()
}

/// An AWS call that failed, classified by what can be done about it.
///
/// The variants' names are the error names that the state machine's Retry matches.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
pub enum AwsError {
    /// The role of the function lacks a permission, or the owner of the object denies it.
    #[error("{call} was denied; grant it to the role of the function, and in the policy of the object's KMS key if it has one: {}", reason(source.as_ref()))]
    AccessDenied {
        /// The call, as IAM names it.
        call: &'static str,
        /// The error of the SDK.
        source: BoxError,
    },
    /// The service throttles the calls.
    #[error("{call} was throttled: {}", reason(source.as_ref()))]
    Throttled {
        /// The call, as IAM names it.
        call: &'static str,
        /// The error of the SDK.
        source: BoxError,
    },
    /// The service failed or could not be reached.
    #[error("the service did not answer {call}: {}", reason(source.as_ref()))]
    ServiceUnavailable {
        /// The call, as IAM names it.
        call: &'static str,
        /// The error of the SDK.
        source: BoxError,
    },
    /// Any other answer. A retry would not change it.
    #[error("{call} was refused: {}", reason(source.as_ref()))]
    Refused {
        /// The call, as IAM names it.
        call: &'static str,
        /// The error of the SDK.
        source: BoxError,
    },
}

impl AwsError {
    /// Classifies an SDK error. `call` is the action as IAM names it, for example
    /// `s3:GetObject`.
    pub fn new<E>(call: &'static str, error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let status = error.raw_response().map_or(0, |response| response.status().as_u16());
        let code = error.code().unwrap_or_default().to_owned();
        let unanswered =
            matches!(error, SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_));
        let source: BoxError = match &error {
            SdkError::ServiceError(_) => {
                let code = if code.is_empty() { format!("HTTP status {status}") } else { code.clone() };
                let message = error.message().unwrap_or("the answer has no message").to_owned();
                ServiceAnswer { code, message, source: error.into() }.into()
            }
            _ => error.into(),
        };
        match code.as_str() {
            // Step Functions answers with the third if a customer-managed key encrypts the execution
            // (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskSuccess.html>).
            "AccessDenied" | "AccessDeniedException" | "KmsAccessDeniedException" | "AuthorizationError" => {
                Self::AccessDenied { call, source }
            }
            "Throttling"
            | "ThrottlingException"
            | "ProvisionedThroughputExceededException"
            | "SlowDown"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            // The key of an encrypted bucket has a separate rate quota
            // (<https://docs.aws.amazon.com/kms/latest/developerguide/throttling.html>).
            | "KMSThrottlingException"
            | "KmsThrottlingException"
            | "KMS.ThrottlingException" => Self::Throttled { call, source },
            // S3 answers a conditional write that conflicts with another one with 409, and a request whose body arrived too
            // slowly with 400; it asks to try both again
            // (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>).
            "ConditionalRequestConflict" | "OperationAborted" | "RequestTimeout" => {
                Self::ServiceUnavailable { call, source }
            }
            _ if unanswered || status >= 500 => Self::ServiceUnavailable { call, source },
            _ if status == 429 => Self::Throttled { call, source },
            // HeadObject has no body, and so no code.
            _ if status == 403 => Self::AccessDenied { call, source },
            _ => Self::Refused { call, source },
        }
    }
}

/// The error code and the message with which a service answered.
#[derive(Debug, thiserror::Error)]
#[error("{message} ({code})")]
struct ServiceAnswer {
    code: String,
    message: String,
    source: BoxError,
}

/// The reason of an error as a sentence: the answer of the service, or every error in the chain. It has no debug output, in which
/// the SDK shows whole requests and responses.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(answer) = error.downcast_ref::<ServiceAnswer>() {
        return answer.to_string();
    }
    error_chain(error)
}

/// The texts of an error and of its sources, from the outermost to the innermost.
#[must_use]
pub fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The stable name of an error: what Step Functions shows as `Error` and matches in `ErrorEquals`.
pub trait ErrorName: std::error::Error {
    /// The name of the innermost variant.
    fn error_name(&self) -> &'static str;
}

impl ErrorName for AwsError {
    fn error_name(&self) -> &'static str {
        self.into()
    }
}

impl From<AwsError> for Diagnostic {
    fn from(error: AwsError) -> Self {
        diagnostic(&error)
    }
}

/// An error as Lambda reports it to Step Functions.
pub(crate) fn diagnostic(error: &impl ErrorName) -> Diagnostic {
    Diagnostic { error_type: error.error_name().to_owned(), error_message: error.to_string() }
}

/// Implements [`ErrorName`] for an error enum: the names of its variants, and of those of the [`AwsError`] inside.
macro_rules! named_by_variant {
    ($error:ty) => {
        impl $crate::aws::ErrorName for $error {
            fn error_name(&self) -> &'static str {
                match self {
                    Self::Aws(error) => error.into(),
                    other => other.into(),
                }
            }
        }

        impl From<$error> for lambda_runtime::Diagnostic {
            fn from(error: $error) -> Self {
                $crate::aws::diagnostic(&error)
            }
        }
    };
}
pub(crate) use named_by_variant;

#[cfg(test)]
mod tests {
    use aws_sdk_s3::{error::ErrorMetadata, operation::get_object::GetObjectError, primitives::SdkBody};

    use super::*;

    fn answered(status: u16, code: &str, message: &str) -> AwsError {
        let body = SdkBody::from("<Error>a whole response with a secret</Error>");
        let response = HttpResponse::new(status.try_into().unwrap(), body);
        let mut meta = ErrorMetadata::builder();
        if !code.is_empty() {
            meta = meta.code(code).message(message);
        }
        AwsError::new("s3:GetObject", SdkError::service_error(GetObjectError::generic(meta.build()), response))
    }

    #[test]
    fn the_text_is_a_sentence_with_the_code_and_the_message() {
        let error = answered(403, "AccessDenied", "Access Denied");
        assert!(error.to_string().ends_with("if it has one: Access Denied (AccessDenied)"), "{error}");
        let error = answered(403, "", "");
        assert!(error.to_string().ends_with("the answer has no message (HTTP status 403)"), "{error}");
    }

    #[test]
    fn the_text_shows_no_response() {
        let timeout: SdkError<GetObjectError, HttpResponse> = SdkError::timeout_error("no answer within 3 s");
        for error in [answered(500, "InternalError", "try again"), AwsError::new("s3:GetObject", timeout)] {
            let text = error.to_string();
            assert!(!text.contains("secret") && !text.contains('{') && text.len() < 120, "{text}");
        }
    }

    #[test]
    fn errors_that_a_retry_can_cure_are_classified_so() {
        for (status, code, name) in [
            (400, "RequestTimeout", "ServiceUnavailable"),
            (409, "ConditionalRequestConflict", "ServiceUnavailable"),
            (500, "InternalError", "ServiceUnavailable"),
            (503, "SlowDown", "Throttled"),
            (400, "KMSThrottlingException", "Throttled"),
            (400, "KMS.ThrottlingException", "Throttled"),
            (429, "", "Throttled"),
            (403, "", "AccessDenied"),
            (400, "InvalidArgument", "Refused"),
        ] {
            assert_eq!(answered(status, code, "any").error_name(), name, "{status} {code}");
        }
    }
}
