//! The scripts of the player: ES modules, which import each other by their names.

use axum::{
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

/// The names and texts of the modules.
macro_rules! modules {
    ($($name:literal),* $(,)?) => { [$(($name, include_str!(concat!("player/", $name)))),*] };
}

/// Every module, except `view.js`, which imports them.
pub(super) const MODULES: [(&str, &str); 13] = modules![
    "compare.js",
    "files.js",
    "follow.js",
    "lanes.js",
    "list.js",
    "moment.js",
    "playback.js",
    "samples.js",
    "server.js",
    "stage.js",
    "time.js",
    "timeline.js",
    "tracks.js",
];

/// A module by its name.
pub(super) async fn module(Path(name): Path<String>) -> Response {
    match MODULES.iter().find(|(module, _)| *module == name) {
        Some((_, text)) => ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], *text).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
