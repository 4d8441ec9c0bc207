//! The notification connection (PS3.18 sections 8.10.4 and 8.10.5): a WebSocket on which a receiver
//! gets its event reports.
//!
//! Reports wait in the catalog, so nothing is queued here: a connection reads a page when there is
//! something new, sends it, and reads the next. What a receiver has is known by its answer to a ping
//! that follows each page; whoever connects again continues there, on whichever node. A receiver that
//! takes nothing, or says nothing, is let go.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use qianli_catalog::{Catalog, CatalogError};
use qianli_model::workitem::report;
use qianli_model::{AeTitle, Permission, Scope};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, interval, sleep, timeout};

use super::aet;
use crate::WebState;
use crate::access::Standing;
use crate::caller::Caller;
use crate::error::HttpError;
use crate::origin::SameSite;

/// Connections at once.
const PLACES: usize = 512;

/// How often a node looks whether another one has left reports.
const LOOK: Duration = Duration::from_millis(500);

/// Reports read at once.
const PAGE: u32 = 100;

/// How long one report may take to leave.
const SEND: Duration = Duration::from_secs(10);

/// How often it is asked whether a receiver would still be let in.
const STANDING: Duration = Duration::from_secs(4);

/// How often a receiver is asked for a sign of life, and how long it may be silent.
const PING: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_secs(60);

/// Most bytes of a message from a receiver, which has nothing to say.
const MAX_MESSAGE: usize = 4 * 1024;

/// What the connections of a node share: their number, and how far the reports go.
pub(crate) struct Channels {
    places: Arc<Semaphore>,
    shared: Arc<Shared>,
}

struct Shared {
    /// The newest position that was seen.
    newest: watch::Sender<i64>,
    /// Wakes the watcher before its time.
    nudge: Notify,
    /// Whether the watcher runs. It does while there are connections.
    watching: Mutex<bool>,
}

impl Channels {
    pub(crate) fn new() -> Self {
        let shared = Shared {
            newest: watch::Sender::new(0),
            nudge: Notify::new(),
            watching: Mutex::new(false),
        };
        Self { places: Arc::new(Semaphore::new(PLACES)), shared: Arc::new(shared) }
    }

    /// Says that this node has just left reports.
    pub(crate) fn nudge(&self) {
        self.shared.nudge.notify_one();
    }

    fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Changes when there are new reports for anybody.
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

/// Looks for new reports of any node until nobody wants to know. One small query at a time, however
/// many connections there are.
async fn look(shared: Arc<Shared>, catalog: Catalog) {
    loop {
        tokio::select! {
            () = shared.nudge.notified() => {}
            () = sleep(LOOK) => {}
        }
        {
            let mut watching = shared.watching.lock().unwrap_or_else(PoisonError::into_inner);
            if shared.newest.receiver_count() == 0 {
                *watching = false;
                return;
            }
        }
        match catalog.newest_workitem_event().await {
            Ok(newest) => {
                shared.newest.send_if_modified(|known| {
                    let later = newest > *known;
                    *known = newest.max(*known);
                    later
                });
            }
            Err(error) => tracing::warn!(%error, "event reports cannot be looked for"),
        }
    }
}

/// `GET /subscribers/{aetitle}`.
pub(super) async fn open(
    State(state): State<WebState>,
    caller: Caller,
    standing: Standing,
    _site: SameSite,
    Path(title): Path<String>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, HttpError> {
    let aet = aet(&title)?;
    let Ok(upgrade) = upgrade else {
        let message = "event reports come over a WebSocket; open this URL as one";
        let error = HttpError::new(StatusCode::UPGRADE_REQUIRED, message);
        let mut response = error.into_response();
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        return Ok(response);
    };
    let Some(place) = state.channels().place() else {
        return Err(HttpError::unavailable("too many receivers are connected; try again"));
    };
    let upgrade = upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let catalog = state.archive().catalog();
        let newest = state.channels().watch(catalog);
        let connection = Connection {
            socket,
            catalog: catalog.clone(),
            state: state.clone(),
            standing,
            scope: caller.scope.clone(),
            aet,
            sent: 0,
            confirmed: 0,
            message: 0,
            heard: Instant::now(),
        };
        tracing::info!(receiver = %connection.aet, "a receiver of event reports connected");
        let (aet, end) = (connection.aet.clone(), connection.run(newest).await);
        tracing::info!(receiver = %aet, ?end, "a receiver of event reports left");
        drop(place);
    }))
}

/// Why a connection ended.
#[derive(Debug)]
enum End {
    /// The receiver closed it or went away.
    Left,
    /// The receiver did not take what was sent, or gave no sign of life.
    TooSlow,
    /// The catalog did not answer.
    Unavailable,
    /// Its session or token ended, or lost the permission.
    TurnedAway,
    /// The receiver sent what is no WebSocket (RFC 6455 section 7.4.1).
    Protocol,
    /// The receiver sent data, which has no meaning here.
    Data,
    /// The receiver sent text that is not UTF-8.
    NotText,
    /// The receiver sent a message that is longer than any it can need.
    TooLong,
}

