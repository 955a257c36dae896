//! `facereel blur`: hides every face of a video.

mod analysis;
mod error;
mod ffmpeg;
mod nut;
mod paths;
mod pipeline;
mod report;
mod review;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use face_detection::{AnalyzeError, VideoInfo};
use lambdas::results::Track;
use local_stack::Progress;
use redaction::Style;
use tempfile::TempDir;

pub use error::BlurError;
pub use ffmpeg::Ffmpeg;
pub use pipeline::X264;
pub use report::{BlurDocument, BlurReport};

use crate::{
    deployed::Account,
    terminal::{Terminal, text::parse_duration},
};
use analysis::Analysis;
use paths::{FacePath, Reach, Regions, paths_of};
use pipeline::{Counts, Pipeline};

/// The formats of the output, by suffix.
const SUFFIXES: [&str; 3] = ["mp4", "m4v", "mov"];

/// The start of the temporary directory's name.
const STAGING_PREFIX: &str = ".facereel-";

/// Hide every face of a video. The sound, the subtitles and the metadata are kept.
///
/// The faces are those of the analysis: a face that it has not found is not hidden. A face is looked for twice a second, so
/// where it is in between is an estimate. Therefore no blur is a guarantee: watch the whole video before you publish it.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  facereel blur holiday.mp4 --out blurred.mp4      with the stored results of this video, or after a local analysis
  facereel blur holiday.mp4 faces/holiday --out blurred.mp4 --review review.html
  facereel blur holiday.mp4 s3://my-results/results/holiday.mp4/IDEMPOTENCY-KEY/ --out blurred.mp4
  facereel blur holiday.mp4 --out blurred.mp4 --style box --margin 0.5 --hold 1s

It needs ffmpeg 6.1 or later with the encoder libx264. Without one on the PATH or in the environment variable
FFMPEG, a pinned one is downloaded from PyPI.")]
pub struct Blur {
    /// The video, an .mp4 or .mov.
    video: PathBuf,
    /// Its results: a directory, or their folder in S3, s3://<bucket>/results/<key>/<idempotency key>/
    /// [default: those of `facereel run` in facereel-results/, or else those of a new local analysis].
    results: Option<String>,
    /// The file for the video with hidden faces: an .mp4, .m4v or .mov.
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// How a face is hidden. Only a box removes everything: a blur and pixels keep coarse colours of the face.
    #[arg(long, ignore_case = true, default_value = "blur", value_parser = style())]
    style: Style,
    /// What is added on each side of a face, as a share of its width and height, from 0 to 3.
    #[arg(long, value_name = "SHARE", default_value = "0.25", value_parser = margin)]
    margin: f32,
    /// How long a face stays hidden before its first and after its last detection, as 600ms or 1s.
    #[arg(long, value_name = "TIME", default_value = "600ms", value_parser = parse_duration)]
    hold: Duration,
    /// Write a page with the doubtful moments, as an .html file with pictures of the blurred video.
    #[arg(long, value_name = "FILE")]
    review: Option<PathBuf>,
    /// Replace the files of --out and --review if they exist.
    #[arg(long)]
    force: bool,
    #[command(flatten, next_help_heading = "AWS")]
    account: Account,
}

/// Parses the values of `--style`.
fn style() -> impl TypedValueParser<Value = Style> {
    let values = [Style::Blur, Style::Pixelate, Style::Box];
    PossibleValuesParser::new(values.map(name_of)).map(move |text| {
        let chosen = values.into_iter().find(|style| name_of(*style).eq_ignore_ascii_case(&text));
        chosen.expect("clap accepts the possible values only")
    })
}

/// The name of a style on the command line.
fn name_of(style: Style) -> &'static str {
    match style {
        Style::Blur => "blur",
        Style::Pixelate => "pixelate",
        Style::Box => "box",
    }
}

