//! Programs that show a token of an identity provider (RFC 9068): what it lets them do.

use qianli_catalog::access::Tenant;
use qianli_model::{Permission, Permissions};

use super::claims::{self, Claims};
use super::{Machines, Trouble, token};
use crate::WebState;
use crate::access::now_ms;
use crate::error::HttpError;

/// How far ahead the end of a token may be (seconds): nobody can revoke one here.
const LONGEST_LIFE: i64 = 24 * 3600;

/// A program behind a token.
pub(crate) struct Machine {
    /// The tenant that it works in.
    pub(crate) tenant: Tenant,
    /// Its name at its issuer.
    pub(crate) name: String,
    /// What it may do there.
    pub(crate) permissions: Permissions,
}

/// Whether a secret is the token of an issuer rather than one of ours.
fn is_jwt(text: &str) -> bool {
    text.starts_with("ey") && text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// The program behind a token in the tenant that the path names, or in the first that it may work
/// in. `None` when it is no token of a provider.
///
/// # Errors
///
/// 401 for one that is not to be believed, 403 for one that may do nothing here, 404 for another's
/// tenant, 503 when the issuer cannot be asked for its keys.
pub(crate) async fn machine(
    state: &WebState,
    text: &str,
    named: Option<&str>,
) -> Result<Option<Machine>, HttpError> {
    let issuers = &state.config().machines;
    if issuers.is_empty() || !is_jwt(text) {
        return Ok(None);
    }
    let wrong = || {
        HttpError::unauthorized(
            "this token is not valid here: its signature, issuer, audience or time is not right",
        )
    };
    let claims = match believed(state, issuers, text).await {
        Ok(found) => found,
        Err(trouble) if trouble.is_transient() => {
            tracing::warn!(%trouble, "the token of a program cannot be checked");
            return Err(HttpError::unavailable("the issuer of this token cannot be asked now"));
        }
        Err(trouble) => {
            tracing::info!(%trouble, "the token of a program is refused");
            return Err(wrong());
        }
    };
    let (config, claims) = claims;
    let subject = claims::text(&claims, "sub").unwrap_or_default();
    let mut allowed: Vec<(&str, Permissions)> = Vec::new();
    for rule in config.rules.iter().filter(|rule| claims::holds(&claims, rule)) {
        match allowed.iter_mut().find(|(tenant, _)| *tenant == rule.tenant) {
            Some((_, may)) => *may = may.and(rule.gives),
            None => allowed.push((&rule.tenant, rule.gives)),
        }
    }
    let elsewhere =
        || HttpError::not_found("there is no such tenant, or you are not a member of it");
    let chosen = match named {
        Some(name) => allowed.iter().find(|(tenant, _)| *tenant == name),
        None => allowed.first(),
    };
    let Some((tenant, permissions)) = chosen else {
        return Err(match named {
            Some(_) => elsewhere(),
            None => HttpError::forbidden("nothing in this token gives a permission here"),
        });
    };
    let tenant = state.archive().catalog().tenant(tenant).await?.ok_or_else(elsewhere)?;
    // Whatever the settings say: who manages accounts is a person.
    let most = Permission::ALL.into_iter().filter(|one| *one != Permission::Administer);
    let most = Permissions::of(&most.collect::<Vec<_>>());
    Ok(Some(Machine {
        tenant,
        name: subject.chars().filter(|c| !c.is_control()).take(128).collect(),
        permissions: permissions.within(most),
    }))
}

/// The claims, and the settings of their issuer.
async fn believed<'c>(
    state: &WebState,
    issuers: &'c [Machines],
    text: &str,
) -> Result<(&'c Machines, Claims), Trouble> {
    let no = |why: &str| Trouble::Token(why.into());
    if text.len() > token::LONGEST {
        return Err(no("too long"));
    }
    // Only to find out whose keys to check it with: nothing here is believed yet.
    let unchecked = jsonwebtoken::dangerous::insecure_decode::<Claims>(text);
    let unchecked = unchecked.map_err(|_| no("not readable"))?.claims;
    let issuer = claims::text(&unchecked, "iss").unwrap_or_default();
    let mut configs = issuers.iter().filter(|one| one.issuer == issuer);
    let first = configs.clone().next().ok_or_else(|| no("an issuer that is not known here"))?;
    let config = configs.find(|one| claims::is_for(&unchecked, &one.audience)).unwrap_or(first);
    let issuer = state.issuers().of(&config.issuer).ok_or_else(|| no("an issuer without keys"))?;
    let claims = token::checked(issuer, text, &config.audience).await?;
    let ends = claims::seconds(&claims, "exp").unwrap_or(i64::MAX);
    let latest = (now_ms() / 1000).saturating_add(LONGEST_LIFE).saturating_add(token::SKEW as i64);
    if ends > latest {
        return Err(no("it ends too far ahead"));
    }
    Ok((config, claims))
}
