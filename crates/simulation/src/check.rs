//! The rules that must hold after every scenario, whatever faults it had.

use std::collections::{BTreeMap, BTreeSet};

use lambdas::errors;
use lambdas::job::{FaceAttributes, Job, JobParameters};
use lambdas::layout;
use lambdas::pending_callbacks::PendingCallback;
use lambdas::results::{Manifest, Summary};
use lambdas::video::{Location, Video};

use crate::clock::{HOUR, Ms};
use crate::content::Content;
use crate::machine::{Execution, Status};
use crate::rekognition::{JobOutcome, RETENTION};
use crate::scenario::Scenario;
use crate::world::{RESULTS, UPLOADS, World};

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
        videos_have_results(world),
        results_are_complete(world),
        pages_of_a_manifest_do_not_change(world),
        contents_are_paid_once(world),
        callbacks_and_entries_are_removed(world, scenario),
    ];
    for violation in violations.into_iter().flatten() {
        world.add_violation(violation);
    }
    world.s3.keys(RESULTS, layout::CALLBACKS).count()
}

/// Every execution ends in time, and either succeeds or fails with an error that the video itself causes.
fn executions_end(world: &World, scenario: &Scenario) -> Vec<String> {
    let work: Ms = scenario.uploads.iter().map(|upload| upload.content.work() * upload.events.len() as Ms).sum();
    let longest = scenario.uploads.iter().map(|upload| upload.content.work()).max().unwrap_or_default();
    let manual = scenario.manual.len() as Ms * longest;
    // After a fault, it may take the longest heartbeat interval until an execution asks for the status again.
    let heartbeat = if scenario.is_fault_free() { 0 } else { 4 * HOUR };
    let limit = (work + manual) / scenario.slots as Ms + longest + 2 * HOUR + heartbeat;
    let mut violations = Vec::new();
    for execution in &world.executions {
        let Execution { name, entered, ended, status, .. } = execution;
        match status {
            Status::Running => violations.push(format!("{name} waits forever in {}", execution.state())),
            // `World::end` records a timeout as a violation.
            Status::Succeeded(_) | Status::Replaced | Status::TimedOut => {}
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

/// Every good video in the upload bucket has a result.
fn videos_have_results(world: &World) -> Vec<String> {
    let found: BTreeSet<_> = manifests(world).map(|(_, manifest)| identity(&manifest.video)).collect();
    let objects = world.s3.all(UPLOADS);
    let missing = objects.filter(|(key, object)| {
        let video = (key.to_string(), object.kept_version(), object.etag.clone());
        world.contents[&object.etag].kind.errors().is_empty() && !found.contains(&video)
    });
    missing.map(|(key, object)| format!("{key} {:?} has no result", object.version)).collect()
}

/// Every manifest is true: each object that it names exists, with exactly the faces that Rekognition has found.
fn results_are_complete(world: &World) -> Vec<String> {
    let uploads: BTreeMap<_, usize> = world.uploaded.iter().fold(BTreeMap::new(), |mut counts, (key, _)| {
        *counts.entry(key.clone()).or_default() += 1;
        counts
    });
    let mut violations = Vec::new();
    for (key, manifest) in manifests(world) {
        let mut violation = |what: String| violations.push(format!("{key}: {what}"));
        let object = |key: &str| world.s3.get(RESULTS, key, None).map(|object| object.body.clone());
        let Some(job) = world.rekognition.jobs.get(&manifest.job.job_id) else {
            violation(format!("the job {} does not exist", manifest.job.job_id));
            continue;
        };
        let JobOutcome::Succeeds(content) = &job.outcome else {
            violation(format!("the job {} failed", job.id));
            continue;
        };
        // Without versions, Rekognition may read a newer object than the one that start-detection has inspected.
        let may_be_newer = manifest.video.version_id.is_none() && uploads[&manifest.video.key] > 1;
        if *content != world.contents[&manifest.video.etag] && !may_be_newer {
            violation("the faces belong to another video".to_owned());
        }
        let mut lines = Vec::new();
        for page in &manifest.pages {
            let body = object(&page.key).unwrap_or_default();
            if body.len() != page.bytes || body.split(|byte| *byte == b'\n').count() != page.faces + 1 {
                violation(format!("{} does not have {} faces in {} bytes", page.key, page.faces, page.bytes));
            }
            lines.extend_from_slice(&body);
        }
        if lines != content.lines().as_bytes() || manifest.faces != content.faces {
            violation(format!("its {} faces are not the {} that Rekognition found", manifest.faces, content.faces));
        }
        let summary = object(&manifest.summary.key).and_then(|body| serde_json::from_slice::<Summary>(&body).ok());
        if summary.is_none_or(|summary| summary.faces != manifest.faces || summary.video != manifest.video) {
            violation("its summary is missing or belongs to another result".to_owned());
        }
        // Executions that summarize the same job at the same time overwrite each other's report: both must have the
        // size.
        if object(&manifest.report.key).is_none_or(|body| body.len() != manifest.report.bytes) {
            violation("its report is missing or has another size".to_owned());
        }
    }
    violations
}

/// A manifest is written after its pages, and the pages do not change after that.
fn pages_of_a_manifest_do_not_change(world: &World) -> Vec<String> {
    let (mut written, mut complete, mut violations) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for write in world.s3.writes(RESULTS) {
        if let Some(etag) = complete.get(&write.key)
            && *etag != write.etag
        {
            violations.push(format!("{} was changed after its manifest was written", write.key));
        }
        written.insert(write.key.clone(), write.etag.clone());
        if write.key.ends_with("/manifest.json") {
            let manifest: Manifest = serde_json::from_slice(&write.body).expect("a manifest");
            for page in manifest.pages {
                match written.get(&page.key) {
                    Some(etag) => _ = complete.insert(page.key, etag.clone()),
                    None => violations.push(format!("{} was written before {}", write.key, page.key)),
                }
            }
        }
    }
    violations
}

/// A content is analysed again only if its last job failed or its results have expired.
fn contents_are_paid_once(world: &World) -> Vec<String> {
    let mut jobs: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let identities = identities(world);
    let mut requested: BTreeMap<_, u64> = BTreeMap::new();
    for execution in &world.executions {
        if let Some(video) = execution.video() {
            *requested.entry(video.key).or_default() += 1 + execution.redrives;
        }
    }
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
                violations.push(format!("{} was paid twice: {earlier:?} {later:?}", later.key));
            }
        }
        // Each execution and each redrive may pay once; a missed heartbeat must not pay again.
        let key = &jobs[0].key;
        let requested = requested.get(key).copied().unwrap_or_default();
        if jobs.len() as u64 > requested {
            violations.push(format!("{key} was paid {} times for {requested} executions and redrives", jobs.len()));
        }
    }
    violations
}

