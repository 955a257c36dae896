//! From a file to its faces: some threads decode, while others detect faces, each in its own frame.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, available_parallelism};

use crate::centerface::{CenterFace, Face};
use crate::container::{Movie, Sample, VideoTrack};
use crate::frame::{Crop, Frame};
use crate::network::Worker;
use crate::{
    Analysis, AnalyzeError, BoundingBox, Continue, Detector, FaceDetail, FaceDetection, Landmark, VideoMetadata,
};
use crate::{ffmpeg, h264};

/// The maximum number of decoded frames that wait for the network: enough to keep the threads busy with little memory.
const WAITING_FRAMES: usize = 2;
/// The maximum number of threads that detect faces, each in a separate frame: about 25 MB each.
const MAX_DETECTING: usize = 8;

/// Takes a decoded frame with its time in milliseconds, from any thread, and returns whether to continue.
pub(super) type Sink<'a> = dyn Fn(i64, Frame) -> bool + Sync + 'a;

impl Detector for CenterFace {
    fn analyze(&self, video: &Path, progress: &dyn Fn(f32) -> Continue) -> Result<Analysis, AnalyzeError> {
        let Movie { reader, track } = Movie::open(video)?;
        let wanted = sampled(&track.samples, self.interval_millis);
        let config = h264_config(&track);
        let full_range = match &config {
            Ok(config) => config.pictures.full_range,
            Err(_) => track.full_range.unwrap_or(false),
        };
        let built_in = config.and_then(|config| {
            self.detect_all(&track, wanted.len(), progress, |sink| {
                h264::decode(&reader, &track.samples, &config, &wanted, &|index, frame| {
                    let shown_at = track.samples[index].shown_at.unwrap_or_default();
                    sink(shown_at, frame.with_full_range(full_range))
                })
            })
        });
        let faces = match built_in {
            // The file or the built-in decoder has a defect, and ffmpeg may still decode the video.
            Err(AnalyzeError::UnsupportedCodec(_) | AnalyzeError::Failed { .. }) if ffmpeg::is_installed() => {
                let expected: Vec<i64> = wanted.iter().filter_map(|index| track.samples[*index].shown_at).collect();
                self.detect_all(&track, wanted.len(), progress, |sink| {
                    ffmpeg::decode(video, &track, self.interval_millis, &expected, sink)
                })
            }
            result => result,
        }?;
        Ok(Analysis { metadata: metadata(&track, full_range), faces })
    }
}

impl CenterFace {
    /// Runs `decode` on a separate thread and detects the faces in the frames that it returns with their times, about `expected`.
    fn detect_all(
        &self,
        track: &VideoTrack,
        expected: usize,
        progress: &dyn Fn(f32) -> Continue,
        decode: impl FnOnce(&Sink) -> Result<(), AnalyzeError> + Send,
    ) -> Result<Vec<FaceDetection>, AnalyzeError> {
        let (send, frames) = sync_channel(WAITING_FRAMES);
        let (report, reports) = channel();
        let frames = Arc::new(Mutex::new(frames));
        let mut faces = Vec::new();
        thread::scope(|scope| {
            let decoding = scope.spawn(move || decode(&|millis, frame| send.send((millis, frame)).is_ok()));
            for _ in 0..available_parallelism().map_or(1, NonZero::get).min(MAX_DETECTING) {
                let (frames, report) = (Arc::clone(&frames), report.clone());
                scope.spawn(move || {
                    let worker = Worker::new();
                    let next = || frames.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    while let Ok((timestamp, frame)) = next() {
                        let found = self.describe_all(&worker, timestamp, &Frame::rotated(frame, track.rotation));
                        if report.send(found).is_err() {
                            break;
                        }
                    }
                });
            }
            // Only the threads keep these, so that each end of a channel notices the end of the other.
            drop((frames, report));
            // Leaving this loop early drops the receiver, which ends the detecting threads, and these end the decoding.
            for (done, found) in (1..).zip(reports) {
                faces.extend(found?);
                if progress(share(done, expected)) == Continue::No {
                    return Err(AnalyzeError::Cancelled);
                }
            }
            decoding.join().unwrap_or_else(|panic| resume_unwind(panic))
        })?;
        // Frames come from several threads, and in decoding order, which for B-frames is not the order in which they are shown.
        faces.sort_by_key(|face: &FaceDetection| face.timestamp);
        Ok(faces)
    }

