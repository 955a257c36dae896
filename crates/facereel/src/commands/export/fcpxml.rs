//! FCPXML (<https://developer.apple.com/documentation/professional-video-applications/fcpxml-reference>), version 1.9: a project with the
//! video as its only clip, and the markers on the clip. Final Cut Pro 10.4.9 or later and Resolve read it.
//!
//! Times are fractions of a second, and all are multiples of the duration of a frame.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use super::{
    markers::{MarkedVideo, Marker, MarkerSyntax},
    timecode::FrameRate,
};

/// Writes a project.
#[derive(Default)]
pub(super) struct Fcpxml;

impl MarkerSyntax for Fcpxml {
    fn head(&mut self, out: &mut dyn Write, video: &MarkedVideo) -> io::Result<()> {
        let rate = video.labels.rate();
        let (name, url) = (escaped(&video.name), escaped(&video.url));
        let (frame, duration) = (time(rate, 1), time(rate, video.frames));
        let start = time(rate, video.labels.first());
        let mode = if video.labels.drop_frame() { "DF" } else { "NDF" };
        let size = video.size.map(|(width, height)| format!(r#" width="{width}" height="{height}""#));
        let size = size.unwrap_or_default();
        write!(
            out,
            r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE fcpxml>
<fcpxml version="1.9">
  <resources>
    <format id="r1" frameDuration="{frame}"{size}/>
    <asset id="r2" name="{name}" start="{start}" duration="{duration}" hasVideo="1" format="r1">
      <media-rep kind="original-media" src="{url}"/>
    </asset>
  </resources>
  <library>
    <event name="facereel">
      <project name="Faces in {name}">
        <sequence format="r1" duration="{duration}" tcStart="{start}" tcFormat="{mode}">
          <spine>
            <asset-clip ref="r2" name="{name}" offset="{start}" start="{start}" duration="{duration}" format="r1" tcFormat="{mode}">
"#
        )
    }

    fn marker(&mut self, out: &mut dyn Write, video: &MarkedVideo, marker: &Marker) -> io::Result<()> {
        let rate = video.labels.rate();
        let start = time(rate, video.labels.first() + marker.frame);
        let duration = time(rate, marker.frames);
        let (name, note) = (escaped(&marker.name), escaped(&marker.note));
        writeln!(out, r#"              <marker start="{start}" duration="{duration}" value="{name}" note="{note}"/>"#)
    }

    fn foot(&mut self, out: &mut dyn Write, _: &MarkedVideo) -> io::Result<()> {
        out.write_all(
            b"            </asset-clip>
          </spine>
        </sequence>
      </project>
    </event>
  </library>
</fcpxml>
",
        )
    }
}

/// A number of frames in seconds, such as `1001/30000s`.
fn time(rate: FrameRate, frames: i64) -> String {
    match rate.seconds(frames) {
        (0, _) => "0s".to_owned(),
        (numerator, denominator) => format!("{numerator}/{denominator}s"),
    }
}

/// A text in an attribute. XML has no place for control characters (<https://www.w3.org/TR/xml/#charsets>).
fn escaped(text: &str) -> Cow<'_, str> {
    let special = |c: char| matches!(c, '&' | '<' | '>' | '"' | '\u{fffe}' | '\u{ffff}') || c.is_control();
    if !text.contains(special) {
        return text.into();
    }
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if special(c) => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped.into()
}
