//! start-detection: inspects the video, stores a pending callback and a queue entry, and starts the jobs that can start.

use aws_smithy_types::date_time::Format;
use serde::Deserialize;
use serde_json::Value;
use tracing::{Span, field::Empty};

use crate::{
    aws::{AwsError, Clients, ErrorName, named_by_variant},
    callbacks, input,
    job::{self, FaceAttributes, FinishedJob, Job, JobParameters, JobStatus},
    metrics::{self, Metric},
    pending_callbacks::{PendingCallback, TaskToken},
    queue::QueueEntry,
    retry::while_throttled,
    store::Store,
    video::{InspectError, Video},
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
    /// When the execution started: its position in the queue.
    pub started: Timestamp,
    /// When the execution was started or last redriven. If a job for the content failed before, the execution wants a new one.
    pub entered: Timestamp,
    /// The input of the execution: [`input::location`] reads it.
    pub input: Value,
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

/// Why the video is not analysed. The state machine sees the variant's name.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
pub enum StartDetectionError {
    /// The input does not name a video.
    #[error(transparent)]
    InvalidInput(#[from] input::InvalidInput),
    /// The object does not exist.
    #[error("{0}")]
    VideoNotFound(InspectError),
    /// The object has no bytes.
    #[error("{0}")]
    VideoEmpty(InspectError),
    /// The object is larger, or the video is longer, than Rekognition accepts.
    #[error("{0}")]
    VideoTooLarge(InspectError),
    /// The object is not an MP4 or MOV file.
    #[error("{0}")]
    NotAVideo(InspectError),
    /// The object is archived and not restored.
    #[error("{0}")]
    VideoArchived(InspectError),
    /// S3 does not serve the object.
    #[error("{0}")]
    VideoUnreadable(InspectError),
    /// An error that any AWS call can return.
    #[error(transparent)]
    Aws(#[from] AwsError),
}
named_by_variant!(StartDetectionError);

impl From<InspectError> for StartDetectionError {
    fn from(error: InspectError) -> Self {
        match error {
            InspectError::VideoNotFound(_) => Self::VideoNotFound(error),
            InspectError::VideoEmpty(_) => Self::VideoEmpty(error),
            InspectError::VideoTooLarge { .. } => Self::VideoTooLarge(error),
            InspectError::NotAVideo(_) => Self::NotAVideo(error),
            InspectError::VideoArchived(_) => Self::VideoArchived(error),
            InspectError::VideoUnreadable { .. } => Self::VideoUnreadable(error),
            InspectError::Aws(error) => Self::Aws(error),
        }
    }
}

/// Makes sure that the video in the execution's input is analysed and that the execution is resumed.
///
/// Every answer goes through the task token. If a job for the content has ended, its result is sent immediately. If the
/// video cannot be analysed, a failure with a stable error name is sent. If the job runs or waits for a slot, nothing is
/// sent yet: the completion of the job will resume the execution.
///
/// # Errors
/// Only if the answer could not be sent. Then the state's Retry calls the function again.
#[tracing::instrument(skip_all, fields(execution_name = request.execution_name, key = Empty, idempotency_key = Empty))]
pub async fn start_detection(
    clients: &Clients,
    config: &Config,
    request: StartDetection,
) -> Result<(), StartDetectionError> {
    let task_token = request.task_token.clone();
    match enqueue(clients, config, request).await {
        Ok(()) => Ok(()),
        Err(error) => {
            tracing::warn!(error = error.error_name(), cause = %error, "the video is not analysed");
            callbacks::send_failure(clients, &task_token, error.error_name(), &error.to_string()).await?;
            Ok(())
        }
    }
}

async fn enqueue(clients: &Clients, config: &Config, request: StartDetection) -> Result<(), StartDetectionError> {
    let StartDetection { task_token, execution_name, started, entered, input } = request;
    let store = Store::new(clients, &config.results_bucket);
    let location = input::location(input)?;
    Span::current().record("key", &location.key);
    let job = Job::from(JobParameters {
        video: Video::inspect(&clients.s3, &location).await?,
        face_attributes: config.face_attributes,
        topic_arn: config.completion_topic_arn.clone(),
        role_arn: config.publish_role_arn.clone(),
        attempt: 0,
    });
    Span::current().record("idempotency_key", job.idempotency_key());
    let (started_ms, entered_ms) = (started.millis(), entered.millis());
    let callback = PendingCallback { execution_name: execution_name.clone(), entered_ms, task_token, job: job.clone() };
    let entry = QueueEntry { execution_name, started_ms, entered_ms, job };
    if let Some(finished) = finished_job(store, &callback).await? {
        tracing::info!(job_id = finished.job_id, "a job for this content has succeeded before");
        metrics::emit(clients, &[Metric::JobsReattached(1)]);
        store.delete_entry(&entry).await?;
        callbacks::send_success(clients, &callback.task_token, &finished).await?;
        return Ok(());
    }
    let queued = wait_for_slot(store, &callback, &entry).await;
    if queued.is_err() {
        // The execution is about to receive a failure, and so no job may be paid for it meanwhile. What cannot be deleted
        // now is deleted by the next attempt, or expires.
        let withdrawn = (store.delete_callback(&callback).await, store.delete_entry(&entry).await);
        tracing::warn!(?withdrawn, "withdrew the callback and the queue entry");
    }
    Ok(queued?)
}

/// Finds the job of this content that has succeeded, if there is one. Its result can be read without a job slot.
///
/// The callbacks that earlier attempts of this execution have stored for that job, or for failed jobs before it, are deleted.
async fn finished_job(store: Store<'_>, callback: &PendingCallback) -> Result<Option<FinishedJob>, AwsError> {
    let mut job = callback.job.clone();
    while let Some(completed) = store.completed_job(job.idempotency_key()).await? {
        store.delete_callbacks(job.idempotency_key(), &callback.execution_name, None).await?;
        let report = while_throttled(async || job::report(&store.clients.rekognition, &completed.job_id).await);
        match report.await?.status {
            JobStatus::Succeeded(metadata) => return Ok(Some(job.finished(&completed.job_id, &metadata))),
            // It failed, or its results have expired. Whether another job is started is decided after Start alone.
            _ => job = job.next_attempt(),
        }
    }
    Ok(None)
}

async fn wait_for_slot(store: Store<'_>, callback: &PendingCallback, entry: &QueueEntry) -> Result<(), AwsError> {
    // Stored before the job is started, so that the earliest completion finds the callback.
    store.put_callback(callback).await?;
    store.put_entry(entry).await?;
    tracing::info!(bytes = entry.job.video().bytes, "waits for a job slot");
    store.start_waiting_jobs(&entry.execution_name).await
}
