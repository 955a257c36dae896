//! Completed jobs: which job of an idempotency key has ended, and when that was first seen.
//!
//! A completed job is recorded before its callbacks are sent. An execution for the same content that starts later reads
//! the record and need not wait for a job slot. If the job failed, the time in the record decides: an execution that was
//! started or redriven after it gets a new job, and every other execution gets the failure.

use aws_sdk_s3::error::ProvideErrorMetadata;
use serde::{Deserialize, Serialize};

use crate::{aws::AwsError, layout, store::Store};

/// A job that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletedJob {
    /// The `JobId` of Rekognition.
    pub job_id: String,
    /// When the end of the job was first seen, in milliseconds since 1970.
    pub seen_ms: i64,
}

impl CompletedJob {
    /// Whether the end was seen before an execution was started or redriven: that execution does not want its failure.
    #[must_use]
    pub fn precedes(&self, entered_ms: i64) -> bool {
        self.seen_ms < entered_ms
    }
}

impl Store<'_> {
    /// Records that a job has ended and returns the record. An earlier record of the same job stays unchanged.
    ///
    /// # Errors
    /// [`AwsError`] of `s3:PutObject` or `s3:GetObject`.
    pub async fn record_completed_job(self, idempotency_key: &str, job_id: &str) -> Result<CompletedJob, AwsError> {
        let completed = CompletedJob { job_id: job_id.to_owned(), seen_ms: self.clients.now_ms() };
        let key = layout::completed_job(idempotency_key);
        match self.put_json_request(&key, &completed).if_none_match("*").send().await {
            Ok(_) => return Ok(completed),
            // Another invocation has recorded it, or is recording it now.
            Err(error) if matches!(error.code(), Some("PreconditionFailed" | "ConditionalRequestConflict")) => {}
            Err(error) => return Err(AwsError::new("s3:PutObject", error)),
        }
        match self.completed_job(idempotency_key).await? {
            Some(recorded) if recorded.job_id == job_id => Ok(recorded),
            // The record is of an earlier job, whose ClientRequestToken Rekognition has forgotten.
            _ => {
                self.put_json(&key, &completed).await?;
                Ok(completed)
            }
        }
    }

    /// Reads the completed job of an idempotency key; `None` if none is recorded, or if the object is not a record.
    ///
    /// # Errors
    /// [`AwsError`] of `s3:GetObject`.
    pub async fn completed_job(self, idempotency_key: &str) -> Result<Option<CompletedJob>, AwsError> {
        let body = self.get(&layout::completed_job(idempotency_key)).await?;
        Ok(body.and_then(|body| serde_json::from_slice(&body).ok()))
    }
}
