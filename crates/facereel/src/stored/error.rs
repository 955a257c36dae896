//! Errors of reading results, with what to do about them.

use std::{io, path::PathBuf};

use crate::deployed::{Error, NotAnS3Uri};

/// Why a result cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
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
    /// There is no result below a directory.
    #[error(
        "{} contains no result: neither it nor a directory below it has a manifest.json with a summary.json; name a directory that `facereel run` has written, such as facereel-results, or a bucket: s3://BUCKET",
        dir.display()
    )]
    NoResultBelow {
        /// The directory.
        dir: PathBuf,
    },
    /// There is no result with a prefix in a bucket.
    #[error(
        "{location} contains no result; name the results bucket of a stack (`terraform output -raw results_bucket`), or in it the start of a result's key: s3://BUCKET/results/KEY-OF-VIDEO"
    )]
    NoResultInBucket {
        /// The bucket and the prefix that was listed.
        location: String,
    },
    /// A directory cannot be listed.
    #[error("cannot list {}: {source}; name the directory of a result, or one with results below it", dir.display())]
    Unreadable {
        /// The directory.
        dir: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}
