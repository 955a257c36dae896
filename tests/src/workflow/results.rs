//! Reads the results of an execution and checks that they agree.

use std::collections::{BTreeMap, BTreeSet};

use face_detection::FaceDetection;
use lambdas::results::{Manifest, Moment, PageFacts, Summary, Track, TracksFacts};
use local_stack::{Execution, Object};
use serde::{Deserialize as _, de::DeserializeOwned};
use serde_json::Value;

use super::Rig;
use crate::schema::Document;

/// A complete result: the manifest names all objects, and the objects agree.
#[derive(Debug)]
pub struct Complete {
    /// `manifest.json`
    pub manifest: Manifest,
    /// `summary.json`
    pub summary: Summary,
    /// Every line of every page, in order.
    pub faces: Vec<FaceDetection>,
    /// Every line of the objects with tracks, in order.
    pub tracks: Vec<Track>,
}

impl Complete {
    /// Reads and checks all objects of the result that the execution's output names.
    ///
    /// # Panics
    /// When an object is missing, is not in the manifest, or contradicts another.
    pub(super) async fn check(rig: &Rig, execution: &Execution) -> Self {
        let output = execution.output.as_ref().expect("an execution that succeeded has an output");
        let text = |field: &str| output[field].as_str().unwrap_or_else(|| panic!("no {field} in {output}"));
        assert_eq!(text("bucket"), rig.workflow.stack.results_bucket);
        let prefix = text("prefix");
        assert_eq!(text("manifest"), format!("{prefix}manifest.json"));

        let manifest: Manifest = read(rig, Document::Manifest, text("manifest")).await;
        assert_eq!(Some(manifest.video.key.as_str()), execution.key());
        assert_eq!(manifest.video.bucket, rig.workflow.stack.upload_bucket);
        assert_eq!(output["faces"], manifest.faces);
        assert_eq!(output["pages"], manifest.pages.len());
        assert_eq!(text("report"), manifest.report.key);

        let summary: Summary = read(rig, Document::Summary, &manifest.summary.key).await;
        check_report(rig, &manifest).await;
        assert_eq!(output["most_faces"], serde_json::to_value(summary.most_faces).expect("plain data"));
        check_listing(rig, prefix, &manifest).await;

        let mut faces = Vec::new();
        for (index, page) in manifest.pages.iter().enumerate() {
            assert_eq!(page.key, format!("{prefix}faces/{index:05}.jsonl"));
            faces.extend(read_page(rig, page).await);
        }
        assert_eq!(faces.len(), manifest.faces);
        assert!(faces.is_sorted_by_key(|face| face.timestamp), "the faces are not ordered by time");
        check_summary(&summary, &manifest, &faces);

        let mut tracks = Vec::new();
        for (index, object) in manifest.tracks.iter().flatten().enumerate() {
            assert_eq!(object.key, format!("{prefix}tracks/{index:05}.jsonl"));
            tracks.extend(read_tracks(rig, object).await);
        }
        check_tracks(&tracks, &summary, &faces);
        rig.until_nothing_waits().await;
        Self { manifest, summary, faces, tracks }
    }
}

/// Checks that the manifest names exactly the objects of the result, with their sizes. It does not contain its own size.
async fn check_listing(rig: &Rig, prefix: &str, manifest: &Manifest) {
    let listing = rig.workflow.results.list(prefix).await.unwrap_or_else(|error| panic!("{error}"));
    let found: BTreeMap<_, _> = listing.into_iter().map(|Object { key, bytes }| (key, bytes)).collect();
    let pages = manifest.pages.iter().map(|page| (page.key.clone(), page.bytes));
    let tracks = manifest.tracks.iter().flatten().map(|object| (object.key.clone(), object.bytes));
    let mut named: BTreeMap<_, _> = pages
        .chain(tracks)
        .chain([&manifest.summary, &manifest.report].map(|object| (object.key.clone(), object.bytes)))
        .map(|(key, bytes)| (key, u64::try_from(bytes).expect("a size")))
        .collect();
    let own = format!("{prefix}manifest.json");
    named.insert(own.clone(), found.get(&own).copied().unwrap_or_default());
    assert_eq!(found, named, "the objects of the result, and those that the manifest names");
}

async fn read_page(rig: &Rig, page: &PageFacts) -> Vec<FaceDetection> {
    let body = String::from_utf8(raw(rig, &page.key).await).expect("JSON Lines are UTF-8");
    assert!(body.is_empty() || body.ends_with('\n'), "{} ends within a line", page.key);
    let line = |line: &str| {
        let face: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{}: {error}: {line}", page.key));
        Document::Face.assert_valid(&face);
        FaceDetection::deserialize(&face).unwrap_or_else(|error| panic!("{}: {error}: {line}", page.key))
    };
    let faces: Vec<FaceDetection> = body.lines().map(line).collect();
    assert_eq!(faces.len(), page.faces, "{}", page.key);
    assert_eq!(faces.first().map(|face| face.timestamp), page.first_ms, "{}", page.key);
    assert_eq!(faces.last().map(|face| face.timestamp), page.last_ms, "{}", page.key);
    faces
}

