//! Meetings through routers: how long it takes two nodes to have a direct way to each other.

use std::time::{Duration, Instant};

use super::{Findings, Scale};
use crate::emulator::Link;
use crate::ground::{Ground, NAMES};
use crate::natlab::{Access, Nat};
use crate::node::Node;
use crate::wait::pause;

/// Two who can meet have met within this.
const PROMPT: Duration = Duration::from_secs(2);
/// In so many of a hundred rounds.
const PROMPT_OF_HUNDRED: usize = 95;
/// From so many rounds on a share of them means something.
const ENOUGH: u32 = 20;
/// Who can meet at all has met within this; it is no use to wait on.
const STEP_LIMIT: Duration = Duration::from_secs(20);
/// Bits a second of links with delay: as good as any home has.
const RATE: u64 = 1_000_000_000;

/// Two nodes and what is between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meetings {
    /// What the routers before the two do.
    pub kinds: [Nat; 2],
    /// How long a packet takes from each home to the internet.
    pub delay: Duration,
}

impl Default for Meetings {
    fn default() -> Self {
        Self { kinds: [Nat::PortRestricted; 2], delay: Duration::ZERO }
    }
}

/// Lets two nodes join and meet as often as there are rounds, with new ports each time; size and seed do not matter.
///
/// # Panics
/// When they do not meet though they could, or are not relayed though they cannot, or when more than 5 of 100 rounds took
/// longer than 2 s.
pub fn run_meetings(meetings: Meetings, scale: Scale) -> Findings {
    let access = if meetings.delay.is_zero() { Access::Wire } else { Access::alike(Link::new(RATE, meetings.delay)) };
    let ground = Ground::apart(meetings.kinds, access);
    let [one, other] = meetings.kinds;
    let way = if one.meets(other) { format!("direct, {}", ground.public_address(0)) } else { "relayed".to_owned() };
    let supernode = ground.supernode();
    let mut times: Vec<Duration> = (0..scale.rounds).map(|_| meet(&ground, &supernode, &way)).collect();
    times.sort();
    let prompt = times.iter().filter(|time| **time <= PROMPT).count();
    let enough = prompt * 100 >= times.len() * PROMPT_OF_HUNDRED;
    assert!(scale.rounds < ENOUGH || enough, "only {prompt} of {} within {PROMPT:?}: {times:?}", times.len());
    let seconds = |time: Option<&Duration>| time.map(Duration::as_secs_f64).into_iter().collect();
    Findings::default()
        .with("of them within 2 s", "", vec![prompt as f64])
        .with("median", "s", seconds(times.get(times.len() / 2)))
        .with("worst", "s", seconds(times.last()))
}

/// The same between the kinds that most homes have.
pub(super) fn nat(scale: Scale) -> Findings {
    run_meetings(Meetings::default(), scale)
}

/// One round: from when the second node is told to join, before which it has not heard of the first, to when it reaches the
/// first in this way.
fn meet(ground: &Ground, supernode: &Node, way: &str) -> Duration {
    let mut nodes = [0, 1].map(|place| ground.node(place));
    let [bob, eve] = &mut nodes;
    bob.types(&ground.connect(supernode));
    bob.sees("Connected to ");
    let start = Instant::now();
    eve.types(&ground.connect(supernode));
    eve.sees("Connected to ");
    let mut shown = String::new();
    while !shown.starts_with(way) {
        let screens = || [&*bob, &*eve, supernode].map(Node::screen).join("\n");
        assert!(start.elapsed() < STEP_LIMIT, "{shown} instead of {way}:\n{}", screens());
        shown = eve.way_to(NAMES[0]);
        pause();
    }
    let time = start.elapsed();
    for node in &mut nodes {
        node.types("Q");
        assert_eq!(node.ends(), Some(0), "a node leaves in good order");
    }
    time
}
