//! Who is behind a request: a token, a session, or, without logins, whoever sits at this machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use qianli_catalog::access::{Session, Tenant};
use qianli_model::scope::Principal;
use qianli_model::{Permissions, Role, Scope, TenantId};

use super::{Logins, now_ms, secret};
use crate::WebState;
use crate::caller::{Caller, Person};
use crate::error::HttpError;

/// How long an answer of the catalog about a secret may be used: what was revoked through another
/// node ends after this at the latest.
const FRESH: Duration = Duration::from_secs(5);

/// How often the use of a session or token is noted (ms).
const NOTED: i64 = 60_000;

/// Longest secret that is looked at (bytes).
const LONGEST: usize = 256;

/// The tenant that the path of a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TenantPath(pub(crate) String);

/// Who holds a secret, as the catalog last said.
#[derive(Debug, Clone)]
struct Known {
    tenant: Tenant,
    principal: Principal,
    permissions: Permissions,
    person: Option<Person>,
}

/// What is remembered of secrets. Wrong ones are not: there are too many.
pub(crate) struct Door {
    known: quick_cache::sync::Cache<(String, Option<String>), (Instant, Arc<Known>)>,
}

impl Door {
    pub(crate) fn new() -> Self {
        Self { known: quick_cache::sync::Cache::new(4096) }
    }

    /// Forgets everything: something was revoked or changed here.
    pub(crate) fn forget(&self) {
        self.known.clear();
    }
}

/// Takes `/tenants/NAME` from in front of a DICOMweb path, and notes the name.
pub(crate) fn below_tenant(mut request: Request) -> Request {
    let uri = request.uri();
    let Some(rest) = uri.path().strip_prefix("/tenants/") else { return request };
    let Some((name, _)) = rest.split_once('/') else { return request };
    let inner = &rest[name.len()..];
    if inner != "/dicom-web" && !inner.starts_with("/dicom-web/") {
        return request;
    }
    let target = match uri.query() {
        Some(query) => format!("{inner}?{query}"),
        None => inner.to_owned(),
    };
    let name = name.to_owned();
    let mut parts = uri.clone().into_parts();
    let Ok(target) = PathAndQuery::try_from(target) else { return request };
    parts.path_and_query = Some(target);
    let Ok(uri) = Uri::from_parts(parts) else { return request };
    *request.uri_mut() = uri;
    request.extensions_mut().insert(TenantPath(name));
    request
}

/// Leaves a [`Caller`] with the request when it says rightly who it is. A secret that is wrong is
/// answered here; a request that says nothing goes on without a caller.
pub(crate) async fn identify(
    State(state): State<WebState>,
    mut request: Request,
    next: Next,
) -> Response {
    let named = request.extensions().get::<TenantPath>().map(|path| path.0.clone());
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|ConnectInfo(address)| address.ip().to_string())
        .unwrap_or_default();
    let found = match &state.config().logins {
        None => local(&state, named.as_deref()).await,
        Some(logins) => known(&state, logins, request.headers(), named).await,
    };
    match found {
        Ok(Some(known)) => {
            let Known { tenant, principal, permissions, person } = (*known).clone();
            let scope = Scope::new(tenant.id, principal, permissions).at(&peer);
            request.extensions_mut().insert(Caller { scope, peer, person });
        }
        Ok(None) => {}
        Err(error) => return error.into_response(),
    }
    next.run(request).await
}

/// Without logins: everything, in the tenant that the path names.
async fn local(state: &WebState, named: Option<&str>) -> Result<Option<Arc<Known>>, HttpError> {
    let tenant = match named {
        None => Tenant { id: TenantId::DEFAULT, name: "default".into(), title: String::new() },
        Some(name) => match state.archive().catalog().tenant(name).await? {
            Some(tenant) => tenant,
            None => return Err(no_tenant()),
        },
    };
    let permissions = Permissions::ALL;
    let principal = Principal::Local;
    Ok(Some(Arc::new(Known { tenant, principal, permissions, person: None })))
}

fn no_tenant() -> HttpError {
    HttpError::not_found("there is no such tenant, or you are not a member of it")
}

