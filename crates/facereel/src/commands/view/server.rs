//! The HTTP server: a fixed set of paths, for browsers on this machine only. Results are numbered.
//!
//! | path | content |
//! |---|---|
//! | `/` | the catalogue; with one result, a redirect to its page |
//! | `/catalogue.json`, `/facts?of=1,2` | the rows of the catalogue, and what is read from the summaries of some results |
//! | `/refresh` (POST) | lists the results again |
//! | `/results/<n>/` | the page of a result, and below it the files of the result and the video |
//! | `/assets/` | the scripts and styles of the pages |

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use futures_util::stream;
use serde::Deserialize;
use tower_http::services::ServeFile;

use super::{
    error::ViewError,
    player,
    video::Session,
    viewer::{Content, Site, Viewer},
};
use crate::stored::Location;
use crate::terminal::note;

/// The state of every handler.
type SiteState = State<Arc<Site>>;

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The page of a result.
const PLAYER: &str = include_str!("index.html");
/// The page that lists the results.
const CATALOGUE: &str = include_str!("catalogue/catalogue.html");

/// The files below `/assets/`: name, type and content.
const ASSETS: [(&str, &str, &str); 4] = [
    ("view.css", CSS, include_str!("view.css")),
    ("view.js", SCRIPT, include_str!("view.js")),
    ("catalogue.css", CSS, include_str!("catalogue/catalogue.css")),
    ("catalogue.js", SCRIPT, include_str!("catalogue/catalogue.js")),
];

/// Where the page of a result links to the catalogue, if there is one.
const START_OF_PLAYER: &str = "<main>";
const LINK_TO_CATALOGUE: &str = r#"<nav aria-label="Results"><a href="../../">All results</a></nav>"#;

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
        let Self { listener, site } = self;
        let site = Arc::new(site);
        let app = Router::new()
            .route("/", get(start))
            .route("/assets/{name}", get(asset))
            .route("/assets/player/{module}", get(player::module))
            .route("/catalogue.json", get(catalogue))
            .route("/facts", get(facts))
            .route("/refresh", post(refresh))
            .route("/results/{result}", get(async |Path(result): Path<usize>| Redirect::temporary(&page_of(result))))
            .route("/results/{result}/", get(player_page))
            // A result has its original names, so that the links of the report work.
            .route("/results/{result}/manifest.json", get(manifest))
            .route("/results/{result}/summary.json", get(summary))
            .route("/results/{result}/report.html", get(report))
            .route("/results/{result}/faces/{page}", get(faces))
            .route("/results/{result}/tracks/{file}", get(tracks))
            .route("/results/{result}/video", get(video))
            .route("/results/{result}/session.json", get(session))
            .layer(middleware::from_fn_with_state(Arc::clone(&site), guard))
            .with_state(site);
        if let Err(error) = axum::serve(listener, app).await {
            note(format_args!("note: the page is no longer served: {error}"));
        }
    }
}

