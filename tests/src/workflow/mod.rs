//! The whole workflow for one test: the emulator, the Lambda functions, the stand-in for Rekognition, and waits with a timeout.

mod detectors;
mod results;

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use face_detection::Detector;
use lambdas::layout;
use local_stack::{Dependencies, Execution, Installation, LambdaPackages, Silent, Workflow, WorkflowOptions};
use serde_json::Value;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout};

pub use detectors::{Canned, Gate, Gated};
pub use results::Complete;

/// The timeout of every wait of a test. It is long: only a workflow that hangs reaches it.
const LIMIT: Duration = Duration::from_mins(1);

/// The interval between two checks of a condition.
const CHECK_EVERY: Duration = Duration::from_millis(50);

/// The emulator's environment and the packages of the Lambda functions, which are prepared once for all tests.
static TOOLS: OnceCell<(Dependencies, LambdaPackages)> = OnceCell::const_new();

/// Limits the workflows that run in parallel. A workflow waits half of its time, so there are two for each core.
static PLACES: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(2 * std::thread::available_parallelism().map_or(1, std::num::NonZero::get)));

/// The first bytes of an MP4 file: enough of a video for a canned detector.
pub const ANY_VIDEO: &[u8] = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom";

/// One test's own workflow.
pub struct Rig {
    /// The workflow.
    pub workflow: Workflow,
    /// Released after the emulator has ended.
    _place: SemaphorePermit<'static>,
}

impl Rig {
    /// A workflow with this detector, and with AWS's quotas and limits.
    ///
    /// # Panics
    /// When a part of it cannot be set up: the message says which, and why.
    pub async fn start(detector: impl Detector + 'static) -> Self {
        Self::with(detector, |_| {}).await
    }

