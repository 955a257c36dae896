//! The queue: tickets of the executions whose jobs wait for one of the account's job slots.
//!
//! Every video takes a ticket, `queue/tickets/<execution start, ms>-<execution name>`, and whoever comes along (an
//! execution that took a ticket, a completion that freed a slot) starts tickets, oldest first, until the account's
//! quota of concurrent jobs is used up. One at a time does so, under a lease: the order holds, a thousand uploads at
//! once make no storm, and calls of Start keep their distance. Nobody polls.

use std::time::Duration;

use aws_sdk_s3::{error::ProvideErrorMetadata, operation::put_object::builders::PutObjectFluentBuilder};
use serde::{Deserialize, Serialize};

use crate::{
    aws::{AwsError, Clients, ErrorName, named_by_variant},
    completion::{self, Outcome},
    job::{self, Job, JobStatus, StartError},
    s3,
    video::{Location, LookError, Video},
    waiters::{self, Waiter},
};

/// Between two calls of Start, whoever makes them: the quota is 5 a second in most Regions
/// (<https://docs.aws.amazon.com/general/latest/gr/rekognition.html>).
const START_INTERVAL: Duration = Duration::from_millis(250);

/// How long a lease lasts that is not renewed: starting one ticket takes seconds at most.
const LEASE: Duration = Duration::from_mins(1);

/// Tickets that are looked at in one listing: about as many as there are slots.
const TICKETS_AT_ONCE: i32 = 20;

/// A content whose every job failed this often fails for good: each generation is one paid analysis.
const MAX_GENERATIONS: u32 = 20;

const TICKETS: &str = "queue/tickets/";
const LEASE_KEY: &str = "queue/lease";
const FREED_KEY: &str = "queue/slot-freed";

/// An execution whose job is to be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The execution's name.
    pub execution: String,
    /// When the execution started, in milliseconds since 1970: its place in the queue.
    pub started_ms: i64,
    /// What is to be started.
    pub job: Job,
}

impl Ticket {
    /// Where the ticket lies: keys sort by the executions' start.
    #[must_use]
    pub fn object_key(&self) -> String {
        format!("{TICKETS}{:013}-{}", self.started_ms, self.execution)
    }
}

/// Puts a ticket into the queue. An execution that comes again while its ticket waits keeps the ticket as it is.
///
/// # Errors
/// [`AwsError`] of `s3:PutObject`.
pub async fn put(clients: &Clients, bucket: &str, ticket: &Ticket) -> Result<(), AwsError> {
    let request = s3::put_json_request(clients, bucket, &ticket.object_key(), ticket);
    match request.if_none_match("*").send().await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some("PreconditionFailed") => Ok(()),
        Err(error) => Err(AwsError::new("s3:PutObject", error)),
    }
}

/// Takes a ticket out of the queue.
///
/// # Errors
/// [`AwsError`] of `s3:DeleteObject`; a ticket that is already gone is no error.
pub async fn remove(clients: &Clients, bucket: &str, ticket: &Ticket) -> Result<(), AwsError> {
    s3::delete(clients, bucket, &ticket.object_key()).await
}

/// A job of ours has ended: its slot goes to the oldest ticket.
///
/// # Errors
/// As [`start_waiting_jobs`].
pub async fn slot_is_free(clients: &Clients, bucket: &str, owner: &str) -> Result<(), AwsError> {
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
/// [`AwsError`] when the queue itself cannot be read or written; whatever is wrong with one ticket is told to the
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
            Drained::NoTicket => !oldest_tickets(clients, bucket).await?.is_empty(),
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
    NoTicket,
    /// The account's jobs are used up.
    NoSlot,
    /// Someone else starts jobs now.
    LeaseLost,
}

