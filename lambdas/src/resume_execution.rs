//! resume-execution: reads the completion of a job from SNS and resumes every execution that waits for the job.

use std::time::Duration;

use aws_lambda_events::event::sns::SnsEvent;
use serde::Deserialize;
use tracing::{Span, field::Empty};

use crate::{
    aws::{AwsError, Clients, named_by_variant},
    callbacks::Outcome,
    job::{self, JobStatus},
    retry::while_throttled,
    store::Store,
    video::Video,
};

/// How long a job that is not found is asked for again, counting the pauses alone: the completion of a job of a few seconds can
/// arrive before the job is visible. It is short because a forged or outdated message names a job that never becomes visible.
const VISIBLE_WITHIN: Duration = Duration::from_secs(5);

/// The environment of the function.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// `RESULTS_BUCKET`: the bucket of the pending callbacks and of the queue.
    pub results_bucket: String,
}

/// Why the event has to be delivered again.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
pub enum ResumeExecutionError {
    /// The message arrived before `GetFaceDetection` reported the end of the job.
    #[error("the job {job_id} was reported as finished but is still in progress; the event is to be delivered again")]
    JobNotFinished {
        /// The `JobId` of Rekognition.
        job_id: String,
    },
    /// An error that any AWS call can return.
    #[error(transparent)]
    Aws(#[from] AwsError),
}
named_by_variant!(ResumeExecutionError);

/// The only member of Rekognition's message that is used. It is a hint that such a job may have ended.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Completion {
    job_id: String,
}

/// Resumes the executions that wait for the jobs in this event.
///
/// A message is a hint. The status of the job comes from `GetFaceDetection`, and the `JobTag` in its answer identifies the
/// callbacks. A message that cannot be read is logged and ignored.
///
/// # Errors
/// [`ResumeExecutionError`], after every record was tried. Lambda then delivers the whole event again; callbacks that were
/// sent are no longer stored, and so are not sent twice.
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
            Err(error) => tracing::error!(message_id, %error, "ignored a message that is not the completion of a job"),
        }
    }
    first_error.map_or(Ok(()), Err)
}

#[tracing::instrument(skip_all, fields(job_id = job_id, key = Empty, idempotency_key = Empty))]
async fn resume(clients: &Clients, config: &Config, job_id: &str) -> Result<(), ResumeExecutionError> {
    // Lambda retries the event only twice. After that, the execution would wait for its heartbeat.
    let report =
        while_throttled(async || job::report_once_visible(&clients.rekognition, job_id, VISIBLE_WITHIN).await).await?;
    let Some(idempotency_key) = report.job_tag else {
        tracing::error!(status = ?report.status, "ignored the completion of a job that was not started here");
        return Ok(());
    };
    Span::current().record("idempotency_key", &idempotency_key);
    if let Some((_, key)) = &report.video {
        Span::current().record("key", key);
    }
    let outcome = match report.status {
        JobStatus::Succeeded(first_page) => Outcome::Succeeded(first_page),
        JobStatus::Failed { reason } => Outcome::JobFailed { reason },
        JobStatus::InProgress => return Err(ResumeExecutionError::JobNotFinished { job_id: job_id.to_owned() }),
        JobStatus::NotFound | JobStatus::InvalidId => {
            tracing::error!("ignored the completion of a job that Rekognition does not know");
            return Ok(());
        }
    };
    let store = Store::new(clients, &config.results_bucket);
    let mut callbacks = store.callbacks(&idempotency_key, None).await?;
    callbacks.retain(|callback| {
        let Video { bucket, key, .. } = callback.job.video();
        let same = report.video.as_ref().is_some_and(|video| (&video.0, &video.1) == (bucket, key));
        if !same {
            tracing::error!(execution_name = callback.execution_name, "a callback is for another video than the job's");
        }
        same
    });
    if callbacks.is_empty() {
        tracing::info!("no execution waits for this job");
    }
    let notified = match store.record_completed_job(&idempotency_key, job_id).await {
        Ok(completed) => store.notify(&completed, &outcome, callbacks).await,
        Err(error) => Err(error),
    };
    // The slot of the job is free, whether or not every callback could be sent.
    store.on_job_finished(job_id).await?;
    Ok(notified?)
}
