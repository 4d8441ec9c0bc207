//! What a form or a program asks of a destination, before it is known to be possible. Files on the
//! server, such as the authorities of certificates, are the operator's to name.

use qianli_model::TransferSyntax;
use qianli_model::destination::{
    Destination, Identity, MOST_ASSOCIATIONS, is_address, is_own_address, is_own_ip,
};
use serde::{Deserialize, Deserializer};

/// Whether a legal address has a name that leads to the server itself at the moment. Addresses in numbers
/// are judged where they are written.
pub(in crate::portal) async fn leads_home(address: &str) -> bool {
    match tokio::net::lookup_host(address).await {
        Ok(mut found) => found.any(|one| is_own_ip(one.ip())) && !is_own_address(address),
        // A name that nobody knows leads nowhere.
        Err(_) => false,
    }
}

/// What is told to whoever may not name the server itself.
pub(in crate::portal) const OPERATORS_ONLY: &str =
    "what listens on the server itself is registered by its operator (qianli peer add)";

/// Longest name and secret (bytes).
const LONGEST: usize = 16 << 10;

/// What is to change of a destination.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::portal) struct Way {
    pub address: Option<String>,
    pub tls: Option<bool>,
    pub tls_name: Option<String>,
    pub syntaxes: Option<Vec<String>>,
    pub only_these: Option<bool>,
    pub associations: Option<u32>,
    pub bandwidth: Option<u64>,
    #[serde(default, deserialize_with = "said")]
    pub identity: Option<Option<NewIdentity>>,
}

/// A user identity: a name, a name with a password, or a token.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::portal) struct NewIdentity {
    pub username: Option<String>,
    pub password: Option<String>,
    pub jwt: Option<String>,
}

/// A member that is there, null or not.
fn said<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<NewIdentity>>, D::Error> {
    Option::deserialize(from).map(Some)
}

impl NewIdentity {
    fn identity(self, before: Option<&Identity>) -> Result<Identity, &'static str> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let legal = |text: &String| text.len() <= LONGEST && !text.chars().any(char::is_control);
        let (name, secret, token) = (given(self.username), given(self.password), given(self.jwt));
        if ![&name, &secret, &token].into_iter().flatten().all(legal) {
            return Err("names and secrets are printable text of at most 16 KiB");
        }
        match (name, secret, token) {
            (Some(name), Some(secret), None) => Ok(Identity::Password(name, secret)),
            // The secret of the same name stays: it never comes out to be written again.
            (Some(name), None, None) => Ok(match before {
                Some(Identity::Password(old, secret)) if *old == name => {
                    Identity::Password(name, secret.clone())
                }
                _ => Identity::Username(name),
            }),
            (None, None, Some(token)) => Ok(Identity::Jwt(token)),
            _ => Err("an identity has a username, which can have a password, or a jwt"),
        }
    }
}

