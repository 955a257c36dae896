//! Pending callbacks: the task tokens of the executions that wait for a job, in the results bucket.
//!
//! A callback is stored before its job is started, so that no completion can arrive too early. Several executions can wait
//! for one job. The key holds the job's idempotency key, the execution's name, the attempt of the task and a hash of the
//! token. An attempt deletes the callbacks of earlier attempts and never one of a later attempt, because an invocation can
//! still run after Step Functions has started the next one. A callback is deleted when it was sent; what remains expires by
//! the bucket's lifecycle rule.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{aws::AwsError, job::Job, layout, store::Store};

/// A task token. Its `Debug` does not show it, so that it never reaches a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskToken(pub String);

impl std::fmt::Debug for TaskToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TaskToken(…)")
    }
}

/// An execution that waits for a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingCallback {
    /// The name of the execution.
    pub execution_name: String,
    /// When the analysis was requested, in milliseconds since 1970: see
    /// [`StartDetection`](crate::start_detection::StartDetection::entered).
    pub entered_ms: i64,
    /// The attempt of the task that waits: see [`StartDetection`](crate::start_detection::StartDetection::task_attempt).
    pub task_attempt: u32,
    /// The token that resumes the execution.
    pub task_token: TaskToken,
    /// The job that it waits for.
    pub job: Job,
}

impl PendingCallback {
    /// The key of the callback in the results bucket.
    #[must_use]
    pub fn object_key(&self) -> String {
        let hash = hex::encode(Sha256::digest(&self.task_token.0));
        layout::callback(self.job.idempotency_key(), &self.execution_name, self.task_attempt, &hash[..16])
    }
}

impl Store<'_> {
    /// Stores a callback and deletes those of earlier attempts of the same task, whose tokens are closed.
    ///
    /// # Errors
    /// [`AwsError`] of `s3:PutObject`, `s3:ListBucket` or `s3:DeleteObject`.
    pub async fn put_callback(self, callback: &PendingCallback) -> Result<(), AwsError> {
        self.put_json(&callback.object_key(), callback).await?;
        let PendingCallback { job, execution_name, task_attempt, .. } = callback;
        self.delete_callbacks_before(job.idempotency_key(), execution_name, *task_attempt).await
    }

    /// Deletes the callbacks of one execution for a job that attempts of the task before `task_attempt` have stored, and
    /// objects that are not callbacks.
    ///
    /// # Errors
    /// [`AwsError`] of `s3:ListBucket` or `s3:DeleteObject`.
    pub async fn delete_callbacks_before(
        self,
        idempotency_key: &str,
        execution_name: &str,
        task_attempt: u32,
    ) -> Result<(), AwsError> {
        for key in self.list(&layout::callbacks(idempotency_key, Some(execution_name))).await? {
            if layout::read_callback(&key).is_none_or(|of| of < task_attempt) {
                self.delete(&key).await?;
            }
        }
        Ok(())
    }

    /// Reads the callbacks that wait for a job, or those of one execution among them.
    ///
    /// An object that cannot be read as a callback is logged and skipped, because it could not resume an execution.
    ///
    /// # Errors
    /// [`AwsError`] of `s3:ListBucket` or `s3:GetObject`.
    pub async fn callbacks(
        self,
        idempotency_key: &str,
        execution_name: Option<&str>,
    ) -> Result<Vec<PendingCallback>, AwsError> {
        let mut callbacks = Vec::new();
        for key in self.list(&layout::callbacks(idempotency_key, execution_name)).await? {
            // `None`: another invocation has sent and deleted it since the listing.
            let Some(body) = self.get(&key).await? else { continue };
            match serde_json::from_slice(&body) {
                Ok(callback) => callbacks.push(callback),
                Err(error) => tracing::error!(key, %error, "skipped an object that is not a pending callback"),
            }
        }
        Ok(callbacks)
    }

    /// Deletes a callback.
    ///
    /// # Errors
    /// [`AwsError`] of `s3:DeleteObject`; a callback that does not exist is not an error.
    pub async fn delete_callback(self, callback: &PendingCallback) -> Result<(), AwsError> {
        self.delete(&callback.object_key()).await
    }
}
