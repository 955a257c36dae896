//! `facereel view`: shows results and their video in a browser, with the faces drawn over the video.
//!
//! A server on the loopback interface serves the pages, the results and the videos, from this machine or from S3. Results are
//! numbered: no request contains a path or a key.

pub mod catalogue;
mod error;
mod player;
mod server;
mod video;
mod viewer;

use aws_config::SdkConfig;

pub use catalogue::Catalogue;
pub use error::ViewError;
pub use viewer::Viewer;

use crate::deployed::{Account, Target};
use crate::terminal::{Terminal, note, print};
use local_stack::{Progress, Silent};

/// Show the faces over the video in the browser, or the list of all results of a directory or bucket.
///
/// Solid boxes are those of Rekognition. Between two of its samples, dashed boxes follow the tracks.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  facereel view facereel-results/sample            results of `facereel run`
  facereel view facereel-results/holiday ~/holiday.mp4
  facereel view facereel-results                   the list of all results below it
  facereel view s3://my-results                    the list of a stack's results
  facereel view s3://my-results/results/interviews/
  facereel view s3://my-results/results/holiday.mp4/
                                                   the newest result of a video
  facereel view s3://my-results/results/holiday.mp4/IDEMPOTENCY-KEY/
                                                   with your AWS credentials; only what is shown is downloaded
  facereel view --no-open --port 8000 facereel-results/sample

In the page, press ? for the keyboard shortcuts.")]
pub struct View {
    /// The directory of a result, or its folder in S3: `s3://<bucket>/results/<key>/<idempotency key>/`. A directory without a
    /// manifest, a bucket or another prefix shows the list of all results in it.
    results: String,
    /// The video of one result, as a file or `s3://BUCKET/KEY` [default: searched near the results, or in the upload bucket].
    video: Option<String>,
    /// The port on 127.0.0.1 [default: any free one].
    #[arg(long, default_value_t, hide_default_value = true)]
    port: u16,
    /// Print the URL of the page, and do not open a browser.
    #[arg(long)]
    no_open: bool,
    #[command(flatten, next_help_heading = "AWS")]
    target: Target,
}

impl View {
    /// The command for these results, with default options. `None` as the video means to search it.
    #[must_use]
    pub fn of(results: impl Into<String>, video: Option<String>) -> Self {
        Self { results: results.into(), video, port: 0, no_open: false, target: Target::default() }
    }

    /// The same command, which reads objects in S3 with this account.
    #[must_use]
    pub fn with_account(self, account: Account) -> Self {
        Self { target: account.into(), ..self }
    }

    /// Finds the results and the video, and opens the port; nothing is served yet. Objects in S3 are read with the
    /// configuration `aws`, or, if there is none, the user's own.
    ///
    /// # Errors
    /// [`ViewError`].
    pub async fn prepare(&self, aws: Option<&SdkConfig>) -> Result<Viewer, ViewError> {
        self.prepare_with(aws, &Silent).await
    }

    async fn prepare_with(&self, aws: Option<&SdkConfig>, progress: &dyn Progress) -> Result<Viewer, ViewError> {
        Viewer::prepare(self, aws, progress).await
    }

    /// Opens the page in a browser, and serves it until the future is dropped.
    ///
    /// # Errors
    /// [`ViewError`].
    pub async fn run(&self) -> Result<(), ViewError> {
        let terminal = Terminal::new();
        let viewer = self.prepare_with(None, &terminal).await?;
        terminal.done();
        if let Some(difference) = viewer.difference().await {
            note(format_args!("note: {difference}"));
        }
        let url = viewer.url();
        if let Err(error) = print(&format!("{url}\nPress Ctrl-C to stop.\n")) {
            note(format_args!("note: cannot write to standard output: {error}; the page is {url}"));
        }
        if !self.no_open && open::that_detached(&url).is_err() {
            note(format_args!("note: no browser could be opened; open {url} yourself"));
        }
        viewer.serve().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
