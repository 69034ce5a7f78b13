//! Many nodes of a network without a tracker on one machine: each shares a file, all download all, and they leave one by one.

use std::thread;
use std::time::{Duration, Instant};

use super::{Findings, MIB, STEP_LIMIT, Scale};
use crate::content::Content;
use crate::node::Node;
use crate::peer::download;
use crate::slots::{Company, Slot};
use crate::wait::wait_until;
use peer::command::Command;

/// No node may have more resident ...
const NODE_MEMORY: u64 = 50 * MIB;
/// ... beside what the program itself is larger by where it is not optimized: 28 MiB of it are mapped then.
const UNOPTIMIZED: u64 = if cfg!(debug_assertions) { 16 * MIB } else { 0 };

/// So many nodes as there are rounds, each with a file of this size.
pub(super) fn crowd(scale: Scale) -> Findings {
    let _slot = Slot::take(Company::Alone);
    let root = tempfile::tempdir().expect("a directory can be made");
    let count = usize::try_from(scale.rounds).expect("a few");
    let name = |number: usize| format!("node{number}");
    let content = |number: usize| Content::random(scale.seed * 1000 + number as u64, scale.size);
    let begin = Instant::now();
    let mut nodes: Vec<Node> =
        (0..count).map(|number| Node::start(root.path(), &name(number), None, &["--network-key", "horse"])).collect();
    let started = begin.elapsed();
    let port = nodes[0].port();
    for node in &mut nodes[1..] {
        node.types(&format!("C {port}"));
    }
    for node in &mut nodes[1..] {
        node.sees("Connected to ");
    }
    let joined = begin.elapsed();
    for (number, node) in nodes.iter().enumerate() {
        let path = root.path().join(format!("{}.bin", name(number)));
        content(number).write(&path).expect("a file can be written");
        let shared = node.command(&Command::Register { path, users: None });
        assert!(shared.is_ok(), "{shared:?}");
    }
    let all_listed = || nodes.iter().all(|node| node.list().len() == count);
    wait_until(STEP_LIMIT, "all files to be listed everywhere", all_listed);
    let shared = begin.elapsed();
    thread::scope(|scope| {
        for (number, node) in nodes.iter().enumerate() {
            scope.spawn(move || {
                // Not all from the same at once.
                for other in (1..count).map(|step| (number + step) % count) {
                    let entry = format!("{}.bin", name(other));
                    let brought = node.dir().join("brought").with_extension(other.to_string());
                    let ended = node.command(&download(&entry, Some(&brought)));
                    assert!(ended.is_ok(), "{} of {entry}: {ended:?}\n{}", name(number), node.screen());
                    assert_eq!(content(other).compare(&brought).expect("it can be read"), Ok(()));
                }
            });
        }
    });
    let downloaded = begin.elapsed();
    let memory: Vec<u64> = nodes.iter().map(Node::peak_memory).collect();
    let most = memory.iter().copied().max().unwrap_or_default();
    // The supernode leaves first, each time.
    let mut slowest = Duration::ZERO;
    while nodes.len() > 1 {
        let began = Instant::now();
        let mut first = nodes.remove(0);
        first.types("Q");
        assert_eq!(first.ends(), Some(0), "{}", first.screen());
        let left = nodes.len();
        let all_know = || nodes.iter().all(|node| node.neighbours().len() == left - 1);
        wait_until(STEP_LIMIT, "those who are left to know it", all_know);
        slowest = slowest.max(began.elapsed());
        nodes[0].types(&format!("T {left} are left"));
        nodes.iter_mut().for_each(|node| node.sees(&format!(": {left} are left")));
    }
    let seconds = |time: Duration| vec![time.as_secs_f64()];
    let all = begin.elapsed();
    assert!(most < NODE_MEMORY + UNOPTIMIZED, "a node had {:.1} MiB", most as f64 / MIB as f64);
    Findings::default()
        .with("started", "s", seconds(started))
        .with("joined", "s", seconds(joined.saturating_sub(started)))
        .with("shared and listed everywhere", "s", seconds(shared.saturating_sub(joined)))
        .with("downloaded all from all", "s", seconds(downloaded.saturating_sub(shared)))
        .with("left one by one", "s", seconds(all.saturating_sub(downloaded)))
        .with("longest that leaving took, until all knew", "s", seconds(slowest))
        .with("memory of a node at most", "MiB", memory.iter().map(|bytes| *bytes as f64 / MIB as f64).collect())
}
