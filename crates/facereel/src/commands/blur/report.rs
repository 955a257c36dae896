//! The report of `facereel blur`.

use std::{fmt, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::{
    documents::document,
    terminal::{exit, text::counted},
};

/// The blurred video.
#[derive(Debug)]
pub struct BlurReport {
    pub(super) out: PathBuf,
    pub(super) style: &'static str,
    pub(super) margin: f32,
    pub(super) hold: Duration,
    pub(super) tracks: usize,
    pub(super) frames: usize,
    pub(super) hidden_frames: usize,
    /// The review sheet, and the number of doubtful moments.
    pub(super) review: Option<(PathBuf, usize)>,
}

/// The report of a blurred video as JSON.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "The report of `facereel blur --json`")]
pub struct BlurDocument {
    /// The file with the blurred video.
    video: String,
    /// How the faces are hidden: blur, pixelate or box.
    style: String,
    /// The share of a box's width and height that was added on each side.
    margin: f32,
    /// How long a face is hidden before its first and after its last detection, in milliseconds.
    hold_ms: u64,
    /// The number of tracks that are hidden.
    tracks: usize,
    /// The number of frames.
    frames: usize,
    /// The number of frames with a hidden region.
    frames_with_hidden_regions: usize,
    /// The review sheet. null without --review.
    review: Option<ReviewDocument>,
}

/// The review sheet.
#[derive(Debug, Serialize, JsonSchema)]
struct ReviewDocument {
    /// The file.
    file: String,
    /// The number of doubtful moments.
    doubtful_moments: usize,
}

impl exit::Report for BlurReport {
    fn json(&self) -> Value {
        document(&BlurDocument {
            video: self.out.to_string_lossy().into_owned(),
            style: self.style.to_owned(),
            margin: self.margin,
            hold_ms: u64::try_from(self.hold.as_millis()).unwrap_or(u64::MAX),
            tracks: self.tracks,
            frames: self.frames,
            frames_with_hidden_regions: self.hidden_frames,
            review: self.review.as_ref().map(|(file, moments)| ReviewDocument {
                file: file.to_string_lossy().into_owned(),
                doubtful_moments: *moments,
            }),
        })
    }
}

impl fmt::Display for BlurReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Video    {}", self.out.display())?;
        let tracks = counted(self.tracks, "track");
        writeln!(f, "Hidden   {tracks}, in {} of {}", self.hidden_frames, counted(self.frames, "frame"))?;
        if let Some((file, moments)) = &self.review {
            writeln!(f, "Review   {} in {}", counted(*moments, "doubtful moment"), file.display())?;
        }
        write!(f, "A face that the analysis has not found is visible. Watch the video before you publish it.")
    }
}
