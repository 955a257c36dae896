//! The results and the video that are shown.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Component, Path, PathBuf},
};

use aws_config::SdkConfig;
use lambdas::results::{Manifest, Summary};
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;

use super::{
    View,
    error::ViewError,
    location::{Location, LocationReader},
};
use local_stack::Installation;

/// A server that has opened its port, and the content that it serves.
pub struct Viewer {
    pub(super) listener: TcpListener,
    pub(super) content: Content,
}

/// The results and the video to show.
pub(super) struct Content {
    pub(super) reader: LocationReader,
    pub(super) folder: Location,
    pub(super) manifest: Manifest,
    pub(super) video: Location,
    /// The address of the server.
    pub(super) address: SocketAddr,
}

impl Viewer {
    /// Finds the results and the video, and opens the port; nothing is served yet. Objects in S3 are read with the
    /// configuration `aws`, or, if there is none, the user's own.
    ///
    /// # Errors
    /// [`ViewError`].
    pub(super) async fn prepare(
        View { results, video, port, account, .. }: &View,
        aws: Option<&SdkConfig>,
    ) -> Result<Self, ViewError> {
        let (video, port) = (video.as_deref(), *port);
        let reader = LocationReader::new(account, aws);
        let folder = Location::parse(results)?.folder();
        let manifest: Manifest = read_document(&reader, &folder, "manifest.json").await?;
        let summary: Summary = read_document(&reader, &folder, "summary.json").await?;
        let video = match video {
            Some(video) => Location::parse(video)?,
            None => match &folder {
                Location::Local(dir) => {
                    Location::Local(find_video(dir, &summary).ok_or_else(|| ViewError::NoVideo {
                        name: file_name(&summary).to_owned(),
                        bytes: summary.video.bytes,
                        results: results.clone(),
                    })?)
                }
                Location::S3 { .. } => Location::S3 {
                    bucket: summary.video.bucket.clone(),
                    key: summary.video.key.clone(),
                    version_id: summary.video.version_id.clone(),
                },
            },
        };
        if let Location::Local(path) = &video {
            fs::File::open(path).map_err(|source| ViewError::Video { path: path.clone(), source })?;
        }
        let listen = |source| ViewError::Listen { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Self { listener, content: Content { reader, folder, manifest, video, address } })
    }

    /// The URL of the page.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.content.address)
    }
}

/// Reads a JSON document of a result.
async fn read_document<T: DeserializeOwned>(
    reader: &LocationReader,
    folder: &Location,
    name: &str,
) -> Result<T, ViewError> {
    let location = folder.join(name);
    let no_result = |reason: String| ViewError::NoResult { location: folder.to_string(), reason };
    let body = reader.read(&location).await?.ok_or_else(|| no_result(format!("there is no {name}")))?;
    serde_json::from_slice(&body).map_err(|error| no_result(format!("{name}: {error}")))
}

/// The last part of the key of the video.
fn file_name(summary: &Summary) -> &str {
    summary.video.key.rsplit('/').next().unwrap_or_default()
}

/// Finds the file with the name and size of the video: in the directory of the results, in its parent and the parent of
/// that, in the current directory, or in the sample clip's directory.
pub(crate) fn find_video(results: &Path, summary: &Summary) -> Option<PathBuf> {
    let results = fs::canonicalize(results).unwrap_or_else(|_| results.to_owned());
    let parents = results.ancestors().take(3).map(Path::to_owned);
    let sample = Installation::find().ok().map(|installation| installation.sample_clip());
    let dirs = parents.chain([PathBuf::new()]).chain(sample);
    // The whole key is tried too, because a bucket is often a copy of a directory.
    let name = Path::new(file_name(summary));
    let key = Path::new(&summary.video.key);
    // A key with `..`, or an absolute one, is not tried: it would lead outside of these directories.
    let key = if key.components().all(|part| matches!(part, Component::Normal(_))) { key } else { name };
    dirs.flat_map(|dir| [dir.join(name), dir.join(key)]).find(|file| {
        fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.len() == summary.video.bytes)
    })
}
