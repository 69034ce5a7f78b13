//! A bottleneck in virtual time: some senders, one drop-tail queue, a way that takes time and loses packets.
//!
//! The senders find losses by packet and time thresholds. Their timers fire at full milliseconds and a bit later, as a
//! real driver's do.

#![expect(clippy::cast_possible_truncation, reason = "a run is minutes and megabytes")]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use super::super::{AckSummary, Congestion, SentState};
use crate::mrt::config::ControllerKind;
use crate::mrt::rtt::Rtt;

/// Bytes of each packet.
pub(super) const PACKET: u64 = 1452;

/// What lies between sender and receiver.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    /// Bytes a second.
    pub(super) rate: u64,
    /// Both ways, without queue.
    pub(super) rtt: Duration,
    /// Bytes that the queue holds.
    pub(super) queue: u64,
    /// Packets of a million that are lost after the queue, and acknowledgements on their way back.
    pub(super) loss: u64,
    /// Added to each packet, uniformly from 0, without reordering.
    pub(super) jitter: Duration,
}

/// So many Mbit/s in bytes a second.
pub(super) const fn mbit(mbit: u64) -> u64 {
    mbit * 125_000
}

impl Link {
    /// A clean link whose queue holds one bandwidth-delay product, or 30 packets.
    pub(super) fn new(mbit_per_sec: u64, rtt_ms: u64) -> Self {
        let mut link = Self {
            rate: mbit(mbit_per_sec),
            rtt: Duration::from_millis(rtt_ms),
            queue: 0,
            loss: 0,
            jitter: Duration::ZERO,
        };
        link.queue = link.product().max(30 * PACKET);
        link
    }

    /// Bandwidth-delay product.
    pub(super) fn product(&self) -> u64 {
        self.rate * self.rtt.as_micros() as u64 / 1_000_000
    }

    pub(super) fn loss_percent(mut self, percent: u64) -> Self {
        self.loss = percent * 10_000;
        self
    }

    pub(super) fn queue_packets(mut self, packets: u64) -> Self {
        self.queue = packets * PACKET;
        self
    }

    pub(super) fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }
}

/// A flow through the link.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flow {
    pub(super) kind: ControllerKind,
    pub(super) start: Duration,
    pub(super) bytes: Option<u64>,
    /// Acknowledgements every two packets, as TCP does, instead of every eighth of the window.
    pub(super) often: bool,
    /// After so many bytes it sends nothing for a while.
    pub(super) pauses: Option<(u64, Duration)>,
}

impl Flow {
    pub(super) fn model() -> Self {
        Self { kind: ControllerKind::Model, start: Duration::ZERO, bytes: None, often: false, pauses: None }
    }

    pub(super) fn tcp_cubic() -> Self {
        Self { kind: ControllerKind::Fair, start: Duration::ZERO, bytes: None, often: true, pauses: None }
    }

    pub(super) fn at(mut self, start: Duration) -> Self {
        self.start = start;
        self
    }

    pub(super) fn pauses(mut self, bytes: u64, time: Duration) -> Self {
        self.pauses = Some((bytes, time));
        self
    }

    pub(super) fn of(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }
}

/// What came of a flow.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    /// Packets that arrived after the warm-up, and all that were sent, lost at random, lost to the queue.
    pub(super) arrived: u64,
    pub(super) sent: u64,
    pub(super) lost_random: u64,
    pub(super) lost_queue: u64,
    /// When all bytes were acknowledged.
    pub(super) finished: Option<Duration>,
}

pub(super) struct Run {
    pub(super) link: Link,
    pub(super) flows: Vec<Outcome>,
    /// Mean bytes in the queue after the warm-up.
    pub(super) mean_queue: f64,
    pub(super) seconds: f64,
}

impl Run {
    /// Share of what the link can carry beside its loss, in hundredths.
    pub(super) fn utilisation(&self) -> f64 {
        self.flows.iter().enumerate().map(|(index, _)| self.share(index)).sum()
    }

