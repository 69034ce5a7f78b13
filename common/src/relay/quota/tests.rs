use proptest::prelude::*;

use super::*;
use crate::mrt::tests::clock;

const RATE: u64 = 10 << 20;
const MICRO: u64 = 1_000_000;
const PAYLOAD: usize = 1200;

fn config(bytes_per_sec: u64, max_pairs: u32) -> RelayConfig {
    let bytes_per_sec = NonZeroU64::new(bytes_per_sec).unwrap();
    RelayConfig { max_pairs, max_pairs_of_member: max_pairs, ..RelayConfig::new(bytes_per_sec) }
}

/// Somebody who sends datagrams of one size, so many at once, at a steady rate.
#[derive(Debug, Clone, Copy)]
struct Sender {
    payload: usize,
    at_once: u32,
    bytes_per_sec: u64,
    from_us: u64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default)]
struct Outcome {
    passed: u64,
    dropped: u64,
    /// Bytes that passed, with the heads.
    bytes: u64,
}

impl Sender {
    const fn steady(bytes_per_sec: u64) -> Self {
        Self { payload: PAYLOAD, at_once: 1, bytes_per_sec, from_us: 0 }
    }

    const fn cost(&self) -> u64 {
        self.payload as u64 + 28
    }

    fn pause_us(&self) -> u64 {
        (u64::from(self.at_once) * self.cost() * MICRO).div_ceil(self.bytes_per_sec)
    }
}

/// Everybody sends for so long; what came of each, and whether all credit was good all the time.
fn run(config: &RelayConfig, senders: &[Sender], micros: u64) -> Vec<Outcome> {
    let begin = clock::start();
    let mut quota = Quota::new(begin, config);
    let mut allowances: Vec<_> = senders.iter().map(|_| Allowance::default()).collect();
    let mut outcomes = vec![Outcome::default(); senders.len()];
    let mut next: std::collections::BTreeSet<_> =
        senders.iter().enumerate().map(|(number, sender)| (sender.from_us, number)).collect();
    while let Some((at, number)) = next.pop_first().filter(|(at, _)| *at < micros) {
        let sender = senders[number];
        for _ in 0..sender.at_once {
            let passes = quota.take(begin + Duration::from_micros(at), &mut allowances[number], sender.payload);
            let outcome = &mut outcomes[number];
            *(if passes { &mut outcome.passed } else { &mut outcome.dropped }) += 1;
            outcome.bytes += if passes { sender.cost() } else { 0 };
        }
        check(&quota, &allowances);
        next.insert((at + sender.pause_us(), number));
    }
    outcomes
}

/// The level covers all credit.
fn check(quota: &Quota, allowances: &[Allowance]) {
    let active = allowances.iter().filter(|allowance| allowance.round + 1 >= quota.rounds.number);
    let credit = |allowance: &Allowance| (allowance.credit + quota.granted - allowance.granted).min(quota.most_credit);
    let all: u128 = active.map(credit).sum();
    assert!(quota.level >= all, "{} of {all} are there", quota.level);
    assert!(quota.level <= quota.sizes.depth);
}

#[test]
fn one_pair_gets_the_whole_rate_and_no_more() {
    for rate in [64 << 10, RATE, 1 << 30] {
        let config = config(rate, 1024);
        let secs = if rate > RATE { 1 } else { 10 };
        let [outcome] = run(&config, &[Sender::steady(3 * rate)], secs * MICRO)[..] else { panic!() };
        let spare = (rate / 16).max(64 << 10) + (256 << 10);
        assert!(outcome.bytes <= rate * secs + spare, "{rate}: {outcome:?}");
        assert!(outcome.bytes >= rate * secs * 99 / 100, "{rate}: {outcome:?}");
    }
}

#[test]
fn who_tries_harder_gets_hardly_more() {
    let senders = [Sender::steady(2 * RATE), Sender::steady(20 * RATE)];
    let outcomes = run(&config(RATE, 1024), &senders, 10 * MICRO);
    for outcome in outcomes {
        assert!(outcome.bytes >= RATE * 10 * 15 / 32, "{outcome:?}");
    }
}

#[test]
fn what_others_leave_is_not_lost() {
    let mut senders = vec![Sender::steady(RATE / 200); 19];
    senders.push(Sender::steady(2 * RATE));
    let outcomes = run(&config(RATE, 1024), &senders, 10 * MICRO);
    let (greedy, modest) = outcomes.split_last().unwrap();
    assert!(modest.iter().all(|outcome| outcome.dropped == 0));
    let all: u64 = outcomes.iter().map(|outcome| outcome.bytes).sum();
    assert!(all >= RATE * 10 * 99 / 100, "{all}");
    assert!(greedy.bytes >= RATE * 10 * 85 / 100, "{greedy:?}");
}

