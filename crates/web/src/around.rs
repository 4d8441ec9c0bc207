//! What stands around every request, outside the router: one service, in which each step is a plain
//! call. As layers of the router each step would cost every request a boxed service and a boxed
//! future, which together took longer than a small search.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tower::Service;
use tower_http::CompressionLevel;
use tower_http::compression::Compression;

use crate::request::Line;
use crate::{MAX_FORM, WebState, access, forwarded, headers, host, rate, request};

/// JSON and text shorter than this is not worth compressing (bytes).
const COMPRESS_FROM: u64 = 1024;

/// Whether an answer is worth compressing.
type Worth = fn(StatusCode, Version, &HeaderMap, &Extensions) -> bool;

/// The router, and what happens before and after it.
#[derive(Clone)]
pub(crate) struct Around {
    state: WebState,
    inner: Compression<Router, Worth>,
}

impl Around {
    pub(crate) fn new(state: WebState, router: Router) -> Self {
        let worth: Worth = is_worth_compressing;
        let inner =
            Compression::new(router).quality(CompressionLevel::Fastest).compress_when(worth);
        Self { state, inner }
    }

    async fn answer(mut self, request: Request) -> Response {
        // These change the path, which decides the route.
        let request = request::without_trailing_slash(access::below_tenant(request));
        let of_link = request.extensions().get::<access::LinkPath>().is_some();
        let mut line = Line::begin(&request);
        let mut https = false;
        let passing = AssertUnwindSafe(self.pass(request, &mut line, &mut https)).catch_unwind();
        let mut response = passing.await.unwrap_or_else(|panic| request::after_panic(&*panic));
        // Phones are lent and shared.
        if of_link {
            let no_store = HeaderValue::from_static("no-store");
            response.headers_mut().insert(header::CACHE_CONTROL, no_store);
        }
        headers::complete(&mut response, https);
        line.end(&response);
        response
    }

    /// The way in; whoever is turned away on it does not reach the router.
    async fn pass(&mut self, mut request: Request, line: &mut Line, https: &mut bool) -> Response {
        match forwarded::resolve(&self.state, &mut request) {
            Ok(reached) => *https = reached.https,
            Err(error) => return error.into_response(),
        }
        let peer = peer(&request);
        line.peer = peer;
        if let Err(wait) = rate::limit(&self.state, peer) {
            return rate::too_many(wait, "too many requests from this address; try again later");
        }
        if let Err(error) = host::check(&self.state, &request) {
            return error.into_response();
        }
        DefaultBodyLimit::max(MAX_FORM).apply(&mut request);
        match access::identify(&self.state, &request, peer) {
            Ok(found) => {
                let found = match found {
                    access::Found::Known(caller) => Ok(caller),
                    access::Found::Ask(question) => question.ask(&self.state).await,
                };
                match found {
                    Ok(Some(caller)) => drop(request.extensions_mut().insert(caller)),
                    Ok(None) => {}
                    Err(error) => return error.into_response(),
                }
            }
            Err(error) => return error.into_response(),
        }
        match self.inner.call(request).await {
            Ok(response) => response.map(Body::new),
            Err(never) => match never {},
        }
    }
}

impl Service<Request> for Around {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Routers are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let answer = self.clone().answer(request);
        Box::pin(async move { Ok(answer.await) })
    }
}

/// Address of the client, when the server was told.
fn peer(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())
}

/// Text and JSON shrink; pixels do not, and compressing them would cost what range reads save.
fn is_worth_compressing(
    _status: StatusCode,
    _version: Version,
    headers: &HeaderMap,
    _extensions: &Extensions,
) -> bool {
    const TYPES: &[&str] = &[
        "application/dicom+json",
        "application/json",
        "application/javascript",
        "image/svg+xml",
        "text/",
    ];
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let short = text(header::CONTENT_LENGTH)
        .and_then(|length| length.parse::<u64>().ok())
        .is_some_and(|length| length < COMPRESS_FROM);
    let media = text(header::CONTENT_TYPE).unwrap_or_default();
    !short && TYPES.iter().any(|prefix| media.starts_with(prefix))
}
