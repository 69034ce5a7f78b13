//! What NATs do, as far as can be told, and whether two nodes behind them can meet. The words are those of RFC 4787.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::scope::Scope;

/// What one server, or one peer, said of where our datagrams come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// Our socket, with the address of the interface over which the question went out. If that address is not known it is
    /// the unspecified one, and that there is no NAT cannot be told.
    pub local: SocketAddr,
    /// Who was asked.
    pub asked: SocketAddr,
    /// From which address the question came there.
    pub mapped: SocketAddr,
}

/// How a NAT chooses the address that stands for a socket behind it (RFC 4787, section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NatKind {
    /// There is none: addresses stay as they are.
    None,
    /// The same address whoever is sent to: easy to meet.
    EndpointIndependent,
    /// Another one for each address, or each address and port, that is sent to; also called symmetric. Hard to meet.
    EndpointDependent,
    /// Too little was seen.
    #[default]
    Unknown,
}

/// From whom a NAT, or a firewall, lets datagrams in to a socket behind it (RFC 4787, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filtering {
    /// From everybody.
    EndpointIndependent,
    /// From all ports of addresses that were sent to.
    AddressDependent,
    /// From addresses and ports that were sent to.
    AddressAndPortDependent,
    /// Nobody looked.
    #[default]
    Unknown,
}

/// What stands between a node and the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Nat {
    /// How addresses are chosen.
    pub mapping: NatKind,
    /// Who is let in.
    pub filtering: Filtering,
}

/// Whether two nodes can meet directly if both send at the same time. Better ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Prospect {
    /// They cannot, but for chance.
    Hopeless,
    /// Nobody can say; it is worth trying.
    Perhaps,
    /// They can.
    Good,
}

impl NatKind {
    /// What follows from what was observed. Observations should be some minutes old at most, since NATs forget.
    ///
    /// Only those of one socket that went through the same NATs are compared. Two servers who see different addresses
    /// show a mapping that depends on whom it is for, and one such pair decides. Two who see the same one show that it
    /// does not; if they are two ports of one address, a NAT that makes a difference between addresses only, which is
    /// rare, is mistaken for an easy one.
    pub fn from_observations(observations: &[Observation]) -> Self {
        // Who is on the same side of the NAT says nothing about it.
        let translated = || observations.iter().filter(|seen| seen.mapped != seen.local);
        let pairs = || {
            let numbered = translated().enumerate();
            numbered.flat_map(|(number, one)| translated().skip(number + 1).map(move |other| (one, other)))
        };
        let comparable = || pairs().filter(|(one, other)| one.is_comparable(other));
        // Only who is outside of everything can say that there is none.
        let is_outside = |seen: &Observation| Scope::of(seen.mapped.ip()) == Scope::Global;
        if translated().next().is_none() {
            if observations.iter().any(is_outside) { Self::None } else { Self::Unknown }
        } else if comparable().any(|(one, other)| one.mapped != other.mapped) {
            Self::EndpointDependent
        } else if comparable().next().is_some() {
            Self::EndpointIndependent
        } else {
            Self::Unknown
        }
    }
}

impl Observation {
    /// Whether both are of one socket, and were made at different places behind the same NATs. Where there are several,
    /// one who is between them sees a private address, and one behind all of them a public one.
    fn is_comparable(&self, other: &Self) -> bool {
        let same_family = self.mapped.is_ipv4() == other.mapped.is_ipv4();
        let same_scope = Scope::of(self.mapped.ip()) == Scope::of(other.mapped.ip());
        self.local == other.local && self.asked != other.asked && same_family && same_scope
    }
}

impl fmt::Display for NatKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no NAT",
            Self::EndpointIndependent => "endpoint-independent NAT (easy)",
            Self::EndpointDependent => "endpoint-dependent NAT (hard)",
            Self::Unknown => "unknown NAT",
        })
    }
}

/// Whether two nodes that each know the other's mapped address can meet. They can if one of them can be reached by the
/// first datagrams of the other: to those it answers, wherever they came from.
///
/// That is so of all pairs but two: both mappings endpoint-dependent; or one, and the other side filters by address and port.
pub fn can_punch(one: Nat, other: Nat) -> Prospect {
    is_reached_by(one, other).max(is_reached_by(other, one))
}

