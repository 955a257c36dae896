//! The report of an upload.

use std::{fmt, path::PathBuf, time::Duration};

use indicatif::DecimalBytes;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{
    execution::Ended,
    transfer::{Stored, Transfer},
};
use crate::deployed::{FailureReason, S3Uri, StateMachineArn};
use crate::documents::document;
use crate::terminal::{
    exit::{self, ExitStatus, FAILURE, SUCCESS},
    text::{duration, invocation, quoted},
};

/// The outcome for one video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) file: PathBuf,
    pub(super) bytes: u64,
    pub(super) object: S3Uri,
    pub(super) stored: Stored,
    /// Whether the object had the content of the file before the command.
    pub(super) was_stored: bool,
    /// The ARN of the execution that the upload has started, once it is known.
    pub(super) execution: Option<String>,
    /// How the analysis has ended. `None`, if the command did not wait for it.
    pub(super) analysis: Option<Analysis>,
}

/// How the analysis of a video has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Analysis {
    /// No execution has started within this time.
    NotStarted { waited: Duration },
    /// The result is complete.
    Succeeded { results: S3Uri, faces: u64 },
    /// The execution has ended without a result.
    Failed(FailureReason),
}

/// The outcome for every video.
#[derive(Debug, Clone)]
pub struct UploadReport {
    pub(super) rows: Vec<Row>,
    pub(super) state_machine: StateMachineArn,
}

/// The report of an upload as JSON.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "The report of `facereel upload --json`")]
pub struct UploadDocument {
    /// The videos, in the order of the command line.
    videos: Vec<VideoDocument>,
}

/// One video.
#[derive(Debug, Serialize, JsonSchema)]
struct VideoDocument {
    /// The path of the file, as given.
    file: String,
    /// The size of the file in bytes.
    bytes: u64,
    /// How much of it this command has sent, in bytes: 0, if the object existed with the same content.
    sent_bytes: u64,
    /// The bucket of the object.
    bucket: String,
    /// The key of the object.
    key: String,
    /// The version of the object. null in a bucket without versioning.
    version_id: Option<String>,
    /// The entity tag of the object, without quotes.
    etag: Option<String>,
    /// The state of the analysis.
    status: Status,
    /// The ARN of the execution. null, if the command did not wait, or no execution has started.
    execution_arn: Option<String>,
    /// The folder of the result, as an address in S3. null, if there is no result.
    results: Option<String>,
    /// The number of faces in the result. null, if there is no result.
    faces: Option<u64>,
    /// The name of the error. null, unless the execution failed.
    error: Option<String>,
    /// The cause of the error, in one line. null, unless the execution failed with a cause.
    cause: Option<String>,
    /// What to do. null, unless it failed with a known error or did not start.
    remedy: Option<String>,
}

/// The state of an analysis.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Status {
    /// The video is uploaded, and the command did not wait for its analysis.
    Uploaded,
    /// No execution has started.
    NotStarted,
    /// The result is complete.
    Succeeded,
    /// The execution failed, was stopped or timed out.
    Failed,
}

impl Row {
    pub(super) fn new(transfer: &Transfer<'_>, stored: Stored, was_stored: bool) -> Self {
        Self {
            file: transfer.file.path.clone(),
            bytes: transfer.file.bytes,
            object: transfer.object.clone(),
            stored,
            was_stored,
            execution: None,
            analysis: None,
        }
    }

    /// Records how the execution has ended.
    pub(super) fn end(&mut self, ended: Ended) {
        self.analysis = Some(match ended {
            Ended::Succeeded { results, faces } => Analysis::Succeeded { results, faces },
            Ended::Failed(reason) => Analysis::Failed(reason),
        });
    }

    /// What to do about an analysis without a result.
    fn remedy(&self, state_machine: &StateMachineArn) -> Option<String> {
        match self.analysis.as_ref()? {
            Analysis::Succeeded { .. } => None,
            Analysis::Failed(reason) => reason.remedy.clone(),
            Analysis::NotStarted { .. } => Some(format!(
                "check that the bucket sends its events to EventBridge (aws s3api get-bucket-notification-configuration --bucket {}), and that the rule {}… is enabled and has no undelivered event (`{command} status`); then start the analysis with `{command} backfill {}`",
                self.object.bucket,
                state_machine.named("uploads"),
                quoted(self.object.to_string().as_ref()),
                command = invocation(),
            )),
        }
    }

