//! Starts the job of one queue entry.

use std::time::Duration;

use aws_sdk_rekognition::error::BoxError;

use super::{
    entries::QueueEntry,
    pace::{Pace, START_INTERVAL},
};
use crate::{
    aws::{AwsError, ErrorName as _, named_by_variant},
    callbacks::{self, Outcome},
    job::{Job, StartError},
    known_job::KnownJob,
    metrics::{self, Metric},
    store::Store,
    video::{InspectError, Location, Video},
};

/// The longest pause after a throttled Start call. After it, another invocation goes on.
const MAX_START_PAUSE: Duration = Duration::from_secs(8);

/// Why the job of an entry does not run. The state machine sees the variant's name.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
pub(super) enum StartJobError {
    #[error("{0}")]
    VideoUnreadable(BoxError),
    #[error("{0}")]
    VideoTooLarge(StartError),
    #[error("{0}")]
    VideoNotFound(InspectError),
    #[error("{0}")]
    VideoArchived(InspectError),
    #[error("{0} was overwritten while it waited, so no job was started; the newer upload has a separate execution")]
    VideoReplaced(Location),
    #[error(transparent)]
    Aws(#[from] AwsError),
}
named_by_variant!(StartJobError);

/// What came of an entry.
pub(super) enum Started {
    /// Its job was started.
    Job,
    /// No job had to be started for it, or its failure was sent. The entry is deleted.
    Nothing,
    /// Every job slot is taken. The entry stays.
    NoSlot,
    /// Start calls are throttled. The entry stays.
    Throttled,
}

/// An entry, with what must be known before its job is started.
pub(super) struct Prepared {
    /// The key under which the entry was listed. It is deleted by this key: the key that its content would give could be
    /// another one, and then the entry would be listed again and again.
    entry_key: String,
    entry: QueueEntry,
    check: Result<Check, StartJobError>,
}

enum Check {
    /// No execution waits for the job.
    NotWaiting,
    Waiting(KnownJob),
}

impl Prepared {
    /// Reads an entry and checks whether its job is to be started; `None` if the entry is gone or is not an entry.
    ///
    /// # Errors
    /// [`AwsError`] of `s3:GetObject` or `s3:DeleteObject`. An error of the check is kept for the entry's execution.
    pub(super) async fn of(store: Store<'_>, entry_key: String) -> Result<Option<Self>, AwsError> {
        let Some(body) = store.get(&entry_key).await? else { return Ok(None) };
        match serde_json::from_slice::<QueueEntry>(&body) {
            Ok(entry) => {
                let check = check(store, &entry).await.map_err(StartJobError::Aws);
                Ok(Some(Self { entry_key, entry, check }))
            }
            Err(error) => {
                tracing::error!(entry_key, %error, "deleted an object that is not a queue entry");
                store.delete(&entry_key).await?;
                Ok(None)
            }
        }
    }

    /// Starts the job, or sends what is known about it. A failure is sent to the execution of the entry.
    ///
    /// # Errors
    /// [`AwsError`] when the queue cannot be written.
    #[tracing::instrument(skip_all, fields(
        execution_name = self.entry.execution_name,
        key = self.entry.job.video().key,
        idempotency_key = self.entry.job.idempotency_key(),
    ))]
    pub(super) async fn start(self, store: Store<'_>, pace: &mut Pace) -> Result<Started, AwsError> {
        let Self { entry_key, entry, check } = self;
        let started = match check {
            Ok(Check::NotWaiting) => {
                tracing::info!("no execution waits for the job any more, so it is not started");
                return store.delete(&entry_key).await.map(|()| Started::Nothing);
            }
            Ok(Check::Waiting(KnownJob::New)) => start_new(store, pace, &entry_key, &entry).await,
            Ok(Check::Waiting(known)) => attach(store, &entry_key, &entry, known).await.map_err(StartJobError::Aws),
            Err(error) => Err(error),
        };
        match started {
            Ok(started) => Ok(started),
            Err(error) => fail(store, &entry_key, &entry, &error).await,
        }
    }
}

async fn check(store: Store<'_>, entry: &QueueEntry) -> Result<Check, AwsError> {
    if execution_waits(store, entry).await? {
        Ok(Check::Waiting(store.known_job(&entry.job).await?))
    } else {
        Ok(Check::NotWaiting)
    }
}

/// Whether the execution of an entry still waits for the job. If it does not, the result would be paid for and not read:
/// the callback was sent meanwhile, or the execution was stopped or has timed out. The callbacks of closed tasks are deleted.
async fn execution_waits(store: Store<'_>, entry: &QueueEntry) -> Result<bool, AwsError> {
    let mut waits = false;
    for callback in store.callbacks(entry.job.idempotency_key(), Some(&entry.execution_name)).await? {
        if callbacks::is_waiting(store.clients, &callback.task_token).await? {
            waits = true;
        } else {
            store.delete_callback(&callback).await?;
        }
    }
    Ok(waits)
}