    pub(super) fn share(&self, flow: usize) -> f64 {
        let possible = self.link.rate as f64 * self.seconds * (1.0 - self.link.loss as f64 / 1e6);
        (self.flows[flow].arrived * PACKET) as f64 * 100.0 / possible
    }

    /// Share of all packets that were lost to the queue, in hundredths.
    pub(super) fn lost_to_queue(&self, flow: usize) -> f64 {
        self.flows[flow].lost_queue as f64 * 100.0 / self.flows[flow].sent.max(1) as f64
    }

    /// Mean queue in hundredths of the bandwidth-delay product.
    pub(super) fn standing(&self) -> f64 {
        self.mean_queue * 100.0 / self.link.product() as f64
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, flow) in self.flows.iter().enumerate() {
            let (share, lost) = (self.share(index), self.lost_to_queue(index));
            write!(f, "{share:.2} % of the link, {lost:.2} % of {} packets lost to the queue; ", flow.sent)?;
        }
        write!(f, "standing queue {:.1} % of the product", self.standing())
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive { flow: usize, number: u64 },
    Ack { flow: usize, numbers: Vec<u64>, delay: u64 },
    AckDue { flow: usize, generation: u64 },
    Send { flow: usize },
    Loss { flow: usize },
    Probe { flow: usize },
    Change { rate: u64, rtt: u64 },
    More { flow: usize },
}

struct InFlight {
    number: u64,
    sent: u64,
    state: SentState,
    done: bool,
}

struct Sender {
    flow: Flow,
    congestion: Congestion,
    rtt: Rtt,
    packets: VecDeque<InFlight>,
    next: u64,
    largest_acked: Option<u64>,
    in_flight: u64,
    left: Option<u64>,
    timer: Option<u64>,
    last_ack: u64,
    probe_armed: bool,
    loss_armed: bool,
    // Receiver.
    pending: Vec<u64>,
    pending_since: u64,
    pending_lost: usize,
    expected: u64,
    generation: u64,
}

pub(super) struct Simulation {
    link: Link,
    base: Instant,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    count: u64,
    busy_until: u64,
    last_arrival: u64,
    senders: Vec<Sender>,
    outcomes: Vec<Outcome>,
    dice: u64,
    warm_up: u64,
    queue_area: f64,
    queue_samples: u64,
    outage: Option<(u64, u64)>,
}

const NANOS: u64 = 1_000_000_000;
/// A timer fires at full milliseconds and a bit later.
const TICK: u64 = 1_000_000;
const OVERSLEEP: u64 = 80_000;

impl Simulation {
    pub(super) fn new(link: Link, flows: &[Flow], seed: u64) -> Self {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let base = Instant::now();
        let mut simulation = Self {
            link,
            base,
            now: 0,
            events: BinaryHeap::new(),
            count: 0,
            busy_until: 0,
            last_arrival: 0,
            senders: Vec::new(),
            outcomes: vec![Outcome::default(); flows.len()],
            dice: seed,
            warm_up: 0,
            queue_area: 0.0,
            queue_samples: 0,
            outage: None,
        };
        for (index, flow) in flows.iter().enumerate() {
            let start = flow.start.as_nanos() as u64;
            let at = base + flow.start;
            let mut congestion = Congestion::new(at, flow.kind, PACKET, seed ^ (index as u64) << 32);
            // The handshake saw the queue that stands then; the simulation adds it when the flow starts.
            let rtt = Rtt::new();
            if start == 0 {
                congestion.on_first_round_trip(at, link.rtt);
            }
            simulation.senders.push(Sender {
                flow: *flow,
                congestion,
                rtt,
                packets: VecDeque::new(),
                next: 0,
                largest_acked: None,
                in_flight: 0,
                left: flow.bytes.or_else(|| flow.pauses.map(|(bytes, _)| bytes)),
                timer: None,
                last_ack: start,
                probe_armed: false,
                loss_armed: false,
                pending: Vec::new(),
                pending_since: 0,
                pending_lost: 0,
                expected: 0,
                generation: 0,
            });
            simulation.schedule(start, Event::Send { flow: index });
        }
        simulation
    }

