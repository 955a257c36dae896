//! Errors of `facereel view`, with what to do about them.

use std::{io, path::PathBuf};

use crate::deployed::{Error, NotAnS3Uri};

/// Why the results cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The location has no complete result.
    #[error(
        "{location} has no complete result: {reason}; name the directory or the s3:// folder that contains manifest.json"
    )]
    NoResult {
        /// The directory or folder.
        location: String,
        /// What is missing or invalid.
        reason: String,
    },
    /// The video is in none of the directories that are searched.
    #[error(
        "{name} ({bytes} bytes) was not found near the results or in the current directory; name the video: facereel view {results} VIDEO"
    )]
    NoVideo {
        /// The name of its file.
        name: String,
        /// Its size in bytes.
        bytes: u64,
        /// The results, as given on the command line.
        results: String,
    },
    /// The video cannot be read.
    #[error("cannot read the video {path}: {source}", path = path.display())]
    Video {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The text is meant to be an address in S3, and is not.
    #[error(transparent)]
    Address(#[from] NotAnS3Uri),
    /// A bucket without a key.
    #[error("{0} is a whole bucket; name a result in it: s3://BUCKET/results/KEY/IDEMPOTENCY-KEY/")]
    NoKey(String),
    /// A call to S3 failed.
    #[error("cannot read {location}: {source}")]
    Aws {
        /// The object.
        location: String,
        /// Why the call failed.
        source: Error,
    },
    /// The server cannot listen on the port, for example because it is in use.
    #[error("cannot listen on 127.0.0.1:{port}: {source}; choose another --port, or omit it for a free one")]
    Listen {
        /// The requested port.
        port: u16,
        /// The error of the operating system.
        source: io::Error,
    },
}
