//! Scenarios: a random pair of hosts on a random network with a random plan, all from one seed, and what must hold in the
//! end whatever they are.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use common::mrt::{CloseReason, Config, ControllerKind, Side, Suite};

use super::link::{Bursts, Link};
use super::network::{Change, Network, TalkId};
use super::node::Host;
use super::plan::{Close, End, Half, Known, Pace, Plan, StreamPlan};
use super::talk::CLOSE_CODE;
use super::wires::{NodeId, Rebinding};
use crate::content::Dice;

/// A run as it follows from a seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// What all of it follows from.
    pub seed: u64,
    /// From the initiator, and back.
    pub links: [Link; 2],
    /// The initiator and the responder.
    pub hosts: [Host; 2],
    /// What they do.
    pub plan: Plan,
    /// What happens to the cable between them, and when.
    pub trouble: Vec<(Duration, Trouble)>,
}

/// Something that happens in the middle of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trouble {
    /// The cable is cut for so long.
    Cut(Duration),
    /// Both directions have this rate, in bytes a second, from now on.
    Rate(u64),
    /// Both directions carry no larger datagrams from now on.
    MaxDatagram(usize),
    /// A side has another address, without knowing it.
    Rebind(Side, Rebinding),
}

/// What came of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether all was said and heard as planned.
    pub done: bool,
    /// Bytes that were read.
    pub bytes: u64,
    /// Datagrams that both sides sent.
    pub datagrams: u64,
    /// Calls of `handle_timeout`.
    pub timeouts: u64,
    /// Virtual time until both sides were closed.
    pub time: Duration,
    /// Longest time in which nothing arrived while something was on its way.
    pub longest_wait: Duration,
}

/// A run in which something happened that must not.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The run.
    pub scenario: Scenario,
    /// What happened.
    pub what: String,
}

/// No run takes longer, in virtual time: the slowest link carries the largest plan in a hundredth of it.
const MAX_TIME: Duration = Duration::from_secs(4 * 3600);

/// Time in which a closed connection is forgotten: three probe timeouts of the longest path.
const DRAIN_TIME: Duration = Duration::from_secs(600);

/// One in so many waits may be as long as the longest that is allowed. There are some million waits in a soak.
const RARE: f64 = 1e-8;

impl Scenario {
    /// The scenario of this seed.
    pub fn random(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let there = random_link(&mut dice);
        let back = if dice.chance(0.2) { random_link(&mut dice) } else { there };
        let slowest = there.rate.unwrap_or(u64::MAX).min(back.rate.unwrap_or(u64::MAX));
        let plan = random_plan(&mut dice, slowest);
        let typical = typical_time(&plan, slowest, there.delay + back.delay);
        let trouble = random_trouble(&mut dice, typical, &there);
        let hosts = [random_host(&mut dice), random_host(&mut dice)];
        Self { seed, links: [there, back], hosts, plan, trouble }
    }