async fn start_new(
    store: Store<'_>,
    pace: &mut Pace,
    entry_key: &str,
    entry: &QueueEntry,
) -> Result<Started, StartJobError> {
    let job = &entry.job;
    confirm_content(store, job.video()).await?;
    let job_id = match call_start(store, pace, job).await {
        Ok(job_id) => job_id,
        Err(StartError::LimitExceeded) => {
            tracing::info!("the oldest entry waits for a slot: {}", StartError::LimitExceeded);
            return Ok(Started::NoSlot);
        }
        Err(StartError::Aws(error @ AwsError::Throttled { .. })) => {
            tracing::warn!(%error, "the oldest entry waits until Start calls are accepted");
            return Ok(Started::Throttled);
        }
        Err(StartError::Aws(error)) => return Err(StartJobError::Aws(error)),
        Err(error @ StartError::VideoTooLarge { .. }) => return Err(StartJobError::VideoTooLarge(error)),
        Err(error @ StartError::VideoUnreadable { .. }) => return Err(unreadable(store, job.video(), error).await),
    };
    // From here on a retry asks for the status of this job, and needs neither a slot nor the object.
    store.record_started_job(job.idempotency_key(), &job_id).await?;
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of days")]
    let waited = (store.clients.now_ms() - entry.entered_ms) as f64 / 1000.0;
    metrics::emit(store.clients, &[Metric::SecondsWaitedForSlot(waited)]);
    tracing::info!(job_id, attempt = job.attempt(), waited, "started the job");
    store.delete(entry_key).await?;
    Ok(Started::Job)
}

/// Looks again at an object whose content can change under its key, just before its analysis is paid for.
async fn confirm_content(store: Store<'_>, video: &Video) -> Result<(), StartJobError> {
    match video.is_unchanged(&store.clients.s3).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(StartJobError::VideoReplaced(video.location())),
        Err(error) => Err(inspect_error(error)),
    }
}

fn inspect_error(error: InspectError) -> StartJobError {
    match error {
        InspectError::Aws(error) => StartJobError::Aws(error),
        InspectError::VideoNotFound(_) => StartJobError::VideoNotFound(error),
        InspectError::VideoArchived(_) => StartJobError::VideoArchived(error),
        _ => StartJobError::VideoUnreadable(error.into()),
    }
}

/// Calls Start, with growing pauses while the call is throttled.
async fn call_start(store: Store<'_>, pace: &mut Pace, job: &Job) -> Result<String, StartError> {
    let mut pause = START_INTERVAL;
    loop {
        pace.call().await;
        match job.start(&store.clients.rekognition).await {
            Err(StartError::Aws(AwsError::Throttled { .. })) if pause < MAX_START_PAUSE => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            started => return started,
        }
    }
}

/// Deletes the entry of a job that needs no start, and sends the end of the job if it has ended.
///
/// The entry is deleted before any callback is sent, because an execution that is resumed may put a new entry immediately.
async fn attach(store: Store<'_>, entry_key: &str, entry: &QueueEntry, known: KnownJob) -> Result<Started, AwsError> {
    store.delete(entry_key).await?;
    match known {
        KnownJob::New | KnownJob::Running => {}
        // The execution found this attempt of the job when it made the entry, and now wants the next one. That happens only if
        // clocks differ or if the entry is days old. It finds the next attempt after its heartbeat.
        KnownJob::Expired => tracing::warn!("the job of the entry has expired"),
        KnownJob::Ended(completed, outcome) => {
            let callbacks = store.callbacks(entry.job.idempotency_key(), None).await?;
            store.notify(&completed, &outcome, callbacks).await?;
        }
    }
    Ok(Started::Nothing)
}

/// Adds what S3 knows: Rekognition says only that it cannot read the object, S3 says whether the object still exists.
async fn unreadable(store: Store<'_>, video: &Video, error: StartError) -> StartJobError {
    match Video::inspect(&store.clients.s3, &video.location()).await {
        Err(known @ (InspectError::VideoNotFound(_) | InspectError::VideoArchived(_))) => inspect_error(known),
        _ => StartJobError::VideoUnreadable(error.into()),
    }
}

/// Sends a failure to the execution of an entry, and deletes the entry. If a retry can help, the execution's Retry makes a
/// new entry.
///
/// If the failure cannot be sent, the execution continues after its next heartbeat: the other entries do not wait for that.
async fn fail(
    store: Store<'_>,
    entry_key: &str,
    entry: &QueueEntry,
    error: &StartJobError,
) -> Result<Started, AwsError> {
    store.delete(entry_key).await?;
    let outcome = Outcome::NotStarted { error: error.error_name(), cause: error.to_string() };
    let callbacks = store.callbacks(entry.job.idempotency_key(), Some(&entry.execution_name)).await?;
    if let Err(unsent) = store.notify_all("", &outcome, callbacks).await {
        tracing::error!(%unsent, error = error.error_name(), cause = %error, "a failure could not be sent");
    }
    Ok(Started::Nothing)
}
