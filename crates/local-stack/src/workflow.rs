//! The emulator, the Rekognition stand-in and the stack together.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::emulator::log_end;
use face_detection::Detector;
use rekognition_local::{Config, Server};
use tokio::time::{Instant, sleep};

use crate::{
    Dependencies, Emulator, Error, Execution, Executions, FaceAttributes, LambdaPackages, Objects, Stack, StackOptions,
};

/// How long an upload's event may take to start an execution. It takes less than a second.
const TRIGGER_LIMIT: Duration = Duration::from_secs(30);

/// What differs between workflows.
#[derive(Clone)]
pub struct WorkflowOptions {
    /// Finds the faces.
    pub detector: Arc<dyn Detector>,
    /// What is asked about each face.
    pub attributes: FaceAttributes,
    /// The most faces that Rekognition puts on one page, 1 to 1000: a small number makes many pages of a small video.
    pub page_limit: usize,
    /// The account's quota of Rekognition jobs that run at once.
    pub max_jobs: usize,
    /// Another state machine's file than this repository's.
    pub definition: Option<PathBuf>,
}

impl WorkflowOptions {
    /// As on AWS: a thousand faces a page, twenty jobs at once.
    #[must_use]
    pub fn new(detector: Arc<dyn Detector>) -> Self {
        Self { detector, attributes: FaceAttributes::default(), page_limit: 1000, max_jobs: 20, definition: None }
    }
}

/// The whole workflow, running, with nothing in it yet. It ends when this value is dropped.
pub struct Workflow {
    /// Rekognition: jobs, faults to order, calls counted. It stands first, since it ends first: it calls the emulator.
    pub rekognition: Server,
    /// Every AWS service but Rekognition.
    pub emulator: Emulator,
    /// The names of all that is deployed.
    pub stack: Stack,
    /// The upload bucket: what is put here starts an execution.
    pub uploads: Objects,
    /// The results bucket.
    pub results: Objects,
    /// The state machine's executions.
    pub executions: Executions,
}

impl Workflow {
    /// Starts an emulator and a stand-in of its own and deploys the workflow on them. It takes a second or two.
    ///
    /// # Errors
    /// What keeps the emulator or the stand-in from starting, or the deployment from being made.
    pub async fn start(
        dependencies: &Dependencies,
        packages: &LambdaPackages,
        options: WorkflowOptions,
    ) -> Result<Self, Error> {
        let emulator = Emulator::start(dependencies).await?;
        let mut config = Config::new(emulator.url(), options.detector);
        config.page_limit = options.page_limit;
        config.max_jobs = options.max_jobs;
        let rekognition = Server::start(config).await?;

        let mut stack_options = StackOptions::new(rekognition.url())?;
        stack_options.attributes = options.attributes;
        if let Some(definition) = options.definition {
            stack_options.definition = definition;
        }
        let stack = Stack::deploy(&emulator, packages, &stack_options).await?;
        Ok(Self {
            uploads: Objects::of(emulator.aws(), &stack.upload_bucket),
            results: Objects::of(emulator.aws(), &stack.results_bucket),
            executions: Executions::of(emulator.aws(), &stack.state_machine_arn),
            emulator,
            rekognition,
            stack,
        })
    }

    /// Waits for the execution that an upload's event starts.
    ///
    /// # Errors
    /// [`Error::NotTriggered`] when none begins in time.
    pub async fn execution_of(&self, key: &str) -> Result<Execution, Error> {
        let give_up = Instant::now() + TRIGGER_LIMIT;
        loop {
            if let Some(execution) = self.executions.about(key).await?.pop() {
                return Ok(execution);
            }
            if Instant::now() > give_up {
                let (seconds, log) = (TRIGGER_LIMIT.as_secs(), self.emulator.log());
                return Err(Error::NotTriggered { key: key.to_owned(), seconds, log_end: log_end(&log), log });
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}
