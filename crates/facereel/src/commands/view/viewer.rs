//! The results and the video that are shown.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
};

use aws_config::SdkConfig;
use tokio::net::TcpListener;

use super::{View, error::ViewError, video::command_line};
use crate::stored::{Location, StoredResult, file_name, find_video};

/// A server that has opened its port, and the content that it serves.
pub struct Viewer {
    pub(super) listener: TcpListener,
    pub(super) content: Content,
}

/// The results and the video to show.
pub(super) struct Content {
    pub(super) result: StoredResult,
    pub(super) video: Location,
    /// The address of the server.
    pub(super) address: SocketAddr,
    /// The command line that starts the server again with the same address.
    pub(super) command: String,
}

impl Viewer {
    /// Finds the results and the video, and opens the port; nothing is served yet. Objects in S3 are read with the
    /// configuration `aws`, or, if there is none, the user's own.
    ///
    /// # Errors
    /// [`ViewError`].
    pub(super) async fn prepare(view: &View, aws: Option<&SdkConfig>) -> Result<Self, ViewError> {
        let View { results, video, port, account, .. } = view;
        let (video, port) = (video.as_deref(), *port);
        let result = StoredResult::open(results, account, aws).await?;
        let summary = &result.summary;
        let video = match video {
            Some(video) => Location::parse(video)?,
            None => match &result.folder {
                Location::Local(dir) => {
                    Location::Local(find_video(dir, summary).ok_or_else(|| ViewError::NoVideo {
                        name: file_name(summary).to_owned(),
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
        let command = command_line(view, address.port());
        Ok(Self { listener, content: Content { result, video, address, command } })
    }

    /// The URL of the page.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.content.address)
    }
}
