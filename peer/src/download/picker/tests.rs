use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const CHUNK: u64 = 16 << 10;

fn layout(chunks: u64) -> SwarmLayout {
    let id = common::id::FileId::new(chunks * CHUNK, common::id::Hash([0; 32])).unwrap();
    SwarmLayout::of_file(&id)
}

fn picker(chunks: u64) -> Picker {
    let layout = layout(chunks);
    let none = Bitmap::empty(layout.count());
    Picker::new(layout, none.clone(), &none, 7)
}

fn joined(chunks: u64, links: &[u64], now: Instant) -> Picker {
    let mut picker = picker(chunks);
    for link in links {
        picker.join(LinkId(*link), now);
        (0..picker.layout.count()).for_each(|chunk| picker.on_have(LinkId(*link), chunk));
    }
    picker
}

fn orders(picker: &mut Picker, now: Instant) -> Vec<Order> {
    std::iter::from_fn(|| picker.next(now)).collect()
}

#[test]
fn the_rarest_comes_first() {
    let now = Instant::now();
    let mut picker = picker(40);
    for link in 0..3 {
        picker.join(LinkId(link), now);
        let chunks = if link == 0 { 0..40 } else { 0..39 };
        chunks.for_each(|chunk| picker.on_have(LinkId(link), chunk));
    }
    let first = picker.next(now);
    assert_eq!(first, Some(Order::Request(LinkId(0), 39)));
}

#[test]
fn nobody_takes_more_than_a_share_while_others_are_to_come() {
    let now = Instant::now();
    let mut picker = joined(7, &[1], now);
    picker.set_expected(Some(3));
    assert_eq!(orders(&mut picker, now).len(), 3);
    picker.set_expected(None);
    assert_eq!(orders(&mut picker, now).len(), 4);
}

#[test]
fn a_silent_link_is_asked_no_more_and_its_chunks_are_asked_elsewhere_too() {
    let start = Instant::now();
    let mut picker = joined(8, &[1], start);
    assert_eq!(orders(&mut picker, start).len(), 8);
    picker.join(LinkId(2), start);
    (0..8).for_each(|chunk| picker.on_have(LinkId(2), chunk));
    let later = start + SILENCE;
    assert!(picker.is_silent(LinkId(1), later));
    let copies = orders(&mut picker, later);
    assert_eq!(copies.len(), 8);
    assert!(copies.iter().all(|order| matches!(order, Order::Request(LinkId(2), _))), "{copies:?}");
}

#[test]
fn a_fast_link_takes_what_waits_at_a_slow_one() {
    let start = Instant::now();
    let mut picker = joined(8, &[1], start);
    assert_eq!(orders(&mut picker, start).len(), 8);
    picker.links.get_mut(&LinkId(1)).unwrap().rate = Some(1e4);
    picker.join(LinkId(2), start);
    (0..8).for_each(|chunk| picker.on_have(LinkId(2), chunk));
    picker.links.get_mut(&LinkId(2)).unwrap().rate = Some(1e8);
    let mut orders = orders(&mut picker, start);
    let cancelled = orders.extract_if(.., |order| matches!(order, Order::Cancel(LinkId(1), _))).count();
    // All but the one on its way are moved; that one is doubled.
    assert_eq!((cancelled, orders.len()), (7, 8));
}

#[test]
fn links_that_talk_and_send_nothing_do_not_keep_a_chunk() {
    let start = Instant::now();
    // The first says that its requests wait, again and again; the others pretend to send as well.
    for liars in 1..=5 {
        let liars: Vec<u64> = (1..=liars).collect();
        let mut picker = joined(1, &liars, start);
        let (honest, mut now) = (LinkId(100), start);
        let mut asked = false;
        for tick in 0..600 {
            for link in &liars {
                let bytes = if *link > 1 { tick * 1_000_000 } else { 0 };
                picker.observe(LinkId(*link), bytes, now, Duration::from_millis(1), now);
            }
            if tick == 300 {
                picker.join(honest, now);
                picker.on_have(honest, 0);
            }
            asked |= orders(&mut picker, now).contains(&Order::Request(honest, 0));
            now += Duration::from_millis(100);
        }
        assert!(asked, "{} liars", liars.len());
    }
}

#[test]
fn when_a_copy_arrives_the_others_are_cancelled() {
    let start = Instant::now();
    let mut picker = joined(1, &[1], start);
    assert_eq!(orders(&mut picker, start), [Order::Request(LinkId(1), 0)]);
    picker.join(LinkId(2), start);
    picker.on_have(LinkId(2), 0);
    let later = start + SILENCE;
    assert_eq!(orders(&mut picker, later), [Order::Request(LinkId(2), 0)]);
    picker.on_verified(LinkId(2), 0, later);
    assert_eq!(orders(&mut picker, later), [Order::Cancel(LinkId(1), 0)]);
    assert!(picker.is_done() && !picker.is_busy());
}