async fn known(
    state: &WebState,
    logins: &Logins,
    headers: &HeaderMap,
    named: Option<String>,
) -> Result<Option<Arc<Known>>, HttpError> {
    let presented = match (authorization(headers)?, cookie(headers, logins)) {
        (Some(token), _) => Presented::Token(token),
        (None, Some(session)) => Presented::Session(session),
        (None, None) => return Ok(None),
    };
    let digest = presented.digest();
    // A session is no token, although both are secrets.
    let kind = match &presented {
        Presented::Token(_) => "token",
        Presented::Session(_) => "session",
    };
    let key = (format!("{kind} {digest}"), named.clone());
    let door = state.door();
    if let Some((at, known)) = door.known.get(&key)
        && at.elapsed() < FRESH
    {
        return Ok(Some(known));
    }
    let found = match &presented {
        Presented::Token(_) => Some(token(state, &digest, named.as_deref()).await?),
        // A cookie of yesterday is nobody's fault.
        Presented::Session(_) => session(state, logins, &digest, named.as_deref()).await?,
    };
    let Some(known) = found.map(Arc::new) else { return Ok(None) };
    door.known.insert(key, (Instant::now(), Arc::clone(&known)));
    Ok(Some(known))
}

enum Presented {
    Token(String),
    Session(String),
}

impl Presented {
    fn digest(&self) -> String {
        let (Self::Token(text) | Self::Session(text)) = self;
        secret::digest(text)
    }
}

/// The API token of `Authorization: Bearer TOKEN`, or of Basic with the token as password, for
/// clients that know nothing else.
fn authorization(headers: &HeaderMap) -> Result<Option<String>, HttpError> {
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
    if rest.len() > LONGEST {
        return Err(wrong());
    }
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Some(rest.to_owned()));
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let pair = super::login::base64(rest).ok_or_else(wrong)?;
        let (_, password) = pair.split_once(':').ok_or_else(wrong)?;
        return Ok(Some(password.to_owned()));
    }
    Err(wrong())
}

/// The session that a browser presents.
fn cookie(headers: &HeaderMap, logins: &Logins) -> Option<String> {
    let wanted = super::login::cookie_name(logins);
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| *name == wanted && value.len() <= LONGEST)
        .map(|(_, value)| value.to_owned())
}

async fn token(state: &WebState, digest: &str, named: Option<&str>) -> Result<Known, HttpError> {
    let catalog = state.archive().catalog();
    let now = now_ms();
    let Some(token) = catalog.token(digest, now).await? else {
        return Err(HttpError::unauthorized(
            "this API token is unknown, revoked or at its end; make another under Account",
        ));
    };
    if named.is_some_and(|name| name != token.tenant.name) {
        return Err(no_tenant());
    }
    if token.used_ms + NOTED < now {
        catalog.touch_token(token.id, now).await?;
    }
    Ok(Known {
        tenant: token.tenant,
        principal: Principal::Token(token.id, token.name),
        permissions: token.permissions,
        person: None,
    })
}

async fn session(
    state: &WebState,
    logins: &Logins,
    digest: &str,
    named: Option<&str>,
) -> Result<Option<Known>, HttpError> {
    let catalog = state.archive().catalog();
    let now = now_ms();
    let idle = i64::try_from(logins.idle.as_millis()).unwrap_or(i64::MAX);
    let Some(found) = catalog.session(digest, now, now.saturating_sub(idle)).await? else {
        return Ok(None);
    };
    if found.seen_ms + NOTED < now {
        catalog.touch_session(digest, now).await?;
    }
    let (tenant, roles) = match named {
        Some(name) if name != found.tenant.name => {
            let tenant = catalog.tenant(name).await?.ok_or_else(no_tenant)?;
            let roles = catalog.roles(found.person, tenant.id).await?;
            if roles.is_empty() {
                return Err(no_tenant());
            }
            (tenant, roles)
        }
        _ => (found.tenant.clone(), found.roles.clone()),
    };
    Ok(Some(person(found, digest, tenant, roles)))
}

fn person(session: Session, digest: &str, tenant: Tenant, roles: Vec<Role>) -> Known {
    let Session { person, login, name, must_change, .. } = session;
    let all = roles.iter().fold(Permissions::NONE, |set, role| set.and(role.permissions()));
    // Whoever set the password knows it: until it is changed, it opens the page for that alone.
    let permissions = if must_change { Permissions::NONE } else { all };
    Known {
        principal: Principal::Person(person, login.clone()),
        permissions,
        person: Some(Person {
            id: person,
            login,
            name,
            must_change,
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
