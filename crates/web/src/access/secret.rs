//! Passwords and random secrets: how they are made, and how they are kept.

use argon2::password_hash::rand_core::{OsRng, RngCore};
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use sha2::{Digest, Sha256};

/// Shortest password (characters), as OWASP ASVS 2.1.1 asks for.
pub const SHORTEST: usize = 12;

/// Longest password (characters); what is longer is a slip or an attack on our processor.
pub const LONGEST: usize = 128;

/// Guesses that a password has to withstand, as a power of ten (ASVS 2.1.7: what was breached often is
/// tried first). At the speed that the locks of accounts allow this is for ever; with the hashes in hand
/// it is months.
const GUESSES_LOG10: f64 = 8.0;

/// Characters of a password that are looked up.
const LOOKED_AT: usize = 64;

/// Letters of generated passwords: none that look like others.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// In front of every API token, so that scanners of source code recognise one.
const TOKEN: &str = "qianli_";

/// Why a password is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    /// It has too few characters.
    #[error("a password has at least {SHORTEST} characters")]
    Short,
    /// It has too many characters.
    #[error("a password has at most {LONGEST} characters")]
    Long,
    /// Anybody would try it.
    #[error("this password is too easy to guess: it repeats itself or the login name")]
    Guessable,
    /// It is on the lists of common passwords, or made of what is.
    #[error("this password is made of words and patterns that are tried first")]
    Common,
}

/// Whether a password may be used for a login.
///
/// # Errors
///
/// See [`WeakPassword`].
pub fn check(login: &str, password: &str) -> Result<(), WeakPassword> {
    let count = password.chars().count();
    if count < SHORTEST {
        return Err(WeakPassword::Short);
    }
    if count > LONGEST {
        return Err(WeakPassword::Long);
    }
    let folded = password.to_lowercase();
    let mut different: Vec<char> = folded.chars().collect();
    different.sort_unstable();
    different.dedup();
    let rest = folded.replace(&login.to_lowercase(), "");
    let steps = folded.as_bytes().windows(2).filter(|pair| pair[0].abs_diff(pair[1]) == 1).count();
    let is_run = folded.is_ascii() && steps + 3 >= count;
    if different.len() < 5 || rest.chars().count() < SHORTEST / 2 || is_run {
        return Err(WeakPassword::Guessable);
    }
    // What is behind this many characters makes it no weaker, and the search takes longer with each.
    let looked_at: String = password.chars().take(LOOKED_AT).collect();
    let known = zxcvbn::zxcvbn(&looked_at, &[login, "qianli", "dicom", "pacs", "hospital"]);
    if known.guesses_log10() < GUESSES_LOG10 {
        return Err(WeakPassword::Common);
    }
    Ok(())
}

/// Argon2id with the first of the parameters that OWASP recommends: 19 MiB, two passes.
fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default())
}

/// Hash of a password with its salt and parameters. Takes tens of milliseconds.
///
/// # Errors
///
/// The system gives no random bytes or no memory.
pub fn hash(password: &str) -> Result<String, argon2::password_hash::Error> {
    let salt = SaltString::generate(&mut OsRng);
    Ok(argon2().hash_password(password.as_bytes(), &salt)?.to_string())
}

/// Whether a password is the one of a hash. Takes as long for a hash that is none.
pub fn verify(password: &str, hash: &str) -> bool {
    let password = password.as_bytes();
    if let Ok(parsed) = PasswordHash::new(hash) {
        return argon2().verify_password(password, &parsed).is_ok();
    }
    // The work of a comparison, whose result means nothing.
    if let Ok(salt) = SaltString::from_b64("c29tZSBvdGhlciBzYWx0") {
        drop(argon2().hash_password(password, &salt));
    }
    false
}

pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsRng.fill_bytes(&mut bytes);
    bytes
}

fn letters(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()
}

/// A password for somebody who will change it: 80 random bits in four groups.
pub fn password() -> String {
    let letters = letters(&random::<16>());
    [&letters[..4], &letters[4..8], &letters[8..12], &letters[12..]].join("-")
}

/// What a browser holds for a session: 160 random bits.
pub fn session() -> String {
    letters(&random::<32>())
}

/// An API token: 160 random bits.
pub fn token() -> String {
    format!("{TOKEN}{}", letters(&random::<32>()))
}

/// Whether a text looks like an API token of ours.
pub(super) fn is_token(text: &str) -> bool {
    text.starts_with(TOKEN)
}

/// A new code of six digits, which somebody is told beside a link.
pub fn code() -> String {
    let number = u64::from_le_bytes(random::<8>());
    // Of 2^64 numbers, the last incomplete million is too few to matter.
    format!("{:06}", number % 1_000_000)
}

/// What is kept of a session's or token's secret. Both are random, so that a fast digest is enough.
pub fn digest(secret: &str) -> String {
    Sha256::digest(secret.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_passwords_pass_and_others_do_not() {
        let kept = hash("correct horse battery").expect("a hash");
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert!(verify("correct horse battery", &kept));
        assert!(!verify("Correct horse battery", &kept));
        assert_ne!(hash("correct horse battery").expect("a hash"), kept, "salted");
        for none in ["", "correct horse battery", "$argon2id$"] {
            assert!(!verify("correct horse battery", none), "{none:?}");
        }
    }

    #[test]
    fn weak_passwords_are_refused() {
        for (password, expected) in [
            ("short", Err(WeakPassword::Short)),
            ("aaaaaaaaaaaaaaaa", Err(WeakPassword::Guessable)),
            ("abababababab", Err(WeakPassword::Guessable)),
            ("abcdefghijklmn", Err(WeakPassword::Guessable)),
            ("wangxiaodong12", Err(WeakPassword::Guessable)),
            ("県病院の影像サーバー一号", Ok(())),
            ("tin-mole-vast-9", Ok(())),
            (&"x1".repeat(65), Err(WeakPassword::Long)),
            ("password1234", Err(WeakPassword::Common)),
            ("Passw0rd2024!", Err(WeakPassword::Common)),
            ("qwertyuiop12", Err(WeakPassword::Common)),
            ("1q2w3e4r5t6y", Err(WeakPassword::Common)),
            ("iloveyou1234", Err(WeakPassword::Common)),
            ("administrator", Err(WeakPassword::Common)),
            ("correct horse battery staple", Ok(())),
        ] {
            assert_eq!(check("WangXiaodong", password), expected, "{password}");
        }
        assert_eq!(check("admin", &password()), Ok(()));
    }

    #[test]
    fn whatever_a_password_is_made_of_it_is_looked_at_in_no_time() {
        for hard in ["password".repeat(16), "a1".repeat(64), "qwertyuiop".repeat(12) + "1234567"] {
            let began = std::time::Instant::now();
            let _ = check("wang", &hard);
            println!("{:?}", began.elapsed());
        }
        for made in (0..200).map(|_| password()) {
            assert_eq!(check("admin", &made), Ok(()), "{made}");
        }
    }

    #[test]
    fn secrets_are_long_and_never_the_same() {
        assert_ne!(session(), session());
        assert_eq!(session().len(), 32);
        assert!(token().starts_with("qianli_"));
        assert_eq!(password().len(), 19);
        assert_eq!(digest("abc").len(), 64);
    }
}
