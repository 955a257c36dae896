//! The rules that must hold after every scenario, whatever faults it had.

mod payment;
mod results;

use std::collections::BTreeSet;

use lambdas::errors;
use serde_json::Value;

use crate::clock::{HOUR, Ms};
use crate::content::Content;
use crate::identity::{CALLBACKS, Location, QUEUE_ENTRIES};
use crate::machine::{Execution, Status};
use crate::s3::refusal;
use crate::scenario::{Scenario, Upload};
use crate::world::{RESULTS, World};

/// The errors of AWS that a state may fail with. Those of the functions are in the catalogue; any other one is a bug.
const ERRORS_OF_AWS: &[&str] = &[
    "Lambda.SdkClientException",
    "Lambda.ServiceException",
    "Lambda.TooManyRequestsException",
    "Runtime.ExitError",
    "Sandbox.Timedout",
    "States.HeartbeatTimeout",
    "States.Timeout",
];

fn is_expected(error: &str) -> bool {
    errors::facts(error).is_some() || errors::INTERNAL.contains(&error) || ERRORS_OF_AWS.contains(&error)
}

/// Checks every rule and records the violations. Returns the number of callbacks that are left to the bucket's
/// lifecycle rule.
pub(super) fn all(world: &mut World, scenario: &Scenario) -> usize {
    let violations = [
        executions_end(world, scenario),
        errors_are_expected(world),
        results::videos_have_results(world),
        results::results_are_complete(world),
        results::results_do_not_change(world),
        payment::contents_are_paid_once(world),
        payment::successes_have_results(world),
        callbacks_and_entries_are_removed(world, scenario),
    ];
    for violation in violations.into_iter().flatten() {
        world.add_violation(violation);
    }
    world.s3.keys(RESULTS, CALLBACKS).count()
}

/// Every execution ends in time, and either succeeds or fails with an error that the video itself causes.
fn executions_end(world: &World, scenario: &Scenario) -> Vec<String> {
    let backfills = usize::from(scenario.backfill.is_some());
    let work = |upload: &Upload| upload.content.work() * (upload.events.len() + backfills) as Ms;
    let work: Ms = scenario.uploads.iter().map(work).sum();
    let longest = scenario.uploads.iter().map(|upload| upload.content.work()).max().unwrap_or_default();
    let manual = scenario.manual.len() as Ms * longest;
    // After a fault, it may take the longest heartbeat interval until an execution asks for the status again.
    let heartbeat = if scenario.is_fault_free() { 0 } else { 4 * HOUR };
    let held: Ms = scenario.other_workloads.iter().map(|workload| workload.until - workload.from).sum();
    let second = scenario.second_stack.map_or(0, |stack| Ms::from(stack.jobs) * stack.job_ms);
    let limit = (work + manual) / scenario.slots as Ms + longest + held + second + 2 * HOUR + heartbeat;
    let mut violations = Vec::new();
    for execution in &world.executions {
        let Execution { name, entered, ended, status, .. } = execution;
        match status {
            Status::Running => violations.push(format!("{name} waits forever in {}", execution.state())),
            // `World::end` records a timeout as a violation.
            Status::Succeeded(_) | Status::Replaced | Status::TimedOut => {}
            Status::Aborted | Status::Failed(_) if execution.given_up => {}
            Status::Aborted => violations.push(format!("{name} ended as {status:?}")),
            Status::Failed(failure) if world.is_final(execution) => {
                if failure.cause.is_empty() {
                    violations.push(format!("{name} failed with {} but without a cause", failure.error));
                }
            }
            Status::Failed(failure) => violations.push(format!("{name} still fails after every repair: {failure}")),
        }
        let took = ended.saturating_sub(*entered.max(&scenario.faults_end));
        if took > limit {
            violations
                .push(format!("{name} took {took} ms after the faults had ended, and may take at most {limit} ms"));
        }
    }
    violations
}

