//! Interfaces: at which addresses of this machine others may reach this peer.

use std::net::{IpAddr, SocketAddr};

use common::wire::MAX_ADDRESSES;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// The addresses that a peer that listens at `listen` has on interfaces that are up, at most [`MAX_ADDRESSES`]; without
/// those that mean another machine elsewhere: loopback and link-local.
pub(crate) fn reachable_addresses(listen: SocketAddr) -> Vec<IpAddr> {
    if !listen.ip().is_unspecified() {
        return Some(listen.ip().to_canonical()).into_iter().filter(|address| is_meant_everywhere(*address)).collect();
    }
    let interfaces = match getifaddrs() {
        Ok(interfaces) => interfaces,
        Err(error) => {
            tracing::warn!(%error, "the system does not say which addresses this machine has");
            return Vec::new();
        }
    };
    let up = interfaces.filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP));
    let mut addresses: Vec<IpAddr> = Vec::new();
    for storage in up.filter_map(|interface| interface.address) {
        let address = match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
            (Some(v4), _) => IpAddr::V4(v4.ip()),
            // Who listens on 0.0.0.0 hears nothing of IPv6; `[::]` takes both.
            (None, Some(v6)) if listen.is_ipv6() => IpAddr::V6(v6.ip()),
            _ => continue,
        };
        if is_meant_everywhere(address) && !addresses.contains(&address) && addresses.len() < MAX_ADDRESSES {
            addresses.push(address);
        }
    }
    addresses
}

/// Whether an address belongs to a network that an interface of this machine is in, and means the same machine for all of
/// it.
pub(crate) fn is_on_a_link(ip: IpAddr) -> bool {
    // Without an answer of the system there are none.
    let Ok(interfaces) = getifaddrs() else { return false };
    let up = interfaces.filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP));
    is_meant_everywhere(ip)
        && up.filter_map(|interface| Some((interface.address?, interface.netmask?))).any(|(address, mask)| {
            let v4 = address.as_sockaddr_in().map(|v4| v4.ip()).zip(mask.as_sockaddr_in().map(|mask| mask.ip()));
            let v6 = address.as_sockaddr_in6().map(|v6| v6.ip()).zip(mask.as_sockaddr_in6().map(|mask| mask.ip()));
            match (ip, v4, v6) {
                (IpAddr::V4(ip), Some((ours, mask)), _) => ip & mask == ours & mask,
                (IpAddr::V6(ip), _, Some((ours, mask))) => ip & mask == ours & mask,
                _ => false,
            }
        })
}

fn is_meant_everywhere(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(link_local || address.is_loopback() || address.is_unspecified() || address.is_multicast())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_address_is_the_only_one_and_loopback_is_none() {
        let of = |text: &str| reachable_addresses(text.parse().unwrap());
        assert_eq!(of("10.1.2.3:5"), ["10.1.2.3".parse::<IpAddr>().unwrap()]);
        assert_eq!(of("[2001:db8::1]:5"), ["2001:db8::1".parse::<IpAddr>().unwrap()]);
        for local in ["127.0.0.1:5", "[::1]:5", "169.254.1.1:5", "[fe80::1]:5"] {
            assert!(of(local).is_empty(), "{local}");
        }
    }

    #[test]
    fn only_neighbours_are_on_a_link() {
        for elsewhere in ["127.0.0.1", "::1", "203.0.113.77", "2001:db8:1234::1", "fe80::1", "224.0.0.1", "0.0.0.0"] {
            assert!(!is_on_a_link(elsewhere.parse().unwrap()), "{elsewhere}");
        }
        assert!(reachable_addresses("[::]:5".parse().unwrap()).into_iter().all(is_on_a_link));
    }

    #[test]
    fn interfaces_are_those_that_others_can_use() {
        let both = reachable_addresses("[::]:5".parse().unwrap());
        let v4 = reachable_addresses("0.0.0.0:5".parse().unwrap());
        assert!(both.iter().chain(&v4).all(|address| is_meant_everywhere(*address)));
        assert!(v4.iter().all(IpAddr::is_ipv4));
        assert!(v4.iter().all(|address| both.contains(address)));
    }
}