    /// A workflow with options that `change` has changed.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn with(detector: impl Detector + 'static, change: impl FnOnce(&mut WorkflowOptions)) -> Self {
        let place = PLACES.acquire().await.expect("the semaphore is never closed");
        let (dependencies, packages) = tools().await;
        let mut options = WorkflowOptions::new(std::sync::Arc::new(detector));
        change(&mut options);
        let workflow = Workflow::start(dependencies, packages, options).await.unwrap_or_else(|error| panic!("{error}"));
        Self { workflow, _place: place }
    }

    /// Uploads an object and returns the execution that its event starts.
    ///
    /// # Panics
    /// When no execution starts.
    pub async fn upload(&self, key: &str, body: &[u8]) -> Execution {
        self.workflow.uploads.put(key, body).await.unwrap_or_else(|error| panic!("{error}"));
        self.workflow.execution_of(key).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts another execution with the same input, as a duplicate event does; returns its ARN.
    ///
    /// # Panics
    /// When the emulator refuses.
    pub async fn start_again(&self, execution: &Execution) -> String {
        self.workflow.executions.start(&execution.input).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits until the execution has ended, with or without success, and returns it.
    ///
    /// # Panics
    /// When it does not end in time, with its history.
    pub async fn end_of(&self, arn: &str) -> Execution {
        let Ok(ended) = timeout(LIMIT, self.workflow.executions.wait(arn)).await else {
            panic!("{arn} still runs after {} s\n{}", LIMIT.as_secs(), self.history_text(arn).await);
        };
        ended.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits until the execution has succeeded, checks all of its results and returns them.
    ///
    /// # Panics
    /// When it fails, with its history; when the results are incomplete or contradict each other.
    pub async fn results_of(&self, arn: &str) -> Complete {
        let execution = self.end_of(arn).await;
        assert!(execution.has_succeeded(), "{execution:#?}\n{}", self.history_text(arn).await);
        Complete::check(self, &execution).await
    }

    /// Waits until the execution has failed, and returns the name and the cause of the error.
    ///
    /// # Panics
    /// When it succeeds, with its history.
    pub async fn failure_of(&self, arn: &str) -> (String, String) {
        let execution = self.end_of(arn).await;
        match (execution.error, execution.cause) {
            (Some(error), Some(cause)) => (error, cause),
            _ => panic!("{arn} did not fail with a name and a cause\n{}", self.history_text(arn).await),
        }
    }

    /// The states that the execution has entered, in order, without those inside the Map, which run in parallel.
    ///
    /// # Panics
    /// When the emulator has no history of it.
    pub async fn states_of(&self, arn: &str) -> Vec<String> {
        let entered = self.history(arn).await.into_iter().filter_map(|event| {
            event.pointer("/stateEnteredEventDetails/name").and_then(Value::as_str).map(str::to_owned)
        });
        entered.filter(|state| !["ListOrFetch?", "ListPages", "FetchPage"].contains(&state.as_str())).collect()
    }

    /// The errors of the execution's Tasks, retried ones included.
    ///
    /// # Panics
    /// When the emulator has no history of it.
    pub async fn errors_of(&self, arn: &str) -> BTreeSet<String> {
        let failed = self.history(arn).await.into_iter().filter_map(|event| {
            event.pointer("/taskFailedEventDetails/error").and_then(Value::as_str).map(str::to_owned)
        });
        failed.collect()
    }

    /// Waits until the execution has succeeded, and returns the time from the callback that resumed it to its end.
    ///
    /// # Panics
    /// When it fails, with its history.
    pub async fn time_after_the_callback(&self, arn: &str) -> Duration {
        let ended = self.workflow.executions.wait(arn).await.unwrap_or_else(|error| panic!("{error}"));
        assert!(ended.has_succeeded(), "{ended:#?}\n{}", self.history_text(arn).await);
        let history = self.history(arn).await;
        let resumed = history.iter().find(|event| event["type"] == "TaskSucceeded");
        let at = |event: Option<&Value>| event.and_then(|event| event["timestamp"].as_f64()).expect("it was resumed");
        Duration::from_secs_f64(at(history.last()) - at(resumed))
    }

    /// The number of jobs that were started, which AWS would bill.
    #[must_use]
    pub fn billed(&self) -> u64 {
        self.workflow.rekognition.calls().jobs
    }

    /// The keys below `prefix` in the results bucket.
    ///
    /// # Panics
    /// When the emulator refuses.
    pub async fn result_keys(&self, prefix: &str) -> Vec<String> {
        let objects = self.workflow.results.list(prefix).await.unwrap_or_else(|error| panic!("{error}"));
        objects.into_iter().map(|object| object.key).collect()
    }

    /// Waits until `condition` holds.
    ///
    /// # Panics
    /// When it does not hold in time; `what` is the condition in words.
    pub async fn until(&self, what: &str, mut condition: impl AsyncFnMut() -> bool) {
        let give_up = Instant::now() + LIMIT;
        while !condition().await {
            assert!(Instant::now() < give_up, "not within {} s: {what}", LIMIT.as_secs());
            sleep(CHECK_EVERY).await;
        }
    }

    /// Waits until a job was started and recorded: its execution waits for the message of its end.
    ///
    /// # Panics
    /// When that does not happen in time.
    pub async fn until_a_job_is_recorded(&self) {
        let recorded = async || !self.result_keys(layout::STARTED_JOBS).await.is_empty();
        self.until("a job is recorded", recorded).await;
    }

    /// Waits until there is no pending callback, no queue entry and no lease.
    ///
    /// # Panics
    /// When some remain; the message names them.
    pub async fn until_nothing_waits(&self) {
        let give_up = Instant::now() + LIMIT;
        loop {
            let mut left = Vec::new();
            for prefix in ["callbacks/", "queue/entries/", "queue/lease"] {
                left.extend(self.result_keys(prefix).await);
            }
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < give_up, "after {} s there still are {left:#?}", LIMIT.as_secs());
            sleep(CHECK_EVERY).await;
        }
    }

    async fn history(&self, arn: &str) -> Vec<Value> {
        self.workflow.executions.history(arn).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The execution's history as text, one event per line. (The emulator prints the end of its log when a test panics.)
    async fn history_text(&self, arn: &str) -> String {
        let line = |event: &Value| {
            let details = event.as_object().into_iter().flatten().find(|(name, _)| name.ends_with("EventDetails"));
            let mut details = details.map(|(_, details)| details.to_string()).unwrap_or_default();
            // Long payloads are cut, at the boundary of a character.
            details = details.chars().take(300).collect();
            format!("{:>4} {} {details}\n", event["id"], event["type"].as_str().unwrap_or_default())
        };
        self.history(arn).await.iter().map(line).collect()
    }
}

/// The file of the face detection model, for tests that analyse a video.
///
/// # Panics
/// When it cannot be downloaded.
pub async fn model() -> &'static std::path::Path {
    tools().await.0.model()
}

async fn tools() -> &'static (Dependencies, LambdaPackages) {
    let prepare = async || {
        let installation = Installation::find()?;
        let dependencies = Dependencies::prepare(&installation.dependencies_dir()?, &Silent).await?;
        Ok::<_, local_stack::Error>((dependencies, LambdaPackages::prepare(&installation, &Silent).await?))
    };
    TOOLS.get_or_try_init(prepare).await.unwrap_or_else(|error| panic!("{error}"))
}
