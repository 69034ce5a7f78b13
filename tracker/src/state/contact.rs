//! Contacts: where a peer is, and which of its addresses another one is given.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use common::nat::is_private;
use common::wire::MAX_ADDRESSES;

use crate::source::Source;

/// Where a peer is: what it says and what the tracker sees. No address is an IPv4 one in the clothes of IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contact {
    /// Where its connection to the tracker comes from.
    pub(crate) seen: SocketAddr,
    /// The address of the tracker that its connection arrived at.
    pub(crate) arrived_at: IpAddr,
    /// The port it accepts peers on; 0 where it accepts none.
    pub(crate) port: u16,
    /// Addresses of its interfaces, by its own word.
    pub(crate) interfaces: Vec<IpAddr>,
    /// Where it is to be reached from anywhere, by its own word.
    pub(crate) advertised: Vec<SocketAddr>,
}

/// A peer dials others on behalf of the tracker at these ports only: what has a lower one is a service that did not ask
/// to be dialled.
pub(crate) const MIN_DIALLED_PORT: u16 = 1024;

impl Contact {
    /// Where `asker` may dial this peer, the likeliest first, none twice.
    pub(crate) fn addresses_for(&self, asker: &Self) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        let on_tracker_host = asker.seen.ip().is_loopback();
        let advertised = self.advertised.iter().copied();
        addresses.extend(advertised.filter(|address| {
            address.port() != 0 && is_unicast(address.ip()) && (on_tracker_host || !address.ip().is_loopback())
        }));
        if self.port != 0 {
            let ips = self.ips_for(asker);
            addresses.extend(ips.into_iter().map(|ip| SocketAddr::new(ip, self.port)));
        }
        let mut unique = Vec::with_capacity(addresses.len());
        for address in addresses {
            if !unique.contains(&address) {
                unique.push(address);
            }
        }
        unique
    }

    /// Where `seeder` is to dial this peer because it asked for that: nowhere but where the tracker sees it, so that
    /// nobody has others dialled.
    pub(crate) fn dial_back_for(&self, seeder: &Self) -> Option<SocketAddr> {
        let ip = if self.seen.ip().is_loopback() { seeder.arrived_at } else { self.seen.ip() };
        (self.port >= MIN_DIALLED_PORT).then(|| SocketAddr::new(ip, self.port))
    }

    /// Where `asker`, whose own UDP socket is seen at `asker_seen`, may send datagrams to this peer's UDP socket, which is seen
    /// at `seen` and has this port: the likeliest first, none twice.
    pub(crate) fn udp_addresses_for(
        &self,
        asker: &Self,
        asker_seen: SocketAddr,
        seen: SocketAddr,
        port: u16,
    ) -> Vec<SocketAddr> {
        let outside = asker.finds(seen);
        let are_neighbours = self.seen.ip() == asker.seen.ip();
        let socket = Self { port, advertised: Vec::new(), ..self.clone() };
        let mut addresses = socket.addresses_for(asker);
        // Who claims to be where the asker is would pass for somebody behind the same router.
        addresses.retain(|address| *address != outside && (are_neighbours || address.ip() != asker_seen.ip()));
        addresses.truncate(MAX_ADDRESSES - 1);
        // Behind one address translator, what is within comes first.
        let place = if are_neighbours { addresses.len() } else { 0 };
        addresses.insert(place, outside);
        addresses
    }

    /// The same where `seeder` did not ask: it is told only of where this peer is for certain, and of private addresses and
    /// those in its own /64 of IPv6, so that nobody has it send datagrams to others.
    pub(crate) fn udp_addresses_told_to(
        &self,
        seeder: &Self,
        seeder_seen: SocketAddr,
        seen: SocketAddr,
        port: u16,
    ) -> Vec<SocketAddr> {
        let outside = seeder.finds(seen);
        let own = [outside, self.seen].map(|own| Source::of(own.ip()));
        let mut addresses = self.udp_addresses_for(seeder, seeder_seen, seen, port);
        addresses.retain(|address| {
            let is_its_own = is_private(address.ip()) || own.contains(&Source::of(address.ip()));
            *address == outside || (address.port() >= MIN_DIALLED_PORT && is_its_own)
        });
        addresses
    }

    /// Where this peer finds what the tracker sees at `seen`: who is on the tracker's host is where it found the tracker.
    fn finds(&self, seen: SocketAddr) -> SocketAddr {
        let ip = if seen.ip().is_loopback() { self.arrived_at } else { seen.ip() };
        SocketAddr::new(ip, seen.port())
    }

    fn ips_for(&self, asker: &Self) -> Vec<IpAddr> {
        let (seen, asker_seen) = (self.seen.ip(), asker.seen.ip());
        let same_host_or_nat = seen == asker_seen || (seen.is_loopback() && asker_seen.is_loopback());
        let interfaces = || self.interfaces.iter().copied().filter(|ip| is_unicast(*ip) && !ip.is_loopback());
        let private = interfaces().filter(|ip| same_host_or_nat && is_private(*ip));
        // Nobody is where somebody else is seen.
        let public = interfaces().filter(|ip| !is_private(*ip) && (same_host_or_nat || *ip != asker_seen));
        let mut ips = Vec::new();
        if seen.is_loopback() {
            // It is on the tracker's host, so it is where the asker found the tracker.
            ips.push(asker.arrived_at);
            if asker_seen.is_loopback() {
                ips.push(seen);
            }
            ips.extend(private.chain(public));
        } else if same_host_or_nat && !self.interfaces.contains(&seen) {
            // Both are behind one address translator, which may not lead back what comes from within.
            ips.extend(private);
            ips.push(seen);
            ips.extend(public);
        } else {
            ips.push(seen);
            ips.extend(public.chain(private));
        }
        ips
    }
}

