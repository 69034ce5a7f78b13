//! Attempts: how many wrong passwords are looked at.
//!
//! There is a bucket of tries for each pair of account and source, one for each account, and one for each source; a try
//! takes one from each and a password that fits gives them back. Somebody who guesses soon empties the narrow bucket, and
//! what is refused on account of that takes nothing from the wide ones: the others of the same account and of the same
//! source go on. A device that was logged in to the account before has one bucket of its own instead, so that whoever the
//! account belongs to gets in while somebody else guesses.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::id::PeerId;
use common::name::UserName;

use crate::source::Source;

/// Tries of one source at one account, and of one device at the account that it knows.
const NARROW: Rate = Rate { at_once: 5, every: Duration::from_secs(10) };
/// Tries at one account, wherever they come from.
const ACCOUNT: Rate = Rate { at_once: 50, every: Duration::from_secs(30) };
/// Tries of one source, at whichever accounts.
const SOURCE: Rate = Rate { at_once: 100, every: Duration::from_secs(1) };
/// Passwords of one source that are hashed for whatever reason, those that fit and sign-ups too: a class that comes at
/// once, and then a fifth of a core.
const WORK: Rate = Rate { at_once: 500, every: Duration::from_millis(100) };
/// The same of one device that is known.
const DEVICE_WORK: Rate = Rate { at_once: 20, every: Duration::from_secs(2) };
/// So many buckets of a kind are remembered, some 100 bytes each; of more, the fullest half is taken for full.
const MAX_BUCKETS: usize = 50_000;

/// Counts tries; clones count together. Times are uptimes of the tracker.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attempts {
    tables: Arc<Mutex<Tables>>,
}

/// A try that was allowed. It counts as a wrong password unless [`Self::forgive`] is called.
#[derive(Debug)]
#[must_use = "dropped, it counts as a wrong password"]
pub(crate) struct Attempt {
    attempts: Attempts,
    who: Who,
    account: UserName,
    source: Source,
}

/// Who tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Anybody.
    Stranger,
    /// A device that was logged in to this account before, and is known by its key.
    Known(PeerId),
}

#[derive(Debug, Default)]
struct Tables {
    devices: Buckets<(UserName, PeerId)>,
    pairs: Buckets<(UserName, Source)>,
    accounts: Buckets<UserName>,
    sources: Buckets<Source>,
    work: Buckets<Source>,
    device_work: Buckets<PeerId>,
}

/// So many at once after a rest, and then one in so long.
#[derive(Debug, Clone, Copy)]
struct Rate {
    at_once: u32,
    every: Duration,
}

/// When each bucket will be full; one that is not there is.
#[derive(Debug)]
struct Buckets<K> {
    full_at: HashMap<K, Duration>,
}

impl Attempts {
    /// Allows a try, or says how long it is until one is.
    pub(crate) fn begin(
        &self,
        account: &UserName,
        source: Source,
        who: Who,
        now: Duration,
    ) -> Result<Attempt, Duration> {
        let mut tables = self.lock();
        let Tables { devices, pairs, accounts, sources, work, device_work } = &mut *tables;
        let pair = (account.clone(), source);
        match who {
            Who::Known(peer) => {
                let device = (account.clone(), peer);
                devices.check(&device, NARROW, now)?;
                device_work.check(&peer, DEVICE_WORK, now)?;
                devices.take(device, NARROW, now);
                device_work.take(peer, DEVICE_WORK, now);
            }
            Who::Stranger => {
                pairs.check(&pair, NARROW, now)?;
                accounts.check(account, ACCOUNT, now)?;
                sources.check(&source, SOURCE, now)?;
                work.check(&source, WORK, now)?;
                pairs.take(pair, NARROW, now);
                accounts.take(account.clone(), ACCOUNT, now);
                sources.take(source, SOURCE, now);
                work.take(source, WORK, now);
            }
        }
        drop(tables);
        Ok(Attempt { attempts: self.clone(), who, account: account.clone(), source })
    }

    /// Allows a password to be hashed that is not tried, or says how long it is until one is.
    pub(crate) fn work(&self, source: Source, now: Duration) -> Result<(), Duration> {
        let mut tables = self.lock();
        tables.work.check(&source, WORK, now)?;
        tables.work.take(source, WORK, now);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        // No step between lock and unlock leaves it half done.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// The password fitted, or was not looked at.
    pub(crate) fn forgive(self) {
        let Self { attempts, who, account, source } = self;
        let mut tables = attempts.lock();
        match who {
            Who::Known(peer) => tables.devices.give_back(&(account, peer), NARROW),
            Who::Stranger => {
                tables.accounts.give_back(&account, ACCOUNT);
                tables.pairs.give_back(&(account, source), NARROW);
                tables.sources.give_back(&source, SOURCE);
            }
        }
    }
}

impl<K: Eq + Hash + Clone> Buckets<K> {
    fn check(&self, key: &K, rate: Rate, now: Duration) -> Result<(), Duration> {
        let full_at = self.full_at.get(key).copied().unwrap_or_default().max(now);
        match (full_at + rate.every).saturating_sub(now + rate.every * rate.at_once) {
            Duration::ZERO => Ok(()),
            wait => Err(wait),
        }
    }

