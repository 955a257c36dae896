//! Results that are stored: read from a directory, as `facereel run` writes it, or from S3.

mod error;
mod facts;
mod listing;
mod location;
mod video;

use aws_config::SdkConfig;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use lambdas::{
    layout,
    results::{Manifest, Summary, Track},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use error::StoredError;
pub use facts::SummaryFacts;
pub(crate) use listing::is_idempotency_key;
pub use listing::{ListedResult, ListedState, Listing};
pub use location::{Location, LocationReader};
pub(crate) use video::name_of;
pub use video::{VIDEO_FILE, VideoFile, file_name, find_file, find_video};

use crate::deployed::Account;

/// The most objects that are requested before their lines are needed: at most about 4 MB each.
const AHEAD: usize = 4;

/// A complete result. Its pages and tracks are read on demand, one object at a time.
#[derive(Debug)]
pub struct StoredResult {
    /// Reads the objects of the result, and others of the same account.
    pub reader: LocationReader,
    /// The folder that contains the result.
    pub folder: Location,
    /// Its manifest.
    pub manifest: Manifest,
    /// Its summary.
    pub summary: Summary,
}

impl StoredResult {
    /// Opens the result in a directory or in `s3://<bucket>/results/<key>/<idempotency key>/`. Objects in S3 are read with
    /// the configuration `aws`, or, if there is none, that of the account.
    ///
    /// # Errors
    /// [`StoredError`].
    pub async fn open(results: &str, account: &Account, aws: Option<&SdkConfig>) -> Result<Self, StoredError> {
        let reader = LocationReader::new(account, aws);
        Self::open_in(reader, Location::parse(results)?.folder()).await
    }

    /// Opens the result in a folder.
    ///
    /// # Errors
    /// [`StoredError`].
    pub async fn open_in(reader: LocationReader, folder: Location) -> Result<Self, StoredError> {
        let manifest = read_document(&reader, &folder, layout::MANIFEST).await?;
        let summary = read_document(&reader, &folder, "summary.json").await?;
        Ok(Self { reader, folder, manifest, summary })
    }

    /// Every line of the pages, in order: Rekognition's `FaceDetection`.
    pub fn faces(&self) -> impl Stream<Item = Result<Value, StoredError>> {
        self.lines("faces", self.manifest.pages.len())
    }

    /// Every line of the tracks, in order. A result without tracks, of before there were any, has none.
    pub fn tracks(&self) -> impl Stream<Item = Result<Track, StoredError>> {
        self.lines("tracks", self.manifest.tracks.as_ref().map_or(0, Vec::len))
    }

    /// The lines of the `count` objects `<kind>/00000.jsonl` and so on. Some objects are requested before they are needed, because a
    /// response of S3 takes longer than reading its lines; a line is parsed when it is needed.
    fn lines<T: DeserializeOwned>(&self, kind: &str, count: usize) -> impl Stream<Item = Result<T, StoredError>> {
        stream::iter((0..count).map(move |index| format!("{kind}/{index:05}.jsonl")))
            .map(async |name| Ok::<_, StoredError>((self.document(&name).await?, name)))
            .buffered(AHEAD)
            .map_ok(move |(body, name)| {
                let mut start = 0;
                stream::iter(std::iter::from_fn(move || {
                    while let Some(rest) = body.get(start..).filter(|rest| !rest.is_empty()) {
                        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
                        start += line.len() + 1;
                        if !line.is_empty() {
                            let parsed = serde_json::from_slice(line);
                            return Some(parsed.map_err(|error| no_result(&self.folder, &name, &error)));
                        }
                    }
                    None
                }))
            })
            .try_flatten()
    }

    /// The content of a file or object of the result.
    async fn document(&self, name: &str) -> Result<Vec<u8>, StoredError> {
        read(&self.reader, &self.folder, name).await
    }
}

/// Reads a JSON document of a result.
async fn read_document<T: DeserializeOwned>(
    reader: &LocationReader,
    folder: &Location,
    name: &str,
) -> Result<T, StoredError> {
    let body = read(reader, folder, name).await?;
    serde_json::from_slice(&body).map_err(|error| no_result(folder, name, &error))
}

/// The content of a file or object that must exist.
async fn read(reader: &LocationReader, folder: &Location, name: &str) -> Result<Vec<u8>, StoredError> {
    reader
        .read(&folder.join(name))
        .await?
        .ok_or_else(|| StoredError::NoResult { location: folder.to_string(), reason: format!("there is no {name}") })
}

/// The error for a document with other content than expected.
fn no_result(folder: &Location, name: &str, error: &serde_json::Error) -> StoredError {
    StoredError::NoResult { location: folder.to_string(), reason: format!("{name}: {error}") }
}
