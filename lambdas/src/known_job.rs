//! Known jobs: what is recorded about a job, and what Rekognition reports about it.
//!
//! Two records are kept for each idempotency key: that a job was started ([`StartedJob`]), and that it has ended
//! ([`CompletedJob`]). With them, an execution that retries or is redriven asks for the status of its job. It needs neither
//! a job slot nor the object, which may have been deleted since.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    aws::AwsError,
    callbacks::Outcome,
    completed_job::CompletedJob,
    job::{self, Job, JobStatus, NotReady},
    layout,
    retry::while_throttled,
    store::Store,
};

/// How long a job is asked for until it is visible, counting the pauses alone. After it, the execution's Retry takes over.
const VISIBLE_WITHIN: Duration = Duration::from_secs(30);

/// How long ago, in milliseconds, a job's end must have been recorded for a job that is not found to count as expired.
/// After an hour, a job is visible to every call of `GetFaceDetection`.
const LONG_ENDED_MS: i64 = 60 * 60 * 1000;

/// How long ago, in milliseconds, a job must have been started for a job that is not found to count as expired, if its end
/// was never recorded. Rekognition keeps results for 7 days
/// (<https://docs.aws.amazon.com/rekognition/latest/APIReference/API_GetFaceDetection.html>).
const RETENTION_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// A job that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedJob {
    /// The `JobId` of Rekognition.
    pub job_id: String,
    /// When `StartFaceDetection` returned the id last, in milliseconds since 1970.
    pub started_ms: i64,
}

/// What is known about a job before it would be started.
#[derive(Debug)]
pub enum KnownJob {
    /// It was not started, as far as is recorded. `StartFaceDetection` with its idempotency key starts it, or returns the
    /// job whose start could not be recorded.
    New,
    /// It is queued or runs.
    Running,
    /// It has ended, and if it succeeded its pages can be read.
    Ended(CompletedJob, Outcome),
    /// It ended, and Rekognition no longer has its results. Another attempt is needed, with a folder of results that is
    /// not this one's.
    Expired,
}

impl Store<'_> {
    /// Records that a job was started.
    ///
    /// # Errors
    /// [`AwsError`] of `s3:PutObject`.
    pub async fn record_started_job(self, idempotency_key: &str, job_id: &str) -> Result<(), AwsError> {
        let started = StartedJob { job_id: job_id.to_owned(), started_ms: self.clients.now_ms() };
        self.put_json(&layout::started_job(idempotency_key), &started).await
    }

    async fn started_job(self, idempotency_key: &str) -> Result<Option<StartedJob>, AwsError> {
        let body = self.get(&layout::started_job(idempotency_key)).await?;
        Ok(body.and_then(|body| serde_json::from_slice(&body).ok()))
    }

    /// Reads the records of a job and asks Rekognition for its status. An end that is seen here first is recorded.
    ///
    /// A job that is not found counts as expired only if it is recorded to have ended or started long ago. Otherwise it may
    /// be too new to be visible, and a second job would be paid for.
    ///
    /// # Errors
    /// [`AwsError`] of `s3:GetObject`, `s3:ListBucket`, `s3:PutObject` or `rekognition:GetFaceDetection`;
    /// [`AwsError::ServiceUnavailable`] for a job that is not visible within 30 seconds.
    pub async fn known_job(self, job: &Job) -> Result<KnownJob, AwsError> {
        let key = job.idempotency_key();
        let (completed, started) = tokio::try_join!(self.completed_job(key), self.started_job(key))?;
        let now_ms = self.clients.now_ms();
        let (job_id, long_ago) = match (completed, started) {
            // A job that was started after the recorded end is another one: Rekognition had forgotten the idempotency key.
            (Some(completed), started)
                if started.as_ref().is_none_or(|started| {
                    started.job_id == completed.job_id || started.started_ms < completed.seen_ms
                }) =>
            {
                let long_ago = completed.precedes(now_ms - LONG_ENDED_MS);
                (completed.job_id, long_ago)
            }
            (_, Some(started)) => (started.job_id, started.started_ms < now_ms - RETENTION_MS),
            (_, None) => return self.job_without_record(job).await,
        };
        let rekognition = &self.clients.rekognition;
        // The job is paid for: a throttled status call must not fail its execution.
        let patience = if long_ago { Duration::ZERO } else { VISIBLE_WITHIN };
        let report = while_throttled(async || job::report_once_visible(rekognition, &job_id, patience).await).await?;
        let outcome = match report.status {
            JobStatus::InProgress => return Ok(KnownJob::Running),
            JobStatus::NotFound if long_ago => return Ok(KnownJob::Expired),
            JobStatus::NotFound => {
                let source = NotReady::JobNotVisible { job_id }.into();
                return Err(AwsError::ServiceUnavailable { call: "rekognition:GetFaceDetection", source });
            }
            // The record is not one of the functions'.
            JobStatus::InvalidId => return self.job_without_record(job).await,
            JobStatus::Succeeded(first_page) => Outcome::Succeeded(first_page),
            JobStatus::Failed { reason } => Outcome::JobFailed { reason },
        };
        Ok(KnownJob::Ended(self.record_completed_job(key, &job_id).await?, outcome))
    }

    /// Whether a job of which nothing is recorded is new. The records expire after 15 days and results do not: a folder
    /// that is not empty belongs to an earlier job, and a second one with the same key would write its pages among those of
    /// the first.
    async fn job_without_record(self, job: &Job) -> Result<KnownJob, AwsError> {
        let folder = layout::result(&job.video().key, job.idempotency_key());
        let empty = self.list_first(&folder, 1).await?.is_empty();
        Ok(if empty { KnownJob::New } else { KnownJob::Expired })
    }
}
