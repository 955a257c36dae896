//! The whole workflow on one machine: the state machine and the Lambda functions of this repository on an emulator that
//! implements the AWS APIs on a loopback port, and a stand-in for Rekognition that detects the faces in the video.
//!
//! ```no_run
//! # async fn example(detector: std::sync::Arc<dyn face_detection::Detector>) -> Result<(), local_stack::Error> {
//! use local_stack::{Dependencies, Installation, LambdaPackages, Silent, Workflow, WorkflowOptions};
//!
//! let installation = Installation::find()?;
//! let dependencies = Dependencies::prepare(&installation.dependencies_dir()?, &Silent).await?;
//! let packages = LambdaPackages::prepare(&installation, &Silent).await?;
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
mod installation;
mod lambda_packages;
mod objects;
mod process_group;
mod progress;
mod stack;
mod workflow;

pub use dependencies::{Dependencies, install_ffmpeg};
pub use emulator::{ACCESS_KEY, Emulator, REGION};
pub use error::Error;
pub use executions::{Execution, Executions};
pub use installation::{Installation, workspace};
pub use lambda_packages::LambdaPackages;
pub use objects::{Object, Objects, PART_BYTES};
pub use progress::{Progress, Silent};
pub use stack::{Stack, StackOptions};
pub use workflow::{Workflow, WorkflowOptions};