    /// Runs it, and checks what must hold.
    pub fn run(&self) -> Result<Outcome, Box<Failure>> {
        let ran = catch_unwind(AssertUnwindSafe(|| self.try_run()));
        let result = ran.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            Err(text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned()))
        });
        result.map_err(|what| Box::new(Failure { scenario: self.clone(), what }))
    }

    /// The longest time in which nothing may arrive although something is on its way: probes are lost again and again, the
    /// pause between them doubles up to three seconds, and one answer is enough.
    pub fn longest_wait(&self) -> Duration {
        /// The round trip that is assumed before one is known, as a probe timeout.
        const FIRST_PROBE: Duration = Duration::from_millis(600);
        const LONGEST_PAUSE: Duration = Duration::from_secs(3);
        const PROBES_AT_ONCE: i32 = 2;
        /// A smoothed round trip, four times its variation, which is at most half of it, and a delayed acknowledgement.
        const ROUND_TRIPS: u32 = 3;
        let round_trip = self.round_trip();
        let answered: f64 = self.links.iter().map(|link| 1.0 - link.mean_loss()).product();
        let unanswered = (1.0 - answered).powi(PROBES_AT_ONCE);
        let first = (round_trip * ROUND_TRIPS).max(FIRST_PROBE);
        let (mut wait, mut pause, mut chance) = (round_trip * ROUND_TRIPS, first, 1.0);
        // Three more than chance demands: a path that changed takes as many to be found out.
        for _ in 0..3 {
            (wait, pause) = (wait + pause, (pause * 2).min(LONGEST_PAUSE.max(first)));
        }
        while chance > RARE {
            (wait, pause) = (wait + pause, (pause * 2).min(LONGEST_PAUSE.max(first)));
            chance *= unanswered;
        }
        wait + self.outages() + self.silence() + self.longest_pause()
    }

    /// How long a side may be lost that has another address: one that is quiet is found when it says something again. Where
    /// the responder moves before it was heard, or both do at once, nobody is found until the connection times out.
    fn silence(&self) -> Duration {
        let moves = self.trouble.iter().filter_map(|(_, trouble)| match trouble {
            Trouble::Rebind(side, _) => Some(*side),
            _ => None,
        });
        let silences = moves.map(|side| {
            let Config { keep_alive, idle_timeout, .. } = self.hosts[super::talk::index(side)].config;
            keep_alive.filter(|_| side == Side::Initiator).unwrap_or(idle_timeout)
        });
        silences.sum::<Duration>() + self.forgotten()
    }

    /// A responder forgets who does not confirm the handshake within seconds: where the cable was cut meanwhile, the
    /// initiator waits until it has idled out.
    fn forgotten(&self) -> Duration {
        const SOON: Duration = Duration::from_secs(1);
        let is_late = |(at, trouble): &(Duration, Trouble)| match trouble {
            Trouble::Cut(time) => *at < SOON && *time > SOON,
            _ => false,
        };
        if self.trouble.iter().any(is_late) { self.hosts[0].config.idle_timeout } else { Duration::ZERO }
    }

    /// The longest round trip there may be.
    fn round_trip(&self) -> Duration {
        const ACK_DELAY: Duration = Duration::from_millis(25);
        let slowest = self.trouble.iter().filter_map(|(_, trouble)| match trouble {
            Trouble::Rate(rate) => Some(*rate),
            _ => None,
        });
        let slowest = slowest.min();
        let links = self.links.map(|link| Link { rate: slowest.into_iter().chain(link.rate).min(), ..link });
        links.iter().map(Link::longest_delay).sum::<Duration>()
            + ACK_DELAY
            + (self.hosts[0].tick + self.hosts[1].tick) * 2
    }

    /// What cuts and bursts of losses add, with the pauses that grow as long in them.
    fn outages(&self) -> Duration {
        /// One in a hundred million bursts is longer than so many mean ones.
        const LONG_BURST: u32 = 18;
        let cuts = self.trouble.iter().filter_map(|(_, trouble)| match trouble {
            Trouble::Cut(time) => Some(*time),
            _ => None,
        });
        let bursts = self.links.iter().filter_map(|link| link.bursts).map(|bursts| bursts.bad * LONG_BURST);
        cuts.chain(bursts).sum::<Duration>() * 3
    }

    fn longest_pause(&self) -> Duration {
        let halves = self.plan.streams.iter().flatten().flat_map(|stream| [stream.there, stream.back]);
        halves.map(|half| half.read.pause).max().unwrap_or_default() * 2
    }

    /// Whether so much is lost that a connection may end by itself now and then.
    fn may_give_up(&self) -> bool {
        const MUCH: f64 = 0.05;
        self.links.iter().any(|link| link.loss > MUCH || link.bursts.is_some())
            || self.trouble.iter().any(|(_, trouble)| matches!(trouble, Trouble::Cut(_) | Trouble::Rebind(..)))
            || self.round_trip() > Duration::from_secs(1)
    }

    fn try_run(&self) -> Result<Outcome, String> {
        let mut network = Network::new(self.seed);
        let [first, second] = [0, 1].map(|side: usize| network.node(self.hosts[side].clone()));
        let cable = network.cable_of(self.links[0], self.links[1]);
        network.join(first, second, &[cable]);
        for (at, trouble) in &self.trouble {
            match trouble {
                Trouble::Cut(time) => {
                    network.at(*at, Change::Cut(cable));
                    network.at(*at + *time, Change::Mend(cable));
                }
                Trouble::Rate(rate) => network.at(*at, Change::Rate(cable, *rate)),
                Trouble::MaxDatagram(most) => network.at(*at, Change::MaxDatagram(cable, *most)),
                Trouble::Rebind(side, rebinding) => {
                    let node = [first, second][super::talk::index(*side)];
                    network.at(*at, Change::Rebind(node.into(), *rebinding));
                }
            }
        }
        let talk = network.connect(first, second, self.plan.clone());
        network.fail_after_waiting(self.longest_wait());
        let is_over = |network: &Network| {
            let has_ended = |side| network.closed(talk, side).is_some() || !network.has_begun(talk, side);
            network.closed(talk, Side::Initiator).is_some() && has_ended(Side::Responder)
        };
        let ended = network.run_until(MAX_TIME, is_over);
        let time = network.elapsed();
        if ended {
            network.run_for(DRAIN_TIME);
        }
        if let Some(fault) = network.fault() {
            return Err(fault.to_owned());
        }
        if !ended {
            return Err(format!("it never ends: {network:?}"));
        }
        self.check_end(&network, talk)?;
        self.check_bounds(&network, talk, [first, second], time)
    }

    /// Both sides ended, and for a reason.
    fn check_end(&self, network: &Network, talk: TalkId) -> Result<(), String> {
        let done = network.is_done(talk);
        let closer = match self.plan.close {
            Close::WhenDone(side) => done.then_some(side),
            Close::After(_, side) => Some(side),
            Close::Never => None,
        };
        for side in [Side::Initiator, Side::Responder] {
            if !network.has_begun(talk, side) {
                continue;
            }
            let Some(reason) = network.closed(talk, side) else {
                return Err(format!("{side:?}: stood, and was never closed"));
            };
            let is_right = match reason {
                CloseReason::Here => closer == Some(side),
                CloseReason::There { code, .. } => closer.is_some_and(|closer| closer != side) && *code == CLOSE_CODE,
                // The word that it is over may be lost.
                CloseReason::TimedOut => closer.is_some_and(|closer| closer != side) || self.may_give_up(),
                CloseReason::NoAnswer => self.may_give_up(),
                CloseReason::Violation(_) => false,
            };
            if !is_right {
                return Err(format!("{side:?}: ended with {reason:?}, done: {done}, planned: {:?}", self.plan.close));
            }
        }
        Ok(())
    }

    /// Nothing is left, timers did not storm, and memory was bounded.
    fn check_bounds(
        &self,
        network: &Network,
        talk: TalkId,
        nodes: [NodeId; 2],
        time: Duration,
    ) -> Result<Outcome, String> {
        /// Of a connection, beside the budget of all.
        const OWN_WINDOW: u64 = 256 << 10;
        /// Each side may write so much to a stream whatever the others hold, and ends count as bytes.
        const PER_STREAM: u64 = 2 * ((64 << 10) + 1);
        const TIMEOUTS_PER_DATAGRAM: u64 = 2;
        const TIMEOUTS_PER_SECOND: u64 = 20;
        const TIMEOUTS_ANYWAY: u64 = 200;
        for node in nodes {
            let endpoint = network.endpoint(node);
            let (connections, unproven) = (endpoint.handles().count(), endpoint.unproven());
            if connections + unproven > 0 {
                return Err(format!("{node:?}: {connections} connections and {unproven} unproven ones are left"));
            }
        }
        let progress = network.progress(talk);
        let streams = self.plan.streams.iter().flatten().count() as u64;
        let most = self.hosts.iter().map(|host| host.config.max_send_buffer + host.config.receive_budget + OWN_WINDOW);
        let (held, most) = (progress.most_unread(), most.sum::<u64>() + streams * PER_STREAM);
        if held > most {
            return Err(format!("{held} bytes were held, more than {most}"));
        }
        let figures = nodes.map(|node| network.node_figures(node));
        let datagrams = figures.iter().map(|figures| figures.sent).sum::<u64>();
        for figures in figures {
            let allowed = (figures.sent + figures.received) * TIMEOUTS_PER_DATAGRAM
                + time.as_secs() * TIMEOUTS_PER_SECOND
                + TIMEOUTS_ANYWAY;
            if figures.timeouts > allowed {
                return Err(format!("timers went off too often: {figures:?} in {time:?}"));
            }
        }
        Ok(Outcome {
            done: network.is_done(talk),
            bytes: [Side::Initiator, Side::Responder]
                .map(|side| progress.bytes(side, Duration::ZERO, Duration::MAX))
                .iter()
                .sum(),
            datagrams,
            timeouts: figures.iter().map(|figures| figures.timeouts).sum(),
            time,
            longest_wait: progress.longest_wait(),
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, what } = self;
        writeln!(f, "seed {}: {what}", scenario.seed)?;
        writeln!(f, "again: cargo run --release -p bench -- soak mrt --rounds 1 --seed {}", scenario.seed)?;
        write!(f, "{scenario:#?}")
    }
}

