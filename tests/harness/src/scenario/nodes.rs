//! Members of a network without a tracker are killed at random moments while files are downloaded, the supernode among them:
//! every download that still has a holder ends well.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use peer::command::{Command, Downloaded, Failure, Outcome};
use rustix::process::Signal;

use super::{Findings, STEP_LIMIT, Scale};
use crate::content::{Content, Dice};
use crate::natlab::{self, Host, Lab, Nat};
use crate::netns::Wire;
use crate::node::Node;
use crate::peer::download;
use crate::slots::{Company, Slot};
use crate::wait::{holds_for, wait_until};

/// Fewest nodes of a round, and how many more there may be.
const FEWEST: u64 = 4;
const MORE: u64 = 5;
/// Most files of a round, and most holders of one.
const FILES: u64 = 3;
const HOLDERS: u64 = 3;
/// Each holder alone would take so many seconds to send a file.
const SECONDS: u64 = 2;
/// Longest time between two deaths, in milliseconds.
const APART_MS: u64 = 1200;

/// Where the nodes of a round are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ground {
    /// All on one machine.
    Loopback,
    /// Two on the internet, one of whom always lives, the others behind routers of their own.
    Homes,
}

/// So many nodes are on the internet.
const PUBLIC: usize = 2;

/// One round.
struct Round {
    dice: Dice,
    ground: Ground,
    /// Where they are, if not all on one machine.
    hosts: Vec<Host>,
    /// `None`: it was killed.
    nodes: Vec<Option<Node>>,
    files: Vec<File>,
}

struct File {
    name: String,
    content: Content,
    /// Who had it at first.
    holders: Vec<usize>,
}

/// A download under way.
struct Under {
    file: usize,
    node: usize,
    ended: Receiver<std::io::Result<Result<Outcome, Failure>>>,
}

/// Runs as many rounds on one machine, each with files of this size.
pub(super) fn nodes(scale: Scale) -> Findings {
    rounds(scale, Ground::Loopback)
}

/// The same behind routers.
///
/// # Panics
/// Where there cannot be any.
pub(super) fn nodes_at_home(scale: Scale) -> Findings {
    if let Err(why) = natlab::possible() {
        panic!("nodes at home need a lab: {why}");
    }
    rounds(scale, Ground::Homes)
}

#[expect(clippy::print_stderr, reason = "the seed of a round that fails must be known")]
fn rounds(scale: Scale, ground: Ground) -> Findings {
    let _slot = Slot::take(Company::Shared);
    let (mut killed, mut finished, mut without, mut beyond, mut longest) = (0, 0, 0, 0, Vec::new());
    for seed in scale.seed..scale.seed + u64::from(scale.rounds) {
        // What panics in it is told after this.
        eprintln!("round of seed {seed}");
        let root = tempfile::tempdir().expect("a directory can be made");
        let begin = Instant::now();
        let mut round = Round::new(root.path(), seed, scale.size, ground);
        let downloads = round.begin_downloads(root.path());
        killed += round.kill_some();
        for Under { file, node, ended } in downloads {
            let File { name, content, holders } = &round.files[file];
            let Some(alive) = &round.nodes[node] else { continue };
            if holders.iter().all(|holder| round.nodes[*holder].is_none()) {
                without += 1;
                continue;
            }
            let told = || format!("{name} to node {node}, whose terminal shows\n{}", alive.screen());
            let ended = ended.recv_timeout(STEP_LIMIT).unwrap_or_else(|error| panic!("{error}: {}", told()));
            let Ok(Ok(Outcome::Downloaded(Downloaded { path, fetched_bytes, .. }))) = ended else {
                panic!("{ended:?}: {}", told())
            };
            assert_eq!(content.compare(&path).expect("it can be read"), Ok(()), "{}", told());
            finished += 1;
            beyond += fetched_bytes.saturating_sub(content.length());
        }
        longest.push(begin.elapsed().as_secs_f64());
    }
    Findings::default()
        .with("killed", "", vec![f64::from(killed)])
        .with("downloads that had a holder, and ended well", "", vec![f64::from(finished)])
        .with("downloads without a holder", "", vec![f64::from(without)])
        .with("bytes beyond the files, of all downloads", "", vec![beyond as f64])
        .with("time of a round", "s", longest)
}

