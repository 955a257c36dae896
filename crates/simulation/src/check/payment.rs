//! What is paid: one job a content, another one only for a person or an event that asks for it after the last one failed or
//! expired, and each of them for a result.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::clock::{HOUR, MINUTE, Ms};
use crate::identity::{COMPLETED_JOBS, idempotency_key};
use crate::machine::{Execution, Status};
use crate::rekognition::{JobOutcome, RETENTION, SimulatedJob};
use crate::world::{RESULTS, World};

/// The attempts for which the checks know the idempotency key: more than one content ever has.
const MAX_ATTEMPTS: u64 = 30;

/// How soon after its start a job is recorded, unless there is a fault.
const RECORDED_WITHIN: Ms = MINUTE;

/// A content is analysed again only if its last job failed or its results have expired, and an execution was started or
/// redriven for it since. A second delivery of an event is not another request: its time is the event's.
pub(super) fn contents_are_paid_once(world: &World) -> Vec<String> {
    let mut jobs: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let identities = identities(world);
    let mut violations = Vec::new();
    for job in world.rekognition.jobs.values() {
        match identities.get(&job.idempotency_key) {
            Some(identity) => jobs.entry(*identity).or_default().push(job),
            None => violations.push(format!(
                "the idempotency key {} of a job for {} does not belong to a content",
                job.idempotency_key, job.key
            )),
        }
    }
    for jobs in jobs.values_mut() {
        jobs.sort_by_key(|job| job.started);
        for (earlier, later) in jobs.iter().zip(jobs.iter().skip(1)) {
            let failed = matches!(earlier.outcome, JobOutcome::Fails(_)) && !earlier.runs(later.started);
            if !failed && later.started < earlier.started + RETENTION {
                violations.push(format!("{} was paid twice: {earlier} and {later}", later.key));
            }
            let since = earlier.ends.saturating_sub(world.clock_skew);
            let mut requests = world.executions_for(later).flat_map(|execution| &execution.requested);
            let requested = requests.any(|at| (since..=later.started).contains(at));
            if !requested && !world.start_was_not_recorded(earlier, later) {
                violations.push(format!("{} was paid again and not requested again: {earlier} and {later}", later.key));
            }
        }
    }
    violations
}

/// Every job that has succeeded has a result, if an execution waited for it and was repaired in time.
pub(super) fn successes_have_results(world: &World) -> Vec<String> {
    let manifests = world.s3.writes(RESULTS).iter().filter(|write| write.key.ends_with("/manifest.json"));
    let complete: BTreeSet<_> = manifests
        .filter_map(|write| {
            let manifest: Value = serde_json::from_slice(&write.body).ok()?;
            manifest["job"]["job_id"].as_str().map(str::to_owned)
        })
        .collect();
    let lost = world.rekognition.jobs.values().filter(|job| {
        let succeeds = matches!(job.outcome, JobOutcome::Succeeds(_));
        succeeds && !complete.contains(&job.id) && world.is_waited_for(job)
    });
    lost.map(|job| format!("{} was paid and has no result: {job}", job.key)).collect()
}

/// The idempotency key of every job that may be started, with the number of its content.
fn identities(world: &World) -> BTreeMap<String, usize> {
    let mut keys = BTreeMap::new();
    let started: BTreeSet<_> = world.rekognition.jobs.values().map(|job| (&job.key, &job.topic)).collect();
    for (index, (key, topic)) in started.into_iter().enumerate() {
        let uploaded = world.uploaded.iter().filter(|(_, uploaded, _)| uploaded == key);
        for (number, (_, _, object)) in uploaded.enumerate() {
            let content = object.kept_version().unwrap_or_else(|| object.etag.clone());
            for attempt in 0..MAX_ATTEMPTS {
                let identity = idempotency_key(key, &content, topic, attempt);
                // Equal contents have equal idempotency keys, and the first number is kept.
                if keys.contains_key(&identity) {
                    break;
                }
                keys.insert(identity, index * 1000 + number);
            }
        }
    }
    keys
}

impl World {
    /// The executions that may want a job: their inputs name its object, and no other version of it.
    fn executions_for<'a>(&'a self, job: &'a SimulatedJob) -> impl Iterator<Item = &'a Execution> {
        self.executions.iter().filter(|execution| {
            execution.video().is_some_and(|video| {
                video.key == job.key && video.version.is_none_or(|version| job.version() == Some(version.as_str()))
            })
        })
    }

    /// Whether Rekognition has forgotten the token of a failed job, and a fault prevented the record of the job's id: then
    /// no function can know that there was a job.
    fn start_was_not_recorded(&self, earlier: &SimulatedJob, later: &SimulatedJob) -> bool {
        let recorded = self.recorded_jobs.iter().any(|(at, _, id)| *at <= later.started && *id == earlier.id);
        let window = earlier.started..earlier.started + RECORDED_WITHIN;
        let fault = self.fault_times.iter().any(|at| window.contains(at));
        self.unspecified.failed_tokens_forgotten && !recorded && fault
    }

    /// Whether an execution waited for a job, and was not left alone by the operator until the results had expired.
    fn is_waited_for(&self, job: &SimulatedJob) -> bool {
        let expires = job.ends + RETENTION - HOUR;
        let object = self.s3.get(&job.bucket, &job.key, job.version());
        let object_is_gone = object.is_none_or(|object| !job.has_analysed(&self.contents[&object.etag]));
        let runs_meanwhile = |execution: &&Execution| {
            execution.runs.iter().any(|(from, until)| *from <= job.ends && job.started <= *until)
        };
        let late = |execution: &Execution| {
            let mut successors = self.executions.iter().filter(|other| other.original() == execution.original());
            // A replacement inspects the object again.
            let replaced = |other: &Execution| object_is_gone && other.status == Status::Replaced;
            let late =
                |other: &Execution| other.given_up || replaced(other) || other.repaired.iter().any(|at| *at >= expires);
            self.topic != job.topic || successors.any(late)
        };
        let waiting: Vec<_> = self.executions_for(job).filter(runs_meanwhile).map(late).collect();
        let uploaded = self.uploaded.iter().filter(|(_, key, _)| *key == job.key);
        let contents: BTreeSet<_> = uploaded.map(|(.., object)| &object.etag).collect();
        // Of a video that was overwritten, the input of an execution does not say which content it wants.
        if contents.len() > 1 { !waiting.is_empty() && !waiting.contains(&true) } else { waiting.contains(&false) }
    }

    /// An execution that was requested after the failure of a job was recorded does not get that failure: it wants another
    /// job.
    pub(crate) fn check_failure(&mut self, execution: usize, cause: &str) {
        let execution = &self.executions[execution];
        let Some(requested) = execution.requested.last() else { return };
        // Seen by a function with a late clock.
        let mut seen = self.recorded_jobs.iter().filter(|(at, ..)| at + self.clock_skew < *requested);
        if seen.any(|(_, key, id)| key.starts_with(COMPLETED_JOBS) && cause.contains(id)) {
            let violation =
                format!("{} failed with a job whose failure was recorded before it was requested", execution.name);
            self.add_violation(violation);
        }
    }
}