/// Rejects requests with another host name: a foreign site whose name resolves to 127.0.0.1 (DNS rebinding) must not read
/// the results.
async fn guard(State(site): SiteState, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let port = site.address.port();
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

/// The path of the page of a result.
fn page_of(result: usize) -> String {
    format!("/results/{result}/")
}

/// The catalogue, or the page of the only result.
async fn start(State(site): SiteState) -> Response {
    match &site.catalogue {
        Some(_) => ([(header::CONTENT_TYPE, HTML)], CATALOGUE).into_response(),
        None => Redirect::temporary(&page_of(0)).into_response(),
    }
}

async fn asset(Path(name): Path<String>) -> Response {
    match ASSETS.iter().find(|(known, ..)| *known == name) {
        Some((_, kind, text)) => ([(header::CONTENT_TYPE, *kind)], *text).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The rows of the catalogue.
async fn catalogue(State(site): SiteState) -> Result<Response, ViewError> {
    Ok(match &site.catalogue {
        Some(catalogue) => ([(header::CONTENT_TYPE, JSON)], catalogue.document()?).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    })
}

/// The query of `/facts`.
#[derive(Deserialize)]
struct FactsQuery {
    /// The numbers of results, with commas.
    of: String,
}

/// The facts of some results.
async fn facts(State(site): SiteState, Query(FactsQuery { of }): Query<FactsQuery>) -> Response {
    let numbers: Result<Vec<usize>, _> = of.split(',').map(str::parse).collect();
    match (&site.catalogue, numbers) {
        (Some(catalogue), Ok(numbers)) => Json(catalogue.facts(numbers).await).into_response(),
        (Some(_), Err(_)) => StatusCode::BAD_REQUEST.into_response(),
        (None, _) => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Lists the results again, which takes time and can cost calls to S3. Only the page itself can request it: browsers send this header
/// with every request, and other sites cannot change it.
async fn refresh(State(site): SiteState, request: Request) -> Result<Response, ViewError> {
    let origin = request.headers().get("sec-fetch-site").and_then(|origin| origin.to_str().ok());
    match &site.catalogue {
        Some(_) if origin != Some("same-origin") => Ok(StatusCode::FORBIDDEN.into_response()),
        Some(catalogue) => {
            catalogue.refresh().await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        None => Ok(StatusCode::NOT_FOUND.into_response()),
    }
}

/// The page of a result.
async fn player_page(State(site): SiteState, Path(result): Path<usize>) -> Result<Response, ViewError> {
    Ok(match (&site.catalogue, site.result(result).await?) {
        (_, None) => StatusCode::NOT_FOUND.into_response(),
        (None, Some(_)) => ([(header::CONTENT_TYPE, HTML)], PLAYER).into_response(),
        (Some(_), Some(_)) => {
            let page = PLAYER.replacen(START_OF_PLAYER, &format!("{START_OF_PLAYER}\n{LINK_TO_CATALOGUE}"), 1);
            ([(header::CONTENT_TYPE, HTML)], page).into_response()
        }
    })
}

async fn manifest(State(site): SiteState, Path(result): Path<usize>) -> Result<Response, ViewError> {
    site.document(result, "manifest.json", JSON).await
}

async fn summary(State(site): SiteState, Path(result): Path<usize>) -> Result<Response, ViewError> {
    site.document(result, "summary.json", JSON).await
}

/// A page by its number. The manifest contains the number of pages.
async fn faces(State(site): SiteState, Path((result, page)): Path<(usize, String)>) -> Result<Response, ViewError> {
    let Some(content) = site.result(result).await? else { return Ok(StatusCode::NOT_FOUND.into_response()) };
    content.numbered("faces", &page, content.result.manifest.pages.len()).await
}

/// A file with tracks by its number. The manifest of an older result contains none.
async fn tracks(State(site): SiteState, Path((result, file)): Path<(usize, String)>) -> Result<Response, ViewError> {
    let Some(content) = site.result(result).await? else { return Ok(StatusCode::NOT_FOUND.into_response()) };
    content.numbered("tracks", &file, content.result.manifest.tracks.as_ref().map_or(0, Vec::len)).await
}

/// What the page cannot read from the results.
async fn session(State(site): SiteState, Path(result): Path<usize>) -> Result<Response, ViewError> {
    Ok(match site.result(result).await? {
        Some(content) => Json(Session::of(&site, &content).await).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    })
}

async fn report(State(site): SiteState, Path(result): Path<usize>) -> Result<Response, ViewError> {
    let mut response = site.document(result, "report.html", HTML).await?;
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

impl Site {
    /// A document of a result.
    async fn document(&self, result: usize, name: &str, kind: &'static str) -> Result<Response, ViewError> {
        match self.result(result).await? {
            Some(content) => content.document(name, kind).await,
            None => Ok(StatusCode::NOT_FOUND.into_response()),
        }
    }
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
async fn video(State(site): SiteState, Path(result): Path<usize>, request: Request) -> Result<Response, ViewError> {
    let content = site.result(result).await?;
    let Some((content, video)) = content.as_ref().and_then(|content| Some((content, content.video.as_ref()?))) else {
        return Ok((StatusCode::NOT_FOUND, "the video was not found near its result").into_response());
    };
    let mut response = match video {
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
