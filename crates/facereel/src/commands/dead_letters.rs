//! `facereel replay --dead-letters`: what could not be delivered goes its own way again, and leaves its queue only when
//! that has worked.

use std::{collections::HashSet, fmt};

use aws_sdk_lambda::primitives::Blob;
use aws_sdk_sqs::types::Message;
use comfy_table::{Table, presets};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::commands::backfill::{Found, has_result};
use crate::deployed::{Deployed, Error, Stop};
use crate::text::counted;
use local_stack::Progress;

/// Messages that are taken at once: as many as SQS gives in one answer.
const AT_ONCE: i32 = 10;

/// How long a message stays hidden from others while it is dealt with, in seconds: longer than `resume-execution` may
/// run.
const HIDDEN_SECONDS: i32 = 360;

/// How long an empty queue is asked whether it is, in seconds; without waiting, SQS asks some of its servers only
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html>).
const WAIT_SECONDS: i32 = 1;

/// A queue of what could not be delivered, as `terraform/` makes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// S3's events that `EventBridge` could not start an execution for.
    Uploads,
    /// Completions that neither SNS nor Lambda could hand to `resume-execution`.
    Completions,
}

impl Queue {
    /// Its name, behind the stack's.
    fn name(self) -> &'static str {
        match self {
            Self::Uploads => "undelivered-uploads",
            Self::Completions => "undelivered-completions",
        }
    }
}

/// A message, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where it lay.
    pub queue: Queue,
    /// The video, or the job.
    pub about: String,
    /// What was done; or why nothing was, and the message still lies there.
    pub outcome: Result<&'static str, String>,
}

/// What became of the dead letters.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Every message that was looked at.
    pub rows: Vec<Row>,
    /// Whether the command was stopped before its end.
    pub interrupted: bool,
}

impl Report {
    /// Whether the queues are empty now.
    #[must_use]
    pub fn all_well(&self) -> bool {
        !self.interrupted && self.rows.iter().all(|row| row.outcome.is_ok())
    }
}

/// Puts every message back through its own path; until `stop`, when what was begun is ended.
///
/// # Errors
/// [`Error`], when a queue cannot be read. What happens to a single message is in the report.
pub async fn replay(deployed: &Deployed, progress: &dyn Progress, stop: &Stop) -> Result<Report, Error> {
    let results_bucket = deployed.results_bucket().await?;
    let mut report = Report::default();
    for queue in [Queue::Uploads, Queue::Completions] {
        progress.step(match queue {
            Queue::Uploads => "Starting executions for undelivered uploads",
            Queue::Completions => "Delivering completions",
        });
        let url = deployed.queue_url(queue.name()).await?;
        let letters = Letters { deployed, results_bucket: &results_bucket, queue, url };
        let mut left = Vec::new();
        let emptied = letters.take_all(progress, stop, &mut report, &mut left).await;
        letters.show_again(left).await;
        emptied?;
    }
    Ok(report)
}

/// One of the queues.
struct Letters<'a> {
    deployed: &'a Deployed,
    results_bucket: &'a str,
    queue: Queue,
    url: String,
}

