//! Logging in by password, and the cookie that a browser then holds.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use qianli_catalog::access::{NewLoginStep, NewPerson, NewSession};
use qianli_catalog::{AuditEntry, Catalog, CatalogError};
use qianli_model::audit::Action;
use qianli_model::audit::Outcome::Refused;
use qianli_model::scope::Principal;
use qianli_model::{Permissions, Role, Scope, TenantId};

use super::{Logins, now_ms, secret};
use crate::WebState;
use crate::error::HttpError;

/// How long a login waits for its turn to be computed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long somebody may take to find the phone (ms).
pub(crate) const CODE_TIME: i64 = 5 * 60 * 1000;

/// Most that is kept of what a browser says that it is (bytes).
const AGENT: usize = 200;

/// Login of the account that a new archive begins with.
pub const FIRST: &str = "admin";

/// What came of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is right: what the browser is to hold.
    In(String),
    /// Login or password is wrong, or the account is switched off. Which, nobody is told.
    Wrong,
    /// It is right, and a second factor is asked for: what the browser is to hold meanwhile.
    Code(String),
    /// There were too many wrong ones.
    Locked,
    /// The person belongs to no tenant.
    Nowhere,
}

/// Text of base64, padded or not.
pub(super) fn base64(text: &str) -> Option<String> {
    let engine = base64::engine::general_purpose::STANDARD_NO_PAD;
    let bytes = engine.decode(text.trim_end_matches('=')).ok()?;
    String::from_utf8(bytes).ok()
}

/// Name of the cookie. A `__Host-` cookie is never sent without TLS and never set by another host.
pub(super) fn cookie_name(logins: &Logins) -> &'static str {
    if logins.https { "__Host-qianli" } else { "qianli" }
}

/// The cookie that begins a session.
pub(crate) fn set_cookie(logins: &Logins, session: &str) -> String {
    let (name, age) = (cookie_name(logins), logins.lifetime.as_secs());
    let secure = if logins.https { "; Secure" } else { "" };
    format!("{name}={session}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}")
}

/// The cookie that ends it.
pub(crate) fn clear_cookie(logins: &Logins) -> String {
    let secure = if logins.https { "; Secure" } else { "" };
    format!("{}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax{secure}", cookie_name(logins))
}

/// Computes with passwords: off the threads that serve sockets, and few at a time, since each takes
/// 19 MiB and tens of milliseconds.
pub(crate) async fn computed<T: Send + 'static>(
    state: &WebState,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, HttpError> {
    let busy = || HttpError::unavailable("too many people log in at once; try again");
    let turn = Arc::clone(state.hashing()).acquire_owned();
    let turn = tokio::time::timeout(PATIENCE, turn).await.map_err(|_| busy())?;
    let turn = turn.map_err(|_| busy())?;
    let done = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(turn);
        done
    });
    done.await.map_err(HttpError::internal)
}

/// Checks login and password, and opens a session.
pub(crate) async fn log_in(
    state: &WebState,
    logins: &Logins,
    (login, password, next): (&str, &str, &str),
    (peer, agent): (&str, &str),
) -> Result<Outcome, HttpError> {
    let catalog = state.archive().catalog();
    let known = match login.len() {
        0..=256 => catalog.credentials(login).await?,
        _ => None,
    };
    let now = now_ms();
    // For an unknown login too, so that both take as long.
    let id = known.as_ref().map_or(0, |known| known.id);
    let tenants = catalog.tenants_of(id).await?;
    let tenant = tenants.into_iter().next();
    let home = tenant.as_ref().map_or(TenantId::DEFAULT, |tenant| tenant.id);
    // What an unknown login was is not noted: people type passwords into the wrong field.
    let named = if known.is_some() { login } else { "" };
    let note = async |why| note_failure(catalog, home, (id, named), (peer, why)).await;
    let Ok(attempt) = state.guesses().attempt(login, peer) else {
        note("too many tries").await?;
        return Ok(Outcome::Locked);
    };
    // An unknown login takes as long as a known one.
    let hash = known.as_ref().map(|known| known.password.clone()).unwrap_or_default();
    let given: String = password.chars().take(secret::LONGEST + 1).collect();
    let compared = hash.clone();
    let right = computed(state, move || secret::verify(&given, &compared)).await?;
    let Some(known) = known else {
        note("unknown login").await?;
        return Ok(Outcome::Wrong);
    };
    if right && !known.disabled && catalog.totp(known.id).await?.is_some_and(|kept| kept.confirmed)
    {
        // The attempt stays counted: else whoever has the password could guess codes for ever.
        let held = secret::session();
        let step = NewLoginStep {
            secret: secret::digest(&held),
            person: known.id,
            password: hash,
            next: next.to_owned(),
            at_ms: now,
            expires_ms: now.saturating_add(CODE_TIME),
        };
        catalog.begin_login_step(&step).await?;
        return Ok(Outcome::Code(held));
    }
    if !right || !catalog.login_succeeded(known.id, &hash).await? {
        note("wrong password, or switched off").await?;
        return Ok(Outcome::Wrong);
    }
    state.guesses().succeeded(&attempt);
    let Some(tenant) = tenant else {
        note("no tenant").await?;
        return Ok(Outcome::Nowhere);
    };
    let who = (known.id, login, tenant.id);
    Ok(Outcome::In(open_session(state, logins, who, (peer, agent)).await?))
}

