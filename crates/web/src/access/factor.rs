//! Second factors: codes of a phone (RFC 6238) and codes for the day it is lost.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use qianli_catalog::access::Totp as Kept;
use qianli_model::Scope;
use totp_rs::{Builder, Secret, Totp};

use super::{now_ms, secret};
use crate::WebState;
use crate::error::HttpError;

/// Recovery codes that somebody gets.
const CODES: usize = 10;

/// Bytes of a shared secret: the 160 bits that RFC 4226 section 4 recommends.
const BYTES: usize = 20;

/// A shared secret in base32, as phones take it.
pub(crate) fn new_secret() -> String {
    Secret::from(secret::random::<BYTES>()).to_base32()
}

/// Six digits, thirty seconds, SHA-1: what every phone can do. A code of the step before or after
/// counts too, since clocks differ.
fn totp(kept: &str) -> Option<Totp> {
    Builder::new().with_secret(Secret::try_from_base32(kept).ok()?).build().ok()
}

/// What a phone reads from the picture: the secret, for which archive it is and for whom.
pub(crate) fn uri(kept: &str, archive: &str, login: &str) -> String {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let archive = format!("Qianli {archive}");
    let (archive, login) = (encode(&archive), encode(login));
    format!("otpauth://totp/{archive}:{login}?secret={kept}&issuer={archive}")
}

/// The time step of a code that is right now.
pub(crate) fn step(kept: &str, code: &str) -> Option<i64> {
    let digits: String = code.chars().filter(|c| !c.is_whitespace()).take(7).collect();
    let now = u64::try_from(now_ms() / 1000).ok()?;
    totp(kept)?.check(&digits, now).and_then(|step| i64::try_from(step).ok())
}

/// New recovery codes: 80 random bits each, in groups that can be typed.
pub(crate) fn new_codes() -> Vec<String> {
    (0..CODES).map(|_| secret::password()).collect()
}

/// What is kept of a recovery code. The person is in it, so that equal codes are not equal rows.
pub(crate) fn digest(person: i64, code: &str) -> String {
    let plain: String = code.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    secret::digest(&format!("recovery {person} {plain}"))
}

/// Whether a code opens an account: one of the phone, or one for the day it is lost. Each does once.
///
/// # Errors
///
/// The catalog failed.
pub(crate) async fn opens(
    state: &WebState,
    scope: &Scope,
    (person, kept): (i64, &Kept),
    code: &str,
) -> Result<bool, HttpError> {
    let catalog = state.archive().catalog();
    if let Some(step) = step(&kept.secret, code) {
        return Ok(catalog.use_totp(person, step).await?);
    }
    let long = code.chars().filter(char::is_ascii_alphanumeric).count() == 16;
    Ok(long && catalog.use_recovery_code(scope, person, &digest(person, code)).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_standard() {
        // RFC 6238 appendix B: the secret is 12345678901234567890, the last six of eight digits.
        let kept = Secret::from(*b"12345678901234567890").to_base32();
        assert_eq!(kept, "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        let totp = totp(&kept).expect("a secret");
        for (time, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")]
        {
            assert_eq!(totp.generate(time).to_string(), code, "{time}");
            assert_eq!(totp.check(code, time), Some(time / 30));
            assert_eq!(totp.check(code, time + 30), Some(time / 30), "the clock of a phone");
            assert_eq!(totp.check(code, time + 60), None);
        }
    }

    #[test]
    fn secrets_and_codes_are_random_and_kept_as_digests() {
        assert_ne!(new_secret(), new_secret());
        assert_eq!(new_secret().len(), 32);
        let codes = new_codes();
        assert_eq!(codes.len(), 10);
        assert_ne!(codes[0], codes[1]);
        assert_eq!(digest(1, &codes[0]), digest(1, &codes[0].to_uppercase().replace('-', " ")));
        assert_ne!(digest(1, &codes[0]), digest(2, &codes[0]));
        let uri = uri("ABC", "images.example", "王@county");
        assert!(uri.starts_with("otpauth://totp/Qianli%20images%2Eexample:%E7%8E%8B%40county?"));
    }
}
