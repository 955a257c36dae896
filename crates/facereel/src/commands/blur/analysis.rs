//! The analysis of a video: its stored results, or those of a new local run.

use std::path::Path;

use face_detection::{Rotation, VideoInfo};
use futures_util::TryStreamExt as _;
use lambdas::{
    job::VideoMetadata,
    layout,
    results::{Summary, Track},
    tracks::{Detection, Tracker},
};
use serde_json::Value;

use super::{
    BlurError,
    paths::{FacePath, paths_of},
};
use crate::{
    commands::run::{Run, default_results},
    deployed::Account,
    stored::{StoredResult, file_name},
    terminal::{Terminal, note},
};

/// The largest difference between the length in the results and that of the file, in milliseconds: Rekognition and this command can
/// count the end of the last frame in another way.
const LENGTH_TOLERANCE_MS: u64 = 1000;

/// Where the faces of a video are.
#[derive(Debug)]
pub(super) struct Analysis {
    /// The tracks.
    pub paths: Vec<FacePath>,
    /// The confidence of each face, by its line.
    pub confidences: Vec<f32>,
    /// The rotation from the coded picture to that which the boxes refer to.
    pub rotation: Rotation,
}

impl Analysis {
    /// Reads the named results, or else those that `facereel run` has stored for this video, or else runs the analysis.
    ///
    /// # Errors
    /// [`BlurError`].
    pub(super) async fn of(
        video: &Path,
        bytes: u64,
        info: &VideoInfo,
        results: Option<&str>,
        account: &Account,
        terminal: &Terminal,
    ) -> Result<Self, BlurError> {
        let stored = match results {
            Some(results) => {
                let stored = StoredResult::open(results, account, None).await?;
                if let Some(difference) = difference(&stored.summary, bytes, info) {
                    return Err(BlurError::OtherVideo { results: stored.folder.to_string(), difference });
                }
                stored
            }
            None => stored_or_new(video, bytes, info, account, terminal).await?,
        };
        Self::read(&stored, info).await
    }

    async fn read(stored: &StoredResult, info: &VideoInfo) -> Result<Self, BlurError> {
        let metadata = &stored.summary.metadata;
        let mut tracker = Tracker::new(metadata.frame_width.zip(metadata.frame_height));
        let has_tracks = stored.manifest.tracks.is_some();
        let mut confidences = Vec::with_capacity(stored.summary.faces);
        let mut faces = std::pin::pin!(stored.faces());
        while let Some(line) = faces.try_next().await? {
            let detection = detection(&line, confidences.len()).ok_or_else(|| BlurError::NotAFace {
                results: stored.folder.to_string(),
                line: confidences.len() + 1,
            })?;
            #[expect(clippy::cast_possible_truncation, reason = "0 to 100")]
            confidences.push(detection.confidence as f32);
            // Results of before there were tracks are joined to tracks here.
            if !has_tracks {
                tracker.add(detection);
            }
        }
        tracker.finish();
        let tracks: Vec<Track> = if has_tracks { stored.tracks().try_collect().await? } else { tracker.take_ended() };
        Ok(Self { paths: paths_of(tracks), confidences, rotation: rotation(metadata, info) })
    }
}

/// The results that `facereel run` has stored for this video, or those of a new run.
async fn stored_or_new(
    video: &Path,
    bytes: u64,
    info: &VideoInfo,
    account: &Account,
    terminal: &Terminal,
) -> Result<StoredResult, BlurError> {
    let name = video.file_name().unwrap_or_default().to_string_lossy();
    let dir = default_results(&name);
    if dir.join(layout::MANIFEST).is_file() {
        let stored = StoredResult::open(&dir.to_string_lossy(), account, None).await?;
        // `facereel run` replaces results only of a video with this name and size.
        if file_name(&stored.summary) != name || stored.summary.video.bytes != bytes {
            return Err(BlurError::ResultsOfAnother { dir, video: video.to_owned() });
        }
        if difference(&stored.summary, bytes, info).is_none() {
            note(format_args!("The faces are those in {}", dir.display()));
            return Ok(stored);
        }
    }
    let report = Run::of(video.to_owned()).run(terminal).await?;
    Ok(StoredResult::open(&report.dir().to_string_lossy(), account, None).await?)
}