/// Whether datagrams of `sender` get through to `receiver`, which sends to the sender's mapped address meanwhile.
fn is_reached_by(receiver: Nat, sender: Nat) -> Prospect {
    let through_filter = match receiver.filtering {
        Filtering::EndpointIndependent | Filtering::AddressDependent => Prospect::Good,
        Filtering::AddressAndPortDependent | Filtering::Unknown => match (sender.mapping, receiver.filtering) {
            // It comes from where it is expected.
            (NatKind::None | NatKind::EndpointIndependent, _) => Prospect::Good,
            (NatKind::EndpointDependent, Filtering::AddressAndPortDependent) => Prospect::Hopeless,
            _ => Prospect::Perhaps,
        },
    };
    match receiver.mapping {
        NatKind::None | NatKind::EndpointIndependent => through_filter,
        NatKind::Unknown => through_filter.min(Prospect::Perhaps),
        // What the other side knows as its address is for somebody else.
        NatKind::EndpointDependent => Prospect::Hopeless,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(local: &str, asked: &str, mapped: &str) -> Observation {
        let [local, asked, mapped] = [local, asked, mapped].map(|text| text.parse().unwrap());
        Observation { local, asked, mapped }
    }

    const ONE: &str = "198.51.100.1:3478";
    const OTHER: &str = "198.51.100.2:3478";
    const OTHER_PORT: &str = "198.51.100.1:8000";
    const LOCAL: &str = "192.168.1.5:41000";

    #[test]
    fn the_kind_follows_from_what_two_servers_see() {
        let kind = NatKind::from_observations;
        let (public, other_public) = ("203.0.113.7:41000", "203.0.113.7:52001");
        assert_eq!(kind(&[]), NatKind::Unknown);
        assert_eq!(kind(&[seen(LOCAL, ONE, public)]), NatKind::Unknown);
        assert_eq!(kind(&[seen(LOCAL, ONE, public); 2]), NatKind::Unknown, "one server asked twice");
        for second in [OTHER, OTHER_PORT] {
            let same = [seen(LOCAL, ONE, public), seen(LOCAL, second, public)];
            assert_eq!(kind(&same), NatKind::EndpointIndependent);
            let different = [seen(LOCAL, ONE, public), seen(LOCAL, second, other_public)];
            assert_eq!(kind(&different), NatKind::EndpointDependent);
        }
        let third_differs = [ONE, OTHER_PORT].map(|asked| seen(LOCAL, asked, public));
        let third_differs = [third_differs.as_slice(), &[seen(LOCAL, OTHER, other_public)]].concat();
        assert_eq!(kind(&third_differs), NatKind::EndpointDependent);
    }

    #[test]
    fn what_is_seen_as_it_is_has_no_nat() {
        let kind = NatKind::from_observations;
        const PUBLIC: &str = "203.0.113.9:41000";
        assert_eq!(kind(&[seen(PUBLIC, ONE, PUBLIC)]), NatKind::None);
        assert_eq!(kind(&[seen(PUBLIC, ONE, PUBLIC), seen(PUBLIC, OTHER, PUBLIC)]), NatKind::None);
        assert_eq!(kind(&[seen(LOCAL, ONE, LOCAL)]), NatKind::Unknown, "somebody in the same house");
        assert_eq!(kind(&[seen("0.0.0.0:41000", ONE, LOCAL)]), NatKind::Unknown);
    }

    #[test]
    fn who_is_not_behind_all_nats_says_nothing_about_them() {
        let kind = NatKind::from_observations;
        let (public, between) = ("203.0.113.7:41000", "100.64.0.9:41000");
        let on_the_lan = seen(LOCAL, "192.168.1.1:3478", LOCAL);
        assert_eq!(kind(&[on_the_lan, seen(LOCAL, ONE, public)]), NatKind::Unknown);
        assert_eq!(kind(&[seen(LOCAL, "100.64.0.1:3478", between), seen(LOCAL, ONE, public)]), NatKind::Unknown);
        let two = [on_the_lan, seen(LOCAL, ONE, public), seen(LOCAL, OTHER, public)];
        assert_eq!(kind(&two), NatKind::EndpointIndependent);
    }

    #[test]
    fn different_sockets_and_families_are_not_compared() {
        let kind = NatKind::from_observations;
        let ports = [seen(LOCAL, ONE, "203.0.113.7:1"), seen("192.168.1.5:41001", OTHER, "203.0.113.7:2")];
        assert_eq!(kind(&ports), NatKind::Unknown);
        let families =
            [seen("[::]:41000", ONE, "203.0.113.7:1"), seen("[::]:41000", "[2001:db8::1]:3478", "[2001:db8::7]:41000")];
        assert_eq!(kind(&families), NatKind::Unknown);
    }

    #[test]
    fn who_can_meet_whom() {
        use Filtering::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
        let nat = |mapping, filtering| Nat { mapping, filtering };
        let open = nat(NatKind::None, EndpointIndependent);
        let full_cone = nat(NatKind::EndpointIndependent, EndpointIndependent);
        let restricted = nat(NatKind::EndpointIndependent, AddressDependent);
        let port_restricted = nat(NatKind::EndpointIndependent, AddressAndPortDependent);
        let symmetric = nat(NatKind::EndpointDependent, AddressAndPortDependent);
        let firewalled = nat(NatKind::None, AddressAndPortDependent);
        let all = [open, full_cone, restricted, port_restricted, symmetric, firewalled];
        for one in all {
            for other in all {
                let is_hard = |nat: Nat| nat == symmetric;
                let is_strict = |nat: Nat| nat == symmetric || nat == port_restricted || nat == firewalled;
                let cannot = is_hard(one) && is_strict(other) || is_hard(other) && is_strict(one);
                let expected = if cannot { Prospect::Hopeless } else { Prospect::Good };
                assert_eq!(can_punch(one, other), expected, "{one:?} and {other:?}");
            }
        }
    }

    #[test]
    fn what_is_not_known_is_worth_trying() {
        let easy = Nat { mapping: NatKind::EndpointIndependent, filtering: Filtering::Unknown };
        let hard = Nat { mapping: NatKind::EndpointDependent, filtering: Filtering::Unknown };
        let unknown = Nat::default();
        assert_eq!(can_punch(easy, easy), Prospect::Good);
        assert_eq!(can_punch(hard, hard), Prospect::Hopeless);
        for (one, other) in [(easy, hard), (easy, unknown), (hard, unknown), (unknown, unknown)] {
            assert_eq!(can_punch(one, other), Prospect::Perhaps, "{one:?} and {other:?}");
            assert_eq!(can_punch(other, one), Prospect::Perhaps);
        }
    }
}
