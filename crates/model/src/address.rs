//! Network addresses as limits see them: what counts as one caller, and how much it may hold.

use std::net::{IpAddr, Ipv6Addr};

/// What one caller may hold of something at one time.
///
/// A reverse proxy or a tunnel on this machine brings everybody in from loopback, so that such
/// callers have a number of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerAddress {
    /// For every address beyond this machine.
    pub remote: usize,
    /// For the loopback addresses.
    pub loopback: usize,
}

impl PerAddress {
    /// What `address` may hold.
    pub fn of(self, address: IpAddr) -> usize {
        if is_loopback(address) { self.loopback } else { self.remote }
    }
}

/// The caller that an address belongs to: the address itself, or the network of 64 bits of an IPv6
/// address, since a single machine has all of that.
pub fn caller(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into()
        }
        other => other,
    }
}

/// Whether an address is of this machine only, in either notation.
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_told_apart() {
        let same = |a: &str, b: &str| caller(a.parse().unwrap()) == caller(b.parse().unwrap());
        assert!(same("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(same("2001:db8::1", "2001:db8::ffff:1"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
    }

    #[test]
    fn loopback_has_its_own_number() {
        let limit = PerAddress { remote: 1, loopback: 2 };
        for (address, expected) in [
            ("127.0.0.9", 2),
            ("::1", 2),
            ("::ffff:127.0.0.1", 2),
            ("192.0.2.1", 1),
            ("fe80::1", 1),
        ] {
            assert_eq!(limit.of(address.parse().unwrap()), expected, "{address}");
        }
    }
}
