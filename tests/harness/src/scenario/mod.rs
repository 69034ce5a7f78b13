//! Scenarios: what must always work, in as many rounds and at such a size as one likes. Tests run them small, `bench soak`
//! large; both run the same code.

mod acknowledged;
mod changes;
mod chaos;
mod crowd;
mod crowd_of_nodes;
mod folders;
mod freezes;
mod kills;
mod mrt;
mod multi;
mod nat;
mod nodes;
mod resume;
mod sizes;
mod tracker_kills;
mod updates;

use std::time::Duration;

use crate::peer::Peer;

pub use crowd::{Crowd, CrowdResult, run_crowd};
pub use multi::{Multi, MultiResult, run_multi};
pub use nat::{Meetings, run_meetings};
pub use resume::{Resume, ResumeResult, run_resume};
pub use sizes::send_sizes;

/// 1 MiB.
pub const MIB: u64 = 1 << 20;
/// No process may have more resident at any size of file.
pub const MEMORY_LIMIT: u64 = 100 * MIB;
/// How long any one step may take on a busy machine.
pub(crate) const STEP_LIMIT: Duration = Duration::from_secs(100);

/// How much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// How often.
    pub rounds: u32,
    /// Bytes of the file; of a folder, its files.
    pub size: u64,
    /// What is random in it follows from this.
    pub seed: u64,
}

impl Scale {
    const fn new(rounds: u32, size: u64) -> Self {
        Self { rounds, size, seed: 1 }
    }
}

/// Something that must always work.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What `bench soak` calls it.
    pub name: &'static str,
    /// What happens, in a sentence.
    pub about: &'static str,
    /// For tests: a few seconds.
    pub small: Scale,
    /// For a soak: minutes.
    pub large: Scale,
    /// Runs it; panics where something did not work.
    pub run: fn(Scale) -> Findings,
}

/// What was measured on the way.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Findings {
    /// In the order in which they are told.
    pub figures: Vec<Measured>,
}

/// One figure, once a round or in all.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// What it is.
    pub name: &'static str,
    /// In what.
    pub unit: &'static str,
    /// The values.
    pub values: Vec<f64>,
}

impl Findings {
    fn with(mut self, name: &'static str, unit: &'static str, values: Vec<f64>) -> Self {
        self.figures.push(Measured { name, unit, values });
        self
    }
}

/// All scenarios.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "downloader-kills",
        about: "the downloader is killed at random moments, and goes on each time",
        small: Scale::new(4, 48 * MIB),
        large: Scale::new(20, 1024 * MIB),
        run: kills::downloader_kills,
    },
    Scenario {
        name: "seeder-kills",
        about: "one of three seeders is killed at a random moment of each download",
        small: Scale::new(2, 24 * MIB),
        large: Scale::new(20, 256 * MIB),
        run: kills::seeder_kills,
    },
    Scenario {
        name: "seeder-freezes",
        about: "one of three seeders is stopped (SIGSTOP) in the middle of each download",
        small: Scale::new(1, 24 * MIB),
        large: Scale::new(20, 64 * MIB),
        run: freezes::seeder_freezes,
    },
    Scenario {
        name: "tracker-kills",
        about: "the tracker is killed and started again in the middle of each download",
        small: Scale::new(2, 16 * MIB),
        large: Scale::new(20, 64 * MIB),
        run: tracker_kills::tracker_kills,
    },
    Scenario {
        name: "changes",
        about: "the seeder's file is changed, truncated, replaced or deleted in the middle of each download",
        small: Scale::new(4, 8 * MIB),
        large: Scale::new(40, 64 * MIB),
        run: changes::changes,
    },
    Scenario {
        name: "sparse",
        about: "a large file without content goes through, in little memory",
        small: Scale::new(1, 512 * MIB),
        large: Scale::new(1, 20 * 1024 * MIB),
        run: sizes::sparse,
    },
    Scenario {
        name: "updates",
        about: "new versions are on the follower's disk by themselves, and move little more than what is new",
        small: Scale::new(3, 64 * MIB),
        large: Scale::new(20, 1024 * MIB),
        run: updates::updates,
    },
    Scenario {
        name: "folders",
        about: "a folder of small files registers, arrives, and its changes follow",
        small: Scale::new(2, 300),
        large: Scale::new(5, 10_000),
        run: folders::folders,
    },
    Scenario {
        name: "acknowledged",
        about: "the tracker is killed while users sign up, register and update: what it said yes to is there",
        small: Scale::new(3, 0),
        large: Scale::new(50, 0),
        run: acknowledged::acknowledged,
    },
    Scenario {
        name: "chaos",
        about: "seeders, downloaders and the tracker are killed and started again in random order",
        small: Scale::new(6, 24 * MIB),
        large: Scale::new(100, 512 * MIB),
        run: chaos::chaos,
    },
    Scenario {
        name: "nodes",
        about: "random nodes are killed while files are downloaded: downloads that still have a holder end well",
        small: Scale::new(2, 2 * MIB),
        large: Scale::new(50, 8 * MIB),
        run: nodes::nodes,
    },
    Scenario {
        name: "nodes-at-home",
        about: "the same with nodes behind routers of all kinds, some of whose cables are cut (as root)",
        small: Scale::new(1, 2 * MIB),
        large: Scale::new(50, 8 * MIB),
        run: nodes::nodes_at_home,
    },
    Scenario {
        name: "twenty",
        about: "twenty nodes (as many as rounds) join, download all from all, and leave one by one, the supernode first",
        small: Scale::new(20, MIB / 16),
        large: Scale::new(20, 8 * MIB),
        run: crowd_of_nodes::crowd,
    },
    Scenario {
        name: "mrt",
        about: "connections on random networks in virtual time: every byte arrives, or they end with a reason",
        small: Scale::new(1000, 0),
        large: Scale::new(10_000, 0),
        run: mrt::mrt,
    },
    Scenario {
        name: "nat",
        about: "two nodes behind routers join and meet directly, within 2 s in 95 of 100 rounds",
        small: Scale::new(2, 0),
        large: Scale::new(100, 0),
        run: nat::nat,
    },
];

/// The scenario of this name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

/// Chunk bytes that these peers have sent together.
fn uploaded<'a>(peers: impl IntoIterator<Item = &'a Peer>) -> u64 {
    peers.into_iter().map(|peer| peer.status().uploaded_bytes).sum()
}

/// A rate as `--limit-up` takes it.
fn limit_up(bytes_per_sec: u64) -> [String; 2] {
    ["--limit-up".to_owned(), bytes_per_sec.to_string()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_different() {
        let names: BTreeSet<_> = ALL.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
