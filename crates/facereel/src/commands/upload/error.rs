//! Errors of `facereel upload`, with what to do about them.

use std::{io, path::PathBuf};

use crate::deployed::{Error, S3Uri};
use crate::terminal::exit::{ExitStatus, FAILURE};

/// Why a video was not uploaded.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// Some of the files are not suitable. Nothing was uploaded.
    #[error("nothing was uploaded: {}", .0.join("\n  "))]
    Refused(Vec<String>),
    /// Another object has appeared under the key during the upload.
    #[error("{0} was written by another upload meanwhile, and is not replaced; use another key (--to), or --replace")]
    Exists(S3Uri),
    /// The unfinished upload was completed or removed by another process.
    #[error("the unfinished upload to {0} was completed or removed by another process; run the same command again")]
    UploadGone(S3Uri),
    /// The file has changed since the command has started.
    #[error("{} has changed during the upload, so it was not completed; run the command again when the file is complete", .0.display())]
    Changed(PathBuf),
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The upload of a file has failed between two parts.
    #[error("the upload of {} is not complete: {source}; run the same command again: it continues with the missing parts", path.display())]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// The failed call.
        source: Error,
    },
    /// A call to AWS failed.
    #[error(transparent)]
    Aws(#[from] Error),
}

impl UploadError {
    /// The exit status of the command: 2 for an error in the command line, else 1.
    #[must_use]
    pub fn exit_status(&self) -> ExitStatus {
        match self {
            Self::Refused(_) => 2,
            _ => FAILURE,
        }
    }
}
