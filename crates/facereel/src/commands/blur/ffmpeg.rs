//! The program `ffmpeg`: which one is used, what it says about a video, and its processes.

use std::{
    env,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use local_stack::Installation;
use redaction::Format;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    task::JoinHandle,
};

use super::BlurError;
use crate::terminal::{Terminal, note};

/// The environment variable with the path of an ffmpeg.
const VARIABLE: &str = "FFMPEG";

/// The first version with `-enc_time_base demux`, which keeps the times of the frames
/// (<https://ffmpeg.org/ffmpeg.html#Advanced-Video-options>).
const FIRST_VERSION: (u32, u32) = (6, 1);

/// The most messages of a process that are kept for its error.
const KEPT_LINES: usize = 20;

/// The message of the system for a full disk.
pub(super) const DISK_FULL: &str = "No space left on device";

/// The fault of a program that does not exist.
const NOT_INSTALLED: &str = "it is not installed";

/// How long a killed process is waited for.
const END_LIMIT: Duration = Duration::from_secs(2);

/// An ffmpeg that can be used.
#[derive(Debug, Clone)]
pub struct Ffmpeg(PathBuf);

impl Ffmpeg {
    /// Finds one: that of the variable `FFMPEG`, else that on the PATH, else the pinned one, which is installed first.
    ///
    /// # Errors
    /// [`BlurError::Unsuitable`] for that of the variable; [`BlurError::NoFfmpeg`].
    pub async fn find(terminal: &Terminal) -> Result<Self, BlurError> {
        if let Some(program) = env::var_os(VARIABLE).filter(|program| !program.is_empty()).map(PathBuf::from) {
            return match fault(&program).await {
                None => Ok(Self(program)),
                Some(reason) => Err(BlurError::Unsuitable { program, reason }),
            };
        }
        let Some(reason) = fault(Path::new("ffmpeg")).await else { return Ok(Self("ffmpeg".into())) };
        if reason != NOT_INSTALLED {
            note(format_args!("note: the ffmpeg on the PATH is not used: {reason}"));
        }
        let install = async {
            let dir = Installation::find()?.dependencies_dir()?;
            local_stack::install_ffmpeg(&dir, terminal).await
        };
        let pinned = install.await.map_err(|source| BlurError::NoFfmpeg { reason, source })?;
        match fault(&pinned).await {
            None => Ok(Self(pinned)),
            Some(reason) => Err(BlurError::Unsuitable { program: pinned, reason }),
        }
    }

    /// The one at this path, which is not checked.
    #[must_use]
    pub fn at(program: impl Into<PathBuf>) -> Self {
        Self(program.into())
    }

    /// A command without input, which is not affected by a Ctrl-C at the terminal: this process ends it.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.0);
        command.args(["-hide_banner", "-nostdin", "-nostats"]).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
        command
    }

    /// The first video track of a file.
    ///
    /// # Errors
    /// [`BlurError::Decode`], if ffmpeg does not decode it; [`BlurError::Format`] for pixels that are not planar YUV.
    pub(super) async fn probe(&self, video: &Path) -> Result<Source, BlurError> {
        let mut command = self.command();
        command.args(["-loglevel", "info", "-copyts", "-noautorotate", "-i"]).arg(input(video));
        command.args(["-map", "0:V:0", "-frames:v", "1", "-vf", "showinfo", "-f", "null", "-"]);
        let output = command.output().await.map_err(|source| BlurError::Start { program: self.0.clone(), source })?;
        let text = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = text.lines().collect();
        let source = Source::parse(&lines);
        match source {
            Some(source) if output.status.success() => {
                source.format().map(|_| source.clone()).ok_or(BlurError::Format { format: source.pixels })
            }
            _ => Err(BlurError::Decode { reason: sentence(&lines) }),
        }
    }
}

