//! Who is behind a request: a token, a session, or, without logins, whoever sits at this machine.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, Uri, header};
use qianli_catalog::access::{Session, Tenant};
use qianli_catalog::grants::ShareLink;
use qianli_catalog::{AuditEntry, CatalogError};
use qianli_model::audit::{Action, Outcome};
use qianli_model::grant::Viewer;
use qianli_model::scope::Principal;
use qianli_model::{Permission, Permissions, Role, Scope, TenantId};
use serde_json::json;

use super::{Logins, now_ms, oidc, secret};
use crate::WebState;
use crate::caller::{Caller, Identity, Person};
use crate::error::HttpError;

/// How long an answer of the catalog about a secret may be used: what was revoked through another
/// node ends after this at the latest.
const FRESH: Duration = Duration::from_secs(5);

/// How often the use of a session or token is noted (ms).
const NOTED: i64 = 60_000;

/// Longest secret of ours that is looked at (bytes).
const LONGEST: usize = 256;

/// Longest Authorization header that is looked at (bytes): tokens of identity providers are long.
const LONGEST_HEADER: usize = 16 << 10;

/// The tenant that the path of a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TenantPath(pub(crate) String);

/// The share link below whose path a request is: its key, as the path writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkPath(pub(crate) String);

/// Who holds a secret, as the catalog last said.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) tenant: Tenant,
    pub(super) principal: Principal,
    pub(super) permissions: Permissions,
    person: Option<Person>,
    /// For whom grants are looked up, where the tenant is not the caller's own.
    viewer: Option<Viewer>,
}

/// What a caller is remembered by: a digest of the secret, what kind it is, the tenant that the path
/// names, and the address.
type Key = [u8; 32];

/// What is remembered of callers. Wrong secrets are not: there are too many.
pub(crate) struct Door {
    known: quick_cache::sync::Cache<Key, (Instant, Caller)>,
}

impl Door {
    pub(crate) fn new() -> Self {
        Self { known: quick_cache::sync::Cache::new(8192) }
    }

    /// Forgets everything: something was revoked or changed here.
    pub(crate) fn forget(&self) {
        self.known.clear();
    }

    fn remembers(&self, key: &Key) -> Option<Caller> {
        self.known.get(key).filter(|(at, _)| at.elapsed() < FRESH).map(|(_, caller)| caller)
    }
}

/// Takes `/tenants/NAME` or `/links/KEY` from in front of a DICOMweb path, and notes which it was.
/// The page of a link keeps its path.
pub(crate) fn below_tenant(mut request: Request) -> Request {
    let path = request.uri().path();
    let (start, of_link) = match path {
        _ if path.starts_with("/tenants/") => ("/tenants/", false),
        _ if path.starts_with("/links/") => ("/links/", true),
        _ => return request,
    };
    let rest = &path[start.len()..];
    let (name, inner) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let is_dicomweb = inner == "/dicom-web" || inner.starts_with("/dicom-web/");
    if !is_dicomweb && !of_link {
        return request;
    }
    let name = name.to_owned();
    if is_dicomweb {
        let target = match request.uri().query() {
            Some(query) => format!("{inner}?{query}"),
            None => inner.to_owned(),
        };
        let mut parts = request.uri().clone().into_parts();
        let Ok(target) = PathAndQuery::try_from(target) else { return request };
        parts.path_and_query = Some(target);
        let Ok(uri) = Uri::from_parts(parts) else { return request };
        *request.uri_mut() = uri;
    }
    if of_link {
        request.extensions_mut().insert(LinkPath(name));
    } else {
        request.extensions_mut().insert(TenantPath(name));
    }
    request
}

/// Who sends a request, or what the catalog must be asked to know it.
pub(crate) enum Found {
    /// It is known. `None` for nobody: a request that says nothing.
    Known(Option<Caller>),
    /// It is not known yet.
    Ask(Box<Question>),
}

/// What the catalog is asked about a caller.
pub(crate) struct Question {
    presented: Presented<'static>,
    key: Key,
    named: Option<String>,
    peer: Option<IpAddr>,
}

