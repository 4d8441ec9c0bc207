//! A login at a provider: authorization code with PKCE (RFC 7636, S256), state and nonce.
//!
//! One random secret lives in a cookie for ten minutes. State, nonce and code verifier are made so
//! that each is worth nothing without it: the row in the catalog holds digests only, is bound to the
//! browser, and goes with the first answer.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use qianli_catalog::access::{
    Admission, Admitted, Membership, NewIdentity, NewOidcFlow, NewOidcLink, NewSession,
};
use qianli_model::Role;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::claims::{self, Claims};
use super::issuer::{self, Metadata};
use super::seal::Tokens;
use super::{Provider, Rule, Trouble, token};
use crate::access::{Logins, now_ms, secret};
use crate::error::HttpError;
use crate::{WebState, access};

/// How long somebody may take at the provider (ms).
const TIME: i64 = 10 * 60 * 1000;

/// Logins that may be under way at one time, in all.
const MOST_UNDER_WAY: i64 = 10_000;

/// Longest refresh token that is kept (bytes).
const LONGEST_REFRESH: usize = 16 << 10;

/// What the provider sends the browser back with.
#[derive(Deserialize)]
pub(crate) struct Callback {
    #[serde(default)]
    code: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    error: String,
    iss: Option<String>,
}

/// Why nobody is logged in.
pub(crate) enum Failure {
    /// The answer belongs to no login that this browser began, or to one that is over.
    Stale,
    /// The provider said no: somebody pressed Cancel, or may not use this server.
    Refused,
    /// Its tokens are not to be believed.
    Unbelievable,
    /// It does not answer.
    Unavailable,
    /// No rule of the settings gives this person anything here.
    Nowhere,
    /// The account was switched off here.
    Disabled,
    /// Something failed here.
    Here(HttpError),
}

impl Failure {
    /// For the audit trail.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Stale => "no such login under way",
            Self::Refused => "refused",
            Self::Unbelievable => "tokens not to be believed",
            Self::Unavailable => "not available",
            Self::Nowhere => "no role",
            Self::Disabled => "switched off",
            Self::Here(_) => "failed here",
        }
    }
}

impl<E: Into<HttpError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Here(error.into())
    }
}

/// Name of the cookie that binds a login to its browser.
pub(crate) fn cookie_name(logins: &Logins) -> &'static str {
    if logins.https { "__Host-qianli-login" } else { "qianli-login" }
}

fn cookie(logins: &Logins, value: &str, age: i64) -> String {
    // Lax: the provider sends the browser back from another site.
    let secure = if logins.https { "; Secure" } else { "" };
    let name = cookie_name(logins);
    format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}")
}

/// Takes the cookie away again.
pub(crate) fn clear_cookie(logins: &Logins) -> String {
    cookie(logins, "", 0)
}

fn verifier(browser: &str, state: &str) -> String {
    secret::digest(&format!("code verifier {browser} {state}"))
}

fn nonce(browser: &str, state: &str) -> String {
    secret::digest(&format!("nonce {browser} {state}"))
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A query or form of names and values.
pub(super) fn pairs(pairs: &[(&str, &str)]) -> String {
    let one = |(name, value): &(&str, &str)| format!("{name}={}", encode(value));
    pairs.iter().map(one).collect::<Vec<_>>().join("&")
}

fn callback_url(root: &str, provider: &Provider) -> String {
    format!("{root}/login/oidc/{}/callback", provider.name)
}

/// Begins a login: where to send the browser, and the cookie that it is to hold meanwhile. `root` is
/// the URL of this server, `next` a path of it.
pub(crate) async fn begin(
    state: &WebState,
    logins: &Logins,
    provider: &Provider,
    (root, next): (&str, &str),
) -> Result<(String, String), Failure> {
    let issuer = state.issuers().of(&provider.issuer).ok_or(Failure::Unavailable)?;
    let metadata = issuer.metadata().await.map_err(|trouble| said(provider, &trouble))?;
    if metadata.authorization_endpoint.is_empty() || metadata.token_endpoint.is_empty() {
        return Err(said(provider, &Trouble::Nonsense("it logs nobody in")));
    }
    let (browser, marker, now) = (secret::session(), secret::session(), now_ms());
    let row = NewOidcFlow {
        state: secret::digest(&marker),
        browser: secret::digest(&browser),
        provider: provider.name.clone(),
        next: next.to_owned(),
        at_ms: now,
        expires_ms: now.saturating_add(TIME),
    };
    if !state.archive().catalog().begin_oidc(&row, MOST_UNDER_WAY).await? {
        let busy = HttpError::unavailable("too many logins are under way; try again in a while");
        return Err(Failure::Here(busy));
    }
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier(&browser, &marker)));
    let query = pairs(&[
        ("response_type", "code"),
        ("client_id", &provider.client_id),
        ("redirect_uri", &callback_url(root, provider)),
        ("scope", &provider.scopes.join(" ")),
        ("state", &marker),
        ("nonce", &nonce(&browser, &marker)),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ]);
    let endpoint = &metadata.authorization_endpoint;
    let join = if endpoint.contains('?') { '&' } else { '?' };
    Ok((format!("{endpoint}{join}{query}"), cookie(logins, &browser, TIME / 1000)))
}

