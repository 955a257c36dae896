//! The queue: entries of the executions whose jobs wait for one of the account's job slots.
//!
//! Every video takes a entry, `queue/entries/<execution start, ms>-<execution name>`, and whoever comes along (an
//! execution that took a entry, a completion that freed a slot) starts entries, oldest first, until the account's
//! quota of concurrent jobs is used up. One at a time does so, under a lease: the order holds, a thousand uploads at
//! once make no storm, and calls of Start keep their distance. Nobody polls.

use std::time::Duration;

use aws_sdk_s3::{error::ProvideErrorMetadata, operation::put_object::builders::PutObjectFluentBuilder};
use serde::{Deserialize, Serialize};

use crate::{
    aws::{AwsError, Clients, ErrorName, named_by_variant},
    callbacks::{self, Outcome},
    completed_job::CompletedJob,
    job::{self, Job, JobStatus, NotReady, StartError},
    metrics::{self, Metric},
    pending_callbacks::{self, PendingCallback},
    s3,
    video::{InspectError, Location, Video},
};

/// Between two calls of Start, whoever makes them: the quota is 5 a second in most Regions
/// (<https://docs.aws.amazon.com/general/latest/gr/rekognition.html>).
const START_INTERVAL: Duration = Duration::from_millis(250);

/// The longest pause after a throttled Start: then the execution's own Retry comes again.
const MAX_START_PAUSE: Duration = Duration::from_secs(8);

/// How long, pauses alone, a job that has just been started is asked for until it is visible. Then the execution's own
/// Retry comes again.
const VISIBLE_WITHIN: Duration = Duration::from_secs(30);

/// How long before now, in milliseconds, a job's end must have been noted for a job that is not found to count as expired.
/// After an hour, a job is visible to every call of `GetFaceDetection`.
const LONG_ENDED_MS: i64 = 60 * 60 * 1000;

/// How long a lease lasts that is not renewed, in milliseconds. Starting one entry takes seconds; where throttling, or a job
/// that is not visible yet, makes it longer, someone else may start jobs as well, which costs order and pace, and nothing else.
const LEASE_MS: i64 = 60_000;

/// Entries that are looked at in one listing: about as many as there are slots.
const ENTRIES_PER_LISTING: i32 = 20;

/// A content whose every job failed this often fails for good: each attempt is one paid analysis.
const MAX_ATTEMPTS: u32 = 20;

const ENTRIES: &str = "queue/entries/";
const LEASE_KEY: &str = "queue/lease";
const FREED_KEY: &str = "queue/slot-freed";

/// An execution whose job is to be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueEntry {
    /// The execution's name.
    pub execution: String,
    /// When the execution started, in milliseconds since 1970: its place in the queue.
    pub started_ms: i64,
    /// When it was started or last redriven, in milliseconds since 1970: whoever comes after a failure asks for a new job.
    pub entered_ms: i64,
    /// What is to be started.
    pub job: Job,
}

impl QueueEntry {
    /// Where the entry lies: keys sort by the executions' start.
    #[must_use]
    pub fn object_key(&self) -> String {
        format!("{ENTRIES}{:013}-{}", self.started_ms, self.execution)
    }
}

/// Puts a entry into the queue, in the place of the one that the execution may have taken earlier.
///
/// # Errors
/// [`AwsError`] of `s3:GetObject`, `s3:ListBucket`, `s3:DeleteObject` or `s3:PutObject`.
pub async fn put(clients: &Clients, bucket: &str, entry: &QueueEntry) -> Result<(), AwsError> {
    let earlier = s3::get(clients, bucket, &entry.object_key()).await?;
    if let Some(earlier) = earlier.and_then(|body| serde_json::from_slice::<QueueEntry>(&body).ok())
        && earlier.job != entry.job
    {
        // The video was written over while it waited: its earlier content's job, which may never start, has lost its callback.
        for callback in callbacks_of(clients, bucket, &earlier).await? {
            pending_callbacks::remove(clients, bucket, &callback).await?;
        }
    }
    s3::put_json(clients, bucket, &entry.object_key(), entry).await
}

