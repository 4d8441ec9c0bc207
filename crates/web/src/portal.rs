//! The pages: what is here, studies, one study, and the way into the viewer. Rendered on the
//! server, in Chinese and English, with one small script; nothing is loaded from elsewhere.
//!
//! Not here: DICOMweb, which the pages' pictures and the viewer use, and any rule about what may be
//! seen (see [`crate::caller`]).

mod api;
mod assets;
mod documents;
mod format;
mod home;
mod language;
mod page;
mod studies;
mod study;
mod text;
mod viewer;
mod viewer_tag;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::get;

use crate::WebState;

/// Whether a request would rather read Chinese than English, for pages that are not ours to frame.
pub(crate) fn prefers_chinese(query: &str, headers: &HeaderMap) -> bool {
    language::Language::choose(query, headers) == language::Language::Chinese
}

/// One component group of a person name as people write it, on every page alike.
pub(crate) fn spoken_name(group: &str) -> String {
    format::spoken(group)
}

/// Routes of the pages, of the viewer, and the fallback for every other path.
pub fn router() -> Router<WebState> {
    Router::new()
        .route("/", get(home::show))
        .route("/api", get(api::show))
        .route("/studies", get(studies::show))
        .route("/studies/", get(studies::show))
        .route("/studies/{study}", get(study::show))
        .route("/static/{hash}/{name}", get(assets::serve))
        .route("/favicon.ico", get(assets::icon))
        .route("/app-config.js", get(viewer::config))
        .route("/viewer", get(viewer::open))
        .route("/viewer/", get(viewer::open))
        .route("/viewer/{*rest}", get(viewer::open))
        .route("/ohif", get(viewer::open))
        .route("/ohif/", get(viewer::open))
        .route("/ohif/{*rest}", get(viewer::open))
        .fallback(viewer::file)
}
