//! A temporary queue that receives the events of the results, and with `--facts` the completion messages of the jobs.

use std::time::Duration;

use aws_sdk_eventbridge::types::Target;
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::cleanup::Cleanup;
use crate::deployed::{Deployed, Error};

/// How long a request for messages waits for one, in seconds: the maximum
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html>).
const WAIT_SECONDS: i32 = 20;

/// The number of messages of one request: the maximum.
const MESSAGES: i32 = 10;

/// The queue and everything that it has received.
#[derive(Debug)]
pub(super) struct Mailbox {
    url: String,
    arn: String,
    received: Vec<Value>,
}

/// The event pattern for the manifests of the results in `folder`.
fn manifests(results_bucket: &str, folder: &str) -> Value {
    json!({
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {
            "bucket": { "name": [results_bucket] },
            "object": { "key": [{ "wildcard": format!("{}*/manifest.json", literal(folder)) }] },
        },
    })
}

/// A text without the meaning of `*` and `\` in a `wildcard` pattern
/// (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html>).
fn literal(text: &str) -> String {
    text.replace('\\', r"\\").replace('*', r"\*")
}

/// The ARN of a queue in the account and the Region of a rule. `None`, if `rule_arn` is not an ARN.
fn queue_arn(rule_arn: &str, queue: &str) -> Option<String> {
    let parts: Vec<_> = rule_arn.splitn(6, ':').collect();
    let ["arn", partition, _, region, account, _] = parts[..] else { return None };
    Some(format!("arn:{partition}:sqs:{region}:{account}:{queue}"))
}

/// The statement of the queue's policy that lets a service send what `source_arn` produces
/// (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html>).
fn statement(service: &str, queue_arn: &str, source_arn: &str) -> Value {
    json!({
        "Effect": "Allow",
        "Principal": { "Service": service },
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
        "Condition": { "ArnEquals": { "aws:SourceArn": source_arn } },
    })
}

impl Mailbox {
    /// Creates the rule and the queue, both named `name`, for the manifests in `folder` of the results bucket. With `topic`, the
    /// queue can be subscribed to this topic as well.
    ///
    /// Everything is registered with `cleanup` before it is created.
    pub(super) async fn open(
        deployed: &Deployed,
        cleanup: &mut Cleanup,
        name: &str,
        (results_bucket, folder): (&str, &str),
        topic: Option<&str>,
    ) -> Result<Self, Error> {
        const PUT_RULE: &str = "events:PutRule";
        cleanup.rule = Some(name.to_owned());
        let pattern = manifests(results_bucket, folder).to_string();
        let rule = deployed.eventbridge.put_rule().name(name).event_pattern(pattern);
        let rule =
            rule.description("Temporary: facereel verify deletes it").send().await.map_err(Error::aws(PUT_RULE))?;
        let rule_arn = rule.rule_arn.ok_or(Error::Incomplete { action: PUT_RULE, missing: "RuleArn" })?;
        let arn =
            queue_arn(&rule_arn, name).ok_or(Error::Incomplete { action: PUT_RULE, missing: "ARN of the rule" })?;

        let mut statements = vec![statement("events.amazonaws.com", &arn, &rule_arn)];
        statements.extend(topic.map(|topic| statement("sns.amazonaws.com", &arn, topic)));
        let policy = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
        cleanup.queue = Some(name.to_owned());
        let queue = deployed.sqs.create_queue().queue_name(name).attributes(QueueAttributeName::Policy, policy);
        let queue = queue.send().await.map_err(Error::aws("sqs:CreateQueue"))?;
        let url = queue.queue_url.ok_or(Error::Incomplete { action: "sqs:CreateQueue", missing: "QueueUrl" })?;

        let target = Target::builder().id("verify").arn(&arn).build().expect("it has an id and an ARN");
        let put = deployed.eventbridge.put_targets().rule(name).targets(target).send().await;
        let put = put.map_err(Error::aws("events:PutTargets"))?;
        if put.failed_entry_count > 0 {
            return Err(Error::Incomplete { action: "events:PutTargets", missing: "accepted target" });
        }
        Ok(Self { url, arn, received: Vec::new() })
    }

    /// Subscribes the queue to the topic with which it was opened. Its messages arrive without an envelope
    /// (<https://docs.aws.amazon.com/sns/latest/dg/sns-large-payload-raw-message-delivery.html>).
    pub(super) async fn subscribe(&self, deployed: &Deployed, cleanup: &mut Cleanup, topic: &str) -> Result<(), Error> {
        cleanup.subscription = Some((topic.to_owned(), self.arn.clone()));
        let subscribe = deployed.sns.subscribe().topic_arn(topic).protocol("sqs").endpoint(&self.arn);
        let subscribe = subscribe.attributes("RawMessageDelivery", "true").send().await;
        subscribe.map_err(Error::aws("sns:Subscribe"))?;
        Ok(())
    }

    /// Waits at most `limit` until `wanted` has been received.
    pub(super) async fn wait_for(
        &mut self,
        deployed: &Deployed,
        limit: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Option<&Value>, Error> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(index) = self.received.iter().position(&wanted) {
                return Ok(Some(&self.received[index]));
            }
            match timeout_at(deadline, self.receive(deployed, deadline)).await {
                Ok(received) => received?,
                Err(_) => return Ok(None),
            }
            if Instant::now() >= deadline && !self.received.iter().any(&wanted) {
                return Ok(None);
            }
        }
    }

    /// Everything received so far that matches.
    pub(super) fn received(&self, wanted: impl Fn(&Value) -> bool) -> Vec<&Value> {
        self.received.iter().filter(|message| wanted(message)).collect()
    }

    async fn receive(&mut self, deployed: &Deployed, deadline: Instant) -> Result<(), Error> {
        let left = deadline.saturating_duration_since(Instant::now()).as_secs();
        let wait = i32::try_from(left).unwrap_or(WAIT_SECONDS).clamp(1, WAIT_SECONDS);
        let receive = deployed.sqs.receive_message().queue_url(&self.url).max_number_of_messages(MESSAGES);
        let received = receive.wait_time_seconds(wait).send().await.map_err(Error::aws("sqs:ReceiveMessage"))?;
        for message in received.messages.unwrap_or_default() {
            self.received.extend(message.body().and_then(|body| serde_json::from_str(body).ok()));
            if let Some(handle) = message.receipt_handle {
                let delete = deployed.sqs.delete_message().queue_url(&self.url).receipt_handle(handle).send().await;
                delete.map_err(Error::aws("sqs:DeleteMessage"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_literal_in_the_pattern() {
        let pattern = manifests("results", r"results/a*b\c.mp4/");
        assert_eq!(pattern["detail"]["object"]["key"][0]["wildcard"], r"results/a\*b\\c.mp4/*/manifest.json");
    }

    #[test]
    fn a_queue_is_in_the_account_and_the_region_of_the_rule() {
        let rule = "arn:aws-cn:events:cn-north-1:123456789012:rule/facereel-verify-1";
        assert_eq!(queue_arn(rule, "q").as_deref(), Some("arn:aws-cn:sqs:cn-north-1:123456789012:q"));
        assert_eq!(queue_arn("rule", "q"), None);
    }
}
