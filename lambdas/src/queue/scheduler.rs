//! The scheduler: starts the jobs of the queue's entries, oldest first.

use std::{pin::pin, time::Duration};

use futures_util::{StreamExt as _, stream};
use tokio::{
    select,
    sync::mpsc,
    time::{Instant, sleep},
};

use super::{
    lease::Lease,
    pace::Pace,
    start::{Prepared, Started},
};
use crate::{aws::AwsError, layout, store::Store};

/// How long one invocation starts jobs, at most. The functions have ten minutes, so that the job in hand comes to its end
/// even if its calls are throttled. The next completed job or the schedule goes on.
const DRAIN_LIMIT: Duration = Duration::from_mins(2);

/// Entries that are read and checked at the same time, while an earlier one is started.
const PREPARED_AHEAD: usize = 2;

/// The pauses before a freed slot is tried again. Nothing promises that a slot is free as soon as its job is reported as
/// finished.
const SLOT_PAUSES: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];

impl Store<'_> {
    /// Notes that a job has ended, and starts the jobs that wait for its slot.
    ///
    /// # Errors
    /// As [`start_waiting_jobs`](Self::start_waiting_jobs).
    pub async fn on_job_finished(self, owner: &str) -> Result<(), AwsError> {
        if self.queue_is_empty().await? {
            return Ok(());
        }
        // Written before the lease is asked for: its holder reads this after it has released the lease, and so no freed
        // slot is missed.
        self.put_json(layout::SLOT_FREED, &owner).await?;
        for pause in SLOT_PAUSES {
            match self.drain_queue(owner).await? {
                QueueState::NoSlot { started: 0 } => sleep(pause).await,
                _ => return Ok(()),
            }
        }
        self.start_waiting_jobs(owner).await
    }

    /// Starts the jobs that wait for a slot, oldest first, until the slots or the entries are used up, or for two minutes.
    ///
    /// If another invocation holds the lease, this returns immediately: the holder checks the queue again after it has
    /// released the lease. `owner` is the same in every attempt of one caller, so that a retry takes over the lease of an
    /// attempt that was killed.
    ///
    /// # Errors
    /// [`AwsError`] when the queue cannot be read or written. A failure of one entry is sent to that entry's execution.
    pub async fn start_waiting_jobs(self, owner: &str) -> Result<(), AwsError> {
        self.drain_queue(owner).await.map(drop)
    }

    async fn drain_queue(self, owner: &str) -> Result<QueueState, AwsError> {
        let deadline = Instant::now() + DRAIN_LIMIT;
        let mut started = 0;
        while let Some(mut lease) = Lease::take(self, owner).await? {
            self.delete(layout::SLOT_FREED).await?;
            let mut pace = Pace::default();
            let drained = drain(self, &mut lease, &mut pace, deadline, &mut started).await;
            if !matches!(drained, Ok(Drained::LeaseLost)) {
                // The next holder keeps the distance as well.
                pace.rest().await;
                lease.release().await?;
            }
            // An invocation that came while the lease was held has returned, so its entry or its slot is checked here.
            let check_again = match drained? {
                Drained::NoEntry => !self.queue_is_empty().await?,
                Drained::NoSlot if self.get(layout::SLOT_FREED).await?.is_some() => true,
                Drained::NoSlot => return Ok(QueueState::NoSlot { started }),
                Drained::LeaseLost | Drained::HandedOver => false,
            };
            if !check_again {
                break;
            }
        }
        Ok(QueueState::Left)
    }
}

/// How an invocation leaves the queue.
enum QueueState {
    /// Every slot is taken; this many jobs were started before.
    NoSlot { started: usize },
    /// The queue is empty, or another invocation continues.
    Left,
}

/// Why the scheduler stopped.
enum Drained {
    /// The queue is empty.
    NoEntry,
    /// The account's job slots are used up.
    NoSlot,
    /// Another invocation holds the lease.
    LeaseLost,
    /// The time is up, or Start calls are throttled. The next completed job or the schedule goes on.
    HandedOver,
}

async fn drain(
    store: Store<'_>,
    lease: &mut Lease<'_>,
    pace: &mut Pace,
    deadline: Instant,
    started: &mut usize,
) -> Result<Drained, AwsError> {
    loop {
        let keys = store.oldest_entries().await?;
        if keys.is_empty() {
            return Ok(Drained::NoEntry);
        }
        if let Some(drained) = start_entries(store, keys, lease, pace, deadline, started).await? {
            return Ok(drained);
        }
    }
}

/// Starts the jobs of these entries in order; `None` after the last one.
///
/// Entries are prepared while earlier ones are started: the preparation takes several calls, and with the calls of the start it would
/// take longer than the distance between two Start calls.
async fn start_entries(
    store: Store<'_>,
    keys: Vec<String>,
    lease: &mut Lease<'_>,
    pace: &mut Pace,
    deadline: Instant,
    started: &mut usize,
) -> Result<Option<Drained>, AwsError> {
    // The stream alone would prepare an entry only while the next one is waited for.
    let (sender, mut prepared) = mpsc::channel(1);
    let prepare = async move {
        let mut entries = pin!(stream::iter(keys).map(|key| Prepared::of(store, key)).buffered(PREPARED_AHEAD));
        while let Some(entry) = entries.next().await {
            if sender.send(entry).await.is_err() {
                break;
            }
        }
    };
    let start = async {
        while let Some(entry) = prepared.recv().await {
            let Some(entry) = entry? else { continue };
            if Instant::now() >= deadline {
                return Ok(Some(Drained::HandedOver));
            }
            if !lease.renew().await? {
                return Ok(Some(Drained::LeaseLost));
            }
            match entry.start(store, pace).await? {
                Started::Job => *started += 1,
                Started::Nothing => {}
                Started::NoSlot => return Ok(Some(Drained::NoSlot)),
                Started::Throttled => return Ok(Some(Drained::HandedOver)),
            }
        }
        Ok(None)
    };
    let mut start = pin!(start);
    // What is prepared ahead has no effect that must come to its end: it is dropped when the slots are used up.
    select! {
        biased;
        drained = &mut start => drained,
        () = prepare => start.await,
    }
}
