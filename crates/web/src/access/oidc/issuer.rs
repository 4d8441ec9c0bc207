//! One issuer: its discovery document and its keys, fetched when they are needed, kept, and asked for
//! again when a token names a key that is not among them. A flood of such tokens is no flood of
//! requests to the provider.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::http::Uri;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use qianli_model::address::is_loopback;
use serde::Deserialize;
use serde_json::Value;

use super::{Trouble, verify};
use crate::rate::RateLimiter;

/// How long a provider may take to answer, all in all.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest answer of a provider (bytes).
const LONGEST: usize = 256 << 10;

/// How long documents and keys are used without asking again.
const FRESH: Duration = Duration::from_secs(3600);

/// Unknown keys that are looked for at once, and the time after which as many can be again.
const LOOKED_FOR: (u32, Duration) = (3, Duration::from_secs(30));

/// Keys of one issuer that are kept.
const MOST_KEYS: usize = 100;

/// What we read of a discovery document (OpenID Connect Discovery 1.0, section 3).
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Metadata {
    issuer: String,
    #[serde(default)]
    pub(super) authorization_endpoint: String,
    #[serde(default)]
    pub(super) token_endpoint: String,
    jwks_uri: String,
    pub(super) userinfo_endpoint: Option<String>,
    pub(super) end_session_endpoint: Option<String>,
    pub(super) token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// Whether callbacks name their issuer (RFC 9207).
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

/// A public key.
#[derive(Clone)]
pub(super) struct Key {
    id: Option<String>,
    algorithm: Option<KeyAlgorithm>,
    pub(super) key: DecodingKey,
}

#[derive(Default)]
struct Kept {
    metadata: Option<(Instant, Arc<Metadata>)>,
    keys: Option<(Instant, Arc<Vec<Key>>)>,
}

/// One issuer.
pub(crate) struct Issuer {
    url: String,
    kept: RwLock<Kept>,
    /// One request at a time: whoever waited finds what the one before fetched.
    turn: tokio::sync::Mutex<()>,
    searches: Option<RateLimiter<()>>,
}

impl Issuer {
    pub(super) fn new(url: &str) -> Self {
        verify::prepare();
        Self {
            url: url.to_owned(),
            kept: RwLock::default(),
            turn: tokio::sync::Mutex::new(()),
            searches: RateLimiter::new(LOOKED_FOR.0, LOOKED_FOR.1),
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    fn known<T>(&self, of: impl Fn(&Kept) -> Option<(Instant, Arc<T>)>) -> Option<(bool, Arc<T>)> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        of(&kept).map(|(at, known)| (at.elapsed() < FRESH, known))
    }

    /// The discovery document. An old one serves while the provider is away.
    pub(super) async fn metadata(&self) -> Result<Arc<Metadata>, Trouble> {
        if let Some((true, known)) = self.known(|kept| kept.metadata.clone()) {
            return Ok(known);
        }
        let _turn = self.turn.lock().await;
        let known = self.known(|kept| kept.metadata.clone());
        if let Some((true, known)) = known {
            return Ok(known);
        }
        match (self.discover().await, known) {
            (Ok(metadata), _) => {
                let metadata = Arc::new(metadata);
                let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
                kept.metadata = Some((Instant::now(), Arc::clone(&metadata)));
                Ok(metadata)
            }
            (Err(trouble), Some((_, old))) => {
                tracing::warn!(issuer = self.url, %trouble, "its older discovery document is used");
                Ok(old)
            }
            (Err(trouble), None) => Err(trouble),
        }
    }

    async fn discover(&self) -> Result<Metadata, Trouble> {
        let base = self.url.trim_end_matches('/');
        let url = format!("{base}/.well-known/openid-configuration");
        let metadata: Metadata = serde_json::from_slice(&get(&url, None).await?)
            .map_err(|_| Trouble::Nonsense("its discovery document"))?;
        // Section 4.3: else one provider could speak for another.
        if metadata.issuer != self.url {
            return Err(Trouble::Nonsense("its discovery document names another issuer"));
        }
        let given = [&metadata.authorization_endpoint, &metadata.token_endpoint];
        let optional = [&metadata.userinfo_endpoint, &metadata.end_session_endpoint];
        let endpoints = given.into_iter().filter(|url| !url.is_empty());
        let endpoints = endpoints.chain(optional.into_iter().flatten()).chain([&metadata.jwks_uri]);
        if endpoints.into_iter().any(|url| !is_safe_url(url)) {
            return Err(Trouble::Nonsense("an endpoint that is not https"));
        }
        Ok(metadata)
    }

    /// The key for a token's header.
    pub(super) async fn key(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Key, Trouble> {
        let known = self.known(|kept| kept.keys.clone());
        if let Some((true, keys)) = &known
            && let Some(key) = choose(keys, id, algorithm)
        {
            return Ok(key);
        }
        // Where it comes from is asked before the turn is taken, since that takes a turn too.
        let metadata = self.metadata().await?;
        let _turn = self.turn.lock().await;
        let again = self.known(|kept| kept.keys.clone());
        let changed = match (&known, &again) {
            (Some((_, old)), Some((_, new))) => !Arc::ptr_eq(old, new),
            (None, now) => now.is_some(),
            (Some(_), None) => false,
        };
        let unknown = || Trouble::Token("signed by a key that the issuer does not have".into());
        if changed && let Some((_, keys)) = &again {
            // Somebody else fetched them while we waited.
            if let Some(key) = choose(keys, id, algorithm) {
                return Ok(key);
            }
        }
        let may = self.searches.as_ref().is_none_or(|all| all.take((), Instant::now()).is_ok());
        let old = again.and_then(|(_, keys)| choose(&keys, id, algorithm));
        if !may {
            return old.ok_or_else(unknown);
        }
        match fetch_keys(&metadata.jwks_uri).await {
            Ok(keys) => {
                let keys = Arc::new(keys);
                let chosen = choose(&keys, id, algorithm);
                let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
                kept.keys = Some((Instant::now(), keys));
                chosen.ok_or_else(unknown)
            }
            // Old keys serve while the provider is away.
            Err(trouble) => old.ok_or(trouble),
        }
    }
}

/// The one key that a header means: by its name, or, where tokens name none, the only one.
fn choose(keys: &[Key], id: Option<&str>, algorithm: Algorithm) -> Option<Key> {
    let family = verify::family(algorithm)?;
    let mut fitting = keys.iter().filter(|key| {
        let named = id.is_none_or(|id| key.id.as_deref() == Some(id));
        let meant = key.algorithm.is_none_or(|of_key| is_same(of_key, algorithm));
        named && meant && key.key.family() == family
    });
    match (fitting.next(), fitting.next()) {
        (Some(key), None) => Some(key.clone()),
        _ => None,
    }
}

fn is_same(of_key: KeyAlgorithm, algorithm: Algorithm) -> bool {
    of_key.to_string().parse() == Ok(algorithm)
}

async fn fetch_keys(url: &str) -> Result<Vec<Key>, Trouble> {
    let text = get(url, None).await?;
    let set: Value = serde_json::from_slice(&text).map_err(|_| Trouble::Nonsense("its keys"))?;
    let list = set.get("keys").and_then(Value::as_array).ok_or(Trouble::Nonsense("its keys"))?;
    // A key of a kind that is unknown here is no reason to leave the others.
    let keys = list.iter().take(MOST_KEYS).filter_map(|one| {
        let jwk: Jwk = serde_json::from_value(one.clone()).ok()?;
        let signs = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
        let secret = matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_));
        if !signs || secret {
            return None;
        }
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Key { id: jwk.common.key_id, algorithm: jwk.common.key_algorithm, key })
    });
    Ok(keys.collect())
}

