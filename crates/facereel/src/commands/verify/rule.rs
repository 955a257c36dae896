//! The upload rule and the notifications of the buckets.

use aws_sdk_eventbridge::types::RuleState;
use serde_json::{Value, json};

use super::checks::{NotPassed, Seen};
use crate::deployed::{Deployed, Error, UploadRule};

/// Checks that every rule is enabled and that its target is the state machine, which receives the whole event.
pub(super) async fn enabled(deployed: &Deployed, rules: &[UploadRule]) -> Seen {
    let mut seen = Vec::new();
    for rule in rules {
        seen.push(one_enabled(deployed, &rule.name).await?);
    }
    Ok(seen.join(", "))
}

async fn one_enabled(deployed: &Deployed, rule: &str) -> Seen {
    let described = deployed.eventbridge.describe_rule().name(rule).send().await;
    let state = described.map_err(Error::aws("events:DescribeRule"))?.state;
    if state != Some(RuleState::Enabled) {
        let state = state.as_ref().map_or("without a state", RuleState::as_str);
        return Err(NotPassed::Failed(format!("{rule} is {state}")));
    }
    let targets = deployed.eventbridge.list_targets_by_rule().rule(rule).send().await;
    let targets = targets.map_err(Error::aws("events:ListTargetsByRule"))?.targets.unwrap_or_default();
    let state_machine = deployed.state_machine.to_string();
    let Some(target) = targets.iter().find(|target| target.arn == state_machine) else {
        return Err(NotPassed::Failed(format!("{rule} has no target {state_machine}")));
    };
    if target.input.is_some() || target.input_path.is_some() || target.input_transformer.is_some() {
        return Err(NotPassed::Failed(format!("{rule} passes a part of the event")));
    }
    Ok(format!("{rule} is enabled"))
}

/// The event of an upload, as S3 sends it (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html>).
fn upload_event(deployed: &Deployed, bucket: &str, key: &str, bytes: usize) -> Value {
    json!({
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": "Object Created",
        "source": "aws.s3",
        // Like the other members before `detail`, the account is mandatory for a test
        // (https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_TestEventPattern.html).
        "account": "111122223333",
        "time": "2021-11-12T00:00:00Z",
        "region": deployed.state_machine.region(),
        "resources": [format!("arn:aws:s3:::{bucket}")],
        "detail": {
            "version": "0",
            "bucket": { "name": bucket },
            "object": { "key": key, "size": bytes, "etag": "b1946ac92492d2347c6235b4d2611184", "sequencer": "617f08299329d189" },
            "request-id": "N4N7GDK58NMKJ12R",
            "requester": "111122223333",
            "source-ip-address": "192.0.2.1",
            "reason": "PutObject",
        },
    })
}

/// Checks that every pattern matches the upload of a video, and neither another file nor an empty object.
pub(super) async fn patterns_match(deployed: &Deployed, rules: &[UploadRule]) -> Seen {
    let mut seen = String::new();
    for rule in rules {
        seen = one_matches(deployed, rule).await?;
    }
    Ok(seen)
}

async fn one_matches(deployed: &Deployed, rule: &UploadRule) -> Seen {
    let (bucket, pattern) = (&rule.bucket, rule.pattern.to_string());
    let [video, text] = ["mp4", "txt"].map(|suffix| format!("{}facereel-verify/sample.{suffix}", rule.prefix()));
    let mut seen = Vec::new();
    let mut all = true;
    for (what, key, bytes, expected) in
        [("an .mp4", &video, 1, true), ("a .txt", &text, 1, false), ("0 bytes", &video, 0, false)]
    {
        let event = upload_event(deployed, bucket, key, bytes).to_string();
        let answer = deployed.eventbridge.test_event_pattern().event_pattern(&pattern).event(event).send().await;
        let matches = answer.map_err(Error::aws("events:TestEventPattern"))?.result;
        all &= matches == expected;
        seen.push(format!("{} {what}", if matches { "matches" } else { "not" }));
    }
    let seen = seen.join(", ");
    if all { Ok(seen) } else { Err(NotPassed::Failed(format!("{}: {seen}", rule.name))) }
}

/// Checks that a bucket sends its events to `EventBridge`.
pub(super) async fn sends_events(deployed: &Deployed, bucket: &str) -> Seen {
    let configuration = deployed.s3.get_bucket_notification_configuration().bucket(bucket).send().await;
    let configuration = configuration.map_err(Error::aws("s3:GetBucketNotification"))?;
    match configuration.event_bridge_configuration {
        Some(_) => Ok(format!("{bucket} sends them")),
        None => Err(NotPassed::Failed(format!("{bucket} sends none to EventBridge"))),
    }
}