impl End {
    /// What the receiver is told (RFC 6455 section 7.4.1).
    fn close(&self) -> (u16, &'static str) {
        match self {
            Self::Left => (close_code::NORMAL, ""),
            Self::TooSlow => (close_code::POLICY, "event reports were not taken in time"),
            Self::Unavailable => (close_code::AGAIN, "the server cannot answer now"),
            Self::TurnedAway => (close_code::POLICY, "this login has ended"),
            Self::Protocol => (close_code::PROTOCOL, "this is not the WebSocket protocol"),
            Self::Data => (close_code::UNSUPPORTED, "nothing is received here but control frames"),
            Self::NotText => (close_code::INVALID, "text that is not UTF-8"),
            Self::TooLong => (close_code::SIZE, "the message is too long"),
        }
    }
}

impl From<axum::Error> for End {
    fn from(error: axum::Error) -> Self {
        use tungstenite::Error;
        use tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;
        match error.into_inner().downcast_ref::<Error>() {
            Some(Error::Protocol(ResetWithoutClosingHandshake)) | None => Self::Left,
            Some(Error::Protocol(_) | Error::AttackAttempt) => Self::Protocol,
            Some(Error::Capacity(_)) => Self::TooLong,
            Some(Error::Utf8(_)) => Self::NotText,
            Some(_) => Self::Left,
        }
    }
}

impl From<CatalogError> for End {
    fn from(error: CatalogError) -> Self {
        tracing::warn!(%error, "event reports cannot be read");
        Self::Unavailable
    }
}

struct Connection {
    socket: WebSocket,
    catalog: Catalog,
    state: WebState,
    standing: Standing,
    scope: Scope,
    aet: AeTitle,
    /// Position of the last report that was sent.
    sent: i64,
    /// Position that the receiver has.
    confirmed: i64,
    /// Message ID (0000,0110) of the last report.
    message: u16,
    /// When the receiver last said anything.
    heard: Instant,
}

impl Connection {
    async fn run(mut self, newest: watch::Receiver<i64>) -> End {
        let end = match self.converse(newest).await {
            Ok(()) => End::Left,
            Err(end) => end,
        };
        let (code, reason) = end.close();
        let frame = CloseFrame { code, reason: reason.into() };
        // Politeness only; whoever does not listen does not hear it.
        let _ =
            timeout(Duration::from_secs(1), self.socket.send(Message::Close(Some(frame)))).await;
        end
    }

    async fn converse(&mut self, mut newest: watch::Receiver<i64>) -> Result<(), End> {
        self.sent = self.catalog.delivered(&self.scope, &self.aet).await?;
        self.confirmed = self.sent;
        let mut pings = interval(PING);
        pings.tick().await;
        let mut looks = interval(STANDING);
        looks.tick().await;
        loop {
            newest.borrow_and_update();
            self.drain().await?;
            tokio::select! {
                changed = newest.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                incoming = self.socket.recv() => match incoming {
                    None | Some(Ok(Message::Close(_))) => return Ok(()),
                    Some(Ok(message)) => self.heard(message).await?,
                    Some(Err(error)) => return Err(error.into()),
                },
                _ = looks.tick() => {
                    // Who was let in once is not let in for ever.
                    match self.standing.holds(&self.state, Permission::Worklist).await {
                        Ok(true) => {}
                        Ok(false) => return Err(End::TurnedAway),
                        Err(_) => return Err(End::Unavailable),
                    }
                }
                _ = pings.tick() => {
                    if self.heard.elapsed() > SILENCE {
                        return Err(End::TooSlow);
                    }
                    self.ping().await?;
                }
            }
        }
    }

    /// Sends what there is.
    async fn drain(&mut self) -> Result<(), End> {
        loop {
            let page =
                self.catalog.workitem_events(&self.scope, &self.aet, self.sent, PAGE).await?;
            if page.is_empty() {
                return Ok(());
            }
            for event in page {
                self.message = self.message.checked_add(1).unwrap_or(1);
                let text = report(&event.workitem, event.kind, &event.attributes, self.message);
                self.send(Message::Text(text.into())).await?;
                self.sent = event.sequence;
            }
            self.ping().await?;
        }
    }

    /// Asks for a sign of life that says what has arrived: it comes back as it was sent, and after
    /// everything before it.
    async fn ping(&mut self) -> Result<(), End> {
        let position = Bytes::copy_from_slice(&self.sent.to_be_bytes());
        self.send(Message::Ping(position)).await
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(SEND, self.socket.send(message)).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(End::TooSlow),
        }
    }

    async fn heard(&mut self, message: Message) -> Result<(), End> {
        self.heard = Instant::now();
        let position = match message {
            Message::Pong(position) => position,
            Message::Binary(_) => return Err(End::Data),
            _ => return Ok(()),
        };
        let Ok(position) = <[u8; 8]>::try_from(position.as_ref()) else { return Ok(()) };
        let position = i64::from_be_bytes(position);
        if position > self.confirmed && position <= self.sent {
            self.confirmed = position;
            self.catalog.confirm_delivery(&self.scope, &self.aet, position).await?;
        }
        Ok(())
    }
}
