//! The HTTP layer under the SDK's clients: each call reaches a simulated service, with delays and faults.

use std::collections::BTreeMap;
use std::fmt;

use aws_sdk_s3::config::{HttpClient, Region, RuntimeComponents, SharedHttpClient, retry};
use aws_smithy_async::time::SharedTimeSource;
use aws_smithy_runtime_api::client::auth::AuthSchemeId;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use lambdas::aws::Clients;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::clock::{MINUTE, Ms, SkewedClock, sleep};
use crate::faults::Service;
use crate::s3::xml_error;
use crate::scenario::InjectedBug;
use crate::world::{Cloud, World};

/// The functions' clients: the real SDK on a simulated HTTP layer and in virtual time.
pub(super) fn clients(cloud: &Cloud, skew_ms: i64) -> Clients {
    let http = SharedHttpClient::new(SimulatedHttp(cloud.clone()));
    let clock = SharedTimeSource::new(SkewedClock { clock: cloud.lock().clock, skew_ms });
    // A separate token bucket for retries: all scenarios of this process would share the SDK's default one.
    let partition = || retry::RetryPartition::custom("scenario").token_bucket(retry::TokenBucket::unlimited()).build();
    // Unsigned: in a debug build, the signatures take a third of the time of a call, and no simulated service reads them.
    macro_rules! client {
        ($sdk:ident) => {
            $sdk::config::Builder::new()
                .behavior_version($sdk::config::BehaviorVersion::latest())
                .region(Region::from_static("us-east-1"))
                .allow_no_auth()
                .auth_scheme_preference([AuthSchemeId::from("noAuth")])
                .http_client(http.clone())
                .time_source(clock.clone())
                .retry_config(retry::RetryConfig::standard())
                .retry_partition(partition())
        };
    }
    Clients {
        rekognition: aws_sdk_rekognition::Client::from_conf(client!(aws_sdk_rekognition).build()),
        s3: aws_sdk_s3::Client::from_conf(client!(aws_sdk_s3).force_path_style(true).build()),
        sfn: aws_sdk_sfn::Client::from_conf(client!(aws_sdk_sfn).build()),
        clock,
    }
}

/// A call as it arrives at a service.
#[derive(Debug)]
pub(super) struct Call {
    service: Service,
    /// The operation's name in IAM and the SDK.
    pub(super) operation: String,
    /// Only for S3.
    pub(super) bucket: String,
    /// Only for S3, decoded.
    pub(super) key: String,
    pub(super) query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.service {
            Service::S3 if self.operation == "ListObjectsV2" => {
                write!(f, "ListObjectsV2 {}/{}*", self.bucket, self.query.get("prefix").map_or("", String::as_str))
            }
            Service::S3 => write!(f, "{} {}/{}", self.operation, self.bucket, self.key),
            _ => {
                write!(f, "{}", self.operation)?;
                let request: Value = serde_json::from_slice(&self.body).unwrap_or_default();
                let shown = ["ClientRequestToken", "JobId", "MaxResults", "NextToken", "taskToken", "error"];
                shown.iter().filter(|name| !request[**name].is_null()).try_for_each(|name| {
                    let value = request[*name].to_string();
                    // The beginning of a hexadecimal id is enough to distinguish it.
                    let value = if value.len() > 60 && *name != "taskToken" { &value[..9] } else { &value };
                    write!(f, " {name}={}", value.trim_matches('"'))
                })
            }
        }
    }
}

impl Call {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn read(request: &HttpRequest) -> Self {
        let uri = request.uri().split_once("://").map_or(request.uri(), |(_, rest)| rest);
        let (host, path) = uri.split_once('/').unwrap_or((uri, ""));
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let query = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let query: BTreeMap<_, _> = query.map(|(name, value)| (decoded(name), decoded(value))).collect();
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let service = match host.split('.').next() {
            Some("rekognition") => Service::Rekognition,
            Some("states") => Service::States,
            _ => Service::S3,
        };
        let operation = match (service, request.method()) {
            (Service::S3, "GET") if query.contains_key("list-type") => "ListObjectsV2",
            (Service::S3, "GET") => "GetObject",
            (Service::S3, "HEAD") => "HeadObject",
            (Service::S3, "PUT") => "PutObject",
            (Service::S3, "DELETE") => "DeleteObject",
            (Service::S3, method) => method,
            _ => request.headers().get("x-amz-target").and_then(|name| name.split('.').nth(1)).unwrap_or_default(),
        };
        Self {
            service,
            operation: operation.to_owned(),
            bucket: decoded(bucket),
            key: decoded(key),
            query,
            headers: request.headers().iter().map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
            body: request.body().bytes().expect("the functions do not send streams").to_vec(),
        }
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8().expect("UTF-8").into_owned()
}

/// A service's answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    pub(super) fn json(body: &Value) -> Self {
        Self { body: body.to_string().into_bytes(), ..Self::empty(200) }
    }

    pub(super) fn json_error(code: &str, message: &str) -> Self {
        Self { status: 400, ..Self::json(&json!({ "__type": code, "message": message })) }
    }

    pub(super) fn with(mut self, header: &'static str, value: String) -> Self {
        self.headers.push((header, value));
        self
    }

    fn response(self) -> HttpResponse {
        let status = self.status.try_into().expect("a status");
        let mut response = HttpResponse::new(status, SdkBody::from(self.body));
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq)]
enum CallOutcome {
    Answered,
    Refused,
    Throttled,
    Conflict,
    AnswerLost,
}

