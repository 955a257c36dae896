//! Starts the job of one queue entry.

use std::time::Duration;

use super::entries::QueueEntry;
use crate::{
    aws::{AwsError, named_by_variant},
    callbacks::{self, Outcome},
    job::{self, Job, JobStatus, NotReady, StartError},
    metrics::{self, Metric},
    pending_callbacks::PendingCallback,
    retry::while_throttled,
    store::Store,
    video::{InspectError, Location, Video},
};

/// The pause after each Start call: the quota is 5 calls a second in most Regions
/// (<https://docs.aws.amazon.com/general/latest/gr/rekognition.html>).
const START_INTERVAL: Duration = Duration::from_millis(250);

/// The longest pause after a throttled Start call. After it, the execution's Retry takes over.
const MAX_START_PAUSE: Duration = Duration::from_secs(8);

/// How long a job that has just been started is asked for until it is visible, counting the pauses alone. After it, the
/// execution's Retry takes over.
const VISIBLE_WITHIN: Duration = Duration::from_secs(30);

/// How long ago, in milliseconds, a job's end must have been recorded for a job that is not found to count as expired.
/// After an hour, a job is visible to every call of `GetFaceDetection`.
const LONG_ENDED_MS: i64 = 60 * 60 * 1000;

/// Jobs for one content after which it fails for good. Each of them is billed.
pub(super) const MAX_ATTEMPTS: u32 = 20;

/// Why the job of an entry does not run. The state machine sees the variant's name.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
pub(super) enum StartJobError {
    #[error("{0}")]
    LimitExceeded(StartError),
    #[error("{0}")]
    VideoUnreadable(StartError),
    #[error("{0}")]
    VideoTooLarge(StartError),
    #[error("{0}")]
    VideoNotFound(InspectError),
    #[error(
        "{MAX_ATTEMPTS} jobs failed for this content of the video, the last with: {reason}; upload the video again"
    )]
    JobFailed { reason: String },
    #[error(transparent)]
    Aws(#[from] AwsError),
}
named_by_variant!(StartJobError);

/// Starts the job of an entry, or finds it again, and sends its callbacks if it has ended.
///
/// The entry is deleted before any callback is sent, because an execution that is resumed may put a new entry
/// immediately. It is deleted by the key under which it was listed: the key that its content would give could be another
/// one, and then the entry would be listed again and again.
#[tracing::instrument(skip_all, fields(
    execution_name = entry.execution_name, key = entry.job.video().key, idempotency_key = entry.job.idempotency_key()
))]
pub(super) async fn start_job(store: Store<'_>, entry_key: &str, entry: &QueueEntry) -> Result<(), StartJobError> {
    let mut job = entry.job.clone();
    let mut last_reason = String::new();
    while job.attempt() < MAX_ATTEMPTS {
        if !execution_waits(store, &job, &entry.execution_name).await? {
            tracing::info!("no execution waits for the job any more, so it is not started");
            return Ok(store.delete(entry_key).await?);
        }
        let job_id = match call_start(store, &job).await {
            Ok(job_id) => job_id,
            Err(error) => return Err(classify_start_error(store, job.video(), error).await),
        };
        // A job that was found again sends no second notification, so its status is asked for after every Start.
        let status = status_after_start(store, job.idempotency_key(), &job_id).await?;
        tracing::info!(job_id, attempt = job.attempt(), ?status, "the job for this content");
        let outcome = match status {
            StartedStatus::InProgress => {
                #[expect(clippy::cast_precision_loss, reason = "milliseconds of days")]
                let waited = (store.clients.now_ms() - entry.entered_ms) as f64 / 1000.0;
                metrics::emit(store.clients, &[Metric::SecondsWaitedForSlot(waited)]);
                return Ok(store.delete(entry_key).await?);
            }
            StartedStatus::Ended(outcome) => outcome,
            StartedStatus::Expired => {
                last_reason = "its results have expired".to_owned();
                job = requeue_as_next_attempt(store, &entry.execution_name, &job).await?;
                continue;
            }
        };
        let completed = store.record_completed_job(job.idempotency_key(), &job_id).await?;
        match outcome {
            // An execution that was started or redriven after the failure wants a new job. Every other execution gets the
            // failure first: whether another job is worth its price is for a person to decide.
            Outcome::JobFailed { reason } if completed.precedes(entry.entered_ms) => {
                last_reason = reason;
                job = requeue_as_next_attempt(store, &entry.execution_name, &job).await?;
            }
            outcome => {
                store.delete(entry_key).await?;
                let callbacks = store.callbacks(job.idempotency_key(), None).await?;
                return Ok(store.notify(&completed, &outcome, callbacks).await?);
            }
        }
    }
    Err(StartJobError::JobFailed { reason: last_reason })
}