/// A chat, or a connection that is only kept alive, says something now and then: each time it has been forgotten. It begins
/// when the level has recovered from the greedy ones' first bursts.
#[test]
fn who_seldom_sends_is_not_shut_out_by_greedy_ones() {
    for greedy in [1, 10, 100] {
        let mut senders = vec![Sender::steady(4 * RATE / greedy); usize::try_from(greedy).unwrap()];
        senders.extend((0..5).map(|number| Sender {
            payload: 1200,
            at_once: 2,
            bytes_per_sec: 700,
            from_us: 10 * MICRO + number * 777_777,
        }));
        let outcomes = run(&config(RATE, 1024), &senders, 60 * MICRO);
        for seldom in &outcomes[senders.len() - 5..] {
            assert!(seldom.passed > 20 && seldom.dropped == 0, "beside {greedy}: {seldom:?}");
        }
    }
}

#[test]
fn a_batch_passes_as_a_whole_while_few_are_active() {
    let batch = Sender { payload: 1452, at_once: 44, bytes_per_sec: RATE / 4, from_us: 0 };
    let outcomes = run(&config(RATE, 1024), &[batch, Sender::steady(2 * RATE)], 10 * MICRO);
    assert_eq!(outcomes[0].dropped, 0, "{:?}", outcomes[0]);
}

fn sender() -> impl Strategy<Value = Sender> {
    let payload = prop_oneof![1_usize..200, 1000_usize..1500, Just(9000)];
    (payload, 1_u32..50, 100_u64..10_000, 0..MICRO).prop_map(|(payload, at_once, datagrams_per_sec, from_us)| {
        let bytes_per_sec = (payload as u64 + 28) * datagrams_per_sec;
        Sender { payload, at_once, bytes_per_sec, from_us }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever others do, who keeps within its share loses nothing. And all together get no more than there is.
    #[test]
    fn who_keeps_within_its_share_loses_nothing(
        others in prop::collection::vec(sender(), 0..10),
        at_once in 1_u32..3,
        rate in prop_oneof![Just(RATE / 40), Just(RATE), Just(10 * RATE)],
    ) {
        let config = config(rate, 1024);
        let share = rate * 15 / 16 / (others.len() as u64 + 1);
        // Begins first: with all credit given away it would have to wait for the first of its own.
        let modest = Sender { payload: PAYLOAD, at_once, bytes_per_sec: share, from_us: 0 };
        // More often than rounds end.
        prop_assume!(modest.pause_us() < MICRO);
        let senders = [&[modest], others.as_slice()].concat();
        let secs = 2;
        let outcomes = run(&config, &senders, secs * MICRO);
        prop_assert_eq!(outcomes[0].dropped, 0);
        let all: u64 = outcomes.iter().map(|outcome| outcome.bytes).sum();
        let depth = u64::try_from(Sizes::new(u128::from(rate), 1024).depth / NANO).unwrap();
        prop_assert!(all <= rate * secs + depth);
    }

    /// Pairs that come, go and rest as they like never have credit that is not there.
    #[test]
    fn credit_is_always_good(
        steps in prop::collection::vec((0_usize..40, 1_usize..20_000, 0_u64..400_000), 1..2000),
        // Mostly slow ones, which soon have given all that they have.
        rate in (0..=24).prop_map(|bits| 1_u64 << bits),
        max_pairs in 1_u32..40,
    ) {
        let begin = clock::start();
        let mut quota = Quota::new(begin, &config(rate, max_pairs));
        let mut allowances: Vec<_> = (0..max_pairs).map(|_| Allowance::default()).collect();
        let (mut now, mut bytes) = (begin, 0);
        for (number, payload, micros) in steps {
            // Mostly at once, since little happens in between.
            now += Duration::from_micros(if micros % 4 == 0 { micros } else { micros % 100 });
            let number = number % allowances.len();
            if micros % 97 == 0 {
                allowances[number] = Allowance::default();
            }
            if quota.take(now, &mut allowances[number], payload) {
                bytes += payload as u128 + OVERHEAD;
            }
            check(&quota, &allowances);
            let most = u128::from(rate) * (now - begin).as_nanos() + quota.sizes.depth;
            prop_assert!(bytes * NANO <= most);
        }
    }
}
