//! The whole workflow on one machine: this repository's state machine and Lambda binaries, on an emulator that speaks AWS's
//! APIs on a loopback port, with a stand-in for Rekognition that really looks at the video.
//!
//! ```no_run
//! # async fn example(detector: std::sync::Arc<dyn face_detection::Detector>) -> Result<(), local_stack::Error> {
//! use local_stack::{LambdaPackages, Silent, Dependencies, Workflow, WorkflowOptions};
//!
//! let dependencies = Dependencies::prepare(&local_stack::dependencies_dir()?, &Silent).await?;
//! let packages = LambdaPackages::build(&Silent).await?;
//! let workflow = Workflow::start(&dependencies, &packages, WorkflowOptions::new(detector)).await?;
//! workflow.uploads.put("holiday.mp4", *b"...").await?;
//! let execution = workflow.execution_of("holiday.mp4").await?;
//! let execution = workflow.executions.wait(&execution.arn).await?;
//! assert!(execution.has_succeeded(), "{execution:?}");
//! # Ok(()) }
//! ```

mod dependencies;
mod emulator;
mod error;
mod executions;
mod group;
mod lambda_packages;
mod objects;
mod progress;
mod stack;
mod workflow;

use std::path::{Path, PathBuf};

pub use dependencies::Dependencies;
pub use emulator::Emulator;
pub use error::Error;
pub use executions::{Execution, Executions};
pub use lambda_packages::LambdaPackages;
pub use objects::{Object, Objects, PART_BYTES};
pub use progress::{Progress, Silent};
pub use stack::{FaceAttributes, Stack, StackOptions};
pub use workflow::{Workflow, WorkflowOptions};

/// The root of this repository: `facereel` builds and deploys what lies there.
///
/// # Errors
/// [`Error::WorkspaceMoved`] when it is no longer where the command was built.
pub fn workspace() -> Result<PathBuf, Error> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().nth(2).unwrap_or(package);
    if root.join(stack::DEFINITION).is_file() {
        Ok(root.to_owned())
    } else {
        Err(Error::WorkspaceMoved { expected: root.to_owned() })
    }
}

/// Where the emulator, the model and the logs live: `target/local` of this repository.
///
/// # Errors
/// As [`workspace`].
pub fn dependencies_dir() -> Result<PathBuf, Error> {
    Ok(workspace()?.join("target").join("local"))
}