impl Letters<'_> {
    /// Takes message after message; the receipts of those that stay go into `left`.
    async fn take_all(
        &self,
        progress: &dyn Progress,
        stop: &Stop,
        report: &mut Report,
        left: &mut Vec<String>,
    ) -> Result<(), Error> {
        let mut seen = HashSet::new();
        loop {
            let receive = self
                .deployed
                .sqs
                .receive_message()
                .queue_url(&self.url)
                .max_number_of_messages(AT_ONCE)
                .visibility_timeout(HIDDEN_SECONDS)
                .wait_time_seconds(WAIT_SECONDS);
            let received = tokio::select! {
                biased;
                () = stop.clone() => {
                    report.interrupted = true;
                    return Ok(());
                }
                received = receive.send() => received.map_err(Error::aws("sqs:ReceiveMessage"))?,
            };
            // One that failed comes back when it has been hidden for long enough: that is for another run.
            let fresh: Vec<_> = received
                .messages
                .unwrap_or_default()
                .into_iter()
                .filter(|message| seen.insert(message.message_id.clone()))
                .collect();
            if fresh.is_empty() {
                return Ok(());
            }
            for (row, receipt) in join_all(fresh.into_iter().map(|message| self.deliver(message))).await {
                if row.outcome.is_err() {
                    left.extend(receipt);
                }
                report.rows.push(row);
            }
            progress.detail(&counted(report.rows.len(), "message"));
        }
    }

    /// Lets whoever runs this again see at once what stays.
    async fn show_again(&self, receipts: Vec<String>) {
        for receipt in receipts {
            let request = self.deployed.sqs.change_message_visibility().queue_url(&self.url).receipt_handle(receipt);
            let _ = request.visibility_timeout(0).send().await;
        }
    }

    /// Puts one message back through its own path, and removes it when that has worked; returns its receipt as well.
    async fn deliver(&self, message: Message) -> (Row, Option<String>) {
        let body = message.body().unwrap_or_default();
        let (about, delivered) = match self.queue {
            Queue::Uploads => match Upload::read(body) {
                Ok(upload) => (Some(upload.about()), self.start(&upload, body).await),
                Err(error) => (None, Err(error.to_string())),
            },
            Queue::Completions => match Completion::read(body) {
                Ok(completion) => (Some(completion.about.clone()), self.resume(&completion).await),
                Err(error) => (None, Err(error.to_string())),
            },
        };
        let outcome = match delivered {
            Ok(done) => {
                let receipt = message.receipt_handle().unwrap_or_default();
                let removed =
                    self.deployed.sqs.delete_message().queue_url(&self.url).receipt_handle(receipt).send().await;
                // A second delivery does no harm: the name and the job are the same.
                removed.map_err(|error| Error::aws("sqs:DeleteMessage")(error).to_string()).map(|_| done)
            }
            Err(why) => Err(why),
        };
        let about = about.unwrap_or_else(|| format!("message {}", message.message_id().unwrap_or_default()));
        (Row { queue: self.queue, about, outcome }, message.receipt_handle)
    }

    /// Starts the execution that `EventBridge` could not; its name comes from the event, so that one that is delivered
    /// twice starts one.
    ///
    /// A letter may be two weeks old. Where the video has got its result meanwhile, by a backfill for example, a job of
    /// more than 7 days ago would be forgotten, and paid for again.
    async fn start(&self, upload: &Upload, event: &str) -> Result<&'static str, String> {
        let Self { deployed, results_bucket, .. } = self;
        let complete = has_result(deployed, results_bucket, &upload.bucket, &upload.video).await;
        if complete.map_err(|error| error.to_string())? {
            return Ok("has its result already");
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
                Ok("was started before")
            }
            Err(error) => Err(Error::aws("states:StartExecution")(error).to_string()),
        }
    }

    /// Calls `resume-execution` with the event and waits for its answer.
    async fn resume(&self, completion: &Completion) -> Result<&'static str, String> {
        let function = self.deployed.state_machine.named("resume-execution");
        let payload = Blob::new(completion.event.to_string());
        let answer = self.deployed.lambda.invoke().function_name(&function).payload(payload).send().await;
        let answer = answer.map_err(|error| Error::aws("lambda:InvokeFunction")(error).to_string())?;
        if answer.function_error.is_none() {
            return Ok("delivered");
        }
        let error: Value =
            answer.payload.and_then(|payload| serde_json::from_slice(payload.as_ref()).ok()).unwrap_or_default();
        let text = |field: &str| error[field].as_str().unwrap_or("an error without a name").to_owned();
        Err(format!("{function} failed with {}: {}", text("errorType"), text("errorMessage")))
    }
}

/// A message that is none of those that land in its queue.
#[derive(Debug, thiserror::Error)]
#[error("it is no {0}: look at it, and remove it, in the SQS console")]
struct Foreign(&'static str);

/// S3's event as `EventBridge` puts it into its dead-letter queue: to the letter
/// (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html>).
struct Upload {
    id: String,
    bucket: String,
    video: Found,
}

impl Upload {
    fn read(body: &str) -> Result<Self, Foreign> {
        let event: Value = serde_json::from_str(body).unwrap_or_default();
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
        let (Some(id), Some(bucket), Some(key)) =
            (text("/id"), text("/detail/bucket/name"), text("/detail/object/key"))
        else {
            return Err(Foreign("event of an upload"));
        };
        let video = Found {
            key: key.to_owned(),
            etag: text("/detail/object/etag").unwrap_or_default().to_owned(),
            bytes: event.pointer("/detail/object/size").and_then(Value::as_u64).unwrap_or_default(),
            duration: None,
        };
        Ok(Self { id: id.to_owned(), bucket: bucket.to_owned(), video })
    }

    fn about(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.video.key)
    }
}

