//! What a provider gave us for a session, as the catalog keeps it: sealed with the secret that only
//! the browser holds. Whoever reads the database has neither a session nor a refresh token.

use argon2::password_hash::rand_core::{OsRng, RngCore};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

use crate::access::secret;

/// Binds the key to this use of it.
const CONTEXT: &str = "qianli 2026-11-22 tokens of an identity provider for one session";

/// Tokens of a provider.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tokens {
    /// Asks the provider whether the session may go on.
    pub(super) refresh: Option<String>,
    /// Tells the provider at the logout whose it is.
    pub(super) id: String,
}

fn key(session: &str) -> Option<LessSafeKey> {
    let key = blake3::derive_key(CONTEXT, session.as_bytes());
    UnboundKey::new(&CHACHA20_POLY1305, &key).ok().map(LessSafeKey::new)
}

impl Tokens {
    /// Sealed for the session of a secret.
    pub(super) fn sealed(&self, session: &str) -> Option<String> {
        let mut bytes = serde_json::to_vec(self).ok()?;
        let mut nonce = [0; NONCE_LEN];
        OsRng.fill_bytes(&mut nonce);
        let aad = Aad::from(secret::digest(session));
        let unique = Nonce::assume_unique_for_key(nonce);
        key(session)?.seal_in_place_append_tag(unique, aad, &mut bytes).ok()?;
        Some(STANDARD_NO_PAD.encode([&nonce, bytes.as_slice()].concat()))
    }

    /// Opened again. `None` when it was sealed for another session, or altered.
    pub(super) fn opened(sealed: &str, session: &str) -> Option<Self> {
        let bytes = STANDARD_NO_PAD.decode(sealed).ok()?;
        let (nonce, rest) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let mut rest = rest.to_vec();
        let aad = Aad::from(secret::digest(session));
        let unique = Nonce::assume_unique_for_key(*nonce);
        let open = key(session)?.open_in_place(unique, aad, &mut rest).ok()?.len();
        serde_json::from_slice(rest.get(..open)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_session_opens_what_was_sealed_for_it() {
        let tokens = Tokens { refresh: Some("refresh".into()), id: "a.b.c".into() };
        let sealed = tokens.sealed("one").expect("sealed");
        assert!(Tokens::opened(&sealed, "one") == Some(tokens.clone()));
        assert!(Tokens::opened(&sealed, "two").is_none());
        assert_ne!(tokens.sealed("one").expect("sealed"), sealed, "never the same twice");
        let clear = STANDARD_NO_PAD.decode(&sealed).expect("base64");
        assert!(!clear.windows(7).any(|part| part == b"refresh"));
        let mut altered = clear;
        altered[20] ^= 1;
        assert!(Tokens::opened(&STANDARD_NO_PAD.encode(altered), "one").is_none());
        assert!(Tokens::opened("", "one").is_none());
    }
}
