//! `facereel run`: one video through the whole workflow, on this machine.

mod output;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use face_detection::CenterFace;
use lambdas::{
    report::clock,
    results::{Manifest, Summary},
};
use output::{HISTORY, Identity, MANIFEST, Output};
use rekognition_local::JobStatus;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::commands::view::{View, find_video};
use crate::terminal::{Terminal, note};
use crate::text::{counted, invocation, quoted};
use local_stack::{
    Dependencies, Error, Execution, FaceAttributes, LambdaPackages, Objects, Progress, Workflow, WorkflowOptions,
    dependencies_dir, workspace,
};

/// The clip that is analysed when none is named, below the repository's root.
const SAMPLE: &str = "tests/fixtures/sample-clip/sample.mp4";

/// Up to this size, everything together stays below 2 GB of memory (measured: 0.5 GB and 3.3 times the video).
const COMFORTABLE_BYTES: u64 = 450_000_000;

/// Between two looks at the execution.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// An execution in which nothing happens for so long will not go on: every step but detection takes a moment.
const STALL_LIMIT: Duration = Duration::from_secs(90);

/// Finds the faces in one video with the whole workflow on this machine: no AWS account, no Docker.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  facereel run                                     the sample clip
  facereel run --open holiday.mp4                  then the video with its faces, in the browser
  facereel run --attributes all --out faces/holiday holiday.mov")]
pub struct Run {
    /// The video, an .mp4 or .mov; without it, the sample clip of this repository.
    video: Option<PathBuf>,
    /// What is asked about each face. The local stand-in for Rekognition measures box, confidence, landmarks and
    /// quality, and answers ALL with the same as DEFAULT.
    #[arg(long, value_enum, ignore_case = true, default_value_t)]
    attributes: FaceAttributes,
    /// The directory for the results [default: facereel-results/<video name without its suffix>/].
    ///
    /// Results of an earlier run in it are replaced when the new ones are complete; without --out, only results of a
    /// video with the same name and size. A directory that holds anything else is refused. If the execution fails, its
    /// history goes to <DIR>.failed/.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Show the faces over the video in the browser, as `facereel view` does.
    #[arg(long)]
    open: bool,
}

/// Why there are no results.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The command was given something that it cannot take.
    #[error("{0}")]
    Usage(String),
    /// The execution failed.
    #[error("{0}")]
    Failed(Box<Failure>),
    /// The execution neither ended nor went on.
    #[error(
        "the execution has stood still for {} s, so it is given up; the emulator's log {} says more. Please report this",
        STALL_LIMIT.as_secs(), log.display()
    )]
    Stalled {
        /// The emulator's log.
        log: PathBuf,
    },
    /// It could not run here.
    #[error(transparent)]
    Local(#[from] Error),
    /// There are results, but they could not be written to their directory.
    #[error(
        "cannot write the results to {}: {reason}; they are kept in {}: move them to another place",
        dir.display(), place.display()
    )]
    Kept {
        /// Where they were to go.
        dir: PathBuf,
        /// What prevented it.
        reason: String,
        /// Where they are.
        place: PathBuf,
    },
}

impl RunError {
    /// The command's exit status: 2 where the command line is at fault, else 1.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            _ => 1,
        }
    }
}

/// An execution that failed, as it is told.
#[derive(Debug)]
pub struct Failure {
    /// The error's name.
    error: String,
    /// Its reason in words.
    cause: String,
    /// Its history.
    history: PathBuf,
}

impl Failure {
    fn of(execution: &Execution, history: PathBuf) -> Self {
        let error = execution.error.clone().unwrap_or_else(|| execution.status.as_str().to_owned());
        let cause = execution.cause.clone().unwrap_or_default();
        // A Lambda function's error reaches the cause as JSON.
        let message = serde_json::from_str::<Value>(&cause)
            .ok()
            .and_then(|cause| cause.get("errorMessage")?.as_str().map(str::to_owned));
        Self { error, cause: message.unwrap_or(cause), history }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "the execution failed: {}", self.error)?;
        if !self.cause.is_empty() {
            writeln!(f, "  why      {}", self.cause)?;
        }
        if let Some(remedy) = remedy(&self.error) {
            writeln!(f, "  remedy   {remedy}")?;
        }
        write!(f, "  history  {}", self.history.display())
    }
}