    fn take(&mut self, key: K, rate: Rate, now: Duration) {
        if self.full_at.len() >= MAX_BUCKETS {
            self.make_room(now);
        }
        let full_at = self.full_at.entry(key).or_default();
        *full_at = (*full_at).max(now) + rate.every;
    }

    fn give_back(&mut self, key: &K, rate: Rate) {
        if let Some(full_at) = self.full_at.get_mut(key) {
            *full_at = full_at.saturating_sub(rate.every);
        }
    }

    fn make_room(&mut self, now: Duration) {
        self.full_at.retain(|_, full_at| *full_at > now);
        if self.full_at.len() < MAX_BUCKETS / 2 {
            return;
        }
        let mut times: Vec<Duration> = self.full_at.values().copied().collect();
        let (_, &mut middle, _) = times.select_nth_unstable(MAX_BUCKETS / 2 - 1);
        self.full_at.retain(|_, full_at| *full_at > middle);
    }
}

impl<K> Default for Buckets<K> {
    fn default() -> Self {
        Self { full_at: HashMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> Source {
        Source::of([192, 0, 2, last].into())
    }

    fn user(name: &str) -> UserName {
        name.parse().unwrap()
    }

    const NOW: Duration = Duration::from_secs(1_000_000);

    #[test]
    fn a_guesser_has_five_tries_and_then_one_in_ten_seconds() {
        let attempts = Attempts::default();
        let alice = user("alice");
        for _ in 0..5 {
            drop(attempts.begin(&alice, source(1), Who::Stranger, NOW).unwrap());
        }
        for _ in 0..1000 {
            let wait = attempts.begin(&alice, source(1), Who::Stranger, NOW).unwrap_err();
            assert_eq!(wait, Duration::from_secs(10));
        }
        let later = NOW + Duration::from_secs(10);
        drop(attempts.begin(&alice, source(1), Who::Stranger, later).unwrap());
        assert!(attempts.begin(&alice, source(1), Who::Stranger, later).is_err());
        // What was refused took nothing from the others: neither of this source nor of this account.
        assert!(attempts.begin(&user("bob"), source(1), Who::Stranger, NOW).is_ok());
        assert!(attempts.begin(&alice, source(2), Who::Stranger, NOW).is_ok());
    }

    #[test]
    fn a_password_that_fits_costs_nothing() {
        let attempts = Attempts::default();
        for _ in 0..200 {
            attempts.begin(&user("alice"), source(1), Who::Stranger, NOW).unwrap().forgive();
        }
    }

    #[test]
    fn the_owner_gets_in_while_many_guess_from_everywhere() {
        let attempts = Attempts::default();
        let alice = user("alice");
        let mut allowed = 0;
        for number in 0..2550u32 {
            let from = source(u8::try_from(number % 255).unwrap());
            allowed += u32::from(attempts.begin(&alice, from, Who::Stranger, NOW).is_ok());
        }
        assert_eq!(allowed, 50);
        let known = Who::Known(PeerId([1; 32]));
        attempts.begin(&alice, source(1), known, NOW).unwrap().forgive();
        // That device guesses no faster than others.
        for _ in 0..5 {
            drop(attempts.begin(&alice, source(1), known, NOW).unwrap());
        }
        assert!(attempts.begin(&alice, source(1), known, NOW).is_err());
        // And strangers are not locked out for good.
        assert!(attempts.begin(&alice, source(9), Who::Stranger, NOW + Duration::from_secs(30)).is_ok());
    }

    #[test]
    fn a_source_that_tries_many_accounts_is_slowed_for_a_second_a_try() {
        let attempts = Attempts::default();
        let tries = (0..1000).map(|number| attempts.begin(&user(&format!("u{number}")), source(1), Who::Stranger, NOW));
        assert_eq!(tries.filter(Result::is_ok).count(), 100);
        assert!(attempts.begin(&user("x"), source(1), Who::Stranger, NOW + Duration::from_secs(1)).is_ok());
        assert!(attempts.begin(&user("x"), source(2), Who::Stranger, NOW).is_ok());
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_emptiest_buckets_stay() {
        let mut buckets = Buckets::default();
        for _ in 0..5 {
            buckets.take(u32::MAX, NARROW, NOW);
        }
        for number in 0..200_000 {
            buckets.take(number, NARROW, NOW);
            assert!(buckets.full_at.len() <= MAX_BUCKETS);
        }
        assert!(buckets.check(&u32::MAX, NARROW, NOW).is_err());
    }
}
