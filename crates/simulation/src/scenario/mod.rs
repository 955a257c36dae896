//! A scenario: what is uploaded when, which faults occur, and how AWS behaves where that is not documented.

mod generate;

use serde_json::Value;

use crate::clock::{MINUTE, Ms, SECOND};
use crate::content::{Content, Kind};
use crate::faults::{FaultRates, Outage};

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
    /// A backfill of the videos that are in the upload bucket.
    pub backfill: Option<Backfill>,
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
    /// How long after the upload `EventBridge` starts an execution; one element for each delivery of the event. Empty if
    /// the object was uploaded before the deployment.
    pub events: Vec<Ms>,
}

/// A backfill: `facereel backfill` lists the videos without a result and starts the state machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backfill {
    /// When it begins.
    pub at: Ms,
    /// The number of its executions at the same time.
    pub at_once: usize,
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
            backfill: None,
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

    /// Whether no fault occurs, so that each execution is resumed by its job's completion message.
    #[must_use]
    pub fn is_fault_free(&self) -> bool {
        self.fault_rates == FaultRates::default()
            && self.outages.is_empty()
            && self.deploy.is_none()
            && self.denied_key.is_none()
    }
}
