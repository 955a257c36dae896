//! Why the workflow could not run here, and what to do about it.

use std::{io, path::PathBuf};

use aws_sdk_s3::error::{BoxError, DisplayErrorContext};

/// Why the workflow could not be set up or watched on this machine.
///
/// An execution that failed is no such error: see [`Execution`](crate::Execution).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command builds and deploys its own repository, which has moved.
    #[error("{} is not facereel's repository any more; run `cargo run --release -- run` in the place it moved to", expected.display())]
    WorkspaceMoved {
        /// Where it was when the command was built.
        expected: PathBuf,
    },
    /// The emulator is a Python program.
    #[error(
        "Python 3.10 or newer is needed for the emulator, and found was {found}; install one (https://www.python.org/downloads/, `brew install python`, `apt install python3 python3-venv`) and run again"
    )]
    NoPython {
        /// The interpreters on PATH and their versions.
        found: String,
    },
    /// The interpreter cannot make virtual environments.
    #[error(
        "{python} could not make a virtual environment; on Debian and Ubuntu `apt install python3-venv` brings what is missing:\n{output}"
    )]
    NoVenv {
        /// The interpreter.
        python: String,
        /// What it said.
        output: String,
    },
    /// pip could not install the emulator.
    #[error(
        "the emulator could not be installed from PyPI; check the network (and PIP_INDEX_URL or a proxy, where one is used) and run again:\n{output}"
    )]
    NotInstalled {
        /// The end of what pip said.
        output: String,
    },
    /// The face detection model could not be fetched or read.
    #[error("the face detection model: {0}")]
    Model(#[source] BoxError),
    /// cargo could not build the Lambda functions.
    #[error("the Lambda functions did not build; `cargo build -p lambdas` shows why in full:\n{output}")]
    NotBuilt {
        /// The end of what cargo said.
        output: String,
    },
    /// The build has no such binary.
    #[error("no binary `{name}` was built; lambdas/src/bin/ should hold it")]
    MissingBinary {
        /// The function's name.
        name: &'static str,
    },
    /// The emulator ended or stayed silent when it was started.
    #[error("the emulator did not start ({why}); its log is {}, and ends:\n{}", log.display(), log_end)]
    EmulatorDidNotStart {
        /// What was seen.
        why: String,
        /// The emulator's log.
        log: PathBuf,
        /// The last lines of the log.
        log_end: String,
    },
    /// The Rekognition stand-in could not start.
    #[error("the Rekognition stand-in did not start")]
    Rekognition(#[from] rekognition_local::StartError),
    /// The emulator refused a call, or did not answer.
    #[error("{call} on the local emulator: {}", DisplayErrorContext(source.as_ref()))]
    Aws {
        /// The call, as IAM names it.
        call: &'static str,
        /// What the SDK said.
        source: BoxError,
    },
    /// The emulator's answer lacks what AWS's has.
    #[error("the local emulator answered {call} without {missing}")]
    Incomplete {
        /// The call, as IAM names it.
        call: &'static str,
        /// The field.
        missing: &'static str,
    },
    /// The upload's event started nothing.
    #[error("no execution began for `{key}` within {seconds} s of its upload; the emulator's log {} says more, and ends:\n{}", log.display(), log_end)]
    NotTriggered {
        /// The object's key.
        key: String,
        /// How long was waited.
        seconds: u64,
        /// The emulator's log.
        log: PathBuf,
        /// The last lines of the log.
        log_end: String,
    },
    /// A file of this machine.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// What was done, as "read" or "write".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl Error {
    /// Sorts an SDK error under the call that met it.
    pub(crate) fn aws<E>(call: &'static str) -> impl Fn(E) -> Self
    where
        E: Into<BoxError>,
    {
        move |error| Self::Aws { call, source: error.into() }
    }

    /// Names the file that an I/O error is about.
    pub fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }
}
