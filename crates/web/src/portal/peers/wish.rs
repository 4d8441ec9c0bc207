//! What a form or a program asks of a row of the register, before it is known to be possible.

use qianli_catalog::peers::PeerChange;
use qianli_model::peer::{CertificateRule, Coercions};
use qianli_model::{AeTitle, Permissions};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{LONGEST, PERMISSIONS};

/// What coercions are made of.
const COERCIONS: &str = "coercions can have charset and charset_instead (names of encodings), issuer, and \
    without (a list of private creators, or * or -)";

/// The fields of a form about coercions.
fn coercions(value: impl Fn(&str) -> String) -> Value {
    let text = |name: &str| Some(value(name)).filter(|text| !text.is_empty());
    let without = value("without");
    let names = without.split(',').map(str::trim).filter(|name| !name.is_empty());
    json!({
        "charset": text("charset"), "charset_instead": text("charset_instead"),
        "issuer": text("issuer"), "without": names.collect::<Vec<_>>(),
    })
}

/// What is to change; in a text for whom the row is, nothing means any.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::portal) struct Wish {
    pub label: Option<String>,
    #[serde(default, deserialize_with = "said")]
    pub called: Option<Option<String>>,
    #[serde(default, deserialize_with = "said")]
    pub network: Option<Option<String>>,
    #[serde(default, deserialize_with = "said")]
    pub certificate: Option<Option<String>>,
    pub permissions: Option<Vec<String>>,
    pub disabled: Option<bool>,
    pub coercions: Option<Value>,
}

/// A member that is there, null or not.
fn said<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

impl Wish {
    /// Reads the fields of a form, which has them all.
    pub(in crate::portal) fn of_form(pairs: &[(String, String)]) -> Self {
        let value = |name: &str| {
            let found = pairs.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let chosen = pairs.iter().filter(|(key, _)| key == "permission");
        Self {
            label: Some(value("label")),
            called: Some(Some(value("called"))),
            network: Some(Some(value("network"))),
            certificate: Some(Some(value("certificate"))),
            permissions: Some(chosen.map(|(_, value)| value.clone()).collect()),
            disabled: Some(value("disabled") == "true"),
            coercions: Some(coercions(value)),
        }
    }

    /// The change, or what is wrong with it.
    pub(in crate::portal) fn change(self) -> Result<PeerChange, &'static str> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let plain = |label: &String| {
            label.chars().count() <= LONGEST && !label.chars().any(char::is_control)
        };
        if !self.label.as_ref().is_none_or(plain) {
            return Err("label is too long, or not plain text");
        }
        Ok(PeerChange {
            label: self.label,
            called: match self.called.map(given) {
                None => None,
                Some(text) => Some(
                    text.map(|title| AeTitle::parse(&title))
                        .transpose()
                        .map_err(|_| "called must be an AE title of 1 to 16 characters")?,
                ),
            },
            network: match self.network.map(given) {
                None => None,
                Some(text) => Some(text.map(|text| text.parse()).transpose().map_err(
                    |_: String| "network must be an address or a network such as 10.1.0.0/16",
                )?),
            },
            certificate: match self.certificate.map(given) {
                None => None,
                Some(None) => Some(None),
                Some(Some(text)) => Some(Some(
                    CertificateRule::parse(&text)
                        .ok_or("certificate must be a SHA-256 or the subject of a certificate")?,
                )),
            },
            permissions: self.permissions.as_deref().map(permissions).transpose()?,
            disabled: self.disabled,
            coercions: match self.coercions {
                None => None,
                Some(value) => Some(Coercions::from_json(&value).ok_or(COERCIONS)?),
            },
        })
    }
}

fn permissions(names: &[String]) -> Result<Permissions, &'static str> {
    Permissions::parse(&names.join(","))
        .filter(|set| !set.is_none() && set.iter().all(|one| PERMISSIONS.contains(&one)))
        .ok_or("permissions must be some of store, read and worklist")
}
