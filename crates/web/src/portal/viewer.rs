//! The OHIF viewer: its files, its configuration, and every path that nobody else answers.
//!
//! OHIF's bundle asks for its files at the root path, so they are served there, behind all routes of
//! our own. Its pages live below `/ohif`, where its router is told to start, so that `/` stays
//! ours; `/viewer?StudyInstanceUIDs=…`, the address that everybody knows, opens there too.

use std::path::Path;

use askama::Template;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tower::ServiceExt;
use tower_http::services::{ServeDir, ServeFile};

use super::page::Frame;
use super::viewer_tag;
use crate::WebState;
use crate::error::HttpError;
use crate::headers;

/// OHIF's settings for this server, all paths relative to it. The first lines bring
/// `/viewer?…` under `/ohif` before OHIF's router looks at the address.
const CONFIGURATION: &str = include_str!("../../static/app-config.js");

#[derive(Template)]
#[template(path = "no_viewer.html")]
struct MissingPage<'a> {
    frame: &'a Frame,
}

/// `GET /app-config.js`.
pub(super) async fn config() -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, CONFIGURATION).into_response()
}

/// Every page of the viewer: `/viewer…` and everything below `/ohif`.
pub(super) async fn open(
    State(state): State<WebState>,
    frame: Frame,
    request: Request,
) -> Response {
    let Some(folder) = &state.config().node.viewer else {
        let frame = frame.at("viewer");
        return frame.answer(StatusCode::OK, &MissingPage { frame: &frame });
    };
    let path = folder.join("index.html");
    let index = ServeFile::new(&path).precompressed_br().precompressed_gzip();
    let serve = async |request| match index.oneshot(request).await {
        Ok(response) => response.into_response(),
        Err(never) => match never {},
    };
    let mut response = viewer_tag::serve(&path, request, serve).await;
    if response.status().is_client_error() {
        return frame.failed("the viewer's index.html cannot be read");
    }
    let document = tokio::fs::read_to_string(&path).await.unwrap_or_default();
    let given = response.headers_mut();
    given.insert(header::CONTENT_SECURITY_POLICY, headers::viewer(&document));
    given.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// A file of the viewer, or the page that says that nothing is here.
pub(super) async fn file(
    State(state): State<WebState>,
    frame: Frame,
    request: Request,
) -> Response {
    let path = request.uri().path().to_owned();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    // The document of the viewer is only given out where its router knows what to do with it, and
    // hidden files are the unpacker's.
    let public = path != "/index.html" && !path.contains("/.");
    if let Some(folder) = &state.config().node.viewer
        && reads
        && public
        && Path::new(&path).extension().is_some()
        && let Some(response) = viewer_file(folder, &path, request).await
    {
        return response;
    }
    if path.starts_with("/dicom-web") || !reads {
        return HttpError::not_found("there is no such resource").into_response();
    }
    frame.missing()
}

async fn viewer_file(folder: &Path, path: &str, request: Request) -> Option<Response> {
    let files = ServeDir::new(folder)
        .append_index_html_on_directories(false)
        .precompressed_br()
        .precompressed_gzip();
    let serve = async |request| match files.oneshot(request).await {
        Ok(response) => response.into_response(),
        Err(never) => match never {},
    };
    let plain = percent_encoding::percent_decode_str(path.trim_start_matches('/'));
    let on_disk = folder.join(plain.decode_utf8_lossy().as_ref());
    let mut response = viewer_tag::serve(&on_disk, request, serve).await;
    if response.status() == StatusCode::NOT_FOUND {
        return None;
    }
    let caching = if is_hashed(path) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let given = response.headers_mut();
    given.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    let policy = HeaderValue::from_static(headers::VIEWER);
    given.insert(header::CONTENT_SECURITY_POLICY, policy);
    Some(response)
}

/// Whether a name carries the hash of its content: sixteen hexadecimal digits or more between dots,
/// as OHIF's build writes them.
fn is_hashed(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.split('.').any(|part| part.len() >= 16 && part.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_hash_are_told_from_others() {
        for (path, hashed) in [
            ("/app.bundle.0f6159c501addfe9.js", true),
            ("/0ddf166f7a343eda.wasm", true),
            ("/app.bundle.css", false),
            ("/1602.css", false),
            ("/assets/favicon.ico", false),
            ("/0ddf166f7a343eda/x.js", false),
        ] {
            assert_eq!(is_hashed(path), hashed, "{path}");
        }
    }
}
