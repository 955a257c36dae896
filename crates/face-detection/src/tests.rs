//! Tests of the detector with the committed videos: real files, real decoding, the real network.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use serde::Deserialize;

use super::*;
use crate::centerface::INTERVAL_MILLIS;
use crate::container::Movie;
use crate::model;
use crate::network::Worker;
use crate::pipeline::{h264_config, sampled};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

fn video(name: &str) -> PathBuf {
    fixture("videos").join(name)
}

/// The real network. `FACEREEL_MODEL` names its file; otherwise it is downloaded once.
fn detector() -> &'static CenterFace {
    static DETECTOR: OnceLock<CenterFace> = OnceLock::new();
    DETECTOR.get_or_init(|| CenterFace::load(&model_file()).expect("the model can be loaded"))
}

fn model_file() -> PathBuf {
    std::env::var_os("FACEREEL_MODEL").map_or_else(
        || {
            model::fetch(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/local"), Path::new("python3"))
                .expect("the model can be fetched")
        },
        PathBuf::from,
    )
}

fn analyze(video: &Path) -> Result<Analysis, AnalyzeError> {
    detector().analyze(video, &|_| Continue::Yes)
}

/// The detection times of an analysis, each once.
fn times(analysis: &Analysis) -> Vec<i64> {
    let mut times: Vec<i64> = analysis.faces.iter().map(|face| face.timestamp).collect();
    times.dedup();
    times
}

fn overlap(one: BoundingBox, other: BoundingBox) -> f32 {
    let width = (one.left + one.width).min(other.left + other.width) - one.left.max(other.left);
    let height = (one.top + one.height).min(other.top + other.height) - one.top.max(other.top);
    let shared = width.max(0.0) * height.max(0.0);
    shared / (one.width * one.height + other.width * other.height - shared)
}

/// A copy of a video with some bytes changed.
fn damaged(original: &str, damage: impl FnOnce(&mut Vec<u8>)) -> tempfile::NamedTempFile {
    let mut bytes = std::fs::read(video(original)).unwrap();
    damage(&mut bytes);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

#[test]
fn sampled_frames_have_the_bytes_and_times_that_ffmpeg_decodes() {
    let expected = std::fs::read(video("frames.json")).unwrap();
    let expected: BTreeMap<String, Vec<(i64, String)>> = serde_json::from_slice(&expected).unwrap();
    for (name, frames) in expected {
        let Movie { reader, track } = Movie::open(&video(&name)).unwrap();
        let config = h264_config(&track).unwrap();
        let decoded = Mutex::new(Vec::new());
        h264::decode(&reader, &track.samples, &config, &sampled(&track.samples, INTERVAL_MILLIS), &|index, frame| {
            let sum = model::sha256(&frame.bytes());
            decoded.lock().unwrap().push((track.samples[index].shown_at.unwrap(), sum));
            true
        })
        .unwrap();
        let mut decoded = decoded.into_inner().unwrap();
        decoded.sort();
        assert_eq!(decoded, frames, "{name}");
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KnownFrame {
    timestamp: i64,
    faces: Vec<KnownFace>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KnownFace {
    #[serde(flatten)]
    bounding_box: BoundingBox,
    expected: bool,
}

#[test]
fn the_faces_of_the_sample_clip_are_found() {
    const SAME: f32 = 0.4;
    let known: Vec<KnownFrame> =
        serde_json::from_slice(&std::fs::read(fixture("sample-clip/truth.json")).unwrap()).unwrap();
    let analysis = analyze(&fixture("sample-clip/sample.mp4")).unwrap();
    let sampled_at: Vec<i64> = (0..24).map(|half| if half % 2 == 0 { half * 500 } else { half * 500 + 20 }).collect();
    let (mut hits, mut missed, mut false_alarms, mut overlaps) = (0, 0, 0, 0.0);
    for known in known.iter().filter(|frame| sampled_at.contains(&frame.timestamp)) {
        let mut found: Vec<BoundingBox> = analysis
            .faces
            .iter()
            .filter(|face| face.timestamp == known.timestamp)
            .map(|face| face.face.bounding_box)
            .collect();
        // Expected faces are matched first, so that an optional face does not take the box of an expected one.
        for expected in [true, false] {
            for face in known.faces.iter().filter(|face| face.expected == expected) {
                let overlap_with = |found: &BoundingBox| overlap(*found, face.bounding_box);
                let best =
                    (0..found.len()).max_by(|a, b| overlap_with(&found[*a]).total_cmp(&overlap_with(&found[*b])));
                match best.filter(|best| overlap_with(&found[*best]) >= SAME) {
                    Some(best) if expected => {
                        hits += 1;
                        overlaps += overlap_with(&found.swap_remove(best));
                    }
                    Some(best) => _ = found.swap_remove(best),
                    None => missed += u16::from(expected),
                }
            }
        }
        false_alarms += u16::try_from(found.len()).unwrap();
    }
    let (recall, precision) =
        (f32::from(hits) / f32::from(hits + missed), f32::from(hits) / f32::from(hits + false_alarms));
    println!(
        "sample clip: recall {recall:.3}, precision {precision:.3}, mean overlap {:.3}, {hits} faces",
        overlaps / f32::from(hits)
    );
    assert!(times(&analysis).iter().all(|time| sampled_at.contains(time)), "{:?}", times(&analysis));
    assert!(hits >= 30, "the clip shows more than {hits} faces");
    assert!(recall >= 0.9, "recall {recall}");
    assert!(precision >= 0.9, "precision {precision}");
}

#[test]
fn the_metadata_of_a_video_has_rekognitions_format() {
    let metadata = |name| analyze(&video(name)).unwrap().metadata;
    let plain = VideoMetadata {
        codec: "h264".into(),
        duration_millis: 1000,
        format: "QuickTime / MOV".into(),
        frame_rate: 25.0,
        frame_height: 180,
        frame_width: 320,
        color_range: "LIMITED".into(),
    };
    assert_eq!(metadata("index-first.mp4"), plain);
    assert_eq!(metadata("full-range.mp4"), VideoMetadata { color_range: "FULL".into(), ..plain.clone() });
    assert_eq!(metadata("odd-size.mp4"), VideoMetadata { frame_width: 322, frame_height: 182, ..plain.clone() });
    assert_eq!(metadata("late-start.mp4"), VideoMetadata { duration_millis: 1720, ..plain.clone() });
    // Filmed 300 x 200, shown upright.
    assert_eq!(metadata("rotated-90.mp4"), VideoMetadata { frame_width: 200, frame_height: 300, ..plain });
}

#[test]
fn boxes_and_landmarks_of_a_rotated_video_refer_to_the_displayed_picture() {
    let turned = ["rotated-90.mp4", "rotated-180.mp4", "rotated-270.mp4"].map(|name| analyze(&video(name)).unwrap());
    let boxes =
        turned.each_ref().map(|analysis| analysis.faces.iter().map(|face| face.face.bounding_box).collect::<Vec<_>>());
    for other in &boxes {
        assert_eq!(other.len(), 2);
        for (one, other) in boxes[0].iter().zip(other) {
            assert!(overlap(*one, *other) > 0.8, "{one:?} and {other:?}");
        }
    }
    for analysis in &turned {
        for FaceDetection { face, .. } in &analysis.faces {
            let point = |kind: &str| face.landmarks.iter().find(|landmark| landmark.kind == kind).unwrap();
            assert!(point("eyeLeft").x < point("nose").x && point("nose").x < point("eyeRight").x, "{face:?}");
            assert!(point("eyeLeft").y < point("nose").y && point("nose").y < point("mouthLeft").y, "{face:?}");
            assert!(point("mouthLeft").x < point("mouthRight").x, "{face:?}");
        }
    }
}

#[test]
fn the_index_says_how_a_video_is_shown() {
    let read = |name| VideoInfo::read(&video(name)).unwrap();
    let plain = VideoInfo {
        width: 320,
        height: 180,
        rotation: Rotation::None,
        frames: 25,
        first_millis: 0,
        duration_millis: 1000,
    };
    assert_eq!(read("index-first.mp4"), plain);
    assert_eq!(read("late-start.mp4"), VideoInfo { first_millis: 720, duration_millis: 1720, ..plain });
    let filmed = |rotation, width, height| VideoInfo { width, height, rotation, ..plain };
    assert_eq!(read("rotated-90.mp4"), filmed(Rotation::Quarter, 300, 200));
    assert_eq!(read("rotated-180.mp4"), filmed(Rotation::Half, 200, 300));
    assert_eq!(read("rotated-270.mp4"), filmed(Rotation::ThreeQuarter, 300, 200));
}

/// The backbone is this crate's own: see `network.rs`.
#[test]
fn the_network_has_the_outputs_of_the_engine_alone() {
    let (height, width) = (64, 96);
    let picture: Vec<f32> = (0..3 * height * width).map(|at| f32::from(u8::try_from(at * 31 % 251).unwrap())).collect();
    let found = detector().network.run(&Worker::new(), &picture, height, width).unwrap();
    let expected = detector().network.run_by_engine(&picture, height, width).unwrap();
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.len(), expected.len());
        let difference = found.iter().zip(expected).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max);
        assert!(difference < 1e-3, "{difference}");
    }
}

#[test]
fn a_shorter_interval_analyses_more_frames() {
    let detector = CenterFace::load(&model_file()).unwrap().with_interval(200);
    let analysis = detector.analyze(&video("baseline.mp4"), &|_| Continue::Yes).unwrap();
    assert_eq!(times(&analysis), [0, 200, 400, 600, 800]);
}

#[test]
fn a_video_without_faces_has_none() {
    assert_eq!(analyze(&video("no-faces.mp4")).unwrap().faces, []);
}

#[test]
fn timestamps_after_a_late_start_count_from_the_start_of_the_video() {
    assert_eq!(times(&analyze(&video("late-start.mp4")).unwrap()), [720, 1000, 1520]);
}

#[test]
fn each_kind_of_unreadable_file_has_its_own_error() {
    let message = |name: &str| analyze(&video(name)).unwrap_err().to_string();
    assert!(message("empty.mp4").contains("it is empty"));
    assert!(message("text.mp4").contains("does not begin like one"));
    assert!(message("truncated-no-index.mp4").contains("is incomplete: its mdat box needs"));
    assert!(message("truncated-frames.mp4").contains("is incomplete"));
    assert!(message("absent.mp4").contains("cannot be opened"));
    assert!(matches!(analyze(&video("audio-only.mp4")), Err(AnalyzeError::NoVideoTrack)));
}

#[test]
fn an_index_with_more_frames_than_the_file_is_an_error() {
    // The mdat box has the length of the shortened file, so only the index shows that frames are missing.
    let cut = damaged("b-frames.mp4", |bytes| {
        let movie = bytes.windows(4).position(|window| window == b"moov").unwrap() - 4;
        let frames = bytes.windows(4).position(|window| window == b"mdat").unwrap() - 4;
        let index = bytes[movie..].to_vec();
        bytes.truncate(frames);
        bytes.extend_from_slice(&index);
    });
    assert!(analyze(cut.path()).unwrap_err().to_string().contains("frames are missing"));
}

#[test]
fn damaged_frames_are_an_error_and_not_a_partial_result() {
    // Pseudo-random bytes in the second half of the frames.
    let broken = damaged("b-frames.mp4", |bytes| {
        let end = bytes.windows(4).position(|window| window == b"moov").unwrap() - 4;
        let mut state = 1_u32;
        for byte in &mut bytes[end / 2..end] {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = state.to_be_bytes()[0];
        }
    });
    let error = analyze(broken.path()).unwrap_err();
    assert!(matches!(error, AnalyzeError::Failed { .. }), "{error}");
}

#[test]
fn a_changed_byte_of_the_index_causes_neither_a_panic_nor_a_large_result() {
    for name in ["b-frames.mp4", "fragmented.mp4", "with-pcm.mov"] {
        let whole = std::fs::read(video(name)).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let boxes =
            whole.windows(4).enumerate().filter(|(_, window)| [b"moov", b"moof"].iter().any(|kind| window == kind));
        for (start, _) in boxes {
            let size = u32::from_be_bytes(whole[start - 4..start].try_into().unwrap()) as usize;
            for at in start - 4..start - 4 + size {
                for value in [0x00, 0x7f, 0xff] {
                    let mut bytes = whole.clone();
                    bytes[at] = value;
                    std::fs::write(file.path(), &bytes).unwrap();
                    if let Ok(movie) = Movie::open(file.path()) {
                        assert!(movie.track.samples.len() <= 100, "{name} at {at}");
                        _ = h264_config(&movie.track);
                    }
                }
            }
        }
    }
}

#[test]
fn an_unsupported_feature_is_named_before_decoding() {
    for (name, lacking) in [
        ("hevc.mp4", "hevc"),
        ("ten-bit.mp4", "H.264 with more than 8 bits a sample"),
        ("interlaced.mp4", "H.264 with interlaced macroblocks"),
    ] {
        let track = Movie::open(&video(name)).unwrap().track;
        match h264_config(&track).map(|_| ()) {
            Err(AnalyzeError::UnsupportedCodec(codec)) => assert_eq!(codec, lacking),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn an_installed_ffmpeg_decodes_what_the_built_in_decoder_refuses() {
    for name in ["hevc.mp4", "ten-bit.mp4", "interlaced.mp4"] {
        match analyze(&video(name)) {
            Ok(analysis) => {
                assert!(ffmpeg::is_installed());
                assert_eq!(times(&analysis), [0, 520], "{name}");
                assert_eq!(analysis.faces.len(), 6, "{name}");
            }
            Err(error) => {
                assert!(!ffmpeg::is_installed(), "{name}: {error}");
                assert!(error.to_string().contains("install ffmpeg"), "{error}");
            }
        }
    }
}

#[test]
fn an_analysis_ends_when_it_is_cancelled() {
    let asked = std::cell::Cell::new(0);
    let stop_at_second = |_| {
        asked.set(asked.get() + 1);
        if asked.get() < 2 { Continue::Yes } else { Continue::No }
    };
    let result = detector().analyze(&video("b-frames.mp4"), &stop_at_second);
    assert!(matches!(result, Err(AnalyzeError::Cancelled)));
    assert_eq!(asked.get(), 2);
}

#[test]
fn progress_is_reported_for_each_frame() {
    let seen = std::cell::RefCell::new(Vec::new());
    let result = detector().analyze(&video("baseline.mp4"), &|share| {
        seen.borrow_mut().push(share);
        Continue::Yes
    });
    assert!(result.is_ok());
    assert_eq!(*seen.borrow(), [0.5, 1.0]);
}

#[test]
fn another_file_is_not_loaded_as_the_model() {
    let error = CenterFace::load(&video("text.mp4")).err().unwrap();
    assert!(matches!(error, LoadError::NotTheModel { .. }), "{error}");
    let error = CenterFace::load(Path::new("/nowhere/centerface.onnx")).err().unwrap();
    assert!(matches!(error, LoadError::Read { .. }), "{error}");
}