async fn drain(clients: &Clients, bucket: &str, lease: &mut Lease) -> Result<Drained, AwsError> {
    loop {
        let keys = oldest_tickets(clients, bucket).await?;
        if keys.is_empty() {
            return Ok(Drained::NoTicket);
        }
        for key in keys {
            if !lease.renew(clients, bucket).await? {
                return Ok(Drained::LeaseLost);
            }
            let Some(body) = s3::get(clients, bucket, &key).await? else { continue };
            match serde_json::from_slice::<Ticket>(&body) {
                Ok(ticket) => match begin(clients, bucket, &ticket).await {
                    Ok(()) => {}
                    Err(BeginError::LimitExceeded(reason)) => {
                        tracing::info!(execution = ticket.execution, %reason, "waits for a slot");
                        return Ok(Drained::NoSlot);
                    }
                    Err(error) => fail(clients, bucket, &ticket, &error).await?,
                },
                Err(error) => {
                    tracing::error!(key, %error, "removed an object among the tickets that is none");
                    s3::delete(clients, bucket, &key).await?;
                }
            }
        }
    }
}

async fn oldest_tickets(clients: &Clients, bucket: &str) -> Result<Vec<String>, AwsError> {
    let listing = clients.s3.list_objects_v2().bucket(bucket).prefix(TICKETS).max_keys(TICKETS_AT_ONCE);
    let listing = listing.send().await.map_err(|error| AwsError::new("s3:ListBucket", error))?;
    Ok(listing.contents.unwrap_or_default().into_iter().filter_map(|object| object.key).collect())
}

