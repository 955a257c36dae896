//! Which faces the real detector still finds after they were hidden.

use std::path::{Path, PathBuf};
use std::time::Duration;

use face_detection::{Continue, Detector as _, FaceDetection};
use facereel::commands::blur::{Ffmpeg, Hiding, hide_tracks};
use lambdas::results::Track;
use local_stack::Silent;
use redaction::Style;
use serde::Deserialize;

use crate::clips::{detector, fixture, truth};
use crate::tracking::tracks;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KnownFrame {
    timestamp: i64,
    faces: Vec<KnownFace>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KnownFace {
    left: f32,
    top: f32,
    width: f32,
    height: f32,
    expected: bool,
}

impl KnownFace {
    /// Whether the middle of a found face is in this one.
    fn has(&self, FaceDetection { face, .. }: &FaceDetection) -> bool {
        let found = face.bounding_box;
        let inside = |middle: f32, from: f32, length: f32| (from..from + length).contains(&middle);
        inside(found.left + found.width / 2.0, self.left, self.width)
            && inside(found.top + found.height / 2.0, self.top, self.height)
    }
}

/// A clip with its known faces, and the tracks of a normal analysis.
pub struct Clip {
    video: PathBuf,
    truth: Vec<KnownFrame>,
    tracks: Vec<Track>,
    /// The interval of the frames that are looked at, in milliseconds.
    interval_ms: i64,
}

impl Clip {
    /// Reads and analyses a clip; one frame of each interval of `interval_ms` milliseconds is looked at later.
    ///
    /// # Panics
    /// When it cannot be analysed.
    #[must_use]
    pub fn read(clip: &str, interval_ms: i64) -> Self {
        let video = fixture(&format!("{clip}.mp4"));
        let known = std::fs::read(truth(clip)).expect("the known faces can be read");
        let mut truth: Vec<KnownFrame> = serde_json::from_slice(&known).expect("the known faces are JSON");
        truth.dedup_by_key(|frame| frame.timestamp / interval_ms);
        let analysis = detector(500).analyze(&video, &|_| Continue::Yes).expect("the clip can be analysed");
        let size = (analysis.metadata.frame_width.unsigned_abs(), analysis.metadata.frame_height.unsigned_abs());
        Self { video, truth, tracks: tracks(&analysis.faces, size), interval_ms }
    }

    /// The number of known faces that are visible for the most part.
    #[must_use]
    pub fn expected(&self) -> usize {
        self.truth.iter().flat_map(|frame| &frame.faces).filter(|face| face.expected).count()
    }

    /// The known faces that are found after they were hidden: time and confidence.
    ///
    /// # Panics
    /// When they cannot be hidden, or the hidden video cannot be analysed.
    pub async fn remaining(&self, ffmpeg: &Ffmpeg, hiding: &Hiding) -> Vec<(i64, f32)> {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let out = dir.path().join("hidden.mp4");
        let hidden = hide_tracks(ffmpeg, &self.video, self.tracks.clone(), hiding, &out, &Silent).await;
        hidden.unwrap_or_else(|error| panic!("{}: {error}", self.video.display()));
        self.found(&self.look(&out)).1
    }

    /// The faces in the first frame of each interval of a video.
    fn look(&self, video: &Path) -> Vec<FaceDetection> {
        detector(self.interval_ms).analyze(video, &|_| Continue::Yes).expect("the video can be analysed").faces
    }

    /// The known faces that are among the found ones: the number of the expected ones, and of all, time and confidence.
    fn found(&self, faces: &[FaceDetection]) -> (usize, Vec<(i64, f32)>) {
        let (mut expected, mut all) = (0, Vec::new());
        for frame in &self.truth {
            for known in &frame.faces {
                let mut same = faces.iter().filter(|found| found.timestamp == frame.timestamp);
                if let Some(found) = same.find(|found| known.has(found)) {
                    expected += usize::from(known.expected);
                    all.push((frame.timestamp, found.face.confidence));
                }
            }
        }
        (expected, all)
    }
}

/// How many of the known faces of a clip are found.
#[derive(Debug)]
pub struct Remaining {
    /// The clip's name.
    pub name: &'static str,
    /// The number of frames that are looked at.
    pub frames: usize,
    /// The number of known faces that are visible for the most part.
    pub faces: usize,
    /// How many of those are found in the clip.
    pub found: usize,
    /// How many known faces are found when they are blurred.
    pub blurred: usize,
    /// How many known faces are found when they are pixelated.
    pub pixelated: usize,
    /// How many known faces are found when their boxes alone are blurred, without margin and hold.
    pub boxes_blurred: usize,
}

/// Looks at every frame of each clip, every second one of the sample clip, with each way to hide. This takes some minutes.
///
/// # Panics
/// As [`Clip::remaining`].
pub async fn measure_clips(ffmpeg: &Ffmpeg) -> Vec<Remaining> {
    let pixelate = Hiding { style: Style::Pixelate, ..Hiding::default() };
    let boxes = Hiding { margin: 0.0, hold: Duration::ZERO, ..Hiding::default() };
    let mut measured = Vec::new();
    for (name, clip, interval_ms) in crate::clips::ALL {
        let clip = Clip::read(clip, interval_ms);
        measured.push(Remaining {
            name,
            frames: clip.truth.len(),
            faces: clip.expected(),
            found: clip.found(&clip.look(&clip.video)).0,
            blurred: clip.remaining(ffmpeg, &Hiding::default()).await.len(),
            pixelated: clip.remaining(ffmpeg, &pixelate).await.len(),
            boxes_blurred: clip.remaining(ffmpeg, &boxes).await.len(),
        });
    }
    measured
}
