//! Issued: who was given tickets of late for what is not for everybody. Soft: of the time before the tracker began it is
//! not known, so that anybody may have had one then.

use std::collections::HashMap;
use std::time::Duration;

use common::audience::Audience;
use common::id::PeerId;

/// So many are remembered, some 200 bytes each; with more, anybody may have had any until then.
const MAX_REMEMBERED: usize = 100_000;

/// Tickets that were issued of late. Times are uptimes of the tracker.
#[derive(Debug, Default)]
pub(crate) struct Issued {
    last: HashMap<(PeerId, Audience), Duration>,
    /// What was issued until then is not known.
    known_since: Duration,
}

impl Issued {
    /// A ticket is issued.
    pub(crate) fn add(&mut self, holder: PeerId, audience: &Audience, lasts: Duration, now: Duration) {
        if self.last.len() >= MAX_REMEMBERED {
            self.last.retain(|_, last| is_good(*last, lasts, now));
        }
        if self.last.len() >= MAX_REMEMBERED {
            self.last.clear();
            self.known_since = now;
        }
        self.last.insert((holder, audience.clone()), now);
    }

    /// Whether somebody may have a ticket that is good yet, if it `lasts` so long.
    pub(crate) fn may_have(&self, holder: PeerId, audience: &Audience, lasts: Duration, now: Duration) -> bool {
        let last = self.last.get(&(holder, audience.clone()));
        is_good(self.known_since, lasts, now) || last.is_some_and(|last| is_good(*last, lasts, now))
    }
}

fn is_good(issued: Duration, lasts: Duration, now: Duration) -> bool {
    now.saturating_sub(issued) <= lasts
}

#[cfg(test)]
mod tests {
    use common::audience::OfferId;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn who_was_given_none_within_the_time_has_none() {
        let mut issued = Issued::default();
        let (a, b, audience) = (PeerId([1; 32]), PeerId([2; 32]), Audience::Offer(OfferId(1)));
        let mut may_have = |after: u64, give: bool| {
            let now = HOUR * 10 + Duration::from_secs(after);
            if give {
                issued.add(a, &audience, HOUR, now);
            }
            [a, b].map(|holder| issued.may_have(holder, &audience, HOUR, now))
        };
        assert_eq!(may_have(0, false), [false, false]);
        assert_eq!(may_have(1, true), [true, false]);
        assert_eq!(may_have(3601, false), [true, false]);
        assert_eq!(may_have(3602, false), [false, false]);
        assert!(Issued::default().may_have(a, &audience, HOUR, HOUR), "of the time before nothing is known");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_forgotten_may_be_there() {
        let mut issued = Issued::default();
        let now = HOUR * 10;
        let holder = PeerId([1; 32]);
        for number in 0..=MAX_REMEMBERED as u64 {
            issued.add(holder, &Audience::Offer(OfferId(number)), HOUR, now);
            assert!(issued.last.len() <= MAX_REMEMBERED);
        }
        for number in [0, 5, u64::MAX] {
            assert!(issued.may_have(holder, &Audience::Offer(OfferId(number)), HOUR, now));
        }
    }
}