/// How the analysed video differs from the file; `None` if they are the same.
fn difference(summary: &Summary, bytes: u64, info: &VideoInfo) -> Option<String> {
    let differs = |what: &str, analysed: String, file: String| {
        Some(format!("the analysed video has {analysed}{what}, and the file has {file}"))
    };
    let analysed = summary.video.bytes;
    if analysed != bytes {
        return differs(" bytes", analysed.to_string(), bytes.to_string());
    }
    let VideoMetadata { duration_ms, frame_width, frame_height, .. } = &summary.metadata;
    let file_ms = info.duration_millis.unsigned_abs();
    if let Some(analysed_ms) = duration_ms.filter(|analysed| analysed.abs_diff(file_ms) > LENGTH_TOLERANCE_MS) {
        return differs(" ms", analysed_ms.to_string(), file_ms.to_string());
    }
    let (width, height) = (frame_width.as_ref()?, frame_height.as_ref()?);
    let sizes = [(info.width, info.height), info.rotation.turned(info.width, info.height)];
    let same = sizes.iter().any(|(across, down)| (*across as u64, *down as u64) == (*width, *height));
    let size = format!("{} x {}", info.width, info.height);
    if same { None } else { differs(" pixels", format!("{width} x {height}"), size) }
}

/// The rotation from the coded picture to that which the boxes refer to. `facereel run` looks for faces in the picture that is
/// shown. AWS does not document which one Rekognition Video uses, so the size of the frame in the results decides where it can.
fn rotation(metadata: &VideoMetadata, info: &VideoInfo) -> Rotation {
    let coded = (Some(info.width as u64), Some(info.height as u64));
    let turns = matches!(info.rotation, Rotation::Quarter | Rotation::ThreeQuarter) && info.width != info.height;
    if turns && (metadata.frame_width, metadata.frame_height) == coded { Rotation::None } else { info.rotation }
}

/// The face in a line of a page. A face without a box has one without a size, which belongs to no track.
fn detection(line: &Value, face: usize) -> Option<Detection> {
    let of = line.get("Face")?;
    #[expect(clippy::cast_possible_truncation, reason = "ratios of the frame")]
    let side =
        |name: &str| of.get("BoundingBox").and_then(|ratios| ratios.get(name)?.as_f64()).unwrap_or_default() as f32;
    Some(Detection {
        face,
        timestamp_ms: line.get("Timestamp")?.as_i64()?,
        bounding_box: ["Left", "Top", "Width", "Height"].map(side),
        confidence: of.get("Confidence").and_then(Value::as_f64).unwrap_or_default(),
        clarity: 1.0,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const INFO: VideoInfo = VideoInfo {
        width: 1920,
        height: 1080,
        rotation: Rotation::Quarter,
        frames: 100,
        first_millis: 0,
        duration_millis: 4000,
    };

    fn summary(bytes: u64, metadata: &Value) -> Summary {
        serde_json::from_value(json!({
            "video": { "bucket": "b", "key": "clip.mp4", "etag": "e", "bytes": bytes },
            "metadata": metadata,
            "job": { "job_id": "j", "idempotency_key": "t", "attempt": 0, "face_attributes": "DEFAULT" },
            "faces": 0, "frames_with_faces": 0, "most_faces": null, "timeline": [],
        }))
        .unwrap()
    }

    #[test]
    fn another_size_length_or_picture_is_another_video() {
        let shown = json!({ "duration_ms": 4100, "frame_width": 1080, "frame_height": 1920 });
        assert_eq!(difference(&summary(7, &shown), 7, &INFO), None);
        assert_eq!(difference(&summary(7, &json!({})), 7, &INFO), None);
        for (bytes, metadata, says) in [
            (8, shown, "the analysed video has 8 bytes, and the file has 7"),
            (7, json!({ "duration_ms": 9000 }), "has 9000 ms, and the file has 4000"),
            (
                7,
                json!({ "frame_width": 1280, "frame_height": 720 }),
                "has 1280 x 720 pixels, and the file has 1920 x 1080",
            ),
        ] {
            let difference = difference(&summary(bytes, &metadata), 7, &INFO).unwrap();
            assert!(difference.contains(says), "{difference}");
        }
    }

    #[test]
    fn boxes_refer_to_the_picture_of_the_size_in_the_results() {
        let of = |width, height| {
            rotation(&summary(7, &json!({ "frame_width": width, "frame_height": height })).metadata, &INFO)
        };
        assert_eq!(of(1080, 1920), Rotation::Quarter);
        assert_eq!(of(1920, 1080), Rotation::None);
        assert_eq!(rotation(&summary(7, &json!({})).metadata, &INFO), Rotation::Quarter);
    }
}
