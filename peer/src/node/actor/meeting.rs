//! What this node tells those whom it meets: where it is, and what NAT it is behind.

use common::group::NodeMessage;
use common::id::PeerId;
use common::nat::NatKind;
use tokio::sync::mpsc;

use super::super::line::Line;
use super::super::meet::{Meeter, Meeting, News, Whereabouts};
use super::{Actor, Input};

impl Actor {
    /// Two who talk through a relay look for a direct way, for as long as they have a line.
    pub(super) fn begin_to_meet(&self, line: &Line) -> mpsc::Sender<Meeting> {
        let inputs = self.inputs.clone();
        let meeter = Meeter {
            node: self.node.clone(),
            connection: line.connection.clone(),
            dialler: line.making.dialler,
            say: line.sayer(),
            whereabouts: self.whereabouts.subscribe(),
            tell: Box::new(move |news| {
                if let News::Seen(observation) = news {
                    // Where there is no room for it, the next one will do.
                    drop(inputs.try_send(Input::Observed(observation)));
                }
            }),
        };
        meeter.start(&self.tasks)
    }

    /// The other side of a meeting says something.
    pub(super) fn on_meeting(&self, from: PeerId, said: Meeting) {
        if let Some(standing) = self.state.lines.get(&from) {
            // Who says more than is asked is not heard.
            drop(standing.meeting.try_send(said));
        }
    }

    /// Tells the meetings of all lines where this node is.
    pub(super) fn tell_whereabouts(&self) {
        let supernode = self.group.supernode().and_then(|supernode| self.state.lines.get(&supernode));
        let lines = supernode.into_iter().chain(self.state.lines.values());
        let mut observers = Vec::new();
        for observer in self.outside.servers().chain(lines.filter_map(|standing| standing.line.direct())) {
            if !observers.contains(&observer) {
                observers.push(observer);
            }
        }
        let now = Whereabouts { candidates: self.candidates.clone(), observers };
        self.whereabouts.send_if_modified(|told| {
            let differs = *told != now;
            if differs {
                *told = now;
            }
            differs
        });
    }

    /// What NAT this node is behind is told to all when it becomes known or another one.
    pub(in crate::node) fn tell_nat(&mut self) {
        let kind = self.outside.nat();
        if std::mem::replace(&mut self.state.told_nat, kind) != kind {
            let peers: Vec<PeerId> = self.state.lines.keys().copied().collect();
            peers.into_iter().for_each(|peer| self.say(peer, &NodeMessage::Nat(kind)));
        }
    }

    /// A new line hears of it, if it is known.
    pub(super) fn tell_nat_to(&self, peer: PeerId) {
        if self.state.told_nat != NatKind::Unknown {
            self.say(peer, &NodeMessage::Nat(self.state.told_nat));
        }
    }
}
