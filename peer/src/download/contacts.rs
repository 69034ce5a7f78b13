//! The peers of one download: who is known to have or want the file, who is linked, who is banned, who is to be dialled
//! when. A pure machine.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use common::id::PeerId;
use common::wire::tracker::Holder;
use tokio::time::Instant;

use crate::link::LinkId;

/// Links of one download, at most.
const MOST_LINKS: usize = 50;
/// Peers that are remembered, at most.
const MOST_CONTACTS: usize = 1000;
/// The first wait after a failed dial; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The peers of one download.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    peers: BTreeMap<PeerId, Contact>,
}

/// What is known of a peer.
#[derive(Debug)]
pub(super) struct Contact {
    pub(super) user: String,
    pub(super) addresses: Vec<SocketAddr>,
    state: State,
    failures: u32,
    /// Why it cannot be reached, where that will stay so unless somebody does something: a phrase.
    unreached: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// May be dialled from then on.
    Idle(Instant),
    Dialling,
    Linked(LinkId),
    /// It sent wrong bytes.
    Banned,
}

impl Contacts {
    /// The tracker named a peer.
    pub(super) fn on_holder(&mut self, holder: Holder, now: Instant) {
        if !self.has_room_for(&holder.peer) {
            return;
        }
        let contact = self.peers.entry(holder.peer).or_insert_with(|| Contact::new(now));
        contact.user = holder.user;
        contact.addresses = holder.addresses;
        // Named again: it is there now, whatever was before.
        if let State::Idle(at) = &mut contact.state {
            *at = (*at).min(now);
        }
    }

    /// Whether this peer is remembered or may be; where there are too many, one that did not answer is forgotten.
    fn has_room_for(&mut self, peer: &PeerId) -> bool {
        if self.peers.len() < MOST_CONTACTS || self.peers.contains_key(peer) {
            return true;
        }
        let silent = self.peers.iter().filter(|(_, c)| c.failures > 0 && matches!(c.state, State::Idle(_)));
        let Some(worst) = silent.max_by_key(|(_, contact)| contact.failures).map(|(peer, _)| *peer) else {
            return false;
        };
        self.peers.remove(&worst).is_some()
    }

    /// The next peer to dial, if there is one; it counts as being dialled from now on.
    pub(super) fn dial(&mut self, now: Instant) -> Option<(PeerId, Vec<SocketAddr>)> {
        let busy = self.peers.values().filter(|contact| contact.is_busy()).count();
        if busy >= MOST_LINKS {
            return None;
        }
        // Who has waited the longest comes first, so that some who are of no use do not keep the others out.
        let ready = self.peers.iter_mut().filter_map(|(peer, contact)| match contact.state {
            State::Idle(at) if at <= now => Some((at, peer, contact)),
            _ => None,
        });
        let (_, peer, contact) = ready.min_by_key(|(at, peer, _)| (*at, **peer))?;
        contact.state = State::Dialling;
        Some((*peer, contact.addresses.clone()))
    }

    /// A dial failed.
    pub(super) fn on_failure(&mut self, peer: PeerId, now: Instant) {
        if let Some(contact) = self.peers.get_mut(&peer)
            && contact.state == State::Dialling
        {
            let wait = FIRST_WAIT.saturating_mul(1 << contact.failures.min(5)).min(LONGEST_WAIT);
            contact.failures += 1;
            contact.state = State::Idle(now + wait);
        }
    }

    /// A peer cannot be reached, for a reason that will stay; says whether that is news.
    pub(super) fn on_unreached(&mut self, peer: PeerId, why: String) -> bool {
        self.peers.get_mut(&peer).is_some_and(|contact| contact.unreached.replace(why).is_none())
    }

    /// Who cannot be reached for a reason that will stay: the name, and that reason.
    pub(super) fn unreached(&self) -> Option<(String, String)> {
        self.peers.iter().find_map(|(peer, contact)| Some((contact.shown(peer), contact.unreached.clone()?)))
    }

    /// There is a link to a peer. `false` when it is banned or has another link already.
    pub(super) fn on_link(&mut self, peer: PeerId, link: LinkId, address: SocketAddr, now: Instant) -> bool {
        if !self.has_room_for(&peer) {
            return false;
        }
        let contact = self.peers.entry(peer).or_insert_with(|| Contact::new(now));
        if matches!(contact.state, State::Banned | State::Linked(_)) {
            return false;
        }
        if contact.addresses.is_empty() {
            contact.addresses.push(address);
        }
        contact.state = State::Linked(link);
        contact.unreached = None;
        true
    }

