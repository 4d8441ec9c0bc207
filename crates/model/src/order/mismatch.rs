//! Whether a study is what was ordered: what differs between the two, and the words for it.

use serde::{Deserialize, Serialize};

use super::Order;
use crate::name::{fold, fold_text, groups};

/// Why a person should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MismatchKind {
    /// The study has the numbers of an order of another patient.
    OtherPatient,
    /// The patient is the one that was ordered, but name, birth date or sex differ.
    Demographics,
    /// Nothing was ordered, although the sender asks for worklists.
    NoOrder,
    /// It was performed, and no images came.
    NoImages,
}

impl MismatchKind {
    /// Every kind.
    pub const ALL: [Self; 4] =
        [Self::OtherPatient, Self::Demographics, Self::NoOrder, Self::NoImages];

    /// The word that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OtherPatient => "other-patient",
            Self::Demographics => "demographics",
            Self::NoOrder => "no-order",
            Self::NoImages => "no-images",
        }
    }

    /// The kind of a stored word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// What a stored study says of its patient and order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Patient ID.
    pub patient_id: String,
    /// Issuer of Patient ID.
    pub issuer: String,
    /// Patient's Name.
    pub name: String,
    /// Patient's Birth Date.
    pub birth_date: String,
    /// Patient's Sex.
    pub sex: String,
    /// Accession Number.
    pub accession: String,
}

/// Something in which a study is not what was ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// Patient ID, or its issuer.
    PatientId,
    /// Patient's Name.
    Name,
    /// Patient's Birth Date.
    BirthDate,
    /// Patient's Sex.
    Sex,
    /// Accession Number.
    Accession,
}

impl Difference {
    /// Its word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PatientId => "patient-id",
            Self::Name => "name",
            Self::BirthDate => "birth-date",
            Self::Sex => "sex",
            Self::Accession => "accession",
        }
    }
}

/// In what a study differs from its order. What one of them leaves empty does not differ, except
/// the Patient ID.
pub fn differences(order: &Order, seen: &Seen) -> Vec<Difference> {
    let mut found = Vec::new();
    let other = |a: &str, b: &str| !a.is_empty() && !b.is_empty() && a != b;
    let patient = &order.patient;
    if fold_text(&patient.id) != fold_text(&seen.patient_id)
        || other(&fold_text(&patient.issuer), &fold_text(&seen.issuer))
    {
        found.push(Difference::PatientId);
    }
    if !same_name(&patient.name, &seen.name) {
        found.push(Difference::Name);
    }
    if other(&patient.birth_date, &seen.birth_date) {
        found.push(Difference::BirthDate);
    }
    if other(&patient.sex, &seen.sex) {
        found.push(Difference::Sex);
    }
    if other(&fold_text(&order.accession), &fold_text(&seen.accession)) {
        found.push(Difference::Accession);
    }
    found
}

/// Names are the same when the groups that both have are, whatever case, width or separators.
/// Modalities often keep one group only, or put the ideographic one first.
fn same_name(ordered: &str, seen: &str) -> bool {
    let (ordered, seen) = (groups(ordered), groups(seen));
    let key = |text: &str| fold(text).replace([' ', ','], "");
    let pairs = [
        (ordered.alphabetic, seen.alphabetic),
        (ordered.ideographic, seen.ideographic),
        (ordered.ideographic, seen.alphabetic),
        (ordered.alphabetic, seen.ideographic),
    ];
    let both = || pairs.iter().filter(|(a, b)| !a.is_empty() && !b.is_empty());
    both().next().is_none() || both().any(|(a, b)| key(a) == key(b))
}
