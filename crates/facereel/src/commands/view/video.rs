//! What the server knows about the video that is shown, and the page cannot read from the results.

use std::path::Path;

use serde::Serialize;

use super::{
    View,
    viewer::{Content, Site, Viewer},
};
use crate::stored::{Location, LocationReader};
use crate::terminal::text::{invocation, quoted};

/// `session.json`, for the page.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Session {
    /// The command line that starts this server again.
    command: String,
    /// The size of the video in bytes; `None`, if it cannot be read.
    video_bytes: Option<u64>,
}

impl Session {
    /// The session of the page of this result.
    pub(super) async fn of(site: &Site, content: &Content) -> Self {
        let video_bytes = match &content.video {
            Some(video) => video_bytes(&content.result.reader, video).await,
            None => None,
        };
        Self { command: site.command.clone(), video_bytes }
    }
}

impl Viewer {
    /// How the video of the only result differs from the one that was analysed, as a sentence; `None`, if it has the same size, if the
    /// size cannot be read, or if there are several results.
    pub(super) async fn difference(&self) -> Option<String> {
        let content = self.site.only_result()?;
        let (result, video) = (&content.result, content.video.as_ref()?);
        let analysed = &result.summary.video;
        let bytes = video_bytes(&result.reader, video).await.filter(|bytes| *bytes != analysed.bytes)?;
        Some(format!(
            "{video} has {bytes} bytes, and the analysed video {} had {}: boxes can be wrong; name the analysed file",
            analysed.key, analysed.bytes
        ))
    }
}

/// The size of a file, or of an object, for which one byte of it is read. `None`, if it cannot be read.
async fn video_bytes(reader: &LocationReader, video: &Location) -> Option<u64> {
    match video {
        Location::Local(path) => Some(tokio::fs::metadata(path).await.ok()?.len()),
        Location::S3 { .. } => {
            let object = reader.get(video, Some("bytes=0-0")).await.ok()??;
            object.content_range?.rsplit('/').next()?.parse().ok()
        }
    }
}

/// The command line that shows the same results on the same port.
pub(super) fn command_line(view: &View, port: u16) -> String {
    let View { results, video, target, .. } = view;
    let mut command = format!("{} view --no-open --port {port}", invocation());
    for (option, value) in target.options() {
        command = format!("{command} {option} {}", quoted(Path::new(value)));
    }
    for location in [Some(results), video.as_ref()].into_iter().flatten() {
        command = format!("{command} {}", quoted(Path::new(location)));
    }
    command
}
