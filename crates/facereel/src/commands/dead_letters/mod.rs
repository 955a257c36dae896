//! `facereel replay --dead-letters`: undelivered events are delivered again, and each is removed from its dead-letter queue
//! only after that has worked.
//!
//! The messages are received first, so that the command can show what it would do. Meanwhile other receivers do not see them.
//! Those that are not delivered are made visible again.

mod message;
mod queue;
mod report;

use std::{collections::HashSet, time::Duration};

use aws_sdk_lambda::primitives::Blob;
use futures_util::{StreamExt as _, stream};
use serde_json::Value;

pub use queue::DeadLetterQueue;
pub use report::{DeadLetterDocument, DeadLetterOutcome, DeadLetterReport, DeadLetterRow};

use crate::commands::{
    backfill::has_result,
    batch::until_stopped,
    consent::{BilledAnalysis, Consent},
};
use crate::deployed::{CONCURRENT_CALLS, Deployed, Error, Video};
use crate::terminal::{Choice, Stop};
use local_stack::Progress;
use message::{UndeliveredCompletion, UndeliveredUpload};
use queue::{Received, VISIBILITY_TIMEOUT_SECONDS};

/// The interval at which the messages are kept invisible to other receivers: less than half of the visibility timeout, so that
/// one failed call has no effect.
const KEEP_INVISIBLE_EVERY: Duration = Duration::from_mins(2);

/// Delivers every message again, as far as `consent` and the answer of the user allow. When `stop` resolves, deliveries in
/// progress are completed and no more are started.
///
/// # Errors
/// [`Error`], if a queue cannot be read. The failed delivery of a single message is in the report.
pub async fn replay(
    deployed: &Deployed,
    progress: &dyn Progress,
    consent: Consent,
    ask: impl AsyncFnOnce(&str) -> Choice,
    stop: &Stop,
) -> Result<DeadLetterReport, Error> {
    let results_bucket = deployed.results_bucket().await?;
    let mut received = [
        Received::none(deployed, DeadLetterQueue::Uploads).await?,
        Received::none(deployed, DeadLetterQueue::Completions).await?,
    ];
    let mut report = DeadLetterReport::new(consent.dry_run);
    let received_all = receive_all(&mut received, progress, stop).await;
    if matches!(received_all, Ok(true)) {
        let replay = DeadLetters { deployed, results_bucket: &results_bucket, received: &received };
        tokio::select! {
            () = replay.plan_and_deliver(progress, consent, ask, stop, &mut report) => {}
            () = keep_invisible(&received) => {}
        }
    }
    let removed: HashSet<_> = report.rows.iter().filter(|row| row.is_removed()).map(|row| &row.message_id).collect();
    for received in &received {
        received.set_visibility(received.messages.keys().filter(|id| !removed.contains(id)), 0).await;
    }
    report.interrupted |= !received_all?;
    Ok(report)
}

