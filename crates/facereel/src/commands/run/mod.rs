//! `facereel run`: analyses one video with the whole workflow on this machine.

mod error;
mod output;
mod report;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use lambdas::{job::FaceAttributes, layout::MANIFEST};
use output::{HISTORY, OutputDir, VideoIdentity};
use rekognition_local::JobStatus;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

pub use error::{ExecutionFailure, RunError};
pub use report::{RunDocument, RunReport};

use crate::commands::{local, view::View};
use crate::stored::VideoFile;
use crate::terminal::{Terminal, note, text::counted};
use local_stack::{Error, Execution, Installation, Objects, Progress, Workflow};
use report::view_command;

/// Up to this size of a video, the whole workflow uses less than 2 GB of memory (measured: 0.5 GB and 3.3 times the size of
/// the video).
const NO_NOTE_BYTES: u64 = 450_000_000;

/// The time between two requests for the status of the execution.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// After this time without progress, the command assumes that the execution will not end: every step except detection takes
/// at most seconds.
const STALL_LIMIT: Duration = Duration::from_secs(90);

/// Find the faces in one video with the whole workflow on this machine, without an AWS account or Docker.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  facereel run                                     the sample clip
  facereel run --open holiday.mp4                  then the video with its faces, in the browser
  facereel run --attributes all --out faces/holiday holiday.mov")]
pub struct Run {
    /// The video, an .mp4 or .mov [default: the sample clip].
    video: Option<PathBuf>,
    /// The face attributes to ask for. The local stand-in for Rekognition returns box, confidence, landmarks and
    /// quality for both ALL and DEFAULT.
    #[arg(long, ignore_case = true, default_value = "DEFAULT", value_parser = face_attributes())]
    attributes: FaceAttributes,
    /// The directory for the results [default: facereel-results/<video name without its suffix>/].
    ///
    /// Results of an earlier run are replaced when the new ones are complete; without --out, only results of a
    /// video with the same name and size. A directory with any other file is rejected. If the execution fails, its
    /// history is written to <DIR>.failed/.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Show the faces over the video in the browser, as `facereel view` does.
    #[arg(long)]
    open: bool,
}

/// Parses the values of `--attributes`.
fn face_attributes() -> impl TypedValueParser<Value = FaceAttributes> {
    let values = [FaceAttributes::Default, FaceAttributes::All];
    PossibleValuesParser::new(values.map(FaceAttributes::as_str)).map(move |text| {
        let chosen = values.into_iter().find(|value| value.as_str().eq_ignore_ascii_case(&text));
        chosen.expect("clap accepts the possible values only")
    })
}

/// The directory for the results of a video with this file name, unless `--out` is given.
pub(super) fn default_results(name: &str) -> PathBuf {
    let name = Path::new(name);
    // A stem of dots, as in `...mp4`, would be another directory.
    let stem = name.file_stem().filter(|stem| !["", ".", ".."].iter().any(|dots| stem == dots));
    Path::new("facereel-results").join(stem.unwrap_or(name.as_os_str()))
}

impl Run {
    /// The command for this video, with default options.
    #[must_use]
    pub fn of(video: PathBuf) -> Self {
        Self { video: Some(video), attributes: FaceAttributes::Default, out: None, open: false }
    }

    /// The command that shows the results, if `--open` was given.
    #[must_use]
    pub fn view(&self, report: &RunReport) -> Option<View> {
        let video = self.video().ok().filter(|_| self.open)?;
        Some(View::of(report.dir.to_string_lossy(), Some(video.to_string_lossy().into_owned())))
    }

    fn video(&self) -> Result<PathBuf, Error> {
        match &self.video {
            Some(video) => Ok(video.clone()),
            None => Ok(Installation::find()?.sample_clip().join("sample.mp4")),
        }
    }

    /// Checks that the results can be written to their directory, and locks it.
    fn output(&self, video: &VideoIdentity) -> Result<OutputDir, RunError> {
        if let Some(dir) = &self.out {
            return OutputDir::prepare(dir.clone(), None);
        }
        OutputDir::prepare(default_results(&video.key), Some(video))
    }

