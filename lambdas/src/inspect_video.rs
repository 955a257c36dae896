//! inspect-video: inspects the video that an execution's input names, once for the whole execution.
//!
//! A retry, a heartbeat or a redrive of a later state uses the content that was inspected here. Otherwise a video that is
//! overwritten during its analysis would be analysed as another content, and the result of the first one, which is paid for,
//! would be lost.

use serde::Deserialize;
use serde_json::Value;
use tracing::{Span, field::Empty};

use crate::{
    aws::{Clients, ErrorName as _},
    input,
    video::{InspectError, Video},
};

/// The payload of the `InspectVideo` state.
#[derive(Debug, Deserialize)]
pub struct InspectVideo {
    /// The name of the execution.
    pub execution_name: String,
    /// The input of the execution: [`input::location`] reads it.
    pub input: Value,
}

/// Inspects the video and returns the content that the other states use.
///
/// # Errors
/// [`InspectError`] says why the video cannot be analysed.
#[tracing::instrument(skip_all, fields(execution_name = request.execution_name, key = Empty))]
pub async fn inspect_video(clients: &Clients, request: InspectVideo) -> Result<Video, InspectError> {
    let inspected = inspect(clients, request.input).await;
    match &inspected {
        Ok(video) => tracing::info!(bytes = video.bytes, "the video can be analysed"),
        Err(error) => tracing::warn!(error = error.error_name(), cause = %error, "the video cannot be analysed"),
    }
    inspected
}

async fn inspect(clients: &Clients, input: Value) -> Result<Video, InspectError> {
    let location = input::location(input)?;
    Span::current().record("key", &location.key);
    Video::inspect(&clients.s3, &location).await
}
