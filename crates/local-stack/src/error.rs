//! Errors of the local stack, with what to do about them.

use std::{io, path::PathBuf};

use aws_sdk_s3::error::BoxError;
use lambdas::aws::error_chain;

/// Why the workflow could not be set up or observed on this machine.
///
/// The failure of an execution is not an error of this type: see [`Execution`](crate::Execution).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository that the command builds and deploys has moved since the command was built.
    #[error("{} is not the repository of facereel any more; run `cargo run --release -- run` in the directory to which it was moved", expected.display())]
    WorkspaceMoved {
        /// Where it was when the command was built.
        expected: PathBuf,
    },
    /// A file of the bundle is missing.
    #[error("the bundle is not complete: {} is missing; unpack the archive again, with all of its files in one directory", path.display())]
    MissingPackage {
        /// The missing file.
        path: PathBuf,
    },
    /// The user's cache directory, for the emulator and the model, cannot be determined.
    #[error(
        "cannot determine the cache directory for the emulator and the face model; set HOME or XDG_CACHE_HOME to an absolute path"
    )]
    NoCacheDirectory,
    /// There is no Python interpreter that is new enough.
    #[error(
        "Python 3.10 or newer is needed; found: {found}; install one (https://www.python.org/downloads/, `brew install python`, `apt install python3 python3-venv`) and run again"
    )]
    NoPython {
        /// The interpreters on PATH with their versions, or `none`.
        found: String,
    },
    /// The interpreter cannot create virtual environments.
    #[error(
        "{python} could not create a virtual environment; on Debian and Ubuntu, run `apt install python3-venv`:\n{output}"
    )]
    NoVenv {
        /// The interpreter.
        python: String,
        /// The end of its output.
        output: String,
    },
    /// pip could not install the packages.
    #[error(
        "the packages could not be installed from PyPI; check the network, PIP_INDEX_URL and the proxy, and run again:\n{output}"
    )]
    NotInstalled {
        /// The end of the output of pip.
        output: String,
    },
    /// The package of a program has none for this machine.
    #[error("the package {package} has no program for this machine in {}", dir.display())]
    NoProgram {
        /// The Python package.
        package: &'static str,
        /// The directory that was searched.
        dir: PathBuf,
    },
    /// The face detection model could not be fetched or read.
    #[error("the face detection model could not be loaded: {0}")]
    Model(#[source] BoxError),
    /// cargo could not build the Lambda functions.
    #[error("the Lambda functions did not build; `cargo build -p lambdas` shows the complete output:\n{output}")]
    NotBuilt {
        /// The end of the output of cargo.
        output: String,
    },
    /// The build did not produce the binary of a function.
    #[error("the build produced no binary `{name}`; its source should be in lambdas/src/bin/")]
    MissingBinary {
        /// The function's name.
        name: &'static str,
    },
    /// The emulator ended, or did not answer, after it was started.
    #[error("the emulator did not start ({why}); its log is {}; its last lines:\n{}", log.display(), log_end)]
    EmulatorDidNotStart {
        /// Its exit status, or the error of the first request.
        why: String,
        /// The path of the emulator's log.
        log: PathBuf,
        /// The last lines of the log.
        log_end: String,
    },
    /// The port of the emulator cannot be opened.
    #[error("cannot listen on 127.0.0.1:{port}: {source}; choose another --port, or omit it for a free one")]
    Port {
        /// The requested port.
        port: u16,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The Rekognition stand-in could not start.
    #[error("the Rekognition stand-in did not start: {0}")]
    Rekognition(#[from] rekognition_local::StartError),
    /// The emulator rejected a call, or did not answer it.
    #[error("{call} failed on the local emulator: {}", error_chain(source.as_ref()))]
    Aws {
        /// The IAM action of the call.
        call: &'static str,
        /// The error of the SDK.
        source: BoxError,
    },
    /// A response of the emulator lacks a field that responses of AWS have.
    #[error("the response of the local emulator to {call} has no {missing}")]
    Incomplete {
        /// The IAM action of the call.
        call: &'static str,
        /// The missing field.
        missing: &'static str,
    },
    /// The event of an upload did not start an execution.
    #[error("no execution started for `{key}` within {seconds} s of its upload; see the emulator's log {}; its last lines:\n{}", log.display(), log_end)]
    NotTriggered {
        /// The object's key.
        key: String,
        /// How long the command waited, in seconds.
        seconds: u64,
        /// The path of the emulator's log.
        log: PathBuf,
        /// The last lines of the log.
        log_end: String,
    },
    /// An operation on a file of this machine failed.
    #[error("cannot {operation} {}: {source}", path.display())]
    File {
        /// The operation, such as "read" or "write".
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

impl Error {
    /// Wraps an SDK error with the IAM action of the call that failed.
    pub(crate) fn aws<E>(call: &'static str) -> impl Fn(E) -> Self
    where
        E: Into<BoxError>,
    {
        move |error| Self::Aws { call, source: error.into() }
    }

    /// Wraps an I/O error with the operation and the path of the file.
    pub fn file(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { operation, path, source }
    }
}