/// Why a program cannot be used; `None` if it can.
async fn fault(program: &Path) -> Option<String> {
    let run = async |argument: &str| {
        let output = Command::new(program)
            .args(["-hide_banner", argument])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let version = match run("-version").await {
        Ok(version) => version,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(NOT_INSTALLED.to_owned()),
        Err(error) => return Some(format!("it cannot be started: {error}")),
    };
    let Some(name) = version.strip_prefix("ffmpeg version ").and_then(|rest| rest.split_whitespace().next()) else {
        return Some("it is not ffmpeg".to_owned());
    };
    if release(name).is_some_and(|release| release < FIRST_VERSION) {
        return Some(format!("it is version {name}, and 6.1 or later is needed"));
    }
    let encoders = run("-encoders").await.unwrap_or_default();
    (!encoders.contains(" libx264 ")).then(|| "it is built without the encoder libx264".to_owned())
}

/// The number of a release, such as `6.1` of `6.1.1-3ubuntu5` or `n7.0`. `None` for a build between releases.
fn release(name: &str) -> Option<(u32, u32)> {
    let mut numbers = name.strip_prefix('n').unwrap_or(name).split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next().and_then(|minor| minor.parse().ok()).unwrap_or_default()))
}

/// The path of a file as ffmpeg expects it. The prefix keeps ffmpeg from interpreting a path as another of its protocols.
pub(super) fn input(file: &Path) -> OsString {
    let mut input = OsString::from("file:");
    input.push(file);
    input
}

/// What ffmpeg says about a video.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Source {
    /// The name of the pixel format.
    pub pixels: String,
    /// The name of the codec.
    pub codec: String,
    /// Units of time in a second.
    pub timescale: Option<u32>,
    /// Options for the decoder of raw video: what the samples mean.
    pub color: Vec<(&'static str, String)>,
    /// The field that is shown first, `tff` or `bff`, of an interlaced video.
    pub field_order: Option<&'static str>,
    /// Whether the samples use the full range.
    pub full_range: bool,
    /// Whether there is metadata with keys of QuickTime, such as `com.apple.quicktime.model`.
    pub quicktime_keys: bool,
    /// All tracks.
    pub tracks: Vec<SourceTrack>,
}

/// A track of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceTrack {
    pub index: usize,
    /// `Video`, `Audio`, `Subtitle`, `Data` or `Attachment`.
    pub kind: String,
    pub codec: String,
}

impl Source {
    /// Reads the list of tracks and the lines of the filter `showinfo`. `None` without a frame.
    fn parse(lines: &[&str]) -> Option<Self> {
        let mut source = Self::default();
        for line in lines.iter().take_while(|line| !line.starts_with("Stream mapping:")) {
            source.tracks.extend(track(line));
            source.quicktime_keys |= line.trim_start().starts_with("com.");
        }
        let value = |line: &str, name: &str| {
            let (_, rest) = line.split_once(&format!("{name}:"))?;
            Some(rest.split_whitespace().next()?.trim_end_matches(',').to_owned())
        };
        let frames = lines.iter().filter(|line| line.contains("showinfo"));
        for line in frames {
            if line.contains("config in time_base:") {
                source.timescale = value(line, "time_base").and_then(|base| base.strip_prefix("1/")?.parse().ok());
            } else if let (Some(pixels), true) = (value(line, "fmt"), source.pixels.is_empty()) {
                source.pixels = pixels;
                // The letter after `i:` is the field order, or P.
                source.field_order = match value(line, " i").as_deref() {
                    Some("T") => Some("tff"),
                    Some("B") => Some("bff"),
                    _ => None,
                };
            } else if line.contains("color_range:") && source.color.is_empty() {
                source.color = [
                    ("-color_range", "color_range"),
                    ("-colorspace", "color_space"),
                    ("-color_primaries", "color_primaries"),
                    ("-color_trc", "color_trc"),
                ]
                .into_iter()
                .filter_map(|(option, name)| Some((option, value(line, name)?)))
                .filter(|(_, value)| !["unknown", "unspecified", "reserved"].contains(&value.as_str()))
                .collect();
            }
        }
        source.full_range = source.pixels.starts_with("yuvj")
            || source.color.iter().any(|(option, value)| *option == "-color_range" && value == "pc");
        source.codec = source.tracks.iter().find(|track| track.kind == "Video")?.codec.clone();
        (!source.pixels.is_empty()).then_some(source)
    }

    /// The format of the samples. `None`, if they are not planar YUV with the lower byte first.
    pub(super) fn format(&self) -> Option<Format> {
        let layout = self.pixels.strip_prefix("yuvj").or_else(|| self.pixels.strip_prefix("yuv"))?;
        let (layout, bits) = match layout.split_once('p')? {
            (layout, "") => (layout, 8),
            (layout, "10le") => (layout, 10),
            (layout, "12le") => (layout, 12),
            _ => return None,
        };
        let (chroma_across, chroma_down) = match layout {
            "420" => (1, 1),
            "422" => (1, 0),
            "444" => (0, 0),
            _ => return None,
        };
        Some(Format { bits, chroma_across, chroma_down, full_range: self.full_range })
    }
}

