//! Validates results against the JSON Schemas of `docs/schema`, which are the contract with readers.

use std::path::Path;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value, json};

/// `manifest.json`, with no member that the contract does not name.
static MANIFEST: LazyLock<Validator> = LazyLock::new(|| validator(&closed(read("manifest"))));

/// `summary.json`, with no member that the contract does not name.
static SUMMARY: LazyLock<Validator> = LazyLock::new(|| validator(&closed(read("summary"))));

/// A line of a page. Its members are Rekognition's, which may have more.
static FACE: LazyLock<Validator> = LazyLock::new(|| validator(&read("face")));

/// A line of tracks, with no member that the contract does not name.
static TRACK: LazyLock<Validator> = LazyLock::new(|| validator(&closed(read("track"))));

/// The kinds of documents in a result.
#[derive(Debug, Clone, Copy)]
pub enum Document {
    /// `manifest.json`
    Manifest,
    /// `summary.json`
    Summary,
    /// A line of `faces/*.jsonl`
    Face,
    /// A line of `tracks/*.jsonl`
    Track,
}

impl Document {
    /// Every violation of the contract in `document`; empty if there is none.
    ///
    /// # Panics
    /// When the contract itself cannot be read.
    #[must_use]
    pub fn violations(self, document: &Value) -> Vec<String> {
        let schema = match self {
            Self::Manifest => &MANIFEST,
            Self::Summary => &SUMMARY,
            Self::Face => &FACE,
            Self::Track => &TRACK,
        };
        schema.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    /// Checks a document against the contract.
    ///
    /// # Panics
    /// When it violates the contract; the message says where.
    pub fn assert_valid(self, document: &Value) {
        let violations = self.violations(document);
        assert!(violations.is_empty(), "{self:?} violates docs/schema: {violations:#?}\n{document:#}");
    }
}

/// Checks the JSON document of a command's report against its schema, such as `status-report`.
///
/// # Panics
/// When it violates the schema; the message says where.
pub fn assert_report(name: &str, document: &Value) {
    let schema = validator(&read(name));
    let violations: Vec<_> =
        schema.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(violations.is_empty(), "the report violates docs/schema/{name}.schema.json: {violations:#?}\n{document:#}");
}

fn read(name: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/schema/{name}.schema.json"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::meta::validate(schema).unwrap_or_else(|error| panic!("not a JSON Schema: {error}"));
    jsonschema::draft202012::new(schema).unwrap_or_else(|error| panic!("not a JSON Schema: {error}"))
}

/// The schema with `additionalProperties: false` in every object. The published schema allows readers to meet more members;
/// this one allows the functions to write no more.
fn closed(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(members) => {
            members.values_mut().for_each(|member| *member = closed(member.take()));
            if members.get("properties").is_some_and(Value::is_object) {
                members.insert("additionalProperties".to_owned(), json!(false));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = closed(item.take())),
        _ => {}
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Value {
        let object = |name: &str| json!({"key": format!("results/k.mp4/key/{name}"), "bytes": 10});
        json!({
            "video": {"bucket": "uploads", "key": "k.mp4", "etag": "e", "bytes": 1},
            "job": {"job_id": "j", "idempotency_key": "0".repeat(64), "attempt": 0, "face_attributes": "DEFAULT"},
            "execution_arn": "arn:aws:states:us-east-1:123456789012:execution:analyze-video:e",
            "faces": 0,
            "summary": object("summary.json"),
            "report": object("report.html"),
            "pages": [{"key": "results/k.mp4/key/faces/00000.jsonl", "bytes": 0, "faces": 0, "first_ms": null, "last_ms": null}],
        })
    }

    #[test]
    fn a_missing_additional_or_malformed_member_violates_the_manifest_schema() {
        Document::Manifest.assert_valid(&manifest());
        for (member, value) in [
            ("faces", json!(-1)),
            ("faces", Value::Null),
            ("report", json!({"key": "k"})),
            ("pages", json!([])),
            ("execution_arn", json!(7)),
            ("more", json!(1)),
        ] {
            let mut wrong = manifest();
            wrong[member] = value.clone();
            assert!(!Document::Manifest.violations(&wrong).is_empty(), "{member} as {value} was not found");
        }
        for member in manifest().as_object().unwrap().keys() {
            let mut wrong = manifest();
            wrong.as_object_mut().unwrap().remove(member);
            assert!(!Document::Manifest.violations(&wrong).is_empty(), "the missing {member} was not found");
        }
    }

    #[test]
    fn a_manifest_names_its_tracks_unless_it_is_older() {
        let object =
            json!({"key": "results/k.mp4/key/tracks/00000.jsonl", "bytes": 9, "lines": 1, "first_ms": 0, "last_ms": 0});
        let mut manifest = manifest();
        for (tracks, valid) in [(json!([]), true), (json!([object]), true), (json!([{}]), false), (Value::Null, false)]
        {
            manifest["tracks"] = tracks;
            assert_eq!(Document::Manifest.violations(&manifest).is_empty(), valid, "{manifest}");
        }
    }

    #[test]
    fn a_missing_additional_or_malformed_member_violates_the_track_schema() {
        let detection = json!({"timestamp_ms": 500, "face": 7, "box": [-0.01, 0.2, 0.1, 0.1]});
        let track = json!({
            "id": 0, "part": 0, "continues": false, "first_ms": 500, "last_ms": 500, "detections": 1, "mean_confidence": 99.5,
            "best": detection, "timestamps_ms": [500], "faces": [7], "boxes": [[-0.01, 0.2, 0.1, 0.1]],
        });
        Document::Track.assert_valid(&track);
        for (member, value) in [
            ("id", json!(-1)),
            ("detections", json!(0)),
            ("boxes", json!([[0.1, 0.2, 0.1]])),
            ("faces", json!([])),
            ("best", json!({})),
            ("person", json!("a name")),
        ] {
            let mut wrong = track.clone();
            wrong[member] = value.clone();
            assert!(!Document::Track.violations(&wrong).is_empty(), "{member} as {value} was not found");
        }
        for member in track.as_object().unwrap().keys() {
            let mut wrong = track.clone();
            wrong.as_object_mut().unwrap().remove(member);
            assert!(!Document::Track.violations(&wrong).is_empty(), "the missing {member} was not found");
        }
    }

    #[test]
    fn a_face_with_all_attributes_and_an_unknown_one_is_valid() {
        let face = json!({"Timestamp": 500, "Face": {
            "AgeRange": {"Low": 20, "High": 28},
            "Beard": {"Confidence": 98.5, "Value": false},
            "BoundingBox": {"Height": 0.2, "Left": -0.01, "Top": 0.1, "Width": 0.1},
            "Confidence": 99.9,
            "Emotions": [{"Confidence": 90.0, "Type": "CALM"}],
            "EyeDirection": null,
            "FaceOccluded": null,
            "Gender": {"Confidence": 99.0, "Value": "Female"},
            "Landmarks": [{"Type": "eyeLeft", "X": 0.1, "Y": 0.2}],
            "Pose": {"Pitch": -3.5, "Roll": 1.0, "Yaw": 20.0},
            "Quality": {"Brightness": 80.0, "Sharpness": 60.0},
            "FieldOfTomorrow": 1,
        }});
        Document::Face.assert_valid(&face);
        for (path, value) in [
            ("/Timestamp", json!("500")),
            ("/Face/Confidence", json!(101)),
            ("/Face/BoundingBox", json!({"Left": 0.1})),
            ("/Face/Emotions", json!([{"Type": "CALM"}])),
            ("/Face/Gender", json!({"Value": true})),
        ] {
            let mut wrong = face.clone();
            *wrong.pointer_mut(path).unwrap() = value.clone();
            assert!(!Document::Face.violations(&wrong).is_empty(), "{path} as {value} was not found");
        }
    }
}
