//! From a video to one with hidden regions: an ffmpeg decodes, this process hides, another ffmpeg encodes.
//!
//! The sound and the subtitles are copied from the file, and not decoded.

use std::{
    io,
    path::{Path, PathBuf},
};

use face_detection::{Rotation, VideoInfo};
use local_stack::Progress;
use redaction::{Picture, Rect, Style};
use tokio::{
    io::AsyncWriteExt as _,
    process::{ChildStdin, ChildStdout},
    sync::mpsc::{Receiver, Sender, channel},
    task::JoinSet,
};

use super::{
    BlurError,
    ffmpeg::{Ffmpeg, Process, Source, SourceTrack, input, note_dropped},
    nut::{Chunk, NutReader},
    paths::{Ratios, Regions},
};

/// The options of ffmpeg for the encoder of H.264.
pub const X264: [&str; 6] = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "18"];

/// The most frames that wait before and after the hiding: enough for three processes to work at the same time. A frame of 4K has
/// 12 MB.
const WAITING_FRAMES: usize = 3;

/// By how many frames the index of a file and ffmpeg may differ: they can cut the first and the last frame of an edit in another
/// way.
const FRAME_TOLERANCE: usize = 2;

/// What to do with a video.
pub(super) struct Pipeline<'a> {
    pub ffmpeg: &'a Ffmpeg,
    pub video: &'a Path,
    pub info: &'a VideoInfo,
    pub source: &'a Source,
    /// The rotation from the coded picture to that which the boxes refer to.
    pub rotation: Rotation,
    pub style: Style,
    /// The file to write, which is replaced.
    pub out: PathBuf,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub frames: usize,
    /// Frames with a hidden region.
    pub hidden_frames: usize,
    /// The time of a frame from the start of the video, less its time in the file, in milliseconds.
    pub shift_ms: i64,
    /// The time of the last frame in the file, in milliseconds.
    pub last_ms: i64,
}

