//! `facereel replay --dead-letters`: undelivered events are delivered again, and each is removed from its dead-letter queue
//! only after that has worked.

use std::{collections::HashSet, fmt};

use aws_sdk_lambda::primitives::Blob;
use aws_sdk_sqs::types::Message;
use comfy_table::{Table, presets};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::commands::backfill::{ListedVideo, has_result};
use crate::deployed::{Deployed, Error};
use crate::terminal::{
    Stop,
    exit::{self, ExitStatus, FAILURE, INTERRUPTED, SUCCESS},
    text::counted,
};
use local_stack::Progress;

/// The number of messages to receive with one call: the maximum of SQS.
const MESSAGES_PER_CALL: i32 = 10;

/// The visibility timeout of a message during its delivery, in seconds: longer than the timeout of the function
/// `resume-execution`.
const VISIBILITY_TIMEOUT_SECONDS: i32 = 360;

/// How long a receive call waits for messages, in seconds. Without waiting, SQS queries only some of its servers
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html>).
const WAIT_SECONDS: i32 = 1;

/// A dead-letter queue, as `terraform/` creates them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterQueue {
    /// Events of S3 for which `EventBridge` could not start an execution.
    Uploads,
    /// Completions of jobs that neither SNS nor Lambda could deliver to `resume-execution`.
    Completions,
}

impl DeadLetterQueue {
    /// Its name after the name of the stack.
    fn name(self) -> &'static str {
        match self {
            Self::Uploads => "undelivered-uploads",
            Self::Completions => "undelivered-completions",
        }
    }
}

/// A message, and the outcome of its delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterRow {
    /// The queue of the message.
    pub queue: DeadLetterQueue,
    /// The video or the job of the message.
    pub subject: String,
    /// What was done; or why the delivery failed, in which case the message is still in the queue.
    pub outcome: Result<&'static str, String>,
}

/// The outcome for the messages in the dead-letter queues.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterReport {
    /// Every message that was received.
    pub rows: Vec<DeadLetterRow>,
    /// Whether the command was stopped before all messages were received.
    pub interrupted: bool,
}

impl DeadLetterReport {
    /// Whether every message was delivered, so that the queues are empty.
    #[must_use]
    pub fn all_well(&self) -> bool {
        !self.interrupted && self.rows.iter().all(|row| row.outcome.is_ok())
    }
}

/// Delivers every message again. When `stop` resolves, deliveries in progress are completed and no more are started.
///
/// # Errors
/// [`Error`], if a queue cannot be read. The failed delivery of a single message is in the report.
pub async fn replay(deployed: &Deployed, progress: &dyn Progress, stop: &Stop) -> Result<DeadLetterReport, Error> {
    let results_bucket = deployed.results_bucket().await?;
    let mut report = DeadLetterReport::default();
    for queue in [DeadLetterQueue::Uploads, DeadLetterQueue::Completions] {
        progress.step(match queue {
            DeadLetterQueue::Uploads => "Starting executions for undelivered uploads",
            DeadLetterQueue::Completions => "Delivering completions",
        });
        let url = deployed.queue_url(queue.name()).await?;
        let dead_letters = DeadLetters { deployed, results_bucket: &results_bucket, queue, url };
        let mut undelivered = Vec::new();
        let result = dead_letters.deliver_all(progress, stop, &mut report, &mut undelivered).await;
        dead_letters.make_visible(undelivered).await;
        result?;
    }
    Ok(report)
}

/// The messages of one dead-letter queue.
struct DeadLetters<'a> {
    deployed: &'a Deployed,
    results_bucket: &'a str,
    queue: DeadLetterQueue,
    url: String,
}

