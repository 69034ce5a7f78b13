//! Chaos: everybody is killed and started again in random order, and the file arrives all the same.

use super::kills::seeders;
use super::{Findings, MIB, STEP_LIMIT, Scale};
use crate::cluster::ClusterConfig;
use crate::content::{Content, Dice};
use crate::peer::Peer;
use crate::wait::{holds_for, wait_until};
use std::time::Duration;

const ENTRY: &str = "film.bin";
const SEEDERS: usize = 3;

/// Who is killed next.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Seeder(usize),
    Downloader,
    Tracker,
}

/// Kills somebody `rounds` times while a file is downloaded, some random time apart, and starts them again.
pub(super) fn chaos(scale: Scale) -> Findings {
    let cluster = ClusterConfig::default().start();
    let content = Content::random(12, scale.size);
    let mut seeders = seeders(&cluster, content, SEEDERS, Some((scale.size / 20).max(MIB)));
    let mut downloader = cluster.peer("downloader").serve();
    let output = cluster.out(ENTRY);
    // It goes on without us, and after each restart by itself.
    downloader.start_download_alone(ENTRY, Some(&output));
    wait_until(STEP_LIMIT, "the download to begin", || downloader.status().downloaded_bytes > 0);
    let mut dice = Dice::new(scale.seed);
    let mut kills = [0_f64; 3];
    for _ in 0..scale.rounds {
        let apart = Duration::from_millis(dice.below(500));
        holds_for(apart, || true);
        let victim = match usize::try_from(dice.below(SEEDERS as u64 + 2)).expect("a few") {
            number @ 0..SEEDERS => Victim::Seeder(number),
            SEEDERS => Victim::Downloader,
            _ => Victim::Tracker,
        };
        match victim {
            Victim::Seeder(number) => {
                kills[0] += 1.0;
                restart(&mut seeders[number]);
            }
            Victim::Downloader => {
                kills[1] += 1.0;
                restart(&mut downloader);
            }
            Victim::Tracker => {
                kills[2] += 1.0;
                cluster.kill_tracker();
                cluster.restart_tracker();
            }
        }
    }
    downloader.wait_online();
    wait_until(STEP_LIMIT, "the file under its final name", || output.exists());
    assert_eq!(content.compare(&output).expect("it can be read"), Ok(()));
    wait_until(STEP_LIMIT, "all to be seeders", || seeders[0].complete_holders(ENTRY).len() == SEEDERS + 1);
    let [of_seeders, of_downloader, of_tracker] = kills;
    Findings::default()
        .with("kills of seeders", "", vec![of_seeders])
        .with("kills of the downloader", "", vec![of_downloader])
        .with("kills of the tracker", "", vec![of_tracker])
}

fn restart(peer: &mut Peer) {
    peer.kill();
    *peer = peer.spec().clone().serve_anyhow();
}