impl Pipeline<'_> {
    /// Writes the video. If the future is dropped, both processes are ended first.
    pub(super) async fn run(&self, mut regions: Regions, progress: &dyn Progress) -> Result<Counts, BlurError> {
        let format = self.source.format().ok_or_else(|| BlurError::Format { format: self.source.pixels.clone() })?;
        note_dropped(&kept(&self.source.tracks).1);
        let mut encoder = Process::start(&mut self.encode())?;
        let mut decoder = Process::start(&mut self.decode())?;
        let (read_frames, mut frames) = channel(WAITING_FRAMES);
        let (hidden, to_write) = channel::<Chunk>(WAITING_FRAMES);
        let mut tasks = JoinSet::new();
        // The last one is aborted with the set, when this future is dropped.
        if let (Some(pictures), Some(stdin)) = (decoder.stdout(), encoder.stdin()) {
            tasks.spawn(read(pictures, read_frames));
            tasks.spawn(write(stdin, to_write));
        }
        let mut counts = Counts::default();
        let mut shift = None;
        while let Some(frame) = frames.recv().await {
            let Frame { mut chunk, size: (width, height) } = frame;
            if !chunk.samples.is_empty() {
                let picture = Picture { width, height, format };
                if picture.bytes() != chunk.samples.len() {
                    let error = format!("a frame has {} bytes, not {}", chunk.samples.len(), picture.bytes());
                    return Err(BlurError::Stream { source: io::Error::other(error) });
                }
                // Without an edit list, ffmpeg's times start at another value than those of a player.
                let shift = *shift.get_or_insert(self.info.first_millis - chunk.at_ms);
                let at_ms = chunk.at_ms + shift;
                let mut any = false;
                for ratios in regions.at(at_ms) {
                    any |=
                        picture.hide(&mut chunk.samples, rect(coded(ratios, self.rotation), width, height), self.style);
                }
                counts.frames += 1;
                counts.hidden_frames += usize::from(any);
                (counts.shift_ms, counts.last_ms) = (shift, chunk.at_ms);
                progress.ratio(share(at_ms, self.info.duration_millis));
            }
            if hidden.send(chunk).await.is_err() {
                break;
            }
        }
        drop((frames, hidden));
        let mut streams = Ok(());
        while let Some(ended) = tasks.join_next().await {
            streams = streams.and(ended.unwrap_or_else(|panic| Err(io::Error::other(panic))));
        }
        self.end(decoder, encoder, streams).await?;
        if counts.frames + FRAME_TOLERANCE < self.info.frames {
            return Err(BlurError::FramesMissing { decoded: counts.frames, expected: self.info.frames });
        }
        Ok(counts)
    }

    /// Waits for both processes. Of several errors, the one that caused the others is returned.
    async fn end(&self, decoder: Process, encoder: Process, streams: io::Result<()>) -> Result<(), BlurError> {
        if streams.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            // The encoder has ended early, and the decoder could not write.
            drop(decoder);
            let reason = encoder.end().await.err().unwrap_or_else(|| "it ended before the last frame".to_owned());
            return Err(self.encode_error(reason));
        }
        // The decoder failed too, if its stream was not read to the end.
        if streams.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::InvalidData) {
            return streams.map_err(|source| BlurError::Stream { source });
        }
        decoder.end().await.map_err(|reason| BlurError::Decode { reason })?;
        let end = encoder.end().await;
        streams.map_err(|source| BlurError::Stream { source })?;
        end.map_err(|reason| self.encode_error(reason))
    }

    fn encode_error(&self, reason: String) -> BlurError {
        if reason == super::ffmpeg::DISK_FULL {
            BlurError::DiskFull { path: self.out.clone() }
        } else {
            BlurError::Encode { reason }
        }
    }

    /// Writes the coded frames with their times to the standard output.
    fn decode(&self) -> tokio::process::Command {
        let mut command = self.ffmpeg.command();
        command
            // A frame that cannot be decoded is an error: a concealed one could show a face at another place.
            .args(["-loglevel", "error", "-xerror", "-err_detect", "explode"])
            .args(["-copyts", "-noautorotate", "-i"])
            .arg(input(self.video))
            // A chapter would add a unit of time to the stream.
            .args(["-map", "0:V:0", "-map_chapters", "-1", "-c:v", "rawvideo", "-pix_fmt", &self.source.pixels])
            .args(["-fps_mode", "passthrough", "-enc_time_base", "demux", "-f", "nut", "pipe:1"])
            .stdout(std::process::Stdio::piped());
        command
    }

    /// Encodes the frames from the standard input, and copies everything else from the video.
    fn encode(&self) -> tokio::process::Command {
        let mut command = self.ffmpeg.command();
        command.args(["-loglevel", "error", "-copyts", "-i"]).arg(input(self.video));
        for (option, value) in &self.source.color {
            command.args([option, value.as_str()]);
        }
        // Raw video has no rotation, so the output gets that of the source. ffmpeg's angles are anticlockwise.
        let angle = match self.info.rotation {
            Rotation::None => None,
            Rotation::Quarter => Some("-90"),
            Rotation::Half => Some("180"),
            Rotation::ThreeQuarter => Some("90"),
        };
        command.args(angle.into_iter().flat_map(|angle| ["-display_rotation:v:0", angle]));
        command.args(["-noautorotate", "-f", "nut", "-i", "pipe:0", "-map", "1:v:0"]);
        for track in kept(&self.source.tracks).0 {
            command.args(["-map", &format!("0:{}", track.index)]);
        }
        command.args(["-map_metadata", "0", "-map_chapters", "0", "-c:a", "copy", "-c:s", "copy"]);
        if self.source.codec == "hevc" {
            command.args(["-c:v", "libx265", "-preset", "fast", "-crf", "20", "-tag:v", "hvc1"]);
            command.args(["-x265-params", "log-level=error"]);
        } else {
            command.args(X264);
        }
        if let Some(order) = self.source.field_order {
            command.args(["-vf", &format!("setfield={order}"), "-flags:v", "+ilme+ildct"]);
        }
        command.args(["-fps_mode", "passthrough", "-enc_time_base", "demux"]);
        if let Some(timescale) = self.source.timescale {
            command.args(["-video_track_timescale", &timescale.to_string()]);
        }
        let flags = if self.source.quicktime_keys { "+faststart+use_metadata_tags" } else { "+faststart" };
        let is_mov = self.out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("mov"));
        command.args(["-movflags", flags, "-f", if is_mov { "mov" } else { "mp4" }, "-y"]).arg(input(&self.out));
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
        command
    }
}

