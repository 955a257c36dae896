//! Errors of `facereel view`, with what to do about them.

use std::{io, path::PathBuf};

use aws_sdk_s3::error::BoxError;

use lambdas::aws::error_chain;

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
    /// An `s3://` address without a bucket or a key.
    #[error("{0} is not the address of an object or folder in S3; the format is s3://BUCKET/KEY")]
    Address(String),
    /// A call to S3 failed.
    #[error(
        "cannot read {location}; check that your AWS credentials and Region are set (AWS_PROFILE, AWS_REGION) and allow {call}: {}",
        error_chain(source.as_ref())
    )]
    Aws {
        /// The IAM action of the call.
        call: &'static str,
        /// The object.
        location: String,
        /// The error of the SDK.
        source: BoxError,
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