/// The track in a line such as `  Stream #0:1[0x2](eng): Audio: aac (LC), 48000 Hz`.
fn track(line: &str) -> Option<SourceTrack> {
    let rest = line.trim_start().strip_prefix("Stream #0:")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit())?;
    let (_, description) = rest.split_once(": ")?;
    let (kind, codec) = description.split_once(": ")?;
    let codec = codec.split([' ', ',']).next()?;
    // A cover is a video track too, but not the one that was analysed.
    let kind = if description.contains("(attached pic)") { "Attachment" } else { kind };
    Some(SourceTrack { index: rest[..digits].parse().ok()?, kind: kind.to_owned(), codec: codec.to_owned() })
}

/// A running ffmpeg. Dropping it ends the process, and waits until it writes to no file any more.
pub(super) struct Process {
    child: Child,
    messages: JoinHandle<Vec<String>>,
}

impl Process {
    /// Starts a command. Its messages are read.
    pub(super) fn start(command: &mut Command) -> Result<Self, BlurError> {
        let program = PathBuf::from(command.as_std().get_program());
        let mut child =
            command.stderr(Stdio::piped()).spawn().map_err(|source| BlurError::Start { program, source })?;
        let messages = tokio::spawn(read_messages(child.stderr.take()));
        Ok(Self { child, messages })
    }

