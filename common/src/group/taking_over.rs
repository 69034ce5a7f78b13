//! Taking over: a node becomes the supernode of the members of its last roster, because nobody before it answers or because
//! the last supernode named it.

use std::time::Instant;

use super::directory::Directory;
use super::leading::{Gathering, Leading};
use super::limits::{AWAIT_TIME, GATHER_TIME, MAX_TERM};
use super::machine::{Group, Role};
use super::message::Message;
use super::roster::{Member, Point, Roster};
use crate::id::PeerId;

/// What became of the supernode before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Former {
    /// It does not answer, as do those between it and us; it is looked for.
    Silent,
    /// It left, and named us.
    Left,
}

impl Group {
    /// Becomes the supernode after `last`. Its members are awaited; those before us are absent.
    pub(super) fn take_over(&mut self, now: Instant, last: &Roster, former: Former) {
        let me = self.me.id();
        let own = last.place(&me).unwrap_or(0);
        let mut members = Vec::new();
        let mut absent = Vec::new();
        for (place, member) in last.members.iter().enumerate() {
            match former {
                _ if member.id() == me => members.push(self.me.member.clone()),
                Former::Silent if place < own => absent.push(member.clone()),
                Former::Left if member.id() == last.supernode => {}
                Former::Silent | Former::Left => members.push(member.clone()),
            }
        }
        absent.extend(last.absent.iter().cloned());
        let term = last.point.term.saturating_add(1).min(MAX_TERM);
        let roster = Roster { point: Point { term, number: 0 }, supernode: me, members, absent };
        let mut leading = Leading::of(now, roster);
        self.expect_all(now, &mut leading);
        if let Some(supernode) = last.member(&last.supernode)
            && !leading.awaited.is_empty()
        {
            let (supernode, term) = (supernode.identity(), last.point.term);
            leading.gathering = Some(Gathering { until: now + GATHER_TIME, supernode, term });
        }
        leading.directory = Directory::default();
        self.tell_changes(&last.members, &leading.roster.members);
        self.role = Role::Leading(Box::new(leading));
        self.forget_talks();
        self.publish(now);
        if former == Former::Left {
            // It waits to see that we are there.
            self.show_roster(last.supernode);
        }
        self.introduce_to_others();
        self.restock(now);
    }

    fn expect_all(&self, now: Instant, leading: &mut Leading) {
        let me = self.me.id();
        let members: Vec<PeerId> = leading.roster.members.iter().map(Member::id).collect();
        for peer in members.into_iter().filter(|peer| *peer != me) {
            leading.awaited.insert(peer, now + AWAIT_TIME);
            leading.look_for(now, peer);
        }
        let absent: Vec<PeerId> = leading.roster.absent.iter().map(Member::id).collect();
        for peer in absent {
            leading.look_for(now, peer);
        }
    }

    fn show_roster(&mut self, peer: PeerId) {
        let Role::Leading(leading) = &self.role else { return };
        if let Some(sealed) = &leading.sealed {
            let message = Message::Peer { roster: sealed.clone(), heard: self.talk.heard() };
            self.put(peer, &message);
        }
    }

    /// Says to those who are connected, but not in our list, that we lead.
    fn introduce_to_others(&mut self) {
        let Role::Leading(leading) = &self.role else { return };
        let listed = |peer: &PeerId| leading.roster.member(peer).is_some();
        let others: Vec<PeerId> = self.links.ready_peers().into_iter().filter(|peer| !listed(peer)).collect();
        for peer in others {
            self.introduce(peer);
        }
    }

    /// Our own files, questions and lines, that the last supernode knew.
    fn restock(&mut self, now: Instant) {
        for message in self.shelf.tell() {
            self.ask_supernode(now, message);
        }
        for line in self.talk.pending() {
            self.ask_supernode(now, Message::Chat(line));
        }
    }
}
