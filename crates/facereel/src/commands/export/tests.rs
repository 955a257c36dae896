use std::{collections::BTreeMap, fs, path::Path};

use clap::Parser;
use lambdas::{
    results::Track,
    tracks::{Detection, MOST_DETECTIONS, Tracker},
};
use serde_json::{Value, json};

use super::*;

/// A key whose name is a formula, and markup, and contains what separates fields, cues and markers.
const HOSTILE: &str = "=HYPERLINK(\"evil\"), <b>&\" --> |M:ü\u{1}.mp4";

#[derive(Parser)]
struct ExportCommand {
    #[command(flatten)]
    export: Export,
}

/// The export to a new file.
async fn try_export(results: &Path, arguments: &[&str]) -> Result<String, ExportError> {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let fixed = ["export", results.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let command = ExportCommand::try_parse_from(fixed.iter().chain(arguments)).unwrap();
    command.export.run(None, &Silent).await?;
    Ok(fs::read_to_string(out).unwrap())
}

async fn export(results: &Path, arguments: &[&str]) -> String {
    try_export(results, arguments).await.unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

async fn error(results: &Path, arguments: &[&str]) -> ExportError {
    try_export(results, arguments).await.expect_err("an error")
}

/// A result as `facereel run` writes it.
struct Fixture {
    key: &'static str,
    metadata: Value,
    attributes: &'static str,
    pages: Vec<Vec<Value>>,
    /// The lines of each object; `None` for a result of before there were tracks.
    tracks: Option<Vec<Vec<Value>>>,
}

impl Fixture {
    fn write(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let video = json!({"bucket": "uploads", "key": self.key, "etag": "e", "bytes": 1_000_000_007});
        let job = json!({"job_id": "j", "idempotency_key": "i", "attempt": 0, "face_attributes": self.attributes});
        let object = |name: &str| json!({"key": name, "bytes": 1});
        let ms = |page: &[Value], face: Option<&Value>| {
            if page.is_empty() { Value::Null } else { face.unwrap()["Timestamp"].clone() }
        };
        let pages: Vec<_> = self
            .pages
            .iter()
            .map(|page| {
                json!({"key": "p", "bytes": 1, "faces": page.len(),
            "first_ms": ms(page, page.first()), "last_ms": ms(page, page.last())})
            })
            .collect();
        let faces: usize = self.pages.iter().map(Vec::len).sum();
        let mut manifest = json!({"video": video, "job": job, "execution_arn": "arn", "faces": faces,
            "summary": object("summary.json"), "report": object("report.html"), "pages": pages});
        let mut summary = json!({"video": video, "metadata": self.metadata, "job": job, "faces": faces,
            "frames_with_faces": 0, "most_faces": null, "timeline": []});
        if let Some(objects) = &self.tracks {
            manifest["tracks"] = objects
                .iter()
                .map(|lines| json!({"key": "t", "bytes": 1, "lines": lines.len(), "first_ms": 0, "last_ms": 0}))
                .collect();
            summary["tracks"] = json!(0);
        }
        let write = |name: &str, text: String| {
            let file = dir.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        write("manifest.json", manifest.to_string());
        write("summary.json", summary.to_string());
        for (kind, objects) in [("faces", Some(&self.pages)), ("tracks", self.tracks.as_ref())] {
            for (index, lines) in objects.into_iter().flatten().enumerate() {
                let lines: Vec<_> = lines.iter().map(Value::to_string).collect();
                write(&format!("{kind}/{index:05}.jsonl"), lines.join("\n"));
            }
        }
        dir
    }
}

fn face(ms: i64, left: f64) -> Value {
    json!({"Timestamp": ms, "Face": {"BoundingBox": {"Left": left, "Top": 0.25, "Width": 0.125, "Height": 0.25}, "Confidence": 99.5}})
}

fn track(id: usize, part: usize, continues: bool, detections: &[(i64, usize)]) -> Value {
    let (first, last) = (detections[0], detections[detections.len() - 1]);
    let boxes: Vec<_> = detections.iter().map(|_| json!([0.5, 0.25, 0.125, 0.25])).collect();
    json!({"id": id, "part": part, "continues": continues, "first_ms": first.0, "last_ms": last.0,
        "detections": detections.len(), "mean_confidence": 99.5, "best": {"timestamp_ms": first.0, "face": first.1, "box": boxes[0]},
        "timestamps_ms": detections.iter().map(|one| one.0).collect::<Vec<_>>(),
        "faces": detections.iter().map(|one| one.1).collect::<Vec<_>>(), "boxes": boxes})
}

/// Four tracks at 29.97 frames a second. Track 0 has two parts and ends after track 2; tracks 1 and 2 begin at one moment, whose
/// faces are on two pages; track 3 is a face after the first minute. Face 6 has no box.
fn four_tracks() -> Fixture {
    let mut first = face(500, 0.5);
    first["Face"]["Landmarks"] =
        json!([{"Type": "nose", "X": 0.5, "Y": -0.25}, {"Type": "chinBottom", "X": 1, "Y": 2}]);
    first["Face"]["Pose"] = json!({"Roll": -1.5, "Yaw": 12, "Pitch": 0});
    first["Face"]["Quality"] = json!({"Brightness": 50, "Sharpness": 97.25});
    first["Face"]["AgeRange"] = json!({"Low": 20, "High": 28});
    first["Face"]["Smile"] = json!({"Value": true, "Confidence": 91.5});
    first["Face"]["Gender"] = json!({"Value": "Female", "Confidence": 98});
    first["Face"]["Emotions"] = json!([{"Type": "CALM", "Confidence": 80.5}, {"Type": "HAPPY", "Confidence": 19.5}]);
    let without_box = json!({"Timestamp": 2000, "Face": {"Confidence": 60}});
    Fixture {
        key: HOSTILE,
        metadata: json!({"duration_ms": 61_000, "frame_rate": 29.97003, "frame_width": 1920, "frame_height": 1080}),
        attributes: "ALL",
        pages: vec![
            vec![first, face(1000, 0.5), face(1000, 0.1)],
            vec![face(1000, 0.8), face(1500, 0.5), face(1500, 0.1), without_box, face(60_060, 0.5)],
        ],
        tracks: Some(vec![
            vec![track(0, 0, true, &[(500, 0), (1000, 1)]), track(2, 0, false, &[(1000, 3)])],
            vec![
                track(1, 0, false, &[(1000, 2), (1500, 5)]),
                track(0, 1, false, &[(1500, 4)]),
                track(3, 0, false, &[(60_060, 7)]),
            ],
        ]),
    }
}

#[tokio::test]
async fn each_format_is_as_its_golden_file() {
    let dir = four_tracks().write();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/commands/export/golden");
    for of in ["tracks", "detections"] {
        for to in ["csv", "vtt", "edl", "otio", "fcpxml"] {
            let written = export(dir.path(), &["--to", to, "--of", of]).await;
            let file = golden.join(format!("{of}.{to}"));
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                fs::write(&file, &written).unwrap();
            }
            let expected = fs::read_to_string(&file).unwrap();
            assert!(
                written == expected,
                "{of}.{to} differs; UPDATE_GOLDEN=1 writes the file:\n{written}\n\nexpected:\n{expected}"
            );
        }
    }
}

#[tokio::test]
async fn a_timecode_begins_where_the_timeline_does() {
    let dir = four_tracks().write();
    let edl = |arguments: &'static [&'static str]| {
        let dir = dir.path().to_owned();
        async move { export(&dir, &[&["--to", "edl"], arguments].concat()).await }
    };
    assert!(edl(&[]).await.contains("01:01:00:00 01:01:00:01 01:01:00:00 01:01:00:01"));
    let drop_frame = edl(&["--start-timecode", "01:00:00;00"]).await;
    assert!(drop_frame.contains("FCM: DROP FRAME"), "{drop_frame}");
    assert!(drop_frame.contains("01:01:00;02 01:01:00;03 01:01:00;02 01:01:00;03"), "{drop_frame}");
    let at_25 = edl(&["--frame-rate", "25", "--start-timecode", "10:00:00:00"]).await;
    assert!(at_25.contains("10:01:00:02"), "{at_25}");

    let otio = export(dir.path(), &["--to", "otio", "--start-timecode", "00:00:01:00"]).await;
    let otio: Value = serde_json::from_str(&otio).unwrap();
    let clip = &otio["tracks"]["children"][0]["children"][0];
    assert_eq!(otio["global_start_time"]["value"], 30.0);
    assert_eq!(clip["source_range"]["start_time"]["value"], 30.0);
    assert_eq!(clip["markers"][0]["marked_range"]["start_time"]["value"], 45.0);
    assert_eq!(clip["source_range"]["duration"]["value"], 1828.0);
    let fcpxml = export(dir.path(), &["--to", "fcpxml", "--start-timecode", "01:00:00;00"]).await;
    assert!(fcpxml.contains(r#"tcStart="107999892/30000s" tcFormat="DF""#), "{fcpxml}");
}

#[tokio::test]
async fn a_result_without_faces_is_an_export_without_rows() {
    let empty = Fixture { pages: vec![Vec::new()], tracks: Some(Vec::new()), ..four_tracks() };
    let dir = empty.write();
    for of in ["tracks", "detections"] {
        assert_eq!(export(dir.path(), &["--to", "csv", "--of", of]).await.lines().count(), 1);
        assert_eq!(export(dir.path(), &["--to", "vtt", "--of", of]).await, "WEBVTT\n");
        assert_eq!(export(dir.path(), &["--to", "edl", "--of", of]).await.lines().count(), 2);
        assert!(!export(dir.path(), &["--to", "fcpxml", "--of", of]).await.contains("<marker"));
        let otio: Value = serde_json::from_str(&export(dir.path(), &["--to", "otio", "--of", of]).await).unwrap();
        assert_eq!(otio["tracks"]["children"][0]["children"][0]["markers"], json!([]));
    }
}

#[tokio::test]
async fn an_older_result_has_detections_and_a_clear_error_for_tracks() {
    let dir = Fixture { tracks: None, ..four_tracks() }.write();
    let message = error(dir.path(), &["--to", "csv"]).await.to_string();
    assert!(message.contains("has no tracks") && message.contains("--of detections"), "{message}");
    let csv = export(dir.path(), &["--to", "csv", "--of", "detections"]).await;
    assert_eq!(csv.lines().count(), 1 + 8);
    assert!(csv.lines().nth(1).unwrap().contains(",500,00:00:00:15,0,,0.5,"), "{csv}");
}

#[tokio::test]
async fn a_video_without_a_frame_rate_has_no_timecodes_until_one_is_named() {
    let dir = Fixture { metadata: json!({}), ..four_tracks() }.write();
    let message = error(dir.path(), &["--to", "edl"]).await.to_string();
    assert!(message.contains("--frame-rate 25"), "{message}");
    assert!(export(dir.path(), &["--to", "edl", "--frame-rate", "25"]).await.contains("01:01:00:02"));
    assert!(export(dir.path(), &["--to", "csv"]).await.contains(",500,1500,1000,,,3,"));
    assert!(export(dir.path(), &["--to", "vtt"]).await.contains("00:01:00.060 --> 00:01:00.560"));
}

#[tokio::test]
async fn an_option_that_a_format_cannot_follow_is_an_error() {
    let dir = four_tracks().write();
    let message = error(dir.path(), &["--to", "vtt", "--start-timecode", "01:00:00:00"]).await;
    assert_eq!(message.exit_status(), 2);
    assert!(message.to_string().starts_with("--start-timecode applies to csv, edl"), "{message}");
    let message = error(dir.path(), &["--to", "edl", "--start-timecode", "01:00:00:30"]).await.to_string();
    assert!(message.contains("01:00:00:30") && message.contains("00 to 29"), "{message}");
}

#[tokio::test]
async fn a_file_is_replaced_only_with_force_and_written_whole_or_not() {
    let dir = four_tracks().write();
    let output = tempfile::tempdir().unwrap();
    let out = output.path().join("faces.csv");
    let run = async |arguments: &[&str], out: &Path| {
        let fixed = ["export", dir.path().to_str().unwrap(), "--to", "csv", "--out", out.to_str().unwrap()];
        let command = ExportCommand::try_parse_from(fixed.iter().chain(arguments)).unwrap();
        command.export.run(None, &Silent).await
    };
    fs::write(&out, "mine").unwrap();
    let error = run(&[], &out).await.expect_err("an error").to_string();
    assert!(error.contains("faces.csv exists; replace it with --force"), "{error}");
    assert_eq!(fs::read_to_string(&out).unwrap(), "mine");
    run(&["--force"], &out).await.unwrap();
    assert!(fs::read_to_string(&out).unwrap().starts_with("video,track,"));

    let error = run(&["--force"], output.path()).await.expect_err("an error").to_string();
    assert!(error.contains("is not a file"), "{error}");
    let error = run(&[], &output.path().join("no/such/faces.csv")).await.expect_err("an error").to_string();
    assert!(error.contains("cannot write to"), "{error}");

    // A result that cannot be read to its end leaves the old file, and no temporary one.
    fs::write(dir.path().join("tracks/00001.jsonl"), "{broken\n").unwrap();
    fs::write(&out, "mine").unwrap();
    let error = run(&["--force"], &out).await.expect_err("an error").to_string();
    assert!(error.contains("tracks/00001.jsonl"), "{error}");
    assert_eq!(fs::read_to_string(&out).unwrap(), "mine");
    assert_eq!(fs::read_dir(output.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn the_timeline_refers_to_the_video_near_the_results() {
    let video = "my video #1.mp4";
    let dir = Fixture { key: video, ..four_tracks() }.write();
    let url = async || {
        let otio: Value = serde_json::from_str(&export(dir.path(), &["--to", "otio"]).await).unwrap();
        otio["tracks"]["children"][0]["children"][0]["media_references"]["DEFAULT_MEDIA"]["target_url"].clone()
    };
    assert_eq!(url().await, "my%20video%20%231.mp4");
    // A file of another size is another video.
    let file = fs::File::create(dir.path().join(video)).unwrap();
    assert_eq!(url().await, "my%20video%20%231.mp4");
    file.set_len(1_000_000_007).unwrap();
    let found = url().await;
    let found = found.as_str().unwrap();
    assert!(found.starts_with("file:///") && found.ends_with("/my%20video%20%231.mp4"), "{found}");
}

/// A small generator of numbers, so that every run has the same faces.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A result of the tracker for faces that come and go, one of which stays for more than a part of a track.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "small numbers")]
fn crowd(seed: u64) -> (Fixture, Vec<Track>) {
    let mut numbers = Numbers(seed);
    let mut tracker = Tracker::new(Some((1920, 1080)));
    let (mut pages, mut parts, mut lines) = (vec![Vec::new()], Vec::new(), 0);
    let mut places: Vec<(f64, u64)> = vec![(0.05, u64::MAX)];
    for moment in 0..=i64::try_from(MOST_DETECTIONS).unwrap() + 50 {
        // Often many at the same moment, as after a cut.
        if numbers.below(12) == 0 {
            for _ in 0..numbers.below(4) {
                places.push((0.4 + numbers.below(50) as f64 / 100.0, 1 + numbers.below(40)));
            }
        }
        let ms = moment * 500 + i64::from(moment % 2 == 1) * 20;
        for (left, left_for) in &mut places {
            *left_for -= 1;
            if numbers.below(10) > 0 || *left_for > 1000 {
                let detail = face(ms, *left);
                let detection = Detection {
                    face: lines,
                    timestamp_ms: ms,
                    bounding_box: [*left as f32, 0.25, 0.125, 0.25],
                    confidence: 99.5,
                    clarity: 1.0,
                };
                tracker.add(detection);
                lines += 1;
                if pages.last().is_some_and(|page| page.len() == 100) {
                    pages.push(Vec::new());
                }
                pages.last_mut().unwrap().push(detail);
            }
        }
        places.retain(|(_, left_for)| *left_for > 0);
        parts.extend(tracker.take_ended());
    }
    tracker.finish();
    parts.extend(tracker.take_ended());
    let objects = parts.chunks(7).map(|parts| parts.iter().map(|part| serde_json::to_value(part).unwrap()).collect());
    let fixture =
        Fixture { pages, tracks: Some(objects.collect()), key: "a.mp4", attributes: "DEFAULT", ..four_tracks() };
    (fixture, parts)
}

#[tokio::test]
async fn every_track_and_every_detection_is_exported_once_and_in_order() {
    for seed in 1..=3 {
        let (fixture, parts) = crowd(seed);
        let dir = fixture.write();
        // What the exports must contain, from the parts without the code under test.
        let mut spans: BTreeMap<usize, (i64, i64, usize)> = BTreeMap::new();
        let mut track_of = BTreeMap::new();
        for part in &parts {
            let span = spans.entry(part.id).or_insert((i64::MAX, 0, 0));
            *span = (span.0.min(part.first_ms), span.1.max(part.last_ms), span.2 + part.detections);
            track_of.extend(part.faces.iter().map(|face| (*face, part.id)));
        }
        assert!(parts.iter().any(|part| part.continues) && spans.len() > 20, "seed {seed} has {} tracks", spans.len());

        let csv = export(dir.path(), &["--to", "csv"]).await;
        let rows: Vec<Vec<&str>> = csv.lines().skip(1).map(|line| line.split(',').collect()).collect();
        let read: Vec<_> =
            rows.iter().map(|row| [1, 2, 3, 7].map(|column| row[column].parse::<i64>().unwrap())).collect();
        #[expect(clippy::cast_possible_wrap, reason = "small numbers")]
        let expected: Vec<_> = spans
            .iter()
            .map(|(id, (first, last, detections))| [*id as i64, *first, *last, *detections as i64])
            .collect();
        assert_eq!(read, expected, "seed {seed}");

        let vtt = export(dir.path(), &["--to", "vtt"]).await;
        let starts: Vec<_> = vtt.lines().filter_map(|line| line.split_once(" --> ")).map(|(start, _)| start).collect();
        assert_eq!(starts.len(), spans.len());
        assert!(starts.is_sorted(), "seed {seed}");

        let csv = export(dir.path(), &["--to", "csv", "--of", "detections"]).await;
        let mut faces = 0;
        for (line, row) in csv.lines().skip(1).enumerate() {
            let row: Vec<_> = row.split(',').collect();
            assert_eq!(row[3], line.to_string());
            assert_eq!(row[4], track_of[&line].to_string(), "seed {seed}, face {line}");
            faces += 1;
        }
        assert_eq!(faces, fixture.pages.iter().map(Vec::len).sum::<usize>());
    }
}
