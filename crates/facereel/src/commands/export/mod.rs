//! `facereel export`: writes the tracks or the detections of a result in the format of another program.
//!
//! Every object of the result is read once, and what is read is written. The memory does not grow with the pages of a result; two
//! modules say what is kept: `spans` for tracks, `moments` for detections. `timecode` counts the frames for editors.

mod csv;
mod edl;
mod error;
mod fcpxml;
mod markers;
mod moments;
mod otio;
mod output;
mod spans;
#[cfg(test)]
mod tests;
mod timecode;
mod vtt;

use std::{
    io::{self, Write},
    path::PathBuf,
    pin::pin,
};

use aws_config::SdkConfig;
use clap::ValueEnum;
use futures_util::TryStreamExt as _;
use local_stack::{Progress, Silent};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub use error::ExportError;

use self::{
    csv::Csv,
    edl::{Edl, MOST_EVENTS},
    fcpxml::Fcpxml,
    markers::{MarkedVideo, Markers},
    moments::{FacesAt, TrackedFace, TracksOfFaces},
    otio::Otio,
    output::ExportFile,
    spans::{Span, SpansByStart},
    timecode::{FrameLabels, FrameRate, Timecode},
    vtt::Vtt,
};
use crate::{
    deployed::Account,
    stored::{Location, StoredError, StoredResult, file_name, find_video},
    terminal::{note, text::counted},
};

/// The time between two moments at which Rekognition looks for faces, about twice a second.
const LOOK_MS: i64 = 500;

/// The number of lines after which the progress is shown again.
const PROGRESS_LINES: usize = 1000;

/// Export the tracks or the detections: as a spreadsheet, as WebVTT, or as markers for a video editor.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  facereel export facereel-results/sample --to csv --out faces.csv
                                      a row for each track: when a face is on the screen
  facereel export facereel-results/sample --to csv --of detections
                                      a row for each face at each moment
  facereel export facereel-results/sample --to vtt --out faces.vtt
                                      subtitles that show the tracks beside the video
  facereel export facereel-results/sample --to edl --out faces.edl
                                      markers for a timeline of Resolve
  facereel export s3://my-results/results/holiday.mp4/IDEMPOTENCY-KEY/ --to otio --out holiday.otio
                                      a timeline with markers for Premiere Pro or Resolve")]
pub struct Export {
    /// The directory of the results, or their folder in S3: `s3://<bucket>/results/<key>/<idempotency key>/`.
    results: String,
    /// The format.
    #[arg(long, value_name = "FORMAT")]
    to: ExportFormat,
    /// What to export.
    #[arg(long, value_name = "WHAT", default_value = "tracks")]
    of: Exported,
    /// The file to write, or `-` for standard output.
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
    /// The frames per second of the timeline [default: those of the video].
    #[arg(long, value_name = "FPS")]
    frame_rate: Option<FrameRate>,
    /// The timecode of the video's first frame; with `;` before the frames, drop-frame timecode [default: 01:00:00:00 for edl, as in
    /// a new timeline of Resolve, else 00:00:00:00].
    #[arg(long, value_name = "TIMECODE")]
    start_timecode: Option<Timecode>,
    #[command(flatten, next_help_heading = "AWS")]
    account: Account,
}

/// The format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    /// A table for a spreadsheet or a script.
    Csv,
    /// Cues for a player in a browser.
    Vtt,
    /// Markers for an existing timeline of Resolve.
    Edl,
    /// A timeline with markers, for Premiere Pro, Resolve and scripts.
    Otio,
    /// A project with markers, for Final Cut Pro and Resolve.
    Fcpxml,
}

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Exported {
    /// One face through time.
    Tracks,
    /// One face at one moment; in cues and markers, all faces of a moment.
    Detections,
}

/// How a format writes tracks, in the order of their starts, or moments.
trait Exporter {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()>;
    fn track(&mut self, out: &mut dyn Write, span: &Span) -> io::Result<()>;
    fn moment(&mut self, out: &mut dyn Write, moment: &FacesAt) -> io::Result<()>;
    fn end(&mut self, out: &mut dyn Write) -> io::Result<()>;
}

/// An error while a result is read and written.
enum CopyError {
    Read(StoredError),
    Write(io::Error),
}

impl From<StoredError> for CopyError {
    fn from(error: StoredError) -> Self {
        Self::Read(error)
    }
}

