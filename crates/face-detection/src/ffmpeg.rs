//! Decodes with the installed `ffmpeg`, for videos that the built-in decoder refuses.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;

use crate::AnalyzeError;
use crate::container::VideoTrack;
use crate::frame::Frame;
use crate::pipeline::Sink;

/// The number of ffmpeg's last messages that are kept for the error.
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

/// Decodes the first frame shown in every `interval_millis` and passes it with its time in milliseconds to `sink`, which returns
/// whether to continue. `expected` are these times according to the file's index.
pub(super) fn decode(
    video: &Path,
    track: &VideoTrack,
    interval_millis: i64,
    expected: &[i64],
    sink: &Sink,
) -> Result<(), AnalyzeError> {
    let VideoTrack { width, height, .. } = *track;
    let started = start(video, track, interval_millis);
    let mut ffmpeg = Running(started.map_err(|error| failed_at(0, format!("ffmpeg cannot be started: {error}")))?);
    let mut pictures = ffmpeg.0.stdout.take().expect("stdout is piped");
    let messages = BufReader::new(ffmpeg.0.stderr.take().expect("stderr is piped"));
    let (send_time, times) = mpsc::channel();
    let listener = thread::spawn(move || read_messages(messages, &send_time));
    let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
    // Without an edit list, ffmpeg's times start at another value.
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
    let status = ffmpeg.0.wait().map_err(|error| failed_at(last, format!("waiting for ffmpeg failed: {error}")))?;
    let messages = listener.join().unwrap_or_default().join("; ");
    if !status.success() {
        return Err(failed_at(last, format!("ffmpeg failed: {messages}")));
    }
    // The shift may move one frame into the interval before it.
    if seen + 1 < expected.len() {
        return Err(failed_at(last, format!("ffmpeg decoded {seen} of {} frames: {messages}", expected.len())));
    }
    Ok(())
}

/// Starts ffmpeg. It writes the planes of the sampled frames to its output, and their times to its error output.
fn start(video: &Path, track: &VideoTrack, interval_millis: i64) -> io::Result<Child> {
    let VideoTrack { width, height, .. } = *track;
    // The prefix keeps ffmpeg from interpreting a path as another of its protocols.
    let mut input = OsString::from("file:");
    input.push(video);
    // showinfo prints each frame's time. setpts then numbers the frames evenly, so that ffmpeg duplicates or drops none.
    let filters = format!(
        "select='isnan(prev_selected_t)+gt(floor(t*1000/{interval_millis}),floor(prev_selected_t*1000/{interval_millis}))',\
         showinfo,scale={width}:{height}:out_range=tv,format=yuv420p,setpts=N/TB"
    );
    Command::new("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-nostats", "-loglevel", "info", "-xerror", "-err_detect", "explode"])
        .args(["-copyts", "-noautorotate", "-f", "mov", "-i"])
        .arg(input)
        .args(["-map", "0:v:0", "-vf", &filters, "-r", "1", "-f", "rawvideo", "-"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Reads ffmpeg's error output to its end: sends the time of each frame in milliseconds, and returns the last other messages.
fn read_messages(mut messages: impl BufRead, times: &Sender<i64>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut line = Vec::new();
    while messages.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line);
        if let Some(millis) = shown_at(&text) {
            // An error means that no more frames are wanted.
            _ = times.send(millis);
        } else if !text.contains("showinfo") {
            kept.push(text.trim().to_owned());
            kept.drain(..kept.len().saturating_sub(KEPT_LINES));
        }
        line.clear();
    }
    kept
}

/// A child process that is killed when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that it has already ended.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn failed_at(at_millis: i64, reason: String) -> AnalyzeError {
    AnalyzeError::Failed { at_millis, reason }
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
