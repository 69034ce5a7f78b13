//! The picker: decides which chunk to ask of whom. A pure machine: no clock, task or socket inside.
//!
//! Calls: tell it what happens (`on_*`, [`Picker::join`], [`Picker::leave`]), then take [`Picker::next`] until it gives
//! nothing. [`Picker::observe`] comes at every tick, some ten times a second; time may also stand still between calls.
//!
//! Rules, in this order, for each link that has room in its pipeline:
//! 1. a chunk that nobody was asked for, the rarest first, ties at random; of a sole seeder that makes suggestions, only
//!    what it suggests, unless it has been idle for a while;
//! 2. a chunk that waits in the pipeline of a much slower link: taken away from there;
//! 3. in the end game, a chunk that is on its way from a much slower or silent link: asked for here too, at most
//!    [`MOST_COPIES`] at a time, those not counted that make no progress.
//!
//! Orders are cheap however many chunks there are: those that nobody was asked for are kept by how many links have them
//! (`rarity`), and each link knows how many of them it has.
//!
//! A link is not believed: whatever it sends and says, a request takes at least as long as it has taken already.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use common::bitmap::Bitmap;
use common::chunk::SwarmLayout;
use tokio::time::Instant;

use self::rarity::Rarity;
use crate::link::LinkId;

mod rarity;

/// A chunk is asked of so many links at a time, at most, that make progress.
const MOST_COPIES: usize = 3;
/// Bytes asked for and not yet verified, in all, as long as each link has one request.
const MOST_IN_FLIGHT: u64 = 64 << 20;
/// A link's pipeline covers its round trip twice, so that it grows as fast as a rate that is not reached yet, and this
/// much more, so that a seeder never waits for the next request. What is in the pipelines is lost when the downloader is
/// killed: with 100 ms that was 22 MiB at 1 GB/s, with 20 ms it is 6 and the rate the same (picked by measurement).
const PIPELINE_MARGIN: Duration = Duration::from_millis(20);
/// Requests in a pipeline, at least: one on its way and one waiting.
const LEAST_PIPELINE: usize = 2;
/// Requests in a pipeline, at most.
const MOST_PIPELINE: usize = 256;
/// Bytes asked of a link of which no rate is known yet.
const FIRST_PIPELINE: u64 = 512 << 10;
/// A link of which no rate is known is taken to have this one, bytes a second.
const ASSUMED_RATE: f64 = 4e6;
/// So long without a word, though something was asked, means: ask elsewhere too.
pub(super) const SILENCE: Duration = Duration::from_secs(1);
/// A link that owes a chunk for so long does not keep others from being asked for it, whatever it says meanwhile.
const STALL: Duration = Duration::from_secs(10);
/// After so long without requests a link that makes suggestions is asked for anything.
const SUGGESTION_PATIENCE: Duration = Duration::from_millis(300);
/// Weight of the newest sample in a link's rate.
const RATE_GAIN: f64 = 0.3;
/// What a move must win before a waiting request is taken from a link.
const STEAL_MARGIN: Duration = Duration::from_millis(50);
/// What a copy must win before a request under way is doubled.
const COPY_MARGIN: Duration = Duration::from_millis(200);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Ask this link for this chunk.
    Request(LinkId, u32),
    /// Tell this link that the chunk is not wanted any more.
    Cancel(LinkId, u32),
}

/// Which chunks are asked of whom.
#[derive(Debug)]
pub(super) struct Picker {
    layout: SwarmLayout,
    done: Bitmap,
    /// Chunks that are to come and are not there.
    missing: u32,
    /// Of whom each chunk is asked.
    asked: BTreeMap<u32, Vec<LinkId>>,
    /// How many links have each chunk, and those of them that are to come and nobody was asked for.
    rarity: Rarity,
    /// Bytes asked for.
    in_flight: u64,
    links: BTreeMap<LinkId, State>,
    orders: VecDeque<Order>,
    /// How many links are here or to come soon; while some are to come, none takes more than its share.
    expected: Option<usize>,
    random: u64,
}

