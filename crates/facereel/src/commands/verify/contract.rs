//! The contract of a result's files: their schemas, and that they agree with each other.

use std::{collections::BTreeMap, sync::LazyLock};

use jsonschema::Validator;
use serde_json::Value;

use super::score::FoundFace;
use crate::terminal::text::counted;
use lambdas::results::{Manifest, PageFacts, Summary, Track, TracksFacts};

static MANIFEST: LazyLock<Validator> =
    LazyLock::new(|| validator(include_str!("../../../../../docs/schema/manifest.schema.json")));
static SUMMARY: LazyLock<Validator> =
    LazyLock::new(|| validator(include_str!("../../../../../docs/schema/summary.schema.json")));
static FACE: LazyLock<Validator> =
    LazyLock::new(|| validator(include_str!("../../../../../docs/schema/face.schema.json")));
static TRACK: LazyLock<Validator> =
    LazyLock::new(|| validator(include_str!("../../../../../docs/schema/track.schema.json")));

fn validator(schema: &str) -> Validator {
    let schema = serde_json::from_str(schema).expect("a test parses every embedded schema");
    jsonschema::draft202012::new(&schema).expect("a test compiles every embedded schema")
}

/// The files of one result, as they are in the bucket: their names below the result's folder, and their content.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// The number of files that are valid by their schemas, or the first violations.
pub(super) fn validate(files: &Files) -> Result<usize, String> {
    let mut violations = Vec::new();
    let mut valid = 0;
    for (name, content) in files {
        let found = match name.as_str() {
            "manifest.json" => document(&MANIFEST, content),
            "summary.json" => document(&SUMMARY, content),
            name if is_page(name) => lines(&FACE, content),
            name if has_tracks(name) => lines(&TRACK, content),
            // The report is for people and has no schema.
            _ => continue,
        };
        valid += usize::from(found.is_empty());
        violations.extend(found.into_iter().map(|violation| format!("{name}{violation}")));
    }
    match violations.len() {
        0 => Ok(valid),
        count => {
            violations.truncate(3);
            let more = if count > 3 { format!("; and {} more", count - 3) } else { String::new() };
            Err(format!("{}{more}", violations.join("; ")))
        }
    }
}

fn is_page(name: &str) -> bool {
    name.strip_prefix("faces/").and_then(|name| name.strip_suffix(".jsonl")).is_some()
}

fn has_tracks(name: &str) -> bool {
    name.strip_prefix("tracks/").and_then(|name| name.strip_suffix(".jsonl")).is_some()
}

/// The violations of a document, each with the path to the member.
fn document(schema: &Validator, content: &[u8]) -> Vec<String> {
    match serde_json::from_slice::<Value>(content) {
        Ok(document) => {
            schema.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect()
        }
        Err(error) => vec![format!(": not JSON: {error}")],
    }
}

/// The violations of the lines of a file.
fn lines(schema: &Validator, content: &[u8]) -> Vec<String> {
    if !(content.is_empty() || content.ends_with(b"\n")) {
        return vec![": it ends within a line".to_owned()];
    }
    let lines = content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let of_line =
        |(index, line)| document(schema, line).into_iter().map(move |violation| format!(":{}{violation}", index + 1));
    lines.enumerate().flat_map(of_line).collect()
}

/// The faces of every page, in order.
pub(super) fn faces(files: &Files) -> Result<Vec<FoundFace>, String> {
    let mut faces = Vec::new();
    for (name, content) in files.iter().filter(|(name, _)| is_page(name)) {
        faces.extend(page_faces(name, content)?);
    }
    Ok(faces)
}

fn page_faces(name: &str, content: &[u8]) -> Result<Vec<FoundFace>, String> {
    let lines = content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let parsed: Result<Vec<FoundFace>, _> = lines.map(serde_json::from_slice).collect();
    parsed.map_err(|error| format!("{name}: {error}"))
}

