//! The demo: the whole thing on one machine. A tracker, seeders and a downloader, each with its own key, directory and
//! port, over real sockets; only this folder uses the `tracker` library.

mod file;
mod report;
mod scratch;
mod stage;

use std::io::{self, IsTerminal as _};
use std::time::Instant;

use tokio::sync::mpsc;

use self::report::{Paint, Report};
use self::scratch::Scratch;
use self::stage::Stage;
use crate::cli::DemoArgs;
use crate::command::{Command, Downloaded, Failure, FailureKind, Follow, Outcome, Progress, Update, hash_file};
use crate::config::Colours;
use crate::oneshot::Run;
use crate::shell::render::{self, Format, Printed};
use crate::shell::{Sink as _, Streams};

/// The file's name in the demo.
const NAME: &str = "demo.bin";
/// The temporary directory holds the file twice, and some more: state of the peers, file system.
const ROOM_BESIDE: u64 = 64 << 20;
/// How long a download may stand still before the demo gives up, seconds.
const WAIT_SECS: u64 = 10;
/// Updates under way to the progress bar; what finds no room is dropped.
const QUEUE: usize = 256;
/// Percent between progress lines where there is no terminal.
const LINE_EVERY: u64 = 10;

/// Plays the demo; gives the exit code.
pub(crate) async fn run(arguments: DemoArgs, run: &mut Run<'_>) -> io::Result<u8> {
    let scratch = match Scratch::make().and_then(|scratch| check_room(&scratch, arguments.size).map(|()| scratch)) {
        Ok(scratch) => scratch,
        Err(failure) => return run.fail(&failure),
    };
    let mut stage = Stage::new(scratch);
    let ended = {
        let (streams, signals) = (&mut run.streams, &mut run.signals);
        let coloured = io::stdout().is_terminal() && run.config.colours == Colours::OnTerminal;
        let paint = if coloured { Paint::Coloured } else { Paint::Plain };
        let mut lines = Lines { streams, format: run.printing.format, paint };
        tokio::select! {
            ended = Box::pin(play(arguments, &mut stage, &mut lines)) => ended,
            _ = signals.next() => Err(Failure::new(FailureKind::Cancelled, "the demo was cancelled").into()),
        }
    };
    run.streams.end_progress();
    stage.strike().await;
    match ended {
        Ok(()) => Ok(0),
        Err(Stopped::Failed(failure)) => run.fail(&failure),
        Err(Stopped::Output(error)) => Err(error),
    }
}

/// Why the demo did not come to its end.
enum Stopped {
    Failed(Failure),
    /// Nobody reads what is printed.
    Output(io::Error),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Where the demo tells what happens; with JSON only its end counts.
struct Lines<'a> {
    streams: &'a mut Streams,
    format: Format,
    paint: Paint,
}

impl Lines<'_> {
    fn say(&mut self, text: impl Into<String>) -> io::Result<()> {
        match self.format {
            Format::Text => self.streams.print(&[Printed::Data(text.into())]),
            Format::Json => Ok(()),
        }
    }

    fn tell(&mut self, label: &str, text: impl std::fmt::Display) -> io::Result<()> {
        self.say(format!("  {} {text}", report::label(label, self.paint)))
    }
}

async fn play(arguments: DemoArgs, stage: &mut Stage, lines: &mut Lines<'_>) -> Result<(), Stopped> {
    let size = render::bytes(arguments.size);
    let seeders = if arguments.seeders == 1 { "1 seeder".to_owned() } else { format!("{} seeders", arguments.seeders) };
    lines.say(format!("A tracker, {seeders} and a downloader on this machine, over real sockets."))?;
    lines.say("")?;

    let made = Instant::now();
    let source = stage.path(NAME);
    file::make(&source, arguments.size).await?;
    lines.tell("file", format_args!("{NAME}, {size} of random bytes, made in {}", seconds(made)))?;

    let tracker = stage.start_tracker().await?;
    lines.tell("tracker", format_args!("{}, key {}", tracker.address, tracker.fingerprint))?;

    let registered = Instant::now();
    for seeder in stage.start_seeders(usize::from(arguments.seeders), &source, NAME).await? {
        lines.tell(&seeder.name, format_args!("{}, registered {NAME}", seeder.address))?;
    }
    lines.tell("", format_args!("all of them hashed it first, in {}", seconds(registered)))?;

    let download = download(stage, lines).await?;
    let (source, result) = tokio::join!(check(&source), check(&download.path));
    let report = Report::new(stage.names(), &download, source?, result?);
    match lines.format {
        Format::Text => report.lines(lines.paint).into_iter().try_for_each(|line| lines.say(line))?,
        Format::Json => lines.streams.print(&[Printed::Data(report.json())])?,
    }
    report.verdict().map_err(Stopped::Failed)
}

