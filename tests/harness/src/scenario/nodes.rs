//! Members of a network without a tracker are killed at random moments while files are downloaded, the supernode among them:
//! every download that still has a holder ends well.

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use peer::command::{Command, Downloaded, Failure, Outcome};
use rustix::process::Signal;

use super::{Findings, STEP_LIMIT, Scale};
use crate::content::{Content, Dice};
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

/// One round.
struct Round {
    dice: Dice,
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

/// Runs as many rounds, each with files of this size.
pub(super) fn nodes(scale: Scale) -> Findings {
    let _slot = Slot::take(Company::Shared);
    let (mut killed, mut finished, mut without, mut beyond, mut longest) = (0, 0, 0, 0, Vec::new());
    for seed in scale.seed..scale.seed + u64::from(scale.rounds) {
        // What panics in it is told after this.
        eprintln!("round of seed {seed}");
        let root = tempfile::tempdir().expect("a directory can be made");
        let begin = Instant::now();
        let mut round = Round::new(root.path(), seed, scale.size);
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
    fn new(root: &Path, seed: u64, size: u64) -> Self {
        let mut dice = Dice::new(seed);
        let count = FEWEST + dice.below(MORE);
        let rate = (size / SECONDS).max(1).to_string();
        let start = |number| Node::start(root, &format!("node{number}"), None, &["--limit-up", &rate]);
        let mut nodes: Vec<Node> = (0..count).map(start).collect();
        for number in 1..nodes.len() {
            // Members lead on to the supernode.
            let to = nodes[pick(&mut dice, number)].port();
            nodes[number].types(&format!("C {to}"));
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
        Self { dice, nodes: nodes.into_iter().map(Some).collect(), files }
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
            let alive: Vec<usize> = (0..self.nodes.len()).filter(|node| self.nodes[*node].is_some()).collect();
            let at = if self.dice.below(2) == 0 { 0 } else { pick(&mut self.dice, alive.len()) };
            if let Some(mut node) = self.nodes[alive[at]].take() {
                node.signal(Signal::KILL);
                node.ends();
                killed += 1;
            }
        }
        killed
    }
}

fn pick(dice: &mut Dice, count: usize) -> usize {
    usize::try_from(dice.below(count as u64)).expect("below a usize")
}