/// What to do about an error of the workflow.
fn remedy(error: &str) -> Option<&'static str> {
    Some(match error {
        "VideoNotFound" => "run again; the uploaded object was gone before it was looked at",
        "VideoEmpty" => "the file has no bytes: copy or record it again",
        "VideoTooLarge" => "Rekognition takes up to 10 GB and 6 hours: cut the video, or encode it smaller",
        "NotAVideo" => {
            "convert it, for example: ffmpeg -i INPUT -c:v libx264 -pix_fmt yuv420p -movflags +faststart OUTPUT.mp4"
        }
        "JobFailed" => {
            "if the reason is in the file, check that a player shows the whole video and re-encode it, for example: ffmpeg -i INPUT -c:v libx264 -pix_fmt yuv420p OUTPUT.mp4; else run again"
        }
        "LimitExceeded" => "wait until other jobs have ended, and run again",
        _ => return None,
    })
}

/// Results on this machine, complete.
#[derive(Debug)]
pub struct Report {
    dir: PathBuf,
    manifest: Manifest,
    summary: Summary,
    /// The command that shows the results.
    next: String,
}

/// Reads one of the workflow's documents.
fn document<T: DeserializeOwned>(dir: &Path, name: &str) -> Result<T, Error> {
    let file = dir.join(name);
    let read = fs::read(&file).and_then(|text| Ok(serde_json::from_slice(&text)?));
    read.map_err(Error::file("read", file))
}

/// The command that shows the results in `dir`, as the user types it. The video is named if `facereel view` would not
/// find it.
fn view_command(dir: &Path, summary: &Summary, video: &Path) -> String {
    let mut command = format!("{} view {}", invocation(), quoted(dir));
    let same = |found: PathBuf| fs::canonicalize(found).ok() == fs::canonicalize(video).ok();
    if !find_video(dir, summary).is_some_and(same) {
        command = format!("{command} {}", quoted(video));
    }
    command
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.summary.most_faces {
            None => writeln!(f, "No faces were found.")?,
            Some(busiest) => {
                let moments = counted(self.summary.frames_with_faces, "moment");
                writeln!(f, "Faces     {} in {moments} of the video", self.summary.faces)?;
                writeln!(f, "Busiest   {} at {}", busiest.faces, clock(busiest.timestamp_ms))?;
            }
        }
        writeln!(f, "Results   {}", self.dir.display())?;
        writeln!(f, "            report.html, summary.json, manifest.json, history.json")?;
        let pages = counted(self.manifest.pages.len(), "page");
        writeln!(f, "            faces/*.jsonl, a face a line ({pages})")?;
        write!(f, "Next      {}", self.next)
    }
}

impl Run {
    /// What shows the report's faces, where that was asked for.
    #[must_use]
    pub fn view(&self, report: &Report) -> Option<View> {
        let video = self.video().ok().filter(|_| self.open)?;
        Some(View::of(report.dir.to_string_lossy(), Some(video.to_string_lossy().into_owned())))
    }

    fn video(&self) -> Result<PathBuf, Error> {
        match &self.video {
            Some(video) => Ok(video.clone()),
            None => Ok(workspace()?.join(SAMPLE)),
        }
    }

    /// Checks that the results can be written to their directory.
    fn output(&self, video: &Identity) -> Result<Output, RunError> {
        if let Some(dir) = &self.out {
            return Output::prepare(dir.clone(), None);
        }
        let name = Path::new(&video.key);
        // A stem of dots, as in `...mp4`, is another directory.
        let stem = name.file_stem().filter(|stem| !["", ".", ".."].iter().any(|dots| stem == dots));
        Output::prepare(Path::new("facereel-results").join(stem.unwrap_or(name.as_os_str())), Some(video))
    }

    /// Runs the command to its end and returns where the results are.
    ///
    /// # Errors
    /// [`RunError`]; the results directory is as it was before, then.
    pub async fn run(&self, progress: &Terminal) -> Result<Report, RunError> {
        let video = self.video()?;
        let key = checked(&video)?;
        let bytes = fs::metadata(&video).map_or(0, |facts| facts.len());
        let identity = Identity { key, bytes };
        let out = self.output(&identity)?;
        if bytes > COMFORTABLE_BYTES {
            note(format_args!(
                "note: the emulator holds the upload in memory several times over: expect {} GB in use",
                1 + bytes * 4 / 1_000_000_000
            ));
        }
        if self.attributes == FaceAttributes::All {
            note(
                "note: the local stand-in for Rekognition answers ALL with the same as DEFAULT: box, confidence, landmarks and quality",
            );
        }
        progress.step("Setting up");
        let dependencies = Dependencies::prepare(&dependencies_dir()?, progress).await?;
        progress.step("Building the Lambda functions");
        let packages = LambdaPackages::build(progress).await?;
        progress.step("Starting the workflow");
        let detector = CenterFace::load(dependencies.model()).map_err(|error| Error::Model(error.into()))?;
        let options = WorkflowOptions { attributes: self.attributes, ..WorkflowOptions::new(Arc::new(detector)) };
        let mut workflow = Workflow::start(&dependencies, &packages, options).await?;
        let outcome = through(&workflow, &identity.key, &video, &out, progress).await;
        if matches!(outcome, Err(RunError::Local(_) | RunError::Stalled { .. })) {
            workflow.emulator.keep_log();
        }
        progress.done();
        outcome
    }
}

