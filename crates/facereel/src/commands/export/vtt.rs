//! WebVTT (<https://www.w3.org/TR/webvtt1/>), for a `<track>` beside the video.
//!
//! Tracks are cues with a text to read, for `kind="subtitles"`. Moments are cues for a script, for `kind="metadata"`: the text of each is
//! a JSON object with the boxes of the moment. The specification requires that cues are in the order of their starts and end after
//! them, and that no text contains `-->`; a browser shows no cue of length zero. Cues may overlap.

use std::io::{self, Write};

use serde_json::json;

use super::{Exporter, LOOK_MS, moments::FacesAt, spans::Span};

/// Writes WebVTT.
pub(super) struct Vtt {
    /// The length of the video in milliseconds, if it is known.
    pub duration_ms: Option<i64>,
}

impl Vtt {
    /// The end of a cue: not after the end of the video, and after its start.
    fn end_of(&self, start_ms: i64, end_ms: i64) -> i64 {
        end_ms.min(self.duration_ms.unwrap_or(end_ms)).max(start_ms + 1)
    }

    fn cue(&self, out: &mut dyn Write, id: &str, start_ms: i64, end_ms: i64, text: &str) -> io::Result<()> {
        let end_ms = self.end_of(start_ms, end_ms);
        write!(out, "\n{id}\n{} --> {}\n{text}\n", timestamp(start_ms), timestamp(end_ms))
    }
}

impl Exporter for Vtt {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(b"WEBVTT\n")
    }

    fn track(&mut self, out: &mut dyn Write, span: &Span) -> io::Result<()> {
        let Span { id, first_ms, last_ms, .. } = span;
        // A face is on the screen for some time after its last detection: until the next look, at most.
        self.cue(out, &format!("track-{id}"), *first_ms, last_ms + LOOK_MS, &format!("Face track {id}"))
    }

    fn moment(&mut self, out: &mut dyn Write, moment: &FacesAt) -> io::Result<()> {
        let faces: Vec<_> = moment.faces.iter().map(face).collect();
        let text = json!({"timestamp_ms": moment.ms, "faces": faces}).to_string();
        self.cue(out, &format!("moment-{}", moment.ms), moment.ms, moment.end_ms, &text)
    }

    fn end(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// A face in the text of a cue. No member is a text from elsewhere, so no text contains `-->` or an empty line.
pub(super) fn face(face: &super::moments::TrackedFace) -> serde_json::Value {
    json!({"face": face.line, "track": face.track, "confidence": face.confidence(), "box": face.bounding_box()})
}

/// Hours, minutes, seconds and milliseconds. The hours have two digits or more.
fn timestamp(ms: i64) -> String {
    let ms = ms.max(0);
    let seconds = ms / 1000;
    format!("{:02}:{:02}:{:02}.{:03}", seconds / 3600, seconds / 60 % 60, seconds % 60, ms % 1000)
}