/// Finds out who sends a request. Whoever asked a moment ago is known without the catalog.
///
/// # Errors
///
/// 400 or 401: the request says wrongly who it is.
pub(crate) fn identify(
    state: &WebState,
    request: &Request,
    peer: Option<IpAddr>,
) -> Result<Found, HttpError> {
    let link = request.extensions().get::<LinkPath>().map(|path| path.0.as_str());
    let tenant = request.extensions().get::<TenantPath>().map(|path| path.0.as_str());
    let named = link.or(tenant);
    // Below a link whoever opened it is the holder of the link, whoever else they are.
    let presented = match link {
        Some(_) => visit(request.headers()).map(|visit| Presented::Visit(visit.into())),
        None => presented(state, request.headers())?,
    };
    let Some(presented) = presented else {
        return Ok(Found::Known(None));
    };
    match state.door().remembers(&presented.key(named, peer)) {
        Some(caller) => Ok(Found::Known(Some(caller))),
        None => Ok(Found::Ask(Question::new(presented, named, peer).into())),
    }
}

/// How the request says who sends it; `None` when it says nothing.
fn presented<'a>(
    state: &WebState,
    headers: &'a HeaderMap,
) -> Result<Option<Presented<'a>>, HttpError> {
    let Some(logins) = &state.config().logins else { return Ok(Some(Presented::Nothing)) };
    Ok(match (authorization(headers)?, cookie(headers, logins)) {
        (Some(token), _) => Some(Presented::Token(token)),
        (None, Some(session)) => Some(Presented::Session(session.into())),
        (None, None) => None,
    })
}

impl Question {
    fn new(presented: Presented<'_>, named: Option<&str>, peer: Option<IpAddr>) -> Self {
        let key = presented.key(named, peer);
        Self { presented: presented.into_owned(), key, named: named.map(str::to_owned), peer }
    }
}

/// Why somebody is turned away who says who they are.
pub(super) enum Refused {
    /// The token is wrong.
    Token,
    /// There is no such tenant, or it is not theirs: their own, and who they are.
    Elsewhere(TenantId, Principal),
    /// The catalog failed, or an identity provider does not stand for the token.
    Failed(HttpError),
}

impl From<CatalogError> for Refused {
    fn from(error: CatalogError) -> Self {
        Self::Failed(error.into())
    }
}

impl Question {
    /// Asks the catalog. `None` for nobody: a session that has ended. Who is turned away leaves a row
    /// in the audit trail.
    ///
    /// # Errors
    ///
    /// 401 for a wrong token, 404 for a tenant that the caller does not belong to; or the catalog
    /// failed.
    pub(crate) async fn ask(&self, state: &WebState) -> Result<Option<Caller>, HttpError> {
        let named = self.named.as_deref();
        let peer = self.peer.map(|peer| peer.to_string()).unwrap_or_default();
        let found = match (&self.presented, &state.config().logins) {
            (Presented::Token(text), _) => token(state, text, named).await.map(Some),
            // A cookie of yesterday is nobody's fault.
            (Presented::Session(text), Some(logins)) => {
                session(state, logins, text, (named, self.peer)).await
            }
            (Presented::Session(_), None) => Ok(None),
            (Presented::Visit(text), _) => visitor(state, &secret::digest(text), named).await,
            (Presented::Nothing, _) => local(state, named).await.map(Some),
        };
        let known = match found {
            Ok(Some(known)) => known,
            // What was remembered a moment ago is no longer so.
            Ok(None) => {
                state.door().known.remove(&self.key);
                return Ok(None);
            }
            Err(refused) => {
                state.door().known.remove(&self.key);
                return Err(turn_away(state, refused, &peer).await);
            }
        };
        let key = self.key;
        let Known { tenant, principal, permissions, person, viewer } = known;
        let mut scope = Scope::new(tenant.id, principal, permissions).at(&peer);
        if let Some(viewer) = viewer {
            scope = scope.through(viewer);
        }
        let caller = Caller::new(Identity { scope, peer, person });
        state.door().known.insert(key, (Instant::now(), caller.clone()));
        Ok(Some(caller))
    }
}

