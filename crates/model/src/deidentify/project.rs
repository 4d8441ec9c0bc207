//! A project: a name, a secret key, and the pseudonyms that follow from them.
//!
//! Every pseudonym is a keyed hash of what it stands for: the same within a project, unrelated
//! between projects, and without the key neither computed nor tried out.

use std::fmt;

use super::PatientTable;
use super::identity::Identity;

/// Longest name of a project: with twelve more characters it fits into an SH value.
const LONGEST_NAME: usize = 32;

/// Shortest key file (bytes).
const SHORTEST_KEY: usize = 16;

/// Digits of pseudonyms, without those that are mistaken for others.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A project's name and secrets.
#[derive(Clone)]
pub struct Project {
    name: String,
    key: [u8; 32],
    patients: PatientTable,
}

/// Why there can be no such project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProjectError {
    /// The name would not fit into identifiers.
    #[error("a project's name is 1 to 32 letters A-Z, digits, - or _")]
    Name,
    /// The key could be guessed.
    #[error("a project's key has at least 16 bytes")]
    Key,
    /// A pseudonym of the table is no identifier.
    #[error("a pseudonym is 1 to 64 printable characters of ASCII, without backslash, ^ and =")]
    Pseudonym,
}

impl Project {
    /// A project whose key is derived from `secret`, of any length from 16 bytes.
    ///
    /// # Errors
    ///
    /// See [`ProjectError`].
    pub fn new(name: &str, secret: &[u8]) -> Result<Self, ProjectError> {
        let fits = (1..=LONGEST_NAME).contains(&name.len());
        let allowed = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b"-_".contains(&b);
        if !fits || !name.bytes().all(allowed) {
            return Err(ProjectError::Name);
        }
        if secret.len() < SHORTEST_KEY {
            return Err(ProjectError::Key);
        }
        let mut material = name.as_bytes().to_vec();
        material.push(0);
        material.extend_from_slice(secret);
        let key =
            blake3::derive_key("Qianli 2026 pseudonyms of a de-identification project", &material);
        Ok(Self { name: name.to_owned(), key, patients: PatientTable::new() })
    }

    /// Uses these pseudonyms for these Patient IDs; others still get computed ones.
    ///
    /// # Errors
    ///
    /// [`ProjectError::Pseudonym`].
    pub fn with_patients(mut self, patients: PatientTable) -> Result<Self, ProjectError> {
        let fits = |text: &String| {
            (1..=64).contains(&text.len())
                && text.bytes().all(|b| (b' '..=b'~').contains(&b) && !b"\\^=".contains(&b))
        };
        if !patients.values().all(fits) {
            return Err(ProjectError::Pseudonym);
        }
        self.patients = patients;
        Ok(self)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pseudonym of a UID, under 2.25 (PS3.5 annex B.2). UIDs of the standard stay.
    pub fn uid(&self, uid: &str) -> String {
        let uid = uid.trim_matches([' ', '\0']);
        if uid.is_empty() || is_standard_uid(uid) {
            return uid.to_owned();
        }
        let hash = self.hash("uid", uid.as_bytes());
        let (number, _) = hash.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
        format!("2.25.{}", u128::from_be_bytes(*number))
    }

    /// The pseudonym of a patient, for Patient ID and Patient's Name alike.
    pub fn patient_id(&self, identity: &Identity) -> String {
        if let Some(given) = self.patients.get(identity.patient_id()) {
            return given.clone();
        }
        format!("{}-{}", self.name, self.code("patient", &identity.patient_key()))
    }

    /// By how many days a patient's dates are moved into the past: 30 days to about ten years.
    pub(super) fn days(&self, identity: &Identity) -> i64 {
        let hash = self.hash("days", identity.patient_key().as_bytes());
        let (number, _) = hash.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        30 + i64::try_from(u64::from_be_bytes(*number) % 3600).unwrap_or(0)
    }

    /// The pseudonym of another person.
    pub(super) fn person(&self, name: &str) -> String {
        format!("ANON-{}", self.code("person", &name.trim_matches([' ', '^', '=']).to_uppercase()))
    }

    /// Twelve letters and digits (60 bits) for an identifier of the given kind.
    pub(super) fn code(&self, kind: &str, value: &str) -> String {
        let hash = self.hash(kind, value.trim().as_bytes());
        hash.iter().take(12).map(|b| char::from(DIGITS[usize::from(b % 32)])).collect()
    }

    fn hash(&self, kind: &str, value: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(kind.as_bytes());
        hasher.update(&[0]);
        hasher.update(value);
        *hasher.finalize().as_bytes()
    }
}

/// The key is not shown.
impl fmt::Debug for Project {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Project").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Whether a UID is one of the registry of PS3.6: a class, a syntax, a coding scheme, a well-known
/// instance or frame of reference. Longer ones under DICOM's root are somebody's mistake, and may
/// hold anything.
pub(super) fn is_standard_uid(uid: &str) -> bool {
    uid.starts_with("1.2.840.10008.") && uid.len() <= 36
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(name: &str, secret: &[u8]) -> Project {
        Project::new(name, secret).expect("a project")
    }

    #[test]
    fn uids_are_the_same_within_a_project_and_others_elsewhere() {
        let a = project("A", b"0123456789abcdef");
        let mapped = a.uid("1.2.3.4");
        assert_eq!(mapped, a.uid("1.2.3.4\0"));
        assert_ne!(mapped, a.uid("1.2.3.5"));
        assert_ne!(mapped, project("B", b"0123456789abcdef").uid("1.2.3.4"));
        assert_ne!(mapped, project("A", b"0123456789abcdeF").uid("1.2.3.4"));
        let number = mapped.strip_prefix("2.25.").expect("the UUID arc");
        assert!(mapped.len() <= 64 && number.parse::<u128>().is_ok(), "{mapped}");
        assert_eq!(a.uid("1.2.840.10008.1.4.1.1"), "1.2.840.10008.1.4.1.1");
        assert_ne!(a.uid("1.2.840.113619.2.5"), "1.2.840.113619.2.5");
        let abused = "1.2.840.10008.20040826185059.5457.4711.1";
        assert_ne!(a.uid(abused), abused);
    }

    #[test]
    fn names_and_keys_are_checked() {
        for name in ["", "trial", "A B", "Ä", &"A".repeat(33)] {
            assert_eq!(Project::new(name, &[1; 32]).err(), Some(ProjectError::Name), "{name}");
        }
        assert_eq!(Project::new("A", &[1; 15]).err(), Some(ProjectError::Key));
        let shown = format!("{:?}", project("A", b"0123456789abcdef"));
        assert_eq!(shown, "Project { name: \"A\", .. }");
    }
}
