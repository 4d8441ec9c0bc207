//! Signatures of tokens: which algorithms are believed, and ring to check them.

use std::sync::Once;

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::signature as by_ring;
use signature::Verifier;

/// What a token may be signed with. A signature by a shared secret (HS256) is none for us: whoever
/// takes our copy of a public key for the secret could make one. `none` is not even a name.
pub(super) const BELIEVED: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// The family of keys that an algorithm takes; `None` for one that is not believed.
pub(super) fn family(algorithm: Algorithm) -> Option<AlgorithmFamily> {
    let families = [AlgorithmFamily::Rsa, AlgorithmFamily::Ec, AlgorithmFamily::Ed];
    let known = BELIEVED.contains(&algorithm);
    families.into_iter().find(|family| known && family.algorithms().contains(&algorithm))
}

/// Makes `jsonwebtoken` check signatures with ring, as everything here does.
pub(super) fn prepare() {
    static DONE: Once = Once::new();
    static RING: CryptoProvider = CryptoProvider {
        signer_factory: no_signer,
        verifier_factory: verifier,
        key_utils: KeyUtils::new_unimplemented(),
    };
    DONE.call_once(|| {
        // It fails when there is one already, which can only be this one.
        let _ = RING.install_default();
    });
}

/// This server signs no tokens.
fn no_signer(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    Err(ErrorKind::UnsupportedAlgorithm.into())
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    match family(*algorithm) {
        Some(family) if family == key.family() => {
            Ok(Box::new(ByRing { algorithm: *algorithm, key: key.clone() }))
        }
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

struct ByRing {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtVerifier for ByRing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for ByRing {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        // RSA keys have 2048 bits at least, by the names of ring's algorithms.
        let rsa = match self.algorithm {
            Algorithm::RS256 => Some(&by_ring::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::RS384 => Some(&by_ring::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::RS512 => Some(&by_ring::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::PS256 => Some(&by_ring::RSA_PSS_2048_8192_SHA256),
            Algorithm::PS384 => Some(&by_ring::RSA_PSS_2048_8192_SHA384),
            Algorithm::PS512 => Some(&by_ring::RSA_PSS_2048_8192_SHA512),
            _ => None,
        };
        let right = match (rsa, self.key.kind()) {
            (Some(how), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                by_ring::RsaPublicKeyComponents { n: number(n), e: number(e) }
                    .verify(how, message, signature)
                    .is_ok()
            }
            (None, DecodingKeyKind::SecretOrDer(point)) => {
                let how: &'static dyn by_ring::VerificationAlgorithm = match self.algorithm {
                    Algorithm::ES256 => &by_ring::ECDSA_P256_SHA256_FIXED,
                    Algorithm::ES384 => &by_ring::ECDSA_P384_SHA384_FIXED,
                    Algorithm::EdDSA => &by_ring::ED25519,
                    _ => return Err(signature::Error::new()),
                };
                by_ring::UnparsedPublicKey::new(how, point).verify(message, signature).is_ok()
            }
            _ => false,
        };
        if right { Ok(()) } else { Err(signature::Error::new()) }
    }
}

/// Some write numbers with zeros in front, which ring does not take.
fn number(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}