/// Without logins: everything, in the tenant that the path names.
async fn local(state: &WebState, named: Option<&str>) -> Result<Known, Refused> {
    let tenant = match named {
        None => Tenant { id: TenantId::DEFAULT, name: "default".into(), title: String::new() },
        Some(name) => match state.archive().catalog().tenant(name).await? {
            Some(tenant) => tenant,
            None => return Err(Refused::Elsewhere(TenantId::DEFAULT, Principal::Local)),
        },
    };
    let permissions = Permissions::ALL;
    Ok(Known { tenant, principal: Principal::Local, permissions, person: None, viewer: None })
}

/// Notes who is turned away, and says why.
async fn turn_away(state: &WebState, refused: Refused, peer: &str) -> HttpError {
    let (entry, error) = match refused {
        Refused::Failed(error) if error.status().is_server_error() => return error,
        // The token of a program, which its identity provider does not stand for.
        Refused::Failed(error) => {
            let entry = AuditEntry::of_nobody(peer, Action::LoginFailed, now_ms());
            (entry.with(&json!({ "why": "wrong token" })), error)
        }
        Refused::Token => {
            let entry = AuditEntry::of_nobody(peer, Action::LoginFailed, now_ms());
            let entry = entry.with(&json!({ "why": "wrong token" }));
            let message =
                "this API token is unknown, revoked or at its end; make another under Account";
            (entry, HttpError::unauthorized(message))
        }
        Refused::Elsewhere(tenant, principal) => {
            let scope = Scope::new(tenant, principal, Permissions::NONE).at(peer);
            let entry = AuditEntry::new(&scope, Action::AccessDenied, Outcome::Refused, now_ms());
            let entry = entry.with(&json!({ "why": "another tenant" }));
            let message = "there is no such tenant, or you are not a member of it";
            (entry, HttpError::not_found(message))
        }
    };
    match state.archive().catalog().note_audit(entry).await {
        Ok(()) => error,
        Err(failed) => failed.into(),
    }
}

/// What a request said of its sender, to be asked about again while its answer goes on.
pub(crate) struct Standing(Option<Box<Question>>);

impl Standing {
    /// Whether the sender would still be let in, and may still do this.
    ///
    /// # Errors
    ///
    /// The catalog failed.
    pub(crate) async fn holds(
        &self,
        state: &WebState,
        permission: Permission,
    ) -> Result<bool, HttpError> {
        let Some(question) = &self.0 else { return Ok(false) };
        match question.ask(state).await {
            Ok(caller) => Ok(caller.is_some_and(|caller| caller.scope.allows(permission))),
            Err(error) if error.status().is_server_error() => Err(error),
            Err(_) => Ok(false),
        }
    }
}

impl FromRequestParts<WebState> for Standing {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &WebState) -> Result<Self, HttpError> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        let named = parts.extensions.get::<TenantPath>().map(|path| path.0.as_str());
        let presented = presented(state, &parts.headers)?;
        Ok(Self(presented.map(|presented| Question::new(presented, named, peer).into())))
    }
}

/// How a request says who it is.
enum Presented<'a> {
    /// Not at all: there are no logins.
    Nothing,
    Token(Cow<'a, str>),
    Session(Cow<'a, str>),
    /// The cookie of an opened share link.
    Visit(Cow<'a, str>),
}

impl Presented<'_> {
    fn into_owned(self) -> Presented<'static> {
        match self {
            Self::Nothing => Presented::Nothing,
            Self::Token(text) => Presented::Token(text.into_owned().into()),
            Self::Session(text) => Presented::Session(text.into_owned().into()),
            Self::Visit(text) => Presented::Visit(text.into_owned().into()),
        }
    }

    fn key(&self, named: Option<&str>, peer: Option<IpAddr>) -> Key {
        // A session is no token, although both are secrets.
        let (kind, text) = match self {
            Self::Nothing => (0, ""),
            Self::Token(text) => (1, text.as_ref()),
            Self::Session(text) => (2, text.as_ref()),
            Self::Visit(text) => (3, text.as_ref()),
        };
        let peer = match peer {
            Some(IpAddr::V4(address)) => (4, u128::from(u32::from(address))),
            Some(IpAddr::V6(address)) => (6, u128::from(address)),
            None => (0, 0),
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind, peer.0, u8::from(named.is_some())]);
        hasher.update(&peer.1.to_le_bytes());
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
        hasher.update(named.unwrap_or_default().as_bytes());
        hasher.finalize().into()
    }
}