    /// A link ended or is of no use; the peer is tried again after a while.
    pub(super) fn on_end(&mut self, link: LinkId, now: Instant) {
        let linked = self.peers.values_mut().find(|contact| contact.state == State::Linked(link));
        if let Some(contact) = linked {
            contact.state = State::Idle(now + FIRST_WAIT);
        }
    }

    /// A link works: failures before do not count.
    pub(super) fn on_success(&mut self, peer: PeerId) {
        if let Some(contact) = self.peers.get_mut(&peer) {
            contact.failures = 0;
        }
    }

    /// A peer sent wrong bytes: it is never asked again for this file. `false` when that was known already.
    pub(super) fn ban(&mut self, peer: PeerId, now: Instant) -> bool {
        let contact = self.peers.entry(peer).or_insert_with(|| Contact::new(now));
        std::mem::replace(&mut contact.state, State::Banned) != State::Banned
    }

    /// What is known of a peer.
    pub(super) fn find(&self, peer: &PeerId) -> Option<&Contact> {
        self.peers.get(peer)
    }

    /// Names of the banned.
    pub(super) fn banned(&self) -> Vec<String> {
        let banned = self.peers.iter().filter(|(_, contact)| contact.state == State::Banned);
        banned.map(|(peer, contact)| contact.shown(peer)).collect()
    }

    /// How many are linked or being dialled for the first time.
    pub(super) fn expected(&self) -> usize {
        let coming = |contact: &&Contact| match contact.state {
            State::Linked(_) => true,
            State::Dialling => contact.failures == 0,
            State::Idle(_) | State::Banned => false,
        };
        self.peers.values().filter(coming).count()
    }

    /// Whether somebody is being dialled for the first time.
    pub(super) fn is_waiting(&self) -> bool {
        self.peers.values().any(|contact| contact.state == State::Dialling && contact.failures == 0)
    }

    /// Whether all places are taken, and somebody could be dialled who has none.
    pub(super) fn others_wait(&self, now: Instant) -> bool {
        let busy = self.peers.values().filter(|contact| contact.is_busy()).count();
        busy >= MOST_LINKS && self.peers.values().any(|contact| matches!(contact.state, State::Idle(at) if at <= now))
    }

    /// Whether anybody is known who is not banned.
    pub(super) fn any_usable(&self) -> bool {
        self.peers.values().any(|contact| contact.state != State::Banned)
    }
}

impl Contact {
    const fn new(now: Instant) -> Self {
        Self { user: String::new(), addresses: Vec::new(), state: State::Idle(now), failures: 0, unreached: None }
    }

    /// For people: who it is.
    pub(super) fn shown(&self, peer: &PeerId) -> String {
        if self.user.is_empty() { peer.to_string() } else { self.user.clone() }
    }

