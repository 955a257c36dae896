//! CSV: a header, then a row for each track or face (RFC 4180, <https://www.rfc-editor.org/rfc/rfc4180>).
//!
//! The names of the columns contain the units. The columns depend only on the attributes that the job has asked for, so that the files of
//! several videos can be appended to each other; what Rekognition has not reported is an empty field.

use std::io::{self, Write};

use lambdas::job::FaceAttributes;
use serde_json::Value;

use super::{Exporter, moments::FacesAt, spans::Span, timecode::FrameLabels};

/// The columns of a track.
const TRACK_COLUMNS: [&str; 16] = [
    "video",
    "track",
    "first_ms",
    "last_ms",
    "duration_ms",
    "first_timecode",
    "last_timecode",
    "detections",
    "mean_confidence_percent",
    "best_ms",
    "best_timecode",
    "best_face",
    "best_left_ratio",
    "best_top_ratio",
    "best_width_ratio",
    "best_height_ratio",
];

/// The columns of a face before those of its attributes.
const FACE_COLUMNS: [&str; 5] = ["video", "timestamp_ms", "timecode", "face", "track"];

/// What Rekognition reports for every face: the column, and the place of the number in `FaceDetail`
/// (<https://docs.aws.amazon.com/rekognition/latest/APIReference/API_FaceDetail.html>).
const NUMBERS: [(&str, &str); 10] = [
    ("left_ratio", "/BoundingBox/Left"),
    ("top_ratio", "/BoundingBox/Top"),
    ("width_ratio", "/BoundingBox/Width"),
    ("height_ratio", "/BoundingBox/Height"),
    ("confidence_percent", "/Confidence"),
    ("yaw_degrees", "/Pose/Yaw"),
    ("pitch_degrees", "/Pose/Pitch"),
    ("roll_degrees", "/Pose/Roll"),
    ("brightness_percent", "/Quality/Brightness"),
    ("sharpness_percent", "/Quality/Sharpness"),
];

/// The landmarks of every face, and those that Rekognition adds with `ALL` attributes
/// (<https://docs.aws.amazon.com/rekognition/latest/APIReference/API_Landmark.html>).
const LANDMARKS: [&str; 5] = ["eyeLeft", "eyeRight", "nose", "mouthLeft", "mouthRight"];
const MORE_LANDMARKS: [&str; 25] = [
    "leftEyeBrowLeft",
    "leftEyeBrowRight",
    "leftEyeBrowUp",
    "rightEyeBrowLeft",
    "rightEyeBrowRight",
    "rightEyeBrowUp",
    "leftEyeLeft",
    "leftEyeRight",
    "leftEyeUp",
    "leftEyeDown",
    "rightEyeLeft",
    "rightEyeRight",
    "rightEyeUp",
    "rightEyeDown",
    "noseLeft",
    "noseRight",
    "mouthUp",
    "mouthDown",
    "leftPupil",
    "rightPupil",
    "upperJawlineLeft",
    "midJawlineLeft",
    "chinBottom",
    "midJawlineRight",
    "upperJawlineRight",
];

/// The attributes with a value and its confidence.
const VALUES: [&str; 8] = ["Gender", "Smile", "Eyeglasses", "Sunglasses", "Beard", "Mustache", "EyesOpen", "MouthOpen"];

/// The emotions that a face can appear to express
/// (<https://docs.aws.amazon.com/rekognition/latest/APIReference/API_Emotion.html>).
const EMOTIONS: [&str; 9] = ["HAPPY", "SAD", "ANGRY", "CONFUSED", "DISGUSTED", "SURPRISED", "CALM", "UNKNOWN", "FEAR"];

/// Writes CSV.
pub(super) struct Csv {
    video: String,
    /// Labels the frames, if the frame rate is known.
    labels: Option<FrameLabels>,
    columns: Columns,
}

/// What the rows are.
enum Columns {
    Tracks,
    Faces(Vec<Attribute>),
}

/// A column with a part of `FaceDetail`.
struct Attribute {
    column: String,
    place: Place,
}

/// Where the value of a column is.
enum Place {
    /// A JSON pointer.
    Pointer(String),
    /// A coordinate of the landmark with this type.
    Landmark(&'static str, &'static str),
    /// The confidence of an emotion.
    Emotion(&'static str),
}

impl Csv {
    /// A row for each track.
    pub fn of_tracks(video: &str, labels: Option<FrameLabels>) -> Self {
        Self { video: text(video), labels, columns: Columns::Tracks }
    }

    /// A row for each face.
    pub fn of_faces(video: &str, labels: Option<FrameLabels>, attributes: FaceAttributes) -> Self {
        Self { video: text(video), labels, columns: Columns::Faces(Attribute::all(attributes)) }
    }