/// A frame, or the end of the stream, with the size of the frames.
struct Frame {
    chunk: Chunk,
    size: (usize, usize),
}

async fn read(pictures: ChildStdout, frames: Sender<Frame>) -> io::Result<()> {
    let mut reader = NutReader::new(pictures);
    loop {
        match reader.next().await {
            Ok(Some(chunk)) => {
                let size = reader.size.unwrap_or_default();
                // An error means that the encoder has ended.
                if frames.send(Frame { chunk, size }).await.is_err() {
                    return Ok(());
                }
            }
            Ok(None) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

async fn write(mut stdin: ChildStdin, mut chunks: Receiver<Chunk>) -> io::Result<()> {
    while let Some(Chunk { before, samples, .. }) = chunks.recv().await {
        stdin.write_all(&before).await?;
        stdin.write_all(&samples).await?;
    }
    stdin.shutdown().await
}

/// The tracks that are copied, and those that are not: other pictures can show faces, and MP4 has no place for other text.
fn kept(tracks: &[SourceTrack]) -> (Vec<&SourceTrack>, Vec<&SourceTrack>) {
    let first_video = tracks.iter().position(|track| track.kind == "Video");
    let others = tracks.iter().enumerate().filter(|(index, _)| Some(*index) != first_video);
    others
        .map(|(_, track)| track)
        .partition(|track| track.kind == "Audio" || (track.kind == "Subtitle" && track.codec == "mov_text"))
}

/// A box in the coded picture, of one in the picture that was rotated clockwise.
fn coded([left, top, width, height]: Ratios, rotation: Rotation) -> Ratios {
    match rotation {
        Rotation::None => [left, top, width, height],
        Rotation::Quarter => [top, 1.0 - left - width, height, width],
        Rotation::Half => [1.0 - left - width, 1.0 - top - height, width, height],
        Rotation::ThreeQuarter => [1.0 - top - height, left, height, width],
    }
}

#[expect(clippy::cast_precision_loss, reason = "pixels")]
fn rect([left, top, width, height]: Ratios, columns: usize, rows: usize) -> Rect {
    let (columns, rows) = (columns as f32, rows as f32);
    Rect { left: left * columns, top: top * rows, right: (left + width) * columns, bottom: (top + height) * rows }
}

#[expect(clippy::cast_precision_loss, reason = "a share of a video's length")]
fn share(done: i64, whole: i64) -> f32 {
    (done as f32 / whole.max(1) as f32).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_of_the_rotated_picture_is_found_in_the_coded_one() {
        // A face at the top left of the picture that is shown.
        let shown = [0.1, 0.2, 0.3, 0.1];
        let near = |found: Ratios, expected: Ratios| {
            assert!(found.iter().zip(expected).all(|(one, other)| (one - other).abs() < 1e-6), "{found:?}");
        };
        near(coded(shown, Rotation::None), shown);
        // A clockwise quarter turn moves the bottom left corner of the coded picture to the top left.
        near(coded(shown, Rotation::Quarter), [0.2, 0.6, 0.1, 0.3]);
        near(coded(shown, Rotation::Half), [0.6, 0.7, 0.3, 0.1]);
        near(coded(shown, Rotation::ThreeQuarter), [0.7, 0.1, 0.1, 0.3]);
        let four = (0..4).fold(shown, |ratios, _| coded(ratios, Rotation::Quarter));
        near(four, shown);
    }

    #[test]
    fn other_pictures_are_not_kept() {
        let tracks: Vec<_> = [
            "Video h264",
            "Audio aac",
            "Attachment mjpeg",
            "Video h264",
            "Subtitle mov_text",
            "Subtitle eia_608",
            "Data none",
        ]
        .iter()
        .enumerate()
        .map(|(index, track)| {
            let (kind, codec) = track.split_once(' ').unwrap();
            SourceTrack { index, kind: kind.to_owned(), codec: codec.to_owned() }
        })
        .collect();
        let (kept, dropped) = kept(&tracks);
        let indices = |tracks: Vec<&SourceTrack>| tracks.iter().map(|track| track.index).collect::<Vec<_>>();
        assert_eq!((indices(kept), indices(dropped)), (vec![1, 4], vec![2, 3, 5, 6]));
    }
}