/// Who waits by this entry: in the attempt where [`start_job`] has left them.
async fn callbacks_of(clients: &Clients, bucket: &str, entry: &QueueEntry) -> Result<Vec<PendingCallback>, AwsError> {
    let mut job = entry.job.clone();
    while job.attempt <= MAX_ATTEMPTS {
        let own = pending_callbacks::list(clients, bucket, &job.idempotency_key(), Some(&entry.execution)).await?;
        if !own.is_empty() {
            return Ok(own);
        }
        job = job.next_attempt();
    }
    Ok(Vec::new())
}

/// Takes a entry out of the queue.
///
/// # Errors
/// [`AwsError`] of `s3:DeleteObject`; a entry that is already gone is no error.
pub async fn remove(clients: &Clients, bucket: &str, entry: &QueueEntry) -> Result<(), AwsError> {
    s3::delete(clients, bucket, &entry.object_key()).await
}

/// A job of ours has ended: its slot goes to the oldest entry.
///
/// # Errors
/// As [`start_waiting_jobs`].
pub async fn on_job_finished(clients: &Clients, bucket: &str, owner: &str) -> Result<(), AwsError> {
    // Before the lease is asked for: whoever holds it sees this after letting go, and so misses no slot.
    s3::put_json(clients, bucket, FREED_KEY, &owner).await?;
    start_waiting_jobs(clients, bucket, owner).await
}

/// Starts the jobs that wait for a slot, oldest first, until there is no slot or nobody waits.
///
/// Returns at once when someone else is at it: they look again before they leave. `owner` is the same at every attempt
/// of one caller, so that a retry takes over the lease of an attempt that was killed.
///
/// # Errors
/// [`AwsError`] when the queue itself cannot be read or written; whatever is wrong with one entry is told to the
/// execution that took it.
pub async fn start_waiting_jobs(clients: &Clients, bucket: &str, owner: &str) -> Result<(), AwsError> {
    while let Some(mut lease) = Lease::take(clients, bucket, owner).await? {
        s3::delete(clients, bucket, FREED_KEY).await?;
        let drained = drain(clients, bucket, &mut lease).await;
        if !matches!(drained, Ok(Drained::LeaseLost)) {
            s3::delete(clients, bucket, LEASE_KEY).await?;
        }
        // What came while the lease was held found it taken and went away.
        let look_again = match drained? {
            Drained::NoEntry => !oldest_entries(clients, bucket).await?.is_empty(),
            Drained::NoSlot => s3::get(clients, bucket, FREED_KEY).await?.is_some(),
            Drained::LeaseLost => false,
        };
        if !look_again {
            break;
        }
    }
    Ok(())
}

/// Why starting came to an end.
enum Drained {
    /// Nobody waits.
    NoEntry,
    /// The account's jobs are used up.
    NoSlot,
    /// Someone else starts jobs now.
    LeaseLost,
}

async fn drain(clients: &Clients, bucket: &str, lease: &mut Lease) -> Result<Drained, AwsError> {
    loop {
        let keys = oldest_entries(clients, bucket).await?;
        if keys.is_empty() {
            return Ok(Drained::NoEntry);
        }
        for key in keys {
            if !lease.renew(clients, bucket).await? {
                return Ok(Drained::LeaseLost);
            }
            let Some(body) = s3::get(clients, bucket, &key).await? else { continue };
            match serde_json::from_slice::<QueueEntry>(&body) {
                Ok(entry) => match start_job(clients, bucket, &entry).await {
                    Ok(()) => {}
                    Err(StartJobError::LimitExceeded(reason)) => {
                        tracing::info!(execution = entry.execution, %reason, "the oldest entry waits for a slot");
                        return Ok(Drained::NoSlot);
                    }
                    Err(error) => fail(clients, bucket, &entry, &error).await?,
                },
                Err(error) => {
                    tracing::error!(key, %error, "removed an object among the entries that is none");
                    s3::delete(clients, bucket, &key).await?;
                }
            }
        }
    }
}