/// Opens a session for somebody who has shown everything that is asked for.
pub(crate) async fn open_session(
    state: &WebState,
    logins: &Logins,
    (person, login, tenant): (i64, &str, TenantId),
    (peer, agent): (&str, &str),
) -> Result<String, HttpError> {
    let now = now_ms();
    let session = secret::session();
    let lifetime = i64::try_from(logins.lifetime.as_millis()).unwrap_or(i64::MAX);
    let new = NewSession {
        secret: secret::digest(&session),
        person,
        login: login.to_lowercase(),
        tenant,
        at_ms: now,
        expires_ms: now.saturating_add(lifetime),
        peer: peer.to_owned(),
        agent: shortened(agent).to_owned(),
    };
    state.archive().catalog().open_session(&new).await?;
    Ok(session)
}

/// What is kept of what a browser says that it is.
pub(super) fn shortened(agent: &str) -> &str {
    let ends = agent.char_indices().map(|(at, one)| at + one.len_utf8());
    let end = ends.take_while(|end| *end <= AGENT).last().unwrap_or(0);
    agent.get(..end).unwrap_or_default()
}

/// Notes in the audit trail that somebody could not log in.
pub(crate) async fn note_failure(
    catalog: &Catalog,
    tenant: TenantId,
    (person, login): (i64, &str),
    (peer, why): (&str, &str),
) -> Result<(), CatalogError> {
    let principal = Principal::Person(person, login.to_lowercase());
    let scope = Scope::new(tenant, principal, Permissions::NONE).at(peer);
    let entry = AuditEntry::new(&scope, Action::LoginFailed, Refused, now_ms());
    let entry = entry.with(&serde_json::json!({ "why": why }));
    catalog.note_audit(entry).await
}

/// Makes the first administrator of an archive in which nobody has an account, and returns the
/// password, which is kept nowhere else. `None` when there are accounts already.
///
/// # Errors
///
/// The catalog failed.
pub async fn first_administrator(catalog: &Catalog) -> Result<Option<String>, CatalogError> {
    if catalog.has_people().await? {
        return Ok(None);
    }
    let password = secret::password();
    let made = add(catalog, FIRST, "", &password, &[Role::Administrator]).await?;
    Ok(made.then_some(password))
}

/// Makes an account in the first tenant, whose password must be changed at the first login. False
/// when the login is taken.
async fn add(
    catalog: &Catalog,
    login: &str,
    name: &str,
    password: &str,
    roles: &[Role],
) -> Result<bool, CatalogError> {
    let given = password.to_owned();
    let hash = tokio::task::spawn_blocking(move || secret::hash(&given)).await;
    let Ok(Ok(hash)) = hash else { return Err(CatalogError::TooLarge("a password's hash")) };
    let new = NewPerson {
        login: login.to_owned(),
        name: name.to_owned(),
        password: hash,
        must_change: true,
        roles: roles.to_vec(),
        at_ms: now_ms(),
    };
    Ok(catalog.add_person(&Scope::local(TenantId::DEFAULT), &new).await?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_for_this_host_and_for_no_script() {
        let mut logins = Logins {
            lifetime: Duration::from_secs(3600),
            idle: Duration::from_secs(60),
            https: true,
        };
        let cookie = set_cookie(&logins, "s");
        assert_eq!(cookie, "__Host-qianli=s; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure");
        assert!(clear_cookie(&logins).starts_with("__Host-qianli=; Path=/; Max-Age=0;"));
        logins.https = false;
        assert_eq!(
            set_cookie(&logins, "s"),
            "qianli=s; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"
        );
    }

    #[test]
    fn base64_is_read_with_and_without_padding() {
        assert_eq!(base64("YTpiYw==").as_deref(), Some("a:bc"));
        assert_eq!(base64("YTpiYw").as_deref(), Some("a:bc"));
        assert_eq!(base64("***"), None);
    }
}
