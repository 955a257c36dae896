//! The whole workflow on one machine: this repository's state machine and Lambda binaries, on an engine that speaks AWS's
//! APIs on a loopback port, with a stand-in for Rekognition that really looks at the video.
//!
//! ```no_run
//! # async fn example(detector: std::sync::Arc<dyn face_detection::Detector>) -> Result<(), facereel::local::Error> {
//! use facereel::local::{Bootstraps, Silent, Toolbox, Workflow, WorkflowOptions};
//!
//! let toolbox = Toolbox::prepare(&facereel::local::toolbox_dir()?, &Silent).await?;
//! let bootstraps = Bootstraps::build(&Silent).await?;
//! let workflow = Workflow::start(&toolbox, &bootstraps, WorkflowOptions::new(detector)).await?;
//! workflow.uploads.put("holiday.mp4", *b"...").await?;
//! let execution = workflow.execution_of("holiday.mp4").await?;
//! let execution = workflow.executions.wait(&execution.arn).await?;
//! assert!(execution.has_succeeded(), "{execution:?}");
//! # Ok(()) }
//! ```

mod bootstraps;
mod engine;
mod error;
mod executions;
mod group;
mod objects;
mod progress;
mod stack;
mod toolbox;
mod workflow;

use std::path::{Path, PathBuf};

pub use bootstraps::Bootstraps;
pub use engine::Engine;
pub use error::Error;
pub use executions::{Execution, Executions};
pub use objects::{Object, Objects, PART_BYTES};
pub use progress::{Progress, Silent};
pub use stack::{FaceAttributes, Stack, StackOptions};
pub use toolbox::Toolbox;
pub use workflow::{Workflow, WorkflowOptions};

/// The root of this repository: `facereel` builds and deploys what lies there.
///
/// # Errors
/// [`Error::WorkspaceMoved`] when it is no longer where the command was built.
pub fn workspace() -> Result<PathBuf, Error> {
    let cli = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = cli.parent().unwrap_or(cli);
    if root.join(stack::DEFINITION).is_file() {
        Ok(root.to_owned())
    } else {
        Err(Error::WorkspaceMoved { expected: root.to_owned() })
    }
}

/// Where the engine, the model and the logs live: `target/local` of this repository.
///
/// # Errors
/// As [`workspace`].
pub fn toolbox_dir() -> Result<PathBuf, Error> {
    Ok(workspace()?.join("target").join("local"))
}