fn random_link(dice: &mut Dice) -> Link {
    const ROUND_TRIP_NANOS: [u64; 2] = [5_000, 400_000_000];
    const RATE: [u64; 2] = [8_000, 1_250_000_000];
    /// Links that carry larger datagrams than Ethernet are fast.
    const FAST: u64 = 10_000_000;
    /// Between bursts of losses it works for so long at least.
    const GOOD: Duration = Duration::from_millis(300);
    let delay = Duration::from_nanos(dice.scaled(ROUND_TRIP_NANOS[0], ROUND_TRIP_NANOS[1])) / 2;
    let rate = dice.scaled(RATE[0], RATE[1]);
    let sizes: &[usize] = if rate >= FAST { &[1200, 1252, 1472, 8972, 65_507] } else { &[1200, 1252, 1472] };
    let max_datagram = sizes[usize::try_from(dice.below(sizes.len() as u64)).expect("a few")];
    let product = u64::try_from(u128::from(rate) * delay.as_nanos() * 2 / 1_000_000_000).unwrap_or(u64::MAX);
    // From a quarter of the bandwidth-delay product to four of them, but for no less than a burst.
    let queue = (product * (1 + dice.below(16)) / 4).max(max_datagram as u64 * 10);
    let worst_loss = [0.0, 0.0, 0.0, 0.0, 0.02, 0.02, 0.05, 0.2][usize::try_from(dice.below(8)).expect("a few")];
    let millis = |dice: &mut Dice, most| Duration::from_millis(1 + dice.below(most));
    Link {
        delay,
        jitter: if dice.chance(0.3) { delay.mul_f64(dice.fraction()) } else { Duration::ZERO },
        loss: worst_loss * dice.fraction(),
        bursts: dice.chance(0.15).then(|| Bursts { good: millis(dice, 3000) + GOOD, bad: millis(dice, 50), loss: 0.9 }),
        duplicates: if dice.chance(0.2) { 0.05 * dice.fraction() } else { 0.0 },
        reordering: dice.chance(0.2).then(|| (0.1 * dice.fraction(), delay.mul_f64(2.0 * dice.fraction()))),
        rate: dice.chance(0.9).then_some(rate),
        queue,
        mark_above: dice.chance(0.2).then_some(queue / 4),
        max_datagram,
    }
}

