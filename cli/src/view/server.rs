//! The server: a fixed set of addresses, for this machine's own browser alone.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::stream;
use serde_json::json;
use tower_http::services::ServeFile;

use super::{ViewError, Viewer, place::Place};

const PAGE: &str = include_str!("index.html");
const STYLE: &str = include_str!("view.css");
const SCRIPT: &str = include_str!("view.js");

/// The page loads from this server alone, runs its own script alone, and lies in nobody's frame. No other site's page
/// may show the video or read the results.
const PROTECTION: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; media-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

impl Viewer {
    /// Serves until the future is dropped.
    pub async fn serve(self) {
        let Self { listener, .. } = &self;
        let listener = listener.local_addr();
        let _ = listener;
        todo!()
    }
}
