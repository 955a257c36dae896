//! `facereel upload`: uploads videos to the stack's upload bucket, and follows their executions to the results.

mod destination;
mod error;
mod execution;
mod local_file;
mod report;
mod transfer;

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use indicatif::DecimalBytes;
use local_stack::Progress;
use tokio::time::Instant;

pub use error::UploadError;
pub use report::{UploadDocument, UploadReport};

use crate::commands::view::View;
use crate::deployed::{Account, Deployed, Error, S3Uri, stage};
use crate::terminal::text::{counted, invocation};
use execution::{Pauses, START_LIMIT, Search, end_of, result_of};
use local_file::LocalFile;
use report::{Analysis, Row};
use transfer::{Found, Stored, Transfer};

/// The number of running executions that are asked for at a time: a little more than the account's default quota of jobs.
const OBSERVED: usize = 25;

/// Upload videos to the stack's upload bucket. An interrupted upload continues where it was stopped.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  facereel upload holiday.mp4                      to the upload bucket; returns when it is stored
  facereel upload --wait day1/*.mp4                returns when every video has a result
  facereel upload --open holiday.mp4               then the video with its faces, in the browser
  facereel upload --to s3://my-videos/2027/ a.mp4 b.mov

Run the same command again after Ctrl-C or a network error: only what is missing is uploaded.")]
pub struct Upload {
    /// The videos: .mp4 or .mov files of at most 10 GB.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The folder to upload to, as `s3://BUCKET/PREFIX`, or the whole key for a single FILE [default: the upload bucket and
    /// the first prefix for which the stack has a rule].
    #[arg(long, value_name = "ADDRESS")]
    to: Option<S3Uri>,
    /// Replace an object that has the same key and another content. Without it, such an upload is refused.
    #[arg(long)]
    replace: bool,
    /// Wait until the videos are analysed. The exit status is 0 only if every video has a result.
    #[arg(long)]
    wait: bool,
    /// Wait, and show the faces over the video in the browser, as `facereel view` does.
    #[arg(long)]
    open: bool,
    /// How long the event of an upload may take to start an execution.
    #[arg(skip = START_LIMIT)]
    start_limit: Duration,
}

/// What an interrupted command leaves, for a note to the user.
#[derive(Debug, Default)]
pub struct Phase(Mutex<Option<String>>);

impl Phase {
    fn set(&self, hint: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(hint);
    }

    /// What continues without the command, and how to see it. `None`, if nothing was started.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Upload {
    /// The same command, which waits for this time until an execution has started.
    #[must_use]
    pub fn with_start_limit(self, start_limit: Duration) -> Self {
        Self { start_limit, ..self }
    }

    /// The command that shows the results, if `--open` was given and there is a result.
    #[must_use]
    pub fn view(&self, report: &UploadReport, account: Account) -> Option<View> {
        let results = report.results().filter(|_| self.open)?;
        Some(View::of(results.to_string(), None).with_account(account))
    }

    /// Uploads the videos, and waits for their results if that was asked for. `phase` is kept up to date.
    ///
    /// # Errors
    /// [`UploadError`]. What is uploaded stays, and the next run with the same files continues with the others.
    pub async fn run(
        &self,
        deployed: &Deployed,
        progress: &dyn Progress,
        phase: &Phase,
    ) -> Result<UploadReport, UploadError> {
        progress.step("Checking the files");
        let files = self.inspect()?;
        let rules = deployed.upload_rules().await?;
        let objects = destination::objects(&files, self.to.as_ref(), &rules).map_err(UploadError::Refused)?;
        let transfers: Vec<_> = files
            .iter()
            .zip(&objects)
            .map(|(file, object)| Transfer { s3: &deployed.s3, file, object, replace: self.replace })
            .collect();
        let found = self.compare(&transfers, progress).await?;
        let mut rows = Vec::new();
        for (transfer, found) in transfers.iter().zip(found) {
            let was_stored = found.is_some();
            let stored = match found {
                Some(stored) => stored,
                None => upload(transfer, progress, phase).await?,
            };
            rows.push(Row::new(transfer, stored, was_stored));
        }
        if self.wait || self.open {
            self.wait(deployed, &mut rows, progress, phase).await?;
        }
        Ok(UploadReport { rows, state_machine: deployed.state_machine.clone() })
    }

    /// Waits until every video has a result, or its execution has failed or not started.
    async fn wait(
        &self,
        deployed: &Deployed,
        rows: &mut [Row],
        progress: &dyn Progress,
        phase: &Phase,
    ) -> Result<(), UploadError> {
        phase.set(format!(
            "the analysis continues without this command; see it with `{} status`, or run the same command again to wait",
            invocation()
        ));
        for row in rows.iter_mut().filter(|row| row.was_stored) {
            if let Some((ended, arn)) = result_of(deployed, &row.object, &row.stored).await? {
                row.end(ended);
                row.execution = Some(arn);
            }
        }
        self.wait_for_starts(deployed, rows, progress).await?;
        let mut pauses = Pauses::new();
        let mut shown = String::new();
        loop {
            update(deployed, rows).await?;
            let running = rows.iter().filter(|row| row.analysis.is_none()).count();
            if running == 0 {
                return Ok(());
            }
            let step = step(deployed, rows, running).await?;
            if step != shown {
                progress.step(&step);
                shown = step;
            }
            pauses.pause().await;
        }
    }

    /// Waits until each upload has started an execution, or has not done so in time.
    async fn wait_for_starts(
        &self,
        deployed: &Deployed,
        rows: &mut [Row],
        progress: &dyn Progress,
    ) -> Result<(), UploadError> {
        let (mut search, mut pauses) = (Search::default(), Pauses::new());
        let deadline = Instant::now() + self.start_limit;
        loop {
            let mut missing: Vec<_> =
                rows.iter_mut().filter(|row| row.execution.is_none() && row.analysis.is_none()).collect();
            let Some(first) = missing.first() else { return Ok(()) };
            if pauses.is_first() {
                let others =
                    if missing.len() == 1 { String::new() } else { format!(" and {} more", missing.len() - 1) };
                progress.step(&format!("Waiting for the execution for {}{others}", first.object.key));
            }
            let objects: Vec<_> = missing.iter().map(|row| (&row.object, &row.stored)).collect();
            let found = search.find(deployed, &objects).await?;
            for (row, arn) in missing.iter_mut().zip(found) {
                row.execution = arn;
                if row.execution.is_none() && Instant::now() >= deadline {
                    row.analysis = Some(Analysis::NotStarted { waited: self.start_limit });
                }
            }
            if missing.iter().any(|row| row.execution.is_none() && row.analysis.is_none()) {
                pauses.pause().await;
            }
        }
    }

    /// Inspects the files. Nothing is uploaded unless all of them are suitable.
    fn inspect(&self) -> Result<Vec<LocalFile>, UploadError> {
        let mut problems = Vec::new();
        if self.open && self.files.len() > 1 {
            problems.push("--open shows one video; name one FILE, or use --wait".to_owned());
        }
        let mut files = Vec::new();
        for path in &self.files {
            match LocalFile::inspect(path) {
                Ok(file) => files.push(file),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(files) } else { Err(UploadError::Refused(problems)) }
    }

    /// The objects that have the content of their files already.
    async fn compare(
        &self,
        transfers: &[Transfer<'_>],
        progress: &dyn Progress,
    ) -> Result<Vec<Option<Stored>>, UploadError> {
        let mut found = Vec::new();
        let mut problems = Vec::new();
        for transfer in transfers {
            progress.detail(&transfer.file.name);
            match transfer.find().await? {
                Found::Same(stored) => found.push(Some(stored)),
                Found::Other if !self.replace => problems.push(format!(
                    "{} exists already, with another content than {}; use another key (--to), or --replace",
                    transfer.object,
                    transfer.file.path.display()
                )),
                Found::Nothing | Found::Other => found.push(None),
            }
        }
        if problems.is_empty() { Ok(found) } else { Err(UploadError::Refused(problems)) }
    }
}

/// Uploads one file.
async fn upload(transfer: &Transfer<'_>, progress: &dyn Progress, phase: &Phase) -> Result<Stored, UploadError> {
    let LocalFile { name, bytes, .. } = transfer.file;
    progress.step(&format!("Uploading {name} ({})", DecimalBytes(*bytes)));
    phase.set("what is uploaded is kept; run the same command again to continue".to_owned());
    transfer.upload(progress).await
}

/// Asks for the executions that run. Of many, only the first ones: the jobs are started in this order, and the quota of
/// `DescribeExecution` belongs to the whole account.
async fn update(deployed: &Deployed, rows: &mut [Row]) -> Result<(), Error> {
    for row in rows.iter_mut().filter(|row| row.analysis.is_none()).take(OBSERVED) {
        let Some(arn) = &row.execution else { continue };
        if let Some(ended) = end_of(deployed, arn).await? {
            row.end(ended);
        }
    }
    Ok(())
}

/// What the command waits for: the stage of a single video, or the number of several.
async fn step(deployed: &Deployed, rows: &[Row], running: usize) -> Result<String, Error> {
    if let [Row { execution: Some(arn), object, .. }] = rows {
        return Ok(format!("{}: {}", object.key, stage::of(deployed, arn).await?));
    }
    Ok(format!("Analysing {running} of {}", counted(rows.len(), "video")))
}
