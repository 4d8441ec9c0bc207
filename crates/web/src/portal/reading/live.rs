//! The live worklist: steps of reading tasks as server-sent events (HTML, section 9.2).
//!
//! Steps wait in the catalog, so nothing is queued here: one watcher on each node looks for a later one twice a second,
//! whichever node made it, and each open page reads its own from where it was. A browser that comes back says where
//! that is (`Last-Event-ID`).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use qianli_catalog::Catalog;
use qianli_catalog::reading::Step;
use qianli_model::{Permission, Scope};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::sleep;

use super::super::format::instant;
use crate::WebState;
use crate::access::Standing;
use crate::caller::Caller;
use crate::error::HttpError;

/// Open pages at once.
const PLACES: usize = 512;

/// How often a node looks whether another one has made a step.
const LOOK: Duration = Duration::from_millis(500);

/// How often an open page hears that the line is there, and whether its reader would still be let in.
const STANDING: Duration = Duration::from_secs(5);

/// Steps read at once.
const PAGE: u32 = 100;

/// After which time a browser that lost the line comes back.
const RETRY: Duration = Duration::from_secs(1);

/// Position that says that the node stops.
const STOPPED: i64 = i64::MAX;

/// What the open pages of a node share.
pub(crate) struct Live {
    places: Arc<Semaphore>,
    shared: Arc<Shared>,
}

struct Shared {
    /// The latest position that was seen.
    newest: watch::Sender<i64>,
    /// Wakes the watcher before its time.
    nudge: Notify,
    /// Whether the watcher runs. It does while pages are open.
    watching: Mutex<bool>,
}

impl Live {
    pub(crate) fn new() -> Self {
        let shared = Shared {
            newest: watch::Sender::new(0),
            nudge: Notify::new(),
            watching: Mutex::new(false),
        };
        Self { places: Arc::new(Semaphore::new(PLACES)), shared: Arc::new(shared) }
    }

    /// Says that this node has just made a step.
    pub(crate) fn nudge(&self) {
        self.shared.nudge.notify_one();
    }

    /// Ends every line: the node stops, and browsers go on at another.
    pub(crate) fn close(&self) {
        self.shared.newest.send_replace(STOPPED);
    }

    fn watch(&self, catalog: &Catalog) -> watch::Receiver<i64> {
        let mut watching = self.shared.watching.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = self.shared.newest.subscribe();
        if !*watching {
            *watching = true;
            tokio::spawn(look(Arc::clone(&self.shared), catalog.clone()));
        }
        receiver
    }
}

/// Looks for later steps of any node until no page is open. One small query at a time, however many there are.
async fn look(shared: Arc<Shared>, catalog: Catalog) {
    loop {
        tokio::select! {
            () = shared.nudge.notified() => {}
            () = sleep(LOOK) => {}
        }
        {
            let mut watching = shared.watching.lock().unwrap_or_else(PoisonError::into_inner);
            if shared.newest.receiver_count() == 0 || *shared.newest.borrow() == STOPPED {
                *watching = false;
                return;
            }
        }
        match catalog.newest_reading_event().await {
            Ok(newest) => {
                shared.newest.send_if_modified(|known| {
                    let later = newest > *known;
                    *known = newest.max(*known);
                    later
                });
            }
            Err(error) => tracing::warn!(%error, "steps of reading tasks cannot be looked for"),
        }
    }
}

/// Where a line begins.
#[derive(Deserialize)]
pub(in crate::portal) struct From {
    after: Option<i64>,
}

/// `GET /reading/live` and `GET /api/reading/events`.
pub(in crate::portal) async fn open(
    State(state): State<WebState>,
    caller: Caller,
    standing: Standing,
    headers: HeaderMap,
    Query(from): Query<From>,
) -> Result<Response, HttpError> {
    let Ok(place) = Arc::clone(&state.live().places).try_acquire_owned() else {
        return Err(HttpError::unavailable("too many worklists are open; try again"));
    };
    let catalog = state.archive().catalog().clone();
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
    let position = match last.or(from.after) {
        Some(position) => position,
        None => catalog.newest_reading_event().await?,
    };
    let newest = state.live().watch(&catalog);
    let scope = caller.scope.clone();
    let line = Line {
        catalog,
        state,
        standing,
        scope,
        position,
        newest,
        waiting: VecDeque::new(),
        begun: false,
        _place: place,
    };
    let events = stream::unfold(line, async |mut line: Line| {
        line.next().await.map(|event| (Ok::<_, Infallible>(event), line))
    });
    let mut response = Sse::new(events).into_response();
    let given = response.headers_mut();
    given.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that gather answers would hold events back.
    given.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// An open page.
struct Line {
    catalog: Catalog,
    state: WebState,
    standing: Standing,
    scope: Scope,
    /// Position of the last step that was read.
    position: i64,
    newest: watch::Receiver<i64>,
    /// Steps that were read and not sent.
    waiting: VecDeque<Step>,
    begun: bool,
    _place: OwnedSemaphorePermit,
}

impl Line {
    /// What is sent next; `None` when the line ends: the node stops, or the reader is no longer let in.
    async fn next(&mut self) -> Option<Event> {
        if !self.begun {
            self.begun = true;
            return Some(Event::default().retry(RETRY).comment("open"));
        }
        loop {
            if let Some(step) = self.waiting.pop_front() {
                return Some(event(&step));
            }
            let stopped = *self.newest.borrow_and_update() == STOPPED;
            let found = self.catalog.reading_events_after(&self.scope, self.position, PAGE).await;
            match found {
                Ok(steps) if !steps.is_empty() => {
                    self.position = steps.last().map_or(self.position, |step| step.sequence);
                    self.waiting.extend(steps);
                    // What is read is sent to whoever may still see it.
                    if !self.stands().await {
                        return None;
                    }
                    continue;
                }
                Ok(_) if stopped => return None,
                Ok(_) => {}
                // The browser comes back, with the position that it has.
                Err(_) => return None,
            }
            tokio::select! {
                changed = self.newest.changed() => {
                    if changed.is_err() {
                        return None;
                    }
                }
                () = sleep(STANDING) => {
                    if !self.stands().await {
                        return None;
                    }
                    return Some(Event::default().comment("here"));
                }
            }
        }
    }

    async fn stands(&self) -> bool {
        self.standing.holds(&self.state, Permission::Worklist).await.unwrap_or(false)
    }
}

/// Numbers and names of people who read; nothing of patients.
fn event(step: &Step) -> Event {
    let data =
        json!({"task": step.task, "did": step.did, "by": step.by, "at": instant(step.at_ms)});
    Event::default().id(step.sequence.to_string()).event("task").data(data.to_string())
}