/// No callback of an open task and no queue entry is left. Without faults, no callback is left at all. With faults,
/// callbacks of closed tasks may remain until they expire: if an execution failed and was not redriven, or if a
/// function was killed after it had sent a callback and before it removed it.
fn callbacks_and_entries_are_removed(world: &World, scenario: &Scenario) -> Vec<String> {
    let mut violations = Vec::new();
    for (key, object) in world.s3.keys(RESULTS, layout::CALLBACKS) {
        let Ok(callback) = serde_json::from_slice::<PendingCallback>(&object.body) else { continue };
        if world.is_open(&callback.task_token.0) {
            violations.push(format!("{key} waits forever"));
        }
        if scenario.is_fault_free() && scenario.aborts.is_empty() {
            violations.push(format!("{key} was not removed"));
        }
    }
    // The next invocation that reads the queue removes every entry that is not needed.
    violations.extend(world.s3.keys(RESULTS, layout::QUEUE_ENTRIES).map(|(key, _)| format!("{key} was not removed")));
    violations
}

fn manifests(world: &World) -> impl Iterator<Item = (&str, Manifest)> {
    let documents = world.s3.keys(RESULTS, layout::RESULTS).filter(|(key, _)| key.ends_with("/manifest.json"));
    documents.map(|(key, object)| (key, serde_json::from_slice(&object.body).expect("a manifest")))
}

fn identity(video: &Video) -> (String, Option<String>, String) {
    (video.key.clone(), video.version_id.clone(), video.etag.clone())
}

/// The idempotency key of every job that may be started, with the number of its content.
fn identities(world: &World) -> BTreeMap<String, usize> {
    let mut keys = BTreeMap::new();
    let started: BTreeSet<_> = world.rekognition.jobs.values().map(|job| (&job.key, &job.topic)).collect();
    let mut uploaded: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (key, object) in &world.uploaded {
        uploaded.entry(key).or_default().push(object);
    }
    for (index, (key, topic)) in started.into_iter().enumerate() {
        for (content, object) in uploaded.get(key).into_iter().flatten().enumerate() {
            let video = Video {
                bucket: UPLOADS.to_owned(),
                key: key.clone(),
                version_id: object.kept_version(),
                etag: object.etag.clone(),
                bytes: object.size,
            };
            let mut job = Job::from(JobParameters {
                video,
                face_attributes: FaceAttributes::Default,
                topic_arn: topic.clone(),
                role_arn: "arn:aws:iam::123456789012:role/publish".to_owned(),
                attempt: 0,
            });
            // Equal contents have equal idempotency keys, and the first number is kept.
            while job.attempt() < 20 && !keys.contains_key(job.idempotency_key()) {
                keys.insert(job.idempotency_key().to_owned(), index * 1000 + content);
                job = job.next_attempt();
            }
        }
    }
    keys
}

impl Content {
    /// The total duration of its jobs, including the ones that fail.
    fn work(&self) -> Ms {
        self.job_ms * Ms::from(self.failures + 1)
    }
}

impl World {
    /// Whether an execution has failed because of its input or video, so that a redrive cannot help.
    pub(super) fn is_final(&self, execution: &Execution) -> bool {
        let Status::Failed(failure) = &execution.status else { return false };
        let Some(Location { bucket, key, version_id }) = execution.video() else {
            return failure.error == "InvalidInput";
        };
        match self.s3.get(&bucket, &key, version_id.as_deref()) {
            None => failure.error == "VideoNotFound",
            Some(object) => self.contents[&object.etag].kind.errors().contains(&failure.error.as_str()),
        }
    }
}