/// Whether a URL may be asked: over TLS, or on this machine.
pub fn is_safe_url(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return false };
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return false;
    }
    let host = authority.host().trim_matches(['[', ']']);
    let here = host == "localhost" || host.parse().is_ok_and(is_loopback);
    scheme == "https" || (scheme == "http" && here)
}

/// The client for providers: no redirects, since an endpoint is what the discovery document says.
fn client() -> Result<&'static reqwest::Client, Trouble> {
    static CLIENT: OnceLock<Option<reqwest::Client>> = OnceLock::new();
    let made = CLIENT.get_or_init(|| {
        // Set already in the server; this is for those who use the crate alone.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder()
            .timeout(PATIENCE)
            .connect_timeout(PATIENCE / 2)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("qianli/", env!("CARGO_PKG_VERSION")))
            .build()
            .inspect_err(|error| tracing::error!(%error, "no HTTP client for identity providers"))
            .ok()
    });
    made.as_ref().ok_or_else(|| Trouble::Unavailable("no HTTP client".into()))
}

/// GET of a JSON document, perhaps with an access token.
pub(super) async fn get(url: &str, token: Option<&str>) -> Result<Vec<u8>, Trouble> {
    let mut request = client()?.get(url).header("accept", "application/json");
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let (status, body) = answered(request).await?;
    match status {
        200 => Ok(body),
        401 | 403 => Err(Trouble::Refused(format!("status {status}"))),
        _ => Err(Trouble::Unavailable(format!("status {status}"))),
    }
}

/// POST of a form to the token endpoint.
pub(super) async fn post(
    url: &str,
    form: String,
    basic: Option<(String, String)>,
) -> Result<Vec<u8>, Trouble> {
    let mut request = client()?
        .post(url)
        .header("accept", "application/json")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    if let Some((name, secret)) = basic {
        request = request.basic_auth(name, Some(secret));
    }
    let (status, body) = answered(request).await?;
    match status {
        200 => Ok(body),
        // RFC 6749 section 5.2.
        400..=428 | 430..=499 => {
            let error = serde_json::from_slice::<Value>(&body).ok();
            let code = error.as_ref().and_then(|error| error.get("error")?.as_str());
            Err(Trouble::Refused(plain(code.unwrap_or("no reason"))))
        }
        _ => Err(Trouble::Unavailable(format!("status {status}"))),
    }
}

/// An error code as it may stand in a log.
pub(super) fn plain(code: &str) -> String {
    let legal = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ');
    code.chars().filter(legal).take(64).collect()
}

async fn answered(request: reqwest::RequestBuilder) -> Result<(u16, Vec<u8>), Trouble> {
    // The URL is left out: it may hold what nobody is to read.
    let away = |error: reqwest::Error| Trouble::Unavailable(error.without_url().to_string());
    let mut response = request.send().await.map_err(away)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(away)? {
        if body.len() + chunk.len() > LONGEST {
            return Err(Trouble::Nonsense("its answer is too long"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((response.status().as_u16(), body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_or_this_machine() {
        for url in [
            "https://id.example",
            "https://id.example:8443/x",
            "http://127.0.0.1:4000",
            "http://localhost:4000/oidc",
            "http://[::1]:1",
        ] {
            assert!(is_safe_url(url), "{url}");
        }
        for url in [
            "http://id.example",
            "http://127.0.0.1@evil.example/",
            "ftp://localhost",
            "https://",
            "//id.example",
            "id.example",
            "",
            "http://localhost.evil.example",
        ] {
            assert!(!is_safe_url(url), "{url}");
        }
    }
}