/// Receives the messages of all queues. Returns whether `stop` did not resolve before.
async fn receive_all(received: &mut [Received<'_>], progress: &dyn Progress, stop: &Stop) -> Result<bool, Error> {
    progress.step("Receiving the undelivered messages");
    for received in received {
        if !received.receive_all(progress, stop).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Keeps all messages invisible to other receivers. Never returns.
async fn keep_invisible(received: &[Received<'_>]) {
    loop {
        tokio::time::sleep(KEEP_INVISIBLE_EVERY).await;
        for received in received {
            received.set_visibility(received.messages.keys(), VISIBILITY_TIMEOUT_SECONDS).await;
        }
    }
}

/// What to do with a message.
enum Plan {
    /// Start the execution that `EventBridge` could not start.
    Start { upload: UndeliveredUpload, billed: Option<BilledAnalysis> },
    /// Only remove it, because the video has a result.
    Remove(Video),
    /// Send it to `resume-execution`.
    Resume(UndeliveredCompletion),
    /// Nothing, for this reason.
    Nothing { subject: Option<Video>, why: String },
}

/// A message, and what to do with it.
pub(crate) struct Letter<'a> {
    received: &'a Received<'a>,
    message_id: &'a String,
    plan: Plan,
}

/// The messages of both queues.
struct DeadLetters<'a> {
    deployed: &'a Deployed,
    results_bucket: &'a str,
    received: &'a [Received<'a>],
}

impl<'a> DeadLetters<'a> {
    /// Decides what to do with each message, asks before something is billed, and does it.
    async fn plan_and_deliver(
        &self,
        progress: &dyn Progress,
        consent: Consent,
        ask: impl AsyncFnOnce(&str) -> Choice,
        stop: &Stop,
        report: &mut DeadLetterReport,
    ) {
        let plan = async {
            let mut letters = self.plan_all(progress).await;
            consent.read_lengths(self.deployed, progress, letters.iter_mut().filter_map(Letter::billed_mut)).await;
            let billed: Vec<_> = letters.iter().filter_map(Letter::billed).collect();
            let can_be_delivered = letters.iter().filter(|letter| !matches!(letter.plan, Plan::Nothing { .. })).count();
            let choice = consent.choose("Deliver", &billed, can_be_delivered - billed.len(), ask).await;
            (letters, choice)
        };
        let (letters, choice) = tokio::select! {
            planned = plan => planned,
            () = stop.clone() => {
                report.interrupted = true;
                return;
            }
        };
        let mut due = Vec::new();
        for letter in letters {
            match letter.outcome_without_delivery(choice, consent.dry_run) {
                Some(outcome) => report.push(&letter, outcome),
                None => due.push(letter),
            }
        }
        if !due.is_empty() {
            self.deliver_all(due, progress, stop, report).await;
        }
    }

    /// What to do with each message. Of several messages about the same content, only the first one is billed.
    async fn plan_all(&self, progress: &dyn Progress) -> Vec<Letter<'a>> {
        progress.step("Inspecting the messages");
        let messages = self.received.iter().flat_map(|received| {
            let mut messages: Vec<_> = received.messages.iter().collect();
            messages.sort_by_key(|(id, _)| *id);
            messages.into_iter().map(move |(id, message)| (received, id, message))
        });
        let mut letters: Vec<_> = stream::iter(messages.collect::<Vec<_>>())
            .map(|(received, message_id, message)| async move {
                let plan = self.plan(received.queue, message.body().unwrap_or_default()).await;
                Letter { received, message_id, plan }
            })
            .buffered(CONCURRENT_CALLS)
            .collect()
            .await;
        let mut seen = HashSet::new();
        for letter in &mut letters {
            if let Plan::Start { upload, billed } = &mut letter.plan
                && !seen.insert((upload.video.clone(), upload.content.etag.clone()))
            {
                *billed = None;
            }
        }
        letters
    }

    /// What to do with a message.
    ///
    /// Nothing is started for a video that has a result. The message may be up to two weeks old, and a backfill, for example,
    /// may have analysed the video since. If that job is more than 7 days old, another execution would start, and pay for,
    /// a new one.
    async fn plan(&self, queue: DeadLetterQueue, body: &str) -> Plan {
        match queue {
            DeadLetterQueue::Uploads => {
                let upload = match UndeliveredUpload::read(body) {
                    Ok(upload) => upload,
                    Err(error) => return Plan::Nothing { subject: None, why: error.to_string() },
                };
                let video = upload.video.clone();
                match has_result(self.deployed, self.results_bucket, &video.bucket, &upload.content).await {
                    Ok(true) => Plan::Remove(video),
                    Ok(false) => {
                        let (subject, why) = (video.short(), "its upload started no execution");
                        Plan::Start {
                            upload,
                            billed: Some(BilledAnalysis { video: Some(video), subject, why, length: None }),
                        }
                    }
                    Err(error) => Plan::Nothing { subject: Some(video), why: error.to_string() },
                }
            }
            DeadLetterQueue::Completions => match UndeliveredCompletion::read(body) {
                Ok(completion) => Plan::Resume(completion),
                Err(error) => Plan::Nothing { subject: None, why: error.to_string() },
            },
        }
    }

    /// Delivers these messages, several concurrently, until `stop` resolves.
    async fn deliver_all(
        &self,
        due: Vec<Letter<'a>>,
        progress: &dyn Progress,
        stop: &Stop,
        report: &mut DeadLetterReport,
    ) {
        progress.step("Delivering");
        let work = async |letter: &Letter<'a>| self.deliver(letter).await;
        let left = until_stopped(due, progress, stop, work, |letter, outcome| report.push(letter, outcome)).await;
        for letter in left {
            report.interrupted = true;
            report.push(&letter, DeadLetterOutcome::NotTried);
        }
    }

    /// Delivers a message, and removes it from the queue after that has worked.
    async fn deliver(&self, letter: &Letter<'_>) -> DeadLetterOutcome {
        let delivered = match &letter.plan {
            Plan::Start { upload, .. } => self.start(upload).await,
            Plan::Remove(_) => Ok(DeadLetterOutcome::HadResult),
            Plan::Resume(completion) => self.resume(completion).await,
            Plan::Nothing { why, .. } => Err(why.clone()),
        };
        match delivered {
            // If the removal fails, a second delivery has no effect: the execution name and the job are the same.
            Ok(outcome) => match letter.received.delete(letter.message_id).await {
                Ok(()) => outcome,
                Err(error) => DeadLetterOutcome::Failed { why: error.to_string() },
            },
            Err(why) => DeadLetterOutcome::Failed { why },
        }
    }

    /// Starts the execution that `EventBridge` could not start. Its name contains the id of the event, so that an event that
    /// is delivered twice starts one execution.
    async fn start(&self, upload: &UndeliveredUpload) -> Result<DeadLetterOutcome, String> {
        let started = self
            .deployed
            .sfn
            .start_execution()
            .state_machine_arn(self.deployed.state_machine.to_string())
            .name(format!("undelivered-{}", upload.id))
            .input(&upload.event)
            .send()
            .await;
        match started {
            Ok(started) => Ok(DeadLetterOutcome::Started { arn: started.execution_arn }),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_execution_already_exists()) => {
                Ok(DeadLetterOutcome::WasStarted)
            }
            Err(error) => Err(Error::aws("states:StartExecution")(error).to_string()),
        }
    }

    /// Invokes `resume-execution` with the event and waits for its response.
    async fn resume(&self, completion: &UndeliveredCompletion) -> Result<DeadLetterOutcome, String> {
        let function = self.deployed.state_machine.named("resume-execution");
        let payload = Blob::new(completion.event.to_string());
        let response = self.deployed.lambda.invoke().function_name(&function).payload(payload).send().await;
        let response = response.map_err(|error| Error::aws("lambda:InvokeFunction")(error).to_string())?;
        if response.function_error.is_none() {
            return Ok(DeadLetterOutcome::Delivered);
        }
        let error: Value =
            response.payload.and_then(|payload| serde_json::from_slice(payload.as_ref()).ok()).unwrap_or_default();
        let text = |field: &str| error[field].as_str().unwrap_or("(none)").to_owned();
        Err(format!("{function} failed with {}: {}", text("errorType"), text("errorMessage")))
    }
}

impl Letter<'_> {
    fn billed(&self) -> Option<&BilledAnalysis> {
        match &self.plan {
            Plan::Start { billed, .. } => billed.as_ref(),
            _ => None,
        }
    }

    fn billed_mut(&mut self) -> Option<&mut BilledAnalysis> {
        match &mut self.plan {
            Plan::Start { billed, .. } => billed.as_mut(),
            _ => None,
        }
    }

    /// The outcome of a message that is not to be delivered. `None` for one that is.
    fn outcome_without_delivery(&self, choice: Choice, dry_run: bool) -> Option<DeadLetterOutcome> {
        match (&self.plan, choice) {
            (Plan::Nothing { why, .. }, _) => Some(DeadLetterOutcome::Failed { why: why.clone() }),
            (_, Choice::None) => Some(DeadLetterOutcome::Declined),
            (_, Choice::Free) if self.billed().is_some() => Some(DeadLetterOutcome::LeftOut),
            (_, Choice::NotAsked) if self.billed().is_some() => Some(DeadLetterOutcome::NotAgreed),
            _ => dry_run.then_some(DeadLetterOutcome::WouldBeDelivered),
        }
    }
}
