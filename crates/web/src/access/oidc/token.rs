//! Whether a token is to be believed: its signature by a key of its issuer, whose it is, for whom, and
//! from when until when (OpenID Connect Core 1.0 section 3.1.3.7; RFC 8725).

use jsonwebtoken::{Validation, decode, decode_header};

use super::claims::{self, Claims};
use super::issuer::Issuer;
use super::{Trouble, verify};
use crate::access::now_ms;

/// Longest token that is looked at (bytes).
pub(super) const LONGEST: usize = 16 << 10;

/// By how much clocks may differ (seconds).
pub(super) const SKEW: u64 = 30;

/// How old an ID token may be that was asked for a moment ago (seconds).
const OLDEST: i64 = 10 * 60;

fn no(why: impl Into<String>) -> Trouble {
    Trouble::Token(why.into())
}

/// The claims of a token that its issuer signed for `audience` and that holds now.
///
/// # Errors
///
/// It is not to be believed, or the issuer's keys cannot be fetched.
pub(super) async fn checked(
    issuer: &Issuer,
    token: &str,
    audience: &str,
) -> Result<Claims, Trouble> {
    if token.len() > LONGEST {
        return Err(no("too long"));
    }
    let header = decode_header(token).map_err(|error| no(reason(&error)))?;
    if verify::family(header.alg).is_none() {
        return Err(no("an algorithm that is not believed"));
    }
    // RFC 7515 section 4.1.11: what must be understood and is not.
    if header.crit.is_some() {
        return Err(no("extensions that are not understood"));
    }
    let key = issuer.key(header.kid.as_deref(), header.alg).await?;
    let mut wanted = Validation::new(header.alg);
    wanted.leeway = SKEW;
    wanted.validate_nbf = true;
    wanted.set_audience(&[audience]);
    wanted.set_issuer(&[issuer.url()]);
    wanted.set_required_spec_claims(&["exp", "iss", "aud"]);
    let claims: Claims =
        decode(token, &key.key, &wanted).map_err(|error| no(reason(&error)))?.claims;
    // The library also takes lists of issuers.
    if claims::text(&claims, "iss") != Some(issuer.url()) {
        return Err(no("InvalidIssuer"));
    }
    if !claims::is_for(&claims, audience) {
        return Err(no("InvalidAudience"));
    }
    match claims::text(&claims, "sub") {
        Some(subject) if !subject.is_empty() && subject.len() <= 255 => Ok(claims),
        _ => Err(no("no subject")),
    }
}

/// As [`checked`], for an ID token: also made for us alone, and made now. `nonce` is what we asked
/// with; a refreshed one has none.
pub(super) async fn checked_id(
    issuer: &Issuer,
    token: &str,
    client_id: &str,
    nonce: Option<&str>,
) -> Result<Claims, Trouble> {
    let claims = checked(issuer, token, client_id).await?;
    let several = claims.get("aud").and_then(|aud| aud.as_array()).is_some_and(|all| all.len() > 1);
    match claims::text(&claims, "azp") {
        Some(party) if party != client_id => return Err(no("made for another party")),
        None if several || claims.contains_key("azp") => {
            return Err(no("made for several parties"));
        }
        _ => {}
    }
    let now = now_ms() / 1000;
    let issued = claims::seconds(&claims, "iat").ok_or_else(|| no("no iat"))?;
    if issued > now.saturating_add(SKEW as i64) || issued < now.saturating_sub(OLDEST) {
        return Err(no("made at another time"));
    }
    if let Some(nonce) = nonce
        && claims::text(&claims, "nonce") != Some(nonce)
    {
        return Err(no("another nonce"));
    }
    Ok(claims)
}

/// What the library found wrong, without what stands in the token.
fn reason(error: &jsonwebtoken::errors::Error) -> String {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::Base64(_) | ErrorKind::Json(_) | ErrorKind::Utf8(_) => "not readable".into(),
        ErrorKind::Provider(_) | ErrorKind::Signing(_) => "signature".into(),
        kind => format!("{kind:?}"),
    }
}
