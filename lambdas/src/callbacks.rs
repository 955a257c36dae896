//! A finished job, told to everyone who waits for it.

use aws_sdk_sfn::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

use crate::{
    aws::{AwsError, Clients},
    completed_job::CompletedJob,
    job::{FinishedJob, VideoMetadata},
    metrics::{self, Metric},
    pending_callbacks::{self, PendingCallback, TaskToken},
};

/// Step Functions takes at most 32,768 characters as a cause
/// (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskFailure.html>).
const MAX_CAUSE_CHARS: usize = 32_768;

/// How a job ended, as its callbacks are told.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Its pages can be read.
    Succeeded(VideoMetadata),
    /// It ended without a result.
    JobFailed {
        /// Rekognition's own reason.
        reason: String,
    },
    /// It could not be started.
    NotStarted {
        /// The stable name that Step Functions shows as `Error`.
        error: &'static str,
        /// What Step Functions shows as `Cause`.
        cause: String,
    },
}

/// Tells each callback how its job ended and removes it.
///
/// Who came after a failure was seen is not told of it: it wants a new job, and its entry is about to get it one.
///
/// # Errors
/// As [`notify_all`].
pub async fn notify(
    clients: &Clients,
    bucket: &str,
    completed: &CompletedJob,
    outcome: &Outcome,
    mut callbacks: Vec<PendingCallback>,
) -> Result<(), AwsError> {
    if matches!(outcome, Outcome::JobFailed { .. }) {
        callbacks.retain(|callback| !completed.precedes(callback.entered_ms));
    }
    notify_all(clients, bucket, &completed.job_id, outcome, callbacks).await
}

/// Tells each of these callbacks and removes it.
///
/// A callback whose task has ended by itself (late, or told twice) is removed as well: nobody is left to tell.
///
/// # Errors
/// The first [`AwsError`], after everyone who could be told was told. What is left is told at the next attempt.
pub async fn notify_all(
    clients: &Clients,
    bucket: &str,
    job_id: &str,
    outcome: &Outcome,
    callbacks: Vec<PendingCallback>,
) -> Result<(), AwsError> {
    let mut first_error = None;
    for callback in callbacks {
        let told = match outcome {
            Outcome::Succeeded(metadata) => {
                send_success(clients, &callback.task_token, &callback.job.clone().finished(job_id, metadata)).await
            }
            Outcome::JobFailed { reason } => {
                let cause = format!("{reason} (face detection job {job_id})");
                send_failure(clients, &callback.task_token, "JobFailed", &cause).await
            }
            Outcome::NotStarted { error, cause } => send_failure(clients, &callback.task_token, error, cause).await,
        };
        let told = match told {
            Ok(delivery) => pending_callbacks::remove(clients, bucket, &callback).await.map(|()| delivery),
            Err(error) => Err(error),
        };
        match told {
            Ok(delivery) => {
                if delivery == Delivery::TooLate {
                    metrics::emit(clients, &[Metric::LateCallbacks(1)]);
                }
                let (idempotency_key, key) = (callback.job.idempotency_key(), callback.job.video.key);
                tracing::info!(
                    execution = callback.execution,
                    idempotency_key,
                    key,
                    job_id,
                    ?delivery,
                    "told a waiting execution"
                );
            }
            Err(error) => {
                tracing::warn!(execution = callback.execution, job_id, %error, "could not tell a waiting execution yet");
                first_error.get_or_insert(error);
            }
        }
    }
    first_error.map_or(Ok(()), Err)
}

/// What became of a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The execution goes on.
    Delivered,
    /// The task had ended already: a late or second callback, which does no harm.
    TooLate,
    /// Step Functions never gave out this token.
    InvalidToken,
}

/// Sends `SendTaskFailure` with a stable error name.
///
/// # Errors
/// [`AwsError`]; a task that has ended already is no error.
pub async fn send_failure(
    clients: &Clients,
    token: &TaskToken,
    error: &str,
    cause: &str,
) -> Result<Delivery, AwsError> {
    let cause: String = cause.chars().take(MAX_CAUSE_CHARS).collect();
    let sent = clients.sfn.send_task_failure().task_token(&token.0).error(error).cause(cause).send().await;
    delivery("states:SendTaskFailure", sent)
}

/// Sends `SendTaskSuccess` with a finished job.
///
/// # Errors
/// [`AwsError`]; a task that has ended already is no error.
pub async fn send_success(clients: &Clients, token: &TaskToken, job: &FinishedJob) -> Result<Delivery, AwsError> {
    let output = serde_json::to_string(job).expect("a finished job is plain data");
    let sent = clients.sfn.send_task_success().task_token(&token.0).output(output).send().await;
    delivery("states:SendTaskSuccess", sent)
}

fn delivery<T, E>(call: &'static str, sent: Result<T, SdkError<E, HttpResponse>>) -> Result<Delivery, AwsError>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match sent {
        Ok(_) => Ok(Delivery::Delivered),
        Err(error) => match error.code() {
            Some("TaskTimedOut" | "TaskDoesNotExist") => Ok(Delivery::TooLate),
            Some("InvalidToken") => Ok(Delivery::InvalidToken),
            _ => Err(AwsError::new(call, error)),
        },
    }
}
