//! The installed `ffmpeg`, for videos that the built-in decoder refuses.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use crate::AnalyzeError;
use crate::container::VideoTrack;
use crate::frame::Frame;

/// Lines of ffmpeg's complaints that are kept for the error message.
const KEPT_LINES: usize = 5;

/// Whether `ffmpeg` is on the PATH.
pub(super) fn is_installed() -> bool {
    Command::new("ffmpeg")
        .arg("-version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Decodes the first frame shown in every `interval_millis` and hands it with its time in milliseconds to `sink`,
/// which answers whether to go on. `expected` are these times by the file's index.
pub(super) fn decode(
    video: &Path,
    track: &VideoTrack,
    interval_millis: i64,
    expected: &[i64],
    sink: &mut dyn FnMut(i64, Frame) -> bool,
) -> Result<(), AnalyzeError> {
    let VideoTrack { width, height, .. } = *track;
    // A path is never to be taken for another of ffmpeg's protocols.
    let mut input = OsString::from("file:");
    input.push(video);
    // showinfo tells each frame's time; afterwards the frames are numbered evenly, so that none is doubled or dropped.
    let filters = format!(
        "select='isnan(prev_selected_t)+gt(floor(t*1000/{interval_millis}),floor(prev_selected_t*1000/{interval_millis}))',\
         showinfo,scale={width}:{height}:out_range=tv,format=yuv420p,setpts=N/TB"
    );
    let command = Command::new("ffmpeg")
        .args([
            "-nostdin",
            "-hide_banner",
            "-nostats",
            "-loglevel",
            "info",
            "-xerror",
            "-err_detect",
            "explode",
            "-copyts",
            "-noautorotate",
            "-f",
            "mov",
            "-i",
        ])
        .arg(input)
        .args(["-map", "0:v:0", "-vf", &filters, "-r", "1", "-f", "rawvideo", "-"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut ffmpeg = Running(command.map_err(|error| broke_off(0, format!("ffmpeg cannot be started: {error}")))?);
    let mut pictures = ffmpeg.0.stdout.take().expect("stdout is piped");
    let mut complaints = BufReader::new(ffmpeg.0.stderr.take().expect("stderr is piped"));
    let (send_time, times) = mpsc::channel();
    let listener = thread::spawn(move || {
        let mut kept = Vec::new();
        let mut line = Vec::new();
        while complaints.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line);
            if let Some(millis) = shown_at(&text) {
                // Nobody listens any more when the frames are no longer wanted.
                _ = send_time.send(millis);
            } else if !text.contains("showinfo") {
                kept.push(text.trim().to_owned());
                kept.drain(..kept.len().saturating_sub(KEPT_LINES));
            }
            line.clear();
        }
        kept
    });
    let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
    // ffmpeg counts from another moment when the file has no edit list.
    let first = expected.iter().min().copied().unwrap_or_default();
    let mut shift = None;
    let mut seen = 0;
    let mut last = first;
    loop {
        let mut planes =
            [vec![0; width * height], vec![0; half_width * half_height], vec![0; half_width * half_height]];
        if planes.iter_mut().any(|plane| pictures.read_exact(plane).is_err()) {
            break;
        }
        let Ok(millis) = times.recv() else { break };
        let millis = millis + *shift.get_or_insert(first - millis);
        (seen, last) = (seen + 1, millis);
        if !sink(millis, Frame::new(width, height, planes)) {
            return Ok(());
        }
    }
    let status = ffmpeg.0.wait().map_err(|error| broke_off(last, format!("ffmpeg is lost: {error}")))?;
    let complaints = listener.join().unwrap_or_default().join("; ");
    if !status.success() {
        return Err(broke_off(last, format!("ffmpeg failed: {complaints}")));
    }
    // The shift may move one frame into the span before it.
    if seen + 1 < expected.len() {
        return Err(broke_off(last, format!("ffmpeg decoded {seen} of {} frames: {complaints}", expected.len())));
    }
    Ok(())
}

/// Ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has ended already.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn broke_off(at_millis: i64, reason: String) -> AnalyzeError {
    AnalyzeError::BrokeOff { at_millis, reason }
}

/// The time in a line of the `showinfo` filter, in milliseconds.
#[allow(clippy::cast_possible_truncation)] // seconds of a video
fn shown_at(line: &str) -> Option<i64> {
    let (_, after) = line.split_once("pts_time:")?;
    let seconds: f64 = after.split_whitespace().next()?.parse().ok()?;
    Some((seconds * 1000.0).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_read_from_showinfo() {
        let line = "[Parsed_showinfo_1 @ 0x5] n:   1 pts:   6656 pts_time:0.52    duration:    512 duration_time:0.04 fmt:yuv420p";
        assert_eq!(shown_at(line), Some(520));
        assert_eq!(shown_at("[Parsed_showinfo_1 @ 0x5] config in time_base: 1/12800, frame_rate: 25/1"), None);
    }
}
