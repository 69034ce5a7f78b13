//! Flows: a source and a sink as processes, and what they saw.

use std::env;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use harness::emulator::Emulator;
use harness::process::{Launch, Process};
use harness::wait::wait_for;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::contestant::Contestant;
use super::end::{Listening, Moment, Received, Sent, Starting, moment};

/// An end must listen, or report once its flow is over, within this.
const PROMPT: Duration = Duration::from_secs(20);

/// Where flows run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    Loopback,
    /// From left to right.
    Emulator(&'a Emulator),
}

/// How much a flow carries.
#[derive(Debug, Clone, Copy)]
pub(super) enum Amount {
    Bytes(u64),
    Time(Duration),
}

/// A flow that runs; killed when dropped.
#[derive(Debug)]
pub(super) struct Flow {
    contestant: Contestant,
    amount: Amount,
    source: Process,
    sink: Process,
    started: Moment,
    // Last: the processes write there.
    _logs: TempDir,
}

/// What was seen of a flow that is over.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// When it began to connect.
    pub(super) started: Moment,
    samples: Vec<(Moment, u64)>,
    /// Packets that the source sent, where it can know.
    pub(super) packets: Option<u64>,
    /// Processor seconds of both processes.
    pub(super) cpu: f64,
}

impl Flow {
    /// Starts one; it connects as soon as its processes are up.
    pub(super) fn start(contestant: Contestant, amount: Amount, place: Place<'_>) -> Self {
        let logs = tempfile::Builder::new().prefix("shoal-bench-").tempdir().expect("a place for logs");
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        let (left, right) = match place {
            Place::Loopback => ((loopback, None), (loopback, None)),
            Place::Emulator(emulator) => {
                let side = |side: &harness::emulator::Side| (side.address().into(), Some(side.netns()));
                (side(emulator.left()), side(emulator.right()))
            }
        };
        let start = |name: &str, (address, netns): (IpAddr, Option<String>), rest: &[String]| {
            let program = env::current_exe().expect("a running program has a path");
            let args = [
                vec!["mrt-end".to_owned(), name.to_owned()],
                rest.to_vec(),
                vec!["--transport".to_owned(), contestant.transport.code()],
                vec!["--packet".to_owned(), contestant.packet.to_string()],
                vec!["--bind".to_owned(), address.to_string()],
                amount.args(),
            ];
            Launch::new(program).args(args.concat()).netns(netns).start(&logs.path().join(name))
        };
        let mut sink = start("sink", right, &[]);
        let listening: Listening = line(&mut sink, 0);
        let mut source = start("source", left, &["--to".to_owned(), listening.address.to_string()]);
        let Starting { started } = line(&mut source, 0);
        Self { contestant, amount, source, sink, started, _logs: logs }
    }

    /// When it began to connect.
    pub(super) const fn started(&self) -> Moment {
        self.started
    }

    /// Waits until it is over; `None` where it failed to bring all within `limit`, which is said on stderr.
    pub(super) fn finish(mut self, limit: Duration) -> Option<Seen> {
        let limit = match self.amount {
            Amount::Bytes(_) => limit,
            Amount::Time(time) => time + PROMPT,
        };
        let over = Moment::try_from(limit.as_nanos()).map_or(Moment::MAX, |limit| self.started + limit);
        let mut ended = || self.sink.poll().is_some() && self.source.poll().is_some();
        while !ended() {
            if moment() > over {
                self.complain("took too long");
                return None;
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
        let failed = |process: &mut Process| process.poll().is_none_or(|ended| !ended.status.success());
        if failed(&mut self.sink) || failed(&mut self.source) {
            self.complain("failed");
            return None;
        }
        let Received { samples, cpu: sink } = line(&mut self.sink, 1);
        let Sent { packets, cpu: source } = line(&mut self.source, 1);
        Some(Seen { started: self.started, samples, packets, cpu: sink + source })
    }

    #[expect(clippy::print_stderr, reason = "a flow that fails is told while others go on")]
    fn complain(&self, what: &str) {
        eprintln!("{} {what}: {}{}", self.contestant, self.source.stderr(), self.sink.stderr());
    }
}

impl Amount {
    fn args(self) -> Vec<String> {
        match self {
            Self::Bytes(bytes) => vec!["--bytes".to_owned(), bytes.to_string()],
            Self::Time(time) => vec!["--seconds".to_owned(), time.as_secs_f64().to_string()],
        }
    }
}

impl Seen {
    /// Seconds from the begin of the connection to the last byte.
    pub(super) fn wall(&self) -> f64 {
        self.samples.last().map_or(f64::NAN, |(end, _)| seconds(self.started, *end))
    }

    /// Bytes that came from first to last.
    pub(super) fn bytes(&self) -> u64 {
        self.samples.last().map_or(0, |(_, bytes)| *bytes)
    }

    /// Bits per second that came between two moments.
    pub(super) fn rate_between(&self, from: Moment, to: Moment) -> f64 {
        let at = |moment: Moment| self.bytes_until(moment);
        (at(to) - at(from)) * 8.0 / seconds(from, to)
    }

    /// Bytes that had come by `moment`, between two samples in proportion to the time.
    fn bytes_until(&self, moment: Moment) -> f64 {
        let after = self.samples.partition_point(|(time, _)| *time <= moment);
        let (start, before) = match after.checked_sub(1).and_then(|index| self.samples.get(index)) {
            Some((time, bytes)) => (*time, *bytes as f64),
            None => (self.started, 0.0),
        };
        let Some((time, bytes)) = self.samples.get(after) else { return before };
        before + (*bytes as f64 - before) * seconds(start, moment) / seconds(start, *time)
    }
}

/// Seconds between two moments.
pub(super) fn seconds(from: Moment, to: Moment) -> f64 {
    to.saturating_sub(from) as f64 / 1e9
}

/// Line number `number` of what `process` prints, as soon as it is there.
fn line<T: DeserializeOwned>(process: &mut Process, number: usize) -> T {
    wait_for(PROMPT, "the word of an end", || {
        let stdout = process.stdout();
        let line = stdout.split_inclusive('\n').nth(number).filter(|line| line.ends_with('\n'));
        let told = line.map(|line| serde_json::from_str(line).expect("an end prints JSON"));
        assert!(told.is_some() || process.is_running(), "an end of a flow failed: {}", process.stderr());
        told
    })
}
