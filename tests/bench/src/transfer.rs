//! `transfer`: one seeder to one downloader over loopback, encrypted and verified, beside rivals in the same run.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use harness::cluster::{Cluster, ClusterConfig};
use harness::peer::Peer;
use harness::process::Usage;
use harness::wait::wait_for;

use crate::Options;
use crate::report::{Report, Row};
use crate::rivals::{Absent, Arena, Aria2, Checked, Contestant, Curl, LIMIT, Round, used_since};

/// The first row, which all others are compared with.
const SHOAL: &str = "Shoal, TLS, verified";

/// Runs all that are here in turns.
pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let (size, rounds) = (options.size_or(1 << 30), options.rounds_or(5));
    let place = options.place.clone().unwrap_or_else(std::env::temp_dir);
    let arena = Arena::new(&place, size).context("could not make the file")?;
    let mut report = Report::new(
        "transfer",
        format!(
            "{} MiB over loopback, {rounds} rounds in turns, median (lowest to highest); from the start of the \
             downloading process to the whole file under its name, no sync awaited.",
            size >> 20
        ),
    );
    let mut contestants: Vec<Box<dyn Contestant>> = vec![Box::new(Shoal::start(&arena)?)];
    let mut enter = |entrant: io::Result<Result<Box<dyn Contestant>, Absent>>| -> anyhow::Result<()> {
        match entrant.context("could not set up a rival")? {
            Ok(contestant) => contestants.push(contestant),
            Err(Absent(why)) => report.note(format!("Skipped: {why}.")),
        }
        Ok(())
    };
    enter(Curl::start(&arena, Checked::Not).map(boxed))?;
    enter(Curl::start(&arena, Checked::Sha256).map(boxed))?;
    enter(Aria2::start(&arena).map(boxed))?;
    let measured = race(&arena, &mut contestants, rounds)?;
    for (contestant, results) in contestants.iter().zip(&measured) {
        report.row(row(contestant.name(), size, results, &measured[0]));
    }
    report.note("Times: how many times as fast as this row Shoal was, round by round.");
    Ok(report)
}

fn boxed<T: Contestant + 'static>(entrant: Result<T, Absent>) -> Result<Box<dyn Contestant>, Absent> {
    entrant.map(|contestant| Box::new(contestant) as Box<dyn Contestant>)
}

/// The rounds of each contestant, after one that does not count: it warms caches and disk.
fn race(arena: &Arena, contestants: &mut [Box<dyn Contestant>], rounds: u32) -> anyhow::Result<Vec<Vec<Round>>> {
    let mut measured = vec![Vec::new(); contestants.len()];
    for number in 0..=rounds {
        for (contestant, results) in contestants.iter_mut().zip(&mut measured) {
            let output = arena.dir().join("output.bin");
            // What is still to be written from the round before is not this one's work.
            rustix::fs::sync();
            let round = contestant.round(&output);
            let compared = arena.content().compare(&output)?;
            anyhow::ensure!(compared.is_ok(), "{} brought another file: {compared:?}", contestant.name());
            fs::remove_file(&output)?;
            if number > 0 {
                results.push(round);
            }
        }
    }
    Ok(measured)
}

fn row(name: String, size: u64, results: &[Round], shoal: &[Round]) -> Row {
    const MIB: f64 = 1_048_576.0;
    let of = |figure: fn(&Round) -> f64| results.iter().map(figure).collect::<Vec<f64>>();
    let speeds = results.iter().map(|round| size as f64 / 1e6 / round.wall.as_secs_f64());
    let ratios = results.iter().zip(shoal).map(|(other, own)| other.wall.as_secs_f64() / own.wall.as_secs_f64());
    let is_shoal = name == SHOAL;
    Row::new(name)
        .figure("wall", "s", 2, of(|round| round.wall.as_secs_f64()))
        .figure("speed", "MB/s", 0, speeds)
        .figure("times", "", 2, ratios.filter(|_| !is_shoal))
        .figure("CPU seeder", "s", 2, of(|round| round.seeder.cpu.as_secs_f64()))
        .figure("CPU downloader", "s", 2, of(|round| round.downloader.cpu.as_secs_f64()))
        .figure("peak seeder", "MiB", 0, of(|round| round.seeder.peak_memory as f64 / MIB))
        .figure("peak downloader", "MiB", 0, of(|round| round.downloader.peak_memory as f64 / MIB))
}

/// A tracker, a `peer serve` that has the file, and a one-shot `peer d` each round.
#[derive(Debug)]
struct Shoal {
    // Ends before the cluster.
    seeder: Peer,
    cluster: Cluster,
    rounds: u32,
}

impl Shoal {
    fn start(arena: &Arena) -> anyhow::Result<Self> {
        let cluster = ClusterConfig::default().alone().place(Some(arena.corner("shoal")?)).start();
        let seeder = cluster.peer("seeder").serve();
        seeder.register(&arena.file());
        Ok(Self { seeder, cluster, rounds: 0 })
    }
}

impl Contestant for Shoal {
    fn name(&self) -> String {
        SHOAL.to_owned()
    }

    fn round(&mut self, output: &Path) -> Round {
        self.rounds += 1;
        let spec = self.cluster.peer(&format!("downloader-{}", self.rounds));
        let before: Usage = self.seeder.process().tree_usage();
        let start = Instant::now();
        let mut downloader = spec.start([Path::new("d"), Path::new("file.bin"), Path::new("-o"), output]);
        let wall = wait_for(LIMIT, "the file under its final name", || {
            let there = output.exists();
            assert!(there || downloader.is_running(), "the downloader failed: {}", downloader.stderr());
            there.then(|| start.elapsed())
        });
        let ended = downloader.wait(LIMIT);
        assert!(ended.status.success(), "the downloader ended with {}: {}", ended.status, downloader.stderr());
        Round { wall, seeder: used_since(self.seeder.process(), before), downloader: ended.usage }
    }
}