impl DeadLetters<'_> {
    /// Delivers all messages. The receipt handles of those that stay in the queue are added to `undelivered`.
    async fn deliver_all(
        &self,
        progress: &dyn Progress,
        stop: &Stop,
        report: &mut DeadLetterReport,
        undelivered: &mut Vec<String>,
    ) -> Result<(), Error> {
        let mut seen = HashSet::new();
        loop {
            let receive = self
                .deployed
                .sqs
                .receive_message()
                .queue_url(&self.url)
                .max_number_of_messages(MESSAGES_PER_CALL)
                .visibility_timeout(VISIBILITY_TIMEOUT_SECONDS)
                .wait_time_seconds(WAIT_SECONDS);
            let received = tokio::select! {
                biased;
                () = stop.clone() => {
                    report.interrupted = true;
                    return Ok(());
                }
                received = receive.send() => received.map_err(Error::aws("sqs:ReceiveMessage"))?,
            };
            // A message whose delivery failed is received again after its visibility timeout. The next run delivers it.
            let fresh: Vec<_> = received
                .messages
                .unwrap_or_default()
                .into_iter()
                .filter(|message| seen.insert(message.message_id.clone()))
                .collect();
            if fresh.is_empty() {
                return Ok(());
            }
            for (row, receipt_handle) in join_all(fresh.into_iter().map(|message| self.deliver(message))).await {
                if row.outcome.is_err() {
                    undelivered.extend(receipt_handle);
                }
                report.rows.push(row);
            }
            progress.detail(&counted(report.rows.len(), "message"));
        }
    }

    /// Makes undelivered messages visible, so that another run can receive them immediately.
    async fn make_visible(&self, receipt_handles: Vec<String>) {
        for receipt_handle in receipt_handles {
            let request =
                self.deployed.sqs.change_message_visibility().queue_url(&self.url).receipt_handle(receipt_handle);
            let _ = request.visibility_timeout(0).send().await;
        }
    }

    /// Delivers a message, and removes it from the queue after that has worked. Returns the outcome and the receipt handle.
    async fn deliver(&self, message: Message) -> (DeadLetterRow, Option<String>) {
        let body = message.body().unwrap_or_default();
        let (subject, delivered) = match self.queue {
            DeadLetterQueue::Uploads => match UndeliveredUpload::read(body) {
                Ok(upload) => (Some(upload.subject()), self.start(&upload, body).await),
                Err(error) => (None, Err(error.to_string())),
            },
            DeadLetterQueue::Completions => match UndeliveredCompletion::read(body) {
                Ok(completion) => (Some(completion.subject.clone()), self.resume(&completion).await),
                Err(error) => (None, Err(error.to_string())),
            },
        };
        let outcome = match delivered {
            Ok(done) => {
                let receipt_handle = message.receipt_handle().unwrap_or_default();
                let removed =
                    self.deployed.sqs.delete_message().queue_url(&self.url).receipt_handle(receipt_handle).send().await;
                // If the removal fails, a second delivery has no effect: the execution name and the job are the same.
                removed.map_err(|error| Error::aws("sqs:DeleteMessage")(error).to_string()).map(|_| done)
            }
            Err(why) => Err(why),
        };
        let subject = subject.unwrap_or_else(|| format!("message {}", message.message_id().unwrap_or_default()));
        (DeadLetterRow { queue: self.queue, subject, outcome }, message.receipt_handle)
    }

    /// Starts the execution that `EventBridge` could not start. Its name contains the id of the event, so that an event that
    /// is delivered twice starts one execution.
    ///
    /// Nothing is started if the video has a result. The message may be up to two weeks old, and a backfill, for example,
    /// may have analysed the video since. If that job is more than 7 days old, another execution would start, and pay for,
    /// a new one.
    async fn start(&self, upload: &UndeliveredUpload, event: &str) -> Result<&'static str, String> {
        let Self { deployed, results_bucket, .. } = self;
        let complete = has_result(deployed, results_bucket, &upload.bucket, &upload.video).await;
        if complete.map_err(|error| error.to_string())? {
            return Ok("has a result already");
        }
        let started = deployed
            .sfn
            .start_execution()
            .state_machine_arn(deployed.state_machine.to_string())
            .name(format!("undelivered-{}", upload.id))
            .input(event)
            .send()
            .await;
        match started {
            Ok(_) => Ok("started"),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_execution_already_exists()) => {
                Ok("was already started")
            }
            Err(error) => Err(Error::aws("states:StartExecution")(error).to_string()),
        }
    }

    /// Invokes `resume-execution` with the event and waits for its response.
    async fn resume(&self, completion: &UndeliveredCompletion) -> Result<&'static str, String> {
        let function = self.deployed.state_machine.named("resume-execution");
        let payload = Blob::new(completion.event.to_string());
        let response = self.deployed.lambda.invoke().function_name(&function).payload(payload).send().await;
        let response = response.map_err(|error| Error::aws("lambda:InvokeFunction")(error).to_string())?;
        if response.function_error.is_none() {
            return Ok("delivered");
        }
        let error: Value =
            response.payload.and_then(|payload| serde_json::from_slice(payload.as_ref()).ok()).unwrap_or_default();
        let text = |field: &str| error[field].as_str().unwrap_or("(none)").to_owned();
        Err(format!("{function} failed with {}: {}", text("errorType"), text("errorMessage")))
    }
}

/// A message that is not of the type that its queue is for.
#[derive(Debug, thiserror::Error)]
#[error("the message is not {0}; inspect and remove it in the SQS console")]
struct UnknownMessage(&'static str);

/// An event of S3, unchanged, as `EventBridge` sends it to its dead-letter queue
/// (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html>).
struct UndeliveredUpload {
    id: String,
    bucket: String,
    video: ListedVideo,
}

impl UndeliveredUpload {
    fn read(body: &str) -> Result<Self, UnknownMessage> {
        let event: Value = serde_json::from_str(body).unwrap_or_default();
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
        let (Some(id), Some(bucket), Some(key)) =
            (text("/id"), text("/detail/bucket/name"), text("/detail/object/key"))
        else {
            return Err(UnknownMessage("the event of an upload"));
        };
        let video = ListedVideo {
            key: key.to_owned(),
            etag: text("/detail/object/etag").unwrap_or_default().to_owned(),
            bytes: event.pointer("/detail/object/size").and_then(Value::as_u64).unwrap_or_default(),
            duration: None,
            obstacle: None,
        };
        Ok(Self { id: id.to_owned(), bucket: bucket.to_owned(), video })
    }

    fn subject(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.video.key)
    }
}

