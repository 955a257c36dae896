//! What must hold after every story, whatever went wrong in it.

use std::collections::{BTreeMap, BTreeSet};

use lambdas::job::{FaceAttributes, Job};
use lambdas::pending_callbacks::PendingCallback;
use lambdas::results::{Manifest, Summary};
use lambdas::video::{Location, Video};

use crate::clock::{HOUR, Ms};
use crate::content::Content;
use crate::machine::{Execution, Status};
use crate::rekognition::{KEPT, Outcome};
use crate::story::Story;
use crate::world::{RESULTS, UPLOADS, World};

/// Names of errors that an attempt may fail with; whatever else turns up is a bug.
const NAMED: &[&str] = &[
    "InvalidInput",
    "JobFailed",
    "JobGone",
    "Lambda.SdkClientException",
    "Lambda.ServiceException",
    "Lambda.TooManyRequestsException",
    "LimitExceeded",
    "NotAVideo",
    "PageMissing",
    "PageTokenExpired",
    "Runtime.ExitError",
    "Sandbox.Timedout",
    "ServiceUnavailable",
    "States.HeartbeatTimeout",
    "States.Timeout",
    "Throttled",
    "VideoEmpty",
    "VideoNotFound",
    "VideoTooLarge",
    "VideoUnreadable",
];

/// Checks everything; returns how many callbacks are left to the bucket's lifecycle rule.
pub(super) fn all(world: &mut World, story: &Story) -> usize {
    let wrongs = [
        executions_end(world, story),
        errors_are_named(world),
        videos_have_results(world),
        results_are_complete(world),
        pages_stay_under_a_manifest(world),
        jobs_are_paid_once(world),
        nothing_is_left(world, story),
    ];
    for wrong in wrongs.into_iter().flatten() {
        world.wrong(wrong);
    }
    world.s3.keys(RESULTS, "callbacks/").count()
}

/// Every execution ends, in time, and in success or in an error that is the video's own fault.
fn executions_end(world: &World, story: &Story) -> Vec<String> {
    let work: Ms = story.uploads.iter().map(|upload| upload.content.work() * upload.events.len() as Ms).sum();
    let longest = story.uploads.iter().map(|upload| upload.content.work()).max().unwrap_or_default();
    let manual = story.manual.len() as Ms * longest;
    // After foul days it may be a heartbeat's longest interval until an execution asks again.
    let asks_again = if story.is_fair() { 0 } else { 4 * HOUR };
    let limit = (work + manual) / story.slots as Ms + longest + 2 * HOUR + asks_again;
    let mut wrongs = Vec::new();
    for execution in &world.executions {
        let Execution { name, entered, ended, status, .. } = execution;
        match status {
            Status::Running => wrongs.push(format!("{name} waits for ever in {}", execution.state())),
            // That it has timed out was said when it happened.
            Status::Succeeded(_) | Status::Replaced | Status::TimedOut => {}
            Status::Aborted => wrongs.push(format!("{name} ended as {status:?}")),
            Status::Failed(failure) if world.is_final(execution) => {
                if failure.cause.is_empty() {
                    wrongs.push(format!("{name} failed with {} and without a cause", failure.error));
                }
            }
            Status::Failed(failure) => wrongs.push(format!("{name} never gets past {failure}")),
        }
        let took = ended.saturating_sub(*entered.max(&story.calm_at));
        if took > limit {
            wrongs.push(format!("{name} took {took} ms on calm days, at most {limit} were needed"));
        }
    }
    wrongs
}

/// Every failed attempt has an error name of ours or of AWS's that is expected.
fn errors_are_named(world: &World) -> Vec<String> {
    let errors = world.met.keys().filter_map(|what| what.split_once(" failed: "));
    let unknown = errors.filter(|(_, error)| !NAMED.contains(error));
    unknown.map(|(state, error)| format!("{state} failed with the error {error}")).collect()
}