    /// Runs the workflow for the video, and writes its results.
    ///
    /// # Errors
    /// [`RunError`]; then the output directory is unchanged.
    pub async fn run(&self, progress: &Terminal) -> Result<RunReport, RunError> {
        let video = self.video()?;
        let key = validate_input(&video)?;
        let bytes = fs::metadata(&video).map_or(0, |metadata| metadata.len());
        let identity = VideoIdentity { key, bytes };
        let out = self.output(&identity)?;
        if bytes > NO_NOTE_BYTES {
            note(format_args!(
                "note: the emulator holds several copies of the upload in memory: expect a use of {} GB",
                1 + bytes * 4 / 1_000_000_000
            ));
        }
        if self.attributes == FaceAttributes::All {
            note(
                "note: the local stand-in for Rekognition returns the same for ALL as for DEFAULT: box, confidence, landmarks and quality",
            );
        }
        let mut workflow = local::start(progress, |options| options.attributes = self.attributes).await?;
        let result = process_video(&workflow, &identity.key, &video, &out, progress).await;
        if matches!(result, Err(RunError::Local(_) | RunError::Stalled { .. })) {
            workflow.emulator.keep_log();
        }
        progress.done();
        result
    }
}

/// Checks that the file can be analysed, and returns the key for its object, which is the name of the file.
fn validate_input(video: &Path) -> Result<String, RunError> {
    let rejected = |problem: String| Err(RunError::Usage(problem));
    let shown = video.display();
    let name = video.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match fs::metadata(video) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return rejected(format!(
                "there is no file {shown}; name an .mp4 or .mov, or omit the argument for the sample clip"
            ));
        }
        Err(error) => return rejected(format!("{shown} cannot be read: {error}")),
        Ok(metadata) if !metadata.is_file() => return rejected(format!("{shown} is not a file; name an .mp4 or .mov")),
        Ok(metadata) if metadata.len() == 0 => {
            return rejected(format!(
                "{shown} is empty, and the upload of an empty file does not start the workflow; name a complete video"
            ));
        }
        Ok(_) => {}
    }
    // Opened here, so that a missing permission is reported before the set-up, which may take minutes.
    if let Err(error) = fs::File::open(video) {
        return rejected(format!("{shown} cannot be read: {error}"));
    }
    let suffix = video.extension().unwrap_or_default();
    if !["mp4", "mov"].iter().any(|known| suffix.eq_ignore_ascii_case(known)) {
        return rejected(format!(
            "the name of {shown} does not end with .mp4 or .mov, and only uploads with these suffixes start the workflow; rename the file if it is such a video, or convert it: ffmpeg -i INPUT -c:v libx264 -pix_fmt yuv420p OUTPUT.mp4"
        ));
    }
    Ok(name)
}

/// Reads a JSON document of the results.
fn read_document<T: DeserializeOwned>(dir: &Path, name: &str) -> Result<T, Error> {
    let file = dir.join(name);
    let read = fs::read(&file).and_then(|text| Ok(serde_json::from_slice(&text)?));
    read.map_err(Error::file("read", file))
}

/// Uploads the video, waits for its execution and downloads the results.
async fn process_video(
    workflow: &Workflow,
    key: &str,
    video: &Path,
    out: &OutputDir,
    progress: &dyn Progress,
) -> Result<RunReport, RunError> {
    progress.step("Uploading the video");
    workflow.uploads.upload(key, video, progress).await?;
    let execution = workflow.execution_of(key).await?;
    let execution = watch(workflow, execution, progress).await?;

    progress.step("Downloading the results");
    let history = format!("{:#}", Value::from(workflow.executions.history(&execution.arn).await?));
    if !execution.has_succeeded() {
        return Err(RunError::Failed(Box::new(ExecutionFailure::of(&execution, out.save_failed(&history)?))));
    }
    let download = async |dir: &Path| download(workflow, &execution, &history, video, dir).await;
    let staging = match download_to_staging(out, &download).await? {
        Ok(staging) => staging,
        Err(reason) => {
            // The results must be saved elsewhere, because the emulator's objects are removed at the end of the command.
            let directory = output::temporary()?;
            download(directory.path()).await?;
            return Err(out.kept(reason, directory));
        }
    };
    let (manifest, summary) =
        (read_document(staging.path(), MANIFEST)?, read_document(staging.path(), "summary.json")?);
    out.replace(staging)?;
    let next = view_command(out.dir(), &summary, video);
    Ok(RunReport { dir: out.dir().to_owned(), manifest, summary, next })
}

/// Downloads the results into a temporary directory in the output directory. The inner error is the reason why they cannot
/// be written there.
async fn download_to_staging(
    out: &OutputDir,
    download: &impl AsyncFn(&Path) -> Result<(), Error>,
) -> Result<Result<TempDir, String>, Error> {
    let staging = match out.staging() {
        Ok(staging) => staging,
        Err(error) => return Ok(Err(error.to_string())),
    };
    match download(staging.path()).await {
        Ok(()) => Ok(Ok(staging)),
        Err(error @ Error::File { .. }) => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    }
}

