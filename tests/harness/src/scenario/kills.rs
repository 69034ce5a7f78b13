//! Kills of downloaders and seeders: what was verified stays, what was not is fetched again.

use std::path::Path;

use common::chunk::Layout;
use peer::command::Downloaded;

use super::{Findings, MIB, STEP_LIMIT, Scale, limit_up, uploaded};
use crate::cluster::{Cluster, ClusterConfig};
use crate::content::{Content, Dice};
use crate::peer::{Peer, PeerSpec, Ran};
use crate::wait::wait_until;

/// What a kill may cost: bytes that were under way.
const KILL_COST: u64 = 8 * MIB;
/// What may be fetched beyond the file in any case: 1 %.
const WASTE_DIVISOR: u64 = 100;
const ENTRY: &str = "film.bin";

/// Kills the one-shot downloader `rounds` times at random moments and lets it finish then.
pub(super) fn downloader_kills(scale: Scale) -> Findings {
    let cluster = ClusterConfig::default().start();
    let content = Content::random(5, scale.size);
    let seeders = seeders(&cluster, content, 2, None);
    let downloader = cluster.peer("downloader");
    let output = cluster.out(ENTRY);
    let mut dice = Dice::new(scale.seed);
    let mut kills = 0;
    for round in 0..scale.rounds {
        let sent = uploaded(&seeders);
        let left = scale.size.saturating_sub(sent);
        // A random share of what is left, such that something is left for the kills to come.
        let some = dice.below(2 * left / (u64::from(scale.rounds - round) + 1));
        let mut process = start_download(&downloader, &output);
        wait_until(STEP_LIMIT, "the download to go on", || !process.is_running() || uploaded(&seeders) >= sent + some);
        if process.poll().is_none() {
            process.kill();
            kills += 1;
        }
        assert!(
            !output.exists() || content.compare(&output).expect("it can be read").is_ok(),
            "a wrong file is visible"
        );
    }
    Ran::of(start_download(&downloader, &output), STEP_LIMIT).succeeded();
    assert_eq!(content.compare(&output).expect("it can be read"), Ok(()));
    let sent = uploaded(&seeders);
    let most = scale.size + scale.size / WASTE_DIVISOR + kills * KILL_COST;
    assert!(
        sent <= most,
        "{sent} bytes were sent for a file of {} in {kills} kills, at most {most} may be",
        scale.size
    );
    assert!(kills > 0, "no kill met a running download");
    Findings::default().with("kills", "", vec![kills as f64]).with(
        "fetched beyond the file",
        "MiB",
        vec![(sent - scale.size) as f64 / MIB as f64],
    )
}

fn start_download(downloader: &PeerSpec, output: &Path) -> crate::process::Process {
    downloader.start([Path::new("d"), Path::new(ENTRY), Path::new("-o"), output, Path::new("--json")])
}

/// Kills one of three seeders in each of `rounds` downloads.
pub(super) fn seeder_kills(scale: Scale) -> Findings {
    let cluster = ClusterConfig::default().start();
    let content = Content::random(6, scale.size);
    // Some seconds a download, so that there is a middle.
    let mut seeders = seeders(&cluster, content, 3, Some((scale.size / 6).max(MIB)));
    let mut dice = Dice::new(scale.seed + 1);
    let mut beyond = Vec::new();
    for round in 0..scale.rounds {
        let victim = usize::try_from(dice.below(seeders.len() as u64)).expect("three");
        let moment = scale.size / 8 + dice.below(scale.size / 2);
        let sent = uploaded(&seeders);
        let output = cluster.out(&format!("{round}.bin"));
        let process = start_download(&cluster.peer(&format!("downloader-{round}")), &output);
        wait_until(STEP_LIMIT, "the download to be in its middle", || uploaded(&seeders) >= sent + moment);
        seeders[victim].kill();
        let ran = Ran::of(process, STEP_LIMIT).succeeded();
        assert_eq!(content.compare(&output).expect("it can be read"), Ok(()));
        beyond.push(check_fetched(&ran, content) as f64 / MIB as f64);
        let spec = seeders[victim].spec().clone();
        // It seeds again by itself: it remembers what it shares.
        seeders[victim] = spec.serve();
        wait_until(STEP_LIMIT, "the killed seeder to seed again", || {
            seeders[0].complete_holders(ENTRY).contains(&spec.name().to_owned())
        });
    }
    Findings::default().with("fetched beyond the file", "MiB", beyond)
}

/// Checks that each chunk was verified once, and that little else came; gives the bytes beyond the file.
fn check_fetched(ran: &Ran, content: Content) -> u64 {
    let peer::command::Outcome::Downloaded(Downloaded { file, fetched_bytes, shares, .. }) = ran.json() else {
        panic!("d ended in {}", ran.stdout)
    };
    let layout = Layout::of(&file.file().expect("it is a file"));
    let verified: u64 = shares.iter().map(|share| share.bytes).sum();
    assert_eq!(verified, content.length(), "each chunk counts once: {shares:?}");
    assert!(shares.len() >= 2, "several sent something: {shares:?}");
    let beyond = fetched_bytes - content.length();
    let most = content.length() / WASTE_DIVISOR + 3 * layout.chunk_size() + KILL_COST;
    assert!(beyond <= most, "{beyond} bytes were fetched beyond the file, at most {most} may be");
    beyond
}

/// Peers that all have registered the same file.
pub(super) fn seeders(cluster: &Cluster, content: Content, count: usize, rate: Option<u64>) -> Vec<Peer> {
    let file = cluster.file(ENTRY, content);
    (0..count)
        .map(|number| {
            let spec = cluster.peer(&format!("seeder-{number}"));
            let seeder = rate.map_or_else(|| spec.clone(), |rate| spec.clone().args(limit_up(rate))).serve();
            seeder.register(&file);
            seeder
        })
        .collect()
}