/// Every good video that is still there has a result.
fn videos_have_results(world: &World) -> Vec<String> {
    let found: BTreeSet<_> = manifests(world).map(|(_, manifest)| identity(&manifest.video)).collect();
    let objects = world.s3.all(UPLOADS);
    let missing = objects.filter(|(key, object)| {
        let video = (key.to_string(), object.kept_version(), object.etag.clone());
        world.contents[&object.etag].kind.errors().is_empty() && !found.contains(&video)
    });
    missing.map(|(key, object)| format!("{key} {:?} has no result", object.version)).collect()
}

/// Every manifest tells the truth: each object it names is there, with the very faces that Rekognition found.
fn results_are_complete(world: &World) -> Vec<String> {
    let uploads: BTreeMap<_, usize> = world.uploaded.iter().fold(BTreeMap::new(), |mut counts, (key, _)| {
        *counts.entry(key.clone()).or_default() += 1;
        counts
    });
    let mut wrongs = Vec::new();
    for (key, manifest) in manifests(world) {
        let mut wrong = |what: String| wrongs.push(format!("{key}: {what}"));
        let object = |key: &str| world.s3.get(RESULTS, key, None).map(|object| object.body.clone());
        let Some(job) = world.rekognition.jobs.get(&manifest.job.job_id) else {
            wrong(format!("no job is {}", manifest.job.job_id));
            continue;
        };
        let Outcome::Succeeds(content) = &job.outcome else {
            wrong(format!("the job {} failed", job.id));
            continue;
        };
        // Without versions, what Rekognition reads can be newer than what start-detection has seen.
        let may_be_newer = manifest.video.version_id.is_none() && uploads[&manifest.video.key] > 1;
        if *content != world.contents[&manifest.video.etag] && !may_be_newer {
            wrong("the faces are another video's".to_owned());
        }
        let mut lines = Vec::new();
        for page in &manifest.pages {
            let body = object(&page.key).unwrap_or_default();
            if body.len() != page.bytes || body.split(|byte| *byte == b'\n').count() != page.faces + 1 {
                wrong(format!("{} does not have {} faces in {} bytes", page.key, page.faces, page.bytes));
            }
            lines.extend_from_slice(&body);
        }
        if lines != content.lines().as_bytes() || manifest.faces != content.faces {
            wrong(format!("its {} faces are not the {} that Rekognition found", manifest.faces, content.faces));
        }
        let summary = object(&manifest.summary.key).and_then(|body| serde_json::from_slice::<Summary>(&body).ok());
        if summary.is_none_or(|summary| summary.faces != manifest.faces || summary.video != manifest.video) {
            wrong("its summary is missing or another's".to_owned());
        }
        // Executions that end one job at the same moment overwrite each other's report: the size must hold for both.
        if object(&manifest.report.key).is_none_or(|body| body.len() != manifest.report.bytes) {
            wrong("its report is missing or of another size".to_owned());
        }
    }
    wrongs
}

/// A manifest is written after its pages, and nobody changes them afterwards.
fn pages_stay_under_a_manifest(world: &World) -> Vec<String> {
    let (mut there, mut complete, mut wrongs) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for write in world.s3.writes(RESULTS) {
        if let Some(etag) = complete.get(&write.key)
            && *etag != write.etag
        {
            wrongs.push(format!("{} was changed under its manifest", write.key));
        }
        there.insert(write.key.clone(), write.etag.clone());
        if write.key.ends_with("/manifest.json") {
            let manifest: Manifest = serde_json::from_slice(&write.body).expect("a manifest");
            for page in manifest.pages {
                match there.get(&page.key) {
                    Some(etag) => _ = complete.insert(page.key, etag.clone()),
                    None => wrongs.push(format!("{} was written before {}", write.key, page.key)),
                }
            }
        }
    }
    wrongs
}

