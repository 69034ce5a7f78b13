//! Sizes: files of all lengths go through byte for byte, in little memory.

use std::time::Duration;

use super::{Findings, MEMORY_LIMIT, MIB, STEP_LIMIT, Scale};
use crate::cluster::{Cluster, ClusterConfig};
use crate::content::Content;
use crate::peer::{Peer, Ran};
use crate::process::Ended;

/// Sends a file of each length from one peer to another.
pub fn send_sizes(lengths: &[u64]) {
    let cluster = Cluster::start();
    let mut seeder = cluster.peer("seeder").serve();
    for length in lengths {
        send(&cluster, &mut seeder, Content::random(*length, *length), &format!("of-{length}.bin"));
    }
}

/// Sends a file without content, `rounds` times to a new downloader.
pub(super) fn sparse(scale: Scale) -> Findings {
    let cluster = ClusterConfig::default().alone().start();
    let mut seeder = cluster.peer("seeder").serve();
    let (mut seconds, mut peaks) = (Vec::new(), Vec::new());
    for round in 0..scale.rounds {
        let name = format!("sparse-{round}.img");
        let ended = send(&cluster, &mut seeder, Content::zeros(scale.size), &name);
        seconds.push(ended.elapsed.as_secs_f64());
        peaks.push(ended.usage.peak_memory as f64 / MIB as f64);
        std::fs::remove_file(cluster.out(&name)).expect("it is there");
    }
    let peak = seeder.process().usage().peak_memory as f64 / MIB as f64;
    Findings::default().with("download", "s", seconds).with("peak of the downloader", "MiB", peaks).with(
        "peak of the seeder",
        "MiB",
        vec![peak],
    )
}

fn send(cluster: &Cluster, seeder: &mut Peer, content: Content, name: &str) -> Ended {
    let path = cluster.file(name, content);
    let registered = seeder.spec().start([std::path::Path::new("r"), &path]).wait(STEP_LIMIT);
    assert!(registered.status.success(), "{name} is registered");
    let output = cluster.out(name);
    let spec = cluster.peer(&format!("to-{}", content.length()));
    let ran =
        Ran::of(spec.start(["d", name, "-o", &output.to_string_lossy()]), limit_for(content.length())).succeeded();
    assert_eq!(content.compare(&output).expect("it can be read"), Ok(()), "{name}");
    let (here, there) = (ran.ended.usage.peak_memory, seeder.process().usage().peak_memory);
    assert!(here < MEMORY_LIMIT && there < MEMORY_LIMIT, "{name}: {} and {} MiB", here / MIB, there / MIB);
    ran.ended
}

/// Slow for any machine.
fn limit_for(length: u64) -> Duration {
    STEP_LIMIT + Duration::from_secs(length / (20 * MIB))
}
