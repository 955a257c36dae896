//! The directories of this repository.

use std::path::{Path, PathBuf};

use crate::Error;

/// The definition of the state machine, relative to the root of the repository.
pub(crate) const DEFINITION: &str = "statemachine/analyze-video.asl.json";

/// The root of this repository, from which the command builds and deploys the workflow.
///
/// # Errors
/// [`Error::WorkspaceMoved`], if the repository was moved after the command was built.
pub fn workspace() -> Result<PathBuf, Error> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().nth(2).unwrap_or(package);
    if root.join(DEFINITION).is_file() {
        Ok(root.to_owned())
    } else {
        Err(Error::WorkspaceMoved { expected: root.to_owned() })
    }
}

/// The directory for the emulator, the model and the logs: `target/local` of this repository.
///
/// # Errors
/// As [`workspace`].
pub fn dependencies_dir() -> Result<PathBuf, Error> {
    Ok(workspace()?.join("target").join("local"))
}
