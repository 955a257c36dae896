//! start-detection: starts, or finds again, the job for a video, and leaves the execution waiting for it.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    aws::{AwsError, Clients, ErrorName, named_by_variant},
    completion::{self, Outcome},
    input,
    job::{self, FaceAttributes, Job, JobStatus, StartError},
    video::{LookError, Video},
    waiters::{self, TaskToken, Waiter},
};

/// A content whose every job failed this often fails for good: each generation is one paid analysis.
const MAX_GENERATIONS: u32 = 20;

/// The function's environment.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// `RESULTS_BUCKET`: waiters lie there.
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
}

/// Why the video is not being analysed. The state machine sees the variant's name.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum StartDetectionError {
    /// The input names no video.
    #[error(transparent)]
    InvalidInput(#[from] input::InvalidInput),
    /// Nothing lies there, or no longer.
    #[error("{0}")]
    VideoNotFound(LookError),
    /// The object has no bytes.
    #[error("{0}")]
    VideoEmpty(LookError),
    /// The object is larger than Rekognition takes, or the video longer.
    #[error("{0}")]
    VideoTooLarge(Box<dyn std::error::Error + Send + Sync>),
    /// The object is no MP4 or MOV file.
    #[error("{0}")]
    NotAVideo(LookError),
    /// Rekognition cannot read the object.
    #[error("{0}")]
    VideoUnreadable(StartError),
    /// The account's concurrent jobs are used up.
    #[error("{0}")]
    LimitExceeded(StartError),
    /// Every job for this content failed.
    #[error("{MAX_GENERATIONS} jobs failed for this very content, the last with: {reason}; upload the video anew")]
    JobFailed {
        /// Rekognition's own reason.
        reason: String,
    },
    /// Anything that every AWS call can meet.
    #[error(transparent)]
    Aws(#[from] AwsError),
}
named_by_variant!(StartDetectionError);

impl From<LookError> for StartDetectionError {
    fn from(error: LookError) -> Self {
        match error {
            LookError::VideoNotFound(_) => Self::VideoNotFound(error),
            LookError::VideoEmpty(_) => Self::VideoEmpty(error),
            LookError::VideoTooLarge { .. } => Self::VideoTooLarge(error.into()),
            LookError::NotAVideo(_) => Self::NotAVideo(error),
            LookError::Aws(error) => Self::Aws(error),
        }
    }
}

impl From<StartError> for StartDetectionError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::LimitExceeded => Self::LimitExceeded(error),
            StartError::VideoUnreadable { .. } => Self::VideoUnreadable(error),
            StartError::VideoTooLarge { .. } => Self::VideoTooLarge(error.into()),
            StartError::Aws(error) => Self::Aws(error),
        }
    }
}

/// Starts or finds the job for the video in the execution's input.
///
/// Every answer goes through the task token: success or failure at once where the job has ended already, a stable error
/// name where the video cannot be analysed, and nothing yet where the job runs, for `resume-execution` will answer.
///
/// # Errors
/// Only when the answer itself could not be sent; the state's Retry then comes again.
pub async fn start_detection(
    clients: &Clients,
    config: &Config,
    request: StartDetection,
) -> Result<(), StartDetectionError> {
    let StartDetection { task_token, execution, input } = request;
    match attach(clients, config, &task_token, execution.name, input).await {
        Ok(()) => Ok(()),
        Err(error) => {
            tracing::warn!(error = error.error_name(), cause = %error, "the video is not analysed");
            completion::send_failure(clients, &task_token, error.error_name(), &error.to_string()).await?;
            Ok(())
        }
    }
}

async fn attach(
    clients: &Clients,
    config: &Config,
    task_token: &TaskToken,
    execution: String,
    input: Value,
) -> Result<(), StartDetectionError> {
    let bucket = &config.results_bucket;
    let video = Video::look(&clients.s3, &input::location(input)?).await?;
    let mut job = Job {
        video,
        face_attributes: config.face_attributes,
        topic_arn: config.completion_topic_arn.clone(),
        role_arn: config.publish_role_arn.clone(),
        generation: 0,
    };
    let mut last_reason = String::new();
    while job.generation < MAX_GENERATIONS {
        let waiter = Waiter { execution: execution.clone(), task_token: task_token.clone(), job: job.clone() };
        // Stored before Start: however soon the completion comes, it finds the waiter.
        let untold = waiters::put(clients, bucket, &waiter).await?;
        let job_id = match job.start(&clients.rekognition).await {
            Ok(job_id) => job_id,
            Err(error) => {
                waiters::remove(clients, bucket, &waiter).await?;
                return Err(error.into());
            }
        };
        // A job that was found again never notifies a second time: its status is asked for after every Start.
        let status = job::report(&clients.rekognition, &job_id).await?.status;
        tracing::info!(tag = job.tag(), job_id, generation = job.generation, ?status, "the job for this content");
        let outcome = match status {
            JobStatus::InProgress => return Ok(()),
            JobStatus::Succeeded(metadata) => Outcome::Succeeded(metadata),
            // This execution waited for the job and missed the news: that is told first, a new job is for a replay.
            JobStatus::Failed { reason } if untold => Outcome::Failed { reason },
            JobStatus::Failed { reason } => {
                waiters::remove(clients, bucket, &waiter).await?;
                last_reason = reason;
                job = job.next_generation();
                continue;
            }
            JobStatus::Gone => {
                waiters::remove(clients, bucket, &waiter).await?;
                last_reason = "its results have expired".to_owned();
                job = job.next_generation();
                continue;
            }
        };
        let mut waiting = waiters::list(clients, bucket, &job.tag()).await?;
        // Told from memory: another function may have removed the waiter in the name of an older token.
        waiting.retain(|other| other.execution != waiter.execution);
        waiting.insert(0, waiter);
        completion::tell(clients, bucket, &job_id, &outcome, waiting).await?;
        return Ok(());
    }
    Err(StartDetectionError::JobFailed { reason: last_reason })
}