/// Logs the cause and says what the page says.
fn said(provider: &Provider, trouble: &Trouble) -> Failure {
    tracing::warn!(provider = provider.name, %trouble, "no login by a provider");
    match trouble {
        Trouble::Unavailable(_) | Trouble::Nonsense(_) => Failure::Unavailable,
        Trouble::Refused(_) => Failure::Refused,
        Trouble::Token(_) => Failure::Unbelievable,
    }
}

/// Ends a login: what the browser is to hold for its session, and where it goes.
pub(crate) async fn finish(
    state: &WebState,
    logins: &Logins,
    provider: &Provider,
    callback: &Callback,
    (root, browser): (&str, Option<&str>),
    (peer, agent): (&str, &str),
) -> Result<(String, String), Failure> {
    let catalog = state.archive().catalog();
    let (Some(browser), true) = (browser, callback.state.len() <= 256) else {
        return Err(Failure::Stale);
    };
    let marker = callback.state.as_str();
    let (state_digest, browser_digest) = (secret::digest(marker), secret::digest(browser));
    let flow = catalog.take_oidc(&state_digest, &browser_digest, &provider.name, now_ms()).await?;
    let Some(next) = flow else { return Err(Failure::Stale) };
    let issuer = state.issuers().of(&provider.issuer).ok_or(Failure::Unavailable)?;
    let found = async {
        let metadata = issuer.metadata().await?;
        // RFC 9207: an answer of one provider is no answer of another.
        let named = callback.iss.as_deref();
        let must = metadata.authorization_response_iss_parameter_supported;
        if named.map_or(must, |named| named != provider.issuer) {
            return Err(Trouble::Token("the answer comes from another issuer".into()));
        }
        if !callback.error.is_empty() || callback.code.is_empty() {
            return Err(Trouble::Refused(issuer::plain(&callback.error)));
        }
        let form = [
            ("grant_type", "authorization_code"),
            ("code", callback.code.as_str()),
            ("redirect_uri", &callback_url(root, provider)),
            ("code_verifier", &verifier(browser, marker)),
        ];
        let answer = exchange(&metadata, provider, &form).await?;
        let id = answer.id_token.as_deref().ok_or(Trouble::Nonsense("no ID token"))?;
        let nonce = nonce(browser, marker);
        let claims = token::checked_id(issuer, id, &provider.client_id, Some(&nonce)).await?;
        let claims = complete(&metadata, provider, claims, &answer).await?;
        Ok((claims, answer.id_token.unwrap_or_default(), answer.refresh_token))
    };
    let (claims, id, refresh) = found.await.map_err(|trouble| said(provider, &trouble))?;
    let admitted = admit(state, provider, &claims, peer, true).await?;
    let Admitted { person, login, tenant } = match admitted {
        Admission::In(admitted) => admitted,
        Admission::Disabled => return Err(Failure::Disabled),
        Admission::Nowhere => return Err(Failure::Nowhere),
    };
    let (session, now) = (secret::session(), now_ms());
    let tokens = Tokens { refresh: refresh.filter(|token| token.len() <= LONGEST_REFRESH), id };
    let sealed = tokens.sealed(&session);
    let sealed = sealed.ok_or_else(|| HttpError::internal("the tokens cannot be sealed"))?;
    let lifetime = i64::try_from(logins.lifetime.as_millis()).unwrap_or(i64::MAX);
    let new = NewSession {
        secret: secret::digest(&session),
        person,
        login,
        tenant,
        at_ms: now,
        expires_ms: now.saturating_add(lifetime),
        peer: peer.to_owned(),
        agent: access::login::shortened(agent).to_owned(),
    };
    let link = NewOidcLink {
        provider: provider.name.clone(),
        sealed,
        refreshes: tokens.refresh.is_some(),
    };
    catalog.open_session_of(&new, Some(&link)).await?;
    state.door().forget();
    Ok((session, next))
}

/// What the token endpoint answers (RFC 6749 section 5.1, OpenID Connect Core 3.1.3.3).
#[derive(Deserialize)]
pub(super) struct Answer {
    pub(super) access_token: Option<String>,
    pub(super) id_token: Option<String>,
    pub(super) refresh_token: Option<String>,
}