impl From<io::Error> for CopyError {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

impl Export {
    /// Exports the result. Objects in S3 are read with the configuration `aws`, or, if there is none, the user's own. If the reader of
    /// standard output closes it, the export ends without an error.
    ///
    /// # Errors
    /// [`ExportError`]; then no file is written.
    pub async fn run(&self, aws: Option<&SdkConfig>, progress: &dyn Progress) -> Result<(), ExportError> {
        // Before the result is read, which can take minutes.
        let mut out = ExportFile::open(&self.out, self.force)?;
        let result = StoredResult::open(&self.results, &self.account, aws).await?;
        let is_file = matches!(out, ExportFile::New { .. });
        // Progress would be among the lines of standard output.
        let progress = if is_file { progress } else { &Silent };
        progress.step(&format!("Exporting {}", file_name(&result.summary)));
        let copied = self.copy(&result, &mut out, progress).await;
        match copied.and_then(|()| out.finish()) {
            Err(ExportError::Write { source, .. }) if !is_file && source.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }

    /// Writes the result to `out`.
    async fn copy(
        &self,
        result: &StoredResult,
        out: &mut ExportFile,
        progress: &dyn Progress,
    ) -> Result<(), ExportError> {
        let mut exporter = self.exporter(result)?;
        let copied = match self.of {
            Exported::Tracks => copy_tracks(result, exporter.as_mut(), out, progress).await,
            Exported::Detections => copy_moments(result, exporter.as_mut(), out, progress).await,
        };
        let count = copied.map_err(|error| match error {
            CopyError::Read(error) => error.into(),
            CopyError::Write(source) => ExportError::Write { to: out.name(), source },
        })?;
        if self.to == ExportFormat::Edl && count > MOST_EVENTS {
            note(format_args!(
                "note: CMX 3600 counts {MOST_EVENTS} events and this file can have {count}; if your editor rejects it, use --to otio or --to fcpxml"
            ));
        }
        Ok(())
    }

    /// What writes the format.
    fn exporter(&self, result: &StoredResult) -> Result<Box<dyn Exporter>, ExportError> {
        if self.of == Exported::Tracks && result.manifest.tracks.is_none() {
            return Err(ExportError::NoTracks(result.folder.to_string()));
        }
        let video = &result.summary.video.key;
        Ok(match self.to {
            ExportFormat::Csv => {
                let labels = self.labels(result)?;
                Box::new(match self.of {
                    Exported::Tracks => Csv::of_tracks(video, labels),
                    Exported::Detections => Csv::of_faces(video, labels, result.summary.job.face_attributes),
                })
            }
            ExportFormat::Vtt => {
                for (option, is_set) in
                    [("--frame-rate", self.frame_rate.is_some()), ("--start-timecode", self.start_timecode.is_some())]
                {
                    if is_set {
                        return Err(ExportError::NotForVtt(option));
                    }
                }
                Box::new(Vtt { duration_ms: duration_ms(result) })
            }
            ExportFormat::Edl => Box::new(Markers::new(self.marked_video(result)?, Edl::default())),
            ExportFormat::Otio => Box::new(Markers::new(self.marked_video(result)?, Otio::default())),
            ExportFormat::Fcpxml => Box::new(Markers::new(self.marked_video(result)?, Fcpxml)),
        })
    }

    /// Labels the frames; `None`, if the frame rate is not known.
    fn labels(&self, result: &StoredResult) -> Result<Option<FrameLabels>, ExportError> {
        let of_video = result.summary.metadata.frame_rate.map(f64::from);
        let Some(rate) = self.frame_rate.or_else(|| FrameRate::nearest(of_video?)) else { return Ok(None) };
        if let Some(of_video) = of_video.filter(|of_video| self.frame_rate.is_none() && !rate.is(*of_video)) {
            note(format_args!(
                "note: the video has {of_video:.3} frames a second, and timecodes count {rate}; choose the rate of your timeline with --frame-rate"
            ));
        }
        let default = if self.to == ExportFormat::Edl { Timecode::ONE_HOUR } else { Timecode::default() };
        let start = self.start_timecode.unwrap_or(default);
        let labels = FrameLabels::new(rate, start);
        labels.map(Some).map_err(|reason| ExportError::StartTimecode { timecode: start.to_string(), reason })
    }

    /// The video in the timeline.
    fn marked_video(&self, result: &StoredResult) -> Result<MarkedVideo, ExportError> {
        let summary = &result.summary;
        let labels = self.labels(result)?.ok_or_else(|| ExportError::NoFrameRate(result.folder.to_string()))?;
        let rate = labels.rate();
        let last_ms = result.manifest.pages.iter().filter_map(|page| page.last_ms).max().unwrap_or_default();
        let frames = duration_ms(result).map_or(0, |duration| rate.frame_at(duration));
        Ok(MarkedVideo {
            name: file_name(summary).to_owned(),
            url: url(result),
            size: summary.metadata.frame_width.zip(summary.metadata.frame_height),
            frames: frames.max(rate.frame_at(last_ms) + 1),
            labels,
        })
    }
}

/// Writes every track. Returns how many there are.
async fn copy_tracks(
    result: &StoredResult,
    exporter: &mut dyn Exporter,
    out: &mut ExportFile,
    progress: &dyn Progress,
) -> Result<usize, CopyError> {
    let all = result.manifest.tracks.iter().flatten().map(|object| object.lines).sum();
    let (mut lines, mut count) = (0, 0);
    let mut spans = SpansByStart::default();
    let mut tracks = pin!(result.tracks());
    exporter.begin(out)?;
    while let Some(part) = tracks.try_next().await? {
        spans.add(&part);
        while let Some(span) = spans.next_complete() {
            exporter.track(out, &span)?;
            count += 1;
        }
        lines += 1;
        show(progress, lines, all);
    }
    for span in spans.finish() {
        exporter.track(out, &span)?;
        count += 1;
    }
    exporter.end(out)?;
    Ok(count)
}

/// Writes every moment. Returns how many there are.
async fn copy_moments(
    result: &StoredResult,
    exporter: &mut dyn Exporter,
    out: &mut ExportFile,
    progress: &dyn Progress,
) -> Result<usize, CopyError> {
    let all = result.manifest.faces;
    let (mut line, mut count) = (0, 0);
    let stored_tracks = pin!(result.tracks());
    let mut tracks = TracksOfFaces::new(stored_tracks);
    let mut moment: Option<FacesAt> = None;
    let mut faces = pin!(result.faces());
    exporter.begin(out)?;
    while let Some(mut face) = faces.try_next().await? {
        let detail = face["Face"].take();
        let ms = face["Timestamp"].as_i64().ok_or_else(|| no_time(result, line))?;
        if let Some(mut complete) = moment.take_if(|moment| moment.ms != ms) {
            complete.end_ms = complete.end_ms.min(ms);
            exporter.moment(out, &complete)?;
            count += 1;
        }
        let track = tracks.of(line, &detail).await?;
        let moment = moment.get_or_insert_with(|| FacesAt { ms, end_ms: ms + LOOK_MS, faces: Vec::new() });
        moment.faces.push(TrackedFace { line, track, detail });
        line += 1;
        show(progress, line, all);
    }
    if let Some(last) = moment {
        exporter.moment(out, &last)?;
        count += 1;
    }
    exporter.end(out)?;
    Ok(count)
}

/// The error for a face without a time.
fn no_time(result: &StoredResult, line: usize) -> StoredError {
    StoredError::NoResult {
        location: result.folder.to_string(),
        reason: format!("face {line} of its pages has no Timestamp"),
    }
}

/// Shows how many lines were read.
fn show(progress: &dyn Progress, lines: usize, all: usize) {
    if lines.is_multiple_of(PROGRESS_LINES) {
        progress.detail(&counted(u64::try_from(lines).unwrap_or(u64::MAX), "line"));
        #[expect(clippy::cast_precision_loss, reason = "a ratio that is shown")]
        progress.ratio(lines as f32 / all.max(1) as f32);
    }
}

/// The length of the video in milliseconds, if it is known.
fn duration_ms(result: &StoredResult) -> Option<i64> {
    result.summary.metadata.duration_ms.and_then(|duration| i64::try_from(duration).ok())
}

/// The characters of a path that are encoded in a URL: all but the unreserved ones and `/` (RFC 3986).
const IN_A_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// The URL of the video for an editor: of the file, if the result is on this machine and the video near it, else of a file with its name
/// next to the export
/// (<https://developer.apple.com/library/archive/documentation/FinalCutProX/Reference/FinalCutProXXMLFormat/Resources/Resources.html>).
fn url(result: &StoredResult) -> String {
    let found = match &result.folder {
        Location::Local(dir) => find_video(dir, &result.summary).and_then(|file| std::fs::canonicalize(file).ok()),
        Location::S3 { .. } => None,
    };
    match found {
        Some(file) => format!("file://{}", utf8_percent_encode(&file.to_string_lossy(), IN_A_PATH)),
        None => utf8_percent_encode(file_name(&result.summary), IN_A_PATH).to_string(),
    }
}
