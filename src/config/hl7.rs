//! `[[hl7]]` of the settings: where orders come in by HL7 v2 over MLLP, from whom, and for whom.

use std::net::SocketAddr;

use anyhow::{anyhow, bail};
use qianli_model::address::is_loopback;
use qianli_model::hl7::Envelope;
use qianli_model::peer::Network;
use serde::Deserialize;

use super::Address;

/// One `[[hl7]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hl7Settings {
    address: Address,
    #[serde(default = "usual_tenant")]
    tenant: String,
    #[serde(default)]
    senders: Vec<String>,
    #[serde(default)]
    tls: bool,
    #[serde(default)]
    receivers: Vec<ReceiverSettings>,
}

/// One `[[hl7.receivers]]`: whose orders messages to an application or facility are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiverSettings {
    #[serde(default)]
    application: String,
    #[serde(default)]
    facility: String,
    tenant: String,
}

fn usual_tenant() -> String {
    "default".to_owned()
}

/// A listener for HL7, decided.
#[derive(Debug, Clone)]
pub struct Hl7Listener {
    /// Where it listens.
    pub address: SocketAddr,
    /// Addresses that may send; none for every one.
    pub senders: Vec<Network>,
    /// Whether it speaks TLS, with the certificate of HTTPS.
    pub tls: bool,
    /// Receiving application and facility (either may be empty for any), and the name of the tenant.
    /// The first that fits counts.
    pub receivers: Vec<(String, String, String)>,
}

impl Hl7Listener {
    /// Position in [`Self::receivers`] of whom a message is for; `None` when it is for nobody here.
    pub fn receiver(&self, envelope: &Envelope) -> Option<usize> {
        let fits = |wanted: &str, named: &str| wanted.is_empty() || wanted == named;
        self.receivers.iter().position(|(application, facility, _)| {
            fits(application, &envelope.receiving_application)
                && fits(facility, &envelope.receiving_facility)
        })
    }
}

/// Checks the listeners. `has_certificate` is whether there is one for HTTPS.
pub(super) fn listeners(
    settings: Vec<Hl7Settings>,
    has_certificate: bool,
) -> anyhow::Result<Vec<Hl7Listener>> {
    settings.into_iter().map(|one| listener(one, has_certificate)).collect()
}

fn listener(settings: Hl7Settings, has_certificate: bool) -> anyhow::Result<Hl7Listener> {
    let Hl7Settings { address: Address(address), tenant, senders, tls, receivers } = settings;
    let senders = senders
        .iter()
        .map(|text| text.parse().map_err(|error| anyhow!("hl7: senders: {error}")))
        .collect::<anyhow::Result<Vec<Network>>>()?;
    if !is_loopback(address.ip()) && senders.is_empty() {
        bail!(
            "refusing to listen on {address} (hl7): any machine of the network could send orders; \
             write senders = [\"10.1.2.3\"], the addresses of the order system"
        );
    }
    if tls && !has_certificate {
        bail!("hl7: tls = true needs tls_cert and tls_key");
    }
    let mut known: Vec<(String, String, String)> =
        receivers.into_iter().map(|one| (one.application, one.facility, one.tenant)).collect();
    if known.is_empty() {
        known.push((String::new(), String::new(), tenant));
    }
    Ok(Hl7Listener { address, senders, tls, receivers: known })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Hl7Listener> {
        listener(toml::from_str(text)?, false)
    }

    #[test]
    fn messages_are_for_whom_they_name() {
        let listener = read(
            "address = \"127.0.0.1:2575\"
            [[receivers]]
            application = \"QIANLI\"
            facility = \"COUNTY\"
            tenant = \"county\"
            [[receivers]]
            facility = \"TOWN\"
            tenant = \"town\"",
        )
        .unwrap();
        let to = |application: &str, facility: &str| {
            let envelope = Envelope {
                receiving_application: application.into(),
                receiving_facility: facility.into(),
                ..Envelope::default()
            };
            listener.receiver(&envelope)
        };
        assert_eq!(to("QIANLI", "COUNTY"), Some(0));
        assert_eq!(to("ANY", "TOWN"), Some(1));
        assert_eq!(to("ANY", "COUNTY"), None);
    }

    #[test]
    fn what_would_be_open_to_everybody_is_refused() {
        assert!(read("address = \"127.0.0.1:2575\"").is_ok());
        assert!(read("address = \"0.0.0.0:2575\"").is_err());
        assert!(read("address = \"0.0.0.0:2575\"\nsenders = [\"10.1.2.3\"]").is_ok());
        assert!(read("address = \"127.0.0.1:2575\"\nsenders = [\"his\"]").is_err());
        assert!(read("address = \"127.0.0.1:2575\"\ntls = true").is_err());
        assert!(read("address = \"127.0.0.1:2575\"\ntenants = \"a\"").is_err());
    }
}