/// Parses the value of `--margin`.
fn margin(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(margin) if (0.0..=3.0).contains(&margin) => Ok(margin),
        _ => Err("a margin is a number from 0 to 3, such as 0.25 for a quarter of the face".to_owned()),
    }
}

/// How the faces of a video are hidden.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hiding {
    /// How a region is hidden.
    pub style: Style,
    /// The share of a box's width and height that is added on each side.
    pub margin: f32,
    /// How long a box is hidden before the first and after the last detection of a track.
    pub hold: Duration,
}

impl Default for Hiding {
    /// The defaults of the command. BENCHMARKS.md has the measurements: the time between two samples is half a second, so a face can
    /// be visible for as long before its first detection, and a tenth of a second covers samples that are further apart.
    fn default() -> Self {
        Self { style: Style::Blur, margin: 0.25, hold: Duration::from_millis(600) }
    }
}

impl Hiding {
    fn reach(&self) -> Reach {
        Reach { margin: self.margin, hold_ms: i64::try_from(self.hold.as_millis()).unwrap_or(i64::MAX / 4) }
    }
}

/// Writes a copy of `video` to `out`, which is replaced, with the faces of the tracks hidden. The boxes of the tracks refer to the
/// picture as it is shown.
///
/// # Errors
/// [`BlurError`]; `out` can then contain a part of a video.
pub async fn hide_tracks(
    ffmpeg: &Ffmpeg,
    video: &Path,
    tracks: Vec<Track>,
    hiding: &Hiding,
    out: &Path,
    progress: &dyn Progress,
) -> Result<(), BlurError> {
    let info = info(video)?;
    let source = ffmpeg.probe(video).await?;
    let (style, out) = (hiding.style, out.to_owned());
    let pipeline = Pipeline { ffmpeg, video, info: &info, source: &source, rotation: info.rotation, style, out };
    pipeline.run(Regions::new(paths_of(tracks), hiding.reach()), progress).await?;
    Ok(())
}

impl Blur {
    /// Hides the faces.
    ///
    /// # Errors
    /// [`BlurError`]; then no file was written or changed, except for results of a new analysis.
    pub async fn run(&self, terminal: &Terminal) -> Result<BlurReport, BlurError> {
        let bytes = readable(&self.video)?;
        self.check_outputs()?;
        let info = info(&self.video)?;
        // Created before the analysis, so that an output that cannot be written is reported early.
        let staging = Staging::beside(&self.out)?;
        let sheet =
            self.review.as_deref().map(|sheet| Ok::<_, BlurError>((sheet, Staging::beside(sheet)?))).transpose()?;
        terminal.step("Preparing");
        let ffmpeg = Ffmpeg::find(terminal).await?;
        let source = ffmpeg.probe(&self.video).await?;
        let results = self.results.as_deref();
        let analysis = Analysis::of(&self.video, bytes, &info, results, &self.account, terminal).await?;
        let hiding = Hiding { style: self.style, margin: self.margin, hold: self.hold };

        terminal.step("Hiding faces");
        let pipeline = Pipeline {
            ffmpeg: &ffmpeg,
            video: &self.video,
            info: &info,
            source: &source,
            rotation: analysis.rotation,
            style: self.style,
            out: staging.file(),
        };
        let regions = Regions::new(analysis.paths.clone(), hiding.reach());
        let counts = pipeline.run(regions, terminal).await.map_err(|error| self.name_output(error))?;
        let mut doubtful = None;
        if let Some((sheet, staged)) = &sheet {
            terminal.step("Writing the review sheet");
            let moments = review::moments(&analysis, &info, hiding.reach());
            let page = review::page(&self.out, &staging.file(), &moments, counts, &ffmpeg, terminal).await;
            fs::write(staged.file(), page).map_err(|source| BlurError::Write { path: (*sheet).to_owned(), source })?;
            doubtful = Some(moments.len());
        }
        staging.keep(&self.out, self.force)?;
        if let Some((sheet, staged)) = sheet {
            staged.keep(sheet, self.force)?;
        }
        Ok(self.report(&analysis.paths, counts, doubtful))
    }

