//! Ways that others ask this node for: it makes them between any two to whom it has direct lines, within bounds, so that nobody
//! can fill another one's line.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::group::NodeMessage;
use common::id::PeerId;
use common::relay::ChannelId;

use super::Actor;

/// A node may ask for so many ways at once: as many as a relay has for one of its own.
const MOST_AT_ONCE: u32 = 64;
/// In the long run it may ask once in this time; who has lost a way asks again after seconds.
const ONE_EACH: Duration = Duration::from_millis(500);
/// The other end of a way is told of it again no sooner than this.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// What others asked for.
#[derive(Debug, Default)]
pub(super) struct Granting {
    /// When each who asks will have asked for nothing, at one way in [`ONE_EACH`].
    rested_at: BTreeMap<PeerId, Instant>,
    /// Of whom one was told by whose asking, when, and which channel: first who asked, then who was told.
    told: BTreeMap<(PeerId, PeerId), (Instant, ChannelId)>,
}

impl Granting {
    /// Whether this one may ask for one more way.
    fn may_ask(&mut self, now: Instant, from: PeerId) -> bool {
        let rested_at = self.rested_at.entry(from).or_insert(now);
        let next = (*rested_at).max(now) + ONE_EACH;
        let may = next <= now + ONE_EACH * MOST_AT_ONCE;
        if may {
            *rested_at = next;
        }
        may
    }

    /// Whether the other end is to be told of its channel because somebody asks.
    fn is_to_be_told(&mut self, now: Instant, from: PeerId, to: PeerId, channel: ChannelId) -> bool {
        let told = self.told.get(&(from, to));
        let is_news = told.is_none_or(|(at, before)| now >= *at + TELL_AGAIN || *before != channel);
        if is_news {
            self.told.insert((from, to), (now, channel));
        }
        is_news
    }

    /// There is no line any more to somebody: the next one knows of no way.
    pub(super) fn on_line_gone(&mut self, peer: &PeerId) {
        self.told.retain(|(from, to), _| from != peer && to != peer);
    }

    /// Forgets what makes no difference any more.
    pub(super) fn tidy(&mut self, now: Instant) {
        self.rested_at.retain(|_, at| *at > now);
        self.told.retain(|_, (at, _)| now < *at + TELL_AGAIN);
    }
}

impl Actor {
    /// Makes a relayed way between two who have a direct line here: the supernode has one to most members, and whoever leads
    /// a newcomer on to it has one to both.
    pub(super) fn make_way(&mut self, now: Instant, from: PeerId, to: PeerId) {
        if !self.state.relaying.granting.may_ask(now, from) {
            tracing::debug!(%from, "it asks for too many ways");
            return self.say(from, &NodeMessage::RelayDenied(to));
        }
        let direct = |peer: &PeerId| self.state.lines.get(peer).filter(|standing| standing.line.direct().is_some());
        let (Some(one), Some(other)) = (direct(&from), direct(&to)) else {
            return self.say(from, &NodeMessage::RelayDenied(to));
        };
        // Both may ask at the same time, and who asks again may have lost its end: there is one way between two.
        match self.relay.pair_between([&one.line.connection, &other.line.connection]) {
            Ok([near, far]) => {
                if self.state.relaying.granting.is_to_be_told(now, from, to, far) {
                    self.say(to, &NodeMessage::RelayGiven(from, far));
                }
                self.say(from, &NodeMessage::RelayGiven(to, near));
            }
            Err(error) => {
                tracing::info!(%error, "no relayed way was made");
                self.say(from, &NodeMessage::RelayDenied(to));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: PeerId = PeerId([1; 32]);
    const BOB: PeerId = PeerId([2; 32]);
    const EVE: PeerId = PeerId([3; 32]);

    #[test]
    fn who_asks_for_too_many_ways_waits_and_the_others_do_not() {
        let (mut granting, now) = (Granting::default(), Instant::now());
        let asked = |granting: &mut Granting, now, who| (0..1000).filter(|_| granting.may_ask(now, who)).count();
        assert_eq!(asked(&mut granting, now, ANN), 64);
        granting.tidy(now);
        assert_eq!(asked(&mut granting, now, ANN), 0);
        assert_eq!(asked(&mut granting, now, BOB), 64);
        assert_eq!(asked(&mut granting, now + ONE_EACH * 3, ANN), 3);
        granting.tidy(now + ONE_EACH * 64);
        assert_eq!(granting.rested_at.len(), 1, "of who has rested nothing is kept");
    }

    #[test]
    fn the_other_end_is_told_once_a_second_unless_the_way_or_the_line_is_another() {
        let (mut granting, now) = (Granting::default(), Instant::now());
        let [way, another] = [7, 8].map(ChannelId);
        assert!(granting.is_to_be_told(now, ANN, BOB, way));
        assert!(!granting.is_to_be_told(now, ANN, BOB, way));
        assert!(granting.is_to_be_told(now, BOB, ANN, way), "the other one asks");
        assert!(granting.is_to_be_told(now, ANN, BOB, another));
        assert!(granting.is_to_be_told(now + TELL_AGAIN, ANN, BOB, another));
        granting.on_line_gone(&EVE);
        assert!(!granting.is_to_be_told(now + TELL_AGAIN, ANN, BOB, another));
        granting.on_line_gone(&BOB);
        assert!(granting.is_to_be_told(now + TELL_AGAIN, ANN, BOB, another));
        granting.tidy(now + TELL_AGAIN * 2);
        assert!(granting.told.is_empty(), "what is long ago is forgotten");
    }
}