async fn oldest_entries(clients: &Clients, bucket: &str) -> Result<Vec<String>, AwsError> {
    let listing = clients.s3.list_objects_v2().bucket(bucket).prefix(ENTRIES).max_keys(ENTRIES_PER_LISTING);
    let listing = listing.send().await.map_err(|error| AwsError::new("s3:ListBucket", error))?;
    Ok(listing.contents.unwrap_or_default().into_iter().filter_map(|object| object.key).collect())
}

/// Why a entry's job does not run. The state machine sees the variant's name.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
enum StartJobError {
    #[error("{0}")]
    LimitExceeded(StartError),
    #[error("{0}")]
    VideoUnreadable(StartError),
    #[error("{0}")]
    VideoTooLarge(StartError),
    #[error("{0}")]
    VideoNotFound(InspectError),
    #[error("{MAX_ATTEMPTS} jobs failed for this very content, the last with: {reason}; upload the video anew")]
    JobFailed { reason: String },
    #[error(transparent)]
    Aws(#[from] AwsError),
}
named_by_variant!(StartJobError);

/// Starts a entry's job, or finds it again, and tells its callbacks where it has ended already.
///
/// The entry goes before anyone is told: an execution that hears something may come again at once with a new one.
#[tracing::instrument(skip_all, fields(execution = entry.execution, key = entry.job.video.key, idempotency_key = entry.job.idempotency_key()))]
async fn start_job(clients: &Clients, bucket: &str, entry: &QueueEntry) -> Result<(), StartJobError> {
    let QueueEntry { execution, job, .. } = entry;
    let mut job = job.clone();
    let mut last_reason = String::new();
    while job.attempt < MAX_ATTEMPTS {
        if pending_callbacks::list(clients, bucket, &job.idempotency_key(), Some(execution)).await?.is_empty() {
            // Told meanwhile: nobody would read what is paid for.
            return Ok(remove(clients, bucket, entry).await?);
        }
        let job_id = match start(clients, &job).await {
            Ok(job_id) => job_id,
            Err(error) => return Err(classify_start_error(clients, &job.video, error).await),
        };
        let idempotency_key = job.idempotency_key();
        // A job that was found again never notifies a second time: its status is asked for after every Start.
        let status = status_after_start(clients, bucket, &idempotency_key, &job_id).await?;
        tracing::info!(job_id, attempt = job.attempt, ?status, "the job for this content");
        let outcome = match status {
            StartedStatus::InProgress => {
                #[expect(clippy::cast_precision_loss, reason = "milliseconds of days")]
                let waited = (clients.now_ms() - entry.entered_ms) as f64 / 1000.0;
                metrics::emit(clients, &[Metric::SecondsWaitedForSlot(waited)]);
                return Ok(remove(clients, bucket, entry).await?);
            }
            StartedStatus::Ended(outcome) => outcome,
            StartedStatus::Expired => {
                last_reason = "its results have expired".to_owned();
                job = requeue_as_next_attempt(clients, bucket, execution, job).await?;
                continue;
            }
        };
        let completed = CompletedJob::record(clients, bucket, &idempotency_key, &job_id).await?;
        match outcome {
            // Whoever was started or redriven since wants a new job; everyone else hears of the failure first, and
            // whether another one is worth its price is for a person to say.
            Outcome::JobFailed { reason } if completed.precedes(entry.entered_ms) => {
                last_reason = reason;
                job = requeue_as_next_attempt(clients, bucket, execution, job).await?;
            }
            outcome => {
                remove(clients, bucket, entry).await?;
                let waiting = pending_callbacks::list(clients, bucket, &idempotency_key, None).await?;
                return Ok(callbacks::notify(clients, bucket, &completed, &outcome, waiting).await?);
            }
        }
    }
    Err(StartJobError::JobFailed { reason: last_reason })
}

/// Starts a job or finds it again; where others use up the rate of Start, it waits a little, longer each time.
async fn start(clients: &Clients, job: &Job) -> Result<String, StartError> {
    let mut pause = START_INTERVAL;
    loop {
        let started = job.start(&clients.rekognition).await;
        // Kept under the lease, so that the next one to start a job keeps the distance as well.
        tokio::time::sleep(pause).await;
        match started {
            Err(StartError::Aws(AwsError::Throttled { .. })) if pause < MAX_START_PAUSE => pause *= 2,
            started => return started,
        }
    }
}

/// The status of a job that Start has answered with.
#[derive(Debug)]
enum StartedStatus {
    /// It runs, or waits to.
    InProgress,
    /// It has ended, and how.
    Ended(Outcome),
    /// It ended long ago, and Rekognition no longer has its results.
    Expired,
}

/// Asks for the status of a job that Start has answered with: a new one, or one that was started before.
///
/// A job that is not found may be too new to be visible, and so it never counts as expired but where its end was noted
/// long ago: another job would be paid for a second time.
///
/// # Errors
/// [`AwsError`] of `rekognition:GetFaceDetection` or `s3:GetObject`; [`AwsError::ServiceUnavailable`] for a job that is
/// not visible within [`VISIBLE_WITHIN`].
async fn status_after_start(
    clients: &Clients,
    bucket: &str,
    idempotency_key: &str,
    job_id: &str,
) -> Result<StartedStatus, AwsError> {
    let mut status = job::report(&clients.rekognition, job_id).await?.status;
    if status == JobStatus::NotFound {
        let completed = CompletedJob::find(clients, bucket, idempotency_key).await?;
        if completed
            .is_some_and(|completed| completed.job_id == job_id && completed.precedes(clients.now_ms() - LONG_ENDED_MS))
        {
            return Ok(StartedStatus::Expired);
        }
        status = job::report_once_visible(&clients.rekognition, job_id, VISIBLE_WITHIN).await?.status;
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

/// Lets an execution wait for the same content's next job.
///
/// Who waits is asked again: the job's end may have been told since it was started, and whoever was told is not moved.
async fn requeue_as_next_attempt(clients: &Clients, bucket: &str, execution: &str, job: Job) -> Result<Job, AwsError> {
    let waiting = pending_callbacks::list(clients, bucket, &job.idempotency_key(), Some(execution)).await?;
    let next = job.next_attempt();
    for callback in waiting {
        pending_callbacks::put(clients, bucket, &PendingCallback { job: next.clone(), ..callback.clone() }).await?;
        pending_callbacks::remove(clients, bucket, &callback).await?;
    }
    Ok(next)
}

/// Rekognition says only that it cannot read the object; S3 says whether there still is one.
async fn classify_start_error(clients: &Clients, video: &Video, error: StartError) -> StartJobError {
    match error {
        StartError::LimitExceeded => StartJobError::LimitExceeded(error),
        StartError::VideoTooLarge { .. } => StartJobError::VideoTooLarge(error),
        StartError::Aws(error) => StartJobError::Aws(error),
        StartError::VideoUnreadable { .. } => {
            let Video { bucket, key, version_id, .. } = video.clone();
            match Video::inspect(&clients.s3, &Location { bucket, key, version_id }).await {
                Err(gone @ InspectError::VideoNotFound(_)) => StartJobError::VideoNotFound(gone),
                _ => StartJobError::VideoUnreadable(error),
            }
        }
    }
}

/// Tells an execution that its job could not be started; its Retry comes again where that helps.
async fn fail(clients: &Clients, bucket: &str, entry: &QueueEntry, error: &StartJobError) -> Result<(), AwsError> {
    remove(clients, bucket, entry).await?;
    let outcome = Outcome::NotStarted { error: error.error_name(), cause: error.to_string() };
    let waiting = callbacks_of(clients, bucket, entry).await?;
    callbacks::notify_all(clients, bucket, "", &outcome, waiting).await
}

/// The right to start jobs: one holder at a time.
struct Lease {
    owner: String,
    etag: String,
    until_ms: i64,
}

/// The lease as it lies in S3.
#[derive(Serialize, Deserialize)]
struct LeaseObject {
    owner: String,
    until_ms: i64,
}

impl Lease {
    /// Takes the lease if it is free, has run out, or was held by this very owner.
    async fn take(clients: &Clients, bucket: &str, owner: &str) -> Result<Option<Self>, AwsError> {
        loop {
            let until_ms = clients.now_ms() + LEASE_MS;
            let mut lease = Self { owner: owner.to_owned(), etag: String::new(), until_ms };
            match lease.put_request(clients, bucket).if_none_match("*").send().await {
                Ok(put) => {
                    lease.etag = put.e_tag.unwrap_or_default();
                    return Ok(Some(lease));
                }
                Err(error) => match error.code() {
                    Some("PreconditionFailed") => {}
                    // Two asked at the same moment: S3 lets both ask again.
                    Some("ConditionalRequestConflict") => {
                        tokio::time::sleep(START_INTERVAL).await;
                        continue;
                    }
                    _ => return Err(AwsError::new("s3:PutObject", error)),
                },
            }
            let held = match clients.s3.get_object().bucket(bucket).key(LEASE_KEY).send().await {
                Ok(held) => held,
                // Let go of since: it is free.
                Err(error) if error.code() == Some("NoSuchKey") => continue,
                Err(error) => return Err(AwsError::new("s3:GetObject", error)),
            };
            lease.etag = held.e_tag.clone().unwrap_or_default();
            let body = held.body.collect().await;
            let body =
                body.map_err(|error| AwsError::ServiceUnavailable { call: "s3:GetObject", source: error.into() })?;
            let held = serde_json::from_slice::<LeaseObject>(&body.into_bytes()).ok();
            // No lease lasts longer than its term, or two where clocks differ: one that claims to is nonsense.
            let believable = clients.now_ms()..clients.now_ms() + 2 * LEASE_MS;
            if held.is_some_and(|held| held.owner != owner && believable.contains(&held.until_ms)) {
                return Ok(None);
            }
            return Ok(lease.write_over(clients, bucket).await?.then_some(lease));
        }
    }

    /// Holds the lease a while longer once half of it is over; `false` when someone else has taken it.
    async fn renew(&mut self, clients: &Clients, bucket: &str) -> Result<bool, AwsError> {
        let until_ms = clients.now_ms() + LEASE_MS;
        if until_ms < self.until_ms + LEASE_MS / 2 {
            return Ok(true);
        }
        self.until_ms = until_ms;
        self.write_over(clients, bucket).await
    }

    /// Puts this lease in the place of the one with its entity tag; `false` when that one is no longer there.
    async fn write_over(&mut self, clients: &Clients, bucket: &str) -> Result<bool, AwsError> {
        match self.put_request(clients, bucket).if_match(&self.etag).send().await {
            Ok(put) => {
                self.etag = put.e_tag.unwrap_or_default();
                Ok(true)
            }
            Err(error) => match error.code() {
                Some("PreconditionFailed" | "NoSuchKey" | "ConditionalRequestConflict") => Ok(false),
                _ => Err(AwsError::new("s3:PutObject", error)),
            },
        }
    }

    fn put_request(&self, clients: &Clients, bucket: &str) -> PutObjectFluentBuilder {
        let lease = LeaseObject { owner: self.owner.clone(), until_ms: self.until_ms };
        s3::put_json_request(clients, bucket, LEASE_KEY, &lease)
    }
}
