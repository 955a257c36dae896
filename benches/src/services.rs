//! Stubs of the services that the functions call: Rekognition with canned pages of 1000 faces, and an S3 that accepts every
//! object and returns the canned faces as lines.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Bytes, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::BenchError;

/// Rekognition's own default and maximum.
const FACES_PER_PAGE: usize = 1000;

/// The attributes of a face that Rekognition returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attributes {
    /// About 0.7 kB a face.
    Default,
    /// About 3.3 kB a face.
    All,
}

impl Attributes {
    /// Both values.
    pub const EACH: [Self; 2] = [Self::Default, Self::All];

    /// The value in Rekognition's API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "DEFAULT",
            Self::All => "ALL",
        }
    }
}

/// The id of a finished job with this number of pages. The server parses both from the id.
pub fn job_id(attributes: Attributes, pages: usize) -> String {
    format!("{}-{pages}", attributes.as_str())
}

/// Both services at one address.
pub struct Services {
    url: String,
}

struct Canned {
    latency: Duration,
    default: Faces,
    all: Faces,
}

/// The same faces as in Rekognition's response and as in the object in S3.
pub struct Faces {
    /// The array in the response.
    pub json: String,
    /// The lines of the object.
    pub lines: Bytes,
}

impl Canned {
    /// The faces for a job id, or for an object key that contains one.
    fn of(&self, name: &str) -> &Faces {
        if name.contains(Attributes::All.as_str()) { &self.all } else { &self.default }
    }
}

impl Services {
    /// Starts them on a free port of 127.0.0.1; they end with the runtime. Rekognition answers after `latency`.
    pub async fn start(latency: Duration) -> Result<Self, BenchError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let canned = Canned { latency, default: faces(Attributes::Default), all: faces(Attributes::All) };
        let router = Router::new().fallback(answer).with_state(Arc::new(canned));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url })
    }

    /// The endpoint that the functions use for AWS.
    pub fn url(&self) -> &str {
        &self.url
    }
}

async fn answer(State(canned): State<Arc<Canned>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else { return StatusCode::BAD_REQUEST.into_response() };
    match parts.method {
        Method::PUT => return [(header::ETAG, "\"0\"")].into_response(),
        Method::GET => return canned.of(parts.uri.path()).lines.clone().into_response(),
        _ => {}
    }
    tokio::time::sleep(canned.latency).await;
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    match page(&canned, &request) {
        Some(page) => ([(header::CONTENT_TYPE, "application/x-amz-json-1.1")], page).into_response(),
        None => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// The page that `request` asks for; `None` for an unknown job. A page's token is its number.
fn page(canned: &Canned, request: &Value) -> Option<String> {
    let job_id = request["JobId"].as_str()?;
    page_of(job_id, request["NextToken"].as_str(), "", &canned.of(job_id).json)
}

/// The answer of `GetFaceDetection` for the page of this token; `None` for an unknown job. `members` are members of the answer,
/// each with a comma, and `faces` is the array of the page's faces.
pub fn page_of(job_id: &str, token: Option<&str>, members: &str, faces: &str) -> Option<String> {
    let pages: usize = job_id.split_once('-')?.1.parse().ok()?;
    let next = token.map_or(Some(0), |token| token.parse::<usize>().ok())? + 1;
    let token = if next < pages { format!("\"NextToken\":\"{next}\",") } else { String::new() };
    Some(format!(
        r#"{{"JobStatus":"SUCCEEDED",{members}"VideoMetadata":{{"Codec":"h264","DurationMillis":60000,"Format":"QuickTime / MOV","FrameRate":30.0,"FrameHeight":1080,"FrameWidth":1920}},{token}"Faces":{faces}}}"#
    ))
}

/// A page's faces.
pub fn faces(attributes: Attributes) -> Faces {
    let faces: Vec<String> = (0..FACES_PER_PAGE).map(|index| face(attributes, index).to_string()).collect();
    Faces { json: format!("[{}]", faces.join(",")), lines: (faces.join("\n") + "\n").into() }
}

fn face(attributes: Attributes, index: usize) -> Value {
    let mut dice = u32::try_from(index).unwrap_or_default();
    // Numbers with as many digits as Rekognition's.
    let mut number = || {
        dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(dice) / f64::from(u32::MAX)
    };
    let mut landmarks = |count: usize| -> Vec<Value> {
        (0..count).map(|index| json!({ "Type": format!("landmark{index:02}"), "X": number(), "Y": number() })).collect()
    };
    // The largest number of faces in a frame, in ten rows: the tracks of the largest result.
    let (moment, place) = (index / 100, index % 100);
    let at = |cell: usize| f64::from(u32::try_from(10 * cell + moment % 10).unwrap_or_default()) / 100.0;
    let (left, top) = (at(place % 10) + 0.002_345_678_9, at(place / 10) + 0.002_345_678_9);
    let mut face = json!({
        "BoundingBox": { "Height": 0.081_234_567_8, "Left": left, "Top": top, "Width": 0.042_345_678_9 },
        "Confidence": 99.912_345_678,
        "Landmarks": landmarks(if attributes == Attributes::All { 30 } else { 5 }),
        "Pose": { "Pitch": -8.123_456_789, "Roll": 2.123_456_789, "Yaw": 14.123_456_789 },
        "Quality": { "Brightness": 81.123_456_789, "Sharpness": 78.643_501_281 },
    });
    if attributes == Attributes::All {
        face["AgeRange"] = json!({ "High": 32, "Low": 24 });
        for name in ["Beard", "EyesOpen", "Eyeglasses", "MouthOpen", "Mustache", "Smile", "Sunglasses"] {
            face[name] = json!({ "Confidence": 98.123_456_789, "Value": false });
        }
        face["Gender"] = json!({ "Confidence": 99.123_456_789, "Value": "Female" });
        let emotions = ["CALM", "HAPPY", "SAD", "ANGRY", "FEAR", "CONFUSED", "DISGUSTED", "SURPRISED"];
        face["Emotions"] = emotions.iter().map(|name| json!({ "Confidence": 12.123_456_789, "Type": name })).collect();
    }
    json!({ "Timestamp": moment * 500, "Face": face })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_chained_by_their_numbers_and_end() {
        let of = |json: &str| Faces { json: json.to_owned(), lines: Bytes::new() };
        let canned = Canned { latency: Duration::ZERO, default: of("[]"), all: of("[1]") };
        let asked = |token: Option<&str>| {
            let request = json!({ "JobId": job_id(Attributes::All, 2), "NextToken": token });
            serde_json::from_str::<Value>(&page(&canned, &request).unwrap()).unwrap()
        };
        assert_eq!((&asked(None)["NextToken"], &asked(None)["Faces"]), (&json!("1"), &json!([1])));
        assert_eq!(asked(Some("1"))["NextToken"], Value::Null);
        assert_eq!(page(&canned, &json!({ "JobId": "other" })), None);
    }

    #[test]
    fn pages_are_as_large_as_rekognitions() {
        assert!((600_000..800_000).contains(&faces(Attributes::Default).json.len()));
        assert!((2_600_000..3_600_000).contains(&faces(Attributes::All).json.len()));
    }
}
