//! `facereel run`: one video through the whole workflow, on this machine.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use lambdas::{
    report::clock,
    results::{Manifest, Summary},
};
use rekognition_local::{JobStatus, detection::CenterFace};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    local::{
        Bootstraps, Error, Execution, FaceAttributes, Objects, Progress, Toolbox, Workflow, WorkflowOptions,
        toolbox_dir, workspace,
    },
    terminal::Terminal,
    view::View,
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
    /// What is asked about each face.
    #[arg(long, value_enum, ignore_case = true, default_value_t)]
    attributes: FaceAttributes,
    /// Where the results go [default: facereel-results/<video name>/]. Results of an earlier run are replaced.
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
        "the execution has stood still for {} s, so it is given up; the engine's log {} says more. Please report this",
        STALL_LIMIT.as_secs(), log.display()
    )]
    Stalled {
        /// The engine's log.
        log: PathBuf,
    },
    /// It could not run here.
    #[error(transparent)]
    Local(#[from] Error),
    /// The results could not be written.
    #[error("cannot write the results to {}: {source}; choose another directory with --out", path.display())]
    Write {
        /// Where they were to go.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
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
            "see whether a player shows the whole video; if so, encode it anew: ffmpeg -i INPUT -c:v libx264 -pix_fmt yuv420p OUTPUT.mp4"
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
}

impl Report {
    /// Reads what the workflow wrote into `dir`.
    fn read(dir: &Path) -> io::Result<Self> {
        let (manifest, summary) = (fs::read(dir.join(MANIFEST))?, fs::read(dir.join("summary.json"))?);
        Ok(Self {
            dir: dir.to_owned(),
            manifest: serde_json::from_slice(&manifest)?,
            summary: serde_json::from_slice(&summary)?,
        })
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.summary.most_faces {
            None => writeln!(f, "No faces were found.")?,
            Some(busiest) => {
                let frames = self.summary.frames_with_faces;
                writeln!(f, "Faces     {} in {frames} moments of the video", self.summary.faces)?;
                writeln!(f, "Busiest   {} at {}", busiest.faces, clock(busiest.timestamp_ms))?;
            }
        }
        writeln!(f, "Results   {}", self.dir.display())?;
        writeln!(f, "            report.html, summary.json, manifest.json, history.json")?;
        let pages = self.manifest.pages.len();
        write!(f, "            faces/*.jsonl, a face a line ({pages} {})", if pages == 1 { "page" } else { "pages" })
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

    /// Runs the command to its end and returns where the results are.
    ///
    /// # Errors
    /// [`RunError`]; the results directory is as it was before, then.
    pub async fn run(&self, progress: &Terminal) -> Result<Report, RunError> {
        let video = self.video()?;
        let name = checked(&video)?;
        let out = match &self.out {
            Some(dir) => dir.clone(),
            None => Path::new("facereel-results").join(Path::new(&name).file_stem().unwrap_or_default()),
        };
        let out = Folder::at(out)?;

        let bytes = fs::metadata(&video).map_or(0, |facts| facts.len());
        if bytes > COMFORTABLE_BYTES {
            eprintln!(
                "note: the engine holds the upload in memory several times over: expect {} GB in use",
                1 + bytes * 4 / 1_000_000_000
            );
        }
        progress.step("Setting up");
        let toolbox = Toolbox::prepare(&toolbox_dir()?, progress).await?;
        progress.step("Building the Lambda functions");
        let bootstraps = Bootstraps::build(progress).await?;
        progress.step("Starting the workflow");
        let detector = CenterFace::load(toolbox.model()).map_err(|error| Error::Model(error.into()))?;
        let options = WorkflowOptions { attributes: self.attributes, ..WorkflowOptions::new(Arc::new(detector)) };
        let mut workflow = Workflow::start(&toolbox, &bootstraps, options).await?;
        let outcome = through(&workflow, &name, &video, &out, progress).await;
        if matches!(outcome, Err(RunError::Local(_) | RunError::Stalled { .. })) {
            workflow.engine.keep_log();
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

/// Uploads the video, watches its execution and brings the results home.
async fn through(
    workflow: &Workflow,
    key: &str,
    video: &Path,
    out: &Folder,
    progress: &dyn Progress,
) -> Result<Report, RunError> {
    progress.step("Uploading the video");
    workflow.uploads.upload(key, video, progress).await?;
    let execution = workflow.execution_of(key).await?;
    let execution = watch(workflow, execution, progress).await?;

    progress.step("Bringing the results home");
    let history = workflow.executions.history(&execution.arn).await?;
    let fresh = out.fresh()?;
    let history_file = fresh.path().join("history.json");
    fs::write(&history_file, format!("{:#}", Value::from(history))).map_err(out.unwritable())?;

    if !execution.has_succeeded() {
        let failed = out.failed();
        failed.replace(fresh)?;
        return Err(RunError::Failed(Box::new(Failure::of(&execution, failed.0.join("history.json")))));
    }
    let field = |name: &'static str| {
        let value = execution.output.as_ref().and_then(|output| output.get(name)?.as_str());
        value.ok_or(Error::Incomplete { call: "the execution's output", missing: name })
    };
    let results = Objects::of(workflow.engine.aws(), field("bucket")?);
    results.download(field("prefix")?, fresh.path()).await?;
    if !fresh.path().join(MANIFEST).is_file() {
        return Err(Error::Incomplete { call: "the results", missing: MANIFEST }.into());
    }
    out.replace(fresh)?;
    Report::read(&out.0).map_err(out.unwritable())
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
            Stage::Fetching => match fetched(&history) {
                1 => progress.detail("1 page"),
                pages => progress.detail(&format!("{pages} pages")),
            },
        }
        if history.len() != events || stage == Stage::Detecting {
            (events, moved) = (history.len(), Instant::now());
        }
        if moved.elapsed() > STALL_LIMIT {
            return Err(RunError::Stalled { log: workflow.engine.log() });
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

/// Results are complete where this lies.
const MANIFEST: &str = "manifest.json";

/// A directory that is filled elsewhere and replaced as a whole.
struct Folder(PathBuf);

impl Folder {
    /// Refuses a directory that holds anything but results.
    fn at(path: PathBuf) -> Result<Self, RunError> {
        let ours = !path.exists()
            || path.join(MANIFEST).is_file()
            || fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none());
        if ours {
            Ok(Self(path))
        } else {
            let shown = path.display();
            Err(RunError::Usage(format!(
                "{shown} holds something else than results, and they would replace it; choose another directory with --out"
            )))
        }
    }

    /// The directory beside this one that tells of a run that failed.
    fn failed(&self) -> Self {
        let mut name = self.0.file_name().unwrap_or_default().to_owned();
        name.push(".failed");
        Self(self.0.with_file_name(name))
    }

    /// An empty directory on the same file system.
    fn fresh(&self) -> Result<tempfile::TempDir, RunError> {
        let parent = self.0.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(self.unwritable())?;
        tempfile::Builder::new().prefix(".facereel-").tempdir_in(parent).map_err(self.unwritable())
    }

    /// Puts `fresh` in this directory's place.
    fn replace(&self, fresh: tempfile::TempDir) -> Result<(), RunError> {
        // What was there leaves by a rename as well, so that at no time half of it is seen.
        let old = self.fresh()?;
        if self.0.exists() {
            fs::rename(&self.0, old.path().join("old")).map_err(self.unwritable())?;
        }
        // A temporary directory is private to the user; results are not.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(fresh.path(), fs::Permissions::from_mode(0o755)).map_err(self.unwritable())?;
        }
        fs::rename(fresh.path(), &self.0).map_err(self.unwritable())?;
        let _ = fresh.keep();
        Ok(())
    }

    fn unwritable(&self) -> impl Fn(io::Error) -> RunError {
        let path = self.0.clone();
        move |source| RunError::Write { path: path.clone(), source }
    }
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

    #[test]
    fn results_replace_results_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        for round in ["first", "second"] {
            let folder = Folder::at(out.clone()).unwrap();
            let fresh = folder.fresh().unwrap();
            fs::write(fresh.path().join(MANIFEST), round).unwrap();
            fs::write(fresh.path().join(format!("{round}.jsonl")), round).unwrap();
            folder.replace(fresh).unwrap();
        }
        assert_eq!(fs::read_to_string(out.join(MANIFEST)).unwrap(), "second");
        assert!(!out.join("first.jsonl").exists(), "the first run's results are still there");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something is left beside the results");

        let homework = dir.path().join("homework");
        fs::create_dir(&homework).unwrap();
        fs::write(homework.join("essay.txt"), "").unwrap();
        assert!(matches!(Folder::at(homework), Err(RunError::Usage(_))));
    }
}
