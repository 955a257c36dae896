//! Endings: which job of a tag has ended, and when that was first seen, at `queue/completed-jobs/<idempotency key>` in the work bucket.
//!
//! An completed is noted before anyone hears of it. Who asks for the same content later finds a finished job without waiting
//! for a turn; and who was started or redriven after a failure was seen wants a new job, and is the only one to get it.

use aws_sdk_s3::error::ProvideErrorMetadata;
use serde::{Deserialize, Serialize};

use crate::{
    aws::{AwsError, Clients},
    s3,
};

/// A job that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletedJob {
    /// Rekognition's name of the job.
    pub job_id: String,
    /// When its end was first seen, in milliseconds since 1970.
    pub seen_ms: i64,
}

impl CompletedJob {
    /// Notes that a job has ended, and returns the note: an earlier one of the same job stays as it is.
    ///
    /// # Errors
    /// [`AwsError`] of `s3:PutObject` or `s3:GetObject`.
    pub async fn record(
        clients: &Clients,
        bucket: &str,
        idempotency_key: &str,
        job_id: &str,
    ) -> Result<Self, AwsError> {
        let completed = Self { job_id: job_id.to_owned(), seen_ms: clients.now_ms() };
        let request = s3::put_json_request(clients, bucket, &object_key(idempotency_key), &completed);
        match request.if_none_match("*").send().await {
            Ok(_) => return Ok(completed),
            // Someone else has noted it, or does so at this very moment.
            Err(error) if matches!(error.code(), Some("PreconditionFailed" | "ConditionalRequestConflict")) => {}
            Err(error) => return Err(AwsError::new("s3:PutObject", error)),
        }
        match Self::find(clients, bucket, idempotency_key).await? {
            Some(noted) if noted.job_id == job_id => Ok(noted),
            // Of an earlier job, whose ClientRequestToken Rekognition has forgotten.
            _ => {
                s3::put_json(clients, bucket, &object_key(idempotency_key), &completed).await?;
                Ok(completed)
            }
        }
    }

    /// Whether it was seen before an execution was started or redriven: then a failure is not what that one wants to hear.
    #[must_use]
    pub fn precedes(&self, entered_ms: i64) -> bool {
        self.seen_ms < entered_ms
    }

    /// The job of this tag that has ended, if one has. An object that is no note counts as none.
    ///
    /// # Errors
    /// [`AwsError`] of `s3:GetObject`.
    pub async fn find(clients: &Clients, bucket: &str, idempotency_key: &str) -> Result<Option<Self>, AwsError> {
        let body = s3::get(clients, bucket, &object_key(idempotency_key)).await?;
        Ok(body.and_then(|body| serde_json::from_slice(&body).ok()))
    }
}

fn object_key(idempotency_key: &str) -> String {
    format!("queue/completed-jobs/{idempotency_key}")
}
