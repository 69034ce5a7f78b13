//! Answering what the rest of the program asks.

use std::time::Instant;

use common::group::Member;
use common::id::PeerId;
use common::nat::NatKind;

use super::super::asks::{Ask, Members, OwnLine, PeerLine, Peers, Precedence, Way};
use super::super::names::names;
use super::opening::INVITATION;
use super::{Actor, reply};

impl Actor {
    pub(super) fn on_ask(&mut self, now: Instant, ask: Ask) {
        match ask {
            Ask::Share(entry, shared, answer) => reply(answer, self.group.share(now, entry, shared)),
            Ask::Unshare(entry, answer) => {
                self.group.unshare(now, &entry);
                reply(answer, ());
            }
            Ask::Announce(content, have, answer) => reply(answer, self.group.announce(now, content, &have)),
            Ask::List(name, offset, answer) => {
                if let Ok(request) = self.group.list(now, name, offset) {
                    self.state.lists.insert(request, answer);
                }
            }
            Ask::Holders(content, answer) => {
                if let Ok(request) = self.group.request(now, content) {
                    self.state.questions.insert(request, answer);
                }
            }
            Ask::Members(answer) => {
                let members = self.group.roster().map(|roster| roster.members().to_vec()).unwrap_or_default();
                reply(answer, Members { members });
            }
            Ask::Precedence(answer) => reply(answer, self.precedence()),
            Ask::Recall(Precedence { before, point }, answer) => {
                self.group.recall(before, point);
                reply(answer, ());
            }
            Ask::Chat(text, answer) => reply(answer, self.group.chat(now, &text)),
            Ask::Connect(address, answer) => match self.group.connect(now, address) {
                Ok(()) => self.state.connecting.entry(address).or_default().push(answer),
                Err(too_many) => reply(answer, Err(too_many.into())),
            },
            Ask::Invite(address, answer) => {
                self.expect_from(address, INVITATION);
                self.open_towards(address, INVITATION);
                reply(answer, ());
            }
            Ask::Peers(answer) => reply(answer, self.peers()),
            Ask::Leave(answer) => {
                self.state.leaving.push(answer);
                self.group.leave(now);
            }
        }
    }

    fn peers(&self) -> Peers {
        let supernode = self.group.supernode();
        let members = self.group.roster().map(|roster| roster.members()).unwrap_or_default();
        let names = names(members);
        let name = |peer: &PeerId| names.get(peer).cloned().unwrap_or_default();
        let others = members.iter().filter(|member| member.id() != self.group.id());
        let line = |peer: &PeerId| {
            let line = &self.state.lines.get(peer)?.line;
            let stats = line.connection.stats().ok()?;
            Some(Way { address: line.direct(), round_trip: stats.round_trip, rate: stats.rate })
        };
        let peer = |member: &Member| PeerLine {
            peer: member.id(),
            name: name(&member.id()),
            supernode: supernode == Some(member.id()),
            way: line(&member.id()),
            nat: self.state.lines.get(&member.id()).map_or(NatKind::Unknown, |standing| standing.nat),
        };
        let me = self.group.id();
        let here = OwnLine {
            name: name(&me),
            supernode: supernode == Some(me),
            seen_at: self.outside.address(),
            nat: self.outside.nat(),
        };
        Peers { here, others: others.map(peer).collect() }
    }

    fn precedence(&self) -> Option<Precedence> {
        let roster = self.group.roster().filter(|roster| roster.point().term > 0)?;
        let before = roster.members().iter().map(Member::id).take_while(|peer| *peer != self.group.id());
        Some(Precedence { before: before.collect(), point: roster.point() })
    }
}
