//! The messages in the dead-letter queues.

use serde_json::{Value, json};

use crate::commands::backfill::ListedVideo;
use crate::deployed::Video;

/// A message that is not of the type that its queue is for.
#[derive(Debug, thiserror::Error)]
#[error("the message is not {0}; inspect and remove it in the SQS console")]
pub(super) struct UnknownMessage(&'static str);

/// An event of S3, unchanged, as `EventBridge` sends it to its dead-letter queue
/// (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html>).
#[derive(Debug, Clone)]
pub(super) struct UndeliveredUpload {
    /// The id of the event.
    pub(super) id: String,
    /// The event.
    pub(super) event: String,
    /// The video.
    pub(super) video: Video,
    /// The content of the video, as a listing would show it.
    pub(super) content: ListedVideo,
}

impl UndeliveredUpload {
    pub(super) fn read(body: &str) -> Result<Self, UnknownMessage> {
        let event: Value = serde_json::from_str(body).unwrap_or_default();
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
        let (Some(id), Some(video)) = (text("/id"), Video::of_input(body)) else {
            return Err(UnknownMessage("the event of an upload"));
        };
        let content = ListedVideo {
            key: video.key.clone(),
            etag: text("/detail/object/etag").unwrap_or_default().to_owned(),
            bytes: event.pointer("/detail/object/size").and_then(Value::as_u64).unwrap_or_default(),
            duration: None,
            obstacle: None,
        };
        Ok(Self { id: id.to_owned(), event: body.to_owned(), video, content })
    }
}

/// The completion of a job, in one of the formats of undelivered messages: the record of a failed invocation from Lambda
/// (<https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html>), or the notification of SNS
/// (<https://docs.aws.amazon.com/sns/latest/dg/sns-dead-letter-queues.html>).
#[derive(Debug, Clone)]
pub(super) struct UndeliveredCompletion {
    /// The event for the function.
    pub(super) event: Value,
    /// The `JobId` of Rekognition.
    pub(super) job_id: String,
    /// The video, if the message names it.
    pub(super) video: Option<Video>,
}

impl UndeliveredCompletion {
    pub(super) fn read(body: &str) -> Result<Self, UnknownMessage> {
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
        let text = |pointer: &str| completion.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let job_id = text("/JobId").ok_or(UnknownMessage("the completion of a job"))?;
        let video = text("/Video/S3Bucket").zip(text("/Video/S3ObjectName"));
        let video = video.map(|(bucket, key)| Video { bucket, key, version_id: None });
        Ok(Self { event, job_id, video })
    }

    /// For example `uploads/holiday.mp4 (job 8f14e45fceea)`.
    pub(super) fn subject(&self) -> String {
        let job: String = self.job_id.chars().take(12).collect();
        match &self.video {
            Some(video) => format!("{} (job {job})", video.short()),
            None => format!("job {job}"),
        }
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
        assert_eq!(upload.video.to_string(), "amzn-s3-demo-bucket/holiday/day 1.mp4");
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
            assert_eq!(completion.subject(), "uploads/holiday.mp4 (job 8f14e45fceea)");
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
