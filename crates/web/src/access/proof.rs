//! Who is behind a DICOM association that shows a user identity (PS3.7 D.3.3.7): an account of this
//! archive, an API token, or a program that an identity provider stands for. The same as at the pages
//! and over HTTP: the same accounts, the same slowing down of guesses, the same audit rows.

use qianli_model::audit::{Action, Outcome};
use qianli_model::scope::Principal;
use qianli_model::{Permissions, TenantId};
use serde_json::json;

use super::identify::{self, Refused};
use super::{login, secret};
use crate::WebState;
use crate::error::HttpError;

/// What an association shows.
#[derive(Clone, Copy)]
pub enum Shown<'a> {
    /// A login and its password, or anything and an API token.
    Password(&'a str, &'a str),
    /// A JSON Web Token, or an API token.
    Token(&'a str),
}

/// Who was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The person or program.
    pub principal: Principal,
    /// What it may do in the tenant.
    pub permissions: Permissions,
}

/// Why nobody was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unproven {
    /// What was shown is not enough; the words are for the operator, never for the peer.
    Wrong(&'static str),
    /// It cannot be found out now.
    Unavailable(String),
}

impl From<qianli_catalog::CatalogError> for Unproven {
    fn from(error: qianli_catalog::CatalogError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<HttpError> for Unproven {
    fn from(error: HttpError) -> Self {
        Self::Unavailable(format!("status {}", error.status()))
    }
}

/// Finds out who is meant, in a tenant. `None` when nobody logs in to this archive.
///
/// # Errors
///
/// See [`Unproven`].
pub async fn prove(
    state: &WebState,
    tenant: TenantId,
    shown: Shown<'_>,
    peer: &str,
) -> Result<Option<Proven>, Unproven> {
    if state.config().logins.is_none() {
        return Ok(None);
    }
    let proven = match shown {
        Shown::Password(_, token) if secret::is_token(token) => {
            by_token(state, tenant, token).await
        }
        Shown::Password(name, password) => {
            by_password(state, tenant, (name, password), peer).await?
        }
        Shown::Token(token) => by_token(state, tenant, token).await,
    };
    if let Err(Unproven::Wrong(why)) = &proven
        && !matches!(shown, Shown::Password(_, password) if !secret::is_token(password))
    {
        let entry =
            qianli_catalog::AuditEntry::of_nobody(peer, Action::LoginFailed, super::now_ms());
        state.archive().catalog().note_audit(entry.with(&json!({ "why": why }))).await?;
    }
    proven.map(Some)
}

async fn by_token(state: &WebState, tenant: TenantId, token: &str) -> Result<Proven, Unproven> {
    // A program of an identity provider may work in several tenants; a token of ours has one.
    let tenants = state.archive().catalog().tenants().await?;
    let named = tenants.into_iter().find(|one| one.id == tenant).map(|one| one.name);
    let named = named.as_deref().filter(|_| !secret::is_token(token));
    match identify::token(state, token, named).await {
        Ok(known) if known.tenant.id == tenant => {
            Ok(Proven { principal: known.principal, permissions: known.permissions })
        }
        Ok(_) => Err(Unproven::Wrong("the token is of another tenant")),
        Err(Refused::Failed(error)) if error.status().is_server_error() => Err(error.into()),
        Err(_) => Err(Unproven::Wrong("the token is unknown, revoked or at its end")),
    }
}

/// The outer error is for what cannot be found out.
async fn by_password(
    state: &WebState,
    tenant: TenantId,
    (name, password): (&str, &str),
    peer: &str,
) -> Result<Result<Proven, Unproven>, Unproven> {
    let catalog = state.archive().catalog();
    let known = match name.len() {
        0..=256 => catalog.credentials(name).await?,
        _ => None,
    };
    let id = known.as_ref().map_or(0, |known| known.id);
    // What an unknown login was is not noted: people type passwords into the wrong field.
    let named = if known.is_some() { name } else { "" };
    let refused = async |why: &'static str| {
        login::note_failure(catalog, tenant, (id, named), (peer, why)).await?;
        Ok(Err(Unproven::Wrong(why)))
    };
    if state.guesses().check(peer).is_err() {
        return refused("too many wrong logins from this address").await;
    }
    let Ok(attempt) = state.guesses().attempt(name, peer) else {
        return refused("too many tries").await;
    };
    let hash = known.as_ref().map(|known| known.password.clone()).unwrap_or_default();
    let given: String = password.chars().take(secret::LONGEST + 1).collect();
    let compared = hash.clone();
    let right = login::computed(state, move || secret::verify(&given, &compared)).await?;
    let Some(known) = known else {
        state.guesses().failed(peer);
        return refused("unknown login").await;
    };
    if !right {
        state.guesses().failed(peer);
        return refused("wrong password, or switched off").await;
    }
    if catalog.totp(known.id).await?.is_some_and(|kept| kept.confirmed)
        || catalog.requires_second_factor(tenant).await?
    {
        return refused("a second factor is asked for: use an API token as the password").await;
    }
    if !catalog.login_succeeded(known.id, &hash).await? {
        return refused("wrong password, or switched off").await;
    }
    let scope = qianli_model::Scope::local(tenant);
    let Some(person) = catalog.person(&scope, name).await? else {
        return refused("no member of this tenant").await;
    };
    if person.must_change {
        return refused("the password has to be changed at the pages first").await;
    }
    state.guesses().succeeded(&attempt);
    let may = person.roles.iter().fold(Permissions::NONE, |all, role| all.and(role.permissions()));
    let principal = Principal::Person(person.id, person.login);
    let scope = qianli_model::Scope::new(tenant, principal.clone(), may).at(peer);
    let entry =
        qianli_catalog::AuditEntry::new(&scope, Action::Login, Outcome::Success, super::now_ms());
    catalog.note_audit(entry.with(&json!({ "by": "dimse" }))).await?;
    Ok(Ok(Proven { principal, permissions: may }))
}
