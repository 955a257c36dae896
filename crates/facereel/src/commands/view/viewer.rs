//! The results and the videos that are shown.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use aws_config::SdkConfig;
use lambdas::layout;
use local_stack::Progress;
use tokio::net::TcpListener;

use super::{View, catalogue::Catalogue, error::ViewError, video::command_line};
use crate::stored::{Location, LocationReader, StoredResult, file_name, find_video, is_idempotency_key};

/// The number of results that are kept open. A manifest has up to 0.7 MB, and a summary up to 8 MB.
const OPEN_RESULTS: usize = 8;

/// A server that has opened its port, and the content that it serves.
pub struct Viewer {
    pub(super) listener: TcpListener,
    pub(super) site: Site,
}

/// What the server serves.
pub(super) struct Site {
    /// The address of the server.
    pub(super) address: SocketAddr,
    /// The command line that starts the server again with the same address.
    pub(super) command: String,
    /// The list of results; `None`, if the command has named one result, or has found only one.
    pub(super) catalogue: Option<Catalogue>,
    /// The results that were opened, the last one used last. Without a catalogue, there is only number 0.
    open: Mutex<Vec<Open>>,
}

/// A result that was opened.
struct Open {
    number: usize,
    /// The date of the result in the listing: a result that is written again has another one.
    date: Option<SystemTime>,
    content: Arc<Content>,
}

/// A result and its video.
pub(super) struct Content {
    pub(super) result: StoredResult,
    /// `None`, if it is not on this machine.
    pub(super) video: Option<Location>,
}

impl Viewer {
    /// Finds the results and the video, and opens the port; nothing is served yet. Objects in S3 are read with the
    /// configuration `aws`, or, if there is none, the user's own.
    ///
    /// # Errors
    /// [`ViewError`].
    pub(super) async fn prepare(
        view: &View,
        aws: Option<&SdkConfig>,
        progress: &dyn Progress,
    ) -> Result<Self, ViewError> {
        let View { results, video, port, target, .. } = view;
        let port = *port;
        let reader = LocationReader::new(&target.account_without_stack(), aws);
        let root = Location::parse_root(results)?;
        let (catalogue, folder) = if let Some(folder) = result_folder(&root) {
            (None, Some(folder))
        } else {
            let catalogue = Catalogue::list(reader.clone(), root, target, aws, progress).await?;
            match catalogue.only_result().and_then(|number| catalogue.result(number)) {
                Some((folder, _)) => (None, Some(folder)),
                None => (Some(catalogue), None),
            }
        };
        let mut open = Vec::new();
        match (folder, video) {
            (Some(folder), video) => {
                let result = StoredResult::open_in(reader, folder).await?;
                let video = Some(video_of(&result, video.as_deref(), results)?);
                open.push(Open { number: 0, date: None, content: Arc::new(Content { result, video }) });
            }
            (None, Some(video)) => {
                return Err(ViewError::VideoOfMany { results: results.clone(), video: video.clone() });
            }
            (None, None) => {}
        }
        let listen = |source| ViewError::Listen { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let command = command_line(view, address.port());
        Ok(Self { listener, site: Site { address, command, catalogue, open: Mutex::new(open) } })
    }

    /// The URL of the page: of the only result, of the newest result of the only video, or of the catalogue.
    #[must_use]
    pub fn url(&self) -> String {
        let newest = self.site.catalogue.as_ref().and_then(Catalogue::newest_of_one_video);
        let page = newest.map(|number| format!("results/{number}/")).unwrap_or_default();
        format!("http://{}/{page}", self.site.address)
    }
}

impl Site {
    /// The only result; `None`, if the command shows a catalogue.
    pub(super) fn only_result(&self) -> Option<Arc<Content>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.first().filter(|_| self.catalogue.is_none()).map(|open| Arc::clone(&open.content))
    }

    /// The result with this number. `None`, if there is no such result.
    ///
    /// # Errors
    /// [`ViewError::Stored`], if it cannot be read.
    pub(super) async fn result(&self, number: usize) -> Result<Option<Arc<Content>>, ViewError> {
        let listed = match &self.catalogue {
            Some(catalogue) => match catalogue.result(number) {
                Some((folder, date)) => Some((folder, date, catalogue.reader())),
                None => return Ok(None),
            },
            None => None,
        };
        let date = listed.as_ref().and_then(|(_, date, _)| *date);
        {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(position) = open.iter().position(|one| one.number == number && one.date == date) {
                let found = open.remove(position);
                let content = Arc::clone(&found.content);
                open.push(found);
                return Ok(Some(content));
            }
        }
        let Some((folder, date, reader)) = listed else { return Ok(None) };
        let result = StoredResult::open_in(reader.clone(), folder).await?;
        let video = stored_video(&result);
        let content = Arc::new(Content { result, video });
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|one| one.number != number);
        open.push(Open { number, date, content: Arc::clone(&content) });
        let excess = open.len().saturating_sub(OPEN_RESULTS);
        open.drain(..excess);
        Ok(Some(content))
    }
}

/// The folder of one result, if this is the location of one: a directory with a manifest, the location of a manifest, or a folder
/// in S3 that ends with an idempotency key.
fn result_folder(root: &Location) -> Option<Location> {
    let is_result = match root {
        Location::Local(path) => path.ends_with(layout::MANIFEST) || path.join(layout::MANIFEST).is_file(),
        Location::S3 { key, .. } => {
            let name = key.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            name == layout::MANIFEST || is_idempotency_key(name)
        }
    };
    is_result.then(|| root.clone().folder())
}

/// The video that the user has named, or else that of the result, which must exist if it is on this machine.
fn video_of(result: &StoredResult, named: Option<&str>, results: &str) -> Result<Location, ViewError> {
    let video = match named {
        Some(video) => Location::parse(video)?,
        None => stored_video(result).ok_or_else(|| ViewError::NoVideo {
            name: file_name(&result.summary).to_owned(),
            bytes: result.summary.video.bytes,
            results: results.to_owned(),
        })?,
    };
    if let Location::Local(path) = &video {
        fs::File::open(path).map_err(|source| ViewError::Video { path: path.clone(), source })?;
    }
    Ok(video)
}

/// The video of a result: an object in S3, or a file near the result. `None`, if there is no such file.
fn stored_video(result: &StoredResult) -> Option<Location> {
    let summary = &result.summary;
    match &result.folder {
        Location::Local(dir) => find_video(dir, summary).map(Location::Local),
        Location::S3 { .. } => Some(Location::S3 {
            bucket: summary.video.bucket.clone(),
            key: summary.video.key.clone(),
            version_id: summary.video.version_id.clone(),
        }),
    }
}
