//! AWS as the functions see it, for one test: a bucket in memory, and the answers that the test sets.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use aws_sdk_rekognition::types::VideoJobStatus;
use aws_sdk_s3::{
    config::http::HttpResponse,
    error::ErrorMetadata,
    operation::{
        delete_object::DeleteObjectOutput,
        get_object::{GetObjectError, GetObjectOutput},
        head_object::HeadObjectOutput,
        list_objects_v2::ListObjectsV2Output,
        put_object::{PutObjectError, PutObjectOutput},
    },
    primitives::{ByteStream, SdkBody},
    types::{Object, error::NoSuchKey},
};
use aws_sdk_sfn::operation::{
    send_task_failure::SendTaskFailureOutput, send_task_heartbeat::SendTaskHeartbeatOutput,
    send_task_success::SendTaskSuccessOutput,
};
use aws_smithy_async::time::{SharedTimeSource, TimeSource};
use aws_smithy_mocks::{MockResponse, MockResponseInterceptor, Rule, RuleMode, create_mock_http_client, mock};
use lambdas::aws::Clients;
use serde_json::json;

/// A client whose calls are answered by rules.
macro_rules! client {
    ($sdk:ident, $rules:expr) => {{
        let rules: Vec<&Rule> = $rules;
        let interceptor = rules
            .into_iter()
            .fold(MockResponseInterceptor::new().rule_mode(RuleMode::MatchAny), MockResponseInterceptor::with_rule);
        let config = $sdk::Config::builder()
            .behavior_version_latest()
            .region($sdk::config::Region::new("us-east-1"))
            .credentials_provider($sdk::config::Credentials::new("test", "test", None, None, "test"))
            .retry_config($sdk::config::retry::RetryConfig::disabled())
            .http_client(create_mock_http_client())
            .interceptor(interceptor);
        $sdk::Client::from_conf(config.build())
    }};
}

/// A clock that follows tokio's, which a test can pause.
#[derive(Debug)]
pub struct TokioClock(tokio::time::Instant);

impl TokioClock {
    pub fn shared() -> SharedTimeSource {
        SharedTimeSource::new(Self(tokio::time::Instant::now()))
    }
}

impl TimeSource for TokioClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.0.elapsed()
    }
}

