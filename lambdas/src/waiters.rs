//! Waiters: the task tokens of the executions that wait for a job, in the work bucket under the job's tag.
//!
//! A waiter is stored before its job is started, so that no completion can come too early, and any number of
//! executions can wait for one job. It lies at `waiting/<tag>/<execution name>`: an execution that enters again with a
//! new token replaces its own waiter. Who tells a waiter removes it; what is left over expires by the bucket's lifecycle.

use aws_sdk_s3::primitives::ByteStream;
use serde::{Deserialize, Serialize};

use crate::{
    aws::{AwsError, Clients},
    job::Job,
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
pub struct Waiter {
    /// The execution's name.
    pub execution: String,
    /// What resumes it.
    pub task_token: TaskToken,
    /// What it waits for.
    pub job: Job,
}

impl Waiter {
    /// Where the waiter lies.
    #[must_use]
    pub fn object_key(&self) -> String {
        format!("{}{}", prefix(&self.job.tag()), self.execution)
    }
}

fn prefix(tag: &str) -> String {
    format!("waiting/{tag}/")
}

/// Stores a waiter and tells whether it replaced one of the same execution: one that nobody has told the outcome.
///
/// # Errors
/// [`AwsError`] of `s3:PutObject`.
pub async fn put(clients: &Clients, bucket: &str, waiter: &Waiter) -> Result<bool, AwsError> {
    let body = serde_json::to_vec(waiter).expect("a waiter is plain data");
    let request = || {
        clients
            .s3
            .put_object()
            .bucket(bucket)
            .key(waiter.object_key())
            .content_type("application/json")
            .body(ByteStream::from(body.clone()))
    };
    match request().if_none_match("*").send().await {
        Ok(_) => Ok(false),
        Err(error) if error.raw_response().is_some_and(|response| response.status().as_u16() == 412) => {
            request().send().await.map_err(|error| AwsError::new("s3:PutObject", error))?;
            Ok(true)
        }
        Err(error) => Err(AwsError::new("s3:PutObject", error)),
    }
}

/// All who wait for the job with this tag.
///
/// An object that is no waiter is logged and passed over: nobody could be resumed by it.
///
/// # Errors
/// [`AwsError`] of `s3:ListBucket` or `s3:GetObject`.
pub async fn list(clients: &Clients, bucket: &str, tag: &str) -> Result<Vec<Waiter>, AwsError> {
    let mut waiters = Vec::new();
    let mut pages = clients.s3.list_objects_v2().bucket(bucket).prefix(prefix(tag)).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| AwsError::new("s3:ListBucket", error))?;
        for key in page.contents().iter().filter_map(|object| object.key()) {
            let object = match clients.s3.get_object().bucket(bucket).key(key).send().await {
                Ok(object) => object,
                // Someone else has told and removed it since the listing.
                Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_key()) => continue,
                Err(error) => return Err(AwsError::new("s3:GetObject", error)),
            };
            let body = object
                .body
                .collect()
                .await
                .map_err(|error| AwsError::ServiceUnavailable { call: "s3:GetObject", source: error.into() })?;
            match serde_json::from_slice(&body.into_bytes()) {
                Ok(waiter) => waiters.push(waiter),
                Err(error) => tracing::error!(key, %error, "an object among the waiters is none"),
            }
        }
    }
    Ok(waiters)
}

/// Removes a waiter that was told, or whose job could not be started.
///
/// # Errors
/// [`AwsError`] of `s3:DeleteObject`; a waiter that is already gone is no error.
pub async fn remove(clients: &Clients, bucket: &str, waiter: &Waiter) -> Result<(), AwsError> {
    clients
        .s3
        .delete_object()
        .bucket(bucket)
        .key(waiter.object_key())
        .send()
        .await
        .map_err(|error| AwsError::new("s3:DeleteObject", error))?;
    Ok(())
}
