//! Sources: where connections come from, for limits per origin.

use std::net::{IpAddr, Ipv6Addr};

/// Bits of an IPv6 address that one site has to itself: below them it can take any address it likes.
const SITE_BITS: u32 = 64;

/// An IPv4 address or the site of an IPv6 one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Source(IpAddr);

impl Source {
    /// That of an address.
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let site = u128::MAX << (Ipv6Addr::BITS - SITE_BITS);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & site))
            }
        })
    }
}
