//! A scenario: what is uploaded when, which faults occur, and how AWS behaves where that is not documented.

use serde_json::{Value, json};

use crate::clock::{DAY, HOUR, MINUTE, Ms, SECOND};
use crate::content::{Content, Kind};
use crate::faults::{FaultRates, Outage, Service};
use crate::s3::FAR_BUCKET;
use crate::world::UPLOADS;

/// Everything that determines a run: equal scenarios have equal runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Initialises the random number generator, from which every delay and fault is taken.
    pub seed: u64,
    /// The uploads, in any order.
    pub uploads: Vec<Upload>,
    /// Objects that are deleted, and when.
    pub deletions: Vec<(Ms, String)>,
    /// Executions that a person starts from the console: when, and with which input.
    pub manual: Vec<(Ms, Value)>,
    /// When a person stops a running execution, if there is one.
    pub aborts: Vec<Ms>,
    /// Messages that a publisher other than Rekognition sends to the topic, and when. `None` is a message that reports
    /// success for one of the jobs.
    pub forged_messages: Vec<(Ms, Option<String>)>,
    /// Objects that something other than the functions writes into the results bucket: key and body.
    pub foreign_objects: Vec<(String, String)>,
    /// When a deployment changes the topic.
    pub deploy: Option<Ms>,
    /// The probability of each fault until `faults_end`.
    pub fault_rates: FaultRates,
    /// The outages, in any order.
    pub outages: Vec<Outage>,
    /// When faults end.
    pub faults_end: Ms,
    /// How long the operator waits before each check for failed executions, while others run; the last value is repeated.
    pub operator_waits: Vec<Ms>,
    /// The probability with which the operator gives a failed execution up instead of repairing it.
    pub given_up: f64,
    /// How AWS behaves where its behaviour is not documented.
    pub unspecified: UnspecifiedBehaviour,
    /// An execution whose callbacks are refused, because the key of its data is not accessible.
    pub denied_key: Option<DeniedKey>,
    /// Whether the upload bucket keeps versions.
    pub versioning: Versioning,
    /// The account's quota of concurrent Rekognition jobs.
    pub slots: usize,
    /// The slots that other workloads hold.
    pub other_workloads: Vec<OtherWorkload>,
    /// A second stack.
    pub second_stack: Option<SecondStack>,
    /// The account's quota of `StartFaceDetection` calls a second.
    pub starts_per_second: f64,
    /// The account's quota of `GetFaceDetection` calls a second.
    pub gets_per_second: f64,
    /// The duration of each `GetFaceDetection` call, request and response; random, as for any other call, if `None`.
    pub get_ms: Option<Ms>,
    /// The maximum number of faces that Rekognition puts on a page.
    pub faces_per_page: usize,
    /// The maximum number of keys that S3 puts on a page of a listing.
    pub keys_per_listing: usize,
    /// The account's quota of functions that run at the same time.
    pub concurrency: usize,
    /// By how much the clock of each function is early or late at most.
    pub clock_skew: Ms,
    /// When the schedule invokes its function, within each five minutes.
    pub schedule_phase: Ms,
    /// Whether the run records a trace.
    pub traced: bool,
    /// A bug in a service or a function that a check must find.
    pub injected_bug: Option<InjectedBug>,
}

/// An object that is put into the upload bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct Upload {
    /// When it is uploaded.
    pub at: Ms,
    /// Its key.
    pub key: String,
    /// Its content.
    pub content: Content,
    /// How long after the upload `EventBridge` starts an execution; one element for each delivery of the event.
    pub events: Vec<Ms>,
}

/// Jobs of other workloads of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtherWorkload {
    /// When they begin.
    pub from: Ms,
    /// When they end.
    pub until: Ms,
    /// The number of job slots that they hold.
    pub slots: usize,
}

/// A second stack in the account, with videos that wait for job slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecondStack {
    /// When it starts its first job.
    pub from: Ms,
    /// The number of its jobs.
    pub jobs: u32,
    /// How long each of them runs.
    pub job_ms: Ms,
}

/// An execution whose task tokens cannot be used: Step Functions answers `KmsAccessDeniedException`
/// (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskSuccess.html>).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeniedKey {
    /// The name of the execution.
    pub execution: String,
    /// From when on the key is not accessible.
    pub from: Ms,
    /// When the key is accessible again.
    pub until: Ms,
}

/// The versioning state of a bucket
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/Versioning.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Versioning {
    /// Objects have no version id, and an upload overwrites the object.
    #[default]
    Disabled,
    /// Each upload makes a version with a new id.
    Enabled,
    /// Objects have the version id `null` (the bucket never was `Enabled`), and an upload overwrites that version.
    Suspended,
}