/// Whether the execution of an entry still waits for the job. If it does not, the result would be paid for and not read:
/// the callback was sent meanwhile, or the execution was stopped or has timed out. The callbacks of closed tasks are deleted.
async fn execution_waits(store: Store<'_>, job: &Job, execution_name: &str) -> Result<bool, AwsError> {
    let mut waits = false;
    for callback in store.callbacks(job.idempotency_key(), Some(execution_name)).await? {
        if callbacks::is_waiting(store.clients, &callback.task_token).await? {
            waits = true;
        } else {
            store.delete_callback(&callback).await?;
        }
    }
    Ok(waits)
}

/// Calls Start, with growing pauses while the call is throttled.
async fn call_start(store: Store<'_>, job: &Job) -> Result<String, StartError> {
    let mut pause = START_INTERVAL;
    loop {
        let started = job.start(&store.clients.rekognition).await;
        // The pause is made under the lease, so that the next invocation keeps the distance as well.
        tokio::time::sleep(pause).await;
        match started {
            Err(StartError::Aws(AwsError::Throttled { .. })) if pause < MAX_START_PAUSE => pause *= 2,
            started => return started,
        }
    }
}

/// The status of a job after Start has returned its id.
#[derive(Debug)]
enum StartedStatus {
    /// It is queued or runs.
    InProgress,
    /// It has ended.
    Ended(Outcome),
    /// It ended long ago, and Rekognition no longer has its results.
    Expired,
}

/// Asks for the status of a job after Start has returned its id: a new job, or one that was started before.
///
/// A job that is not found may be too new to be visible. It counts as expired only if its end was recorded long ago;
/// otherwise a second job would be paid for.
///
/// # Errors
/// [`AwsError`] of `rekognition:GetFaceDetection` or `s3:GetObject`; [`AwsError::ServiceUnavailable`] for a job that is
/// not visible within [`VISIBLE_WITHIN`].
async fn status_after_start(store: Store<'_>, idempotency_key: &str, job_id: &str) -> Result<StartedStatus, AwsError> {
    let rekognition = &store.clients.rekognition;
    // The job is paid for: a throttled status call must not fail its execution.
    let mut status = while_throttled(async || job::report(rekognition, job_id).await).await?.status;
    if status == JobStatus::NotFound {
        let long_ago_ms = store.clients.now_ms() - LONG_ENDED_MS;
        let completed = store.completed_job(idempotency_key).await?;
        if completed.is_some_and(|completed| completed.job_id == job_id && completed.precedes(long_ago_ms)) {
            return Ok(StartedStatus::Expired);
        }
        let report = while_throttled(async || job::report_once_visible(rekognition, job_id, VISIBLE_WITHIN).await);
        status = report.await?.status;
    }
    match status {
        JobStatus::InProgress => Ok(StartedStatus::InProgress),
        JobStatus::Succeeded(metadata) => Ok(StartedStatus::Ended(Outcome::Succeeded(metadata))),
        JobStatus::Failed { reason } => Ok(StartedStatus::Ended(Outcome::JobFailed { reason })),
        JobStatus::NotFound | JobStatus::InvalidId => Err(AwsError::ServiceUnavailable {
            call: "rekognition:GetFaceDetection",
            source: NotReady::JobNotVisible { job_id: job_id.to_owned() }.into(),
        }),
    }
}

/// Lets an execution wait for the next attempt of a job, and returns that attempt.
///
/// The callbacks are read again: the end of the job may have been sent to them since the job was started, and a callback
/// that was sent is not moved.
async fn requeue_as_next_attempt(store: Store<'_>, execution_name: &str, job: &Job) -> Result<Job, AwsError> {
    let callbacks = store.callbacks(job.idempotency_key(), Some(execution_name)).await?;
    let next = job.next_attempt();
    for callback in callbacks {
        store.put_callback(&PendingCallback { job: next.clone(), ..callback.clone() }).await?;
        store.delete_callback(&callback).await?;
    }
    Ok(next)
}

/// Adds what S3 knows: Rekognition says only that it cannot read the object, S3 says whether the object still exists.
async fn classify_start_error(store: Store<'_>, video: &Video, error: StartError) -> StartJobError {
    match error {
        StartError::LimitExceeded => StartJobError::LimitExceeded(error),
        StartError::VideoTooLarge { .. } => StartJobError::VideoTooLarge(error),
        StartError::Aws(error) => StartJobError::Aws(error),
        StartError::VideoUnreadable { .. } => {
            let Video { bucket, key, version_id, .. } = video.clone();
            match Video::inspect(&store.clients.s3, &Location { bucket, key, version_id }).await {
                Err(gone @ InspectError::VideoNotFound(_)) => StartJobError::VideoNotFound(gone),
                _ => StartJobError::VideoUnreadable(error),
            }
        }
    }
}
