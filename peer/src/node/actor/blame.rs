//! Blame: a relayed way that is of no use may be the fault of who relays, or of who is at the other end. From one pair nobody
//! can tell: the other end may send garbage through an honest relay, or answer by another way only.

use std::time::{Duration, Instant};

use common::id::PeerId;

/// What is wrong with a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// What comes is damaged, or came before.
    Garbage,
    /// Nothing comes.
    Silence,
}

/// Whom the user is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The relay.
    Relay(Fault),
    /// The relay, or the other end.
    Either(Fault),
}

/// The same fault with two other ends within this time is the relay's.
const MEMORY: Duration = Duration::from_secs(600);
/// So many faults are remembered, the newest.
const MOST_REMEMBERED: usize = 256;

/// Faults of late: of which relay, with which other end.
#[derive(Debug, Default)]
pub(super) struct Blame(Vec<Seen>);

#[derive(Debug)]
struct Seen {
    at: Instant,
    fault: Fault,
    relay: PeerId,
    other: PeerId,
}

impl Blame {
    /// Whose fault a way is, which is noted.
    pub(super) fn verdict(&mut self, now: Instant, fault: Fault, relay: PeerId, other: PeerId) -> Verdict {
        let is_same = |seen: &Seen| (seen.fault, seen.relay) == (fault, relay);
        self.0.retain(|seen| now < seen.at + MEMORY && !(is_same(seen) && seen.other == other));
        let verdict = if self.0.iter().any(is_same) { Verdict::Relay(fault) } else { Verdict::Either(fault) };
        if self.0.len() >= MOST_REMEMBERED {
            self.0.remove(0);
        }
        self.0.push(Seen { at: now, fault, relay, other });
        verdict
    }
}

impl Verdict {
    /// What the user reads.
    pub(super) fn words(self, relay: &str, other: &str) -> String {
        let (Self::Relay(fault) | Self::Either(fault)) = self;
        let (does, or_else) = match fault {
            Fault::Garbage => ("damages or repeats", "does"),
            Fault::Silence => ("does not pass on", "does not answer there"),
        };
        let or_other = match self {
            Self::Relay(_) => String::new(),
            Self::Either(_) => format!(", or {other} {or_else}"),
        };
        format!("{relay} {does} what it relays from {other}{or_other}; others are asked.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> PeerId {
        PeerId([number; 32])
    }

    #[test]
    fn a_relay_is_blamed_alone_when_two_other_ends_show_the_same() {
        let (mut blame, now) = (Blame::default(), Instant::now());
        let mut of = |now, fault, other| blame.verdict(now, fault, peer(0), peer(other));
        for _ in 0..3 {
            assert_eq!(of(now, Fault::Garbage, 1), Verdict::Either(Fault::Garbage), "from one nobody can tell");
        }
        assert_eq!(of(now, Fault::Silence, 2), Verdict::Either(Fault::Silence), "another fault");
        assert_eq!(of(now, Fault::Garbage, 2), Verdict::Relay(Fault::Garbage));
        assert_eq!(of(now, Fault::Garbage, 1), Verdict::Relay(Fault::Garbage));
        assert_eq!(of(now + MEMORY, Fault::Garbage, 3), Verdict::Either(Fault::Garbage), "long ago");
        assert_eq!(blame.verdict(now, Fault::Garbage, peer(9), peer(4)), Verdict::Either(Fault::Garbage));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut blame, now) = (Blame::default(), Instant::now());
        for number in 0..1000_u16 {
            let mut relay = [0; 32];
            relay[..2].copy_from_slice(&number.to_be_bytes());
            blame.verdict(now, Fault::Silence, PeerId(relay), peer(1));
        }
        assert_eq!(blame.0.len(), MOST_REMEMBERED);
    }

    #[test]
    fn the_words_name_who_may_be_to_blame() {
        let said = |verdict: Verdict| verdict.words("ann", "bob");
        let garbage = "ann damages or repeats what it relays from bob";
        assert_eq!(said(Verdict::Relay(Fault::Garbage)), format!("{garbage}; others are asked."));
        assert_eq!(said(Verdict::Either(Fault::Garbage)), format!("{garbage}, or bob does; others are asked."));
        let silence = "ann does not pass on what it relays from bob, or bob does not answer there; others are asked.";
        assert_eq!(said(Verdict::Either(Fault::Silence)), silence);
    }
}
