//! The HTTP layer under the SDK's clients: every call reaches a simulated service, late, twice, or in vain.

use std::collections::BTreeMap;
use std::fmt;

use aws_sdk_s3::config::{Credentials, HttpClient, Region, RuntimeComponents, SharedHttpClient, retry};
use aws_smithy_async::time::SharedTimeSource;
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

use crate::clock::{MINUTE, Ms, sleep};
use crate::story::Sabotage;
use crate::weather::Service;
use crate::world::{Cloud, World};

/// The functions' clients: the real ones, on simulated wires and simulated time.
pub(super) fn clients(cloud: &Cloud) -> Clients {
    let http = SharedHttpClient::new(Wire(cloud.clone()));
    let clock = SharedTimeSource::new(cloud.lock().clock);
    // A bucket of retry tokens of its own: the SDK's default is shared by every story of this process.
    let partition = || retry::RetryPartition::custom("story").token_bucket(retry::TokenBucket::unlimited()).build();
    let credentials = Credentials::new("id", "secret", None, None, "simulation");
    macro_rules! client {
        ($sdk:ident) => {
            $sdk::config::Builder::new()
                .behavior_version($sdk::config::BehaviorVersion::latest())
                .region(Region::from_static("us-east-1"))
                .credentials_provider(credentials.clone())
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

/// A call of a service, as it arrives there.
#[derive(Debug)]
pub(super) struct Call {
    service: Service,
    /// As IAM and the SDK name it.
    pub(super) operation: String,
    /// S3 alone.
    pub(super) bucket: String,
    /// S3 alone, raw.
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
                let told = ["ClientRequestToken", "JobId", "MaxResults", "NextToken", "taskToken", "error"];
                told.iter().filter(|name| !request[**name].is_null()).try_for_each(|name| {
                    let value = request[*name].to_string();
                    // Names in hexadecimal are told apart by their beginning.
                    let shown = if value.len() > 60 && *name != "taskToken" { &value[..9] } else { &value };
                    write!(f, " {name}={}", shown.trim_matches('"'))
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
            body: request.body().bytes().expect("the functions send no streams").to_vec(),
        }
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8().expect("UTF-8").into_owned()
}

/// What a service answers.
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

    pub(super) fn xml_error(status: u16, code: &str) -> Self {
        let body = format!("<Error><Code>{code}</Code><Message>simulated</Message></Error>");
        Self { body: body.into_bytes(), ..Self::empty(status) }
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

/// What the weather does to a call.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Answered,
    Refused,
    Throttled,
    Conflict,
    AnswerLost,
}

impl World {
    fn fate(&mut self, call: &Call) -> (Fate, Ms, Ms) {
        let weather = self.weather();
        let (mut there, mut back) = (self.dice.u64(1..30), self.dice.u64(1..30));
        if let Some(takes) = self.get_ms.filter(|_| call.operation == "GetFaceDetection") {
            (there, back) = (takes / 2, takes - takes / 2);
        }
        let conditional = call.header("if-none-match").or(call.header("if-match")).is_some();
        let fate = if self.is_out(call.service) || self.chance(weather.refused) {
            self.meet("fault: refused");
            Fate::Refused
        } else if self.chance(weather.throttled) {
            self.meet("fault: throttled");
            Fate::Throttled
        } else if conditional && self.chance(weather.refused) {
            self.meet("fault: conflict");
            Fate::Conflict
        } else if self.chance(weather.answer_lost) {
            self.meet("fault: answer lost");
            Fate::AnswerLost
        } else {
            Fate::Answered
        };
        if self.chance(weather.slow) {
            self.meet("fault: slow");
            back += self.dice.u64(MINUTE / 4..2 * MINUTE);
        }
        (fate, there, back)
    }

    fn answer(&mut self, call: &Call, fate: Fate) -> Option<Answer> {
        let answer = match (fate, call.service) {
            (Fate::Refused, Service::S3) => Answer::xml_error(500, "InternalError"),
            (Fate::Refused, _) => Answer { status: 500, ..Answer::json_error("InternalServerError", "simulated") },
            (Fate::Throttled, Service::S3) => Answer::xml_error(503, "SlowDown"),
            (Fate::Throttled, _) => Answer::json_error("ThrottlingException", "simulated"),
            (Fate::Conflict, _) => Answer::xml_error(409, "ConditionalRequestConflict"),
            (Fate::Answered | Fate::AnswerLost, Service::S3) => self.s3_answers(call),
            (Fate::Answered | Fate::AnswerLost, Service::Rekognition) => self.rekognition_answers(call),
            (Fate::Answered | Fate::AnswerLost, _) => self.states_answers(call),
        };
        self.log(|| {
            let lost = if fate == Fate::AnswerLost { ", answer lost" } else { "" };
            let code = match answer.status {
                200..300 => String::new(),
                _ => format!(" {}", String::from_utf8_lossy(&answer.body)),
            };
            format!("  {call} -> {}{lost}{code}", answer.status)
        });
        (fate != Fate::AnswerLost).then_some(answer)
    }
}

/// The HTTP client of the functions' SDK clients.
#[derive(Debug)]
struct Wire(Cloud);

impl HttpClient for Wire {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Self(self.0.clone()))
    }
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (cloud, call, (sender, answer)) = (self.0.clone(), Call::read(&request), oneshot::channel());
        // What is on its way arrives, whether or not its sender still lives.
        tokio::spawn(async move {
            let (fate, there, back) = cloud.lock().fate(&call);
            sleep(there).await;
            if cloud.lock().sabotage == Some(Sabotage::StoresWaitersLate) && call.key.starts_with("callbacks/") {
                sender.send(Some(Answer::empty(200))).ok();
                sleep(MINUTE).await;
                cloud.lock().answer(&call, Fate::Answered);
                return;
            }
            let answer = cloud.lock().answer(&call, fate);
            sleep(back).await;
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