/// The API token of `Authorization: Bearer TOKEN`, or of Basic with the token as password, for
/// clients that know nothing else.
fn authorization(headers: &HeaderMap) -> Result<Option<Cow<'_, str>>, HttpError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return match headers.contains_key(header::AUTHORIZATION) {
            true => Err(HttpError::bad_request("this request has several Authorization headers")),
            false => Ok(None),
        };
    };
    let wrong = || {
        HttpError::unauthorized(
            "the Authorization header is not understood: send Bearer with an API token, or Basic \
             with an API token as the password",
        )
    };
    let (scheme, rest) = value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or_else(wrong)?;
    let rest = rest.trim();
    if rest.len() > LONGEST_HEADER {
        return Err(wrong());
    }
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Some(rest.into()));
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let pair = super::login::base64(rest).ok_or_else(wrong)?;
        let (_, password) = pair.split_once(':').ok_or_else(wrong)?;
        return Ok(Some(password.to_owned().into()));
    }
    Err(wrong())
}

/// The session that a browser presents.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, logins: &Logins) -> Option<&'a str> {
    cookie_of(headers, super::login::cookie_name(logins))
}

/// The opened link that a browser presents.
fn visit(headers: &HeaderMap) -> Option<&str> {
    cookie_of(headers, super::VISIT)
}

/// The value of a cookie of ours.
pub(crate) fn cookie_of<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| *name == wanted && value.len() <= LONGEST)
        .map(|(_, value)| value)
}

/// Whoever holds a token, in the tenant that is named or in its own.
pub(super) async fn token(
    state: &WebState,
    text: &str,
    named: Option<&str>,
) -> Result<Known, Refused> {
    if let Some(machine) = oidc::machine(state, text, named).await.map_err(Refused::Failed)? {
        return Ok(Known {
            tenant: machine.tenant,
            principal: Principal::Machine(machine.name),
            permissions: machine.permissions,
            person: None,
            viewer: None,
        });
    }
    let catalog = state.archive().catalog();
    let now = now_ms();
    let found = catalog.token(&secret::digest(text), now).await?;
    let Some(token) = found else { return Err(Refused::Token) };
    let principal = Principal::Token(token.id, token.name);
    let may = token.permissions;
    let (tenant, viewer) = match named.filter(|name| *name != token.tenant.name) {
        None => (token.tenant, None),
        Some(name) => {
            let reads = may.allow(Permission::Read).then_some(token.tenant.id);
            let viewer = Viewer { tenant: reads, ..Viewer::default() };
            match shared(state, viewer, name).await? {
                Some((tenant, viewer)) => (tenant, Some(viewer)),
                None => return Err(Refused::Elsewhere(token.tenant.id, principal)),
            }
        }
    };
    if token.used_ms + NOTED < now {
        catalog.touch_token(token.id, now).await?;
    }
    Ok(Known { tenant, principal, permissions: may, person: None, viewer })
}

/// The tenant of a name, when it shares something with the viewer; else it is as if it did not exist.
async fn shared(
    state: &WebState,
    viewer: Viewer,
    name: &str,
) -> Result<Option<(Tenant, Viewer)>, CatalogError> {
    let catalog = state.archive().catalog();
    let Some(tenant) = catalog.tenant(name).await? else { return Ok(None) };
    let sharer = catalog.sharer(&viewer, tenant.id, now_ms()).await?;
    Ok(sharer.map(|sharer| (tenant, Viewer { by_rule: sharer.by_rule, ..viewer })))
}

/// Whoever has opened a share link, below the path of that link.
async fn visitor(
    state: &WebState,
    digest: &str,
    named: Option<&str>,
) -> Result<Option<Known>, Refused> {
    let found = state.archive().catalog().visit(digest, now_ms()).await?;
    let here = |link: &ShareLink| named.is_some_and(|name| name == link.id.to_string());
    Ok(found.filter(here).map(|link| Known {
        tenant: link.tenant,
        principal: Principal::Link(link.id, link.name),
        permissions: Permissions::of(&[Permission::Read]),
        person: None,
        viewer: Some(Viewer { link: Some(link.id), ..Viewer::default() }),
    }))
}