#[derive(Debug)]
struct State {
    have: Bitmap,
    /// How many of the chunks that nobody was asked for it has.
    useful: u32,
    pipeline: VecDeque<Asked>,
    /// Bytes in the pipeline.
    in_flight: u64,
    /// Chunks asked of it so far.
    total: usize,
    rate: Option<f64>,
    round_trip: Duration,
    bytes: u64,
    observed: Instant,
    heard: Instant,
    idle_since: Instant,
    /// Since when the first chunk in the pipeline is the first.
    front_since: Instant,
    /// `None`: it made no suggestions, or said to ask for anything.
    suggested: Option<VecDeque<u32>>,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    chunk: u32,
    size: u32,
    at: Instant,
}

impl Picker {
    /// For something of which `done` is there and `skipped` is not wanted. `seed` decides ties.
    pub(super) fn new(layout: SwarmLayout, done: Bitmap, skipped: &Bitmap, seed: u64) -> Self {
        let mut wanted = Bitmap::empty(layout.count());
        done.missing().filter(|chunk| !skipped.contains(*chunk)).for_each(|chunk| {
            wanted.insert(chunk);
        });
        Self {
            missing: wanted.count(),
            rarity: Rarity::new(wanted),
            layout,
            done,
            asked: BTreeMap::new(),
            in_flight: 0,
            links: BTreeMap::new(),
            orders: VecDeque::new(),
            expected: None,
            random: seed | 1,
        }
    }

    /// Chunks that are there.
    pub(super) const fn done(&self) -> &Bitmap {
        &self.done
    }

    /// How many are still to come.
    pub(super) const fn missing(&self) -> u32 {
        self.missing
    }

    /// Whether all that is wanted is there.
    pub(super) const fn is_done(&self) -> bool {
        self.missing == 0
    }

    /// So many holders are here or expected soon: until this is `None` again no link takes more than its share, so that
    /// a small file comes from all.
    pub(super) const fn set_expected(&mut self, expected: Option<usize>) {
        self.expected = expected;
    }

    /// A link may be asked from now on.
    pub(super) fn join(&mut self, link: LinkId, now: Instant) {
        let state = State {
            have: Bitmap::empty(self.layout.count()),
            useful: 0,
            pipeline: VecDeque::new(),
            in_flight: 0,
            total: 0,
            rate: None,
            round_trip: Duration::ZERO,
            bytes: 0,
            observed: now,
            heard: now,
            idle_since: now,
            front_since: now,
            suggested: None,
        };
        self.links.insert(link, state);
    }

    /// A link is gone; what it was asked for is to be had elsewhere.
    pub(super) fn leave(&mut self, link: LinkId) {
        let Some(state) = self.links.remove(&link) else { return };
        self.in_flight -= state.in_flight;
        for chunk in state.have.iter() {
            self.rarity.on_holder_gone(chunk);
        }
        for asked in state.pipeline {
            self.unask(link, asked.chunk);
        }
    }

    /// A link has this chunk.
    pub(super) fn on_have(&mut self, link: LinkId, chunk: u32) {
        if let Some(state) = self.links.get_mut(&link)
            && state.have.insert(chunk)
        {
            self.rarity.on_holder(chunk);
            state.useful += u32::from(self.rarity.is_open(chunk));
        }
    }

    /// A link suggests these chunks; none means that it may be asked for anything.
    pub(super) fn on_suggest(&mut self, link: LinkId, chunks: &[u32]) {
        let count = self.layout.count();
        let Some(state) = self.links.get_mut(&link) else { return };
        if chunks.is_empty() {
            state.suggested = None;
            return;
        }
        let suggested = state.suggested.get_or_insert_default();
        let room = (count as usize).saturating_sub(suggested.len());
        suggested.extend(chunks.iter().copied().filter(|chunk| *chunk < count).take(room));
    }

    /// A link does not have this chunk after all.
    pub(super) fn on_unavailable(&mut self, link: LinkId, chunk: u32, now: Instant) {
        if let Some(state) = self.links.get_mut(&link)
            && state.have.remove(chunk)
        {
            self.rarity.on_holder_gone(chunk);
            state.useful -= u32::from(self.rarity.is_open(chunk));
        }
        self.end_request(link, chunk, now);
    }

