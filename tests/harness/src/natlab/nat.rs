//! Kinds of address translation (NAT), and the rules of `nft` that make a router behave as each.
//!
//! A mapping is the public port that a socket behind the router gets; filtering is who may send to it (RFC 4787 sections 4
//! and 5). All kinds drop what somebody outside begins on both ways that it can go, to the router itself and through it: what
//! reaches the router itself would otherwise be remembered as a flow and take the port away from the socket behind that
//! answers it. None has hairpinning: what comes from behind and is for the router's own public address is dropped.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// What a router does to the network behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Nat {
    /// No translation, nothing is filtered: hosts have public addresses.
    Open,
    /// No translation: hosts have public addresses, but only those get in to whom they have sent.
    Firewall,
    /// A socket has one public port, another than its own, and everybody gets in there (endpoint-independent mapping and
    /// filtering).
    FullCone,
    /// A socket has one public port, its own where that is free, and only those get in to whom it has sent
    /// (endpoint-independent mapping, address-and-port-dependent filtering): what Linux does, and most homes have.
    PortRestricted,
    /// A socket has another public port for each destination, drawn at random, and only that gets in there
    /// (address-and-port-dependent mapping and filtering).
    Symmetric,
    /// Two routers one behind the other, both [`Self::PortRestricted`].
    Double,
}

/// What changes in the mappings of a router at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebinding {
    /// The public ports.
    Port,
    /// The public address and the ports.
    Address,
}

/// What a router does with what comes from outside, is for nobody behind it, and belongs to no flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doorway {
    /// Drops it at once, as every router with a firewall does.
    Shut,
    /// Takes it for something that is for itself, and remembers it as a flow, though nobody is there: a socket behind that
    /// sends to where it came from, and had the port to which it came, gets another port there.
    Ajar,
}

/// Lives of a router: each has its own mappings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Life(u16);

impl fmt::Display for Nat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Firewall => "firewall",
            Self::FullCone => "full-cone",
            Self::PortRestricted => "port-restricted",
            Self::Symmetric => "symmetric",
            Self::Double => "double",
        })
    }
}

impl FromStr for Nat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("{text} is none of {}", Self::ALL.map(|nat| nat.to_string()).join(", "));
        Self::ALL.into_iter().find(|nat| nat.to_string() == text).ok_or_else(unknown)
    }
}

impl Nat {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Open, Self::Firewall, Self::FullCone, Self::PortRestricted, Self::Symmetric, Self::Double];

    /// Whether two hosts, one behind each, reach each other without a relay: both send to where a third host saw the other.
    pub fn meets(self, other: Self) -> bool {
        let filters = |kind| matches!(kind, Self::Firewall | Self::PortRestricted | Self::Symmetric | Self::Double);
        // Nobody can be told where a symmetric one will send from; the other must let it in without knowing.
        let lets_in = |kind, comer| comer != Self::Symmetric || !filters(kind);
        lets_in(self, other) && lets_in(other, self)
    }

    /// Whether hosts behind it have private addresses.
    pub const fn translates(self) -> bool {
        !matches!(self, Self::Open | Self::Firewall)
    }

    /// The rules of one router with this public address, which replace all that were there in one step.
    pub(super) fn rules(self, public: Ipv4Addr, life: Life, doorway: Doorway) -> String {
        let mut chains = match self {
            Self::Open => String::new(),
            Self::Firewall => filter(doorway, "iifname lan accept"),
            Self::FullCone => filter(doorway, "iifname lan accept; iifname wan ct status dnat accept") + CONE,
            Self::PortRestricted | Self::Symmetric | Self::Double => filter(doorway, "iifname lan accept"),
        };
        if self.translates() {
            chains += &self.translation(public, life);
        }
        format!("flush ruleset\ntable ip router {{\n{chains}}}\n")
    }

    fn translation(self, public: Ipv4Addr, life: Life) -> String {
        let ports = match (self, life) {
            (Self::Symmetric, _) => " fully-random".to_owned(),
            // The kernel keeps a socket's port where it can.
            (Self::PortRestricted | Self::Double, Life::FIRST) => String::new(),
            _ => {
                let ports = life.ports();
                format!(":{}-{}", ports.start(), ports.end())
            }
        };
        let Life(zone) = life;
        // Flows of another zone are not known any more: with it all mappings are forgotten at once, even by the packets that
        // are just under way.
        format!(
            "chain zone {{ type filter hook prerouting priority raw; ct zone set {zone}; }}
            chain translate {{
                type nat hook postrouting priority srcnat;
                oifname wan meta l4proto {{ tcp, udp }} snat to {public}{ports}
                oifname wan snat to {public}
            }}\n"
        )
    }
}

/// What may pass besides what belongs to flows that there are.
fn filter(doorway: Doorway, accepted: &str) -> String {
    let (policy, rest) = match doorway {
        Doorway::Shut => ("drop; ct state established,related accept", ""),
        // The kernel would say that nobody is there: nobody here does.
        Doorway::Ajar => {
            ("accept", "chain output { type filter hook output priority filter; oifname wan ip protocol icmp drop; }\n")
        }
    };
    format!(
        "chain input {{ type filter hook input priority filter; policy {policy}; }}
        {rest}chain forward {{ type filter hook forward priority filter; policy drop; ct state established,related accept; {accepted}; }}\n"
    )
}

/// The map from public ports to sockets behind. A mapping is learnt from what goes out, once it has been translated. A port may
/// have been another socket's, long gone: an update alone would leave it to that one.
const CONE: &str = "
    map cone { type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 5m; }
    chain admit { type nat hook prerouting priority dstnat; iifname wan dnat to udp dport map @cone; }
    chain learn {
        type filter hook postrouting priority srcnat + 10;
        oifname wan ct direction original ct state new meta l4proto udp \\
            delete @cone { udp sport : ct original ip saddr . ct original proto-src }
        oifname wan ct direction original meta l4proto udp \\
            update @cone { udp sport : ct original ip saddr . ct original proto-src }
    }
";

impl Life {
    pub(super) const FIRST: Self = Self(1);

    /// The one after a restart.
    pub(super) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Public ports where a socket does not keep its own: others in each of 20 lives, and none that the kernel gives to
    /// sockets (from 32768 on), for those would be kept.
    fn ports(self) -> RangeInclusive<u16> {
        const FIRST: u16 = 10_000;
        const COUNT: u16 = 1000;
        const LIVES: u16 = 20;
        let first = FIRST + self.0 % LIVES * COUNT;
        first..=first + COUNT - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_meets_whom_is_as_the_papers_say() {
        // Ford, Srisuresh and Kegel, "Peer-to-Peer Communication Across Network Address Translators" (2005).
        for one in Nat::ALL {
            for other in Nat::ALL {
                assert_eq!(one.meets(other), other.meets(one));
                let strict = [Nat::Firewall, Nat::PortRestricted, Nat::Symmetric, Nat::Double];
                let symmetric = one == Nat::Symmetric && strict.contains(&other);
                let fails = symmetric || other == Nat::Symmetric && strict.contains(&one);
                assert_eq!(one.meets(other), !fails, "{one:?} {other:?}");
            }
        }
    }
}
