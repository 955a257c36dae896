//! An AWS account with a stack, as the commands for an operator see it: the models of all services, their quotas, and the count of
//! the calls.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use lambdas::{job::FaceAttributes, layout, start_detection::Config};
use serde_json::json;
use tokio::sync::watch;

use super::{
    archive::{Archive, Videos, list_few},
    executions::{Executions, Failures},
    quotas::{Quotas, Regions},
    wire::{Answer, Call},
};

/// The ARN of the stack's state machine `analyze-video`.
pub const STATE_MACHINE: &str = "arn:aws:states:eu-central-1:123456789012:stateMachine:facereel-analyze-video";

/// The bucket of the videos.
pub const UPLOADS: &str = "facereel-uploads";

/// The bucket of the results.
pub const RESULTS: &str = "facereel-results";

/// The account, for the HTTP client.
pub type SharedAccount = Arc<Mutex<Account>>;

/// The number of calls of each operation.
pub type Calls = BTreeMap<String, u64>;

/// An account.
#[derive(Debug)]
pub struct Account {
    quotas: Quotas,
    /// The executions of `analyze-video`.
    pub executions: Executions,
    /// The buckets.
    pub archive: Archive,
    /// The calls that were answered.
    pub calls: Calls,
    /// The calls that were throttled.
    pub throttled: u64,
    /// The number of executions that were redriven or started.
    pub replayed: watch::Sender<u64>,
}

impl Account {
    /// An account with full quotas.
    pub fn new(regions: Regions, failures: Failures, videos: Videos) -> Self {
        Self {
            quotas: Quotas::new(regions),
            executions: Executions::new(failures),
            archive: Archive::new(videos, config()),
            calls: Calls::new(),
            throttled: 0,
            replayed: watch::Sender::new(0),
        }
    }

    /// Answers a call, if the quotas allow it.
    ///
    /// Panics, if the operation has no model.
    pub fn answer(&mut self, call: &Call) -> Answer {
        if !self.quotas.take(&call.operation, &call.bucket) {
            self.throttled += 1;
            return call.throttled();
        }
        *self.calls.entry(call.operation.clone()).or_default() += 1;
        if ["RedriveExecution", "StartExecution"].contains(&call.operation.as_str()) {
            self.replayed.send_modify(|replayed| *replayed += 1);
        }
        match call.operation.as_str() {
            "ListObjectsV2" if call.parameter("prefix") == layout::QUEUE_ENTRIES => list_few(self.executions.queue()),
            "ListObjectsV2" => self.archive.list_objects(call),
            "ListObjectVersions" => self.archive.list_versions(call),
            "GetObject" => self.archive.get(call),
            "HeadObject" => Archive::head(),
            "PutObject" => self.archive.put(call),
            "GetFunctionConfiguration" => function_configuration(),
            "GetQueueUrl" => Answer::json(&json!({ "QueueUrl": "https://sqs.eu-central-1.amazonaws.com/1/queue" })),
            "GetQueueAttributes" => Answer::json(&json!({ "Attributes": { "ApproximateNumberOfMessages": "0" } })),
            _ => self.executions.answer(call).unwrap_or_else(|| panic!("there is no model for {call}")),
        }
    }
}

/// The parameters with which the stack starts jobs.
fn config() -> Config {
    Config {
        results_bucket: RESULTS.to_owned(),
        completion_topic_arn: "arn:aws:sns:eu-central-1:123456789012:facereel-completions".to_owned(),
        publish_role_arn: "arn:aws:iam::123456789012:role/facereel-publish".to_owned(),
        face_attributes: FaceAttributes::Default,
    }
}

/// The environment of the function start-detection.
fn function_configuration() -> Answer {
    let Config { results_bucket, completion_topic_arn, publish_role_arn, face_attributes } = config();
    Answer::json(&json!({ "Environment": { "Variables": {
        "RESULTS_BUCKET": results_bucket,
        "COMPLETION_TOPIC_ARN": completion_topic_arn,
        "PUBLISH_ROLE_ARN": publish_role_arn,
        "FACE_ATTRIBUTES": face_attributes.as_str(),
    } } }))
}
