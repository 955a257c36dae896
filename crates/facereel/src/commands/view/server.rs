//! The HTTP server: a fixed set of paths, for browsers on this machine only.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::stream;
use tower_http::services::ServeFile;

use super::{
    error::ViewError,
    player,
    video::Session,
    viewer::{Content, Viewer},
};
use crate::stored::Location;
use crate::terminal::note;

/// The state of every handler.
type ContentState = State<Arc<Content>>;

const JSON: &str = "application/json";
const PAGE: &str = include_str!("index.html");
const STYLE: &str = include_str!("view.css");
const SCRIPT: &str = include_str!("view.js");

/// Headers of every response. The page loads only from this server, runs only its own script and cannot be framed. Pages of
/// other sites can neither show the video nor read the results.
const SECURITY_HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; media-src 'self'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];

impl Viewer {
    /// Serves until the future is dropped.
    pub async fn serve(self) {
        let Self { listener, content } = self;
        let content = Arc::new(content);
        let asset = |kind: &'static str, text: &'static str| get(async move || ([(header::CONTENT_TYPE, kind)], text));
        let app = Router::new()
            .route("/", asset("text/html; charset=utf-8", PAGE))
            .route("/view.css", asset("text/css; charset=utf-8", STYLE))
            .route("/view.js", asset("text/javascript; charset=utf-8", SCRIPT))
            .route("/player/{module}", get(player::module))
            // The result has its original names, so that the links of the report work.
            .route(
                "/manifest.json",
                get(async |State(content): ContentState| content.document("manifest.json", JSON).await),
            )
            .route(
                "/summary.json",
                get(async |State(content): ContentState| content.document("summary.json", JSON).await),
            )
            .route("/report.html", get(report))
            .route("/faces/{page}", get(faces))
            .route("/tracks/{file}", get(tracks))
            .route("/video", get(video))
            .route("/session.json", get(session))
            .layer(middleware::from_fn_with_state(Arc::clone(&content), guard))
            .with_state(content);
        if let Err(error) = axum::serve(listener, app).await {
            note(format_args!("note: the page is no longer served: {error}"));
        }
    }
}

/// Rejects requests with another host name: a foreign site whose name resolves to 127.0.0.1 (DNS rebinding) must not read
/// the results.
async fn guard(State(content): ContentState, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let port = content.address.port();
    let mut response = match host {
        Some(host) if host == format!("127.0.0.1:{port}") || host == format!("localhost:{port}") => {
            next.run(request).await
        }
        _ => (StatusCode::MISDIRECTED_REQUEST, "this server accepts only requests to 127.0.0.1 or localhost")
            .into_response(),
    };
    for (name, value) in SECURITY_HEADERS {
        // The report has its own, stricter policy.
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// A page by its number. The manifest contains the number of pages.
async fn faces(State(content): ContentState, Path(page): Path<String>) -> Result<Response, ViewError> {
    content.numbered("faces", &page, content.result.manifest.pages.len()).await
}

/// A file with tracks by its number. The manifest of an older result contains none.
async fn tracks(State(content): ContentState, Path(file): Path<String>) -> Result<Response, ViewError> {
    content.numbered("tracks", &file, content.result.manifest.tracks.as_ref().map_or(0, Vec::len)).await
}

/// What the page cannot read from the results.
async fn session(State(content): ContentState) -> Json<Session> {
    Json(content.session().await)
}

async fn report(State(content): ContentState) -> Result<Response, ViewError> {
    let mut response = content.document("report.html", "text/html; charset=utf-8").await?;
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

impl Content {
    /// One of the `count` files of a folder, such as `00000.jsonl`.
    async fn numbered(&self, folder: &str, name: &str, count: usize) -> Result<Response, ViewError> {
        match name.strip_suffix(".jsonl").and_then(|number| number.parse::<usize>().ok()) {
            Some(number) if number < count => {
                self.document(&format!("{folder}/{number:05}.jsonl"), "application/jsonl").await
            }
            _ => Ok(StatusCode::NOT_FOUND.into_response()),
        }
    }

    async fn document(&self, name: &str, kind: &'static str) -> Result<Response, ViewError> {
        Ok(match self.result.reader.read(&self.result.folder.join(name)).await? {
            Some(body) => ([(header::CONTENT_TYPE, kind)], body).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        })
    }
}

/// The video, or the range of it that the browser requests.
async fn video(State(content): ContentState, request: Request) -> Result<Response, ViewError> {
    let mut response = match &content.video {
        Location::Local(path) => match ServeFile::new(path).try_call(request).await {
            Ok(response) => response.into_response(),
            Err(source) => return Err(ViewError::Video { path: path.clone(), source }),
        },
        location @ Location::S3 { .. } => {
            let range = request.headers().get(header::RANGE).and_then(|range| range.to_str().ok());
            let Some(object) = content.result.reader.get(location, range).await? else {
                return Ok(StatusCode::NOT_FOUND.into_response());
            };
            let status = if object.content_range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
            let mut response = Response::builder().status(status).header(header::ACCEPT_RANGES, "bytes");
            if let Some(range) = object.content_range {
                response = response.header(header::CONTENT_RANGE, range);
            }
            if let Some(length) = object.content_length {
                response = response.header(header::CONTENT_LENGTH, length);
            }
            let chunks = stream::try_unfold(object.body, async |mut body| {
                let chunk = body.try_next().await?;
                Ok::<_, aws_sdk_s3::primitives::ByteStreamError>(chunk.map(|chunk| (chunk, body)))
            });
            response.body(Body::from_stream(chunks)).unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response())
        }
    };
    // Browsers that do not accept `video/quicktime` can play an H.264 .mov as `video/mp4`.
    if response.status().is_success() {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("video/mp4"));
    }
    Ok(response)
}

impl IntoResponse for ViewError {
    fn into_response(self) -> Response {
        (StatusCode::BAD_GATEWAY, self.to_string()).into_response()
    }
}