/// An address as it is written: an IPv4 one that came in the clothes of IPv6 is an IPv4 one, scopes and flow labels of
/// the tracker's own host mean nothing elsewhere.
pub(crate) fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether an address can be that of one peer elsewhere.
pub(crate) fn is_unicast(ip: IpAddr) -> bool {
    let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    // A link-local address of IPv6 needs a scope, which differs from host to host.
    let needs_scope = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    !(ip.is_unspecified() || ip.is_multicast() || broadcast || needs_scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: u16 = 5000;

    fn contact(seen: &str, arrived_at: &str, interfaces: &[&str]) -> Contact {
        let interfaces = interfaces.iter().map(|ip| ip.parse().unwrap()).collect();
        let seen = SocketAddr::new(seen.parse().unwrap(), 40_000);
        Contact { seen, arrived_at: arrived_at.parse().unwrap(), port: PORT, interfaces, advertised: Vec::new() }
    }

    fn ips(holder: &Contact, asker: &Contact) -> Vec<String> {
        let addresses = holder.addresses_for(asker);
        assert!(addresses.iter().all(|address| address.port() == PORT));
        addresses.iter().map(|address| address.ip().to_string()).collect()
    }

    #[test]
    fn each_asker_is_given_what_it_can_reach() {
        let here4 = contact("127.0.0.1", "127.0.0.1", &["192.168.1.2", "127.0.0.1"]);
        let here6 = contact("::1", "::1", &["192.168.1.2", "::1", "fe80::1"]);
        let lan = contact("192.168.1.7", "192.168.1.2", &["192.168.1.7", "172.17.0.1", "2001:db8::7"]);
        let lan_too = contact("192.168.1.8", "192.168.1.2", &["192.168.1.8"]);
        let remote = contact("198.51.100.9", "203.0.113.1", &["10.1.1.9"]);
        let nat_a = contact("198.51.100.1", "203.0.113.1", &["10.0.0.2", "2001:db8::2"]);
        let nat_b = contact("198.51.100.1", "203.0.113.1", &["10.0.0.3"]);
        for (what, holder, asker, want) in [
            ("all on one host", &here4, &here4, &["127.0.0.1", "192.168.1.2"][..]),
            ("one host, IPv6", &here6, &here6, &["::1", "192.168.1.2"]),
            ("one host, both families", &here6, &here4, &["127.0.0.1", "::1", "192.168.1.2"]),
            ("a seeder beside the tracker, for the LAN", &here4, &lan, &["192.168.1.2"]),
            ("a seeder beside the tracker, from afar", &here6, &remote, &["203.0.113.1"]),
            ("the LAN, for somebody beside the tracker", &lan, &here4, &["192.168.1.7", "2001:db8::7"]),
            ("within the LAN", &lan, &lan_too, &["192.168.1.7", "2001:db8::7"]),
            ("behind one NAT", &nat_a, &nat_b, &["10.0.0.2", "198.51.100.1", "2001:db8::2"]),
            ("behind a NAT, from outside", &nat_a, &remote, &["198.51.100.1", "2001:db8::2"]),
            ("two processes of one host", &lan, &lan, &["192.168.1.7", "2001:db8::7", "172.17.0.1"]),
        ] {
            assert_eq!(ips(holder, asker), want, "{what}");
        }
    }

    #[test]
    fn advertised_addresses_come_first_and_need_no_port() {
        let mut holder = contact("198.51.100.1", "203.0.113.1", &[]);
        let asker = contact("198.51.100.2", "203.0.113.1", &[]);
        let forwarded: SocketAddr = "203.0.113.77:81".parse().unwrap();
        holder.advertised = vec![forwarded, "0.0.0.0:1".parse().unwrap(), "[ff02::1]:1".parse().unwrap(), forwarded];
        holder.advertised.extend(["127.0.0.1:1".parse::<SocketAddr>().unwrap(), "203.0.113.7:0".parse().unwrap()]);
        let seen = SocketAddr::new(holder.seen.ip(), PORT);
        assert_eq!(holder.addresses_for(&asker), [forwarded, seen]);
        holder.port = 0;
        assert_eq!(holder.addresses_for(&asker), [forwarded]);
        let beside = contact("127.0.0.1", "127.0.0.1", &[]);
        assert_eq!(holder.addresses_for(&beside), [forwarded, "127.0.0.1:1".parse().unwrap()]);
    }

    #[test]
    fn interfaces_that_nobody_can_dial_are_left_out() {
        let holder = contact(
            "198.51.100.1",
            "203.0.113.1",
            &[
                "0.0.0.0",
                "255.255.255.255",
                "224.0.0.1",
                "ff02::1",
                "fe80::1",
                "::",
                "127.0.0.1",
                "::1",
                "198.51.100.1",
            ],
        );
        assert_eq!(ips(&holder, &holder), ["198.51.100.1"]);
    }

    #[test]
    fn nobody_has_others_dialled() {
        let mut asker = contact("198.51.100.1", "203.0.113.1", &["10.0.0.1"]);
        let seeder = contact("198.51.100.2", "203.0.113.1", &[]);
        asker.advertised.push("192.0.2.1:2000".parse().unwrap());
        assert_eq!(asker.dial_back_for(&seeder), Some("198.51.100.1:5000".parse().unwrap()));
        for (port, dialled) in [(1023, false), (1024, true), (0, false)] {
            asker.port = port;
            assert_eq!(asker.dial_back_for(&seeder).is_some(), dialled, "{port}");
        }
        let here = contact("127.0.0.1", "127.0.0.1", &[]);
        assert_eq!(here.dial_back_for(&seeder), Some("203.0.113.1:5000".parse().unwrap()));
    }

    /// What `asker` is given, and what a seeder is told unasked, of a holder of a UDP socket that is seen where its TCP is.
    fn udp(holder: &Contact, other: &Contact) -> [Vec<String>; 2] {
        let seen = |contact: &Contact| SocketAddr::new(contact.seen.ip(), 7000);
        let asked = holder.udp_addresses_for(other, seen(other), seen(holder), holder.port);
        let told = holder.udp_addresses_told_to(other, seen(other), seen(holder), holder.port);
        [asked, told].map(|addresses| addresses.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nobody_passes_for_a_neighbour_by_claiming_the_address_of_another() {
        let victim = contact("198.51.100.1", "203.0.113.1", &["10.0.0.2"]);
        let liar = contact("198.51.100.66", "203.0.113.1", &["198.51.100.1", "198.51.100.2"]);
        assert_eq!(ips(&liar, &victim), ["198.51.100.66", "198.51.100.2"]);
        let [asked, told] = udp(&liar, &victim);
        assert_eq!(asked, ["198.51.100.66:7000", "198.51.100.66:5000", "198.51.100.2:5000"]);
        assert!(told.iter().all(|address| address.starts_with("198.51.100.66")), "{told:?}");
        // Its datagrams leave by another router than its TCP.
        let udp_seen = "198.51.100.2:7000".parse().unwrap();
        let asked = liar.udp_addresses_for(&victim, udp_seen, liar.seen, PORT);
        assert!(asked.iter().all(|address| address.ip() == liar.seen.ip()), "{asked:?}");
    }

    #[test]
    fn nobody_has_others_sent_datagrams() {
        let claimed = ["192.0.2.1", "2001:db8:1::1", "2001:db8:0:1::2", "10.0.0.1", "198.51.100.66"];
        let seeder = contact("198.51.100.1", "203.0.113.1", &[]);
        let mut asker = contact("198.51.100.66", "203.0.113.1", &claimed);
        assert_eq!(udp(&asker, &seeder)[1], ["198.51.100.66:7000", "198.51.100.66:5000"]);
        asker.port = MIN_DIALLED_PORT - 1;
        assert_eq!(udp(&asker, &seeder)[1], ["198.51.100.66:7000"], "a service that did not ask");
        let neighbour = contact("198.51.100.66", "203.0.113.1", &[]);
        assert_eq!(udp(&asker, &neighbour)[1], ["198.51.100.66:7000"]);
        asker.port = PORT;
        assert!(udp(&asker, &neighbour)[1].contains(&"10.0.0.1:5000".to_owned()));
        let asker = contact("2001:db8:0:1::1", "2001:db8::1", &claimed);
        let told = ["[2001:db8:0:1::1]:7000", "[2001:db8:0:1::1]:5000", "[2001:db8:0:1::2]:5000"];
        assert_eq!(udp(&asker, &seeder)[1], told);
    }

    #[test]
    fn addresses_lose_their_clothes_and_scopes() {
        for (from, to) in [
            ("[::ffff:10.0.0.1]:7", "10.0.0.1:7"),
            ("[fe80::1%3]:7", "[fe80::1]:7"),
            ("[2001:db8::1]:7", "[2001:db8::1]:7"),
        ] {
            assert_eq!(plain(from.parse().unwrap()), to.parse().unwrap());
        }
    }
}