fn random_host(dice: &mut Dice) -> Host {
    let keep_alive = [None, Some(1), Some(15)][usize::try_from(dice.below(3)).expect("a few")];
    let config = Config {
        controller: if dice.chance(0.3) { ControllerKind::Fair } else { ControllerKind::Model },
        suite: if dice.chance(0.3) { Suite::ChaCha20Poly1305 } else { Suite::Aes256Gcm },
        max_datagram: u16::try_from(dice.scaled(1200, 65_507)).expect("no more"),
        keep_alive: keep_alive.map(Duration::from_secs),
        max_streams: dice.scaled(1, 256),
        max_send_buffer: dice.scaled(8 << 10, 64 << 20),
        receive_budget: dice.scaled(64 << 10, 64 << 20),
        ..Config::default()
    };
    let segments = [1, 10, 64][usize::try_from(dice.below(3)).expect("a few")];
    Host { config, segments, tick: Duration::from_millis(dice.below(2)) }
}

fn random_plan(dice: &mut Dice, slowest: u64) -> Plan {
    const MAX_STREAMS: u64 = 40;
    const MAX_BYTES: u64 = 6 << 20;
    /// On slow links a run lasts no longer than this, if nothing is lost.
    const SECONDS: u64 = 10;
    let mut budget = dice.scaled(1000, MAX_BYTES.min(slowest.saturating_mul(SECONDS)));
    let count = dice.scaled(1, MAX_STREAMS);
    let mut streams = [Vec::new(), Vec::new()];
    for _ in 0..count {
        let after = if dice.chance(0.5) { Duration::ZERO } else { Duration::from_millis(dice.below(500)) };
        let stream = StreamPlan { after, there: random_half(dice, &mut budget), back: random_half(dice, &mut budget) };
        streams[usize::from(dice.chance(0.3))].push(stream);
    }
    for of_side in &mut streams {
        of_side.sort_by_key(|stream| stream.after);
    }
    let side = if dice.chance(0.5) { Side::Initiator } else { Side::Responder };
    let close = if dice.chance(0.9) {
        Close::WhenDone(side)
    } else {
        Close::After(Duration::from_millis(dice.scaled(1, 10_000)), side)
    };
    let known = [Known::Address, Known::Peer, Known::Key][usize::try_from(dice.below(3)).expect("a few")];
    Plan { streams, close, known }
}