/// Behaviour that AWS's documentation leaves open: a scenario chooses one of the two possibilities for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent choice")]
pub struct UnspecifiedBehaviour {
    /// If every slot is taken, a repeated Start is answered with `LimitExceeded` and not with its job.
    pub limit_before_idempotency: bool,
    /// The lifetime of a `ClientRequestToken` begins at the end of its job, not at its start.
    pub token_expires_after_job_end: bool,
    /// A callback for a closed task is answered with `TaskDoesNotExist`, not with `TaskTimedOut`.
    pub closed_task_does_not_exist: bool,
    /// A callback takes effect only after the function has returned; if the function fails, the callback is lost.
    pub callback_waits_for_function: bool,
    /// The heartbeat interval begins when the task starts, not when the function returns.
    pub heartbeat_from_task_start: bool,
    /// After a deployment, the subscription to the old topic still exists.
    pub old_topic_stays_subscribed: bool,
    /// A job is visible to `GetFaceDetection` only some seconds after `StartFaceDetection`.
    pub jobs_visible_late: bool,
    /// The slot of a job is free only some time after the job's end.
    pub slots_free_late: bool,
    /// The `ClientRequestToken` of a job that has failed is forgotten: another Start with it starts a new job.
    pub failed_tokens_forgotten: bool,
    /// Start reads the object before it looks for a job with the same `ClientRequestToken`.
    pub object_before_idempotency: bool,
    /// A missed heartbeat is reported as `States.Timeout`, not as `States.HeartbeatTimeout`.
    pub heartbeat_is_timeout: bool,
}

/// A bug in a service or a function, for the tests of the checks: a check must find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InjectedBug {
    /// Rekognition ignores `ClientRequestToken`s that it knows.
    IgnoresClientRequestToken,
    /// `GetFaceDetection` reports success for jobs that still run.
    ReportsSuccessEarly,
    /// `GetFaceDetection` reports every job as running when it is asked for the status.
    NeverReportsCompletion,
    /// S3 stores only the first ten lines of each page.
    TruncatesPages,
    /// The first page is overwritten after the manifest is written.
    RewritesPages,
    /// S3 stores pages after the manifest.
    DelaysPages,
    /// S3 stores summaries after the manifest.
    DelaysSummaries,
    /// S3 stores another number of frames in each summary.
    ChangesSummaries,
    /// Another job's manifest is written over each manifest.
    ReplacesManifests,
    /// S3 does not delete callbacks.
    KeepsCallbacks,
    /// S3 stores callbacks a minute late: after their jobs have started.
    StoresCallbacksLate,
    /// Rekognition's messages are lost although the fault rates are 0.
    LosesMessages,
    /// A function fails with an error whose name is not expected.
    FailsWithUnknownError,
}

impl Scenario {
    /// A scenario without faults and without uploads.
    #[must_use]
    pub fn fault_free(seed: u64) -> Self {
        Self {
            seed,
            uploads: Vec::new(),
            deletions: Vec::new(),
            manual: Vec::new(),
            aborts: Vec::new(),
            forged_messages: Vec::new(),
            foreign_objects: Vec::new(),
            deploy: None,
            fault_rates: FaultRates::default(),
            outages: Vec::new(),
            faults_end: 0,
            operator_waits: vec![MINUTE],
            given_up: 0.0,
            unspecified: UnspecifiedBehaviour::default(),
            denied_key: None,
            versioning: Versioning::Disabled,
            slots: 20,
            other_workloads: Vec::new(),
            second_stack: None,
            starts_per_second: 5.0,
            gets_per_second: 5.0,
            get_ms: None,
            faces_per_page: 1000,
            keys_per_listing: 1000,
            concurrency: 1000,
            clock_skew: 0,
            schedule_phase: 0,
            traced: true,
            injected_bug: None,
        }
    }

    /// `count` videos that are uploaded at the same time, without faults. `EventBridge` starts as many executions a
    /// second as Step Functions accepts (<https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>:
    /// 150 a second in most Regions).
    #[must_use]
    pub fn burst(seed: u64, count: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let uploads = (0..count).map(|id| Upload {
            at: 0,
            key: format!("burst/{id:05}.mp4"),
            content: Content {
                id,
                kind: Kind::Video,
                faces: rng.usize(0..20),
                job_ms: rng.u64(MINUTE..5 * MINUTE),
                failures: 0,
            },
            events: vec![id * SECOND / 150],
        });
        Self { uploads: uploads.collect(), traced: false, ..Self::fault_free(seed) }
    }