/// A content is analysed again only when its last job failed or is forgotten.
fn jobs_are_paid_once(world: &World) -> Vec<String> {
    let mut jobs: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let identities = identities(world);
    let mut asked: BTreeMap<_, u64> = BTreeMap::new();
    for execution in &world.executions {
        if let Some(video) = execution.video() {
            *asked.entry(video.key).or_default() += 1 + execution.redrives;
        }
    }
    let mut wrongs = Vec::new();
    for job in world.rekognition.jobs.values() {
        match identities.get(&job.idempotency_key) {
            Some(identity) => jobs.entry(*identity).or_default().push(job),
            None => wrongs.push(format!("the tag {} of a job for {} is no content's", job.idempotency_key, job.key)),
        }
    }
    for jobs in jobs.values_mut() {
        jobs.sort_by_key(|job| job.started);
        for (earlier, later) in jobs.iter().zip(jobs.iter().skip(1)) {
            let failed = matches!(earlier.outcome, Outcome::Fails(_)) && !earlier.runs(later.started);
            if !failed && later.started < earlier.started + KEPT {
                wrongs.push(format!("{} was paid twice: {earlier:?} {later:?}", later.key));
            }
        }
        // Nobody but an operator who tries again may pay again: a missed heartbeat is no reason.
        let key = &jobs[0].key;
        let asked = asked.get(key).copied().unwrap_or_default();
        if jobs.len() as u64 > asked {
            wrongs.push(format!("{key} was paid {} times, and analysed at the wish of {asked}", jobs.len()));
        }
    }
    wrongs
}

/// Nobody waits any more. On fair days every callback was removed as well; otherwise what is left is dead and expires: the
/// callback of an execution that failed and was not redriven, or whose teller was killed between telling and removing.
fn nothing_is_left(world: &World, story: &Story) -> Vec<String> {
    let mut wrongs = Vec::new();
    for (key, object) in world.s3.keys(RESULTS, "callbacks/") {
        let Ok(callback) = serde_json::from_slice::<PendingCallback>(&object.body) else { continue };
        if world.is_open(&callback.task_token.0) {
            wrongs.push(format!("{key} waits for ever"));
        }
        if story.is_fair() && story.aborts.is_empty() {
            wrongs.push(format!("{key} is left"));
        }
    }
    // A entry never stays: whoever comes by next removes it.
    wrongs.extend(world.s3.keys(RESULTS, "queue/entries/").map(|(key, _)| format!("{key} is left")));
    wrongs
}

fn manifests(world: &World) -> impl Iterator<Item = (&str, Manifest)> {
    let documents = world.s3.keys(RESULTS, "results/").filter(|(key, _)| key.ends_with("/manifest.json"));
    documents.map(|(key, object)| (key, serde_json::from_slice(&object.body).expect("a manifest")))
}

fn identity(video: &Video) -> (String, Option<String>, String) {
    (video.key.clone(), video.version_id.clone(), video.etag.clone())
}

/// The tag of every job that may be started, with the number of its content.
fn identities(world: &World) -> BTreeMap<String, usize> {
    let mut keys = BTreeMap::new();
    let wanted: BTreeSet<_> = world.rekognition.jobs.values().map(|job| (&job.key, &job.topic)).collect();
    let mut uploaded: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (key, object) in &world.uploaded {
        uploaded.entry(key).or_default().push(object);
    }
    for (index, (key, topic)) in wanted.into_iter().enumerate() {
        for (content, object) in uploaded.get(key).into_iter().flatten().enumerate() {
            let video = Video {
                bucket: UPLOADS.to_owned(),
                key: key.clone(),
                version_id: object.kept_version(),
                etag: object.etag.clone(),
                bytes: object.size,
            };
            let mut job = Job {
                video,
                face_attributes: FaceAttributes::Default,
                topic_arn: topic.clone(),
                role_arn: "arn:aws:iam::123456789012:role/publish".to_owned(),
                attempt: 0,
            };
            // Equal contents have equal keys: the first number counts.
            while job.attempt < 20 && !keys.contains_key(&job.idempotency_key()) {
                keys.insert(job.idempotency_key(), index * 1000 + content);
                job = job.next_attempt();
            }
        }
    }
    keys
}

impl Content {
    /// How long Rekognition works for it, all failures included.
    fn work(&self) -> Ms {
        self.job_ms * Ms::from(self.failures + 1)
    }
}

impl World {
    /// Whether an execution has failed for a reason that lies in the video: no redrive helps.
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