    /// A chunk came from a link, is right, and is written. Copies that are asked elsewhere are cancelled.
    pub(super) fn on_verified(&mut self, link: LinkId, chunk: u32, now: Instant) {
        let size = self.size(chunk);
        if let Some(state) = self.links.get_mut(&link)
            && state.rate.is_none()
            && let Some(asked) = state.pipeline.iter().find(|asked| asked.chunk == chunk)
        {
            state.rate = Some(size / now.duration_since(asked.at).as_secs_f64().max(1e-4));
        }
        let others: Vec<LinkId> = self.asked.get(&chunk).cloned().unwrap_or_default();
        for asker in &others {
            self.end_request(*asker, chunk, now);
            if *asker != link {
                self.orders.push_back(Order::Cancel(*asker, chunk));
            }
        }
        // It may have come from one who was not asked any more.
        self.on_found(chunk);
    }

    /// A chunk is here, and nobody was asked for it.
    pub(super) fn on_found(&mut self, chunk: u32) {
        self.close(chunk);
        if self.done.insert(chunk) && self.rarity.is_wanted(chunk) {
            self.missing -= 1;
        }
    }

    /// What a tick sees of a link: all its chunk bytes so far, when it was heard last, its round trip.
    pub(super) fn observe(&mut self, link: LinkId, bytes: u64, heard: Instant, round_trip: Duration, now: Instant) {
        let Some(state) = self.links.get_mut(&link) else { return };
        let (came, took) = (bytes.saturating_sub(state.bytes), now.duration_since(state.observed));
        (state.bytes, state.observed) = (bytes, now);
        state.heard = state.heard.max(heard);
        // The shortest: a longer one is the wait behind what is in the pipeline already, and would let that grow.
        state.round_trip = if state.round_trip.is_zero() { round_trip } else { state.round_trip.min(round_trip) };
        if state.pipeline.is_empty() || took.is_zero() {
            return;
        }
        let sample = came as f64 / took.as_secs_f64();
        if let Some(rate) = &mut state.rate {
            *rate += (sample - *rate) * RATE_GAIN;
        } else if came > 0 {
            state.rate = Some(sample);
        }
    }

    /// What to do next.
    pub(super) fn next(&mut self, now: Instant) -> Option<Order> {
        if let Some(order) = self.orders.pop_front() {
            return Some(order);
        }
        // The emptiest pipeline first, so that nobody waits while another is filled.
        let mut links: Vec<(usize, LinkId)> =
            self.links.iter().map(|(link, state)| (state.pipeline.len(), *link)).collect();
        links.sort_unstable();
        for (_, link) in links {
            if !self.has_room(link, now) {
                continue;
            }
            if let Some(chunk) = self.pick(link, now) {
                return Some(self.ask(link, chunk, now));
            }
            if let Some((chunk, from)) = self.relieve(link, now) {
                let order = self.ask(link, chunk, now);
                if let Some(from) = from {
                    self.end_request(from, chunk, now);
                    self.orders.push_back(Order::Cancel(from, chunk));
                }
                return Some(order);
            }
        }
        None
    }

    /// Whether something is on its way, or could be asked for right now.
    pub(super) fn is_busy(&self) -> bool {
        !self.asked.is_empty()
    }

    /// How many chunks no link has.
    pub(super) fn nowhere(&self) -> u32 {
        self.rarity.nowhere()
    }

    /// Whether this link was asked for something and has said nothing for [`SILENCE`].
    pub(super) fn is_silent(&self, link: LinkId, now: Instant) -> bool {
        self.links.get(&link).is_some_and(|state| state.is_silent(now))
    }

    /// For how long this link has said nothing, though it was asked for something.
    pub(super) fn silence(&self, link: LinkId, now: Instant) -> Duration {
        let asked = self.links.get(&link).filter(|state| !state.pipeline.is_empty());
        asked.map_or(Duration::ZERO, |state| now.duration_since(state.heard))
    }

    /// How many of these links have every chunk.
    fn complete_links(&self) -> usize {
        self.links.values().filter(|state| state.have.is_full()).count()
    }

    fn size(&self, chunk: u32) -> f64 {
        f64::from(self.size_in_bytes(chunk))
    }

