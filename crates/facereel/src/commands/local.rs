//! The set-up of the workflow on this machine, for `facereel run` and `facereel up`.

use std::sync::Arc;

use face_detection::CenterFace;
use local_stack::{Dependencies, Error, Installation, LambdaPackages, Progress as _, Workflow, WorkflowOptions};

use crate::terminal::Terminal;

/// Starts the workflow with the real face detector, and with options that `change` has changed. What is missing is installed and
/// built first.
pub(super) async fn start(terminal: &Terminal, change: impl FnOnce(&mut WorkflowOptions)) -> Result<Workflow, Error> {
    terminal.step("Setting up");
    let installation = Installation::find()?;
    let dependencies = Dependencies::prepare(&installation.dependencies_dir()?, terminal).await?;
    if matches!(installation, Installation::Clone(_)) {
        terminal.step("Building the Lambda functions");
    }
    let packages = LambdaPackages::prepare(&installation, terminal).await?;
    terminal.step("Starting the workflow");
    let detector = CenterFace::load(dependencies.model()).map_err(|error| Error::Model(error.into()))?;
    let mut options = WorkflowOptions::new(Arc::new(detector));
    change(&mut options);
    Workflow::start(&dependencies, &packages, options).await
}
