//! Errors of `facereel view`, with what to do about them.

use std::{io, path::PathBuf};

use crate::deployed::Error;
use crate::stored::StoredError;

/// Why the results cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The results cannot be read.
    #[error(transparent)]
    Stored(#[from] StoredError),
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
    /// The server cannot listen on the port, for example because it is in use.
    #[error("cannot listen on 127.0.0.1:{port}: {source}; choose another --port, or omit it for a free one")]
    Listen {
        /// The requested port.
        port: u16,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A video is named for several results.
    #[error(
        "{results} contains several results, and {video} is the video of one; name its result: facereel view RESULT {video}"
    )]
    VideoOfMany {
        /// The results, as given on the command line.
        results: String,
        /// The video, as given on the command line.
        video: String,
    },
    /// The stack of `--state-machine` cannot be read.
    #[error(transparent)]
    Stack(Error),
    /// The results are not those of the stack of `--state-machine`.
    #[error(
        "{state_machine} stores its results in {results}, not in {bucket}; name that bucket (facereel view s3://{results}), or omit --state-machine"
    )]
    OtherStack {
        /// The ARN of the state machine.
        state_machine: String,
        /// Its results bucket.
        results: String,
        /// The bucket of the command line.
        bucket: String,
    },
    /// A document of the page cannot be written.
    #[error("cannot write the list of results as JSON: {0}")]
    Json(#[from] serde_json::Error),
}