/// Every error of a state is expected, from the functions or from AWS.
fn errors_are_expected(world: &World) -> Vec<String> {
    let errors = world.coverage.keys().filter_map(|event| event.split_once(" failed: "));
    let unknown = errors.filter(|(_, error)| !is_expected(error));
    unknown.map(|(state, error)| format!("{state} failed with the unexpected error {error}")).collect()
}

/// No callback of an open task and no queue entry is left. Without faults, no callback is left at all. With faults,
/// callbacks of closed tasks may remain until they expire: if an execution failed and was not redriven, or if a
/// function was killed after it had sent a callback and before it removed it.
fn callbacks_and_entries_are_removed(world: &World, scenario: &Scenario) -> Vec<String> {
    let mut violations = Vec::new();
    for (key, object) in world.s3.keys(RESULTS, CALLBACKS) {
        let Ok(callback) = serde_json::from_slice::<Value>(&object.body) else { continue };
        let Some(token) = callback["task_token"].as_str() else { continue };
        if world.is_open(token) {
            violations.push(format!("{key} waits forever"));
        }
        if scenario.is_fault_free() && scenario.aborts.is_empty() {
            violations.push(format!("{key} was not removed"));
        }
    }
    // The next invocation that reads the queue removes every entry that is not needed.
    violations.extend(world.s3.keys(RESULTS, QUEUE_ENTRIES).map(|(key, _)| format!("{key} was not removed")));
    violations
}

impl Content {
    /// The total duration of its jobs, including the ones that fail.
    fn work(&self) -> Ms {
        self.job_ms * Ms::from(self.failures + 1)
    }
}

impl World {
    /// While a task waits and its function has returned, its callback is stored, and its job was started or is in the
    /// queue: only an older attempt of the task, which still runs, could have removed them. A function that was killed, or
    /// whose calls failed, may have removed the entry and sent no callback. `since` is when the task began.
    pub(super) fn check_waiting_task(&mut self, token: &str, since: Ms) {
        let stored = self.s3.keys(RESULTS, CALLBACKS).find(|(_, object)| {
            serde_json::from_slice::<Value>(&object.body).is_ok_and(|callback| callback["task_token"] == token)
        });
        let Some(mut parts) = stored.map(|(key, _)| key.split('/').skip(1)) else {
            return self.add_violation(format!("the callback of {token} was removed while it waited"));
        };
        let (idempotency_key, execution) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let started = self.rekognition.jobs.values().any(|job| job.idempotency_key == idempotency_key);
        let queued = self.s3.keys(RESULTS, QUEUE_ENTRIES).any(|(key, _)| key.contains(&format!("-{execution}/")));
        if !started && !queued && self.last_disturbance < since {
            self.add_violation(format!("the queue entry of {token} was removed while it waited"));
        }
    }

    /// Whether the operator has given up an execution for the key.
    pub(super) fn was_given_up(&self, key: &str) -> bool {
        let mut given_up = self.executions.iter().filter(|execution| execution.given_up);
        given_up.any(|execution| execution.video().is_some_and(|video| video.key == key))
    }

    /// Whether an execution has failed because of its input or video, so that a redrive cannot help.
    pub(super) fn is_final(&self, execution: &Execution) -> bool {
        let Status::Failed(failure) = &execution.status else { return false };
        let Some(Location { bucket, key, version }) = execution.video() else {
            return failure.error == "InvalidInput";
        };
        if failure.error == "VideoReplaced" {
            // Another content was uploaded under the key, and has an execution.
            let until = execution.ended;
            let uploaded = self.uploaded.iter().filter(|(at, other, _)| *other == key && *at <= until);
            let contents: BTreeSet<_> = uploaded.clone().map(|(.., object)| &object.etag).collect();
            return contents.len() > 1 && uploaded.clone().all(|(.., object)| object.kept_version().is_none());
        }
        if refusal(&bucket, version.as_deref()).is_some() {
            return failure.error == "VideoUnreadable";
        }
        match self.s3.get(&bucket, &key, version.as_deref()) {
            None => failure.error == "VideoNotFound",
            Some(object) => self.contents[&object.etag].kind.errors().contains(&failure.error.as_str()),
        }
    }
}