/// Checks that the manifest names exactly the files below `prefix`, with their bytes, and that the numbers of faces of the
/// pages, the tracks, the manifest and the summary agree. Returns what was counted.
pub(super) fn add_up(prefix: &str, files: &Files) -> Result<String, String> {
    let manifest: Manifest = parse(files, "manifest.json")?;
    let summary: Summary = parse(files, "summary.json")?;
    let mut named: BTreeMap<&str, usize> = BTreeMap::new();
    let objects = [&manifest.summary, &manifest.report].map(|object| (object.key.as_str(), object.bytes));
    let pages = manifest.pages.iter().map(|page| (page.key.as_str(), page.bytes));
    let tracks = manifest.tracks.iter().flatten().map(|object| (object.key.as_str(), object.bytes));
    for (key, bytes) in pages.chain(tracks).chain(objects) {
        let name =
            key.strip_prefix(prefix).ok_or_else(|| format!("the manifest names {key}, outside of its folder"))?;
        named.insert(name, bytes);
    }
    for (name, bytes) in &named {
        match files.get(*name).map(Vec::len) {
            Some(actual) if actual == *bytes => {}
            Some(actual) => return Err(format!("{name} has {actual} bytes, and {bytes} in the manifest")),
            None => return Err(format!("the manifest names {name}, which does not exist")),
        }
    }
    if let Some(other) = files.keys().find(|name| *name != "manifest.json" && !named.contains_key(name.as_str())) {
        return Err(format!("{other} is not in the manifest"));
    }
    let mut faces = 0;
    for page in &manifest.pages {
        faces += page_adds_up(prefix, page, files)?;
    }
    if (manifest.faces, summary.faces) != (faces, faces) {
        let (in_manifest, in_summary) = (manifest.faces, summary.faces);
        return Err(format!("{faces} faces in the pages, {in_manifest} in the manifest, {in_summary} in the summary"));
    }
    let tracks =
        manifest.tracks.as_ref().ok_or("the manifest names no tracks: the functions are older than this command")?;
    let tracked = tracked_faces(prefix, tracks, files)?;
    if !tracked.iter().copied().eq(0..faces) {
        return Err(format!("{faces} faces in the pages, and other ones in the tracks: {} in all", tracked.len()));
    }
    let bytes: usize = named.values().sum();
    let (files, pages) = (counted(named.len(), "file"), counted(manifest.pages.len(), "page"));
    Ok(format!("{files}, {bytes} bytes, {pages}, {}", counted(faces, "face")))
}

/// The number of faces of a page, which are counted and compared with the manifest.
fn page_adds_up(prefix: &str, page: &PageFacts, files: &Files) -> Result<usize, String> {
    let name = page.key.strip_prefix(prefix).unwrap_or(&page.key);
    let faces = page_faces(name, &files[name])?;
    let times = (faces.first().map(|face| face.timestamp), faces.last().map(|face| face.timestamp));
    if (faces.len(), times) == (page.faces, (page.first_ms, page.last_ms)) {
        Ok(faces.len())
    } else {
        Err(format!("{name} has {} faces at other times or in another number than in the manifest", faces.len()))
    }
}

/// The numbers of the faces in all tracks, in order; the lines and times of the objects are compared with the manifest.
fn tracked_faces(prefix: &str, objects: &[TracksFacts], files: &Files) -> Result<Vec<usize>, String> {
    let mut faces = Vec::new();
    for object in objects {
        let name = object.key.strip_prefix(prefix).unwrap_or(&object.key);
        let lines = files[name].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let tracks: Result<Vec<Track>, _> = lines.map(serde_json::from_slice).collect();
        let tracks = tracks.map_err(|error| format!("{name}: {error}"))?;
        let times = (tracks.iter().map(|track| track.first_ms).min(), tracks.iter().map(|track| track.last_ms).max());
        if (tracks.len(), times) != (object.lines, (Some(object.first_ms), Some(object.last_ms))) {
            let lines = tracks.len();
            return Err(format!("{name} has {lines} lines at other times or in another number than in the manifest"));
        }
        faces.extend(tracks.into_iter().flat_map(|track| track.faces));
    }
    faces.sort_unstable();
    Ok(faces)
}

