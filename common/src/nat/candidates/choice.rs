//! Which of the other side's addresses are worth trying, and in which order.

use std::net::{IpAddr, SocketAddr};

use super::super::scope::Scope;
use super::{Candidate, Candidates, Origin};

/// Most addresses that are tried for one node: each costs some probes, and a liar may have named them.
pub const MAX_TRIED: usize = 8;

/// Bits that the addresses in one small network have in common, as is usual for homes and offices. Where networks are larger
/// their nodes are seen at private addresses, or have the same public one.
const LAN_BITS_V4: u32 = 24;
const LAN_BITS_V6: u32 = 64;

/// What speaks for an address; better reasons are smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// Whoever saw us saw us both on this machine.
    SameMachine,
    /// One of our addresses is in the same network.
    SameNetwork,
    /// Both of us are behind the same NAT, or in a private network that whoever saw us is in as well.
    SameSite,
    /// The user of the other node says so.
    Said,
    /// It is a public IPv6 address: there is a firewall in between, but hardly a NAT.
    GlobalV6,
    /// It is a public IPv4 address.
    GlobalV4,
}

/// The addresses of a node with candidates `theirs` that are worth trying for one with candidates `mine`, the best first.
///
/// Public ones are, in families that we have too. Private ones are where both of us seem to be in one place: addresses of ours
/// share a prefix, or we are seen at the same public address, or we are both seen at private ones. Those of loopback
/// are where both of us were seen there. What the user of the other node gave is tried in any case, unless it is on
/// loopback.
pub fn to_try(mine: &Candidates, theirs: &Candidates) -> Vec<SocketAddr> {
    let candidates = theirs.iter().filter(|their| !mine.contains(their.address));
    let mut reasons: Vec<_> =
        candidates.filter_map(|their| Some((reason(mine, theirs, *their)?, their.address))).collect();
    // Within one reason the order of the list stays.
    reasons.sort_by_key(|(reason, _)| *reason);
    reasons.truncate(MAX_TRIED);
    reasons.into_iter().map(|(_, address)| address).collect()
}

fn reason(mine: &Candidates, theirs: &Candidates, their: Candidate) -> Option<Reason> {
    let ip = their.address.ip();
    if !mine.iter().any(|my| my.address.is_ipv4() == ip.is_ipv4()) {
        return None;
    }
    match Scope::of(ip) {
        Scope::Nowhere => None,
        Scope::Machine => {
            let both = are_seen_in(mine, Scope::Machine) && are_seen_in(theirs, Scope::Machine);
            both.then_some(Reason::SameMachine)
        }
        // Public IPv4 addresses next to each other are those of two NATs, or of one.
        Scope::Site | Scope::Global if is_on_our_network(mine, ip) && !is_public_v4(ip) => Some(Reason::SameNetwork),
        Scope::Site if is_at_our_site(mine, theirs, their.origin) => Some(Reason::SameSite),
        Scope::Site => (their.origin == Origin::User).then_some(Reason::Said),
        Scope::Global if their.origin == Origin::User => Some(Reason::Said),
        Scope::Global if ip.is_ipv6() => Some(Reason::GlobalV6),
        Scope::Global => Some(Reason::GlobalV4),
    }
}

fn is_public_v4(ip: IpAddr) -> bool {
    ip.is_ipv4() && Scope::of(ip) == Scope::Global
}

/// Whether we both seem to be in one private network.
fn is_at_our_site(mine: &Candidates, theirs: &Candidates, origin: Origin) -> bool {
    let share_public = seen(mine).any(|my| {
        Scope::of(my.address.ip()) == Scope::Global && seen(theirs).any(|their| their.address.ip() == my.address.ip())
    });
    // An interface's address may be of any network that the other node is in too; a seen one is of the right one.
    share_public || origin != Origin::Interface && are_seen_in(mine, Scope::Site)
}

/// Whether somebody saw us at an address that is good so far and no further.
fn are_seen_in(candidates: &Candidates, scope: Scope) -> bool {
    seen(candidates).any(|candidate| Scope::of(candidate.address.ip()) == scope)
}

/// What was seen from outside.
fn seen(candidates: &Candidates) -> impl Iterator<Item = &Candidate> {
    candidates.iter().filter(|candidate| matches!(candidate.origin, Origin::Stun | Origin::Peer))
}

/// Whether one of our addresses shares a prefix with it, however it is known: without a NAT those of our interfaces are seen
/// from outside too.
fn is_on_our_network(mine: &Candidates, ip: IpAddr) -> bool {
    mine.iter().map(|candidate| candidate.address.ip()).any(|ours| match (ours, ip) {
        (IpAddr::V4(ours), IpAddr::V4(ip)) => (ours.to_bits() ^ ip.to_bits()).leading_zeros() >= LAN_BITS_V4,
        (IpAddr::V6(ours), IpAddr::V6(ip)) => (ours.to_bits() ^ ip.to_bits()).leading_zeros() >= LAN_BITS_V6,
        _ => false,
    })
}
