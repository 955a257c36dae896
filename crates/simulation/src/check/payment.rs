//! What is paid: one job a content, and another one only if the last one failed or has expired and somebody wants it.

use std::collections::BTreeMap;

use crate::identity::idempotency_key;
use crate::rekognition::{JobOutcome, RETENTION};
use crate::world::World;

/// The attempts for which the checks know the idempotency key: more than one content ever has.
const MAX_ATTEMPTS: u64 = 30;

/// A content is analysed again only if its last job failed or its results have expired.
pub(super) fn contents_are_paid_once(world: &World) -> Vec<String> {
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

/// The idempotency key of every job that may be started, with the number of its content.
fn identities(world: &World) -> BTreeMap<String, usize> {
    let mut keys = BTreeMap::new();
    let started: std::collections::BTreeSet<_> =
        world.rekognition.jobs.values().map(|job| (&job.key, &job.topic)).collect();
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