/// The completion of a job, in one of the formats of undelivered messages: the record of a failed invocation from Lambda
/// (<https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html>), or the notification of SNS
/// (<https://docs.aws.amazon.com/sns/latest/dg/sns-dead-letter-queues.html>).
struct UndeliveredCompletion {
    event: Value,
    subject: String,
}

impl UndeliveredCompletion {
    fn read(body: &str) -> Result<Self, UnknownMessage> {
        let mut dead_letter: Value = serde_json::from_str(body).unwrap_or_default();
        let event = if dead_letter["requestPayload"]["Records"].is_array() {
            dead_letter["requestPayload"].take()
        } else if dead_letter["Records"].is_array() {
            dead_letter
        } else if dead_letter["Type"] == "Notification" {
            // SNS sends the notification to Lambda in this envelope.
            json!({ "Records": [{
                "EventSource": "aws:sns",
                "EventVersion": "1.0",
                "EventSubscriptionArn": "",
                "Sns": dead_letter,
            }] })
        } else {
            return Err(UnknownMessage("the completion of a job"));
        };
        let message = event["Records"][0]["Sns"]["Message"].as_str().unwrap_or_default();
        let completion: Value = serde_json::from_str(message).unwrap_or_default();
        let job = completion["JobId"].as_str().ok_or(UnknownMessage("the completion of a job"))?;
        let video = match (completion["Video"]["S3Bucket"].as_str(), completion["Video"]["S3ObjectName"].as_str()) {
            (Some(bucket), Some(key)) => format!(", s3://{bucket}/{key}"),
            _ => String::new(),
        };
        let subject = format!("job {}{video}", job.chars().take(12).collect::<String>());
        Ok(Self { event, subject })
    }
}

impl exit::Report for DeadLetterReport {
    fn json(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn exit_status(&self) -> ExitStatus {
        match self.interrupted {
            true => INTERRUPTED,
            false if self.all_well() => SUCCESS,
            false => FAILURE,
        }
    }
}

impl fmt::Display for DeadLetterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return f.write_str(if self.interrupted {
                "Stopped; nothing was delivered."
            } else {
                "No dead letters: both queues are empty."
            });
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["QUEUE", "SUBJECT", "OUTCOME"]);
        for DeadLetterRow { queue, subject, outcome } in &self.rows {
            let outcome = match outcome {
                Ok(done) => (*done).to_owned(),
                Err(why) => format!("NOT delivered, stays in the queue: {why}"),
            };
            table.add_row([queue.name(), subject, &outcome]);
        }
        writeln!(f, "{}", table.trim_fmt())?;
        let undelivered = self.rows.iter().filter(|row| row.outcome.is_err()).count();
        write!(f, "\n{} delivered", self.rows.len() - undelivered)?;
        if undelivered > 0 {
            write!(f, ", {undelivered} not")?;
        }
        f.write_str(if self.interrupted { ". Stopped; run again for the others." } else { "." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> String {
        let path = format!("{}/../../tests/fixtures/{name}.json", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    #[test]
    fn an_undelivered_upload_has_a_video_and_an_id() {
        let upload = UndeliveredUpload::read(&fixture("events/put-object")).unwrap();
        assert_eq!(upload.subject(), "s3://amzn-s3-demo-bucket/holiday/day 1.mp4");
        assert_eq!(upload.id, "17793124-05d4-b198-2fde-7ededc63b103");
    }

    #[test]
    fn every_format_of_a_completion_becomes_the_event_for_lambda() {
        let event: Value = serde_json::from_str(&fixture("sns/succeeded")).unwrap();
        let record = json!({ "requestContext": { "condition": "RetriesExhausted" }, "requestPayload": event });
        let mut notification = event["Records"][0]["Sns"].clone();
        // SNS spells this member differently in its own notification.
        notification["SigningCertURL"] = notification["SigningCertUrl"].take();
        for message in [event.clone(), record, notification] {
            let completion =
                UndeliveredCompletion::read(&message.to_string()).unwrap_or_else(|error| panic!("{message}: {error}"));
            assert_eq!(completion.subject, "job 8f14e45fceea, s3://uploads/holiday.mp4");
            let message = |event: &Value| event["Records"][0]["Sns"]["Message"].clone();
            assert_eq!(message(&completion.event), message(&event));
        }
    }

    #[test]
    fn other_messages_are_rejected() {
        for body in ["", "text", "{}", "[]", "null", r#"{"Records": []}"#, r#"{"id": 7, "detail": {}}"#] {
            assert!(UndeliveredUpload::read(body).is_err(), "{body}");
            assert!(UndeliveredCompletion::read(body).is_err(), "{body}");
        }
    }
}
