use serde_json::{Value, json};

use super::{lanes::tests::track, *};
use crate::{face::FaceDetection, results::Track};

fn summary(key: &str, metadata: &Value, faces: usize) -> Summary {
    serde_json::from_value(json!({
        "video": {"bucket": "uploads", "key": key, "etag": "e", "bytes": 1_230_880},
        "metadata": metadata,
        "job": {"job_id": "j1", "idempotency_key": "t1", "attempt": 0, "face_attributes": "ALL"},
        "faces": faces,
        "tracks": faces.min(1),
        "frames_with_faces": faces,
        "most_faces": (faces > 0).then(|| json!({"faces": 1, "timestamp_ms": 500})),
        "timeline": if faces == 0 { json!([]) } else {
            json!([{"second": 0, "faces": faces, "frames": faces, "most_faces": 1, "mean_confidence": 90.0}])
        },
    }))
    .unwrap()
}

fn timeline(duration_ms: u64, faces: impl IntoIterator<Item = Value>) -> Timeline {
    let mut timeline = Timeline::new(Some(duration_ms));
    for face in faces {
        let FaceDetection { timestamp, face } = serde_json::from_value(face).unwrap();
        timeline.add(timestamp, &face);
    }
    timeline.end_frame();
    timeline
}

fn face(timestamp: u64) -> Value {
    json!({"Timestamp": timestamp, "Face": {
        "Confidence": 90.5,
        "BoundingBox": {"Left": 0.25, "Top": 0.5, "Width": 0.1, "Height": 0.2},
        "AgeRange": {"Low": 20, "High": 30},
        "Emotions": [{"Type": "SAD", "Confidence": 20.0}, {"Type": "HAPPY", "Confidence": 70.0}],
    }})
}

fn page(index: usize) -> PageFacts {
    PageFacts {
        key: format!("results/k/t/faces/{index:05}.jsonl"),
        bytes: 700,
        faces: 1,
        first_ms: Some(0),
        last_ms: Some(500),
    }
}

fn written(summary: &Summary, timeline: &Timeline, pages: &[PageFacts]) -> String {
    written_with(summary, timeline, &[track(0, 0, 2)][..summary.tracks.unwrap_or_default().min(1)], pages)
}

fn written_with(summary: &Summary, timeline: &Timeline, tracks: &[Track], pages: &[PageFacts]) -> String {
    let facts = ObjectFacts { key: "results/k/t/summary.json".into(), bytes: 1234 };
    let objects =
        [TracksFacts { key: "results/k/t/tracks/00000.jsonl".into(), bytes: 300, lines: 1, first_ms: 0, last_ms: 500 }];
    let mut lanes = Lanes::default();
    for track in tracks {
        lanes.add(track);
    }
    html(summary, timeline, &lanes, &facts, pages, &objects)
}

fn of_key(key: &str) -> String {
    let metadata = json!({"duration_ms": 12_000, "frame_width": 1280, "frame_height": 720});
    written(&summary(key, &metadata, 2), &timeline(12_000, [face(500), face(1500)]), &[page(0)])
}

#[test]
fn it_shows_what_was_found_and_by_which_job() {
    let html = of_key("folder/holiday.mp4");
    for part in [
        "<title>Faces in holiday.mp4</title>",
        "folder/holiday.mp4",
        "<b>2</b> face detections",
        "<b>1</b> track</li>",
        "<b>1</b> face in one moment, at 0:00.5",
        "A detection is one face in one moment",
        "It is not a person",
        "1 track, from the first detection to the last.",
        "1280 × 720 pixels",
        "1.2 MB",
        "0:12.0",
        "mostly happy, age 20 to 30",
        "happy 100 %",
        "<rect x=\"320\" y=\"360\" width=\"128\" height=\"144\"/>",
        "<a href=\"faces/00000.jsonl\">",
        "<a href=\"tracks/00000.jsonl\">",
        "j1",
        "t1",
    ] {
        assert!(html.contains(part), "{part} is not in the report: {html}");
    }
    assert!(!html.contains("{{"), "a slot is left: {html}");
}

#[test]
fn a_key_never_becomes_markup() {
    for key in
        ["</title></script><img src=x onerror=alert(1)>.mp4", "\"'><svg onload=alert(1)>.mp4", "{{made}}&lt;.mp4"]
    {
        let html = of_key(key);
        for tag in ["<img", "<svg onload", "<script", "</script"] {
            assert!(!html.contains(tag), "{tag} is in the report of the key {key}");
        }
        let plain = html.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
        assert!(plain.replace("&amp;", "&").contains(&format!("<dd>{key}</dd>")), "{key} is changed in the report");
    }
}

#[test]
fn it_makes_no_request() {
    let html = of_key("holiday.mp4");
    for request in ["http:", "https:", "//", "src=", "@import", "url(", "<script", "<link"] {
        assert!(!html.contains(request), "{request} is in the report");
    }
    assert!(html.contains("default-src 'none'"));
}