/// A completion, in either of the forms in which it is given up: Lambda's record of a failed invocation
/// (<https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html>), or SNS's own notification
/// (<https://docs.aws.amazon.com/sns/latest/dg/sns-dead-letter-queues.html>).
struct Completion {
    event: Value,
    about: String,
}

impl Completion {
    fn read(body: &str) -> Result<Self, Foreign> {
        let mut letter: Value = serde_json::from_str(body).unwrap_or_default();
        let event = if letter["requestPayload"]["Records"].is_array() {
            letter["requestPayload"].take()
        } else if letter["Records"].is_array() {
            letter
        } else if letter["Type"] == "Notification" {
            // What SNS hands to Lambda is the notification in an envelope.
            json!({ "Records": [{
                "EventSource": "aws:sns",
                "EventVersion": "1.0",
                "EventSubscriptionArn": "",
                "Sns": letter,
            }] })
        } else {
            return Err(Foreign("completion of a job"));
        };
        let message = event["Records"][0]["Sns"]["Message"].as_str().unwrap_or_default();
        let completion: Value = serde_json::from_str(message).unwrap_or_default();
        let job = completion["JobId"].as_str().ok_or(Foreign("completion of a job"))?;
        let video = match (completion["Video"]["S3Bucket"].as_str(), completion["Video"]["S3ObjectName"].as_str()) {
            (Some(bucket), Some(key)) => format!(", s3://{bucket}/{key}"),
            _ => String::new(),
        };
        let about = format!("job {}{video}", job.chars().take(12).collect::<String>());
        Ok(Self { event, about })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return f.write_str(if self.interrupted {
                "Stopped; nothing was put back."
            } else {
                "No dead letters: both queues are empty."
            });
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["QUEUE", "ABOUT", "OUTCOME"]);
        for Row { queue, about, outcome } in &self.rows {
            let outcome = match outcome {
                Ok(done) => (*done).to_owned(),
                Err(why) => format!("STAYS in the queue: {why}"),
            };
            table.add_row([queue.name(), about, &outcome]);
        }
        writeln!(f, "{}", table.trim_fmt())?;
        let stay = self.rows.iter().filter(|row| row.outcome.is_err()).count();
        write!(f, "\n{} put back", self.rows.len() - stay)?;
        if stay > 0 {
            write!(f, ", {stay} not")?;
        }
        f.write_str(if self.interrupted { ". Stopped: run again for the rest." } else { "." })
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
    fn an_upload_says_which_video_and_has_a_name_of_its_own() {
        let upload = Upload::read(&fixture("events/put-object")).unwrap();
        assert_eq!(upload.about(), "s3://amzn-s3-demo-bucket/holiday/day 1.mp4");
        assert_eq!(upload.id, "17793124-05d4-b198-2fde-7ededc63b103");
    }

    #[test]
    fn every_form_of_a_completion_becomes_the_event_that_lambda_gets() {
        let event: Value = serde_json::from_str(&fixture("sns/succeeded")).unwrap();
        let record = json!({ "requestContext": { "condition": "RetriesExhausted" }, "requestPayload": event });
        let mut notification = event["Records"][0]["Sns"].clone();
        // As SNS itself spells it.
        notification["SigningCertURL"] = notification["SigningCertUrl"].take();
        for letter in [event.clone(), record, notification] {
            let completion = Completion::read(&letter.to_string()).unwrap_or_else(|error| panic!("{letter}: {error}"));
            assert_eq!(completion.about, "job 8f14e45fceea, s3://uploads/holiday.mp4");
            let message = |event: &Value| event["Records"][0]["Sns"]["Message"].clone();
            assert_eq!(message(&completion.event), message(&event));
        }
    }

    #[test]
    fn anything_else_is_left() {
        for body in ["", "text", "{}", "[]", "null", r#"{"Records": []}"#, r#"{"id": 7, "detail": {}}"#] {
            assert!(Upload::read(body).is_err(), "{body}");
            assert!(Completion::read(body).is_err(), "{body}");
        }
    }
}
