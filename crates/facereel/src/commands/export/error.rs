//! Errors of `facereel export`, with what to do about them.

use std::{io, path::PathBuf};

use crate::stored::StoredError;

/// Why the results cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The results cannot be read.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// The result was written before there were tracks.
    #[error(
        "{0} has no tracks, because an older release of facereel has written it; export its detections with --of detections, or analyse the video again"
    )]
    NoTracks(String),
    /// Rekognition has not reported the frame rate, so a time has no frame.
    #[error("{0} does not contain the frame rate of the video; name it, for example with --frame-rate 25")]
    NoFrameRate(String),
    /// No frame has the timecode that the video is to begin with.
    #[error("--start-timecode {timecode} is not a timecode of this video: {reason}")]
    StartTimecode {
        /// The timecode.
        timecode: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The format has no place for an option.
    #[error("{0} applies to csv, edl, otio and fcpxml; omit it, because the times of vtt are milliseconds")]
    NotForVtt(&'static str),
    /// The output file exists.
    #[error("{path} exists; replace it with --force, or choose another file with --out", path = .0.display())]
    Exists(PathBuf),
    /// The output is a directory, a device or a pipe.
    #[error(
        "{path} is not a file; choose a file with --out, or write to standard output with --out -",
        path = .0.display()
    )]
    NotAFile(PathBuf),
    /// The output cannot be written.
    #[error("cannot write to {to}: {source}")]
    Write {
        /// The file, or standard output.
        to: String,
        /// The error of the operating system.
        source: io::Error,
    },
}

impl ExportError {
    /// The exit status of the command: 2 for an error in the command line, else 1.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Stored(_) | Self::Write { .. } => 1,
            _ => 2,
        }
    }
}
