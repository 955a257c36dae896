//! An edit decision list in the format CMX 3600 (SMPTE ST 258:2004,
//! <https://opentimelineio.readthedocs.io/en/stable/tutorials/adapters.html>), with markers as DaVinci Resolve
//! exports and imports them (Resolve 18.6 manual, "Exporting Timeline Markers to EDL"): each marker is an event of one frame, followed
//! by a line with the note, the colour, the name and the duration in frames.

use std::io::{self, Write};

use super::markers::{MarkedVideo, Marker, MarkerSyntax};

/// The most events that the three digits of CMX 3600 can count.
pub(super) const MOST_EVENTS: usize = 999;

/// The most characters of a title in CMX 3600.
const MOST_TITLE: usize = 70;

/// Writes an edit decision list.
#[derive(Default)]
pub(super) struct Edl {
    /// The number of events so far.
    events: usize,
}

impl MarkerSyntax for Edl {
    fn head(&mut self, out: &mut dyn Write, video: &MarkedVideo) -> io::Result<()> {
        // The format is ASCII.
        let printable = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '_' };
        let title: String = format!("Faces in {}", video.name).chars().map(printable).take(MOST_TITLE).collect();
        let mode = if video.labels.drop_frame() { "DROP FRAME" } else { "NON-DROP FRAME" };
        write!(out, "TITLE: {title}\r\nFCM: {mode}\r\n")
    }

    fn marker(&mut self, out: &mut dyn Write, video: &MarkedVideo, marker: &Marker) -> io::Result<()> {
        self.events += 1;
        let [from, to] = [marker.frame, marker.frame + 1].map(|frame| video.labels.label(frame));
        write!(out, "\r\n{:03}  001      V     C        {from} {to} {from} {to}\r\n", self.events)?;
        let Marker { note, name, frames, .. } = marker;
        write!(out, "{note} |C:ResolveColorGreen |M:{name} |D:{frames}\r\n")
    }

    fn foot(&mut self, _: &mut dyn Write, _: &MarkedVideo) -> io::Result<()> {
        Ok(())
    }
}
