//! The executions that the events of uploads start.

use std::{
    collections::{HashMap, hash_map::Entry},
    time::{Duration, SystemTime},
};

use aws_sdk_sfn::{operation::describe_execution::DescribeExecutionOutput, types::ExecutionStatus};
use lambdas::{layout, results::Manifest, video::Video};
use serde_json::Value;
use tokio::time::sleep;

use super::transfer::Stored;
use crate::deployed::{Deployed, Error, FailureReason, S3Uri};

/// How long the event of an upload may take to start an execution. It usually takes seconds.
pub(super) const START_LIMIT: Duration = Duration::from_mins(2);

/// The clocks of this machine, S3 and Step Functions may differ by this much.
const CLOCK_DIFFERENCE: Duration = Duration::from_mins(5);

/// The longest time from the creation of an object until its event starts an execution: a day, for which `EventBridge` tries
/// again, and for an object of parts, which is created when its upload is, the seven days after which the stack's bucket
/// removes an unfinished upload.
const LATEST_START: Duration = Duration::from_hours(8 * 24);

/// The shortest and the longest time between two requests for the same thing.
const POLL_INTERVALS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(5)];

/// Growing pauses between requests.
pub(super) struct Pauses(Duration);

impl Pauses {
    pub(super) fn new() -> Self {
        Self(POLL_INTERVALS[0])
    }

    /// Whether there was no pause yet.
    pub(super) fn is_first(&self) -> bool {
        self.0 == POLL_INTERVALS[0]
    }

    pub(super) async fn pause(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 5 / 4).min(POLL_INTERVALS[1]);
    }
}

/// How an execution has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// The result is complete.
    Succeeded {
        /// The folder of the result.
        results: S3Uri,
        /// The number of faces in it.
        faces: u64,
    },
    /// The execution failed, was stopped or timed out.
    Failed(FailureReason),
}

/// The search for the executions of uploads. Each execution is described once, because its input does not change.
#[derive(Default)]
pub(super) struct Search {
    inputs: HashMap<String, String>,
}

impl Search {
    /// For each object, the ARN of the execution that its event has started, if there is one.
    ///
    /// # Errors
    /// [`Error`] of `states:ListExecutions` or `states:DescribeExecution`.
    pub(super) async fn find(
        &mut self,
        deployed: &Deployed,
        objects: &[(&S3Uri, &Stored)],
    ) -> Result<Vec<Option<String>>, Error> {
        let mut found = vec![None; objects.len()];
        let Some(since) = objects.iter().map(|(_, stored)| stored.since).min() else { return Ok(found) };
        let arn = deployed.state_machine.to_string();
        // The latest start comes first (https://docs.aws.amazon.com/step-functions/latest/apireference/API_ListExecutions.html).
        let mut executions = deployed.sfn.list_executions().state_machine_arn(&arn).into_paginator().items().send();
        while let Some(execution) = executions.next().await {
            let execution = execution.map_err(|error| match error.as_service_error() {
                Some(reason) if reason.is_state_machine_does_not_exist() => Error::NoStateMachine(arn.clone()),
                _ => Error::aws("states:ListExecutions")(error),
            })?;
            let start = SystemTime::try_from(execution.start_date).unwrap_or(since);
            if start + CLOCK_DIFFERENCE < since || found.iter().all(Option::is_some) {
                break;
            }
            let possible = |stored: &Stored| {
                start + CLOCK_DIFFERENCE >= stored.since && start <= stored.since + LATEST_START + CLOCK_DIFFERENCE
            };
            let mut candidates: Vec<_> = objects
                .iter()
                .zip(&mut found)
                .filter(|((_, stored), found)| found.is_none() && possible(stored))
                .collect();
            if candidates.is_empty() {
                continue;
            }
            let input = self.input(deployed, &execution.execution_arn).await?;
            for ((object, stored), found) in &mut candidates {
                if is_about(input, object, stored) {
                    **found = Some(execution.execution_arn.clone());
                }
            }
        }
        Ok(found)
    }

    async fn input(&mut self, deployed: &Deployed, arn: &str) -> Result<&str, Error> {
        match self.inputs.entry(arn.to_owned()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(new) => Ok(new.insert(describe(deployed, arn).await?.input.unwrap_or_default())),
        }
    }
}

/// Whether the input of an execution is the event of this object.
fn is_about(input: &str, object: &S3Uri, stored: &Stored) -> bool {
    let Ok(event) = serde_json::from_str::<Value>(input) else { return false };
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
    if (text("/detail/bucket/name"), text("/detail/object/key")) != (Some(&object.bucket), Some(&object.key)) {
        return false;
    }
    // A bucket with suspended versioning gives each upload the version `null`, so only the entity tag identifies the content.
    match (stored.version_id.as_deref(), text("/detail/object/version-id")) {
        (Some(version), Some(of_event)) if version != "null" => version == of_event,
        _ => {
            let etag = text("/detail/object/etag").map(|etag| etag.trim_matches('"'));
            stored.etag.is_none() || etag == stored.etag.as_deref()
        }
    }
}

