//! The HTTP faces: DICOMweb under `/dicom-web`, the pages, and the node's health.
//!
//! Turns requests into calls of [`qianli_archive::Archive`] and answers into HTTP. No rule about
//! images lives here, and no listener: the binary binds, serves and stops [`router`].

pub mod access;
mod around;
mod audit;
mod caller;
mod dicomweb;
mod echo;
mod error;
pub mod facts;
mod forwarded;
mod gate;
mod headers;
mod host;
mod origin;
mod pixels;
mod portal;
pub mod rate;
mod request;
pub mod server;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::routing::get;
use qianli_archive::Archive;
use qianli_model::PerAddress;
use qianli_model::peer::Network;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_http::cors::{AllowOrigin, CorsLayer};

pub use access::Logins;
pub use caller::{BaseUrl, Caller};
pub use echo::{Echo, Echoed};
pub use error::HttpError;
pub use forwarded::TrustedProxies;

use access::Door;
use access::oidc::{Issuers, Machines, Provider};
use dicomweb::ups::Channels;
use pixels::Pixels;

/// DICOMweb requests that are worked on at once; streaming an answer does not count.
const REQUESTS_AT_ONCE: usize = 512;

/// Passwords that are computed with at once: each takes 19 MiB.
const PASSWORDS_AT_ONCE: usize = 2;

/// Largest form or JSON document that a page takes (bytes). What takes more, as STOW-RS does, reads
/// its body itself and has a limit of its own.
const MAX_FORM: usize = 256 << 10;

/// What the HTTP faces need to know beside the archive.
#[derive(Debug, Clone)]
pub struct WebConfig {
    /// URL of this node's root as clients reach it, e.g. `https://pacs.example.org`. Without it the
    /// Host header of each request decides, which is right when there is no proxy.
    pub public_url: Option<String>,
    /// Largest instance that is taken (bytes).
    pub max_part_size: u64,
    /// Largest body of one request (bytes).
    pub max_body: u64,
    /// Origins of other sites whose scripts may use DICOMweb; empty means none.
    pub cors_origins: Vec<String>,
    /// Whether clients may delete.
    pub allow_delete: bool,
    /// How people and programs log in. Without, whoever reaches the listener may do everything: for
    /// listeners on loopback only.
    pub logins: Option<Logins>,
    /// Whether people may log in by a password of this server.
    pub password_login: bool,
    /// Identity providers at which people log in.
    pub providers: Vec<Provider>,
    /// Identity providers whose tokens programs may show.
    pub machines: Vec<Machines>,
    /// Proxies whose `Forwarded` and `X-Forwarded-*` headers are believed.
    pub trusted_proxies: TrustedProxies,
    /// Requests per second from one address, of which a few seconds' worth may come at once; 0 for no
    /// limit.
    pub requests_per_second: PerAddress,
    /// Networks beyond the public internet in which tenants may register DICOMweb destinations.
    pub private_destinations: Vec<Network>,
    /// Writes a row of the audit trail as other systems read it, for exports. Without, there are none
    /// of that kind.
    pub audit_message: Option<AuditMessage>,
    /// Asks a DICOM peer whether it is there. Without, pages and programs cannot.
    pub echo: Option<Echo>,
    /// What the pages say about this node.
    pub node: NodeInfo,
}

/// Writes a row of the audit trail as an audit message of PS3.15 section A.5; the text is the AE title
/// of this node.
pub type AuditMessage = fn(&qianli_catalog::AuditRow, &str) -> String;

impl Default for WebConfig {
    fn default() -> Self {
        Self {
            public_url: None,
            max_part_size: 64 << 30,
            max_body: 256 << 30,
            cors_origins: Vec::new(),
            allow_delete: false,
            logins: None,
            password_login: true,
            providers: Vec::new(),
            machines: Vec::new(),
            trusted_proxies: TrustedProxies::default(),
            private_destinations: Vec::new(),
            requests_per_second: PerAddress { remote: 1000, loopback: 0 },
            audit_message: None,
            echo: None,
            node: NodeInfo::default(),
        }
    }
}

impl WebConfig {
    /// Checks what types cannot; [`WebState::new`] does it too.
    ///
    /// # Errors
    ///
    /// The first setting that cannot work.
    pub fn check(&self) -> Result<(), WebConfigError> {
        if let Some(url) = &self.public_url {
            let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b'<' | b'>');
            let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
            let named =
                rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', ':', '?']));
            if !named || !url.bytes().all(plain) {
                return Err(WebConfigError::PublicUrl(url.clone()));
            }
        }
        for origin in &self.cors_origins {
            let host = origin.split_once("://").map(|(_, host)| host);
            let legal = host.is_some_and(|host| !host.is_empty() && !host.contains('/'));
            if !legal || HeaderValue::from_str(origin).is_err() {
                return Err(WebConfigError::Origin(origin.clone()));
            }
        }
        Ok(())
    }
}

/// What the pages say about this node.
#[derive(Debug, Clone, Default)]
pub struct NodeInfo {
    /// AE title of the DIMSE face.
    pub aet: String,
    /// Address on which DIMSE is served, e.g. `0.0.0.0:11112`.
    pub dimse: String,
    /// Address on which HTTP is served.
    pub http: String,
    /// `sqlite` or `postgres`.
    pub database: String,
    /// Where objects are kept, without secrets.
    pub store: String,
    /// Version of the program.
    pub version: String,
    /// Folder of the OHIF viewer's files, when installed.
    pub viewer: Option<PathBuf>,
}

