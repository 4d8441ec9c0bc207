//! Which addresses DICOMweb destinations of tenants may be at: their administrators are not the server's, and must not
//! reach what listens beside it, or where clouds tell machines their secrets.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use qianli_model::address::is_public;
use qianli_model::peer::Network;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Looks names up, and leaves out addresses that may not be called: what is connected to was judged.
#[derive(Clone)]
pub(super) struct Reach(Arc<[Network]>);

/// A name leads only to addresses that may not be called.
#[derive(Debug, thiserror::Error)]
#[error(
    "its address {0} is in a network of the server's own; its operator may allow that (private_destinations), or register \
     the destination there (qianli route web add)"
)]
pub(super) struct OutOfReach(IpAddr);

impl Reach {
    /// Beyond the public internet only these networks.
    pub(super) fn new(allowed: &[Network]) -> Self {
        Self(allowed.into())
    }

    fn allows(&self, address: IpAddr) -> bool {
        is_public(address) || self.0.iter().any(|network| network.contains(address))
    }

    /// Judges an address that stands in a URL as numbers: no name is looked up for it.
    pub(super) fn check(&self, url: &Url) -> Result<(), OutOfReach> {
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host.parse() {
            Ok(address) if !self.allows(address) => Err(OutOfReach(address)),
            _ => Ok(()),
        }
    }
}

impl Resolve for Reach {
    fn resolve(&self, name: Name) -> Resolving {
        let this = self.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let (may, not): (Vec<SocketAddr>, Vec<SocketAddr>) =
                found.into_iter().partition(|one| this.allows(one.ip()));
            match (may.is_empty(), not.first()) {
                (true, Some(one)) => Err(OutOfReach(one.ip()).into()),
                _ => Ok(Box::new(may.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_urls_are_judged_however_they_are_written() {
        let none = Reach::new(&[]);
        let some = Reach::new(&["10.1.0.0/16".parse().unwrap()]);
        let check = |reach: &Reach, url: &str| reach.check(&Url::parse(url).unwrap()).is_ok();
        for url in [
            "https://127.0.0.1/x",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://[::1]:8443/",
            "https://[::ffff:a9fe:a9fe]/",
            "https://169.254.169.254/latest",
            "https://10.1.2.3/",
        ] {
            assert!(!check(&none, url), "{url}");
        }
        assert!(check(&some, "https://10.1.2.3/"));
        assert!(!check(&some, "https://10.2.2.3/"));
        assert!(check(&none, "https://8.8.8.8/") && check(&none, "https://pacs.example/"));
    }

    #[tokio::test]
    async fn names_lead_to_no_forbidden_address() {
        let name = || "localhost".parse().unwrap();
        let refused = Reach::new(&[]).resolve(name()).await.err().expect("refused").to_string();
        assert!(refused.contains("a network of the server's own"), "{refused}");
        let networks = ["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()];
        assert!(Reach::new(&networks).resolve(name()).await.unwrap().count() > 0);
    }
}
