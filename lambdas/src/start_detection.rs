//! start-detection: looks at the video, leaves a callback and a entry for its job, and starts whatever can be started.

use aws_smithy_types::date_time::Format;
use serde::Deserialize;
use serde_json::Value;
use tracing::{Span, field::Empty};

use crate::{
    aws::{AwsError, Clients, ErrorName, named_by_variant},
    callbacks,
    completed_job::CompletedJob,
    input,
    job::{self, FaceAttributes, FinishedJob, Job, JobStatus},
    metrics::{self, Metric},
    pending_callbacks::{self, PendingCallback, TaskToken},
    queue::{self, QueueEntry},
    video::{InspectError, Video},
};

/// The function's environment.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// `RESULTS_BUCKET`: callbacks lie there.
    pub results_bucket: String,
    /// `COMPLETION_TOPIC_ARN`: where Rekognition reports completions to.
    pub completion_topic_arn: String,
    /// `PUBLISH_ROLE_ARN`: the role in which Rekognition publishes.
    pub publish_role_arn: String,
    /// `FACE_ATTRIBUTES`: `DEFAULT` or `ALL`.
    pub face_attributes: FaceAttributes,
}

/// What the `StartDetection` state sends.
#[derive(Debug, Deserialize)]
pub struct StartDetection {
    /// Resumes the state.
    pub task_token: TaskToken,
    /// Who waits.
    pub execution: Execution,
    /// The execution's input: [`input::location`] reads it.
    pub input: Value,
}

/// The execution that asks.
#[derive(Debug, Deserialize)]
pub struct Execution {
    /// Unique within the state machine.
    pub name: String,
    /// When it started, in ISO 8601: its place in the queue.
    pub started: Moment,
    /// When it was started or last redriven, in ISO 8601: a job that has failed by then is not good enough for it.
    pub entered: Moment,
}

/// A moment in ISO 8601, as Step Functions writes it.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub struct Moment(aws_smithy_types::DateTime);

impl Moment {
    fn millis(self) -> i64 {
        self.0.to_millis().unwrap_or_default()
    }
}

impl TryFrom<String> for Moment {
    type Error = aws_smithy_types::date_time::DateTimeParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        aws_smithy_types::DateTime::from_str(&text, Format::DateTimeWithOffset).map(Self)
    }
}

/// Why the video is not being analysed. The state machine sees the variant's name.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum StartDetectionError {
    /// The input names no video.
    #[error(transparent)]
    InvalidInput(#[from] input::InvalidInput),
    /// Nothing lies there, or no longer.
    #[error("{0}")]
    VideoNotFound(InspectError),
    /// The object has no bytes.
    #[error("{0}")]
    VideoEmpty(InspectError),
    /// The object is larger than Rekognition takes, or the video longer.
    #[error("{0}")]
    VideoTooLarge(InspectError),
    /// The object is no MP4 or MOV file.
    #[error("{0}")]
    NotAVideo(InspectError),
    /// Anything that every AWS call can meet.
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
            InspectError::Aws(error) => Self::Aws(error),
        }
    }
}

/// Sees to it that the video in the execution's input is analysed, and that the execution is told.
///
/// Every answer goes through the task token: success or failure at once where the job has ended already, a stable error
/// name where the video cannot be analysed, and nothing yet where the job runs or waits for a slot: the job's completion
/// will answer.
///
/// # Errors
/// Only when the answer itself could not be sent; the state's Retry then comes again.
#[tracing::instrument(skip_all, fields(execution = request.execution.name, key = Empty, idempotency_key = Empty))]
pub async fn start_detection(
    clients: &Clients,
    config: &Config,
    request: StartDetection,
) -> Result<(), StartDetectionError> {
    let StartDetection { task_token, execution, input } = request;
    match enqueue(clients, config, &task_token, execution, input).await {
        Ok(()) => Ok(()),
        Err(error) => {
            tracing::warn!(error = error.error_name(), cause = %error, "the video is not analysed");
            callbacks::send_failure(clients, &task_token, error.error_name(), &error.to_string()).await?;
            Ok(())
        }
    }
}

async fn enqueue(
    clients: &Clients,
    config: &Config,
    task_token: &TaskToken,
    execution: Execution,
    input: Value,
) -> Result<(), StartDetectionError> {
    let bucket = &config.results_bucket;
    let location = input::location(input)?;
    Span::current().record("key", &location.key);
    let video = Video::inspect(&clients.s3, &location).await?;
    let job = Job {
        video,
        face_attributes: config.face_attributes,
        topic_arn: config.completion_topic_arn.clone(),
        role_arn: config.publish_role_arn.clone(),
        attempt: 0,
    };
    Span::current().record("idempotency_key", job.idempotency_key());
    let Execution { name: execution, started, entered } = execution;
    let (started_ms, entered_ms) = (started.millis(), entered.millis());
    let callback =
        PendingCallback { execution: execution.clone(), entered_ms, task_token: task_token.clone(), job: job.clone() };
    let entry = QueueEntry { execution, started_ms, entered_ms, job };
    if let Some(finished) = finished_job(clients, bucket, &callback).await? {
        tracing::info!(job_id = finished.job_id, "this content is analysed already");
        metrics::emit(clients, &[Metric::JobsReattached(1)]);
        queue::remove(clients, bucket, &entry).await?;
        callbacks::send_success(clients, task_token, &finished).await?;
        return Ok(());
    }
    let queued = queue_up(clients, bucket, &callback, &entry).await;
    if queued.is_err() {
        // The execution is about to be told that it failed: nobody is to pay for it meanwhile. What cannot be withdrawn
        // now is removed by the next attempt, or expires.
        let withdrawn =
            (pending_callbacks::remove(clients, bucket, &callback).await, queue::remove(clients, bucket, &entry).await);
        tracing::warn!(?withdrawn, "withdrew from the queue");
    }
    Ok(queued?)
}

/// The job of this content that has succeeded, if there is one: nobody has to wait for a turn to read it.
///
/// Callbacks that this execution's earlier attempts have left at it, or at those that failed before it, are removed.
async fn finished_job(
    clients: &Clients,
    bucket: &str,
    callback: &PendingCallback,
) -> Result<Option<FinishedJob>, AwsError> {
    let mut job = callback.job.clone();
    while let Some(CompletedJob { job_id, .. }) = CompletedJob::find(clients, bucket, &job.idempotency_key()).await? {
        pending_callbacks::remove_attempts(clients, bucket, &job.idempotency_key(), &callback.execution, None).await?;
        match job::report(&clients.rekognition, &job_id).await?.status {
            JobStatus::Succeeded(metadata) => return Ok(Some(job.finished(&job_id, &metadata))),
            // Without a result to read: it failed, or the results have expired. Whether another job is started for it is
            // decided after Start alone.
            _ => job = job.next_attempt(),
        }
    }
    Ok(None)
}

async fn queue_up(
    clients: &Clients,
    bucket: &str,
    callback: &PendingCallback,
    entry: &QueueEntry,
) -> Result<(), AwsError> {
    // Stored before the job is started: however soon the completion comes, it finds the callback.
    pending_callbacks::put(clients, bucket, callback).await?;
    queue::put(clients, bucket, entry).await?;
    tracing::info!(bytes = entry.job.video.bytes, "waits for a job slot");
    queue::start_waiting_jobs(clients, bucket, &entry.execution).await
}
