//! Updates: a new version of what is followed is on the follower's disk by itself, and moves little more than what is new.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use common::chunk::Layout;
use common::id::{FileId, Hash};

use super::{Findings, MIB, STEP_LIMIT, Scale};
use crate::cluster::{Cluster, ClusterConfig};
use crate::content::{Content, Dice};
use crate::peer::Peer;
use crate::wait::wait_until;

const ENTRY: &str = "film.bin";
/// Of a change of one contiguous percent, so much of the file may move.
const MOST_MOVED: f64 = 0.015;

/// An owner and a follower who has its file.
struct Pair {
    owner: Peer,
    follower: Peer,
    path: PathBuf,
    copy: PathBuf,
    _cluster: Cluster,
}

/// Updates a file of 1 MiB `rounds` times and says how long that took to arrive; then changes and appends to one of `size`
/// bytes, and says how much moved.
pub(super) fn updates(scale: Scale) -> Findings {
    let mut small = Pair::begin(MIB);
    let mut arrived = Vec::new();
    for round in 0..scale.rounds {
        Content::random(u64::from(round) + 100, MIB).write(&small.path).expect("it can be written");
        let start = Instant::now();
        small.update();
        arrived.push(start.elapsed().as_secs_f64());
    }
    // Just below the length from which on chunks are twice as large.
    let mut large = Pair::begin(scale.size - 2 * MIB);
    let (changed, percent) = large.change_one_percent();
    let part = changed as f64 / scale.size as f64;
    assert!(part <= MOST_MOVED, "{percent} bytes changed, {changed} moved: {part}");
    let over_appended = [large.append(MIB), large.append_across_a_doubling()];
    Findings::default()
        .with("1 MiB registered and on the follower's disk", "s", arrived)
        .with("moved for a change of 1 %", "%", vec![part * 100.0])
        .with("chunks moved beyond what was appended", "", over_appended.to_vec())
}

impl Pair {
    fn begin(size: u64) -> Self {
        let cluster = ClusterConfig::default().start();
        let (owner, follower) = (cluster.peer("owner").serve(), cluster.peer("follower").serve());
        let path = cluster.file(ENTRY, Content::random(1, size));
        owner.register(&path);
        let copy = follower.follow(ENTRY).expect("the first version comes").path;
        Self { owner, follower, path, copy, _cluster: cluster }
    }

    /// Registers what lies there now, waits until the follower has it, and gives the chunk bytes that this moved.
    fn update(&mut self) -> u64 {
        let before = self.follower.status().downloaded_bytes;
        self.owner.register(&self.path);
        wait_until(STEP_LIMIT, "the new version", || same(&self.path, &self.copy));
        self.follower.status().downloaded_bytes - before
    }

    /// Gives the bytes that moved and those that were changed.
    fn change_one_percent(&mut self) -> (u64, u64) {
        let size = length(&self.path);
        let changed = size / 100;
        // Somewhere that is no boundary of anything.
        let bytes = Dice::new(7).bytes(usize::try_from(changed).expect("it fits"));
        write_at(&self.path, &bytes, size / 3 + 12_345);
        (self.update(), changed)
    }

    /// Appends so many bytes and gives how many chunks more than those moved.
    fn append(&mut self, bytes: u64) -> f64 {
        let before = length(&self.path);
        write_at(&self.path, &Dice::new(8).bytes(usize::try_from(bytes).expect("it fits")), before);
        let moved = self.update();
        let chunk = chunk_size(before + bytes);
        assert!(moved <= bytes + chunk, "{bytes} bytes were appended and {moved} moved");
        moved.saturating_sub(bytes) as f64 / chunk as f64
    }

    /// The same so that the chunks become twice as large.
    fn append_across_a_doubling(&mut self) -> f64 {
        let (before, chunk) = (length(&self.path), chunk_size(length(&self.path)));
        let next = (chunk * 1024 + 1).max(before + 1);
        assert!(next - before < 2 * before, "the next size of chunks is near");
        let appended = self.append(next + MIB / 2 - before);
        assert!(chunk_size(length(&self.path)) > chunk, "the chunks are larger now");
        appended
    }
}

fn chunk_size(length: u64) -> u64 {
    Layout::of(&FileId::new(length, Hash([0; 32])).expect("it is short")).chunk_size()
}

fn length(path: &Path) -> u64 {
    path.metadata().expect("it is there").len()
}

fn write_at(path: &Path, bytes: &[u8], offset: u64) {
    let file = OpenOptions::new().write(true).open(path).expect("it can be opened");
    file.write_all_at(bytes, offset).expect("it can be written");
}

/// Whether two files have the same bytes; looks at the lengths and the end first, so that it may be asked often.
fn same(one: &Path, other: &Path) -> bool {
    const PART: usize = 1 << 20;
    let (Ok(one), Ok(other)) = (std::fs::File::open(one), std::fs::File::open(other)) else { return false };
    let length = |file: &std::fs::File| file.metadata().map_or(0, |metadata| metadata.len());
    if length(&one) != length(&other) {
        return false;
    }
    let (mut left, mut right) = (vec![0; PART], vec![0; PART]);
    let mut at = 0;
    while at < length(&one) {
        let part = usize::try_from(length(&one) - at).unwrap_or(PART).min(PART);
        let read = one.read_exact_at(&mut left[..part], at).and_then(|()| other.read_exact_at(&mut right[..part], at));
        if read.is_err() || left[..part] != right[..part] {
            return false;
        }
        at += part as u64;
    }
    true
}