    /// Checks that the files can be written.
    fn check_outputs(&self) -> Result<(), BlurError> {
        if !has_suffix(&self.out, &SUFFIXES) {
            return Err(BlurError::Suffix { path: self.out.clone() });
        }
        for path in [Some(&self.out), self.review.as_ref()].into_iter().flatten() {
            check_absent(path, self.force)?;
        }
        if self.review.as_ref().is_some_and(|sheet| same_file(sheet, &self.out) || same_file(sheet, &self.video)) {
            return Err(BlurError::SheetIsVideo { path: self.review.clone().unwrap_or_default() });
        }
        Ok(())
    }

    /// Replaces the name of the temporary file by that of the output.
    fn name_output(&self, error: BlurError) -> BlurError {
        match error {
            BlurError::DiskFull { .. } => BlurError::DiskFull { path: self.out.clone() },
            error => error,
        }
    }

    fn report(&self, paths: &[FacePath], counts: Counts, doubtful: Option<usize>) -> BlurReport {
        BlurReport {
            out: self.out.clone(),
            style: name_of(self.style),
            margin: self.margin,
            hold: self.hold,
            tracks: paths.len(),
            frames: counts.frames,
            hidden_frames: counts.hidden_frames,
            review: self.review.clone().zip(doubtful),
        }
    }
}

/// The size of a file that can be opened.
fn readable(video: &Path) -> Result<u64, BlurError> {
    let read = || {
        let metadata = fs::File::open(video)?.metadata()?;
        if metadata.is_file() { Ok(metadata.len()) } else { Err(io::Error::other("it is not a file")) }
    };
    read().map_err(|source| BlurError::Video { path: video.to_owned(), source })
}

fn info(video: &Path) -> Result<VideoInfo, BlurError> {
    VideoInfo::read(video).map_err(|source: AnalyzeError| BlurError::NotAVideo { path: video.to_owned(), source })
}

fn has_suffix(path: &Path, suffixes: &[&str]) -> bool {
    path.extension().is_some_and(|suffix| suffixes.iter().any(|known| suffix.eq_ignore_ascii_case(known)))
}

/// Whether both paths are one file that exists.
fn same_file(one: &Path, other: &Path) -> bool {
    fs::canonicalize(one).is_ok_and(|one| fs::canonicalize(other).is_ok_and(|other| one == other)) || one == other
}

fn check_absent(path: &Path, force: bool) -> Result<(), BlurError> {
    if !force && fs::symlink_metadata(path).is_ok() {
        return Err(BlurError::Exists { path: path.to_owned() });
    }
    if path.is_dir() {
        return Err(BlurError::Write { path: path.to_owned(), source: io::ErrorKind::IsADirectory.into() });
    }
    Ok(())
}

/// A temporary directory beside an output, which is removed with everything in it.
struct Staging {
    dir: TempDir,
    name: std::ffi::OsString,
}

impl Staging {
    fn beside(out: &Path) -> Result<Self, BlurError> {
        let unwritable = |source| BlurError::Write { path: out.to_owned(), source };
        let name = out.file_name().ok_or_else(|| unwritable(io::ErrorKind::InvalidFilename.into()))?;
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !parent.is_dir() {
            return Err(unwritable(io::Error::other(format!("there is no directory {}", parent.display()))));
        }
        let dir = tempfile::Builder::new().prefix(STAGING_PREFIX).tempdir_in(parent);
        Ok(Self { dir: dir.map_err(unwritable)?, name: name.to_owned() })
    }

    /// The file in the directory.
    fn file(&self) -> PathBuf {
        self.dir.path().join(&self.name)
    }

