//! Reaching members for chunks: a stream on the line that there is, or on one that is dialled for it.

use std::io;
use std::time::Instant;

use common::id::PeerId;
use common::mrt::Target;

use super::super::dial::{Knowledge, dial};
use super::super::line::converse;
use super::{Actor, Input, reply};
use crate::overlay::Reach;

impl Actor {
    /// Somebody wants a stream to a member.
    pub(super) fn on_reach(&mut self, reach: Reach) {
        let peer = reach.peer;
        let is_first = self.state.wishes.add(reach);
        if self.state.lines.contains_key(&peer) {
            return self.answer_reaches(peer);
        }
        if !is_first {
            return;
        }
        let member = self.group.roster().and_then(|roster| roster.member(&peer)).cloned();
        let Some(member) = member else { return self.answer_reaches(peer) };
        self.group.invite(Instant::now(), peer);
        let relayed = self.relayed_way(self.group.supernode(), peer);
        let (node, inputs) = (self.node.clone(), self.inputs.clone());
        self.tasks.spawn("reach", async move {
            let target = Target { peer: Some(peer), static_key: Some(member.static_key()) };
            let opened = dial(&node, target, member.addresses().as_slice(), Knowledge::Sure, relayed).await;
            drop(inputs.send(Input::Reached(peer, opened)).await);
        });
    }

    /// There is a line to a member, or none can be had.
    pub(super) fn answer_reaches(&mut self, peer: PeerId) {
        let waiting = self.state.wishes.take(peer);
        let connection = self.state.lines.get(&peer).map(|standing| standing.line.connection.clone());
        for Reach { answer, .. } in waiting {
            let connection = connection.clone();
            self.tasks.spawn("converse", async move {
                let stream = match connection {
                    Some(connection) => converse(&connection).await,
                    None => Err(io::Error::new(io::ErrorKind::NotConnected, "no way to it was found")),
                };
                // Who asked may be gone.
                reply(answer, stream);
            });
        }
    }
}