/// A bucket in memory.
#[derive(Clone, Default)]
pub struct Store(pub Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Store {
    pub fn keys(&self) -> Vec<String> {
        self.0.lock().unwrap().keys().cloned().collect()
    }

    pub fn put(&self, key: &str, body: impl Into<Vec<u8>>) {
        self.0.lock().unwrap().insert(key.into(), body.into());
    }

    pub fn text(&self, key: &str) -> String {
        String::from_utf8(self.0.lock().unwrap().get(key).unwrap_or_else(|| panic!("no object at {key}")).clone())
            .unwrap()
    }

    fn rules(&self) -> Vec<Rule> {
        let objects = || self.0.clone();
        let (get, head, put, list, delete) = (objects(), objects(), objects(), objects(), objects());
        vec![
            mock!(aws_sdk_s3::Client::get_object).then_compute_response(move |request| {
                match get.lock().unwrap().get(request.key().unwrap()) {
                    Some(body) => {
                        let body = if request.range().is_some() { &body[..body.len().min(12)] } else { body };
                        let output = GetObjectOutput::builder().e_tag("\"e\"").body(ByteStream::from(body.to_vec()));
                        MockResponse::Output(output.build())
                    }
                    None => MockResponse::Error(GetObjectError::NoSuchKey(
                        NoSuchKey::builder().meta(ErrorMetadata::builder().code("NoSuchKey").build()).build(),
                    )),
                }
            }),
            mock!(aws_sdk_s3::Client::head_object).then_compute_response(move |request| {
                match head.lock().unwrap().get(request.key().unwrap()) {
                    Some(body) => {
                        let length = i64::try_from(body.len()).unwrap();
                        MockResponse::Output(HeadObjectOutput::builder().content_length(length).e_tag("\"e\"").build())
                    }
                    // As S3 answers: a status without a body, and so without an error code.
                    None => MockResponse::Http(HttpResponse::new(404.try_into().unwrap(), SdkBody::empty())),
                }
            }),
            mock!(aws_sdk_s3::Client::put_object).then_compute_response(move |request| {
                let mut objects = put.lock().unwrap();
                let key = request.key().unwrap().to_owned();
                let exists = objects.contains_key(&key);
                if request.if_none_match().is_some() && exists || request.if_match().is_some() && !exists {
                    let precondition = ErrorMetadata::builder().code("PreconditionFailed").build();
                    return MockResponse::Error(PutObjectError::generic(precondition));
                }
                objects.insert(key, request.body().bytes().unwrap_or_default().to_vec());
                MockResponse::Output(PutObjectOutput::builder().e_tag("\"e\"").build())
            }),
            mock!(aws_sdk_s3::Client::list_objects_v2).then_compute_output(move |request| {
                let prefix = request.prefix().unwrap_or_default();
                let objects = list.lock().unwrap();
                let keys = objects.keys().filter(|key| key.starts_with(prefix));
                ListObjectsV2Output::builder()
                    .set_contents(Some(keys.map(|key| Object::builder().key(key).build()).collect()))
                    .build()
            }),
            mock!(aws_sdk_s3::Client::delete_object).then_compute_output(move |request| {
                delete.lock().unwrap().remove(request.key().unwrap());
                DeleteObjectOutput::builder().build()
            }),
        ]
    }
}

/// The callbacks that were sent: token, and `Ok(output)` or `Err(error name, cause)`.
pub type SentCallbacks = Arc<Mutex<Vec<(String, Result<String, (String, String)>)>>>;

/// Step Functions that accepts every callback, and whose tasks are all open.
pub fn accepting_sfn(sent: &SentCallbacks) -> Vec<Rule> {
    let (success, failure) = (sent.clone(), sent.clone());
    vec![
        mock!(aws_sdk_sfn::Client::send_task_heartbeat)
            .then_compute_output(|_| SendTaskHeartbeatOutput::builder().build()),
        mock!(aws_sdk_sfn::Client::send_task_success).then_compute_output(move |request| {
            let (token, output) = (request.task_token().unwrap().to_owned(), request.output().unwrap().to_owned());
            success.lock().unwrap().push((token, Ok(output)));
            SendTaskSuccessOutput::builder().build()
        }),
        mock!(aws_sdk_sfn::Client::send_task_failure).then_compute_output(move |request| {
            let reason = (request.error().unwrap().to_owned(), request.cause().unwrap().to_owned());
            failure.lock().unwrap().push((request.task_token().unwrap().to_owned(), Err(reason)));
            SendTaskFailureOutput::builder().build()
        }),
    ]
}

/// Clients over the store and the answers that the test sets.
pub fn clients(store: &Store, rekognition: &[Rule], sfn: &[Rule]) -> Clients {
    clients_with_s3(&[], store, rekognition, sfn)
}

/// Clients as [`clients`], except that the rules `first` answer the calls of S3 that they match.
pub fn clients_with_s3(first: &[Rule], store: &Store, rekognition: &[Rule], sfn: &[Rule]) -> Clients {
    let stored = store.rules();
    let s3: Vec<_> = first.iter().chain(&stored).collect();
    Clients {
        rekognition: client!(aws_sdk_rekognition, rekognition.iter().collect()),
        s3: client!(aws_sdk_s3, s3),
        sfn: client!(aws_sdk_sfn, sfn.iter().collect()),
        clock: SharedTimeSource::default(),
    }
}

/// The answer of `GetFaceDetection` for a job with this status.
pub fn report(idempotency_key: &str, status: &VideoJobStatus, message: Option<&str>) -> HttpResponse {
    let answer = json!({"JobStatus": status.as_str(), "StatusMessage": message, "JobTag": idempotency_key,
        "Video": {"S3Object": {"Bucket": "uploads", "Name": "holiday.mp4"}}});
    HttpResponse::new(200.try_into().unwrap(), SdkBody::from(answer.to_string()))
}
