//! Markers for editors.
//!
//! In an editor, markers at one frame hide each other, so the tracks that begin at one frame share a marker, which lasts until the last
//! of them ends. Because ids count the tracks in the order of their starts, they are consecutive. A marker covers the frames from the first
//! to the last detection, both included; that of a moment has one frame.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{Exporter, moments::FacesAt, spans::Span, timecode::FrameLabels, vtt::face};
use crate::terminal::text::counted;

/// The tracks that a note describes. It says of the others how many there are.
const MOST_DESCRIBED: usize = 10;

/// The video in the timeline of an editor.
pub(super) struct MarkedVideo {
    /// The name of the file.
    pub name: String,
    /// The URL of the file, or its encoded name, if it is not on this machine.
    pub url: String,
    /// Width and height of the frame in pixels, if they are known.
    pub size: Option<(u64, u64)>,
    /// The number of frames.
    pub frames: i64,
    /// Labels its frames.
    pub labels: FrameLabels,
}

/// A marker.
#[derive(Debug)]
pub(super) struct Marker {
    /// The first frame, counted from the start of the video.
    pub frame: i64,
    /// The number of frames, 1 or more.
    pub frames: i64,
    /// What the editor shows beside it.
    pub name: String,
    /// The details, on one line.
    pub note: String,
    /// The details for a program.
    pub metadata: Value,
}

/// How a format writes a video and its markers, which are in the order of their frames.
pub(super) trait MarkerSyntax {
    fn head(&mut self, out: &mut dyn Write, video: &MarkedVideo) -> io::Result<()>;
    fn marker(&mut self, out: &mut dyn Write, video: &MarkedVideo, marker: &Marker) -> io::Result<()>;
    fn foot(&mut self, out: &mut dyn Write, video: &MarkedVideo) -> io::Result<()>;
}

/// Writes markers.
pub(super) struct Markers<S> {
    video: MarkedVideo,
    syntax: S,
    /// The tracks that begin at one frame.
    group: Vec<Span>,
    /// The last frame with a marker for a moment.
    last_moment: Option<i64>,
}

impl<S: MarkerSyntax> Markers<S> {
    pub fn new(video: MarkedVideo, syntax: S) -> Self {
        Self { video, syntax, group: Vec::new(), last_moment: None }
    }

    fn frame_at(&self, ms: i64) -> i64 {
        self.video.labels.rate().frame_at(ms)
    }

    /// Writes the marker for the tracks that begin at one frame.
    fn write_group(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let group = std::mem::take(&mut self.group);
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(()) };
        let frame = self.frame_at(first.first_ms);
        let end = group.iter().map(|span| self.frame_at(span.last_ms)).max().unwrap_or(frame);
        let name = match group.len() {
            1 => format!("Face track {}", first.id),
            _ => format!("Face tracks {}-{}", first.id, last.id),
        };
        let mut note: Vec<_> = group.iter().take(MOST_DESCRIBED).map(|span| self.describe(span)).collect();
        if let Some(more @ 1..) = group.len().checked_sub(MOST_DESCRIBED) {
            note.push(format!("and {more} more"));
        }
        let metadata = json!({"tracks": group.iter().map(|span| json!({
            "id": span.id, "first_ms": span.first_ms, "last_ms": span.last_ms, "detections": span.detections,
            "mean_confidence": span.mean_confidence,
        })).collect::<Vec<_>>()});
        let marker = Marker { frame, frames: end + 1 - frame, name, note: note.join("; "), metadata };
        self.syntax.marker(out, &self.video, &marker)
    }

    fn describe(&self, span: &Span) -> String {
        format!(
            "Face track {}: {} to {}, {}, confidence {:.1} %",
            span.id,
            self.video.labels.label_at(span.first_ms),
            self.video.labels.label_at(span.last_ms),
            counted(u64::try_from(span.detections).unwrap_or(u64::MAX), "detection"),
            span.mean_confidence
        )
    }
}

impl<S: MarkerSyntax> Exporter for Markers<S> {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.syntax.head(out, &self.video)
    }

    fn track(&mut self, out: &mut dyn Write, span: &Span) -> io::Result<()> {
        if self.group.first().is_some_and(|first| self.frame_at(first.first_ms) != self.frame_at(span.first_ms)) {
            self.write_group(out)?;
        }
        self.group.push(span.clone());
        Ok(())
    }

    fn moment(&mut self, out: &mut dyn Write, moment: &FacesAt) -> io::Result<()> {
        let frame = self.frame_at(moment.ms);
        // Two moments can be at one frame only of a timeline with fewer frames than the video.
        if self.last_moment.replace(frame) == Some(frame) {
            return Ok(());
        }
        let tracks: Vec<_> = moment.faces.iter().filter_map(|face| face.track).map(|id| id.to_string()).collect();
        let note = if tracks.is_empty() { String::new() } else { format!("Face tracks: {}", tracks.join(", ")) };
        let faces: Vec<_> = moment.faces.iter().map(face).collect();
        let marker = Marker {
            frame,
            frames: 1,
            name: counted(u64::try_from(moment.faces.len()).unwrap_or(u64::MAX), "face"),
            note,
            metadata: json!({"timestamp_ms": moment.ms, "faces": faces}),
        };
        self.syntax.marker(out, &self.video, &marker)
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.write_group(out)?;
        self.syntax.foot(out, &self.video)
    }
}