async fn session(
    state: &WebState,
    logins: &Logins,
    text: &str,
    (named, peer): (Option<&str>, Option<IpAddr>),
) -> Result<Option<Known>, Refused> {
    let digest = secret::digest(text);
    let digest = digest.as_str();
    let catalog = state.archive().catalog();
    let now = now_ms();
    let idle = i64::try_from(logins.idle.as_millis()).unwrap_or(i64::MAX);
    let quiet = now.saturating_sub(idle);
    let Some(mut found) = catalog.session(digest, now, quiet).await? else { return Ok(None) };
    if found.oidc.is_some() {
        let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
        if !oidc::still_welcome(state, &found, (text, digest), &peer)
            .await
            .map_err(Refused::Failed)?
        {
            return Ok(None);
        }
        // What the provider said may have changed the roles.
        let Some(again) = catalog.session(digest, now, quiet).await? else { return Ok(None) };
        found = again;
    }
    if found.seen_ms + NOTED < now {
        catalog.touch_session(digest, now).await?;
    }
    let by_person = Viewer { person: Some(found.person), ..Viewer::default() };
    let (tenant, roles, viewer) = match named {
        Some(name) => {
            let tenant = catalog.tenant(name).await?;
            let roles = match &tenant {
                Some(tenant) => catalog.roles(found.person, tenant.id).await?,
                None => Vec::new(),
            };
            // Whoever reads the whole tenant needs no grant; others see what was shared.
            let shown = match permitted(&roles).allow(Permission::Read) {
                true => None,
                false => {
                    let at_home = permitted(&found.roles).allow(Permission::Read);
                    let home = at_home.then_some(found.tenant.id);
                    shared(state, Viewer { tenant: home, ..by_person }, name).await?
                }
            };
            match (shown, tenant) {
                (Some((tenant, viewer)), _) => (tenant, roles, Some(viewer)),
                (None, Some(tenant)) if !roles.is_empty() => (tenant, roles, None),
                (None, _) => {
                    let principal = Principal::Person(found.person, found.login);
                    return Err(Refused::Elsewhere(found.tenant.id, principal));
                }
            }
        }
        None => {
            let (tenant, roles) = (found.tenant.clone(), found.roles.clone());
            // A patient sees nothing of the tenant but what was shared.
            let viewer = match roles.as_slice() {
                [Role::Patient] => {
                    let sharer = catalog.sharer(&by_person, tenant.id, now).await?;
                    Some(Viewer { by_rule: sharer.is_some_and(|one| one.by_rule), ..by_person })
                }
                _ => None,
            };
            (tenant, roles, viewer)
        }
    };
    Ok(Some(person(found, digest, tenant, (roles, viewer))))
}

/// What roles permit together.
fn permitted(roles: &[Role]) -> Permissions {
    roles.iter().fold(Permissions::NONE, |set, role| set.and(role.permissions()))
}

fn person(
    session: Session,
    digest: &str,
    tenant: Tenant,
    (roles, viewer): (Vec<Role>, Option<Viewer>),
) -> Known {
    let Session { person, login, name, must_change, must_enrol, .. } = session;
    // Whoever set the password knows it: until it is changed, it opens the page for that alone.
    let permissions = match viewer {
        // And so it is without the second factor that a tenant asks for.
        _ if must_change || must_enrol => Permissions::NONE,
        Some(_) => Permissions::of(&[Permission::Read]),
        None => permitted(&roles),
    };
    Known {
        viewer,
        principal: Principal::Person(person, login.clone()),
        permissions,
        person: Some(Person {
            id: person,
            login,
            name,
            must_change,
            must_enrol,
            session: digest.to_owned(),
            tenant: if tenant.title.is_empty() {
                tenant.name.clone()
            } else {
                tenant.title.clone()
            },
            roles,
        }),
        tenant,
    }
}
