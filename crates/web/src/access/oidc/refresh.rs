//! Sessions that a provider stands behind: asked again and again whether they may go on, and told
//! of their end.

use qianli_catalog::access::{Admission, OidcLink, Session};

use super::claims::{self, Claims};
use super::flow::{self, pairs};
use super::seal::Tokens;
use super::{Provider, Trouble, token};
use crate::WebState;
use crate::access::now_ms;
use crate::error::HttpError;

/// How long a session goes on while its provider cannot be asked (ms).
const GRACE: i64 = 3600 * 1000;

/// What is known of a session when its provider is asked.
struct Asked {
    provider: Provider,
    session: String,
    digest: String,
    person: i64,
    link: OidcLink,
    peer: String,
}

/// Whether a session may go on. Asks the provider when it is time to, with one request of all that
/// come at once; the others go on with what was true a moment ago.
pub(crate) async fn still_welcome(
    state: &WebState,
    found: &Session,
    (session, digest): (&str, &str),
    peer: &str,
) -> Result<bool, HttpError> {
    let Some(link) = &found.oidc else { return Ok(true) };
    let catalog = state.archive().catalog();
    let known = state.config().providers.iter().find(|one| one.name == link.provider);
    let Some(provider) = known else {
        // Who vouched for it is no longer in the settings.
        catalog.end_session(found.tenant.id, digest, "its provider is gone").await?;
        state.door().forget();
        return Ok(false);
    };
    let (now, every) = (now_ms(), i64::try_from(provider.recheck.as_millis()).unwrap_or(i64::MAX));
    if !link.refreshes || link.checked_ms.saturating_add(every) > now {
        return Ok(true);
    }
    if !catalog.claim_oidc_check(digest, link.checked_ms, now).await? {
        return Ok(true);
    }
    let asked = Asked {
        provider: provider.clone(),
        session: session.to_owned(),
        digest: digest.to_owned(),
        person: found.person,
        link: link.clone(),
        peer: peer.to_owned(),
    };
    let (state, tenant) = (state.clone(), found.tenant.id);
    // In a task of its own: a browser that goes away meanwhile must not lose the new refresh token.
    let work = tokio::spawn(async move {
        let why = match ask(&state, &asked).await? {
            None => return Ok(true),
            Some(why) => why,
        };
        tracing::info!(provider = asked.provider.name, why, "a session ends");
        state.archive().catalog().end_session(tenant, &asked.digest, why).await?;
        state.door().forget();
        Ok(false)
    });
    work.await.map_err(HttpError::internal)?
}

/// Asks the provider. Why the session has to end, or nothing.
async fn ask(state: &WebState, asked: &Asked) -> Result<Option<&'static str>, HttpError> {
    let catalog = state.archive().catalog();
    let sealed = catalog.oidc_of(&asked.digest).await?.map(|(_, sealed)| sealed);
    let opened = sealed.and_then(|sealed| Tokens::opened(&sealed, &asked.session));
    let Some(Tokens { refresh: Some(refresh), id }) = opened else {
        return Ok(Some("its tokens are gone"));
    };
    let (claims, tokens) = match refreshed(state, &asked.provider, &refresh, &id).await {
        Ok(found) => found,
        Err(trouble) if trouble.is_transient() => {
            tracing::warn!(provider = asked.provider.name, %trouble, "a session cannot be checked");
            let late = asked.link.valid_ms.saturating_add(GRACE) < now_ms();
            return Ok(late.then_some("its provider is away"));
        }
        Err(trouble) => {
            tracing::info!(provider = asked.provider.name, %trouble, "a session is not renewed");
            return Ok(Some("its provider refused"));
        }
    };
    let sealed = tokens.sealed(&asked.session);
    let sealed = sealed.ok_or_else(|| HttpError::internal("the tokens cannot be sealed"))?;
    catalog.keep_oidc(&asked.digest, &sealed, now_ms()).await?;
    // A provider may say nothing of a person at a refresh: then nothing has changed.
    let told = asked.provider.rules.iter().any(|rule| claims::says(&claims, rule));
    if !told {
        return Ok(None);
    }
    match flow::admit(state, &asked.provider, &claims, &asked.peer, false).await? {
        Admission::In(admitted) if admitted.person == asked.person => {
            state.door().forget();
            Ok(None)
        }
        Admission::In(_) => Ok(Some("its provider speaks of another person")),
        Admission::Disabled | Admission::Nowhere => Ok(Some("its provider gives no role any more")),
    }
}

/// OpenID Connect Core 1.0 section 12.
async fn refreshed(
    state: &WebState,
    provider: &Provider,
    refresh: &str,
    id: &str,
) -> Result<(Claims, Tokens), Trouble> {
    let gone = || Trouble::Unavailable("it is not in the settings".into());
    let issuer = state.issuers().of(&provider.issuer).ok_or_else(gone)?;
    let metadata = issuer.metadata().await?;
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    let answer = flow::exchange(&metadata, provider, &form).await?;
    let subject = subject(id);
    let claims = match &answer.id_token {
        Some(id) => token::checked_id(issuer, id, &provider.client_id, None).await?,
        // Whom the provider is asked about then has to be the same.
        None => [("sub".to_owned(), subject.clone().into())].into_iter().collect(),
    };
    if claims::text(&claims, "sub") != Some(subject.as_str()) {
        return Err(Trouble::Token("made for another person".into()));
    }
    let claims = flow::complete(&metadata, provider, claims, &answer).await?;
    let tokens = Tokens {
        // Without a new one the old one stays.
        refresh: Some(answer.refresh_token.unwrap_or_else(|| refresh.to_owned())),
        id: answer.id_token.unwrap_or_else(|| id.to_owned()),
    };
    Ok((claims, tokens))
}

/// Whose an ID token is that was checked when it came.
fn subject(id: &str) -> String {
    let claims = jsonwebtoken::dangerous::insecure_decode::<Claims>(id);
    let claims = claims.map(|token| token.claims).unwrap_or_default();
    claims::text(&claims, "sub").unwrap_or_default().to_owned()
}

/// Where a browser goes to end its session at the provider too (OpenID Connect RP-Initiated Logout
/// 1.0). `None` when it is no session of a provider, or the provider has no such place.
pub(crate) async fn end_at_provider(
    state: &WebState,
    (session, digest): (&str, &str),
    root: &str,
) -> Option<(String, String)> {
    let catalog = state.archive().catalog();
    let (name, sealed) = catalog.oidc_of(digest).await.ok().flatten()?;
    let provider = state.config().providers.iter().find(|one| one.name == name)?;
    let metadata = state.issuers().of(&provider.issuer)?.metadata().await.ok()?;
    let endpoint = metadata.end_session_endpoint.as_deref()?;
    let back = format!("{root}/login");
    let mut query = vec![
        ("client_id", provider.client_id.as_str()),
        ("post_logout_redirect_uri", back.as_str()),
    ];
    let tokens = Tokens::opened(&sealed, session);
    if let Some(tokens) = &tokens {
        query.push(("id_token_hint", &tokens.id));
    }
    let join = if endpoint.contains('?') { '&' } else { '?' };
    Some((format!("{endpoint}{join}{}", pairs(&query)), provider.label.clone()))
}