/// Asks the token endpoint, as the client that we are there.
pub(super) async fn exchange(
    metadata: &Metadata,
    provider: &Provider,
    form: &[(&str, &str)],
) -> Result<Answer, Trouble> {
    let mut form = form.to_vec();
    let client = ("client_id", provider.client_id.as_str());
    let methods = metadata.token_endpoint_auth_methods_supported.as_deref();
    // What is not said is Basic.
    let is_basic = methods.is_none_or(|all| all.iter().any(|one| one == "client_secret_basic"));
    let mut basic = None;
    match &provider.client_secret {
        None => form.push(client),
        // RFC 6749 section 2.3.1: both are encoded as in forms.
        Some(secret) if is_basic => basic = Some((encode(&provider.client_id), encode(&secret.0))),
        Some(secret) => form.extend([client, ("client_secret", secret.0.as_str())]),
    }
    let text = issuer::post(&metadata.token_endpoint, pairs(&form), basic).await?;
    serde_json::from_slice(&text).map_err(|_| Trouble::Nonsense("its tokens"))
}

/// The claims together with those that the provider tells only where it is asked about a person.
pub(super) async fn complete(
    metadata: &Metadata,
    provider: &Provider,
    mut claims: Claims,
    answer: &Answer,
) -> Result<Claims, Trouble> {
    let lacks = provider.rules.iter().any(|rule| !claims::says(&claims, rule));
    let (true, Some(url), Some(access)) =
        (lacks, &metadata.userinfo_endpoint, &answer.access_token)
    else {
        return Ok(claims);
    };
    let text = issuer::get(url, Some(access)).await?;
    let about: Value = serde_json::from_slice(&text)
        .map_err(|_| Trouble::Nonsense("its answer about a person"))?;
    let Value::Object(about) = about else {
        return Err(Trouble::Nonsense("its answer about a person"));
    };
    // Section 5.3.2: else it could be about somebody else.
    if claims::text(&about, "sub") != claims::text(&claims, "sub") {
        return Err(Trouble::Token("the provider speaks of another person".into()));
    }
    for (name, value) in about {
        // What is signed stands.
        claims.entry(name).or_insert(value);
    }
    Ok(claims)
}

/// What the rules make of somebody, by tenant; tenants that do not exist are left out.
async fn memberships(
    state: &WebState,
    rules: &[Rule<Vec<Role>>],
    claims: &Claims,
) -> Result<Vec<Membership>, HttpError> {
    let mut all: Vec<Membership> = Vec::new();
    for rule in rules.iter().filter(|rule| claims::holds(claims, rule)) {
        let Some(tenant) = state.archive().catalog().tenant(&rule.tenant).await? else {
            tracing::error!(tenant = rule.tenant, "a rule of the settings names no tenant");
            continue;
        };
        let of: &mut Vec<Role> = match all.iter_mut().find(|one| one.tenant == tenant.id) {
            Some(known) => &mut known.roles,
            None => {
                all.push(Membership { tenant: tenant.id, roles: Vec::new() });
                match all.last_mut() {
                    Some(new) => &mut new.roles,
                    None => continue,
                }
            }
        };
        of.extend(rule.gives.iter().copied());
        of.sort_unstable();
        of.dedup();
    }
    Ok(all)
}

/// Makes a person of the claims: the account of (issuer, subject), with the roles that the provider
/// gives now and no others. `may_add` when it may be a new one.
pub(super) async fn admit(
    state: &WebState,
    provider: &Provider,
    claims: &Claims,
    peer: &str,
    may_add: bool,
) -> Result<Admission, HttpError> {
    let memberships = memberships(state, &provider.rules, claims).await?;
    let name = claims::text(claims, "name").unwrap_or_default();
    let new = NewIdentity {
        issuer: provider.issuer.clone(),
        subject: claims::text(claims, "sub").unwrap_or_default().to_owned(),
        login: login_of(claims, provider),
        name: name.chars().filter(|c| !c.is_control()).take(64).collect(),
        memberships,
        may_add,
        peer: peer.to_owned(),
        at_ms: now_ms(),
    };
    Ok(state.archive().catalog().admit_identity(&new).await?)
}

/// A login for people to read: whose it is decides the subject alone. The provider's name behind it
/// keeps it apart from the accounts of this server.
fn login_of(claims: &Claims, provider: &Provider) -> String {
    let told =
        ["preferred_username", "email"].into_iter().find_map(|one| claims::text(claims, one));
    let own = told.unwrap_or_default().split('@').next().unwrap_or_default();
    let legal = |c: &char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    let own: String = own.chars().filter(legal).take(20).collect();
    let own = if own.is_empty() { "person" } else { &own };
    format!("{own}@{}", provider.name).to_lowercase()
}
