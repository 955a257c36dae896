//! The complete workflow: the emulator, the Rekognition stand-in and the deployed stack.

use std::{path::PathBuf, sync::Arc, time::Duration};

use face_detection::Detector;
use lambdas::job::FaceAttributes;
use rekognition_local::{Config, Server};
use tokio::time::{Instant, sleep};

use crate::{
    Dependencies, Emulator, Error, Execution, Executions, LambdaPackages, Objects, Stack, StackOptions,
    emulator::log_end,
};

/// How long the event of an upload may take to start an execution. It usually takes less than a second.
const TRIGGER_LIMIT: Duration = Duration::from_secs(30);

/// The options of a workflow.
#[derive(Clone)]
pub struct WorkflowOptions {
    /// The face detector of the Rekognition stand-in.
    pub detector: Arc<dyn Detector>,
    /// The face attributes that the functions ask for.
    pub attributes: FaceAttributes,
    /// The maximum number of faces on a page of Rekognition, from 1 to 1000. A small number makes many pages for a small
    /// video.
    pub page_limit: usize,
    /// The account's quota of concurrent Rekognition jobs.
    pub max_jobs: usize,
    /// The file with the definition of the state machine. `None` means the one of this repository.
    pub definition: Option<PathBuf>,
    /// The port of the emulator on 127.0.0.1. 0 means any free one.
    pub port: u16,
}

impl WorkflowOptions {
    /// The values of AWS: 1000 faces a page, 20 concurrent jobs.
    #[must_use]
    pub fn new(detector: Arc<dyn Detector>) -> Self {
        Self {
            detector,
            attributes: FaceAttributes::default(),
            page_limit: 1000,
            max_jobs: 20,
            definition: None,
            port: 0,
        }
    }
}

/// The running workflow, without executions at first. It ends when this value is dropped.
pub struct Workflow {
    /// The Rekognition stand-in: its jobs, the faults to inject, the number of calls. It is the first field, because it
    /// calls the emulator and so must be dropped before it.
    pub rekognition: Server,
    /// All AWS services except Rekognition.
    pub emulator: Emulator,
    /// The names of the deployed resources.
    pub stack: Stack,
    /// The upload bucket. The upload of a video starts an execution.
    pub uploads: Objects,
    /// The results bucket.
    pub results: Objects,
    /// The executions of the state machine.
    pub executions: Executions,
}

impl Workflow {
    /// Starts an emulator and a Rekognition stand-in and deploys the workflow on them. It takes one or two seconds.
    ///
    /// # Errors
    /// [`Error`], if the emulator or the stand-in does not start, or the deployment fails.
    pub async fn start(
        dependencies: &Dependencies,
        packages: &LambdaPackages,
        options: WorkflowOptions,
    ) -> Result<Self, Error> {
        let emulator = Emulator::start_at(dependencies, options.port).await?;
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

    /// Waits for the execution that the event of an upload starts.
    ///
    /// # Errors
    /// [`Error::NotTriggered`], if no execution starts within 30 s; [`Error::Aws`].
    pub async fn execution_of(&self, key: &str) -> Result<Execution, Error> {
        let deadline = Instant::now() + TRIGGER_LIMIT;
        loop {
            if let Some(execution) = self.executions.about(key).await?.pop() {
                return Ok(execution);
            }
            if Instant::now() > deadline {
                let (seconds, log) = (TRIGGER_LIMIT.as_secs(), self.emulator.log());
                return Err(Error::NotTriggered { key: key.to_owned(), seconds, log_end: log_end(&log), log });
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}