async fn download(stage: &mut Stage, lines: &mut Lines<'_>) -> Result<Downloaded, Stopped> {
    let downloader = stage.start_downloader().await?;
    lines.tell(&downloader.name(), format_args!("{}, download it from all at once", downloader.local_addr()))?;
    lines.say("")?;
    let (updates, mut incoming) = mpsc::channel(QUEUE);
    let command = Command::Download {
        entry: NAME.to_owned(),
        only: Vec::new(),
        follow: Follow::No,
        output: None,
        wait_secs: Some(WAIT_SECS),
    };
    let mut running = std::pin::pin!(downloader.run(command, updates));
    let mut told = 0;
    let ended = loop {
        tokio::select! {
            biased;
            Some(update) = incoming.recv() => match update {
                Update::Progress(progress) => show(&progress, &mut told, lines)?,
                Update::Notice(_) => {}
            },
            ended = &mut running => break ended,
        }
    };
    lines.streams.end_progress();
    if told > 0 {
        lines.say("")?;
    }
    match ended? {
        Outcome::Downloaded(download) => Ok(download),
        other => unreachable!("a download ended in {other:?}"),
    }
}

/// A bar on a terminal, else a line every ten percent.
fn show(progress: &Progress, told: &mut u64, lines: &mut Lines<'_>) -> io::Result<()> {
    if lines.streams.shows_progress() {
        lines.streams.progress(progress);
        return Ok(());
    }
    let step = (progress.bytes * 100).checked_div(progress.bytes_total).unwrap_or(0) / LINE_EVERY;
    if step > *told {
        *told = step;
        lines.say(format!("  {:<9} {}", "", render::progress_details(progress)))?;
    }
    Ok(())
}

/// File id and SHA-256 of what is on disk, read again.
async fn check(path: &std::path::Path) -> Result<report::Checked, Failure> {
    let (updates, _nobody) = mpsc::channel(1);
    match hash_file(path.to_path_buf(), updates).await? {
        Outcome::Hashed { file, sha256, .. } => Ok(report::Checked { file, sha256 }),
        other => unreachable!("a hashing ended in {other:?}"),
    }
}

fn check_room(scratch: &Scratch, size: u64) -> Result<(), Failure> {
    let needed = size.saturating_mul(2).saturating_add(ROOM_BESIDE);
    let free = scratch.free_bytes()?;
    if needed <= free {
        return Ok(());
    }
    let path = scratch.path().parent().unwrap_or_else(|| scratch.path()).display();
    let (needed, free) = (render::bytes(needed), render::bytes(free));
    Err(Failure::new(FailureKind::Failed, format!("the demo needs {needed} in {path}, where {free} are free"))
        .with_hint("a smaller --size will do, or another directory in $TMPDIR"))
}

fn seconds(since: Instant) -> String {
    format!("{:.1} s", since.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Environment, parse_arguments};
    use crate::config::Config;
    use crate::shell::Printing;
    use crate::shell::render::Detail;
    use crate::signals::Signals;
    use crate::tasks::Tasks;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    async fn played(arguments: DemoArgs) -> String {
        let environment = Environment { data_home: Some("/nowhere".into()), ..Environment::default() };
        let config = Config::check(&parse_arguments(["peer".into()]).unwrap().options, &environment).unwrap();
        let said = Kept::default();
        let mut run = Run {
            config: &config,
            streams: Streams::plain(said.clone(), said.clone()),
            printing: Printing { format: Format::Text, detail: Detail::Brief },
            signals: Signals::listen().unwrap(),
            tasks: Tasks::new(),
        };
        let code = Box::pin(super::run(arguments, &mut run)).await.unwrap();
        let said = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
        assert_eq!(code, 0, "{said}");
        said
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sizes_and_seeders_at_the_edges_come_to_a_good_end() {
        for (size, seeders) in [(0, 1), (1, 3), (16_385, 16), (3 << 20, 2)] {
            let said = played(DemoArgs { size, seeders }).await;
            for part in ["tracker ", "ann ", "you ", " verified\n", " the same as the source's\n", " MB/s: "] {
                assert!(said.contains(part), "{part:?} with {size} bytes of {seeders}: {said}");
            }
            assert_eq!(said.matches("registered demo.bin").count(), usize::from(seeders), "{said}");
        }
    }
}
