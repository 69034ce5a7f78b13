//! Kills of the tracker: what it acknowledged is there again, the peers come back by themselves, and downloads under way
//! take no notice.

use std::time::Duration;

use super::{Findings, MIB, STEP_LIMIT, Scale, limit_up};
use crate::cluster::ClusterConfig;
use crate::content::Content;
use crate::peer::download;
use crate::wait::wait_until;

const ENTRY: &str = "film.bin";
/// How soon all peers must be back.
const BACK_LIMIT: Duration = Duration::from_secs(5);

/// Kills the tracker in the middle of each of `rounds` downloads, looks whether the download goes on without it, and
/// starts it again.
pub(super) fn tracker_kills(scale: Scale) -> Findings {
    let cluster = ClusterConfig::default().start();
    let content = Content::random(8, scale.size);
    let file = cluster.file(ENTRY, content);
    // About four seconds a download.
    let seeder = cluster.peer("seeder").args(limit_up((scale.size / 4).max(MIB))).serve();
    seeder.register(&file);
    let mut back = Vec::new();
    for round in 0..scale.rounds {
        let small = format!("acknowledged-{round}.txt");
        seeder.register(&cluster.file(&small, Content::random(u64::from(round), 1000)));
        let output = cluster.out(&format!("{round}.bin"));
        let name = format!("downloader-{round}");
        let downloader = cluster.peer(&name).serve();
        let running = downloader.start(&download(ENTRY, Some(&output)));
        let came = || downloader.status().downloaded_bytes;
        wait_until(STEP_LIMIT, "the download to begin", || came() > scale.size / 8);
        cluster.kill_tracker();
        wait_until(STEP_LIMIT, "both to notice", || !downloader.status().connected && !seeder.status().connected);
        let before = came();
        wait_until(STEP_LIMIT, "the download to go on without a tracker", || came() >= before + scale.size / 8);
        cluster.restart_tracker();
        let took = wait_until(BACK_LIMIT, "all peers to be back", || {
            downloader.status().connected && seeder.status().connected
        });
        back.push(took.as_secs_f64());
        wait_until(BACK_LIMIT, "the seeder's chunks to be known again", || {
            seeder.complete_holders(ENTRY).contains(&"seeder".to_owned())
        });
        let entries = seeder.list();
        assert!(entries.iter().any(|entry| entry.name == small), "{small} is gone: {entries:?}");
        running.finish().expect("the peer answers").expect("the download succeeds");
        assert_eq!(content.compare(&output).expect("it can be read"), Ok(()));
        wait_until(BACK_LIMIT, "the downloader to be a seeder", || seeder.complete_holders(ENTRY).contains(&name));
        downloader.stop();
    }
    Findings::default().with("until all peers are back", "s", back)
}