    fn document(&self, state_machine: &StateMachineArn) -> VideoDocument {
        let mut document = VideoDocument {
            file: self.file.to_string_lossy().into_owned(),
            bytes: self.bytes,
            sent_bytes: self.stored.sent_bytes,
            bucket: self.object.bucket.clone(),
            key: self.object.key.clone(),
            version_id: self.stored.version_id.clone(),
            etag: self.stored.etag.clone(),
            status: Status::Uploaded,
            execution_arn: self.execution.clone(),
            results: None,
            faces: None,
            error: None,
            cause: None,
            remedy: self.remedy(state_machine),
        };
        match &self.analysis {
            None => {}
            Some(Analysis::NotStarted { .. }) => document.status = Status::NotStarted,
            Some(Analysis::Succeeded { results, faces }) => {
                document.status = Status::Succeeded;
                (document.results, document.faces) = (Some(results.to_string()), Some(*faces));
            }
            Some(Analysis::Failed(FailureReason { error, cause, .. })) => {
                document.status = Status::Failed;
                (document.error, document.cause) = (Some(error.clone()), cause.clone());
            }
        }
        document
    }

    /// How much was uploaded.
    fn transfer(&self) -> String {
        let size = DecimalBytes(self.bytes);
        match self.stored.sent_bytes {
            _ if self.was_stored => format!("{size}, was there already with the same content"),
            sent if sent < self.bytes => {
                format!("{size}, of which {} in an earlier run", DecimalBytes(self.bytes - sent))
            }
            _ => size.to_string(),
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, state_machine: &StateMachineArn) -> fmt::Result {
        write!(f, "{} ({})", self.object, self.transfer())?;
        match &self.analysis {
            None => {}
            Some(Analysis::NotStarted { waited }) => {
                write!(f, "\n  failed   no execution has started within {}", duration(*waited))?;
            }
            Some(Analysis::Succeeded { results, faces }) => {
                write!(f, "\n  faces    {faces}\n  results  {results}")?;
                write!(f, "\n  next     {} view {}", invocation(), quoted(results.to_string().as_ref()))?;
            }
            Some(Analysis::Failed(FailureReason { error, cause, .. })) => {
                write!(f, "\n  failed   {error}")?;
                cause.iter().try_for_each(|cause| write!(f, "\n  cause    {cause}"))?;
            }
        }
        if let Some(remedy) = self.remedy(state_machine) {
            write!(f, "\n  remedy   {remedy}")?;
        }
        match (&self.analysis, &self.execution) {
            (Some(Analysis::Failed(_)), Some(arn)) => {
                write!(f, "\n  console  {}", state_machine.execution_url(arn))
            }
            _ => Ok(()),
        }
    }
}

impl UploadReport {
    /// The result of the first video that has one.
    pub(super) fn results(&self) -> Option<&S3Uri> {
        self.rows.iter().find_map(|row| match &row.analysis {
            Some(Analysis::Succeeded { results, .. }) => Some(results),
            _ => None,
        })
    }
}

impl exit::Report for UploadReport {
    fn exit_status(&self) -> ExitStatus {
        let failed =
            self.rows.iter().any(|row| matches!(row.analysis, Some(Analysis::NotStarted { .. } | Analysis::Failed(_))));
        if failed { FAILURE } else { SUCCESS }
    }

    fn json(&self) -> Value {
        let videos = self.rows.iter().map(|row| row.document(&self.state_machine)).collect();
        document(&UploadDocument { videos })
    }
}

impl fmt::Display for UploadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, row) in self.rows.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            row.write(f, &self.state_machine)?;
        }
        if self.rows.iter().all(|row| row.analysis.is_none()) {
            let command = invocation();
            write!(f, "\n`{command} status` shows what is analysed")?;
            if let [row] = self.rows.as_slice() {
                write!(f, ", and `{command} logs {}` what is logged", quoted(row.object.to_string().as_ref()))?;
            }
        }
        Ok(())
    }
}
