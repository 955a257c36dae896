//! start-detection: stores a pending callback and a queue entry, and starts the jobs that can start.

use aws_smithy_types::date_time::Format;
use serde::Deserialize;

use crate::{
    aws::{AwsError, Clients, ErrorName as _},
    callbacks::{self, Outcome},
    job::{FaceAttributes, Job, JobParameters},
    known_job::KnownJob,
    metrics::{self, Metric},
    pending_callbacks::{PendingCallback, TaskToken},
    queue::QueueEntry,
    store::Store,
    video::Video,
};

/// The environment of the function.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// `RESULTS_BUCKET`: the bucket of the pending callbacks and of the queue.
    pub results_bucket: String,
    /// `COMPLETION_TOPIC_ARN`: the topic to which Rekognition publishes completions.
    pub completion_topic_arn: String,
    /// `PUBLISH_ROLE_ARN`: the role that Rekognition assumes to publish.
    pub publish_role_arn: String,
    /// `FACE_ATTRIBUTES`: `DEFAULT` or `ALL`.
    pub face_attributes: FaceAttributes,
}

/// The payload of the `StartDetection` state.
#[derive(Debug, Deserialize)]
pub struct StartDetection {
    /// The token that resumes the state.
    pub task_token: TaskToken,
    /// The name of the execution, unique within the state machine.
    pub execution_name: String,
    /// The attempt of the task in this execution, over all redrives: a later attempt has a larger number.
    pub task_attempt: u32,
    /// When the execution started: its position in the queue.
    pub started: Timestamp,
    /// When a person or an event asked for the analysis: the time of the event, of the start or of the last redrive. If a job
    /// for the content failed before this time, the execution wants a new job.
    pub entered: Timestamp,
    /// The video, as inspect-video has found it.
    pub video: Video,
}

/// A time in ISO 8601, as Step Functions writes it.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub struct Timestamp(aws_smithy_types::DateTime);

impl Timestamp {
    /// In milliseconds since 1970.
    fn millis(self) -> i64 {
        self.0.to_millis().unwrap_or_default()
    }
}

impl TryFrom<String> for Timestamp {
    type Error = aws_smithy_types::date_time::DateTimeParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        aws_smithy_types::DateTime::from_str(&text, Format::DateTimeWithOffset).map(Self)
    }
}

/// Makes sure that a video is analysed and that the execution is resumed.
///
/// Every answer goes through the task token. If a job for the content has ended, its end is sent immediately. If the job
/// cannot be started, a failure with a stable error name is sent. If the job runs or waits for a slot, nothing is sent yet:
/// the completion of the job will resume the execution.
///
/// # Errors
/// Only if the answer could not be sent. Then the state's Retry calls the function again.
#[tracing::instrument(skip_all, fields(execution_name = request.execution_name, key = request.video.key))]
pub async fn start_detection(clients: &Clients, config: &Config, request: StartDetection) -> Result<(), AwsError> {
    let task_token = request.task_token.clone();
    match analyse(clients, config, request).await {
        Ok(()) => Ok(()),
        Err(error) => {
            tracing::warn!(error = error.error_name(), cause = %error, "the video is not analysed");
            callbacks::send_failure(clients, &task_token, error.error_name(), &error.to_string()).await?;
            Ok(())
        }
    }
}

async fn analyse(clients: &Clients, config: &Config, request: StartDetection) -> Result<(), AwsError> {
    let StartDetection { task_token, execution_name, task_attempt, started, entered, video } = request;
    let store = Store::new(clients, &config.results_bucket);
    let first = Job::from(JobParameters {
        video,
        face_attributes: config.face_attributes,
        topic_arn: config.completion_topic_arn.clone(),
        role_arn: config.publish_role_arn.clone(),
        attempt: 0,
    });
    let (started_ms, entered_ms) = (started.millis(), entered.millis());
    let mut entry = QueueEntry { execution_name, task_attempt, started_ms, entered_ms, job: first };
    let known = latest_attempt(store, &mut entry).await?;
    let QueueEntry { execution_name, job, .. } = entry.clone();
    let callback = PendingCallback { execution_name, entered_ms, task_attempt, task_token, job };
    let waiting = wait_for_job(store, &callback, &entry, known).await;
    if waiting.is_err() {
        // The execution is about to receive a failure, and so no job may be paid for it meanwhile. What cannot be deleted
        // now is deleted by the next attempt, or expires.
        let withdrawn = (store.delete_callback(&callback).await, store.delete_entry(&entry).await);
        tracing::warn!(?withdrawn, "withdrew the callback and the queue entry");
    }
    waiting
}

/// Finds the attempt of the job that the execution wants: the first one that has neither expired nor failed before the
/// execution entered. The entry is set to it.
///
/// The callbacks that earlier attempts of the task have stored for the jobs before it are deleted.
async fn latest_attempt(store: Store<'_>, entry: &mut QueueEntry) -> Result<KnownJob, AwsError> {
    loop {
        let known = store.known_job(&entry.job).await?;
        let unwanted = match &known {
            KnownJob::Expired => true,
            KnownJob::Ended(completed, Outcome::JobFailed { .. }) => completed.precedes(entry.entered_ms),
            _ => false,
        };
        if !unwanted {
            return Ok(known);
        }
        let QueueEntry { execution_name, task_attempt, job, .. } = &*entry;
        store.delete_callbacks_before(job.idempotency_key(), execution_name, *task_attempt).await?;
        entry.job = entry.job.next_attempt();
    }
}

/// Stores the callback, and queues the job if it was not started before.
#[tracing::instrument(skip_all, fields(idempotency_key = entry.job.idempotency_key()))]
async fn wait_for_job(
    store: Store<'_>,
    callback: &PendingCallback,
    entry: &QueueEntry,
    known: KnownJob,
) -> Result<(), AwsError> {
    // Stored before the job is started, so that the earliest completion finds the callback.
    store.put_callback(callback).await?;
    let known = match known {
        // Asked again: if the job has ended since, its completion may have found no callback.
        KnownJob::Running => store.known_job(&entry.job).await?,
        known => known,
    };
    match known {
        KnownJob::Running => {
            tracing::info!("waits for a job that runs");
            metrics::emit(store.clients, &[Metric::JobsReattached(1)]);
            store.delete_entries_before(entry).await
        }
        KnownJob::Ended(completed, outcome) => {
            tracing::info!(job_id = completed.job_id, "a job for this content has ended before");
            if matches!(outcome, Outcome::Succeeded(_)) {
                metrics::emit(store.clients, &[Metric::JobsReattached(1)]);
            }
            store.delete_entries_before(entry).await?;
            let callbacks = store.callbacks(entry.job.idempotency_key(), None).await?;
            store.notify(&completed, &outcome, callbacks).await
        }
        KnownJob::New | KnownJob::Expired => {
            store.put_entry(entry).await?;
            tracing::info!(bytes = entry.job.video().bytes, "waits for a job slot");
            match store.start_waiting_jobs(&entry.execution_name).await {
                // The entry is in the queue: the next completed job or the schedule starts its job.
                Err(error @ (AwsError::Throttled { .. } | AwsError::ServiceUnavailable { .. })) => {
                    tracing::warn!(%error, "the queue was left before its end");
                    Ok(())
                }
                started => started,
            }
        }
    }
}