/// Why a ticket's job does not run. The state machine sees the variant's name.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
enum BeginError {
    #[error("{0}")]
    LimitExceeded(StartError),
    #[error("{0}")]
    VideoUnreadable(StartError),
    #[error("{0}")]
    VideoTooLarge(StartError),
    #[error("{0}")]
    VideoNotFound(LookError),
    #[error("{MAX_GENERATIONS} jobs failed for this very content, the last with: {reason}; upload the video anew")]
    JobFailed { reason: String },
    #[error(transparent)]
    Aws(#[from] AwsError),
}
named_by_variant!(BeginError);

/// Starts a ticket's job, or finds it again, and tells its waiters where it has ended already.
///
/// The ticket goes before anyone is told: an execution that hears something may come again at once with a new one.
async fn begin(clients: &Clients, bucket: &str, ticket: &Ticket) -> Result<(), BeginError> {
    let Ticket { execution, job, .. } = ticket;
    let mut job = job.clone();
    let mut last_reason = String::new();
    while job.generation < MAX_GENERATIONS {
        if waiters::list(clients, bucket, &job.tag(), Some(execution)).await?.is_empty() {
            // Told meanwhile: nobody would read what is paid for.
            return Ok(remove(clients, bucket, ticket).await?);
        }
        let started = job.start(&clients.rekognition).await;
        // Kept under the lease, so that the next one to start a job keeps the distance as well.
        tokio::time::sleep(START_INTERVAL).await;
        let job_id = match started {
            Ok(job_id) => job_id,
            Err(error) => return Err(explain(clients, &job.video, error).await),
        };
        // A job that was found again never notifies a second time: its status is asked for after every Start.
        let status = job::report(&clients.rekognition, &job_id).await?.status;
        tracing::info!(
            execution,
            tag = job.tag(),
            job_id,
            generation = job.generation,
            ?status,
            "the job for this content"
        );
        let outcome = match status {
            JobStatus::InProgress => return Ok(remove(clients, bucket, ticket).await?),
            JobStatus::Succeeded(metadata) => Outcome::Succeeded(metadata),
            JobStatus::Failed { reason } if was_told(clients, bucket, &job.tag(), &job_id).await? => {
                last_reason = reason;
                job = move_on(clients, bucket, execution, job).await?;
                continue;
            }
            // Told first: whether a new job is worth its price is for whoever replays the execution to say.
            JobStatus::Failed { reason } => Outcome::JobFailed { reason },
            JobStatus::Gone => {
                last_reason = "its results have expired".to_owned();
                job = move_on(clients, bucket, execution, job).await?;
                continue;
            }
        };
        remove(clients, bucket, ticket).await?;
        let waiting = waiters::list(clients, bucket, &job.tag(), None).await?;
        return Ok(tell(clients, bucket, &job.tag(), &job_id, &outcome, waiting).await?);
    }
    Err(BeginError::JobFailed { reason: last_reason })
}

/// Tells a job's waiters how it ended, and notes a failure as told.
///
/// # Errors
/// [`AwsError`], after everyone who could be told was told; nothing is noted then.
pub async fn tell(
    clients: &Clients,
    bucket: &str,
    tag: &str,
    job_id: &str,
    outcome: &Outcome,
    waiting: Vec<Waiter>,
) -> Result<(), AwsError> {
    let anyone = completion::tell(clients, bucket, job_id, outcome, waiting).await?;
    if anyone && matches!(outcome, Outcome::JobFailed { .. }) {
        s3::put_json(clients, bucket, &told_key(tag), &job_id).await?;
    }
    Ok(())
}

/// Whether this job's failure has been told: only then is it left behind for a new, billed one.
async fn was_told(clients: &Clients, bucket: &str, tag: &str, job_id: &str) -> Result<bool, AwsError> {
    let told = s3::get(clients, bucket, &told_key(tag)).await?;
    Ok(told.and_then(|told| serde_json::from_slice::<String>(&told).ok()).as_deref() == Some(job_id))
}

fn told_key(tag: &str) -> String {
    format!("queue/failed/{tag}")
}

/// Lets an execution wait for the same content's next job.
///
/// Who waits is asked again: the job's end may have been told since it was started, and whoever was told is not moved.
async fn move_on(clients: &Clients, bucket: &str, execution: &str, job: Job) -> Result<Job, AwsError> {
    let waiting = waiters::list(clients, bucket, &job.tag(), Some(execution)).await?;
    let next = job.next_generation();
    for waiter in waiting {
        waiters::put(clients, bucket, &Waiter { job: next.clone(), ..waiter.clone() }).await?;
        waiters::remove(clients, bucket, &waiter).await?;
    }
    Ok(next)
}

/// Rekognition says only that it cannot read the object; S3 says whether there still is one.
async fn explain(clients: &Clients, video: &Video, error: StartError) -> BeginError {
    match error {
        StartError::LimitExceeded => BeginError::LimitExceeded(error),
        StartError::VideoTooLarge { .. } => BeginError::VideoTooLarge(error),
        StartError::Aws(error) => BeginError::Aws(error),
        StartError::VideoUnreadable { .. } => {
            let Video { bucket, key, version_id, .. } = video.clone();
            match Video::look(&clients.s3, &Location { bucket, key, version_id }).await {
                Err(gone @ LookError::VideoNotFound(_)) => BeginError::VideoNotFound(gone),
                _ => BeginError::VideoUnreadable(error),
            }
        }
    }
}

/// Tells an execution that its job could not be started; its Retry comes again where that helps.
async fn fail(clients: &Clients, bucket: &str, ticket: &Ticket, error: &BeginError) -> Result<(), AwsError> {
    remove(clients, bucket, ticket).await?;
    let outcome = Outcome::NotStarted { error: error.error_name(), cause: error.to_string() };
    let mut job = ticket.job.clone();
    // The waiters stand where the generations' loop left them.
    while job.generation <= MAX_GENERATIONS {
        let own = waiters::list(clients, bucket, &job.tag(), Some(&ticket.execution)).await?;
        if !own.is_empty() {
            completion::tell(clients, bucket, "", &outcome, own).await?;
            break;
        }
        job = job.next_generation();
    }
    Ok(())
}

/// The right to start jobs: one holder at a time.
struct Lease {
    owner: String,
    etag: String,
    until_ms: u128,
}

/// The lease as it lies in S3.
#[derive(Serialize, Deserialize)]
struct LeaseObject {
    owner: String,
    until_ms: u128,
}

impl Lease {
    /// Takes the lease if it is free, has run out, or was held by this very owner.
    async fn take(clients: &Clients, bucket: &str, owner: &str) -> Result<Option<Self>, AwsError> {
        loop {
            let until_ms = now_ms(clients) + LEASE.as_millis();
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
            if held.is_some_and(|held| held.owner != owner && held.until_ms > now_ms(clients)) {
                return Ok(None);
            }
            return Ok(lease.write_over(clients, bucket).await?.then_some(lease));
        }
    }

    /// Holds the lease a while longer once half of it is over; `false` when someone else has taken it.
    async fn renew(&mut self, clients: &Clients, bucket: &str) -> Result<bool, AwsError> {
        let until_ms = now_ms(clients) + LEASE.as_millis();
        if until_ms < self.until_ms + LEASE.as_millis() / 2 {
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

fn now_ms(clients: &Clients) -> u128 {
    clients.clock.now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis()
}
