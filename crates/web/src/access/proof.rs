//! Who is behind a DICOM association that shows a user identity (PS3.7 D.3.3.7): an account of this
//! archive, an API token, or a program that an identity provider stands for. The same as at the pages
//! and over HTTP: the same accounts, the same slowing down of guesses, the same audit rows.

use std::fmt;
use std::sync::Arc;

use qianli_catalog::AuditEntry;
use qianli_catalog::access::Person;
use qianli_model::audit::{Action, Outcome};
use qianli_model::grant::Viewer;
use qianli_model::scope::Principal;
use qianli_model::{Permission, Permissions, Scope, TenantId};
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

/// Where somebody wants to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The tenant.
    pub tenant: TenantId,
    /// Another one, whose members may look at what the tenant granted to it.
    pub home: Option<TenantId>,
}

/// What somebody may do in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What is permitted in the tenant.
    pub permissions: Permissions,
    /// For whom grants of the tenant are looked up; for members of the other one.
    pub viewer: Option<Viewer>,
}

/// Who was found.
#[derive(Debug, Clone)]
pub struct Proven {
    /// The person or program.
    pub principal: Principal,
    /// What it may do at that moment.
    pub standing: Standing,
    /// What the accounts can be asked again by.
    pub proof: Proof,
}

/// What proves who somebody is, as long as an association goes on.
#[derive(Clone)]
pub struct Proof(Kept);

#[derive(Clone)]
enum Kept {
    /// A token, as it was shown.
    Token(Arc<str>),
    /// A login, and what its password was held against.
    Person { login: String, id: i64, hash: String },
}

impl fmt::Debug for Proof {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kept::Token(_) => "Proof(token)",
            Kept::Person { .. } => "Proof(person)",
        })
    }
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

/// Finds out who is meant. `None` when nobody logs in to this archive.
///
/// # Errors
///
/// See [`Unproven`].
pub async fn prove(
    state: &WebState,
    place: Place,
    shown: Shown<'_>,
    peer: &str,
) -> Result<Option<Proven>, Unproven> {
    if state.config().logins.is_none() {
        return Ok(None);
    }
    let proven = match shown {
        Shown::Password(_, token) if secret::is_token(token) => by_token(state, place, token).await,
        Shown::Password(name, password) => {
            by_password(state, place, (name, password), peer).await?
        }
        Shown::Token(token) => by_token(state, place, token).await,
    };
    if let Err(Unproven::Wrong(why)) = &proven
        && !matches!(shown, Shown::Password(_, password) if !secret::is_token(password))
    {
        let entry = AuditEntry::of_nobody(peer, Action::LoginFailed, super::now_ms());
        state.archive().catalog().note_audit(entry.with(&json!({ "why": why }))).await?;
    }
    proven.map(Some)
}

/// What somebody who was found may still do.
///
/// # Errors
///
/// See [`Unproven`]: the account was switched off, its password changed, the token revoked or past its
/// end, the membership over.
pub async fn prove_again(
    state: &WebState,
    place: Place,
    proof: &Proof,
) -> Result<Standing, Unproven> {
    match &proof.0 {
        Kept::Token(token) => Ok(by_token(state, place, token).await?.standing),
        Kept::Person { login, id, hash } => {
            let known = state.archive().catalog().credentials(login).await?;
            match known {
                Some(known) if known.id == *id && known.password == *hash && !known.disabled => {
                    member(state, place, login).await?.map(|(standing, _)| standing)
                }
                _ => Err(Unproven::Wrong("the account was switched off, or its password changed")),
            }
        }
    }
}

async fn by_token(state: &WebState, place: Place, token: &str) -> Result<Proven, Unproven> {
    // A program of an identity provider may work in several tenants; a token of ours has one.
    let tenants = state.archive().catalog().tenants().await?;
    let named = tenants.into_iter().find(|one| one.id == place.tenant).map(|one| one.name);
    let named = named.as_deref().filter(|_| !secret::is_token(token));
    let known = match identify::token(state, token, named).await {
        Ok(known) => known,
        Err(Refused::Failed(error)) if error.status().is_server_error() => return Err(error.into()),
        Err(_) => {
            return Err(Unproven::Wrong("the token is unknown, revoked or at its end"));
        }
    };
    let standing = if known.tenant.id == place.tenant {
        Standing { permissions: known.permissions, viewer: None }
    } else if Some(known.tenant.id) == place.home && known.permissions.allow(Permission::Read) {
        let viewer = Viewer { tenant: place.home, ..Viewer::default() };
        Standing { permissions: Permissions::NONE, viewer: Some(viewer) }
    } else {
        return Err(Unproven::Wrong("the token is of another tenant"));
    };
    let proof = Proof(Kept::Token(token.into()));
    Ok(Proven { principal: known.principal, standing, proof })
}

/// What a person may do, by membership. The outer error is for what cannot be found out.
async fn member(
    state: &WebState,
    place: Place,
    login: &str,
) -> Result<Result<(Standing, Person), Unproven>, Unproven> {
    let catalog = state.archive().catalog();
    let of = async |tenant| catalog.person(&Scope::local(tenant), login).await;
    let may = |person: &Person| {
        person.roles.iter().fold(Permissions::NONE, |all, role| all.and(role.permissions()))
    };
    let found = match (of(place.tenant).await?, place.home) {
        (Some(person), _) => Some((Standing { permissions: may(&person), viewer: None }, person)),
        (None, Some(home)) => {
            let person = of(home).await?.filter(|person| may(person).allow(Permission::Read));
            person.map(|person| {
                let (tenant, person_id) = (Some(home), Some(person.id));
                let viewer = Viewer { tenant, person: person_id, ..Viewer::default() };
                (Standing { permissions: Permissions::NONE, viewer: Some(viewer) }, person)
            })
        }
        (None, None) => None,
    };
    Ok(match found {
        None => Err(Unproven::Wrong("no member of this tenant")),
        Some((_, person)) if person.must_change => {
            Err(Unproven::Wrong("the password has to be changed at the pages first"))
        }
        Some(found) => Ok(found),
    })
}

/// The outer error is for what cannot be found out.
async fn by_password(
    state: &WebState,
    place: Place,
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
        login::note_failure(catalog, place.tenant, (id, named), (peer, why)).await?;
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
        || catalog.requires_second_factor(place.tenant).await?
    {
        return refused("a second factor is asked for: use an API token as the password").await;
    }
    if !catalog.login_succeeded(known.id, &hash).await? {
        return refused("wrong password, or switched off").await;
    }
    let (standing, person) = match member(state, place, name).await? {
        Ok(found) => found,
        Err(Unproven::Wrong(why)) => return refused(why).await,
        Err(unavailable) => return Err(unavailable),
    };
    state.guesses().succeeded(&attempt);
    let proof = Proof(Kept::Person { login: person.login.clone(), id: person.id, hash });
    let principal = Principal::Person(person.id, person.login);
    let scope = Scope::new(place.tenant, principal.clone(), standing.permissions).at(peer);
    let entry = AuditEntry::new(&scope, Action::Login, Outcome::Success, super::now_ms());
    catalog.note_audit(entry.with(&json!({ "by": "dimse" }))).await?;
    Ok(Ok(Proven { principal, standing, proof }))
}
