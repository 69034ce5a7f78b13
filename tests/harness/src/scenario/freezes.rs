//! Freezes: a seeder that is there and says nothing costs two seconds at most.

use std::time::{Duration, Instant};

use super::kills::seeders;
use super::{Findings, MIB, STEP_LIMIT, Scale, uploaded};
use crate::cluster::ClusterConfig;
use crate::content::Content;
use crate::peer::download;
use crate::wait::wait_until;

const ENTRY: &str = "film.bin";
const SEEDERS: u64 = 3;
const MOST_LOST: Duration = Duration::from_secs(2);

/// Stops one of three seeders in the middle of each of `rounds` downloads and counts what time that cost beyond what
/// the two others needed for the rest.
pub(super) fn seeder_freezes(scale: Scale) -> Findings {
    let cluster = ClusterConfig::default().alone().start();
    let content = Content::random(7, scale.size);
    let rate = (scale.size / SEEDERS / 2).max(MIB);
    let mut seeders = seeders(&cluster, content, 3, Some(rate));
    let mut lost = Vec::new();
    for round in 0..scale.rounds {
        let output = cluster.out(&format!("{round}.bin"));
        let downloader = cluster.peer(&format!("downloader-{round}")).serve();
        let running = downloader.start(&download(ENTRY, Some(&output)));
        wait_until(STEP_LIMIT, "the download to be in its middle", || {
            downloader.status().downloaded_bytes >= scale.size / SEEDERS
        });
        seeders[1].process().freeze();
        let (frozen, came) = (Instant::now(), downloader.status().downloaded_bytes);
        running.finish().expect("the peer answers").expect("the download succeeds");
        let took = frozen.elapsed();
        seeders[1].process().thaw();
        assert_eq!(content.compare(&output).expect("it can be read"), Ok(()));
        let needed = scale.size.saturating_sub(came) as f64 / (rate * (SEEDERS - 1)) as f64;
        let round_lost = took.as_secs_f64() - needed;
        assert!(
            round_lost <= MOST_LOST.as_secs_f64(),
            "the frozen seeder cost {round_lost:.1} s: {took:?} for {needed:.1} s"
        );
        lost.push(round_lost);
        // Thawed, it is a seeder again.
        wait_until(STEP_LIMIT, "the frozen seeder to be back", || {
            seeders[0].complete_holders(ENTRY).contains(&"seeder-1".to_owned())
        });
        downloader.stop();
    }
    assert!(uploaded(&seeders) >= scale.size, "the seeders sent it");
    Findings::default().with("lost", "s", lost)
}