impl World {
    /// The outcome of a call, and the random delays of its request and its answer.
    fn call_outcome(&mut self, call: &Call) -> (CallOutcome, Ms, Ms) {
        self.count_call(&call.operation);
        let fault_rates = self.fault_rates();
        let (mut request_delay, mut answer_delay) = (self.rng.u64(1..30), self.rng.u64(1..30));
        if let Some(takes) = self.get_ms.filter(|_| call.operation == "GetFaceDetection") {
            (request_delay, answer_delay) = (takes / 2, takes - takes / 2);
        }
        let conditional = call.header("if-none-match").or(call.header("if-match")).is_some();
        let outcome = if self.is_unavailable(call.service) || self.chance(fault_rates.refused) {
            self.fault("refused");
            CallOutcome::Refused
        } else if self.chance(fault_rates.throttled) {
            self.fault("throttled");
            CallOutcome::Throttled
        } else if conditional && self.chance(fault_rates.refused) {
            self.fault("conflict");
            CallOutcome::Conflict
        } else if self.chance(fault_rates.answer_lost) {
            self.fault("answer lost");
            CallOutcome::AnswerLost
        } else {
            CallOutcome::Answered
        };
        if self.chance(fault_rates.slow) {
            self.fault("slow");
            answer_delay += self.rng.u64(MINUTE / 4..2 * MINUTE);
        }
        (outcome, request_delay, answer_delay)
    }

    /// The answer of a service; `None` if it is lost.
    fn answer(&mut self, call: &Call, outcome: CallOutcome) -> Option<Answer> {
        if outcome != CallOutcome::Answered {
            self.last_disturbance = self.now();
        }
        let answer = match (outcome, call.service) {
            (CallOutcome::Refused, Service::S3) => xml_error(call, 500, "InternalError"),
            (CallOutcome::Refused, _) => {
                Answer { status: 500, ..Answer::json_error("InternalServerError", "simulated") }
            }
            (CallOutcome::Throttled, Service::S3) => xml_error(call, 503, "SlowDown"),
            (CallOutcome::Throttled, _) => Answer::json_error("ThrottlingException", "simulated"),
            (CallOutcome::Conflict, _) => xml_error(call, 409, "ConditionalRequestConflict"),
            (CallOutcome::Answered | CallOutcome::AnswerLost, Service::S3) => self.s3_answers(call),
            (CallOutcome::Answered | CallOutcome::AnswerLost, Service::Rekognition) => self.rekognition_answers(call),
            (CallOutcome::Answered | CallOutcome::AnswerLost, _) => self.states_answers(call),
        };
        self.log(|| {
            let lost = if outcome == CallOutcome::AnswerLost { ", answer lost" } else { "" };
            let code = match answer.status {
                200..300 => String::new(),
                _ => format!(" {}", String::from_utf8_lossy(&answer.body)),
            };
            format!("  {call} -> {}{lost}{code}", answer.status)
        });
        (outcome != CallOutcome::AnswerLost).then_some(answer)
    }
}

/// The HTTP client of the functions' SDK clients.
#[derive(Debug)]
struct SimulatedHttp(Cloud);

impl HttpClient for SimulatedHttp {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Self(self.0.clone()))
    }
}

impl HttpConnector for SimulatedHttp {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (cloud, call, (sender, answer)) = (self.0.clone(), Call::read(&request), oneshot::channel());
        // The request arrives even if the function that sent it is killed in the meantime.
        tokio::spawn(async move {
            let (outcome, request_delay, answer_delay) = cloud.lock().call_outcome(&call);
            sleep(request_delay).await;
            if cloud.lock().injected_bug == Some(InjectedBug::StoresCallbacksLate) && call.key.starts_with("callbacks/")
            {
                sender.send(Some(Answer::empty(200))).ok();
                sleep(MINUTE).await;
                cloud.lock().answer(&call, CallOutcome::Answered);
                return;
            }
            let answer = cloud.lock().answer(&call, outcome);
            sleep(answer_delay).await;
            sender.send(answer).ok();
        });
        HttpConnectorFuture::new(async move {
            match answer.await {
                Ok(Some(answer)) => Ok(answer.response()),
                _ => Err(ConnectorError::io("the connection was closed".into())),
            }
        })
    }
}
