//! What stands in front of every route: its guard, and what it leaves in the audit trail. Both are
//! settled when the router is made; a request passes them in one step.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use metrics::{Counter, Histogram};
use qianli_model::audit::Action;
use tokio::sync::OwnedSemaphorePermit;
use tower::{Layer, Service};

use crate::access::{Needs, guard, guard_page};
use crate::audit::{self, Noting};
use crate::dicomweb::params;
use crate::error::HttpError;
use crate::{WebState, caller::Caller};

/// Longest form of a page (bytes).
const FORM: usize = 16 << 10;

/// On which face of the node a route lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Face {
    Dicomweb,
    Pages,
}

/// One route as the gate knows it.
pub(crate) struct Passage {
    state: WebState,
    face: Face,
    needs: Needs,
    /// The template of its path, as logs and metrics name it.
    route: Arc<str>,
    /// The same without what stands before all routes of its face, which is cut off before the gate.
    path: &'static str,
    /// What is done by reading it, and by anything else.
    reading: Option<Action>,
    changing: Option<Action>,
    /// Meters of the commonest case: GET with status 200.
    answered: OnceLock<Counter>,
    seconds: OnceLock<Histogram>,
}

impl Passage {
    /// The template of the route's path.
    pub(crate) fn route(&self) -> &str {
        &self.route
    }

    /// Counts an answer.
    pub(crate) fn count(&self, method: &Method, status: u16, elapsed: Duration) {
        let seconds = || metrics::histogram!(SECONDS, "route" => Arc::clone(&self.route));
        self.seconds.get_or_init(seconds).record(elapsed);
        let counter = || counter(Arc::clone(&self.route), method, status);
        if method == Method::GET && status == 200 {
            self.answered.get_or_init(counter).increment(1);
        } else {
            counter().increment(1);
        }
    }

    fn action(&self, method: &Method) -> Option<Action> {
        if audit::is_read(method) { self.reading } else { self.changing }
    }

    /// What the request is refused for, or what it holds while it is worked on.
    fn admit(&self, request: &Request) -> Result<Option<OwnedSemaphorePermit>, Box<Response>> {
        let caller = request.extensions().get::<Caller>();
        // What programs ask is answered to programs, not sent to the login.
        if self.face == Face::Pages && !self.path.starts_with("/api/") {
            return guard_page(self.needs, caller, request.uri()).map(|()| None);
        }
        let held = self.state.turn();
        let held = held
            .ok_or_else(|| HttpError::unavailable("the server is busy; try again"))
            .and_then(|held| params::check(request.uri()).map(|()| held))
            .and_then(|held| guard(self.needs, caller).map(|()| held));
        held.map(Some).map_err(|error| error.into_response().into())
    }
}

const SECONDS: &str = "qianli_http_request_seconds";

fn counter(route: Arc<str>, method: &Method, status: u16) -> Counter {
    // Clients make up methods; each name would be kept for ever.
    let method = match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    };
    let status = status.to_string();
    metrics::counter!(
        "qianli_http_requests_total", "route" => route, "method" => method, "status" => status
    )
}

/// Counts an answer that no route gave.
pub(crate) fn count_unmatched(method: &Method, status: u16, elapsed: Duration) {
    counter(Arc::from("unmatched"), method, status).increment(1);
    metrics::histogram!(SECONDS, "route" => "unmatched").record(elapsed);
}

/// Puts a gate in front of a route.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Passage>);

impl Gate {
    /// In front of a route of DICOMweb; `path` is relative to `/dicom-web`.
    pub(crate) fn dicomweb(
        state: &WebState,
        method: &Method,
        path: &'static str,
        needs: Needs,
    ) -> Self {
        let route = format!("/dicom-web{path}");
        Self::new(state, Face::Dicomweb, route, path, needs, method)
    }

    /// In front of a page.
    pub(crate) fn page(state: &WebState, path: &'static str, needs: Needs) -> Self {
        Self::new(state, Face::Pages, path.to_owned(), path, needs, &Method::POST)
    }

    fn new(
        state: &WebState,
        face: Face,
        route: String,
        path: &'static str,
        needs: Needs,
        method: &Method,
    ) -> Self {
        let reading = audit::action(&Method::GET, &route);
        let changing = audit::action(method, &route);
        let route = route.into();
        let (answered, seconds) = (OnceLock::new(), OnceLock::new());
        let state = state.clone();
        Self(Arc::new(Passage {
            state,
            face,
            needs,
            route,
            path,
            reading,
            changing,
            answered,
            seconds,
        }))
    }
}

impl Layer<Route> for Gate {
    type Service = Gated;

    fn layer(&self, inner: Route) -> Gated {
        Gated { passage: Arc::clone(&self.0), inner }
    }
}

/// A route behind its gate.
#[derive(Clone)]
pub(crate) struct Gated {
    passage: Arc<Passage>,
    inner: Route,
}

/// Tells what stands around the router which route answered.
#[derive(Clone)]
pub(crate) struct Passed(pub(crate) Arc<Passage>);

impl Service<Request> for Gated {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Routes are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let passage = Arc::clone(&self.passage);
        let noting =
            passage.action(request.method()).and_then(|action| Noting::begin(&request, action));
        let other_charset =
            passage.face == Face::Dicomweb && params::wants_other_charset(request.headers());
        let answer = match passage.admit(&request) {
            Ok(held) => {
                if passage.face == Face::Pages {
                    DefaultBodyLimit::max(FORM).apply(&mut request);
                }
                Ok((held, self.inner.call(request)))
            }
            Err(refusal) => Err(refusal),
        };
        Box::pin(async move {
            let mut response = match answer {
                Ok((_held, answer)) => answer.await?,
                Err(refusal) => *refusal,
            };
            if other_charset {
                params::warn_of_charset(&mut response);
            }
            if let Some(noting) = noting {
                response = noting.end(&passage.state, passage.path, response).await;
            }
            response.extensions_mut().insert(Passed(passage));
            Ok(response)
        })
    }
}