/// A setting that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebConfigError {
    /// The public URL is not one.
    #[error(
        "public_url = {0:?}: it must be http:// or https:// with a host, without spaces or quotes; \
         write for example public_url = \"https://images.example\""
    )]
    PublicUrl(String),
    /// An origin is not one.
    #[error(
        "cors_origins: {0:?} is no origin, which is scheme://host[:port] without a path; write for \
         example cors_origins = [\"https://viewer.example\"]"
    )]
    Origin(String),
}

struct Inner {
    archive: Archive,
    config: WebConfig,
    pixels: Pixels,
    turns: Arc<Semaphore>,
    per_address: rate::PerAddress,
    guesses: access::Guesses,
    channels: Channels,
    live: portal::Live,
    door: Door,
    audit_check: portal::Check,
    issuers: Issuers,
    hashing: Arc<Semaphore>,
}

/// What every handler can reach. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct WebState(Arc<Inner>);

impl WebState {
    /// Joins an archive and the settings.
    ///
    /// # Errors
    ///
    /// A setting cannot work.
    pub fn new(archive: Archive, config: WebConfig) -> Result<Self, WebConfigError> {
        config.check()?;
        let turns = Arc::new(Semaphore::new(REQUESTS_AT_ONCE));
        let pixels = Pixels::new(archive.workers().clone());
        let per_address = rate::PerAddress::new(config.requests_per_second);
        let guesses = access::Guesses::new();
        let channels = Channels::new();
        let live = portal::Live::new();
        let hashing = Arc::new(Semaphore::new(PASSWORDS_AT_ONCE));
        let door = Door::new();
        let audit_check = portal::Check::default();
        let issuers = Issuers::new(&config.providers, &config.machines);
        let inner = Inner {
            archive,
            config,
            pixels,
            turns,
            per_address,
            guesses,
            channels,
            live,
            door,
            audit_check,
            issuers,
            hashing,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// The archive.
    pub fn archive(&self) -> &Archive {
        &self.0.archive
    }

    /// The settings.
    pub fn config(&self) -> &WebConfig {
        &self.0.config
    }

    pub(crate) fn pixels(&self) -> &Pixels {
        &self.0.pixels
    }

    /// Where receivers of event reports are connected.
    pub(crate) fn channels(&self) -> &Channels {
        &self.0.channels
    }

    /// Where worklists are open.
    pub(crate) fn live(&self) -> &portal::Live {
        &self.0.live
    }

    /// Ends the lines of open worklists, so that a node that stops need not wait for them.
    pub fn close_live(&self) {
        self.0.live.close();
    }

    /// What is remembered of those who were let in.
    pub(crate) fn door(&self) -> &Door {
        &self.0.door
    }

    /// What is remembered of identity providers.
    pub(crate) fn issuers(&self) -> &Issuers {
        &self.0.issuers
    }

    /// Whether the audit trail was proven.
    pub(crate) fn audit_check(&self) -> &portal::Check {
        &self.0.audit_check
    }

    /// Turns to compute with passwords.
    pub(crate) fn hashing(&self) -> &Arc<Semaphore> {
        &self.0.hashing
    }

    /// Failed logins by address.
    pub(crate) fn guesses(&self) -> &access::Guesses {
        &self.0.guesses
    }

    /// How often addresses may ask.
    pub(crate) fn per_address(&self) -> &rate::PerAddress {
        &self.0.per_address
    }

    /// A place among the requests that are worked on, or `None` when all are taken.
    pub(crate) fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.turns).try_acquire_owned().ok()
    }
}

/// Every HTTP face of the node. [`server::serve`] runs it and tells it the address of each sender,
/// which provenance records.
pub fn router(state: WebState) -> Router {
    let open = |path| gate::Gate::page(&state, path, access::Needs::Nothing);
    let mut router = Router::new()
        .nest("/dicom-web", dicomweb::router(&state))
        .route("/healthz", get(async || "ok\n").route_layer(open("/healthz")))
        .route("/readyz", get(readyz).route_layer(open("/readyz")))
        .merge(portal::router(&state))
        .method_not_allowed_fallback(async || {
            let message = "this method is not allowed here";
            HttpError::new(StatusCode::METHOD_NOT_ALLOWED, message)
        });
    if !state.config().cors_origins.is_empty() {
        router = router.layer(cors(&state.config().cors_origins));
    }
    let router = router.with_state(state.clone());
    Router::new().fallback_service(around::Around::new(state, router))
}

/// Says whether instances can be stored and found now. The load balancer's question.
async fn readyz(State(state): State<WebState>) -> Result<&'static str, HttpError> {
    match state.archive().ready().await {
        Ok(()) => Ok("ready\n"),
        Err(cause) => {
            tracing::warn!(%cause, "not ready");
            // The part in front of the colon names what is down; the rest is for our log.
            let what = cause.split(':').next().unwrap_or_default().to_owned();
            Err(HttpError::unavailable(format!("not ready: {what}")))
        }
    }
}

fn cors(origins: &[String]) -> CorsLayer {
    let origins: Vec<HeaderValue> =
        origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::OPTIONS,
        ])
        .allow_headers([
            header::ACCEPT,
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_NONE_MATCH,
        ])
        .expose_headers([
            header::CONTENT_LENGTH,
            header::CONTENT_LOCATION,
            header::ETAG,
            header::LOCATION,
            header::WARNING,
            dicomweb::TOTAL_COUNT,
        ])
}

#[cfg(test)]
mod tests;
