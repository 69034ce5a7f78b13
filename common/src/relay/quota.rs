//! How many bytes may pass: so many a second in all, shared so that no pair can take the others' part.
//!
//! There is no queue in a relay: a datagram is sent on at once, or dropped. So what is shared is the right to send, as
//! credit in buckets. One bucket, the *level*, fills with the whole rate, and each datagram that passes is taken from
//! it. Beside that each active pair has *credit* of its own, which grows by its share: nearly all of the rate,
//! divided by the number of active pairs.
//!
//! - A datagram for which its pair has credit passes.
//! - One for which it has none passes if that leaves the level above a reserve. That way a pair gets what others leave.
//!
//! The reserve is as large as the credit of all pairs together can be, so credit is always good: the level never falls
//! below the sum of all credit. It holds at first; credit grows by less than the level in any time; what is taken from
//! credit is taken from both; what is taken without credit leaves the reserve; and a pair that becomes active is given
//! credit only while the level covers the reserve. How hard a pair tries changes none of that. If so many become active
//! at once that the level falls below the reserve, the next ones begin without credit, for some seconds at most: not
//! all of the rate is given as credit, so the level recovers even if all that is given is used.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// How much a relay carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayConfig {
    /// Bytes a second of all datagrams that are sent on, each with 28 bytes for the heads of IP and UDP. Each pair that is
    /// active (sent in the last second or two) is sure of 15/16 of this divided by the number of active pairs, and may
    /// take what others leave.
    pub bytes_per_sec: NonZeroU64,
    /// Most pairs at once; each takes less than 1 KiB of memory.
    pub max_pairs: u32,
    /// Most pairs at once in which one member is.
    pub max_pairs_of_member: u32,
    /// Most bytes of one member's, heads left out, that are sent on before the other has sent anything: so that nobody can use
    /// a relay to bury somebody who did not answer.
    pub max_unanswered: u64,
}

impl RelayConfig {
    /// Bytes a second unless something else is said: 10 MiB.
    pub const DEFAULT_BYTES_PER_SEC: NonZeroU64 = NonZeroU64::new(10 << 20).expect("not zero");
    /// Most pairs unless something else is said. With all of them active each has 10 KiB a second of the default rate,
    /// which is enough for words but not for files.
    pub const DEFAULT_MAX_PAIRS: u32 = 1024;
    /// Most pairs of a member unless something else is said: a member has one with each it cannot reach directly.
    pub const DEFAULT_MAX_PAIRS_OF_MEMBER: u32 = 64;

    /// This rate, and the defaults for all else: what is not answered has no limit, as among members who know each other.
    pub const fn new(bytes_per_sec: NonZeroU64) -> Self {
        Self {
            bytes_per_sec,
            max_pairs: Self::DEFAULT_MAX_PAIRS,
            max_pairs_of_member: Self::DEFAULT_MAX_PAIRS_OF_MEMBER,
            max_unanswered: u64::MAX,
        }
    }
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self::new(Self::DEFAULT_BYTES_PER_SEC)
    }
}

/// The buckets of a relay. All amounts are in billionths of a byte, so that a rate times nanoseconds is a whole number.
#[derive(Debug)]
pub(super) struct Quota {
    bytes_per_sec: u128,
    max_pairs: u32,
    sizes: Sizes,
    /// What may pass now.
    level: u128,
    /// How much credit a pair would have got that has been active since the beginning.
    granted: u128,
    /// Most credit that a pair may have now. It falls at once when pairs become active, and rises no faster than credit
    /// does, so that nobody's credit rises faster than it is granted. The argument above needs that; no run is known in
    /// which a sudden rise does harm, so no test would notice one.
    most_credit: u128,
    /// Up to when the buckets are filled.
    at: Instant,
    rounds: Rounds,
}

/// What a pair may send; belongs to one [`Quota`].
#[derive(Debug, Default)]
pub(super) struct Allowance {
    credit: u128,
    /// What had been granted when `credit` was right.
    granted: u128,
    /// The last round in which it sent; rounds count from 2, so that a new pair was not active in the one before.
    round: u64,
}

/// Who is active, without a list: those who sent in this round or in the one before.
#[derive(Debug)]
struct Rounds {
    number: u64,
    began: Instant,
    /// How many sent in the round before.
    before: u32,
    /// How many sent in this one.
    now: u32,
    /// How many of these had not in the round before.
    fresh: u32,
}

/// The sizes of the buckets.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// As much as all credit together may be.
    reserve: u128,
    /// Down to this level anybody may take. It is above the reserve: pairs that have waited for their turn use up credit
    /// all the time, and the level would be a bit below the reserve whenever somebody becomes active.
    floor: u128,
    /// The level of the full bucket.
    depth: u128,
    /// Most credit of a pair, with few pairs.
    pair_burst: u128,
}

const NANO: u128 = 1_000_000_000;
const KIB: u128 = 1 << 10;

/// What a datagram takes beside its payload: heads of IPv4 and UDP. Without that, small ones were nearly free.
const OVERHEAD: u128 = 28;

/// This part of the rate is granted to nobody: from it the level recovers when all use their credit as it comes.
const RECOVERY_PART: u128 = 16;

/// For how long a round lasts. Shorter ones forget a pair between two round trips of a slow link, longer ones
/// keep a share for who is gone.
const ROUND: Duration = Duration::from_secs(1);

/// Each pair can have credit for so much, with as many pairs as there may be: two large datagrams.
const LEAST_BURST: u128 = 4 * KIB;