async fn read_tracks(rig: &Rig, object: &TracksFacts) -> Vec<Track> {
    let body = String::from_utf8(raw(rig, &object.key).await).expect("JSON Lines are UTF-8");
    assert!(body.ends_with('\n'), "{} ends within a line", object.key);
    let line = |line: &str| {
        let track: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{}: {error}: {line}", object.key));
        Document::Track.assert_valid(&track);
        Track::deserialize(&track).unwrap_or_else(|error| panic!("{}: {error}: {line}", object.key))
    };
    let tracks: Vec<Track> = body.lines().map(line).collect();
    assert_eq!(tracks.len(), object.lines, "{}", object.key);
    assert_eq!(tracks.iter().map(|track| track.first_ms).min(), Some(object.first_ms), "{}", object.key);
    assert_eq!(tracks.iter().map(|track| track.last_ms).max(), Some(object.last_ms), "{}", object.key);
    tracks
}

/// Checks that every face is in one track, and that the tracks agree with the faces that they name.
fn check_tracks(tracks: &[Track], summary: &Summary, faces: &[FaceDetection]) {
    let ids: BTreeSet<_> = tracks.iter().map(|track| track.id).collect();
    assert_eq!(summary.tracks, Some(ids.len()));
    assert!(ids.into_iter().eq(0..summary.tracks.unwrap_or_default()), "the ids are not counted from 0");
    let mut all: Vec<_> = tracks.iter().flat_map(|track| track.faces.clone()).collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..faces.len()), "a face is in no track, or in two");
    for track in tracks {
        let named: Vec<_> = track.faces.iter().map(|face| &faces[*face]).collect();
        assert!(track.timestamps_ms.iter().eq(named.iter().map(|face| &face.timestamp)), "{track:?}");
        assert!(track.timestamps_ms.is_sorted_by(|one, other| one < other), "{track:?}");
        assert_eq!((track.detections, track.boxes.len()), (named.len(), named.len()));
        assert_eq!((track.first_ms, track.last_ms), (named[0].timestamp, named[named.len() - 1].timestamp));
        for (ratios, FaceDetection { face, .. }) in track.boxes.iter().zip(&named) {
            let of = face.bounding_box;
            let exact = [of.left, of.top, of.width, of.height];
            assert!(exact.iter().zip(ratios).all(|(exact, rounded)| (exact - rounded).abs() < 1e-4), "{track:?}");
        }
        assert!(
            track.timestamps_ms.iter().zip(&track.faces).any(|at| at == (&track.best.timestamp_ms, &track.best.face))
        );
    }
}

/// Checks that the report is an HTML page about this video and job.
async fn check_report(rig: &Rig, manifest: &Manifest) {
    let html = String::from_utf8(raw(rig, &manifest.report.key).await).expect("HTML is UTF-8");
    assert!(html.starts_with("<!doctype html>") && html.trim_end().ends_with("</html>"), "{html}");
    for part in [&manifest.job.job_id, &manifest.job.idempotency_key, &manifest.video.etag] {
        assert!(html.contains(part), "{part} is not in {}", manifest.report.key);
    }
}

/// Computes the summary again, in another way than the function.
fn check_summary(summary: &Summary, manifest: &Manifest, faces: &[FaceDetection]) {
    assert_eq!(summary.video, manifest.video);
    assert_eq!(summary.job, manifest.job);
    assert_eq!(summary.faces, faces.len());

    let mut frames: BTreeMap<i64, usize> = BTreeMap::new();
    let mut seconds: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    for FaceDetection { timestamp, face } in faces {
        *frames.entry(*timestamp).or_default() += 1;
        seconds.entry(timestamp / 1000).or_default().push(f64::from(face.confidence));
    }
    assert_eq!(summary.frames_with_faces, frames.len());
    let most = frames.values().max().copied();
    let busiest = frames.iter().find(|(_, faces)| Some(**faces) == most);
    assert_eq!(summary.most_faces, busiest.map(|(&timestamp_ms, &faces)| Moment { faces, timestamp_ms }));

    assert_eq!(summary.timeline.len(), seconds.len());
    for (actual, (second, confidences)) in summary.timeline.iter().zip(&seconds) {
        let own: Vec<_> =
            frames.iter().filter(|(timestamp, _)| *timestamp / 1000 == *second).map(|(_, faces)| *faces).collect();
        assert_eq!((actual.second, actual.faces, actual.frames), (*second, confidences.len(), own.len()));
        assert_eq!(Some(actual.most_faces), own.into_iter().max());
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let mean = confidences.iter().sum::<f64>() / confidences.len() as f64;
        assert!(
            (actual.mean_confidence - mean).abs() < 1e-3,
            "second {second}: {} is not {mean}",
            actual.mean_confidence
        );
    }
}

/// Reads a document and checks it against its schema.
async fn read<T: DeserializeOwned>(rig: &Rig, kind: Document, key: &str) -> T {
    let document: Value = serde_json::from_slice(&raw(rig, key).await).unwrap_or_else(|error| panic!("{key}: {error}"));
    kind.assert_valid(&document);
    T::deserialize(&document).unwrap_or_else(|error| panic!("{key}: {error}: {document}"))
}

async fn raw(rig: &Rig, key: &str) -> Vec<u8> {
    rig.workflow.results.read(key).await.unwrap_or_else(|error| panic!("{key}: {error}"))
}