#[test]
fn age_and_emotions_are_drawn_only_if_rekognition_returns_them() {
    let default = json!({"Timestamp": 500, "Face": {"Confidence": 99.0}});
    let html = written(&summary("k.mp4", &json!({}), 1), &timeline(12_000, [default]), &[page(0)]);
    assert!(html.contains("Mean confidence"));
    assert!(!html.contains("Emotions") && !html.contains(">Age"), "{html}");
}

#[test]
fn a_video_without_faces_says_so() {
    let html = written(&summary("k.mp4", &json!({"duration_ms": 5000}), 0), &timeline(5000, []), &[page(0)]);
    assert!(html.contains("No faces were found."));
    assert!(html.contains("<b>0</b> tracks"));
    assert!(
        !html.contains("<h2>Tracks") && !html.contains("<figure") && !html.contains("Busiest") && !html.contains("NaN"),
        "{html}"
    );
}

#[test]
fn the_largest_result_makes_a_small_page() {
    // Six hours, two samples a second, a hundred faces a frame: Rekognition's own limits.
    const HOURS: u64 = 6 * 3_600_000;
    let mut timeline = Timeline::new(Some(HOURS));
    let FaceDetection { face, .. } = serde_json::from_value(face(0)).unwrap();
    for frame in 0..HOURS / 500 {
        // Faces differ, so that each stretch has several emotions.
        (0..100).for_each(|_| timeline.add(i64::try_from(frame).unwrap() * 500, &face));
    }
    timeline.end_frame();
    let pages: Vec<_> = (0..4320).map(page).collect();
    let metadata = json!({"duration_ms": HOURS, "frame_width": 1280, "frame_height": 720});
    let tracks: Vec<_> = (0..9000).map(|id| track(id, i64::try_from(2 * id).unwrap(), 2 + id % 9)).collect();
    let html = written_with(&summary("long.mp4", &metadata, 4_320_000), &timeline, &tracks, &pages);
    assert!(html.len() < 1_000_000, "{} bytes", html.len());
    assert!(html.contains("4,300 more pages"), "too many pages are listed");
    assert_eq!(html.matches("<span>Track ").count(), 30, "too many tracks are listed");
    assert!(html.contains("8,970 other tracks are not shown") && html.contains("contain all 9,000."), "{html}");
}

#[test]
fn a_single_track_that_is_not_shown_is_counted() {
    let tracks: Vec<_> = (0..31).map(|id| track(id, 1, 2)).collect();
    let html = written_with(&summary("k.mp4", &json!({}), 62), &timeline(12_000, [face(500)]), &tracks, &[page(0)]);
    assert!(html.contains("The 30 tracks with the most detections"), "{html}");
    assert!(html.contains("1 other track is not shown; the files in <code>tracks/</code> contain all 31."), "{html}");
}

#[test]
fn a_lane_is_inside_the_chart_and_has_its_numbers_in_words() {
    let detections = timeline(60_000, [face(500), face(59_500)]);
    let tracks = [track(0, 0, 1), track(1, 30, 40), track(2, 59, 2)];
    let metadata = json!({"duration_ms": 60_000});
    let html = written_with(&summary("k.mp4", &metadata, 43), &detections, &tracks, &[page(0)]);
    for lane in [
        // A single detection has no duration, and the bar of the last one ends with the video.
        "x=\"0\" width=\"300\"",
        "x=\"30000\" width=\"19500\"",
        "x=\"59000\" width=\"500\"",
        "Track 1: 0:30.0 to 0:49.5, 40 detections, best at 0:30.0, mean confidence 99.0 %",
        "<tr><th>2</th><td>0:59.0</td><td>0:59.5</td><td>2</td><td>0:59.0</td><td>99.0 %</td></tr>",
        "3 tracks, from the first detection to the last.",
    ] {
        assert!(html.contains(lane), "{lane} is not in the report: {html}");
    }
}

#[test]
fn the_same_result_gives_the_same_bytes() {
    let (summary, timeline) = (summary("k.mp4", &json!({}), 1), timeline(12_000, [face(500)]));
    assert_eq!(written(&summary, &timeline, &[page(0)]), written(&summary, &timeline, &[page(0)]));
}

#[test]
fn a_time_is_shown_as_in_a_video_player() {
    assert_eq!(clock(0), "0:00.0");
    assert_eq!(clock(83_500), "1:23.5");
    assert_eq!(clock(3_723_040), "1:02:03.0");
}

#[test]
fn numbers_are_formatted() {
    assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    assert_eq!([999, 1_230_880, 10_000_000_000].map(bytes), ["999 bytes", "1.2 MB", "10.0 GB"]);
    assert_eq!([500, 1000, 30_000, 120_000].map(seconds), ["half a second", "a second", "30 seconds", "2 minutes"]);
}