/// A pair's burst is what the whole rate gives in a 64th of a second (picked by hand), within these bounds: the least is some
/// datagrams of one batch, the most is four batches of 64 KiB.
const PAIR_BURST_PART: u128 = 64;
const LEAST_PAIR_BURST: u128 = 32 * KIB;
const MOST_PAIR_BURST: u128 = 256 * KIB;

/// As many whole bursts as the reserve has room for at least.
const LEAST_BURSTS: u128 = 4;

/// Above the floor is what the whole rate gives in a 16th of a second (picked by hand), and at least a batch.
const SPARE_PART: u128 = 16;
const LEAST_SPARE: u128 = 64 * KIB;

impl Quota {
    /// With full buckets.
    pub(super) fn new(now: Instant, config: &RelayConfig) -> Self {
        let bytes_per_sec = u128::from(config.bytes_per_sec.get());
        let sizes = Sizes::new(bytes_per_sec, config.max_pairs);
        Self {
            bytes_per_sec,
            max_pairs: config.max_pairs,
            sizes,
            level: sizes.depth,
            granted: 0,
            most_credit: sizes.pair_burst,
            at: now,
            rounds: Rounds { number: 2, began: now, before: 0, now: 0, fresh: 0 },
        }
    }

    /// Takes what a datagram with `payload` bytes costs; says whether it may pass.
    pub(super) fn take(&mut self, now: Instant, allowance: &mut Allowance, payload: usize) -> bool {
        self.fill(now);
        self.enter(allowance);
        let cost = (payload as u128 + OVERHEAD) * NANO;
        if let Some(credit) = allowance.credit.checked_sub(cost) {
            allowance.credit = credit;
            self.level = self.level.saturating_sub(cost);
            return true;
        }
        let is_left = self.level >= self.sizes.floor + cost;
        if is_left {
            self.level -= cost;
        }
        is_left
    }

    /// Fills the buckets for the time that has passed.
    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_nanos();
        self.at = self.at.max(now);
        self.level = self.level.saturating_add(self.bytes_per_sec.saturating_mul(passed)).min(self.sizes.depth);
        // If a round ended meanwhile there were fewer active pairs for a part of the time, and nobody of them sent in
        // it; that they get a little less keeps the sum of all credit below the level.
        if let Some(active) = self.active() {
            let per_sec = self.bytes_per_sec - self.bytes_per_sec / RECOVERY_PART;
            let granted = per_sec.saturating_mul(passed) / active;
            self.granted = self.granted.saturating_add(granted);
            self.most_credit = self.most_credit.saturating_add(granted);
        }
        self.rounds.pass(now);
        self.bound_credit();
    }

    /// Notes that a pair sends, and gives it the credit that has come up for it.
    fn enter(&mut self, allowance: &mut Allowance) {
        let was_active = self.rounds.enter(allowance.round);
        allowance.round = self.rounds.number;
        self.bound_credit();
        if was_active {
            let since = self.granted.saturating_sub(allowance.granted);
            allowance.credit = allowance.credit.saturating_add(since).min(self.most_credit);
        } else {
            allowance.credit = if self.level >= self.sizes.reserve { self.most_credit } else { 0 };
        }
        allowance.granted = self.granted;
    }

    /// All credit together must fit into the reserve.
    fn bound_credit(&mut self) {
        match self.active() {
            Some(active) => {
                let bound = (self.sizes.reserve / active).min(self.sizes.pair_burst);
                self.most_credit = self.most_credit.min(bound);
            }
            // Nobody has any.
            None => self.most_credit = self.sizes.pair_burst,
        }
    }

    /// How many pairs are active, if any. Pairs that were closed count until their round is over, which may make more than
    /// there can be.
    fn active(&self) -> Option<u128> {
        let active = self.rounds.before.saturating_add(self.rounds.fresh).min(self.max_pairs);
        (active > 0).then_some(u128::from(active))
    }
}

impl Rounds {
    /// Begins the next round if this one is over.
    fn pass(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.began);
        if since < ROUND {
            return;
        }
        self.before = if since < 2 * ROUND { self.now } else { 0 };
        // One more is skipped in the second case: who sent in the last one was not active in the one before this.
        self.number += if since < 2 * ROUND { 1 } else { 2 };
        (self.now, self.fresh, self.began) = (0, 0, now);
    }

    /// Counts one that sends and that sent last in `round`; says whether it was active.
    const fn enter(&mut self, round: u64) -> bool {
        if round == self.number {
            return true;
        }
        let was_active = round + 1 == self.number;
        self.now = self.now.saturating_add(1);
        if !was_active {
            self.fresh = self.fresh.saturating_add(1);
        }
        was_active
    }
}

impl Sizes {
    fn new(bytes_per_sec: u128, max_pairs: u32) -> Self {
        let pair_burst = (bytes_per_sec / PAIR_BURST_PART).clamp(LEAST_PAIR_BURST, MOST_PAIR_BURST);
        let reserve = (LEAST_BURST * u128::from(max_pairs)).max(LEAST_BURSTS * pair_burst);
        let floor = reserve + reserve / 2;
        let depth = floor + (bytes_per_sec / SPARE_PART).max(LEAST_SPARE);
        Self { reserve: reserve * NANO, floor: floor * NANO, depth: depth * NANO, pair_burst: pair_burst * NANO }
    }
}

#[cfg(test)]
mod tests;
