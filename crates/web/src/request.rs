//! What happens around every request: its log line, its metrics, its slash at the end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Instant;

use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath, Request, State};
use axum::http::Uri;
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::WebState;
use crate::error::HttpError;

/// Network address of the client, or empty when the server was not told.
pub(crate) struct Peer(pub(crate) String);

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Self(address.map(|found| found.0.ip().to_string()).unwrap_or_default()))
    }
}

/// Logs and counts a request by the template of its route. The query string stays out of both: it
/// may hold a patient's name.
pub(crate) async fn observe(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();

    let response = next.run(request).await;

    let elapsed = started.elapsed();
    let status = response.status().as_u16();
    // Paths of our own routes hold UIDs and frame numbers, unless somebody typed something else
    // into one, which a route takes for a malformed UID.
    let path = (route != "unmatched" && status != 400 && status != 421).then_some(path);
    let bytes = response.body().size_hint().exact().or_else(|| {
        response.headers().get(axum::http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    });
    let duration_ms = elapsed.as_secs_f64() * 1000.0;
    let duration_ms = (duration_ms * 10.0).round() / 10.0;
    // A viewer fetches thousands of frames; their lines would bury and slow down all others.
    if status < 400 && route.contains("/frames/") {
        tracing::debug!(%method, route, path, status, duration_ms, bytes, "request answered");
    } else {
        tracing::info!(%method, route, path, status, duration_ms, bytes, "request answered");
    }
    let method = method.as_str().to_owned();
    metrics::counter!(
        "qianli_http_requests_total",
        "route" => route.clone(), "method" => method, "status" => status.to_string()
    )
    .increment(1);
    metrics::histogram!("qianli_http_request_seconds", "route" => route).record(elapsed);
    response
}

/// Turns requests away while too many are being worked on, before they cost anything.
pub(crate) async fn limit(State(state): State<WebState>, request: Request, next: Next) -> Response {
    match state.turn() {
        Some(_turn) => next.run(request).await,
        None => HttpError::unavailable("the server is busy; try again").into_response(),
    }
}

/// A DICOMweb path with a slash at its end means the same as without.
pub(crate) fn without_trailing_slash(mut request: Request<Body>) -> Request<Body> {
    let uri = request.uri();
    let path = uri.path();
    if !path.ends_with('/') || !path.starts_with("/dicom-web/") {
        return request;
    }
    let trimmed = path.trim_end_matches('/');
    let target = match uri.query() {
        Some(query) => format!("{trimmed}?{query}"),
        None => trimmed.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    if let Ok(target) = PathAndQuery::try_from(target) {
        parts.path_and_query = Some(target);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// The answer after a panic. Its message went to the log by the panic hook; here is only a 500.
pub(crate) fn after_panic(_panic: Box<dyn std::any::Any + Send>) -> Response {
    HttpError::internal("a handler panicked").into_response()
}
