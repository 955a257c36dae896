//! `facereel view`: results and their video in a browser, with the faces drawn over it.
//!
//! A server on loopback hands out the page, the results and the video, wherever they lie. It knows by itself what it
//! may hand out: no request names a file or a key.

mod place;
mod server;

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Component, Path, PathBuf},
};

use aws_config::SdkConfig;
use aws_sdk_s3::error::BoxError;
use lambdas::results::{Manifest, Summary};
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;

use crate::terminal::{note, print};
use local_stack::workspace;
use place::{Place, Store};

/// Shows the faces over the video, in the browser.
///
/// Boxes lie exactly where Rekognition saw a face; between two samples they are interpolated.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  facereel view facereel-results/sample            what `facereel run` has written
  facereel view facereel-results/holiday ~/holiday.mp4
  facereel view s3://my-results/results/holiday.mp4/TAG/
                                                   with your AWS credentials; nothing is downloaded but what is shown
  facereel view --no-open --port 8000 facereel-results/sample

In the page, press ? for the keys.")]
pub struct View {
    /// A directory with results, or their place in S3: `s3://<bucket>/results/<key>/<idempotency key>/`.
    results: String,
    /// The video, where it is not found by itself: a file, or `s3://BUCKET/KEY`.
    video: Option<String>,
    /// The port on 127.0.0.1 [default: any free one].
    #[arg(long, default_value_t, hide_default_value = true)]
    port: u16,
    /// Print the page's address, and do not open a browser.
    #[arg(long)]
    no_open: bool,
}

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// No complete result lies there.
    #[error(
        "{place} holds no complete result: {reason}; name the directory, or the s3:// folder, in which manifest.json lies"
    )]
    NoResult {
        /// Where it was looked for.
        place: String,
        /// What is missing or wrong.
        reason: String,
    },
    /// The video lies in none of the usual places.
    #[error(
        "{name} ({bytes} bytes) is not found beside the results or here; name the video: facereel view {results} VIDEO"
    )]
    NoVideo {
        /// Its file name.
        name: String,
        /// Its size.
        bytes: u64,
        /// The results, as they were named.
        results: String,
    },
    /// The video cannot be read.
    #[error("the video {path} cannot be read: {source}", path = path.display())]
    Video {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// An `s3://` address without a bucket or a key.
    #[error("{0} names no place in S3; it looks like s3://BUCKET/KEY")]
    Address(String),
    /// S3 refused, or did not answer.
    #[error(
        "{place} cannot be read; see that your AWS credentials and Region are set (AWS_PROFILE, AWS_REGION) and allow {call}: {}",
        reasons(source.as_ref())
    )]
    Aws {
        /// The call, as IAM names it.
        call: &'static str,
        /// The object.
        place: String,
        /// What the SDK said.
        source: BoxError,
    },
    /// The port is taken.
    #[error("cannot listen on 127.0.0.1:{port}: {source}; name another --port, or none for a free one")]
    Listen {
        /// The port that was asked for.
        port: u16,
        /// The system's reason.
        source: io::Error,
    },
}

/// An error and what lies behind it, in words alone.
fn reasons(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl View {
    /// The command with nothing but what to show: results, and the video where it is not found by itself.
    #[must_use]
    pub fn of(results: impl Into<String>, video: Option<String>) -> Self {
        Self { results: results.into(), video, port: 0, no_open: false }
    }

    /// Looks for everything and listens; nothing is served yet. `aws` is asked where something lies in S3: the user's
    /// own account, when there is none.
    ///
    /// # Errors
    /// [`ViewError`].
    pub async fn prepare(&self, aws: Option<&SdkConfig>) -> Result<Viewer, ViewError> {
        let store = Store::of(aws);
        let folder = Place::parse(&self.results)?.folder();
        let manifest: Manifest = document(&store, &folder, "manifest.json").await?;
        let summary: Summary = document(&store, &folder, "summary.json").await?;
        let video = match &self.video {
            Some(video) => Place::parse(video)?,
            None => match &folder {
                Place::Local(dir) => Place::Local(find_video(dir, &summary).ok_or_else(|| ViewError::NoVideo {
                    name: file_name(&summary).to_owned(),
                    bytes: summary.video.bytes,
                    results: self.results.clone(),
                })?),
                Place::S3 { .. } => Place::S3 {
                    bucket: summary.video.bucket.clone(),
                    key: summary.video.key.clone(),
                    version_id: summary.video.version_id.clone(),
                },
            },
        };
        if let Place::Local(path) = &video {
            fs::File::open(path).map_err(|source| ViewError::Video { path: path.clone(), source })?;
        }
        let listen = |source| ViewError::Listen { port: self.port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Viewer { store, folder, manifest, video, listener: Some(listener), address })
    }

    /// Serves the page, and opens it, until the process is told to end.
    ///
    /// # Errors
    /// [`ViewError`].
    pub async fn run(&self) -> Result<(), ViewError> {
        let viewer = self.prepare(None).await?;
        let url = viewer.url();
        if let Err(error) = print(&format!("{url}\nCtrl-C ends it.\n")) {
            note(format_args!("note: cannot write to standard output: {error}; the page is {url}"));
        }
        if !self.no_open && open::that_detached(&url).is_err() {
            note(format_args!("note: no browser could be opened; open {url} yourself"));
        }
        viewer.serve().await;
        Ok(())
    }
}

/// Everything that is shown, and the port it is shown on.
pub struct Viewer {
    store: Store,
    folder: Place,
    manifest: Manifest,
    video: Place,
    /// Until it is served.
    listener: Option<TcpListener>,
    address: SocketAddr,
}

impl Viewer {
    /// The page's address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

/// Reads a document of a result.
async fn document<T: DeserializeOwned>(store: &Store, folder: &Place, name: &str) -> Result<T, ViewError> {
    let place = folder.join(name);
    let no_result = |reason: String| ViewError::NoResult { place: folder.to_string(), reason };
    let body = store.read(&place).await?.ok_or_else(|| no_result(format!("there is no {name}")))?;
    serde_json::from_slice(&body).map_err(|error| no_result(format!("{name}: {error}")))
}

/// The last part of the video's key.
fn file_name(summary: &Summary) -> &str {
    summary.video.key.rsplit('/').next().unwrap_or_default()
}

/// A file of the video's name and size: beside the results, around them, here, or in this repository.
pub(crate) fn find_video(results: &Path, summary: &Summary) -> Option<PathBuf> {
    let results = fs::canonicalize(results).unwrap_or_else(|_| results.to_owned());
    let around = results.ancestors().take(3).map(Path::to_owned);
    let sample = workspace().ok().map(|root| root.join("tests/fixtures/sample-clip"));
    let dirs = around.chain([PathBuf::new()]).chain(sample);
    // A key's own folders are tried too: a bucket is often a copy of a directory.
    let name = Path::new(file_name(summary));
    let whole = Path::new(&summary.video.key);
    // A key that leads upward, or to the root, is nobody's copy.
    let whole = if whole.components().all(|part| matches!(part, Component::Normal(_))) { whole } else { name };
    dirs.flat_map(|dir| [dir.join(name), dir.join(whole)])
        .find(|file| fs::metadata(file).is_ok_and(|facts| facts.is_file() && facts.len() == summary.video.bytes))
}

#[cfg(test)]
mod tests;
