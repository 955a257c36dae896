//! Callbacks: the task tokens of the executions that wait for a job, in the work bucket under the job's tag.
//!
//! A callback is stored before its job is started, so that no completion can come too early, and any number of
//! executions can wait for one job. It lies at `callbacks/<idempotency key>/<execution name>/<hash of its token>`: a new attempt never
//! overwrites an older one's, and so nobody who removes an old callback can remove a new one. Who tells a callback removes
//! it; what is left over expires by the bucket's lifecycle.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    aws::{AwsError, Clients},
    job::Job,
    s3,
};

/// A task token. It never reaches a log: its `Debug` shows nothing.
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
    /// The execution's name.
    pub execution: String,
    /// When it was started or last redriven, in milliseconds since 1970.
    pub entered_ms: i64,
    /// What resumes it.
    pub task_token: TaskToken,
    /// What it waits for.
    pub job: Job,
}

impl PendingCallback {
    /// Where the callback lies.
    #[must_use]
    pub fn object_key(&self) -> String {
        let token = hex::encode(Sha256::digest(&self.task_token.0));
        format!("{}{}", prefix(&self.job.idempotency_key(), Some(&self.execution)), &token[..16])
    }
}

fn prefix(idempotency_key: &str, execution: Option<&str>) -> String {
    execution.map_or_else(
        || format!("callbacks/{idempotency_key}/"),
        |execution| format!("callbacks/{idempotency_key}/{execution}/"),
    )
}

/// Stores a callback and removes those of the same execution's earlier attempts, whose tokens are dead.
///
/// # Errors
/// [`AwsError`] of `s3:PutObject`, `s3:ListBucket` or `s3:DeleteObject`.
pub async fn put(clients: &Clients, bucket: &str, callback: &PendingCallback) -> Result<(), AwsError> {
    let key = callback.object_key();
    s3::put_json(clients, bucket, &key, callback).await?;
    remove_attempts(clients, bucket, &callback.job.idempotency_key(), &callback.execution, Some(&key)).await
}

/// Removes what an execution's attempts have left at the job with this idempotency_key, but for the object `keep`.
///
/// # Errors
/// [`AwsError`] of `s3:ListBucket` or `s3:DeleteObject`.
pub async fn remove_attempts(
    clients: &Clients,
    bucket: &str,
    idempotency_key: &str,
    execution: &str,
    keep: Option<&str>,
) -> Result<(), AwsError> {
    for attempt in s3::list(clients, bucket, &prefix(idempotency_key, Some(execution))).await? {
        if keep != Some(attempt.as_str()) {
            s3::delete(clients, bucket, &attempt).await?;
        }
    }
    Ok(())
}

/// All who wait for the job with this idempotency_key, or only the callbacks of one execution among them.
///
/// An object that is no callback is logged and passed over: nobody could be resumed by it.
///
/// # Errors
/// [`AwsError`] of `s3:ListBucket` or `s3:GetObject`.
pub async fn list(
    clients: &Clients,
    bucket: &str,
    idempotency_key: &str,
    execution: Option<&str>,
) -> Result<Vec<PendingCallback>, AwsError> {
    let mut callbacks = Vec::new();
    for key in s3::list(clients, bucket, &prefix(idempotency_key, execution)).await? {
        // None: someone else has told and removed it since the listing.
        let Some(body) = s3::get(clients, bucket, &key).await? else { continue };
        match serde_json::from_slice(&body) {
            Ok(callback) => callbacks.push(callback),
            Err(error) => tracing::error!(key, %error, "an object among the callbacks is none"),
        }
    }
    Ok(callbacks)
}

/// Removes a callback that was told.
///
/// # Errors
/// [`AwsError`] of `s3:DeleteObject`; a callback that is already gone is no error.
pub async fn remove(clients: &Clients, bucket: &str, callback: &PendingCallback) -> Result<(), AwsError> {
    s3::delete(clients, bucket, &callback.object_key()).await
}
