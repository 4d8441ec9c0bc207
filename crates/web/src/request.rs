//! What happens around every request: its log line, its metrics, its slash at the end.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, FromRequestParts, Request};
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Response};
use tracing::field::display;

use crate::error::HttpError;
use crate::gate::{Passed, count_unmatched};

/// Network address of the client, or empty when the server was not told.
pub(crate) struct Peer(pub(crate) String);

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Self(address.map(|found| found.0.ip().to_string()).unwrap_or_default()))
    }
}

/// The log line of a request, and its place in the metrics; both by the template of its route. The
/// query string stays out of both: it may hold a patient's name.
pub(crate) struct Line {
    started: Instant,
    method: Method,
    uri: Uri,
    /// Address of the client, once it is known.
    pub(crate) peer: Option<IpAddr>,
}

impl Line {
    pub(crate) fn begin(request: &Request) -> Self {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        Self { started: Instant::now(), method, uri, peer: None }
    }

    pub(crate) fn end(self, response: &Response) {
        let Self { started, method, uri, peer } = self;
        let elapsed = started.elapsed();
        let status = response.status().as_u16();
        let passage = response.extensions().get::<Passed>().map(|Passed(passage)| passage);
        match passage {
            Some(passage) => passage.count(&method, status, elapsed),
            None => count_unmatched(&method, status, elapsed),
        }
        let route = passage.map_or("unmatched", |passage| passage.route());
        // Paths of our own routes hold UIDs and frame numbers, unless somebody typed something else
        // into one, which a route takes for a malformed UID.
        let path = (passage.is_some() && status != 400 && status != 421).then(|| uri.path());
        // What opens a share link is a secret.
        let path = path.map(|path| if route.starts_with("/l/") { route } else { path });
        let bytes = response
            .body()
            .size_hint()
            .exact()
            .or_else(|| response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok());
        let peer = peer.map(display);
        let duration_ms = elapsed.as_secs_f64() * 1000.0;
        let duration_ms = (duration_ms * 10.0).round() / 10.0;
        // A viewer fetches thousands of frames; their lines would bury and slow down all others.
        if status < 400 && route.contains("/frames/") {
            tracing::debug!(
                %method, route, path, status, duration_ms, bytes, peer, "request answered"
            );
        } else {
            tracing::info!(
                %method, route, path, status, duration_ms, bytes, peer, "request answered"
            );
        }
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
pub(crate) fn after_panic(_panic: &(dyn std::any::Any + Send)) -> Response {
    HttpError::internal("a handler panicked").into_response()
}