    /// The faces of one frame as it is shown.
    fn describe_all(&self, worker: &Worker, timestamp: i64, frame: &Frame) -> Result<Vec<FaceDetection>, AnalyzeError> {
        let found = self.detect(worker, frame).map_err(|error| AnalyzeError::Failed {
            at_millis: timestamp,
            reason: format!("the face model failed: {error}"),
        })?;
        let described = found.iter().filter_map(|face| describe(face, frame));
        Ok(described.map(|face| FaceDetection { timestamp, face }).collect())
    }
}

/// The configuration of the built-in decoder.
///
/// # Errors
/// [`AnalyzeError::UnsupportedCodec`] when it cannot decode the track.
pub(super) fn h264_config(track: &VideoTrack) -> Result<h264::Config, AnalyzeError> {
    let unsupported = |what: String| Err(AnalyzeError::UnsupportedCodec(what));
    match (&track.codec, &track.avc_config) {
        (b"avc1" | b"avc3", Some(record)) if track.one_description => h264::Config::parse(record),
        (b"avc1" | b"avc3", _) => unsupported("H.264 whose parameters change within the file".to_owned()),
        (b"encv", _) => unsupported("an encrypted video".to_owned()),
        _ => unsupported(codec_name(track.codec)),
    }
}

/// The indices of the frames to analyse, in decoding order: the first frame shown in every `interval_millis`.
pub(super) fn sampled(samples: &[Sample], interval_millis: i64) -> Vec<usize> {
    let mut shown: Vec<(i64, usize)> =
        samples.iter().enumerate().filter_map(|(index, sample)| sample.shown_at.map(|at| (at, index))).collect();
    shown.sort_unstable();
    shown.dedup_by_key(|(at, _)| at.div_euclid(interval_millis));
    let mut wanted: Vec<usize> = shown.into_iter().map(|(_, index)| index).collect();
    wanted.sort_unstable();
    wanted
}

#[allow(clippy::cast_precision_loss)] // a share of the frames
fn share(done: usize, whole: usize) -> f32 {
    (done as f32 / whole.max(1) as f32).min(1.0)
}

#[allow(clippy::cast_possible_wrap)] // pixels
fn metadata(track: &VideoTrack, full_range: bool) -> VideoMetadata {
    let (width, height) = track.rotation.turned(track.width, track.height);
    VideoMetadata {
        codec: codec_name(track.codec),
        duration_millis: track.duration_millis,
        format: "QuickTime / MOV".to_owned(),
        frame_rate: track.frame_rate,
        frame_height: height as i64,
        frame_width: width as i64,
        color_range: if full_range { "FULL" } else { "LIMITED" }.to_owned(),
    }
}

fn codec_name(sample_entry: [u8; 4]) -> String {
    match &sample_entry {
        b"avc1" | b"avc3" => "h264".to_owned(),
        b"hvc1" | b"hev1" => "hevc".to_owned(),
        b"vp09" => "vp9".to_owned(),
        b"av01" => "av1".to_owned(),
        b"mp4v" => "mpeg4".to_owned(),
        other => String::from_utf8_lossy(other).trim().to_owned(),
    }
}

/// A face in Rekognition's format; `None` for one that is entirely in the padding around the picture.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // pixels of one picture
fn describe(face: &Face, frame: &Frame) -> Option<FaceDetail> {
    let (width, height) = (frame.width as f32, frame.height as f32);
    let (left, right) = (face.left.clamp(0.0, width), face.right.clamp(0.0, width));
    let (top, bottom) = (face.top.clamp(0.0, height), face.bottom.clamp(0.0, height));
    if right - left < 1.0 || bottom - top < 1.0 {
        return None;
    }
    let crop = Crop {
        left: left as usize,
        top: top as usize,
        width: (right - left) as usize,
        height: (bottom - top) as usize,
    };
    let kinds = ["eyeLeft", "eyeRight", "nose", "mouthLeft", "mouthRight"];
    let landmarks = kinds.into_iter().zip(face.landmarks);
    Some(FaceDetail {
        bounding_box: BoundingBox {
            width: (right - left) / width,
            height: (bottom - top) / height,
            left: left / width,
            top: top / height,
        },
        confidence: 100.0 * face.score,
        landmarks: landmarks
            .map(|(kind, (x, y))| Landmark { kind: kind.to_owned(), x: x / width, y: y / height })
            .collect(),
        // Five points of a picture determine the roll, but yaw and pitch only with an assumption about the shape of the head.
        pose: None,
        quality: frame.quality(crop),
    })
}
