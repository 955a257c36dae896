//! Detectors with a canned result: for results larger than those of a small video, and for jobs that stay in progress.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use face_detection::{
    Analysis, AnalyzeError, BoundingBox, Continue, Detector, FaceDetail, FaceDetection, VideoMetadata,
};

/// The number of faces in one frame of a canned result, except for the last frame.
const FACES_A_FRAME: usize = 3;

/// A detector that finds the same faces in every video.
#[derive(Debug, Clone)]
pub struct Canned {
    /// The faces that it finds.
    pub faces: Vec<FaceDetection>,
}

impl Canned {
    /// A detector that finds `count` different faces, three per frame and two frames a second.
    #[must_use]
    pub fn faces(count: usize) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let face = |index: usize| FaceDetection {
            timestamp: i64::try_from(index / FACES_A_FRAME).expect("a small number") * 500,
            face: FaceDetail {
                bounding_box: BoundingBox {
                    width: 0.1,
                    height: 0.2,
                    left: (index % 90) as f32 / 100.0,
                    top: (index % 80) as f32 / 100.0,
                },
                confidence: 60.0 + (index % 40) as f32,
                landmarks: Vec::new(),
                pose: None,
                quality: None,
            },
        };
        Self { faces: (0..count).map(face).collect() }
    }
}

impl Detector for Canned {
    fn analyze(&self, _video: &Path, _progress: &dyn Fn(f32) -> Continue) -> Result<Analysis, AnalyzeError> {
        let last = self.faces.last().map_or(0, |face| face.timestamp);
        let metadata = VideoMetadata {
            codec: "h264".to_owned(),
            duration_millis: last + 500,
            format: "QuickTime / MOV".to_owned(),
            frame_rate: 25.0,
            frame_height: 720,
            frame_width: 1280,
            color_range: "LIMITED".to_owned(),
        };
        Ok(Analysis { metadata, faces: self.faces.clone() })
    }
}

/// Holds a [`Gated`] detector back until it is opened.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Lets every current and later analysis continue.
    pub fn open(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }
}

/// A detector whose jobs stay in progress until its gate is opened.
#[derive(Debug, Clone)]
pub struct Gated {
    gate: Gate,
    then: Canned,
}

impl Gated {
    /// A closed gate, and the detector behind it.
    #[must_use]
    pub fn before(then: Canned) -> (Gate, Self) {
        let gate = Gate::default();
        (gate.clone(), Self { gate, then })
    }
}

impl Detector for Gated {
    fn analyze(&self, video: &Path, progress: &dyn Fn(f32) -> Continue) -> Result<Analysis, AnalyzeError> {
        let (open, opened) = &*self.gate.0;
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        while !*open {
            // A server that stops does not open the gate, so the analysis checks regularly whether it is cancelled.
            if progress(0.0) == Continue::No {
                return Err(AnalyzeError::Cancelled);
            }
            open = opened.wait_timeout(open, Duration::from_millis(20)).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(open);
        self.then.analyze(video, progress)
    }
}