    fn size_in_bytes(&self, chunk: u32) -> u32 {
        self.layout.chunk(chunk).map_or(0, |chunk| self.layout.size(chunk))
    }

    fn has_room(&self, link: LinkId, now: Instant) -> bool {
        let Some(state) = self.links.get(&link) else { return false };
        if state.is_silent(now) {
            return false;
        }
        if let Some(expected) = self.expected {
            let share = (self.layout.count() as usize).div_ceil(expected.max(1));
            if state.total >= share {
                return false;
            }
        }
        if state.pipeline.is_empty() {
            return true;
        }
        if self.in_flight >= MOST_IN_FLIGHT {
            return false;
        }
        state.pipeline.len() < LEAST_PIPELINE
            || (state.pipeline.len() < MOST_PIPELINE && state.in_flight <= state.pipeline_goal())
    }

    /// A chunk that nobody was asked for yet.
    fn pick(&mut self, link: LinkId, now: Instant) -> Option<u32> {
        let sole = self.complete_links() <= 1;
        let state = self.links.get_mut(&link)?;
        if sole
            && state.have.is_full()
            && let Some(suggested) = &mut state.suggested
        {
            while let Some(chunk) = suggested.pop_front() {
                if !self.done.contains(chunk) && !self.asked.contains_key(&chunk) {
                    return Some(chunk);
                }
            }
            let idle = state.pipeline.is_empty() && now.duration_since(state.idle_since) >= SUGGESTION_PATIENCE;
            if !idle {
                return None;
            }
        }
        self.rarest(link)
    }

    fn rarest(&mut self, link: LinkId) -> Option<u32> {
        let state = self.links.get(&link)?;
        if state.useful == 0 {
            return None;
        }
        self.rarity.pick(&state.have, || {
            self.random = xorshift(self.random);
            self.random
        })
    }

    /// A chunk to take over from a much slower link: with the link to take it from, or `None` where it is to be doubled.
    fn relieve(&self, link: LinkId, now: Instant) -> Option<(u32, Option<LinkId>)> {
        let here = self.links.get(&link)?;
        if here.suggested.is_some()
            && here.have.is_full()
            && self.complete_links() <= 1
            && now.duration_since(here.idle_since) < SUGGESTION_PATIENCE
        {
            return None;
        }
        let mut best: Option<(Duration, u32, Option<LinkId>)> = None;
        for (link_there, there) in self.links.iter().filter(|(other, _)| **other != link) {
            let mut bytes = 0.0;
            for (place, asked) in there.pipeline.iter().enumerate() {
                bytes += f64::from(asked.size);
                if !here.have.contains(asked.chunk) {
                    continue;
                }
                let Some(askers) = self.asked.get(&asked.chunk) else { continue };
                let own = here.expected_next(asked.size, now);
                let (expected, place) = if askers.len() == 1 {
                    (there.expected(bytes, now), place)
                } else if askers.first() == Some(link_there) && !askers.contains(&link) {
                    // Once for all who were asked for it.
                    let moving = askers.iter().filter_map(|asker| self.links.get(asker));
                    if moving.filter(|state| !state.is_stalled(now)).count() >= MOST_COPIES {
                        continue;
                    }
                    let each = askers.iter().filter_map(|asker| self.links.get(asker)?.expected_of(asked.chunk, now));
                    let Some(soonest) = each.min() else { continue };
                    soonest
                } else {
                    continue;
                };
                let waits = place > 0 && askers.len() == 1 && expected != Duration::MAX;
                let worth =
                    if waits { expected > own * 3 / 2 + STEAL_MARGIN } else { expected > own * 2 + COPY_MARGIN };
                if worth && best.is_none_or(|(latest, _, _)| expected > latest) {
                    best = Some((expected, asked.chunk, waits.then_some(*link_there)));
                }
            }
        }
        best.map(|(_, chunk, from)| (chunk, from))
    }