/// Writes the history, the path of the video and every object of the result into `dir`.
async fn download(
    workflow: &Workflow,
    execution: &Execution,
    history: &str,
    video: &Path,
    dir: &Path,
) -> Result<(), Error> {
    let file = dir.join(HISTORY);
    fs::write(&file, history).map_err(Error::file("write", file))?;
    VideoFile::write(dir, video).map_err(Error::file("write the path of the video into", dir))?;
    let field = |name: &'static str| {
        let value = execution.output.as_ref().and_then(|output| output.get(name)?.as_str());
        value.ok_or(Error::Incomplete { call: "the execution's output", missing: name })
    };
    let results = Objects::of(workflow.emulator.aws(), field("bucket")?);
    results.download(field("prefix")?, dir).await?;
    if dir.join(MANIFEST).is_file() {
        Ok(())
    } else {
        Err(Error::Incomplete { call: "the results", missing: MANIFEST })
    }
}

/// Shows the progress of the execution until it has ended.
async fn watch(workflow: &Workflow, execution: Execution, progress: &dyn Progress) -> Result<Execution, RunError> {
    let mut execution = execution;
    let mut stage = Stage::Starting;
    let mut events = 0;
    let mut last_progress = Instant::now();
    while execution.is_running() {
        let job = workflow.rekognition.jobs().pop();
        let now = match job.as_ref().map(|job| job.status) {
            None => Stage::Starting,
            Some(JobStatus::InProgress) => Stage::Detecting,
            Some(JobStatus::Succeeded) => Stage::Fetching,
            // The failure is reported when the execution has ended too.
            Some(JobStatus::Failed) => stage,
        };
        if now != stage {
            stage = now;
            progress.step(stage.name());
        }
        let history = workflow.executions.history(&execution.arn).await?;
        match stage {
            Stage::Starting => {}
            Stage::Detecting => progress.ratio(job.map_or(0.0, |job| job.progress)),
            Stage::Fetching => progress.detail(&counted(fetched_pages(&history), "page")),
        }
        if history.len() != events || stage == Stage::Detecting {
            (events, last_progress) = (history.len(), Instant::now());
        }
        if last_progress.elapsed() > STALL_LIMIT {
            return Err(RunError::Stalled { seconds: STALL_LIMIT.as_secs(), log: workflow.emulator.log() });
        }
        sleep(POLL_INTERVAL).await;
        execution = workflow.executions.describe(&execution.arn).await?;
    }
    Ok(execution)
}

/// The stage of an execution that the progress shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Starting,
    Detecting,
    Fetching,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Starting => "Starting the job",
            Self::Detecting => "Detecting faces",
            Self::Fetching => "Fetching pages",
        }
    }
}

/// The number of pages that have been fetched.
fn fetched_pages(history: &[Value]) -> usize {
    history
        .iter()
        .filter(|event| {
            event.get("type").is_some_and(|kind| kind == "TaskStateExited")
                && event.pointer("/stateExitedEventDetails/name").is_some_and(|name| name == "FetchPage")
        })
        .count()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_is_fetched_when_its_state_is_exited() {
        let exited = |name: &str| json!({ "type": "TaskStateExited", "stateExitedEventDetails": { "name": name } });
        let entered = json!({ "type": "TaskStateEntered", "stateEnteredEventDetails": { "name": "FetchPage" } });
        assert_eq!(fetched_pages(&[exited("ListPages"), entered, exited("FetchPage"), exited("FetchPage")]), 2);
    }

    #[test]
    fn an_unsuitable_input_is_rejected_before_the_set_up() {
        let dir = tempfile::tempdir().unwrap();
        let notes = dir.path().join("notes.txt");
        fs::write(&notes, "text").unwrap();
        let empty = dir.path().join("empty.mp4");
        fs::write(&empty, "").unwrap();
        for (path, says) in [
            (notes, "does not end with .mp4 or .mov"),
            (dir.path().join("gone.mp4"), "no file"),
            (dir.path().to_owned(), "not a file"),
            (empty, "is empty"),
        ] {
            let error = validate_input(&path).unwrap_err();
            assert_eq!(error.exit_status(), 2);
            assert!(error.to_string().contains(says), "{error}");
        }
        let clip = dir.path().join("a + b.MOV");
        fs::write(&clip, "film").unwrap();
        assert_eq!(validate_input(&clip).unwrap(), "a + b.MOV");
    }
}