    fn timecode(&self, ms: i64) -> String {
        self.labels.map(|labels| labels.label_at(ms).to_string()).unwrap_or_default()
    }
}

impl Exporter for Csv {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        match &self.columns {
            Columns::Tracks => row(out, TRACK_COLUMNS),
            Columns::Faces(attributes) => {
                row(out, FACE_COLUMNS.into_iter().chain(attributes.iter().map(|attribute| attribute.column.as_str())))
            }
        }
    }

    fn track(&mut self, out: &mut dyn Write, span: &Span) -> io::Result<()> {
        let [left, top, width, height] = span.best.bounding_box.map(|side| side.to_string());
        row(
            out,
            [
                self.video.clone(),
                span.id.to_string(),
                span.first_ms.to_string(),
                span.last_ms.to_string(),
                (span.last_ms - span.first_ms).to_string(),
                self.timecode(span.first_ms),
                self.timecode(span.last_ms),
                span.detections.to_string(),
                span.mean_confidence.to_string(),
                span.best.timestamp_ms.to_string(),
                self.timecode(span.best.timestamp_ms),
                span.best.face.to_string(),
                left,
                top,
                width,
                height,
            ],
        )
    }

    fn moment(&mut self, out: &mut dyn Write, moment: &FacesAt) -> io::Result<()> {
        let Columns::Faces(attributes) = &self.columns else { return Ok(()) };
        let (ms, timecode) = (moment.ms.to_string(), self.timecode(moment.ms));
        for face in &moment.faces {
            let track = face.track.map(|track| track.to_string()).unwrap_or_default();
            let known = [self.video.clone(), ms.clone(), timecode.clone(), face.line.to_string(), track];
            row(out, known.into_iter().chain(attributes.iter().map(|attribute| attribute.value(&face.detail))))?;
        }
        Ok(())
    }

    fn end(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

impl Attribute {
    /// The columns for a job with these attributes.
    fn all(attributes: FaceAttributes) -> Vec<Self> {
        let mut all: Vec<_> = NUMBERS.map(|(column, pointer)| Self::at(column, pointer)).into();
        all.extend(LANDMARKS.into_iter().flat_map(Self::landmark));
        if attributes == FaceAttributes::All {
            all.push(Self::at("age_low_years", "/AgeRange/Low"));
            all.push(Self::at("age_high_years", "/AgeRange/High"));
            for name in VALUES {
                let column = snake_case(name);
                all.push(Self::at(&column, &format!("/{name}/Value")));
                all.push(Self::at(&format!("{column}_confidence_percent"), &format!("/{name}/Confidence")));
            }
            all.extend(EMOTIONS.map(|emotion| Self {
                column: format!("emotion_{}_percent", emotion.to_lowercase()),
                place: Place::Emotion(emotion),
            }));
            all.extend(MORE_LANDMARKS.into_iter().flat_map(Self::landmark));
        }
        all
    }

    fn at(column: &str, pointer: &str) -> Self {
        Self { column: column.to_owned(), place: Place::Pointer(pointer.to_owned()) }
    }

    fn landmark(name: &'static str) -> [Self; 2] {
        [("x", "X"), ("y", "Y")].map(|(axis, member)| Self {
            column: format!("{}_{axis}_ratio", snake_case(name)),
            place: Place::Landmark(name, member),
        })
    }

    /// The value for a face; empty, if Rekognition has not reported it.
    fn value(&self, detail: &Value) -> String {
        let value = match &self.place {
            Place::Pointer(pointer) => detail.pointer(pointer),
            Place::Landmark(name, member) => typed(&detail["Landmarks"], name).map(|landmark| &landmark[member]),
            Place::Emotion(name) => typed(&detail["Emotions"], name).map(|emotion| &emotion["Confidence"]),
        };
        match value {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(string)) => text(string),
            Some(value) => value.to_string(),
        }
    }
}

/// The element of an array with this `Type`.
fn typed<'a>(array: &'a Value, name: &str) -> Option<&'a Value> {
    array.as_array()?.iter().find(|element| element["Type"] == name)
}

/// `eyes_open` for `EyesOpen`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

/// A text that a spreadsheet does not execute. It takes a field that begins with one of these characters for a formula, unless the
/// field begins with an apostrophe (<https://owasp.org/www-community/attacks/CSV_Injection>).
/// The key of a video is chosen by its uploader.
fn text(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    if is_formula { format!("'{text}") } else { text.to_owned() }
}

/// Writes a row. A field with a separator, a quotation mark or a line break is in quotation marks.
fn row<T: AsRef<str>>(out: &mut dyn Write, fields: impl IntoIterator<Item = T>) -> io::Result<()> {
    for (index, field) in fields.into_iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        let field = field.as_ref();
        if field.contains(['"', ',', '\r', '\n']) {
            write!(out, "\"{}\"", field.replace('"', "\"\""))?;
        } else {
            out.write_all(field.as_bytes())?;
        }
    }
    out.write_all(b"\r\n")
}
