//! The dead-letter queues.

use std::collections::HashMap;

use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, Message};
use schemars::JsonSchema;
use serde::Serialize;

use crate::deployed::{Deployed, Error};
use crate::terminal::{Stop, text::counted};
use local_stack::Progress;

/// The number of messages of one call: the maximum of SQS.
const MESSAGES_PER_CALL: i32 = 10;

/// The visibility timeout of a received message, in seconds: longer than the timeout of the function `resume-execution`.
pub(super) const VISIBILITY_TIMEOUT_SECONDS: i32 = 360;

/// How long a receive call waits for messages, in seconds. Without waiting, SQS queries only some of its servers
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html>).
const WAIT_SECONDS: i32 = 1;

/// A dead-letter queue, as `terraform/` creates them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeadLetterQueue {
    /// Events of S3 for which `EventBridge` could not start an execution.
    Uploads,
    /// Completions of jobs that neither SNS nor Lambda could deliver to `resume-execution`.
    Completions,
}

impl DeadLetterQueue {
    /// Its name after the name of the stack.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Uploads => "undelivered-uploads",
            Self::Completions => "undelivered-completions",
        }
    }
}

/// The messages of one dead-letter queue.
pub(super) struct Received<'a> {
    deployed: &'a Deployed,
    /// The queue.
    pub(super) queue: DeadLetterQueue,
    url: String,
    /// The messages by their id. A message that was received twice has its newest receipt handle.
    pub(super) messages: HashMap<String, Message>,
}

impl<'a> Received<'a> {
    /// No messages of this queue.
    pub(super) async fn none(deployed: &'a Deployed, queue: DeadLetterQueue) -> Result<Self, Error> {
        let url = deployed.queue_url(queue.name()).await?;
        Ok(Self { deployed, queue, url, messages: HashMap::new() })
    }

    /// Receives all messages, which other receivers do not see from then on. Returns whether `stop` did not resolve before.
    pub(super) async fn receive_all(&mut self, progress: &dyn Progress, stop: &Stop) -> Result<bool, Error> {
        loop {
            let receive = self.deployed.sqs.receive_message().queue_url(&self.url);
            let receive = receive
                .max_number_of_messages(MESSAGES_PER_CALL)
                .visibility_timeout(VISIBILITY_TIMEOUT_SECONDS)
                .wait_time_seconds(WAIT_SECONDS);
            let received = tokio::select! {
                biased;
                () = stop.clone() => return Ok(false),
                received = receive.send() => received.map_err(Error::aws("sqs:ReceiveMessage"))?,
            };
            let before = self.messages.len();
            for message in received.messages.unwrap_or_default() {
                self.messages.insert(message.message_id.clone().unwrap_or_default(), message);
            }
            // A message is received again after its visibility timeout.
            if self.messages.len() == before {
                return Ok(true);
            }
            progress.detail(&counted(self.messages.len(), "message"));
        }
    }

    /// Sets for how long the messages with these ids are not visible to other receivers. An error is ignored: a message that
    /// becomes visible too early can be delivered twice, and a second delivery has no effect.
    pub(super) async fn set_visibility(&self, ids: impl Iterator<Item = &String>, seconds: i32) {
        let handles: Vec<_> = ids.filter_map(|id| self.messages.get(id)?.receipt_handle.clone()).collect();
        for handles in handles.chunks(MESSAGES_PER_CALL.unsigned_abs() as usize) {
            let entries = handles.iter().enumerate().filter_map(|(index, handle)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(index.to_string());
                entry.receipt_handle(handle).visibility_timeout(seconds).build().ok()
            });
            let request = self.deployed.sqs.change_message_visibility_batch().queue_url(&self.url);
            let _ = request.set_entries(Some(entries.collect())).send().await;
        }
    }

    /// Removes a message from the queue.
    pub(super) async fn delete(&self, id: &str) -> Result<(), Error> {
        let handle = self.messages.get(id).and_then(|message| message.receipt_handle.clone());
        let request = self.deployed.sqs.delete_message().queue_url(&self.url).set_receipt_handle(handle);
        request.send().await.map(drop).map_err(Error::aws("sqs:DeleteMessage"))
    }
}
