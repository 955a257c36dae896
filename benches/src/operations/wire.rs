//! The HTTP layer under the SDK's clients: each call reaches the model of a service, which takes virtual time.

use std::{collections::BTreeMap, fmt, sync::Arc};

use aws_config::SdkConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, HttpClient, Region, RuntimeComponents, SharedCredentialsProvider, SharedHttpClient,
};
use aws_smithy_async::{rt::sleep::TokioSleep, time::TimeSource};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::{HttpRequest, HttpResponse},
};
use aws_smithy_types::body::SdkBody;
use facereel::deployed::retry_config;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::account::SharedAccount;

/// The time of every call. S3 describes the median of small requests as tens of milliseconds
/// (<https://docs.aws.amazon.com/whitepapers/latest/s3-optimizing-performance-best-practices/timeouts-and-retries-for-latency-sensitive-applications.html>);
/// for the other services, it is an assumption.
pub const LATENCY: std::time::Duration = std::time::Duration::from_millis(30);

/// The configuration of the SDK's clients: as that of the commands, but with the model instead of AWS.
pub fn sdk_config(account: SharedAccount) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("id", "secret", None, None, "model")))
        .http_client(SharedHttpClient::new(ModelHttp(account)))
        .retry_config(retry_config())
        .sleep_impl(TokioSleep::new())
        .time_source(VirtualTime { began: Instant::now(), at: std::time::SystemTime::now() })
        .build()
}

/// The paused clock of tokio as the clock of the SDK.
#[derive(Debug)]
struct VirtualTime {
    began: Instant,
    at: std::time::SystemTime,
}

impl TimeSource for VirtualTime {
    fn now(&self) -> std::time::SystemTime {
        self.at + self.began.elapsed()
    }
}

/// A call as it arrives at a service.
#[derive(Debug)]
pub struct Call {
    /// The name of the operation.
    pub operation: String,
    /// Only for S3.
    pub bucket: String,
    /// Only for S3, decoded.
    pub key: String,
    /// The `Range` header; only for S3.
    pub range: Option<String>,
    /// The query of the URL, decoded.
    pub query: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Call {
    fn read(request: &HttpRequest) -> Self {
        let uri = request.uri().split_once("://").map_or(request.uri(), |(_, rest)| rest);
        let (host, path) = uri.split_once('/').unwrap_or((uri, ""));
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let query = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let query: BTreeMap<_, _> = query.map(|(name, value)| (decoded(name), decoded(value))).collect();
        let bucket = host.split_once(".s3.").map(|(bucket, _)| bucket.to_owned());
        let operation = match (&bucket, request.method()) {
            (Some(_), "GET") if query.contains_key("list-type") => "ListObjectsV2",
            (Some(_), "GET") if query.contains_key("versions") => "ListObjectVersions",
            (Some(_), "GET") => "GetObject",
            (Some(_), "HEAD") => "HeadObject",
            (Some(_), "PUT") => "PutObject",
            (None, "GET") if path.ends_with("/configuration") => "GetFunctionConfiguration",
            _ => request.headers().get("x-amz-target").and_then(|target| target.split('.').nth(1)).unwrap_or_default(),
        };
        Self {
            operation: operation.to_owned(),
            bucket: bucket.unwrap_or_default(),
            key: decoded(path),
            range: request.headers().get("range").map(str::to_owned),
            query,
            body: request.body().bytes().expect("the commands send no streams").to_vec(),
        }
    }

    /// A parameter of the query, or an empty text.
    pub fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map(String::as_str).unwrap_or_default()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The answer of a service that throttles the call.
    pub fn throttled(&self) -> Answer {
        if self.bucket.is_empty() {
            Answer::json_error("ThrottlingException", "Rate exceeded")
        } else {
            Answer::xml(503, "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>")
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{} {}", self.operation, self.bucket, self.key, String::from_utf8_lossy(&self.body))
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The answer of a service.
#[derive(Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    /// A JSON document.
    pub fn json(document: &Value) -> Self {
        let headers = vec![("content-type", "application/x-amz-json-1.0".to_owned())];
        Self { status: 200, headers, body: document.to_string().into_bytes() }
    }

    /// An error of a service with the JSON protocol.
    pub fn json_error(code: &str, message: &str) -> Self {
        Self { status: 400, ..Self::json(&json!({ "__type": code, "message": message })) }
    }

    /// An answer of S3.
    pub fn xml(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), body: body.into().into_bytes() }
    }

    /// An object, or a part of one.
    pub fn object(body: Vec<u8>) -> Self {
        Self { status: 200, headers: Vec::new(), body }
    }

    /// Adds a header.
    pub fn with(mut self, header: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((header, value.into()));
        self
    }

    fn response(self) -> HttpResponse {
        let mut response = HttpResponse::new(self.status.try_into().expect("a status"), SdkBody::from(self.body));
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// The HTTP client of the SDK's clients.
#[derive(Debug)]
struct ModelHttp(SharedAccount);

impl HttpClient for ModelHttp {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Self(Arc::clone(&self.0)))
    }
}

impl HttpConnector for ModelHttp {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (account, call) = (Arc::clone(&self.0), Call::read(&request));
        HttpConnectorFuture::new(async move {
            tokio::time::sleep(LATENCY / 2).await;
            let answer = account.lock().expect("the model did not panic").answer(&call);
            tokio::time::sleep(LATENCY / 2).await;
            Ok(answer.response())
        })
    }
}
