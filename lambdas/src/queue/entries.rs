//! Queue entries.

use serde::{Deserialize, Serialize};

use super::start::MAX_ATTEMPTS;
use crate::{aws::AwsError, job::Job, layout, pending_callbacks::PendingCallback, store::Store};

/// Entries in one listing: about as many as an account has job slots.
const ENTRIES_PER_LISTING: i32 = 20;

/// An execution whose job is to be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueEntry {
    /// The name of the execution.
    pub execution_name: String,
    /// When the execution started, in milliseconds since 1970: its position in the queue.
    pub started_ms: i64,
    /// When the execution was started or last redriven, in milliseconds since 1970. If an earlier job for the content
    /// failed before this time, the execution wants a new job.
    pub entered_ms: i64,
    /// The job to be started.
    pub job: Job,
}

impl QueueEntry {
    /// The key of the entry in the results bucket. The keys sort by the start of the execution.
    #[must_use]
    pub fn object_key(&self) -> String {
        layout::queue_entry(self.started_ms, &self.execution_name)
    }
}

impl Store<'_> {
    /// Puts an entry into the queue. It replaces the entry that an earlier attempt of the same task has made.
    ///
    /// # Errors
    /// [`AwsError`] of `s3:GetObject`, `s3:ListBucket`, `s3:DeleteObject` or `s3:PutObject`.
    pub async fn put_entry(self, entry: &QueueEntry) -> Result<(), AwsError> {
        let key = entry.object_key();
        let earlier = self.get(&key).await?;
        if let Some(earlier) = earlier.and_then(|body| serde_json::from_slice::<QueueEntry>(&body).ok())
            && earlier.job != entry.job
        {
            // The video was overwritten while it waited. The job for its earlier content may never start, and so its
            // callbacks would never be sent.
            for callback in self.callbacks_of_entry(&earlier).await? {
                self.delete_callback(&callback).await?;
            }
        }
        self.put_json(&key, entry).await
    }

    /// Reads the callbacks of an entry's execution, at the attempt of the job for which it waits now.
    pub(super) async fn callbacks_of_entry(self, entry: &QueueEntry) -> Result<Vec<PendingCallback>, AwsError> {
        let mut job = entry.job.clone();
        while job.attempt() <= MAX_ATTEMPTS {
            let callbacks = self.callbacks(job.idempotency_key(), Some(&entry.execution_name)).await?;
            if !callbacks.is_empty() {
                return Ok(callbacks);
            }
            job = job.next_attempt();
        }
        Ok(Vec::new())
    }

    /// The keys of the oldest entries, oldest first.
    pub(super) async fn oldest_entries(self) -> Result<Vec<String>, AwsError> {
        self.list_first(layout::QUEUE_ENTRIES, ENTRIES_PER_LISTING).await
    }

    /// Deletes an entry.
    ///
    /// # Errors
    /// [`AwsError`] of `s3:DeleteObject`; an entry that does not exist is not an error.
    pub async fn delete_entry(self, entry: &QueueEntry) -> Result<(), AwsError> {
        self.delete(&entry.object_key()).await
    }
}
