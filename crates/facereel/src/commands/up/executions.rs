//! One line for each execution that starts or ends.

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, SystemTime},
};

use humantime::format_rfc3339_seconds;
use local_stack::{Error, Execution, Executions};
use serde_json::Value;

use crate::terminal::text::counted;

/// The time between two requests.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The executions that were seen.
#[derive(Default)]
pub(super) struct Watch {
    known: HashSet<String>,
    /// The videos of the running ones, by ARN.
    running: BTreeMap<String, String>,
}

impl Watch {
    /// A line for each execution that has started or ended since the last call.
    pub(super) async fn changes(&mut self, executions: &Executions) -> Result<Vec<String>, Error> {
        let mut lines = Vec::new();
        for arn in executions.started_since(&self.known).await? {
            let execution = executions.describe(&arn).await?;
            let video = video(&execution);
            lines.push(line("started", &video, ""));
            self.running.insert(arn.clone(), video);
            self.known.insert(arn);
        }
        let mut ended = Vec::new();
        for (arn, video) in &self.running {
            let execution = executions.describe(arn).await?;
            if !execution.is_running() {
                let (status, outcome) = outcome(&execution);
                lines.push(line(status, video, &outcome));
                ended.push(arn.clone());
            }
        }
        self.running.retain(|arn, _| !ended.contains(arn));
        Ok(lines)
    }
}

/// The key of the video, or the name of an execution whose input names none.
fn video(execution: &Execution) -> String {
    let name = execution.arn.rsplit(':').next().unwrap_or_default();
    execution.key().map_or_else(|| format!("execution {name}"), str::to_owned)
}

fn line(status: &str, video: &str, outcome: &str) -> String {
    let time = format_rfc3339_seconds(SystemTime::now());
    let line = format!("{time}  {status:9}  {video}  {outcome}");
    format!("{}\n", line.trim_end())
}

/// The status of an execution that has ended, and its result or its error.
fn outcome(execution: &Execution) -> (&'static str, String) {
    if execution.has_succeeded() {
        let output = execution.output.as_ref();
        let text = |name: &str| output.and_then(|output| output.get(name)?.as_str()).unwrap_or_default();
        let faces = output.and_then(|output| output.get("faces")?.as_u64()).unwrap_or_default();
        return ("succeeded", format!("{}  s3://{}/{}", counted(faces, "face"), text("bucket"), text("prefix")));
    }
    let error = execution.error.as_deref().unwrap_or(execution.status.as_str());
    let cause = execution.cause.as_deref().unwrap_or_default();
    // The cause is JSON if the error is one of a Lambda function.
    let document: Option<Value> = serde_json::from_str(cause).ok();
    let message = document.as_ref().and_then(|cause| cause.get("errorMessage")?.as_str()).unwrap_or(cause);
    ("failed", format!("{error}: {message}"))
}

#[cfg(test)]
mod tests {
    use aws_sdk_sfn::types::ExecutionStatus;
    use serde_json::json;

    use super::*;

    fn ended(status: ExecutionStatus) -> Execution {
        let input = json!({ "bucket": "b", "key": "a b.mp4" });
        Execution { arn: "arn:…:e1".to_owned(), status, input, output: None, error: None, cause: None }
    }

    #[test]
    fn the_line_of_an_end_has_the_faces_or_the_error_and_its_message() {
        let output = json!({ "bucket": "r", "prefix": "results/a b.mp4/k/", "faces": 1 });
        let succeeded = Execution { output: Some(output), ..ended(ExecutionStatus::Succeeded) };
        assert_eq!(outcome(&succeeded), ("succeeded", "1 face  s3://r/results/a b.mp4/k/".to_owned()));
        let failed = Execution {
            error: Some("NotAVideo".to_owned()),
            cause: Some(r#"{"errorType":"NotAVideo","errorMessage":"it is text"}"#.to_owned()),
            ..ended(ExecutionStatus::Failed)
        };
        assert_eq!(outcome(&failed), ("failed", "NotAVideo: it is text".to_owned()));
        assert_eq!(outcome(&ended(ExecutionStatus::Aborted)).1, "ABORTED: ");
    }

    #[test]
    fn an_execution_without_a_video_is_named() {
        assert_eq!(video(&ended(ExecutionStatus::Running)), "a b.mp4");
        assert_eq!(video(&Execution { input: Value::Null, ..ended(ExecutionStatus::Running) }), "execution e1");
    }
}