    /// The scenario of a seed. The order of the random values is part of it: another order gives every seed another
    /// scenario.
    #[must_use]
    pub fn generate(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let faults_end = rng.u64(HOUR..12 * HOUR);
        // Values that were added later come from a second generator, so that the scenarios of older seeds stay the
        // same.
        let mut later_rng = fastrand::Rng::with_seed(!seed);
        let versioning = if rng.bool() {
            Versioning::Enabled
        } else if later_rng.bool() {
            Versioning::Suspended
        } else {
            Versioning::Disabled
        };
        let mut scenario = Self { seed, faults_end, versioning, ..Self::fault_free(seed) };
        scenario.fault_rates = fault_rates(&mut rng);
        scenario.outages = outages(&mut rng, faults_end);
        scenario.unspecified = UnspecifiedBehaviour {
            limit_before_idempotency: rng.bool(),
            token_expires_after_job_end: rng.bool(),
            closed_task_does_not_exist: rng.bool(),
            callback_waits_for_function: rng.bool(),
            heartbeat_from_task_start: rng.bool(),
            old_topic_stays_subscribed: rng.bool(),
            heartbeat_is_timeout: later_rng.bool(),
            jobs_visible_late: later_rng.bool(),
            ..UnspecifiedBehaviour::default()
        };
        scenario.slots = *rng.choice(&[1, 2, 3, 20]).expect("some");
        scenario.gets_per_second = *rng.choice(&[5.0, 20.0]).expect("some");
        scenario.faces_per_page = rng.usize(1..40);
        scenario.keys_per_listing = *rng.choice(&[1, 2, 1000]).expect("some");
        for id in 0..rng.u64(1..10) {
            upload(&mut scenario, &mut rng, id, faults_end);
        }
        scenario.generate_interventions(&mut rng);
        scenario.generate_environment(&mut later_rng);
        scenario
    }

    /// Adds what people and other publishers do besides the uploads.
    fn generate_interventions(&mut self, rng: &mut fastrand::Rng) {
        let keys: Vec<_> = self.uploads.iter().map(|upload| upload.key.clone()).collect();
        let faults_end = self.faults_end;
        let times = |rng: &mut fastrand::Rng, most: usize| -> Vec<Ms> {
            let count = rng.usize(0..=most);
            (0..count).map(|_| rng.u64(0..faults_end)).collect()
        };
        let manual = times(rng, 2).into_iter();
        let input = |key: &String| json!({ "bucket": UPLOADS, "key": key });
        self.manual = manual.map(|at| (at, input(rng.choice(&keys).expect("some")))).collect();
        if rng.u8(0..4) == 0 {
            let deletions = times(rng, 2);
            self.deletions = deletions.into_iter().map(|at| (at, rng.choice(&keys).expect("some").clone())).collect();
        }
        if rng.u8(0..4) == 0 {
            self.aborts = times(rng, 4);
        }
        let forged_messages = times(rng, 3).into_iter();
        self.forged_messages = forged_messages.map(|at| (at, forged_message(rng))).collect();
        self.deploy = (rng.u8(0..8) == 0).then(|| rng.u64(0..faults_end));
        let waits = [MINUTE, HOUR, 30 * HOUR, 8 * DAY];
        self.operator_waits = (0..3).map(|_| waits[rng.usize(0..8).min(7) / 2]).chain([10 * MINUTE]).collect();
    }

    /// Adds what else differs between accounts.
    fn generate_environment(&mut self, rng: &mut fastrand::Rng) {
        self.clock_skew = *rng.choice(&[0, SECOND, 3 * SECOND]).expect("some");
        self.schedule_phase = rng.u64(0..5 * MINUTE);
        if rng.u8(0..16) == 0 {
            // More than the functions list in one call.
            let at = rng.u64(0..self.faults_end);
            for number in 0..rng.u64(25..40) {
                let job_ms = rng.u64(SECOND..3 * MINUTE);
                let content = Content { id: 1000 + number, kind: Kind::Video, faces: 3, job_ms, failures: 0 };
                let events = vec![rng.u64(100..5 * SECOND)];
                self.uploads.push(Upload { at, key: format!("many/{number}.mp4"), content, events });
            }
        }
        self.given_up = if rng.u8(0..8) == 0 { 0.5 } else { 0.0 };
        self.concurrency = *rng.choice(&[1000, 1000, 1000, 10]).expect("some");
        self.unspecified.slots_free_late = rng.bool();
        self.unspecified.failed_tokens_forgotten = rng.bool();
        self.unspecified.object_before_idempotency = rng.bool();
        if rng.u8(0..8) == 0 {
            let kind = *rng.choice(&[Kind::Denied, Kind::Archived]).expect("some");
            rng.choice(&mut self.uploads).expect("some").content.kind = kind;
        }
        if rng.u8(0..8) == 0 {
            let bucket = *rng.choice(&[FAR_BUCKET, "Malformed_Name"]).expect("some");
            self.manual.push((rng.u64(0..self.faults_end), json!({ "bucket": bucket, "key": "a.mp4" })));
        }
        if rng.u8(0..8) == 0 {
            let execution = format!("event-{}_0", rng.usize(0..self.uploads.len()));
            let from = rng.u64(0..self.faults_end);
            self.denied_key = Some(DeniedKey { execution, from, until: rng.u64(from..=self.faults_end) });
        }
        if rng.u8(0..4) == 0 {
            let hold = |rng: &mut fastrand::Rng| {
                let from = rng.u64(0..self.faults_end);
                OtherWorkload { from, until: from + rng.u64(MINUTE..HOUR), slots: rng.usize(1..=self.slots) }
            };
            self.other_workloads = (0..rng.usize(1..4)).map(|_| hold(rng)).collect();
        }
        if rng.u8(0..8) == 0 {
            let (from, job_ms) = (rng.u64(0..self.faults_end), rng.u64(SECOND..20 * MINUTE));
            self.second_stack = Some(SecondStack { from, jobs: rng.u32(1..10), job_ms });
        }
    }