    const fn is_busy(&self) -> bool {
        matches!(self.state, State::Dialling | State::Linked(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(number: u8) -> Holder {
        let address = SocketAddr::from(([127, 0, 0, 1], 9));
        Holder { peer: PeerId([number; 32]), user: format!("u{number}"), addresses: vec![address], have: None }
    }

    #[test]
    fn a_peer_that_does_not_answer_is_tried_again_later_and_later() {
        let now = Instant::now();
        let mut contacts = Contacts::default();
        contacts.on_holder(holder(1), now);
        let (peer, _) = contacts.dial(now).unwrap();
        assert_eq!((contacts.expected(), contacts.is_waiting()), (1, true));
        assert_eq!(contacts.dial(now), None);
        contacts.on_failure(peer, now);
        assert_eq!(contacts.expected(), 0);
        assert_eq!(contacts.dial(now), None);
        assert!(contacts.dial(now + FIRST_WAIT).is_some());
        contacts.on_failure(peer, now);
        assert_eq!(contacts.dial(now + FIRST_WAIT), None);
        contacts.on_holder(holder(1), now);
        assert!(contacts.dial(now).is_some(), "the tracker says that it is there");
    }

    #[test]
    fn why_somebody_is_not_reached_counts_until_he_is() {
        let now = Instant::now();
        let mut contacts = Contacts::default();
        contacts.on_holder(holder(1), now);
        let peer = PeerId([1; 32]);
        assert!(contacts.on_unreached(peer, "a wall".to_owned()) && !contacts.on_unreached(peer, "a moat".to_owned()));
        assert_eq!(contacts.unreached(), Some(("u1".to_owned(), "a moat".to_owned())));
        assert!(!contacts.on_unreached(PeerId([2; 32]), "who?".to_owned()));
        let address = SocketAddr::from(([127, 0, 0, 1], 9));
        assert!(contacts.on_link(peer, LinkId(1), address, now));
        assert_eq!(contacts.unreached(), None);
    }

    #[test]
    fn the_banned_stay_banned() {
        let now = Instant::now();
        let mut contacts = Contacts::default();
        contacts.on_holder(holder(1), now);
        contacts.ban(PeerId([1; 32]), now);
        contacts.on_holder(holder(1), now);
        assert_eq!(contacts.dial(now), None);
        let address = SocketAddr::from(([127, 0, 0, 1], 9));
        assert!(!contacts.on_link(PeerId([1; 32]), LinkId(1), address, now));
        assert_eq!((contacts.banned(), contacts.any_usable()), (vec!["u1".to_owned()], false));
    }

    #[test]
    fn others_wait_only_when_all_places_are_taken() {
        let now = Instant::now();
        let mut contacts = Contacts::default();
        (0..60).for_each(|number| contacts.on_holder(holder(number), now));
        assert!(!contacts.others_wait(now), "there are places");
        let dialled: Vec<_> = std::iter::from_fn(|| contacts.dial(now)).collect();
        assert_eq!(dialled.len(), MOST_LINKS);
        assert!(contacts.others_wait(now));
        contacts.on_failure(dialled[0].0, now);
        assert!(!contacts.others_wait(now));
    }

    #[test]
    fn all_get_their_turn() {
        let mut now = Instant::now();
        let mut contacts = Contacts::default();
        (0..200).for_each(|number| contacts.on_holder(holder(number), now));
        let mut dialled = std::collections::BTreeSet::new();
        let address = SocketAddr::from(([127, 0, 0, 1], 9));
        for round in 0..4 {
            let peers: Vec<PeerId> = std::iter::from_fn(|| contacts.dial(now)).map(|(peer, _)| peer).collect();
            for (number, peer) in (0..).zip(&peers) {
                let link = LinkId(round * 100 + number);
                assert!(contacts.on_link(*peer, link, address, now));
                contacts.on_end(link, now);
            }
            dialled.extend(peers);
            now += FIRST_WAIT * 2;
        }
        assert_eq!(dialled.len(), 200);
    }

    #[test]
    fn one_peer_has_one_link_and_links_are_limited() {
        let now = Instant::now();
        let mut contacts = Contacts::default();
        (0..100).for_each(|number| contacts.on_holder(holder(number), now));
        assert_eq!(std::iter::from_fn(|| contacts.dial(now)).count(), MOST_LINKS);
        let address = SocketAddr::from(([127, 0, 0, 1], 9));
        assert!(contacts.on_link(PeerId([0; 32]), LinkId(1), address, now));
        assert!(!contacts.on_link(PeerId([0; 32]), LinkId(2), address, now));
        contacts.on_end(LinkId(1), now);
        assert!(contacts.on_link(PeerId([0; 32]), LinkId(2), address, now));
    }

    #[test]
    fn one_who_did_not_answer_gives_way_to_a_newcomer_when_there_are_too_many() {
        let now = Instant::now();
        let mut contacts = Contacts::default();
        let peer = |number: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            PeerId(id)
        };
        for number in 0..MOST_CONTACTS {
            contacts.on_holder(Holder { peer: peer(number), ..holder(1) }, now);
        }
        contacts.on_holder(Holder { peer: peer(MOST_CONTACTS), ..holder(1) }, now);
        assert!(contacts.find(&peer(MOST_CONTACTS)).is_none());
        let (silent, _) = contacts.dial(now).unwrap();
        contacts.on_failure(silent, now);
        contacts.on_holder(Holder { peer: peer(MOST_CONTACTS), ..holder(1) }, now);
        assert!(contacts.find(&peer(MOST_CONTACTS)).is_some() && contacts.find(&silent).is_none());
    }
}
