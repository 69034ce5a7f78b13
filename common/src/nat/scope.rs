//! From where an address can be reached at all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address, in its canonical form, means something else elsewhere: it is good in one network only (RFC 1918,
/// RFC 3927, RFC 4193, RFC 6598).
pub fn is_private(ip: IpAddr) -> bool {
    Scope::of(ip) == Scope::Site
}

/// How far an address is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// On this machine.
    Machine,
    /// In one network, such as a home, or behind one provider's NAT; others use the same address for something else.
    Site,
    /// Everywhere.
    Global,
    /// No single node can be reached there from elsewhere.
    Nowhere,
}

impl Scope {
    /// That of an address in its canonical form; IPv4 addresses in the form of IPv6 ones are good nowhere.
    pub(super) fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => Self::of_v6(ip),
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Self {
        let [first, second, ..] = ip.octets();
        match (first, second) {
            (127, _) => Self::Machine,
            // Private (RFC 1918), link-local (RFC 3927), and between a provider and its customers (RFC 6598).
            (10, _) | (172, 16..=31) | (192, 168) | (169, 254) | (100, 64..=127) => Self::Site,
            // "This network", multicast, and what was never given out, with the broadcast address at its end.
            (0 | 224.., _) => Self::Nowhere,
            _ => Self::Global,
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Self {
        let [first, ..] = ip.segments();
        if ip.is_loopback() {
            return Self::Machine;
        }
        if ip.is_unspecified() || ip.is_multicast() || ip.to_ipv4_mapped().is_some() {
            return Self::Nowhere;
        }
        match first {
            // Unique local (RFC 4193).
            0xfc00..=0xfdff => Self::Site,
            // Link-local: it means nothing without the interface, which is another one on each machine.
            0xfe80..=0xfebf => Self::Nowhere,
            _ => Self::Global,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_addresses_are_good() {
        let table = [
            (Scope::Machine, "127.0.0.1 127.255.0.1 ::1"),
            (Scope::Site, "10.0.0.1 172.16.0.1 172.31.255.1 192.168.0.1 169.254.1.1 100.64.0.1 100.127.0.1 fd00::1"),
            (Scope::Global, "8.8.8.8 172.32.0.1 192.169.0.1 100.63.0.1 100.128.0.1 203.0.113.1 223.1.1.1 2001:db8::1"),
            (Scope::Nowhere, "0.0.0.0 0.1.2.3 224.0.0.1 255.255.255.255 :: ff02::1 fe80::1 ::ffff:8.8.8.8"),
        ];
        for (scope, addresses) in table {
            for address in addresses.split(' ') {
                assert_eq!(Scope::of(address.parse().unwrap()), scope, "{address}");
                assert_eq!(is_private(address.parse().unwrap()), scope == Scope::Site, "{address}");
            }
        }
    }
}