#[test]
fn a_sole_seeder_is_asked_for_what_it_suggests() {
    let start = Instant::now();
    let mut picker = joined(100, &[1], start);
    picker.on_suggest(LinkId(1), &[5, 6]);
    assert_eq!(orders(&mut picker, start), [Order::Request(LinkId(1), 5), Order::Request(LinkId(1), 6)]);
    picker.on_verified(LinkId(1), 5, start);
    picker.on_verified(LinkId(1), 6, start);
    assert_eq!(picker.next(start), None);
    assert!(picker.next(start + SUGGESTION_PATIENCE).is_some(), "it must not wait for ever");
    picker.on_suggest(LinkId(1), &[]);
    assert!(picker.next(start).is_some());
}

#[test]
fn what_a_gone_link_was_asked_for_is_asked_again() {
    let now = Instant::now();
    let mut picker = joined(4, &[1, 2], now);
    let first = orders(&mut picker, now);
    assert_eq!(first.len(), 4);
    picker.leave(LinkId(1));
    let again = orders(&mut picker, now);
    assert!(!again.is_empty() && again.iter().all(|order| matches!(order, Order::Request(LinkId(2), _))));
    picker.leave(LinkId(2));
    assert_eq!(picker.nowhere(), 4);
}

#[test]
fn two_links_that_are_late_do_not_take_chunks_from_each_other_for_ever() {
    let start = Instant::now();
    let mut picker = joined(6, &[1, 2], start);
    assert_eq!(orders(&mut picker, start).len(), 6);
    let later = start + Duration::from_secs(5);
    for link in [LinkId(1), LinkId(2)] {
        picker.links.get_mut(&link).unwrap().rate = Some(1e8);
        picker.observe(link, 0, later, Duration::ZERO, later);
        picker.links.get_mut(&link).unwrap().rate = Some(1e8);
    }
    let most = 1000;
    let given = std::iter::from_fn(|| picker.next(later)).take(most).count();
    assert!(given < most, "it goes on for ever");
}

/// A seeder in virtual time: sends what it is asked for, one after the other, at its rate.
struct Sim {
    rate: f64,
    frozen: bool,
    queue: VecDeque<u32>,
    sent_of_front: f64,
    bytes: f64,
    heard: Instant,
}

fn number(link: LinkId) -> usize {
    usize::try_from(link.0).unwrap()
}

/// Whole bytes of a count that has fractions.
fn whole(bytes: f64) -> u64 {
    Duration::from_secs_f64(bytes).as_secs()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_download_ends_whatever_the_links_do(
        seed in any::<u64>(),
        chunks in 1u64..200,
        rates in proptest::collection::vec(1e4f64..5e6, 1..6),
        freeze in any::<bool>(),
    ) {
        let start = Instant::now();
        let ids: Vec<u64> = (0..rates.len() as u64).collect();
        let mut picker = joined(chunks, &ids, start);
        picker.random = seed | 1;
        let mut sims: Vec<Sim> = rates.iter().map(|rate| Sim {
            rate: *rate, frozen: false, queue: VecDeque::new(), sent_of_front: 0.0, bytes: 0.0, heard: start,
        }).collect();
        let tick = Duration::from_millis(10);
        let mut now = start;
        let mut moved = 0.0;
        for step in 0..100_000_u64 {
            if picker.is_done() { break; }
            prop_assert!(step < 99_999, "it stalls");
            if freeze && step == 20 && sims.len() > 1 { sims[0].frozen = true; }
            for order in orders(&mut picker, now) {
                match order {
                    Order::Request(link, chunk) => sims[number(link)].queue.push_back(chunk),
                    Order::Cancel(link, chunk) => {
                        let sim = &mut sims[number(link)];
                        if sim.queue.front() == Some(&chunk) { sim.sent_of_front = 0.0; }
                        sim.queue.retain(|waiting| *waiting != chunk);
                    }
                }
            }
            for (chunk, askers) in &picker.asked {
                let moving = askers.iter().filter(|asker| !picker.links[asker].is_stalled(now)).count();
                prop_assert!(moving <= MOST_COPIES && !picker.done.contains(*chunk));
                let distinct: BTreeSet<_> = askers.iter().collect();
                prop_assert_eq!(distinct.len(), askers.len());
            }
            now += tick;
            for (number, sim) in sims.iter_mut().enumerate() {
                let link = LinkId(number as u64);
                if sim.frozen { continue; }
                let mut budget = sim.rate * tick.as_secs_f64();
                while let Some(chunk) = sim.queue.front().copied() {
                    let part = budget.min(CHUNK as f64 - sim.sent_of_front);
                    budget -= part;
                    moved += part;
                    sim.sent_of_front += part;
                    sim.bytes += part;
                    sim.heard = now;
                    if sim.sent_of_front < CHUNK as f64 - 0.5 { break; }
                    sim.queue.pop_front();
                    sim.sent_of_front = 0.0;
                    picker.on_verified(link, chunk, now);
                }
            }
            if step % 10 == 0 {
                for (number, sim) in sims.iter().enumerate() {
                    picker.observe(LinkId(number as u64), whole(sim.bytes), sim.heard, Duration::from_millis(20), now);
                }
            }
        }
        let size = (chunks * CHUNK) as f64;
        // What is thrown away: at most the copies of the end game.
        prop_assert!(moved <= size * 1.01 + (3 * MOST_COPIES * rates.len()) as f64 * CHUNK as f64, "{moved} for {size}");
    }
}
