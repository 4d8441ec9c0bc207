//! Network addresses as limits see them: what counts as one caller, and how much it may hold.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// Whether an address is one of the public internet: not this machine, its network segment, a private network or
/// carrier's network, nor one of the ways to write such an IPv4 address as IPv6 (RFC 6890 and its registries). The
/// services by which clouds tell machines their secrets are at such addresses, too.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_documentation()
                || v4.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (18..20).contains(&b)))
        }
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            // Global unicast is 2000::/3; of that not 2001::/23 (Teredo among them), 2001:db8::/32, 3fff::/20 and
            // 6to4, which has an IPv4 address inside; and 64:ff9b::/96, translation, has one behind it.
            let embedded = a == 0x64 && b == 0xff9b && c == 0 && d == 0;
            let inside = v6.to_bits() & u128::from(u32::MAX);
            let translated = Ipv4Addr::from_bits(u32::try_from(inside).unwrap_or_default());
            (embedded && is_public(translated.into()))
                || (a & 0xe000 == 0x2000
                    && a != 0x2002
                    && !(a == 0x2001 && (b < 0x200 || b == 0x0db8))
                    && !(a == 0x3fff && b < 0x1000))
        }
    }
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
    fn addresses_of_the_internet_are_public_and_others_are_not() {
        for text in ["8.8.8.8", "203.0.112.1", "100.128.0.1", "2606:4700::1", "64:ff9b::808:808"] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.100.100.200",
            "192.0.0.192",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:169.254.169.254",
            "::ffff:10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2002:a00:1::1",
            "2001::1",
            "2001:db8::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
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
