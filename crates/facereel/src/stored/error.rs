//! Errors of reading results, with what to do about them.

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
}