impl Round {
    fn new(root: &Path, seed: u64, size: u64, ground: Ground) -> Self {
        let mut dice = Dice::new(seed);
        let count = pick(&mut dice, usize::try_from(MORE).expect("a few")) + usize::try_from(FEWEST).expect("a few");
        let rate = (size / SECONDS).max(1).to_string();
        let hosts = match ground {
            Ground::Loopback => Vec::new(),
            Ground::Homes => hosts(&mut dice, count),
        };
        let start = |number: usize| {
            let (name, netns) = (format!("node{number}"), hosts.get(number).map(Host::netns));
            Node::start(root, &name, netns, &["--listen", "0.0.0.0:0", "--limit-up", &rate])
        };
        let mut nodes: Vec<Node> = (0..count).map(start).collect();
        for number in 1..nodes.len() {
            // Members lead on to the supernode.
            let to = match ground {
                Ground::Loopback => pick(&mut dice, number),
                Ground::Homes => pick(&mut dice, number.min(PUBLIC)),
            };
            let (address, port) = (hosts.get(to).map_or(Ipv4Addr::LOCALHOST, Host::address), nodes[to].port());
            nodes[number].types(&format!("C {address} {port}"));
            nodes[number].sees("Connected to ");
        }
        let mut files = Vec::new();
        for number in 0..=dice.below(FILES) {
            let mut holders: Vec<usize> = (0..=dice.below(HOLDERS)).map(|_| pick(&mut dice, nodes.len())).collect();
            holders.sort_unstable();
            holders.dedup();
            let (name, content) = (format!("file{number}.bin"), Content::random(seed * 10 + number, size));
            let path = root.join(&name);
            content.write(&path).expect("a file can be written");
            for holder in &holders {
                let shared = nodes[*holder].command(&Command::Register { path: path.clone(), users: None });
                assert!(shared.is_ok(), "{shared:?}");
            }
            files.push(File { name, content, holders });
        }
        let seeders = |node: &Node| node.list().iter().map(|entry| entry.seeders as usize).sum::<usize>();
        let all: usize = files.iter().map(|file| file.holders.len()).sum();
        wait_until(STEP_LIMIT, "all to know all files", || nodes.iter().all(|node| seeders(node) == all));
        Self { dice, ground, hosts, nodes: nodes.into_iter().map(Some).collect(), files }
    }

    /// About half of those who have not a file want it.
    fn begin_downloads(&mut self, root: &Path) -> Vec<Under> {
        let mut under = Vec::new();
        for (file, File { name, holders, .. }) in self.files.iter().enumerate() {
            let others = (0..self.nodes.len()).filter(|node| !holders.contains(node));
            let wanting: Vec<usize> = others.filter(|_| self.dice.below(2) == 0).collect();
            for node in wanting {
                let Some(alive) = &self.nodes[node] else { continue };
                let mut running = alive.start_command(&download(name, Some(&root.join(format!("{name}.{node}")))));
                running.next_update().expect("a node answers");
                let (sender, ended) = channel();
                // Whoever is killed does not answer, and nobody waits for it.
                thread::spawn(move || drop(sender.send(running.finish())));
                under.push(Under { file, node, ended });
            }
        }
        under
    }

    /// Kills up to half of the nodes, and says how many.
    fn kill_some(&mut self) -> u32 {
        let count = 1 + self.dice.below(self.nodes.len() as u64 / 2);
        let mut killed = 0;
        for _ in 0..count {
            let apart = Duration::from_millis(self.dice.below(APART_MS));
            holds_for(apart, || true);
            // The first that lives leads, mostly: it dies as often as all others together.
            let lives = |node: &usize| self.nodes[*node].is_some();
            let relays = (0..PUBLIC).filter(lives).count();
            let is_last = |node: &usize| self.ground == Ground::Homes && *node < PUBLIC && relays == 1;
            let alive: Vec<usize> = (0..self.nodes.len()).filter(lives).filter(|node| !is_last(node)).collect();
            let at = if self.dice.below(2) == 0 { 0 } else { pick(&mut self.dice, alive.len()) };
            let Some(mut node) = self.nodes[alive[at]].take() else { continue };
            if let Some(host) = self.hosts.get(alive[at])
                && self.dice.below(3) == 0
            {
                // Nobody is told, not even by the system.
                host.set_wire(Wire::Pulled);
            }
            node.signal(Signal::KILL);
            node.ends();
            killed += 1;
        }
        killed
    }
}

/// Two on the internet, the others each behind a router of some kind.
fn hosts(dice: &mut Dice, count: usize) -> Vec<Host> {
    let lab = Lab::new();
    let behind = |dice: &mut Dice| lab.home(Nat::ALL[pick(dice, Nat::ALL.len())]).host();
    (0..count).map(|number| if number < PUBLIC { lab.host() } else { behind(dice) }).collect()
}

fn pick(dice: &mut Dice, count: usize) -> usize {
    usize::try_from(dice.below(count as u64)).expect("below a usize")
}
