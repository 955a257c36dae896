//! Queue entries.

use serde::{Deserialize, Serialize};

use crate::{aws::AwsError, job::Job, layout, store::Store};

/// Entries in one listing: about as many as an account has job slots.
const ENTRIES_PER_LISTING: i32 = 20;

/// An execution whose job is to be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueEntry {
    /// The name of the execution.
    pub execution_name: String,
    /// The attempt of the task that made the entry: see
    /// [`StartDetection`](crate::start_detection::StartDetection::task_attempt).
    pub task_attempt: u32,
    /// When the execution started, in milliseconds since 1970: its position in the queue.
    pub started_ms: i64,
    /// When the analysis was requested, in milliseconds since 1970: see
    /// [`StartDetection`](crate::start_detection::StartDetection::entered).
    pub entered_ms: i64,
    /// The job to be started.
    pub job: Job,
}

impl QueueEntry {
    /// The key of the entry in the results bucket. The keys sort by the start of the execution.
    #[must_use]
    pub fn object_key(&self) -> String {
        layout::queue_entry(self.started_ms, &self.execution_name, self.task_attempt)
    }
}

impl Store<'_> {
    /// Puts an entry into the queue, and deletes those of earlier attempts of the same task.
    ///
    /// # Errors
    /// As [`delete_entries_before`](Self::delete_entries_before), and [`AwsError`] of `s3:PutObject`.
    pub async fn put_entry(self, entry: &QueueEntry) -> Result<(), AwsError> {
        self.put_json(&entry.object_key(), entry).await?;
        self.delete_entries_before(entry).await
    }

    /// Deletes the entries that earlier attempts of the same task have made, and their callbacks if they wait for another
    /// job: a deployment has changed a parameter of the job since, and the job of those parameters may never start.
    ///
    /// # Errors
    /// [`AwsError`] of `s3:ListBucket`, `s3:GetObject` or `s3:DeleteObject`.
    pub async fn delete_entries_before(self, entry: &QueueEntry) -> Result<(), AwsError> {
        let QueueEntry { execution_name, task_attempt, started_ms, job, .. } = entry;
        for key in self.list(&layout::queue_entries(*started_ms, execution_name)).await? {
            if layout::read_queue_entry(&key).is_some_and(|parts| parts.task_attempt >= *task_attempt) {
                continue;
            }
            let earlier = self.get(&key).await?.and_then(|body| serde_json::from_slice::<QueueEntry>(&body).ok());
            if let Some(earlier) = earlier.filter(|earlier| earlier.job != *job) {
                self.delete_callbacks_before(earlier.job.idempotency_key(), execution_name, *task_attempt).await?;
            }
            self.delete(&key).await?;
        }
        Ok(())
    }

    /// Whether no execution waits for a job slot.
    ///
    /// # Errors
    /// [`AwsError`] of `s3:ListBucket`.
    pub async fn queue_is_empty(self) -> Result<bool, AwsError> {
        Ok(self.list_first(layout::QUEUE_ENTRIES, 1).await?.is_empty())
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
