//! A proxy in front of the emulator's Step Functions that adds what only AWS's has: `RedriveExecution`, the parameters of a task
//! in the history of an execution, and the log of a state machine.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_cloudwatchlogs::types::InputLogEvent;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The task token in the history of every execution.
pub const TASK_TOKEN: &str =
    "AQCEAAAAKgAAAAMAAAAAAAAAAd0wr4Xm1vJ5gM3uQ2kYb8Zc7Ne6Lf9Hs0Tt1Pq2Ww3Ee4Rr5Yy6Uu7Ii8Oo9Aa0Ss1Dd2Ff3Gg4Hh5Jj6Kk7Ll8";

/// The log group of the state machine.
pub const LOG_GROUP: &str = "/aws/vendedlogs/states/facereel-analyze-video";

/// The log of the state machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logging {
    /// A line for each execution that is started through the proxy.
    On,
    /// A log group without lines.
    NotDelivered,
    /// No log group.
    Off,
}

/// The proxy. It listens until it is dropped.
pub struct AwsLike {
    url: String,
    serving: JoinHandle<()>,
}

struct Shared {
    emulator: String,
    client: Client<HttpConnector, Body>,
    logs: aws_sdk_cloudwatchlogs::Client,
    logging: Logging,
    /// The execution that continues a redriven one.
    redriven: Mutex<HashMap<String, String>>,
}

impl AwsLike {
    /// Starts the proxy on a free port of 127.0.0.1, and creates the log group of the state machine.
    pub async fn start(emulator: &str, logs: &aws_sdk_cloudwatchlogs::Client, logging: Logging) -> Self {
        logs.create_log_group().log_group_name(LOG_GROUP).send().await.unwrap();
        logs.create_log_stream().log_group_name(LOG_GROUP).log_stream_name("log").send().await.unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let client = Client::builder(TokioExecutor::new()).build_http();
        let (emulator, logs) = (emulator.to_owned(), logs.clone());
        let shared = Arc::new(Shared { emulator, client, logs, logging, redriven: Mutex::default() });
        let router = Router::new().fallback(forward).with_state(shared);
        let serving = tokio::spawn(async move {
            // It runs until it is aborted.
            let _ = axum::serve(listener, router).await;
        });
        Self { url, serving }
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for AwsLike {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Writes a line to a log group of the emulator.
pub async fn log(logs: &aws_sdk_cloudwatchlogs::Client, group: &str, line: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let event = InputLogEvent::builder().timestamp(now.try_into().unwrap()).message(line).build().unwrap();
    logs.put_log_events().log_group_name(group).log_stream_name("log").log_events(event).send().await.unwrap();
}

async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let target = parts.headers["x-amz-target"].to_str().unwrap();
    let action = target.split_once('.').unwrap().1.to_owned();
    let mut input: Value = serde_json::from_slice(&body).unwrap();
    let asked_for = input["executionArn"].as_str().unwrap_or_default().to_owned();
    if action == "RedriveExecution" {
        return shared.redrive(&asked_for).await;
    }
    let continued = shared.redriven.lock().unwrap().get(&asked_for).cloned();
    if let Some(continued) = &continued {
        input["executionArn"] = json!(continued);
    }
    let (status, mut output) = shared.call(&action, &input).await;
    match action.as_str() {
        "StartExecution" if shared.logging == Logging::On => log(&shared.logs, LOG_GROUP, &output.to_string()).await,
        "DescribeExecution" if continued.is_some() => {
            output["executionArn"] = json!(asked_for);
            output["redriveCount"] = json!(1);
        }
        "GetExecutionHistory" => add_parameters(&mut output),
        "DescribeStateMachine" if shared.logging != Logging::Off => {
            let group = format!("arn:aws:logs:us-east-1:000000000000:log-group:{LOG_GROUP}:*");
            let destination = json!({ "cloudWatchLogsLogGroup": { "logGroupArn": group } });
            output["loggingConfiguration"] =
                json!({ "level": "ALL", "includeExecutionData": false, "destinations": [destination] });
        }
        _ => {}
    }
    (status, [(header::CONTENT_TYPE, "application/x-amz-json-1.0")], output.to_string()).into_response()
}

fn add_parameters(history: &mut Value) {
    let parameters = json!({ "FunctionName": "f", "Payload": { "task_token": TASK_TOKEN } }).to_string();
    for event in history["events"].as_array_mut().into_iter().flatten() {
        if let Some(details) = event.get_mut("taskScheduledEventDetails") {
            details["parameters"] = json!(parameters);
        }
    }
}

impl Shared {
    /// Starts an execution with the same input, which continues the redriven one.
    async fn redrive(&self, arn: &str) -> Response {
        let (_, redriven) = self.call("DescribeExecution", &json!({ "executionArn": arn })).await;
        let name = format!("{}-redriven", redriven["name"].as_str().unwrap());
        let start = json!({ "stateMachineArn": redriven["stateMachineArn"], "name": name, "input": redriven["input"] });
        let (status, started) = self.call("StartExecution", &start).await;
        assert_eq!(status, StatusCode::OK, "{started}");
        let continued = started["executionArn"].as_str().unwrap().to_owned();
        self.redriven.lock().unwrap().insert(arn.to_owned(), continued);
        let output = json!({ "redriveDate": started["startDate"] });
        ([(header::CONTENT_TYPE, "application/x-amz-json-1.0")], output.to_string()).into_response()
    }

    async fn call(&self, action: &str, input: &Value) -> (StatusCode, Value) {
        // The emulator reads the service and the Region in it and does not check the signature.
        let credential = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/states/aws4_request";
        let request = Request::post(self.emulator.parse::<Uri>().unwrap())
            .header("x-amz-target", format!("AWSStepFunctions.{action}"))
            .header(header::CONTENT_TYPE, "application/x-amz-json-1.0")
            .header(header::AUTHORIZATION, credential)
            .body(Body::from(Bytes::from(input.to_string())))
            .unwrap();
        let answer = self.client.request(request).await.unwrap();
        let status = answer.status();
        let body = to_bytes(Body::new(answer.into_body()), 1 << 24).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_else(|_| json!({ "body": String::from_utf8_lossy(&body) })))
    }
}