fn parse<T: serde::de::DeserializeOwned>(files: &Files, name: &str) -> Result<T, String> {
    let content = files.get(name).ok_or_else(|| format!("there is no {name}"))?;
    serde_json::from_slice(content).map_err(|error| format!("{name}: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PREFIX: &str = "results/k.mp4/key/";
    const FACE_LINE: &str =
        r#"{"Timestamp":500,"Face":{"BoundingBox":{"Width":0.1,"Height":0.2,"Left":0.4,"Top":0.3},"Confidence":99.9}}"#;

    fn result() -> Files {
        let video = json!({ "bucket": "uploads", "key": "k.mp4", "etag": "e", "bytes": 1 });
        let job =
            json!({ "job_id": "j", "idempotency_key": "0".repeat(64), "attempt": 0, "face_attributes": "DEFAULT" });
        let metadata = json!({ "codec": "h264", "duration_ms": 1000, "format": null, "frame_rate": 25.0, "frame_width": 1280, "frame_height": 720, "color_range": null });
        let second = json!({ "second": 0, "faces": 2, "frames": 1, "most_faces": 2, "mean_confidence": 99.9 });
        let summary = json!({ "video": video, "metadata": metadata, "job": job, "faces": 2, "frames_with_faces": 1, "most_faces": { "faces": 2, "timestamp_ms": 500 }, "timeline": [second] });
        let page = format!("{FACE_LINE}\n{FACE_LINE}\n");
        let track = |id: usize| {
            let place = [0.4, 0.3, 0.1, 0.2];
            let best = json!({ "timestamp_ms": 500, "face": id, "box": place });
            let track = json!({
                "id": id, "part": 0, "continues": false, "first_ms": 500, "last_ms": 500, "detections": 1,
                "mean_confidence": 99.9, "best": best, "timestamps_ms": [500], "faces": [id], "boxes": [place],
            });
            format!("{track}\n")
        };
        let tracks = track(0) + &track(1);
        let key = |name: &str| format!("{PREFIX}{name}");
        let manifest = json!({
            "video": video,
            "job": job,
            "execution_arn": "arn:aws:states:us-east-1:123456789012:execution:analyze-video:e",
            "faces": 2,
            "summary": { "key": key("summary.json"), "bytes": summary.to_string().len() },
            "report": { "key": key("report.html"), "bytes": 6 },
            "pages": [{ "key": key("faces/00000.jsonl"), "bytes": page.len(), "faces": 2, "first_ms": 500, "last_ms": 500 }],
            "tracks": [{ "key": key("tracks/00000.jsonl"), "bytes": tracks.len(), "lines": 2, "first_ms": 500, "last_ms": 500 }],
        });
        let file = |name: &str, content: String| (name.to_owned(), content.into_bytes());
        Files::from([
            file("manifest.json", manifest.to_string()),
            file("summary.json", summary.to_string()),
            file("report.html", "<html>".to_owned()),
            file("faces/00000.jsonl", page),
            file("tracks/00000.jsonl", tracks),
        ])
    }

    fn edit(files: &mut Files, name: &str, pointer: &str, value: Value) {
        let mut document: Value = serde_json::from_slice(&files[name]).unwrap();
        *document.pointer_mut(pointer).unwrap() = value;
        files.insert(name.to_owned(), document.to_string().into_bytes());
    }

    /// Replaces a text in the tracks.
    fn replace(files: &mut Files, from: &str, to: &str) {
        let text = String::from_utf8(files["tracks/00000.jsonl"].clone()).unwrap();
        files.insert("tracks/00000.jsonl".to_owned(), text.replace(from, to).into_bytes());
    }

    #[test]
    fn a_correct_result_is_valid_and_adds_up() {
        assert_eq!(validate(&result()), Ok(4));
        let counted = add_up(PREFIX, &result()).unwrap();
        assert!(counted.starts_with("4 files, ") && counted.ends_with(", 1 page, 2 faces"), "{counted}");
        assert_eq!(faces(&result()).unwrap().len(), 2);
    }

    #[test]
    fn a_violation_names_the_file_the_line_and_the_member() {
        let mut moved = result();
        edit(&mut moved, "summary.json", "/metadata/frame_rate", json!("25"));
        let violation = validate(&moved).unwrap_err();
        assert!(violation.starts_with("summary.json/metadata/frame_rate: "), "{violation}");

        let mut broken = result();
        broken.insert("faces/00000.jsonl".to_owned(), format!("{FACE_LINE}\n{{\"Timestamp\":1}}\n").into_bytes());
        let violation = validate(&broken).unwrap_err();
        assert!(violation.starts_with("faces/00000.jsonl:2: ") && violation.contains("Face"), "{violation}");

        broken.insert("faces/00000.jsonl".to_owned(), FACE_LINE.as_bytes().to_vec());
        assert_eq!(validate(&broken).unwrap_err(), "faces/00000.jsonl: it ends within a line");
        let mut person = result();
        replace(&mut person, "\"id\":1", "\"id\":\"a name\"");
        let violation = validate(&person).unwrap_err();
        assert!(violation.starts_with("tracks/00000.jsonl:2/id: "), "{violation}");
        broken.insert("manifest.json".to_owned(), b"{".to_vec());
        assert!(validate(&broken).unwrap_err().contains("manifest.json: not JSON"));
    }

    #[test]
    fn files_that_contradict_each_other_do_not_add_up() {
        let wrong = |change: &dyn Fn(&mut Files)| {
            let mut files = result();
            change(&mut files);
            add_up(PREFIX, &files).unwrap_err()
        };
        for (why, expected) in [
            (wrong(&|files| drop(files.remove("report.html"))), "names report.html, which does not exist"),
            (wrong(&|files| drop(files.remove("manifest.json"))), "there is no manifest.json"),
            (wrong(&|files| drop(files.insert("other.json".into(), vec![]))), "other.json is not in the manifest"),
            (wrong(&|files| files.get_mut("report.html").unwrap().push(b' ')), "7 bytes, and 6 in the manifest"),
            (
                wrong(&|files| edit(files, "manifest.json", "/faces", json!(3))),
                "2 faces in the pages, 3 in the manifest",
            ),
            (wrong(&|files| edit(files, "manifest.json", "/pages/0/faces", json!(1))), "in another number"),
            (wrong(&|files| edit(files, "manifest.json", "/pages/0/last_ms", json!(900))), "at other times"),
            (wrong(&|files| edit(files, "manifest.json", "/tracks/0/lines", json!(1))), "in another number"),
            (wrong(&|files| edit(files, "manifest.json", "/tracks/0/last_ms", json!(900))), "at other times"),
            (wrong(&|files| replace(files, "\"faces\":[1]", "\"faces\":[0]")), "other ones in the tracks: 2 in all"),
            (
                wrong(&|files| drop(files.remove("tracks/00000.jsonl"))),
                "names tracks/00000.jsonl, which does not exist",
            ),
            (wrong(&|files| edit(files, "manifest.json", "/report/key", json!("results/x"))), "outside of its folder"),
        ] {
            assert!(why.contains(expected), "{why}");
        }
    }
}
