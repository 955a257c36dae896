//! OpenTimelineIO (<https://opentimelineio.readthedocs.io/en/stable/tutorials/otio-file-format-specification.html>): a timeline with
//! the video as its only clip, and the markers on the clip. Premiere Pro, Resolve and the Python package `opentimelineio` read it.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{
    markers::{MarkedVideo, Marker, MarkerSyntax},
    timecode::FrameRate,
};

/// Where the markers are in the document.
const PLACE: &str = r#"["MARKERS"]"#;

/// Writes a timeline.
#[derive(Default)]
pub(super) struct Otio {
    /// What follows the markers.
    foot: String,
    markers: usize,
}

impl MarkerSyntax for Otio {
    fn head(&mut self, out: &mut dyn Write, video: &MarkedVideo) -> io::Result<()> {
        let document = timeline(video).to_string();
        // A text in the document cannot be equal to it, because the quotation marks of a text are escaped.
        let (head, foot) = document.split_once(PLACE).unwrap_or((&document, ""));
        self.foot = foot.to_owned();
        write!(out, "{head}[")
    }

    fn marker(&mut self, out: &mut dyn Write, video: &MarkedVideo, marker: &Marker) -> io::Result<()> {
        let separator = if self.markers == 0 { "\n" } else { ",\n" };
        self.markers += 1;
        let first = video.labels.first() + marker.frame;
        let marker = json!({
            "OTIO_SCHEMA": "Marker.2",
            "name": marker.name,
            "comment": marker.note,
            "color": "GREEN",
            "marked_range": range(video.labels.rate(), first, marker.frames),
            "metadata": {"facereel": marker.metadata},
        });
        write!(out, "{separator}{marker}")
    }

    fn foot(&mut self, out: &mut dyn Write, _: &MarkedVideo) -> io::Result<()> {
        writeln!(out, "]{}", self.foot)
    }
}

/// The timeline, with [`PLACE`] for the markers.
fn timeline(video: &MarkedVideo) -> Value {
    let rate = video.labels.rate();
    let all = range(rate, video.labels.first(), video.frames);
    let clip = json!({
        "OTIO_SCHEMA": "Clip.2",
        "name": video.name,
        "enabled": true,
        "effects": [],
        "markers": ["MARKERS"],
        "metadata": {},
        "source_range": all,
        "active_media_reference_key": "DEFAULT_MEDIA",
        "media_references": {"DEFAULT_MEDIA": {
            "OTIO_SCHEMA": "ExternalReference.1",
            "name": video.name,
            "metadata": {},
            "available_image_bounds": null,
            "available_range": all,
            "target_url": video.url,
        }},
    });
    let item = |schema: &str, name: &str, children: Value| {
        json!({
            "OTIO_SCHEMA": schema, "name": name, "children": children, "source_range": null,
            "enabled": true, "effects": [], "markers": [], "metadata": {},
        })
    };
    let mut track = item("Track.1", "V1", json!([clip]));
    track["kind"] = json!("Video");
    json!({
        "OTIO_SCHEMA": "Timeline.1",
        "name": format!("Faces in {}", video.name),
        "global_start_time": time(rate, video.labels.first()),
        "metadata": {},
        "tracks": item("Stack.1", "tracks", json!([track])),
    })
}

#[expect(clippy::cast_precision_loss, reason = "a video has fewer than 2^52 frames")]
fn time(rate: FrameRate, frames: i64) -> Value {
    json!({"OTIO_SCHEMA": "RationalTime.1", "rate": rate.frames_per_second(), "value": frames as f64})
}

fn range(rate: FrameRate, first: i64, frames: i64) -> Value {
    json!({"OTIO_SCHEMA": "TimeRange.1", "start_time": time(rate, first), "duration": time(rate, frames)})
}