    /// From `at` on the link is another one.
    pub(super) fn change(&mut self, at: Duration, rate: u64, rtt: Duration) {
        self.schedule(at.as_nanos() as u64, Event::Change { rate, rtt: rtt.as_nanos() as u64 });
    }

    /// From `from` until `to` nothing arrives.
    pub(super) fn outage(&mut self, from: Duration, to: Duration) {
        self.outage = Some((from.as_nanos() as u64, to.as_nanos() as u64));
    }

    /// Runs until `end`; what is before `warm_up` does not count.
    pub(super) fn run(mut self, warm_up: Duration, end: Duration) -> Run {
        self.warm_up = warm_up.as_nanos() as u64;
        let end_nanos = end.as_nanos() as u64;
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            if at > end_nanos {
                break;
            }
            self.now = at;
            self.handle(event);
            let done =
                |sender: &Sender| sender.left == Some(0) && sender.in_flight == 0 && sender.flow.pauses.is_none();
            if self.senders.iter().all(done) {
                break;
            }
        }
        Run {
            link: self.link,
            flows: self.outcomes,
            mean_queue: self.queue_area / self.queue_samples.max(1) as f64,
            seconds: (end - warm_up).as_secs_f64(),
        }
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.count += 1;
        self.events.push(Reverse((at, self.count, event)));
    }

    fn random(&mut self) -> u64 {
        self.dice = self.dice.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) >> 16
    }

    fn dice_says_lost(&mut self) -> bool {
        self.random() % 1_000_000 < self.link.loss
    }

    fn instant(&self, nanos: u64) -> Instant {
        self.base + Duration::from_nanos(nanos)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrive { flow, number } => self.arrive(flow, number),
            Event::Ack { flow, numbers, delay } => self.acknowledged(flow, &numbers, delay),
            Event::AckDue { flow, generation } => {
                if self.senders[flow].generation == generation {
                    self.acknowledge(flow);
                }
            }
            Event::Send { flow } => {
                self.senders[flow].timer = None;
                self.send(flow);
            }
            Event::Loss { flow } => {
                self.senders[flow].loss_armed = false;
                self.detect(flow);
                self.batch(flow, None);
                self.send(flow);
            }
            Event::Probe { flow } => self.probe(flow),
            Event::More { flow } => {
                let sender = &mut self.senders[flow];
                sender.left = sender.flow.pauses.map(|(bytes, _)| bytes);
                sender.last_ack = self.now;
                self.send(flow);
            }
            Event::Change { rate, rtt } => {
                let backlog = self.busy_until.saturating_sub(self.now) as u128 * self.link.rate as u128 / rate as u128;
                self.busy_until = self.now + backlog as u64;
                self.link.rate = rate;
                self.link.rtt = Duration::from_nanos(rtt);
            }
        }
    }

    fn send(&mut self, flow: usize) {
        let now = self.instant(self.now);
        let queue = self.busy_until.saturating_sub(self.now);
        let sender = &mut self.senders[flow];
        if sender.congestion.rate().is_none() && sender.next == 0 && self.now > 0 {
            sender.congestion.on_first_round_trip(now, self.link.rtt + Duration::from_nanos(queue));
        }
        loop {
            let sender = &mut self.senders[flow];
            if sender.left == Some(0) {
                sender.congestion.on_app_limited(sender.in_flight);
                return;
            }
            if sender.in_flight + PACKET > sender.congestion.window() {
                return;
            }
            if sender.congestion.allowance(now) < PACKET {
                if sender.timer.is_none() {
                    let next =
                        sender.congestion.next_burst(now).map_or(self.now, |at| (at - self.base).as_nanos() as u64);
                    let at = (next.max(self.now) / TICK + 1) * TICK + OVERSLEEP;
                    sender.timer = Some(at);
                    self.schedule(at, Event::Send { flow });
                }
                return;
            }
            let state = sender.congestion.on_sent(now, PACKET, sender.in_flight);
            let number = sender.next;
            sender.next += 1;
            sender.in_flight += PACKET;
            if let Some(left) = &mut sender.left {
                *left = left.saturating_sub(PACKET);
            }
            sender.packets.push_back(InFlight { number, sent: self.now, state, done: false });
            if !sender.probe_armed {
                sender.probe_armed = true;
                self.schedule(self.now + 300_000_000, Event::Probe { flow });
            }
            self.transmit(flow, number);
        }
    }

    fn transmit(&mut self, flow: usize, number: u64) {
        self.outcomes[flow].sent += 1;
        let backlog_time = self.busy_until.saturating_sub(self.now);
        let backlog = (u128::from(backlog_time) * u128::from(self.link.rate) / u128::from(NANOS)) as u64;
        if self.now >= self.warm_up {
            self.queue_area += backlog as f64;
            self.queue_samples += 1;
        }
        if backlog + PACKET > self.link.queue.max(2 * PACKET) {
            self.outcomes[flow].lost_queue += 1;
            return;
        }
        self.busy_until = self.busy_until.max(self.now) + PACKET * NANOS / self.link.rate;
        let jitter = if self.link.jitter.is_zero() { 0 } else { self.random() % self.link.jitter.as_nanos() as u64 };
        let arrival = (self.busy_until + self.link.rtt.as_nanos() as u64 / 2 + jitter).max(self.last_arrival);
        self.last_arrival = arrival;
        let silent = self.outage.is_some_and(|(from, to)| (from..to).contains(&self.now));
        if silent || self.dice_says_lost() {
            self.outcomes[flow].lost_random += 1;
            return;
        }
        self.schedule(arrival, Event::Arrive { flow, number });
    }

    fn arrive(&mut self, flow: usize, number: u64) {
        let outcome = &mut self.outcomes[flow];
        if self.now >= self.warm_up {
            outcome.arrived += 1;
        }
        let sender = &mut self.senders[flow];
        let gap = number > sender.expected;
        sender.expected = sender.expected.max(number + 1);
        if sender.pending.len() == sender.pending_lost {
            sender.pending_since = self.now;
            let delay = if sender.rtt.is_measured() {
                (sender.rtt.smoothed() / 8).min(Duration::from_millis(10))
            } else {
                Duration::from_millis(5)
            };
            let delay = if sender.flow.often { Duration::from_millis(40) } else { delay };
            let generation = sender.generation;
            self.schedule(self.now + delay.as_nanos() as u64, Event::AckDue { flow, generation });
        }
        let sender = &mut self.senders[flow];
        sender.pending.push(number);
        let every = if sender.flow.often { 2 } else { (sender.in_flight / PACKET / 8).clamp(2, 64) as usize };
        if gap || sender.pending.len() - sender.pending_lost >= every {
            self.acknowledge(flow);
        }
    }

    fn acknowledge(&mut self, flow: usize) {
        let sender = &mut self.senders[flow];
        sender.generation += 1;
        let numbers = std::mem::take(&mut sender.pending);
        if numbers.is_empty() {
            return;
        }
        if self.dice_says_lost() {
            // The next one repeats what it said.
            let sender = &mut self.senders[flow];
            sender.pending = numbers;
            sender.pending_lost = sender.pending.len();
            let generation = sender.generation;
            self.schedule(self.now + 10_000_000, Event::AckDue { flow, generation });
            return;
        }
        let sender = &mut self.senders[flow];
        sender.pending_lost = 0;
        let delay = self.now - sender.pending_since;
        // The delay counts for the largest packet, which has just come unless a timer fired.
        let delay = if numbers.len() == 1 { delay } else { 0 };
        let at = self.now + self.link.rtt.as_nanos() as u64 / 2;
        self.schedule(at, Event::Ack { flow, numbers, delay });
    }

    fn acknowledged(&mut self, flow: usize, numbers: &[u64], delay: u64) {
        let now = self.instant(self.now);
        let sender = &mut self.senders[flow];
        sender.last_ack = self.now;
        let largest = numbers.iter().copied().max().unwrap();
        let mut sample = None;
        for number in numbers {
            let front = sender.packets.front().map_or(u64::MAX, |packet| packet.number);
            let Some(packet) = number.checked_sub(front).and_then(|offset| sender.packets.get_mut(offset as usize))
            else {
                continue;
            };
            if packet.done {
                continue;
            }
            packet.done = true;
            sender.in_flight -= PACKET;
            sender.congestion.on_acked(now, &packet.state, PACKET);
            if *number == largest && sender.largest_acked.is_none_or(|acked| largest > acked) {
                sample = Some(Duration::from_nanos(self.now - packet.sent));
            }
        }
        if let Some(sample) = sample {
            sender.rtt.on_sample(sample, Duration::from_nanos(delay));
        }
        sender.largest_acked = Some(sender.largest_acked.map_or(largest, |acked| acked.max(largest)));
        self.detect(flow);
        self.batch(flow, sample);
        self.send(flow);
        let sender = &self.senders[flow];
        if sender.left == Some(0) && sender.in_flight == 0 && self.outcomes[flow].finished.is_none() {
            self.outcomes[flow].finished = Some(Duration::from_nanos(self.now));
        }
        if let (Some(0), 0, Some((_, time))) = (sender.left, sender.in_flight, sender.flow.pauses) {
            self.schedule(self.now + time.as_nanos() as u64, Event::More { flow });
        }
    }

    fn detect(&mut self, flow: usize) {
        let now = self.instant(self.now);
        let sender = &mut self.senders[flow];
        let Some(largest) = sender.largest_acked else { return };
        let patience = sender.rtt.loss_delay(1).as_nanos() as u64;
        let mut due = None;
        for packet in &mut sender.packets {
            if packet.number >= largest {
                break;
            }
            if packet.done {
                continue;
            }
            if packet.number + 3 <= largest || packet.sent + patience <= self.now {
                packet.done = true;
                sender.in_flight -= PACKET;
                sender.congestion.on_lost(now, &packet.state, PACKET);
                if let Some(left) = &mut sender.left {
                    *left += PACKET;
                }
            } else {
                due = Some(packet.sent + patience);
                break;
            }
        }
        while sender.packets.front().is_some_and(|packet| packet.done) {
            sender.packets.pop_front();
        }
        if let Some(at) = due
            && !sender.loss_armed
        {
            sender.loss_armed = true;
            self.schedule(at, Event::Loss { flow });
        }
    }

    fn batch(&mut self, flow: usize, sample: Option<Duration>) {
        let now = self.instant(self.now);
        let sender = &mut self.senders[flow];
        let summary = AckSummary { rtt: &sender.rtt, sample, in_flight: sender.in_flight, congested: 0 };
        sender.congestion.on_batch(now, summary);
    }

    /// Nothing was acknowledged for long: all that is under way is lost.
    fn probe(&mut self, flow: usize) {
        let now = self.instant(self.now);
        let sender = &mut self.senders[flow];
        let patience = sender.rtt.probe_timeout(Duration::from_millis(25)).as_nanos() as u64 * 2;
        let quiet = sender.in_flight == 0 || self.now - sender.last_ack < patience;
        if !quiet {
            sender.last_ack = self.now;
            sender.congestion.on_probe_timeout(now);
            for packet in &mut sender.packets {
                if !packet.done {
                    packet.done = true;
                    sender.in_flight -= PACKET;
                    sender.congestion.on_lost(now, &packet.state, PACKET);
                    if let Some(left) = &mut sender.left {
                        *left += PACKET;
                    }
                }
            }
            sender.packets.clear();
            self.batch(flow, None);
            self.send(flow);
        }
        self.schedule(self.now + 100_000_000, Event::Probe { flow });
    }
}
