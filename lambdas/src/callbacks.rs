//! Callbacks: the end of a job, sent to the executions that wait for it.

use aws_sdk_sfn::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

use serde::Serialize;

use crate::{
    aws::{AwsError, Clients},
    completed_job::CompletedJob,
    job::{FinishedJob, FirstPage},
    list_pages::Window,
    metrics::{self, Metric},
    pending_callbacks::{PendingCallback, TaskToken},
    retry::while_throttled,
    store::Store,
};

/// Step Functions takes a cause of at most 32,768 characters
/// (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskFailure.html>).
const MAX_CAUSE_CHARS: usize = 32_768;

/// The error name of a job that ended without a result.
pub(crate) const JOB_FAILED: &str = "JobFailed";

/// How a job ended, as it is sent to the executions.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Its pages can be read.
    Succeeded(FirstPage),
    /// It ended without a result.
    JobFailed {
        /// The reason that Rekognition gives.
        reason: String,
    },
    /// It could not be started.
    NotStarted {
        /// The stable name that Step Functions shows as `Error`.
        error: &'static str,
        /// The sentence that Step Functions shows as `Cause`.
        cause: String,
    },
}

impl Store<'_> {
    /// Sends the end of a job to its callbacks and deletes them.
    ///
    /// An execution that was started or redriven after the end of a failed job was seen is left out: it wants a new job, and
    /// its queue entry will start one.
    ///
    /// # Errors
    /// As [`notify_all`](Self::notify_all).
    pub async fn notify(
        self,
        completed: &CompletedJob,
        outcome: &Outcome,
        mut callbacks: Vec<PendingCallback>,
    ) -> Result<(), AwsError> {
        if matches!(outcome, Outcome::JobFailed { .. }) {
            callbacks.retain(|callback| !completed.precedes(callback.entered_ms));
        }
        self.notify_all(&completed.job_id, outcome, callbacks).await
    }

    /// Sends an outcome to each of these callbacks and deletes them.
    ///
    /// A callback whose task has ended (it was late, or sent twice) is deleted as well: no execution waits for it.
    ///
    /// # Errors
    /// The first [`AwsError`], after every callback was tried. The callbacks that remain are sent by the next attempt.
    pub async fn notify_all(
        self,
        job_id: &str,
        outcome: &Outcome,
        callbacks: Vec<PendingCallback>,
    ) -> Result<(), AwsError> {
        let mut first_error = None;
        for callback in callbacks {
            let execution_name = &callback.execution_name;
            match self.send(job_id, outcome, &callback).await {
                Ok(delivery) => {
                    if delivery == Delivery::TooLate {
                        metrics::emit(self.clients, &[Metric::LateCallbacks(1)]);
                    }
                    let (idempotency_key, key) = (callback.job.idempotency_key(), &callback.job.video().key);
                    tracing::info!(execution_name, idempotency_key, key, job_id, ?delivery, "sent a callback");
                }
                Err(error) => {
                    tracing::warn!(execution_name, job_id, %error, "a callback could not be sent yet");
                    first_error.get_or_insert(error);
                }
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    async fn send(self, job_id: &str, outcome: &Outcome, callback: &PendingCallback) -> Result<Delivery, AwsError> {
        let token = &callback.task_token;
        let delivery = match outcome {
            Outcome::Succeeded(FirstPage { metadata, next_token }) => {
                let job = callback.job.finished(job_id, metadata);
                send_success(self.clients, token, &Detected { job, window: Window::first(next_token.clone()) }).await?
            }
            Outcome::JobFailed { reason } => {
                let cause = format!("{reason} (face detection job {job_id})");
                send_failure(self.clients, token, JOB_FAILED, &cause).await?
            }
            Outcome::NotStarted { error, cause } => send_failure(self.clients, token, error, cause).await?,
        };
        self.delete_callback(callback).await?;
        Ok(delivery)
    }
}

/// The result of sending a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The execution continues.
    Delivered,
    /// The task had ended: a late or second callback, which does no harm.
    TooLate,
    /// Step Functions has never issued this token.
    InvalidToken,
}

/// Sends `SendTaskFailure` with a stable error name.
///
/// # Errors
/// [`AwsError`]; a task that has ended is not an error.
pub async fn send_failure(
    clients: &Clients,
    token: &TaskToken,
    error: &str,
    cause: &str,
) -> Result<Delivery, AwsError> {
    let cause: String = cause.chars().take(MAX_CAUSE_CHARS).collect();
    deliver("states:SendTaskFailure", async || {
        clients.sfn.send_task_failure().task_token(&token.0).error(error).cause(&cause).send().await
    })
    .await
}

/// The output of the state `StartDetection`.
#[derive(Debug, PartialEq, Serialize)]
pub struct Detected {
    /// The job that has succeeded.
    pub job: FinishedJob,
    /// The first page, which can be fetched now.
    pub window: Window,
}

/// Sends `SendTaskSuccess` with a finished job and its first page.
///
/// # Errors
/// [`AwsError`]; a task that has ended is not an error.
async fn send_success(clients: &Clients, token: &TaskToken, detected: &Detected) -> Result<Delivery, AwsError> {
    let output = serde_json::to_string(detected).expect("a finished job is plain data");
    deliver("states:SendTaskSuccess", async || {
        clients.sfn.send_task_success().task_token(&token.0).output(&output).send().await
    })
    .await
}

/// Asks with `SendTaskHeartbeat` whether the task of a token still waits for its callback. For an open task, this restarts the
/// time of its heartbeat.
///
/// Nothing reports that an execution was stopped or has timed out, so a stored callback alone does not mean that an execution
/// waits. Step Functions answers a heartbeat of a closed task with `TaskTimedOut` or `TaskDoesNotExist`
/// (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskHeartbeat.html>).
///
/// # Errors
/// [`AwsError`]; a closed task is not an error.
pub async fn is_waiting(clients: &Clients, token: &TaskToken) -> Result<bool, AwsError> {
    let delivery = deliver("states:SendTaskHeartbeat", async || {
        clients.sfn.send_task_heartbeat().task_token(&token.0).send().await
    });
    Ok(delivery.await? == Delivery::Delivered)
}

/// Makes a call with a task token, again while it is throttled. `name` is the action as IAM names it.
async fn deliver<T, E>(
    name: &'static str,
    mut send: impl AsyncFnMut() -> Result<T, SdkError<E, HttpResponse>>,
) -> Result<Delivery, AwsError>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    while_throttled(async || match send().await {
        Ok(_) => Ok(Delivery::Delivered),
        Err(error) => match error.code() {
            Some("TaskTimedOut" | "TaskDoesNotExist") => Ok(Delivery::TooLate),
            Some("InvalidToken") => Ok(Delivery::InvalidToken),
            _ => Err(AwsError::new(name, error)),
        },
    })
    .await
}