    /// Whether no fault occurs, so that each execution is resumed by its job's completion message.
    #[must_use]
    pub fn is_fault_free(&self) -> bool {
        self.fault_rates == FaultRates::default()
            && self.outages.is_empty()
            && self.deploy.is_none()
            && self.denied_key.is_none()
    }
}

fn upload(scenario: &mut Scenario, rng: &mut fastrand::Rng, id: u64, faults_end: Ms) {
    let earlier = rng.choice(&scenario.uploads).cloned();
    // One upload in five has the content of an earlier one, and one in five has the key of an earlier one.
    let content = match &earlier {
        Some(earlier) if rng.u8(0..5) == 0 => earlier.content.clone(),
        _ => content(rng, id),
    };
    let key = match earlier {
        Some(earlier) if rng.u8(0..5) == 0 => earlier.key,
        _ => format!("{}-{id}.mp4", rng.choice(&["video", "a b+c", "100%25", "\"q\"/é", "<&>"]).expect("some")),
    };
    // About half of them are uploaded at the same time.
    let at = if rng.bool() { 0 } else { rng.u64(0..faults_end) };
    let mut events = vec![rng.u64(100..5 * SECOND)];
    while rng.u8(0..5) == 0 {
        events.push(rng.u64(100..HOUR));
    }
    scenario.uploads.push(Upload { at, key, content, events });
}

fn content(rng: &mut fastrand::Rng, id: u64) -> Content {
    let kind = match rng.u8(0..20) {
        0 => Kind::Text,
        1 => Kind::Empty,
        2 => Kind::TooLarge,
        3 => Kind::TooLong,
        4 => Kind::Forbidden,
        5 => Kind::UnknownCodec,
        _ => Kind::Video,
    };
    Content {
        id,
        kind,
        faces: if rng.u8(0..4) == 0 { 0 } else { rng.usize(1..200) },
        job_ms: rng.u64(SECOND..30 * MINUTE),
        failures: if rng.u8(0..6) == 0 { rng.u32(1..3) } else { 0 },
    }
}

fn forged_message(rng: &mut fastrand::Rng) -> Option<String> {
    let messages = [
        None,
        None,
        Some("no JSON".to_owned()),
        Some(json!({ "JobId": 7 }).to_string()),
        Some(json!({ "JobId": "short", "Status": "SUCCEEDED" }).to_string()),
        Some(json!({ "JobId": "0".repeat(64), "Status": "SUCCEEDED" }).to_string()),
    ];
    rng.choice(messages).expect("some")
}

fn fault_rates(rng: &mut fastrand::Rng) -> FaultRates {
    // A quarter of the scenarios have no faults, a quarter have few kinds of fault, and half have all of them.
    let selection = rng.u8(0..4);
    let mut chance = |most: f64| match selection {
        0 => 0.0,
        1 if rng.u8(0..5) > 0 => 0.0,
        _ => rng.f64() * most,
    };
    FaultRates {
        outage: chance(0.1),
        refused: chance(0.2),
        throttled: chance(0.3),
        answer_lost: chance(0.2),
        slow: chance(0.02),
        killed: chance(0.3),
        not_invoked: chance(0.2),
        result_lost: chance(0.2),
        message_lost: chance(0.6),
        message_late: chance(0.5),
        message_early: chance(0.5),
        message_twice: chance(0.5),
    }
}

fn outages(rng: &mut fastrand::Rng, faults_end: Ms) -> Vec<Outage> {
    let count = if rng.bool() { 0 } else { rng.usize(1..4) };
    (0..count)
        .map(|_| {
            let from = rng.u64(0..faults_end);
            let until = (from + rng.u64(MINUTE..3 * HOUR)).min(faults_end);
            Outage { service: rng.choice(Service::ALL).expect("some"), from, until }
        })
        .collect()
}