/// The complete result for the content of an object, and the ARN of the execution that wrote it, if there is one.
///
/// # Errors
/// [`Error`] of `s3:ListBucket` or `s3:GetObject` on the results.
pub(super) async fn result_of(
    deployed: &Deployed,
    object: &S3Uri,
    stored: &Stored,
) -> Result<Option<(Ended, String)>, Error> {
    let bucket = deployed.results_bucket().await?;
    let folder = layout::results_of_video(&object.key);
    let mut results = deployed.s3.list_objects_v2().bucket(&bucket).prefix(folder).into_paginator().send();
    while let Some(page) = results.try_next().await.map_err(Error::aws("s3:ListBucket"))? {
        let keys = page.contents().iter().filter_map(|object| object.key());
        for key in keys.filter(|key| key.ends_with(&format!("/{}", layout::MANIFEST))) {
            let manifest = deployed.s3.get_object().bucket(&bucket).key(key).send().await;
            let body = manifest.map_err(Error::aws("s3:GetObject"))?.body.collect().await;
            let manifest = body.ok().and_then(|body| serde_json::from_slice::<Manifest>(&body.into_bytes()).ok());
            let Some(manifest) = manifest.filter(|manifest| is_of(&manifest.video, object, stored)) else { continue };
            let results = S3Uri { bucket, key: key.trim_end_matches(layout::MANIFEST).to_owned() };
            let faces = u64::try_from(manifest.faces).unwrap_or(u64::MAX);
            return Ok(Some((Ended::Succeeded { results, faces }, manifest.execution_arn)));
        }
    }
    Ok(None)
}

/// Whether a result is the one of this content.
fn is_of(video: &Video, object: &S3Uri, stored: &Stored) -> bool {
    let same_version = video.version_id.is_none() || video.version_id == stored.version_id;
    (&video.bucket, &video.key) == (&object.bucket, &object.key)
        && same_version
        && Some(&video.etag) == stored.etag.as_ref()
}

/// Describes an execution.
async fn describe(deployed: &Deployed, arn: &str) -> Result<DescribeExecutionOutput, Error> {
    let described = deployed.sfn.describe_execution().execution_arn(arn).send().await;
    described.map_err(Error::aws("states:DescribeExecution"))
}

/// How an execution has ended. `None`, if it runs.
///
/// # Errors
/// [`Error`] of `states:DescribeExecution`.
pub(super) async fn end_of(deployed: &Deployed, arn: &str) -> Result<Option<Ended>, Error> {
    const ACTION: &str = "states:DescribeExecution";
    let execution = describe(deployed, arn).await?;
    if !matches!(
        execution.status,
        ExecutionStatus::Succeeded | ExecutionStatus::Failed | ExecutionStatus::TimedOut | ExecutionStatus::Aborted
    ) {
        return Ok(None);
    }
    if execution.status == ExecutionStatus::Succeeded {
        let output = execution.output.as_deref().unwrap_or_default();
        return match result(output) {
            Some(ended) => Ok(Some(ended)),
            None => Err(Error::Incomplete { action: ACTION, missing: "output" }),
        };
    }
    Ok(Some(Ended::Failed(FailureReason::of(&execution))))
}

/// Reads the output of an execution.
fn result(output: &str) -> Option<Ended> {
    let output: Value = serde_json::from_str(output).ok()?;
    let text = |name: &str| Some(output.get(name)?.as_str()?.to_owned());
    let results = S3Uri { bucket: text("bucket")?, key: text("prefix")? };
    Some(Ended::Succeeded { results, faces: output.get("faces")?.as_u64()? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(version_id: Option<&str>) -> String {
        let mut object = json!({ "key": "a b.mp4", "etag": "e1", "size": 4 });
        if let Some(version_id) = version_id {
            object["version-id"] = json!(version_id);
        }
        json!({ "source": "aws.s3", "detail": { "bucket": { "name": "uploads" }, "object": object } }).to_string()
    }

    fn stored(etag: &str, version_id: Option<&str>) -> Stored {
        Stored {
            etag: Some(etag.to_owned()),
            version_id: version_id.map(str::to_owned),
            since: SystemTime::now(),
            sent_bytes: 4,
        }
    }

    #[test]
    fn an_execution_belongs_to_an_upload_if_its_event_names_the_same_content() {
        let object: S3Uri = "s3://uploads/a b.mp4".parse().unwrap();
        for (input, stored, expected) in [
            (event(None), stored("e1", None), true),
            (event(None), stored("e2", None), false),
            (event(Some("v1")), stored("e1", Some("v1")), true),
            // The same content, uploaded twice, has the same entity tag.
            (event(Some("v2")), stored("e1", Some("v1")), false),
            // An event without the version, as the local emulator sends it.
            (event(None), stored("e1", Some("v1")), true),
            (event(None), stored("e2", Some("v1")), false),
            (event(Some("null")), stored("e1", Some("null")), true),
            (event(Some("null")), stored("e2", Some("null")), false),
            ("no JSON".to_owned(), stored("e1", None), false),
            (json!({ "bucket": "uploads", "key": "a b.mp4" }).to_string(), stored("e1", None), false),
        ] {
            assert_eq!(is_about(&input, &object, &stored), expected, "{input} {stored:?}");
        }
        for other in ["s3://uploads/a+b.mp4", "s3://other-uploads/a b.mp4"] {
            assert!(!is_about(&event(None), &other.parse().unwrap(), &stored("e1", None)), "{other}");
        }
    }
}
