//! The AWS clients, and what an AWS error means to the workflow.

use aws_config::{
    BehaviorVersion,
    environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider},
};
use aws_sdk_rekognition::{
    config::http::HttpResponse,
    error::{BoxError, DisplayErrorContext, ProvideErrorMetadata, SdkError},
};
use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_async::time::SharedTimeSource;
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};

/// The five roots that sign AWS's endpoints: Amazon Trust Services asks whoever keeps a trust store of their own to
/// take all five (<https://www.amazontrust.com/repository/>).
const AMAZON_ROOTS: &str = include_str!("amazon-roots.pem");

/// One client for each service that the functions call, and the clock they go by.
#[derive(Debug, Clone)]
pub struct Clients {
    /// Face detection.
    pub rekognition: aws_sdk_rekognition::Client,
    /// Videos, callbacks and results.
    pub s3: aws_sdk_s3::Client,
    /// Task tokens.
    pub sfn: aws_sdk_sfn::Client,
    /// What time it is.
    pub clock: SharedTimeSource,
}

impl Clients {
    /// Clients out of the function's environment.
    pub async fn from_env() -> Self {
        // Lambda gives region and credentials as variables: nothing else is asked, nor is what would ask it set up.
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

/// The SDK's own HTTP client, but that it trusts Amazon's roots alone.
///
/// To read the hundred and more roots of the machine is most of what an SDK client's start costs (`BENCHMARKS.md`).
/// Who has a proxy with a certificate of its own sets `SSL_CERT_FILE` or `SSL_CERT_DIR`, and pays for reading it.
fn http_client() -> SharedHttpClient {
    let own_roots = ["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|name| std::env::var_os(name).is_some());
    let trust_store =
        if own_roots { TrustStore::default() } else { TrustStore::empty().with_pem_certificate(AMAZON_ROOTS) };
    let tls = TlsContext::builder().with_trust_store(trust_store).build().expect("a trust store is all it needs");
    Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(tls).build_https()
}

/// An AWS call that failed in a way that every function treats alike.
///
/// The variants' names are error names that the state machine's Retry matches.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum AwsError {
    /// The function's role may not do this, or the object's owner forbids it.
    #[error("{call} was denied; grant it to the function's role, and to the object's key if it has one: {}", DisplayErrorContext(source.as_ref()))]
    AccessDenied {
        /// The call, as IAM names it.
        call: &'static str,
        /// What the SDK said.
        source: BoxError,
    },
    /// The service asks to come more slowly.
    #[error("{call} was throttled: {}", DisplayErrorContext(source.as_ref()))]
    Throttled {
        /// The call, as IAM names it.
        call: &'static str,
        /// What the SDK said.
        source: BoxError,
    },
    /// The service failed or was out of reach.
    #[error("{call} found the service unavailable: {}", DisplayErrorContext(source.as_ref()))]
    ServiceUnavailable {
        /// The call, as IAM names it.
        call: &'static str,
        /// What the SDK said.
        source: BoxError,
    },
    /// Any other answer: retrying would not change it.
    #[error("{call} was refused: {}", DisplayErrorContext(source.as_ref()))]
    Refused {
        /// The call, as IAM names it.
        call: &'static str,
        /// What the SDK said.
        source: BoxError,
    },
}

impl AwsError {
    /// Sorts an SDK error by what can be done about it. `call` is the action as IAM names it, for example
    /// `s3:GetObject`.
    pub fn new<E>(call: &'static str, error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let status = error.raw_response().map_or(0, |response| response.status().as_u16());
        let code = error.code().unwrap_or_default().to_owned();
        let unanswered =
            matches!(error, SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_));
        let source: BoxError = error.into();
        match code.as_str() {
            "AccessDenied" | "AccessDeniedException" | "AuthorizationError" => Self::AccessDenied { call, source },
            "Throttling"
            | "ThrottlingException"
            | "ProvisionedThroughputExceededException"
            | "SlowDown"
            | "TooManyRequestsException"
            | "RequestLimitExceeded" => Self::Throttled { call, source },
            // S3 answers a conditional write that met another one with 409 and asks to try again.
            "ConditionalRequestConflict" | "OperationAborted" => Self::ServiceUnavailable { call, source },
            _ if unanswered || status >= 500 => Self::ServiceUnavailable { call, source },
            _ if status == 429 => Self::Throttled { call, source },
            // HeadObject has no body, and so no code.
            _ if status == 403 => Self::AccessDenied { call, source },
            _ => Self::Refused { call, source },
        }
    }
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

/// Implements [`ErrorName`] for a function's error enum: its variants' names, and those of the [`AwsError`] inside.
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
                Self {
                    error_type: $crate::aws::ErrorName::error_name(&error).to_owned(),
                    error_message: error.to_string(),
                }
            }
        }
    };
}
pub(crate) use named_by_variant;