    /// Moves the file to the output. Without `force`, a file that was written there in the meantime is kept.
    fn keep(self, out: &Path, force: bool) -> Result<(), BlurError> {
        check_absent(out, force)?;
        fs::rename(self.file(), out).map_err(|source| BlurError::Write { path: out.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        blur: Blur,
    }

    fn parse(arguments: &[&str]) -> Result<Blur, String> {
        let words = ["blur", "clip.mp4"].iter().chain(arguments);
        clap::Parser::try_parse_from(words).map(|cli: Cli| cli.blur).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_of_the_command_are_those_of_the_library() {
        let blur = parse(&["--out", "out.mp4"]).unwrap();
        let Blur { style, margin, hold, .. } = blur;
        assert_eq!(Hiding { style, margin, hold }, Hiding::default());
    }

    #[test]
    fn an_option_that_is_not_possible_is_rejected() {
        for (arguments, says) in [
            (&["--out", "out.mp4", "--margin", "4"][..], "from 0 to 3"),
            (&["--out", "out.mp4", "--margin=-1"], "from 0 to 3"),
            (&["--out", "out.mp4", "--hold", "soon"], "--hold"),
            (&["--out", "out.mp4", "--style", "mosaic"], "pixelate"),
            (&[], "--out"),
        ] {
            let error = parse(arguments).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        let blur = parse(&["--out", "out.mp4", "--hold", "1s 500ms", "--style", "BOX", "--margin", "0"]).unwrap();
        assert_eq!((blur.hold, blur.style), (Duration::from_millis(1500), Style::Box));
    }

    #[tokio::test]
    async fn an_unsuitable_output_is_rejected_before_the_work() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let sample = local_stack::workspace().unwrap().join("tests/fixtures/videos/no-faces.mp4");
        fs::copy(&sample, path("clip.mp4")).unwrap();
        fs::write(path("old.mp4"), "old").unwrap();
        let run = async |video: &str, out: &str, review: Option<&str>, force: bool| {
            let mut blur = parse(&["--out", &path(out).to_string_lossy()]).unwrap();
            (blur.video, blur.review, blur.force) = (path(video), review.map(path), force);
            blur.run(&Terminal::new()).await.unwrap_err()
        };
        for (error, says, status) in [
            (run("none.mp4", "out.mp4", None, false).await, "cannot be read: No such file", 2),
            (run("", "out.mp4", None, false).await, "it is not a file", 2),
            (run("clip.mp4", "out.webm", None, false).await, "does not end with .mp4", 2),
            (
                run("clip.mp4", "old.mp4", None, false).await,
                "exists; choose another name, or replace it with --force",
                2,
            ),
            (run("clip.mp4", "clip.mp4", None, false).await, "exists; choose another name", 2),
            (run("clip.mp4", "out.mp4", Some("old.mp4"), false).await, "exists; choose another name", 2),
            (run("clip.mp4", "out.mp4", Some("out.mp4"), true).await, "is the video; choose another --review", 2),
            (run("clip.mp4", "out.mp4", Some("clip.mp4"), true).await, "is the video; choose another --review", 2),
            (run("clip.mp4", "none/out.mp4", None, false).await, "out.mp4: there is no directory", 1),
            (run("old.mp4", "out.mp4", None, false).await, "old.mp4: the file is not a readable MP4 or MOV video", 1),
        ] {
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(error.exit_status(), status, "{error}");
        }
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }

    #[test]
    fn a_file_that_appears_during_the_work_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out.mp4");
        let staging = Staging::beside(&out).unwrap();
        fs::write(staging.file(), "new").unwrap();
        fs::write(&out, "of the user").unwrap();
        assert!(matches!(staging.keep(&out, false), Err(BlurError::Exists { .. })));
        assert_eq!(fs::read_to_string(&out).unwrap(), "of the user");
        let staging = Staging::beside(&out).unwrap();
        fs::write(staging.file(), "new").unwrap();
        staging.keep(&out, true).unwrap();
        assert_eq!(fs::read_to_string(&out).unwrap(), "new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