    fn ask(&mut self, link: LinkId, chunk: u32, now: Instant) -> Order {
        self.close(chunk);
        self.asked.entry(chunk).or_default().push(link);
        let size = self.size_in_bytes(chunk);
        if let Some(state) = self.links.get_mut(&link) {
            if state.pipeline.is_empty() {
                // The silence before a request was nobody's fault.
                state.heard = now;
                state.front_since = now;
            }
            state.pipeline.push_back(Asked { chunk, size, at: now });
            state.in_flight += u64::from(size);
            state.total += 1;
            self.in_flight += u64::from(size);
        }
        Order::Request(link, chunk)
    }

    fn end_request(&mut self, link: LinkId, chunk: u32, now: Instant) {
        if let Some(state) = self.links.get_mut(&link)
            && let Some(place) = state.pipeline.iter().position(|asked| asked.chunk == chunk)
        {
            if place == 0 {
                state.front_since = now;
            }
            if let Some(ended) = state.pipeline.remove(place) {
                state.in_flight -= u64::from(ended.size);
                self.in_flight -= u64::from(ended.size);
            }
            if state.pipeline.is_empty() {
                state.idle_since = now;
            }
        }
        self.unask(link, chunk);
    }

    fn unask(&mut self, link: LinkId, chunk: u32) {
        if let Some(askers) = self.asked.get_mut(&chunk) {
            askers.retain(|asker| *asker != link);
            if askers.is_empty() {
                self.asked.remove(&chunk);
                self.open(chunk);
            }
        }
    }

    /// Nobody is asked for this chunk any more.
    fn open(&mut self, chunk: u32) {
        if !self.done.contains(chunk) && self.rarity.open(chunk) {
            let holders = self.links.values_mut().filter(|state| state.have.contains(chunk));
            holders.for_each(|state| state.useful += 1);
        }
    }

    /// Somebody is asked for this chunk, or it is there.
    fn close(&mut self, chunk: u32) {
        if self.rarity.close(chunk) {
            let holders = self.links.values_mut().filter(|state| state.have.contains(chunk));
            holders.for_each(|state| state.useful -= 1);
        }
    }
}

impl State {
    fn is_silent(&self, now: Instant) -> bool {
        !self.pipeline.is_empty() && now.duration_since(self.heard) >= SILENCE
    }

    fn is_stalled(&self, now: Instant) -> bool {
        self.is_silent(now) || (!self.pipeline.is_empty() && now.duration_since(self.front_since) >= STALL)
    }

    /// Bytes that its pipeline should have.
    fn pipeline_goal(&self) -> u64 {
        let bytes = match self.rate {
            Some(rate) => rate * (2 * self.round_trip + PIPELINE_MARGIN).as_secs_f64(),
            None => FIRST_PIPELINE as f64,
        };
        // Rounded down; rates are far below what could overflow.
        Duration::from_secs_f64(bytes).as_secs()
    }

    /// When so many bytes at the front of the pipeline are expected. Never, where the link is silent.
    fn expected(&self, bytes: f64, now: Instant) -> Duration {
        if self.is_silent(now) {
            return Duration::MAX;
        }
        time_for(bytes, self.rate).max(now.duration_since(self.front_since))
    }

    /// When a chunk in the pipeline is expected, and its place there.
    fn expected_of(&self, chunk: u32, now: Instant) -> Option<(Duration, usize)> {
        let place = self.pipeline.iter().position(|asked| asked.chunk == chunk)?;
        let bytes = self.pipeline.iter().take(place + 1).map(|asked| f64::from(asked.size)).sum();
        Some((self.expected(bytes, now), place))
    }

    /// When one more chunk would be expected: never sooner than one that waits here already, or two links would take it
    /// from each other for ever.
    fn expected_next(&self, size: u32, now: Instant) -> Duration {
        let so_far = if self.pipeline.is_empty() { Duration::ZERO } else { now.duration_since(self.front_since) };
        (self.round_trip + time_for(self.in_flight as f64 + f64::from(size), self.rate)).max(so_far)
    }
}

fn time_for(bytes: f64, rate: Option<f64>) -> Duration {
    /// Longer than any transfer; keeps the arithmetic finite.
    const FOR_EVER: f64 = 1e6;
    Duration::from_secs_f64((bytes / rate.unwrap_or(ASSUMED_RATE).max(1.0)).min(FOR_EVER))
}

const fn xorshift(mut x: u64) -> u64 {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    x
}

#[cfg(test)]
mod tests;
