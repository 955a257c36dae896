//! resume-execution: Rekognition's completion, read from SNS, resumes every execution that waits for the job.

use std::time::Duration;

use aws_lambda_events::event::sns::SnsEvent;
use serde::Deserialize;
use tracing::{Span, field::Empty};

use crate::{
    aws::{AwsError, Clients, named_by_variant},
    callbacks::{self, Outcome},
    completed_job::CompletedJob,
    job::{self, JobStatus},
    pending_callbacks, queue,
    retry::while_throttled,
};

/// How long, pauses alone, a job is asked for that is not found: the completion of a job of seconds can come before the job
/// is visible. It is short because a forged or outdated message names a job that never is.
const VISIBLE_WITHIN: Duration = Duration::from_secs(5);

/// The function's environment.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// `RESULTS_BUCKET`: callbacks lie there.
    pub results_bucket: String,
}

/// Why an event should be delivered again.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum ResumeExecutionError {
    /// The message came before the end of the job could be seen.
    #[error("the job {job_id} was reported as finished but is still in progress; the event is to be delivered again")]
    JobNotFinished {
        /// Rekognition's name of the job.
        job_id: String,
    },
    /// Anything that every AWS call can meet.
    #[error(transparent)]
    Aws(#[from] AwsError),
}
named_by_variant!(ResumeExecutionError);

/// The only part of Rekognition's message that is used, and it is only believed to be a question.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Completion {
    job_id: String,
}

/// Resumes whoever waits for the jobs in this event.
///
/// Nothing in a message is believed but that there may be such a job: Rekognition itself is asked how it stands, and the
/// idempotency_key in its answer names the callbacks. A message that makes no sense is logged and left.
///
/// # Errors
/// [`ResumeExecutionError`], after every record was tried: Lambda then delivers the whole event again, and what was
/// told already is no longer waiting.
pub async fn resume_execution(clients: &Clients, config: &Config, event: SnsEvent) -> Result<(), ResumeExecutionError> {
    let mut first_error = None;
    for record in event.records {
        let message_id = record.sns.message_id;
        match serde_json::from_str::<Completion>(&record.sns.message) {
            Ok(Completion { job_id }) => {
                if let Err(error) = resume(clients, config, &job_id).await {
                    tracing::warn!(message_id, job_id, %error, "the completion could not be handled yet");
                    first_error.get_or_insert(error);
                }
            }
            Err(error) => tracing::error!(message_id, %error, "ignored a message that is no completion of a job"),
        }
    }
    first_error.map_or(Ok(()), Err)
}

#[tracing::instrument(skip_all, fields(job_id = job_id, key = Empty, idempotency_key = Empty))]
async fn resume(clients: &Clients, config: &Config, job_id: &str) -> Result<(), ResumeExecutionError> {
    // Lambda itself would try again only twice, and then the completion waits for a heartbeat.
    let report =
        while_throttled(async || job::report_once_visible(&clients.rekognition, job_id, VISIBLE_WITHIN).await).await?;
    let Some(idempotency_key) = report.idempotency_key else {
        tracing::error!(status = ?report.status, "ignored the completion of a job that was not started here");
        return Ok(());
    };
    Span::current().record("idempotency_key", &idempotency_key);
    if let Some((_, key)) = &report.video {
        Span::current().record("key", key);
    }
    let outcome = match report.status {
        JobStatus::Succeeded(metadata) => Outcome::Succeeded(metadata),
        JobStatus::Failed { reason } => Outcome::JobFailed { reason },
        JobStatus::InProgress => return Err(ResumeExecutionError::JobNotFinished { job_id: job_id.to_owned() }),
        JobStatus::NotFound | JobStatus::InvalidId => {
            tracing::error!("ignored the completion of a job that Rekognition does not know");
            return Ok(());
        }
    };
    let bucket = &config.results_bucket;
    let mut waiting = pending_callbacks::list(clients, bucket, &idempotency_key, None).await?;
    waiting.retain(|callback| {
        let same = report
            .video
            .as_ref()
            .is_some_and(|(bucket, key)| *bucket == callback.job.video.bucket && *key == callback.job.video.key);
        if !same {
            tracing::error!(execution = callback.execution, "a callback waits for another video than the job's");
        }
        same
    });
    if waiting.is_empty() {
        tracing::info!("nobody waits for this job any more");
    }
    let told = match CompletedJob::record(clients, bucket, &idempotency_key, job_id).await {
        Ok(completed) => callbacks::notify(clients, bucket, &completed, &outcome, waiting).await,
        Err(error) => Err(error),
    };
    // The job's slot is free, whether or not everyone could be told.
    queue::on_job_finished(clients, bucket, job_id).await?;
    Ok(told?)
}
