//! Errors of `facereel blur`, with what to do about them.

use std::{io, path::PathBuf};

use face_detection::AnalyzeError;

use crate::{commands::run::RunError, stored::StoredError, terminal::text::quoted};

/// Why no blurred video was written.
#[derive(Debug, thiserror::Error)]
pub enum BlurError {
    /// The video does not exist or cannot be opened.
    #[error("the video {} cannot be read: {source}", path.display())]
    Video {
        /// The video.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The video is damaged, or not a video.
    #[error("{}: {source}; name a complete .mp4 or .mov", path.display())]
    NotAVideo {
        /// The video.
        path: PathBuf,
        /// The reason.
        source: AnalyzeError,
    },
    /// The name of the output does not say which format it has.
    #[error("the name of {} does not end with .mp4, .m4v or .mov; choose another --out", path.display())]
    Suffix {
        /// The output.
        path: PathBuf,
    },
    /// A file that would be written exists.
    #[error("{} exists; choose another name, or replace it with --force", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The review sheet would replace a video.
    #[error("{} is the video; choose another --review", path.display())]
    SheetIsVideo {
        /// The file.
        path: PathBuf,
    },
    /// The output, or the review sheet, cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or its directory.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The disk is full.
    #[error("the disk of {} is full; nothing was kept; free space for about the size of the video, or choose another --out", path.display())]
    DiskFull {
        /// The output.
        path: PathBuf,
    },
    /// The results are those of another video.
    #[error(
        "{results} is the result of another video: {difference}; name the video that was analysed, or omit the results to analyse this one"
    )]
    OtherVideo {
        /// The directory or folder.
        results: String,
        /// What differs.
        difference: String,
    },
    /// The directory for the results of this video has those of another one, which the analysis would replace.
    #[error(
        "{} contains the results of another video, and they are not replaced; analyse this video with `facereel run {} --out DIR`, and name DIR after it",
        dir.display(), quoted(video)
    )]
    ResultsOfAnother {
        /// The directory.
        dir: PathBuf,
        /// The video.
        video: PathBuf,
    },
    /// The results cannot be read.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// A line of the faces has no time or box.
    #[error("{results}: line {line} of the faces is not a face; analyse the video again")]
    NotAFace {
        /// The directory or folder.
        results: String,
        /// The line, counted from 1 over all pages.
        line: usize,
    },
    /// The analysis of the video failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// No ffmpeg is installed, and the pinned one could not be installed.
    #[error(
        "the ffmpeg on the PATH cannot be used ({reason}), and the pinned one was not installed: {source}; install ffmpeg 6.1 or later (`apt install ffmpeg`, `brew install ffmpeg`), or name one with the environment variable FFMPEG"
    )]
    NoFfmpeg {
        /// Why the installed one is not suitable.
        reason: String,
        /// Why the pinned one was not installed.
        source: local_stack::Error,
    },
    /// The ffmpeg that the user has named cannot be used.
    #[error(
        "the ffmpeg {} cannot be used: {reason}; name another one with the environment variable FFMPEG, or remove the variable",
        program.display()
    )]
    Unsuitable {
        /// The program.
        program: PathBuf,
        /// The reason.
        reason: String,
    },
    /// ffmpeg did not start.
    #[error("{} cannot be started: {source}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The pixels of the video are in a format that is not supported.
    #[error(
        "the pixel format {format} of the video is not supported; convert the video: ffmpeg -i VIDEO -c:v libx264 -pix_fmt yuv420p -c:a copy CONVERTED.mp4, and analyse the converted one"
    )]
    Format {
        /// Its name.
        format: String,
    },
    /// The video could not be decoded to its end.
    #[error(
        "ffmpeg cannot decode the video: {reason}; nothing was kept; try to repair the video with: ffmpeg -i VIDEO -c:v libx264 REPAIRED.mp4, and analyse the repaired one"
    )]
    Decode {
        /// ffmpeg's reason.
        reason: String,
    },
    /// Fewer frames than in the index of the file were decoded.
    #[error(
        "ffmpeg decoded {decoded} of {expected} frames of the video, so it is damaged; nothing was kept; name a complete video"
    )]
    FramesMissing {
        /// The number of frames that were decoded.
        decoded: usize,
        /// The number in the index.
        expected: usize,
    },
    /// The blurred video could not be encoded.
    #[error("ffmpeg cannot write the blurred video: {reason}; nothing was kept")]
    Encode {
        /// ffmpeg's reason.
        reason: String,
    },
    /// The stream between the processes is not as expected.
    #[error("{source}; please report this, with the output of `ffmpeg -version`")]
    Stream {
        /// What is wrong.
        source: io::Error,
    },
}

impl BlurError {
    /// The exit status of the command: 2 for an error in the command line, else 1.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Video { .. }
            | Self::Suffix { .. }
            | Self::Exists { .. }
            | Self::SheetIsVideo { .. }
            | Self::OtherVideo { .. }
            | Self::ResultsOfAnother { .. } => 2,
            Self::Run(error) => error.exit_status(),
            _ => 1,
        }
    }
}
