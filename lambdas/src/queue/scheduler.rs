//! The scheduler: starts the jobs of the queue's entries, oldest first.

use super::{
    entries::QueueEntry,
    lease::Lease,
    start::{StartJobError, start_job},
};
use crate::{
    aws::{AwsError, ErrorName as _},
    callbacks::Outcome,
    layout,
    store::Store,
};

impl Store<'_> {
    /// Notes that a job has ended, and starts the jobs that wait for its slot.
    ///
    /// # Errors
    /// As [`start_waiting_jobs`](Self::start_waiting_jobs).
    pub async fn on_job_finished(self, owner: &str) -> Result<(), AwsError> {
        // Written before the lease is asked for: its holder reads this after it has released the lease, and so no freed
        // slot is missed.
        self.put_json(layout::SLOT_FREED, &owner).await?;
        self.start_waiting_jobs(owner).await
    }

    /// Starts the jobs that wait for a slot, oldest first, until the slots or the entries are used up.
    ///
    /// If another invocation holds the lease, this returns immediately: the holder checks the queue again after it has
    /// released the lease. `owner` is the same in every attempt of one caller, so that a retry takes over the lease of an
    /// attempt that was killed.
    ///
    /// # Errors
    /// [`AwsError`] when the queue cannot be read or written. A failure of one entry is sent to that entry's execution.
    pub async fn start_waiting_jobs(self, owner: &str) -> Result<(), AwsError> {
        while let Some(mut lease) = Lease::take(self, owner).await? {
            self.delete(layout::SLOT_FREED).await?;
            let drained = drain(self, &mut lease).await;
            if !matches!(drained, Ok(Drained::LeaseLost)) {
                lease.release().await?;
            }
            // An invocation that came while the lease was held has returned, so its entry or its slot is checked here.
            let check_again = match drained? {
                Drained::NoEntry => !self.oldest_entries().await?.is_empty(),
                Drained::NoSlot => self.get(layout::SLOT_FREED).await?.is_some(),
                Drained::LeaseLost => false,
            };
            if !check_again {
                break;
            }
        }
        Ok(())
    }
}

/// Why the scheduler stopped.
enum Drained {
    /// The queue is empty.
    NoEntry,
    /// The account's job slots are used up.
    NoSlot,
    /// Another invocation holds the lease.
    LeaseLost,
}

async fn drain(store: Store<'_>, lease: &mut Lease<'_>) -> Result<Drained, AwsError> {
    loop {
        let keys = store.oldest_entries().await?;
        if keys.is_empty() {
            return Ok(Drained::NoEntry);
        }
        for key in keys {
            if !lease.renew().await? {
                return Ok(Drained::LeaseLost);
            }
            let Some(body) = store.get(&key).await? else { continue };
            let entry: QueueEntry = match serde_json::from_slice(&body) {
                Ok(entry) => entry,
                Err(error) => {
                    tracing::error!(key, %error, "deleted an object that is not a queue entry");
                    store.delete(&key).await?;
                    continue;
                }
            };
            match start_job(store, &key, &entry).await {
                Ok(()) => {}
                Err(StartJobError::LimitExceeded(reason)) => {
                    tracing::info!(execution_name = entry.execution_name, %reason, "the oldest entry waits for a slot");
                    return Ok(Drained::NoSlot);
                }
                Err(error) => fail(store, &key, &entry, &error).await?,
            }
        }
    }
}

/// Sends the failure to the execution of an entry. If a retry can help, the execution's Retry makes a new entry.
async fn fail(store: Store<'_>, entry_key: &str, entry: &QueueEntry, error: &StartJobError) -> Result<(), AwsError> {
    store.delete(entry_key).await?;
    let outcome = Outcome::NotStarted { error: error.error_name(), cause: error.to_string() };
    let callbacks = store.callbacks_of_entry(entry).await?;
    store.notify_all("", &outcome, callbacks).await
}