    pub(super) fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    pub(super) fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Waits for the end. The error is a sentence with the reason.
    pub(super) async fn end(mut self) -> Result<(), String> {
        let status = self.child.wait().await.map_err(|error| error.to_string())?;
        let lines = (&mut self.messages).await.unwrap_or_default();
        if status.success() {
            return Ok(());
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        Err(if lines.is_empty() { format!("it ended with {status}") } else { sentence(&lines) })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.child.start_kill();
        let deadline = Instant::now() + END_LIMIT;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

async fn read_messages(stderr: Option<ChildStderr>) -> Vec<String> {
    let Some(stderr) = stderr else { return Vec::new() };
    let mut kept = Vec::new();
    let (mut reader, mut line) = (BufReader::new(stderr), Vec::new());
    while reader.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        kept.push(String::from_utf8_lossy(&line).trim().to_owned());
        kept.drain(..kept.len().saturating_sub(KEPT_LINES));
        line.clear();
    }
    kept
}

/// The reason in ffmpeg's messages. The first error is the cause, and the later ones are its consequences.
fn sentence(lines: &[&str]) -> String {
    if lines.iter().any(|line| line.contains(DISK_FULL)) {
        return DISK_FULL.to_owned();
    }
    let mut text = lines.iter().map(|line| without_source(line)).filter(|line| !line.is_empty());
    let is_error = |line: &&str| {
        let line = line.to_lowercase();
        [
            "error",
            "invalid",
            "could not",
            "cannot",
            "unable",
            "unknown",
            "no such",
            "not found",
            "not supported",
            "denied",
        ]
        .iter()
        .any(|word| line.contains(word))
    };
    let line = text.clone().find(is_error).or_else(|| text.next_back()).unwrap_or("it gave no reason");
    line.trim_end_matches(['.', '!']).to_owned()
}

/// A message without the part of ffmpeg that wrote it, such as `[libx264 @ 0x55d0c0]`.
fn without_source(line: &str) -> &str {
    let mut line = line.trim();
    while let Some((_, rest)) = line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        line = rest.trim();
    }
    line
}

/// Names the tracks that are not in the output.
pub(super) fn note_dropped(dropped: &[&SourceTrack]) {
    // Chapters are kept in another way than as the track of their titles.
    for track in dropped.iter().filter(|track| track.codec != "bin_data") {
        let what = match track.kind.as_str() {
            "Attachment" => "a picture, such as a cover, can show faces".to_owned(),
            "Video" => "only the first video track was analysed".to_owned(),
            kind => format!("{} ({})", kind.to_lowercase(), track.codec),
        };
        note(format_args!("note: track {} is not kept: {what}", track.index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "\
Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'clip.mov':
  Stream #0:0[0x1](und): Video: h264 (High) (avc1 / 0x31637661), yuv420p(tv, bt709, progressive), 1920x1080, 12 kb/s, 29.97 fps (default)
  Stream #0:1[0x2](eng): Audio: aac (LC) (mp4a / 0x6134706D), 48000 Hz, stereo, fltp, 128 kb/s (default)
  Stream #0:2[0x3](deu): Subtitle: mov_text (tx3g / 0x67337874), 0 kb/s
  Stream #0:3[0x0]: Video: mjpeg (Baseline), yuvj444p(pc, bt470bg), 320x240, 90k tbr, 90k tbn (attached pic)
  Stream #0:4[0x5](und): Data: none (tmcd / 0x64636D74)
Stream mapping:
  Stream #0:0 -> #0:0 (h264 (native) -> wrapped_avframe (native))
[Parsed_showinfo_0 @ 0x55] config in time_base: 1/30000, frame_rate: 30000/1001
[Parsed_showinfo_0 @ 0x55] n:   0 pts:      0 pts_time:0  duration: 1001 fmt:yuv420p cl:left sar:1/1 s:1920x1080 i:T iskey:1 type:I
[Parsed_showinfo_0 @ 0x55] color_range:tv color_space:bt709 color_primaries:bt709 color_trc:unknown
Output #0, null, to 'pipe:':
  Stream #0:0(und): Video: wrapped_avframe, yuv420p(tv, bt709, progressive), 1920x1080";

    #[test]
    fn the_source_is_read_from_the_messages() {
        let source = Source::parse(&LINES.lines().collect::<Vec<_>>()).unwrap();
        assert_eq!((source.pixels.as_str(), source.codec.as_str()), ("yuv420p", "h264"));
        assert_eq!((source.timescale, source.field_order, source.full_range), (Some(30000), Some("tff"), false));
        let color: Vec<_> = source.color.iter().map(|(option, value)| format!("{option} {value}")).collect();
        assert_eq!(color, ["-color_range tv", "-colorspace bt709", "-color_primaries bt709"]);
        let tracks: Vec<_> =
            source.tracks.iter().map(|track| (track.index, track.kind.as_str(), track.codec.as_str())).collect();
        let expected = [
            (0, "Video", "h264"),
            (1, "Audio", "aac"),
            (2, "Subtitle", "mov_text"),
            (3, "Attachment", "mjpeg"),
            (4, "Data", "none"),
        ];
        assert_eq!(tracks, expected);
    }

    #[test]
    fn planar_formats_are_known_and_others_are_not() {
        let format = |pixels: &str| Source { pixels: pixels.to_owned(), ..Source::default() }.format();
        let known =
            |bits, chroma_across, chroma_down| Some(Format { bits, chroma_across, chroma_down, full_range: false });
        assert_eq!(format("yuv420p"), known(8, 1, 1));
        assert_eq!(format("yuv422p10le"), known(10, 1, 0));
        assert_eq!(format("yuvj444p"), known(8, 0, 0));
        for other in ["nv12", "gray", "rgb24", "yuv420p10be", "yuva420p", "yuv411p", "p010le"] {
            assert_eq!(format(other), None, "{other}");
        }
    }

    #[test]
    fn the_release_is_read_from_the_version() {
        assert_eq!(release("6.1.1-3ubuntu5"), Some((6, 1)));
        assert_eq!(release("n7.0"), Some((7, 0)));
        assert_eq!(release("5.1.6-0+deb12u1"), Some((5, 1)));
        assert_eq!(release("N-112345-gdeadbeef"), None);
        assert!(release("5.1.6").is_some_and(|release| release < FIRST_VERSION));
    }

    #[test]
    fn the_first_error_is_the_reason() {
        for (lines, reason) in [
            (
                "[mp4 @ 0x5] Could not find tag for codec dvb in stream #1\n[out#0/mp4 @ 0x6] Could not write header (incorrect codec parameters ?): Invalid argument\nConversion failed!",
                "Could not find tag for codec dvb in stream #1",
            ),
            ("x265 [info]: HEVC encoder\n[vost#0:0 @ 0x5] Unknown encoder 'libx265'", "Unknown encoder 'libx265'"),
            ("[h264 @ 0x1] a\nav_interleaved_write_frame(): No space left on device\nError", "No space left on device"),
            ("Conversion failed!", "Conversion failed"),
            ("", "it gave no reason"),
        ] {
            assert_eq!(sentence(&lines.lines().collect::<Vec<_>>()), reason);
        }
    }
}