impl Way {
    /// Reads the fields of a form, which has them all. No user name keeps a token.
    pub(in crate::portal) fn of_form(
        pairs: &[(String, String)],
        before: Option<&Identity>,
    ) -> Self {
        let value = |name: &str| {
            let found = pairs.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let words = |text: String| -> Vec<String> {
            text.split([',', ' ', '\n', '\r'])
                .filter(|one| !one.is_empty())
                .map(Into::into)
                .collect()
        };
        // What is no number is found out below.
        let number = |text: String| match text.as_str() {
            "" => 0,
            text => text.parse().unwrap_or(u64::MAX),
        };
        let user = value("user");
        Self {
            address: Some(value("address")),
            tls: Some(value("tls") == "true"),
            tls_name: Some(value("tls_name")),
            syntaxes: Some(words(value("syntaxes"))),
            only_these: Some(value("only") == "true"),
            associations: Some(u32::try_from(number(value("associations"))).unwrap_or(u32::MAX)),
            bandwidth: Some(number(value("bandwidth"))),
            identity: match (user.is_empty(), before) {
                (true, Some(Identity::Jwt(_))) => None,
                (true, _) => Some(None),
                (false, _) => Some(Some(NewIdentity {
                    username: Some(user),
                    password: Some(value("password")),
                    jwt: None,
                })),
            },
        }
    }

    /// Writes it into a destination, or says what is wrong. Only an operator may name addresses of the
    /// server itself. Another address, or other TLS, takes the identity away unless it is said anew.
    pub(in crate::portal) fn apply(
        self,
        to: &mut Destination,
        is_operator: bool,
    ) -> Result<(), &'static str> {
        let place = |to: &Destination| {
            let name = to.tls.as_ref().map(|tls| tls.server_name.clone());
            (to.address.clone(), name)
        };
        let before = place(to);
        if let Some(address) = self.address.filter(|address| *address != to.address) {
            if !is_address(&address) {
                return Err("address must be a host and a port, such as 10.0.0.5:104");
            }
            if !is_operator && is_own_address(&address) {
                return Err(OPERATORS_ONLY);
            }
            to.address = address;
        }
        match self.tls {
            Some(true) => drop(to.tls.get_or_insert_default()),
            Some(false) => to.tls = None,
            None => {}
        }
        if let Some(name) = self.tls_name {
            if name.len() > 253 || name.chars().any(|c| c.is_control() || c == ' ') {
                return Err("tls_name is the name in a certificate");
            }
            match &mut to.tls {
                Some(tls) => tls.server_name = name,
                None if name.is_empty() => {}
                None => return Err("tls_name needs tls"),
            }
        }
        if let Some(uids) = self.syntaxes {
            let syntaxes: Option<Vec<_>> =
                uids.iter().map(|uid| TransferSyntax::from_uid(uid)).collect();
            to.syntaxes = syntaxes.ok_or("syntaxes must be UIDs of transfer syntaxes")?;
        }
        to.only_these = self.only_these.unwrap_or(to.only_these) && !to.syntaxes.is_empty();
        if let Some(associations) = self.associations {
            if !(1..=MOST_ASSOCIATIONS).contains(&associations) {
                return Err("associations must be 1 to 32");
            }
            to.associations = associations;
        }
        if let Some(bandwidth) = self.bandwidth {
            // The catalog keeps signed numbers.
            if i64::try_from(bandwidth).is_err() {
                return Err("bandwidth must be bytes per second, or 0 for no limit");
            }
            to.bandwidth = bandwidth;
        }
        // Whoever moves a destination must not learn what somebody else wrote for the old place.
        let is_elsewhere = place(to) != before;
        let known = to.identity.take_if(|_| is_elsewhere || self.identity.is_some());
        if let Some(identity) = self.identity {
            let kept = known.filter(|_| !is_elsewhere);
            to.identity = identity.map(|one| one.identity(kept.as_ref())).transpose()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use qianli_model::AeTitle;

    use super::*;

    fn known() -> Destination {
        let title = AeTitle::parse("PACS").unwrap();
        let mut to = Destination::new(title, "10.77.0.1:104");
        to.identity = Some(Identity::Password("svc".into(), "secret".into()));
        to.tls = Some(Default::default());
        to
    }

    #[track_caller]
    fn changed(json: &str) -> Option<Identity> {
        let mut to = known();
        let way: Way = serde_json::from_str(json).unwrap();
        way.apply(&mut to, false).unwrap();
        to.identity
    }

    #[test]
    fn secrets_stay_where_they_were_meant_for() {
        let kept = known().identity;
        assert_eq!(changed(r#"{"bandwidth": 5}"#), kept);
        assert_eq!(changed(r#"{"address": "10.77.0.1:104", "tls": true}"#), kept);
        assert_eq!(changed(r#"{"identity": {"username": "svc"}}"#), kept);
        for moved in
            [r#"{"address": "10.77.0.2:104"}"#, r#"{"tls": false}"#, r#"{"tls_name": "x"}"#]
        {
            assert_eq!(changed(moved), None, "{moved}");
        }
        let renamed = r#"{"tls": false, "identity": {"username": "svc"}}"#;
        assert_eq!(changed(renamed), Some(Identity::Username("svc".into())));
        let anew = r#"{"tls": false, "identity": {"username": "svc", "password": "new"}}"#;
        assert_eq!(changed(anew), Some(Identity::Password("svc".into(), "new".into())));
    }

    #[test]
    fn the_server_itself_is_the_operators_to_name() {
        for own in
            ["[::127.0.0.1]:1", "[64:ff9b::7f00:1]:1", "[fd00:ec2::254]:1", "100.100.100.200:1"]
        {
            let way = Way { address: Some(own.into()), ..Way::default() };
            assert_eq!(way.apply(&mut known(), false), Err(OPERATORS_ONLY), "{own}");
        }
    }

    #[tokio::test]
    async fn names_are_judged_by_where_they_lead() {
        assert!(!leads_home("10.77.0.1:104").await);
        // Written as a number it was judged before, and an operator may have meant it.
        assert!(!leads_home("127.0.0.1:104").await);
    }
}
