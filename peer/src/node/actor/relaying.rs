//! Relayed ways: made for others, and asked for.

use common::id::PeerId;
use common::mrt::Route;
use tokio::sync::oneshot;

use super::super::wire::NodeMessage;
use super::Actor;

impl Actor {
    /// Makes a relayed way between two who have a line here: the supernode has one to all members, and whoever leads a newcomer
    /// on to it has one to both.
    pub(super) fn make_way(&self, from: PeerId, to: PeerId) {
        let (Some(one), Some(other)) = (self.state.lines.get(&from), self.state.lines.get(&to)) else {
            return self.say(from, &NodeMessage::RelayDenied(to));
        };
        // Who asks again has lost what went over the old one.
        self.relay.close_between([from, to]);
        match self.relay.open_pair([&one.line.connection, &other.line.connection]) {
            Ok([near, far]) => {
                self.say(to, &NodeMessage::RelayGiven(from, far));
                self.say(from, &NodeMessage::RelayGiven(to, near));
            }
            Err(error) => {
                tracing::info!(%error, "no relayed way was made");
                self.say(from, &NodeMessage::RelayDenied(to));
            }
        }
    }

    /// A route to a member through the supernode, when it is there.
    pub(super) fn relayed_way(
        &mut self,
        through: Option<PeerId>,
        to: PeerId,
    ) -> impl Future<Output = Option<Route>> + Send + use<> {
        let through = through.filter(|through| *through != to && self.state.lines.contains_key(through));
        let waiting = through.map(|through| {
            let (given, waiting) = oneshot::channel();
            let all = self.state.relaying.entry(to).or_default();
            all.retain(|waiting| !waiting.is_closed());
            all.push(given);
            self.say(through, &NodeMessage::RelayWanted(to));
            waiting
        });
        async move { waiting?.await.ok() }
    }
}