fn random_half(dice: &mut Dice, budget: &mut u64) -> Half {
    const LARGEST: u64 = 4 << 20;
    let size = if dice.chance(0.15) || *budget == 0 { 0 } else { dice.scaled(1, LARGEST).min(*budget) };
    *budget -= size;
    let end = match dice.below(12) {
        0 => End::Reset(dice.below(size + 1)),
        1 => End::Stop(dice.below(size + 1)),
        _ => End::Finish,
    };
    Half { size, end, write: random_pace(dice, size), read: random_pace(dice, size) }
}

fn random_pace(dice: &mut Dice, size: u64) -> Pace {
    /// So that runs last seconds.
    const MAX_PAUSES: u64 = 20;
    if dice.chance(0.85) {
        return Pace::FULL;
    }
    Pace { piece: size / MAX_PAUSES + dice.scaled(1, 1 << 16), pause: Duration::from_millis(dice.below(200)) }
}

/// How long a plan takes on a link without losses, about.
fn typical_time(plan: &Plan, slowest: u64, round_trip: Duration) -> Duration {
    const ROUND_TRIPS: u32 = 6;
    super::link::time_of(plan.bytes(), slowest) + round_trip * ROUND_TRIPS
}

fn random_trouble(dice: &mut Dice, typical: Duration, link: &Link) -> Vec<(Duration, Trouble)> {
    let mut trouble = Vec::new();
    while dice.chance(0.3) {
        let at = typical.mul_f64(dice.fraction() * 1.5);
        trouble.push((
            at,
            match dice.below(6) {
                0 => Trouble::Cut(Duration::from_millis(dice.scaled(1, 3000))),
                1 => Trouble::Rate((link.rate.unwrap_or(100_000_000) / dice.scaled(1, 8)).max(8_000)),
                2 => Trouble::MaxDatagram(1200),
                3 => Trouble::Rebind(Side::Initiator, Rebinding::Address),
                4 => Trouble::Rebind(Side::Responder, Rebinding::Port),
                _ => Trouble::Rebind(Side::Initiator, Rebinding::Port),
            },
        ));
    }
    trouble
}