/// The object's key for a file that can be analysed: its name.
fn checked(video: &Path) -> Result<String, RunError> {
    let usage = |problem: String| Err(RunError::Usage(problem));
    let shown = video.display();
    let name = video.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match fs::metadata(video) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return usage(format!("there is no file {shown}; name an .mp4 or .mov, or none for the sample clip"));
        }
        Err(error) => return usage(format!("{shown} cannot be read: {error}")),
        Ok(facts) if !facts.is_file() => return usage(format!("{shown} is not a file; name an .mp4 or .mov")),
        Ok(_) => {}
    }
    // Opened here, so that a file without permission is told before minutes of set-up.
    if let Err(error) = fs::File::open(video) {
        return usage(format!("{shown} cannot be read: {error}"));
    }
    let suffix = video.extension().unwrap_or_default();
    if !["mp4", "mov"].iter().any(|known| suffix.eq_ignore_ascii_case(known)) {
        return usage(format!(
            "{shown} is no .mp4 or .mov by its name, and only such uploads start the workflow; rename it if it is one, or convert it: ffmpeg -i INPUT -c:v libx264 -pix_fmt yuv420p OUTPUT.mp4"
        ));
    }
    Ok(name)
}

/// Uploads the video, watches its execution and downloads the results.
async fn through(
    workflow: &Workflow,
    key: &str,
    video: &Path,
    out: &Output,
    progress: &dyn Progress,
) -> Result<Report, RunError> {
    progress.step("Uploading the video");
    workflow.uploads.upload(key, video, progress).await?;
    let execution = workflow.execution_of(key).await?;
    let execution = watch(workflow, execution, progress).await?;

    progress.step("Downloading the results");
    let history = format!("{:#}", Value::from(workflow.executions.history(&execution.arn).await?));
    if !execution.has_succeeded() {
        return Err(RunError::Failed(Box::new(Failure::of(&execution, out.save_failed(&history)?))));
    }
    let download = async |dir: &Path| download(workflow, &execution, &history, dir).await;
    let staging = match staged(out, &download).await? {
        Ok(staging) => staging,
        Err(reason) => {
            // The results are in the emulator's memory only, and the emulator is about to end.
            let place = output::temporary()?;
            download(place.path()).await?;
            return Err(out.kept(reason, place));
        }
    };
    let (manifest, summary) = (document(staging.path(), MANIFEST)?, document(staging.path(), "summary.json")?);
    out.replace(staging)?;
    let next = view_command(out.dir(), &summary, video);
    Ok(Report { dir: out.dir().to_owned(), manifest, summary, next })
}

/// Downloads the results into a temporary directory inside of the output directory. The inner error is the reason why
/// they cannot be written there.
async fn staged(
    out: &Output,
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

/// Writes the history and every object of the result into `dir`.
async fn download(workflow: &Workflow, execution: &Execution, history: &str, dir: &Path) -> Result<(), Error> {
    let file = dir.join(HISTORY);
    fs::write(&file, history).map_err(Error::file("write", file))?;
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

/// Shows how far the execution is until it has ended.
async fn watch(workflow: &Workflow, execution: Execution, progress: &dyn Progress) -> Result<Execution, RunError> {
    let mut execution = execution;
    let mut stage = Stage::Starting;
    let mut events = 0;
    let mut moved = Instant::now();
    while execution.is_running() {
        let job = workflow.rekognition.jobs().pop();
        let now = match job.as_ref().map(|job| job.status) {
            None => Stage::Starting,
            Some(JobStatus::InProgress) => Stage::Detecting,
            Some(JobStatus::Succeeded) => Stage::Fetching,
            // Told when the execution has ended too.
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
            Stage::Fetching => progress.detail(&counted(fetched(&history), "page")),
        }
        if history.len() != events || stage == Stage::Detecting {
            (events, moved) = (history.len(), Instant::now());
        }
        if moved.elapsed() > STALL_LIMIT {
            return Err(RunError::Stalled { log: workflow.emulator.log() });
        }
        sleep(LOOK_EVERY).await;
        execution = workflow.executions.describe(&execution.arn).await?;
    }
    Ok(execution)
}

/// Where an execution is.
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

/// How many pages have been fetched so far.
fn fetched(history: &[Value]) -> usize {
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
    use aws_sdk_sfn::types::ExecutionStatus;
    use serde_json::json;

    use super::*;

    fn failed(error: &str, cause: &str) -> Failure {
        let execution = Execution {
            arn: String::new(),
            status: ExecutionStatus::Failed,
            input: Value::Null,
            output: None,
            error: Some(error.to_owned()),
            cause: Some(cause.to_owned()),
        };
        Failure::of(&execution, "out.failed/history.json".into())
    }

    #[test]
    fn a_failure_tells_its_name_its_cause_and_what_to_do() {
        let text = failed("VideoEmpty", "the object has no bytes").to_string();
        for part in ["VideoEmpty", "the object has no bytes", "record it again", "out.failed/history.json"] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }

    #[test]
    fn a_failed_job_shows_its_reason_and_a_remedy_for_a_fault_of_the_file_only() {
        let text = failed("JobFailed", "the disk is full (face detection job 0123)").to_string();
        assert!(text.contains("why      the disk is full (face"), "{text}");
        assert!(text.contains("if the reason is in the file") && text.contains("else run again"), "{text}");
    }

    #[test]
    fn the_next_command_names_the_video_only_where_view_would_not_find_it() {
        let dir = tempfile::tempdir().unwrap();
        let results = dir.path().join("my results");
        fs::create_dir(&results).unwrap();
        let summary: Summary = serde_json::from_value(json!({
            "video": { "bucket": "b", "key": "clip.mp4", "etag": "e", "bytes": 4 },
            "metadata": {},
            "job": { "job_id": "j", "idempotency_key": "t", "attempt": 0, "face_attributes": "DEFAULT" },
            "faces": 0, "frames_with_faces": 0, "most_faces": null, "timeline": [],
        }))
        .unwrap();
        let beside = dir.path().join("clip.mp4");
        fs::write(&beside, "film").unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let copy = elsewhere.path().join("clip.mp4");
        fs::write(&copy, "mlif").unwrap();

        let shown = format!("view '{}'", results.display());
        let command = view_command(&results, &summary, &beside);
        assert!(command.ends_with(&shown), "{command}");
        let command = view_command(&results, &summary, &copy);
        assert!(command.ends_with(&format!("{shown} {}", copy.display())), "{command}");
    }

    #[test]
    fn an_error_that_nobody_foresaw_tells_its_name_and_cause() {
        let text =
            failed("Runtime.ExitError", r#"{"errorType":"Runtime.ExitError","errorMessage":"it exited"}"#).to_string();
        assert!(text.contains("Runtime.ExitError") && text.contains("it exited"), "{text}");
        assert!(!text.contains("errorMessage"), "{text}");
    }

    #[test]
    fn only_pages_that_left_their_state_are_fetched() {
        let exited = |name: &str| json!({ "type": "TaskStateExited", "stateExitedEventDetails": { "name": name } });
        let entered = json!({ "type": "TaskStateEntered", "stateEnteredEventDetails": { "name": "FetchPage" } });
        assert_eq!(fetched(&[exited("ListPages"), entered, exited("FetchPage"), exited("FetchPage")]), 2);
    }

    #[test]
    fn what_is_no_video_by_its_name_is_told_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let notes = dir.path().join("notes.txt");
        fs::write(&notes, "text").unwrap();
        for (path, says) in [
            (notes, "no .mp4 or .mov"),
            (dir.path().join("gone.mp4"), "no file"),
            (dir.path().to_owned(), "not a file"),
        ] {
            let error = checked(&path).unwrap_err();
            assert_eq!(error.exit_status(), 2);
            assert!(error.to_string().contains(says), "{error}");
        }
        let clip = dir.path().join("a + b.MOV");
        fs::write(&clip, "film").unwrap();
        assert_eq!(checked(&clip).unwrap(), "a + b.MOV");
    }
}
