//! Ends: the two processes of a flow, `bench mrt-end sink` that receives and `bench mrt-end source` that sends, so that
//! what each side costs is the cost of a process. They tell what they saw as lines of JSON.

mod load;
mod meter;
mod mrt;
mod quic;
mod tcp;
mod udp;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::contestant::Transport;
use load::Load;
use meter::Meter;

/// Threads of each end's runtime: the same for all.
const WORKERS: usize = 2;
/// A sink waits for its source, which starts later, for so much longer than the flow should last.
const SLACK: Duration = Duration::from_secs(5);
/// Bytes that are handed to the transport at a time, and asked for.
const PIECE: usize = 256 << 10;

/// One end of a flow
#[derive(Debug, Clone, Args)]
pub(crate) struct EndArgs {
    #[command(subcommand)]
    role: Role,
    /// Over what
    #[arg(long, global = true, default_value = "tcp-bbr")]
    transport: Transport,
    /// Largest datagram
    #[arg(long, global = true, value_name = "BYTES", default_value_t = super::contestant::INTERNET_PACKET)]
    packet: u16,
    /// This end's address
    #[arg(long, global = true, value_name = "IP", default_value = "127.0.0.1")]
    bind: IpAddr,
    /// How long to send or to receive
    #[arg(long, global = true, value_name = "SECS")]
    seconds: Option<f64>,
    /// How much to send or to receive
    #[arg(long, global = true, value_name = "BYTES")]
    bytes: Option<u64>,
}

#[derive(Debug, Clone, Subcommand)]
enum Role {
    /// Receives
    Sink,
    /// Sends
    Source {
        /// Where the sink is
        #[arg(long, value_name = "ADDR")]
        to: SocketAddr,
    },
}

/// Nanoseconds of a clock that all processes of this machine share.
pub(super) type Moment = u64;

/// The first line of a sink.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Listening {
    pub(super) address: SocketAddr,
}

/// The last line of a sink.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Received {
    /// How many bytes had come at which moment, up to the last.
    pub(super) samples: Vec<(Moment, u64)>,
    /// Processor time of the process, in seconds.
    pub(super) cpu: f64,
}

/// The first line of a source.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Starting {
    /// When it began to connect.
    pub(super) started: Moment,
}

/// The last line of a source.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Sent {
    /// Packets that it sent, where it can know.
    pub(super) packets: Option<u64>,
    /// Processor time of the process, in seconds.
    pub(super) cpu: f64,
}

/// Plays one end and prints what it saw.
pub(crate) fn run(args: &EndArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    runtime.block_on(args.run())
}

impl EndArgs {
    async fn run(&self) -> anyhow::Result<()> {
        let time = self.seconds.map(Duration::from_secs_f64);
        match self.role {
            Role::Sink => {
                let mut meter = Meter::new(self.bytes);
                let announce = |address| tell(&Listening { address });
                let receiving = async {
                    match self.transport {
                        Transport::TcpCubic | Transport::TcpBbr => tcp::sink(self, announce, &mut meter).await,
                        Transport::QuinnCubic | Transport::QuinnBbr => quic::sink(self, announce, &mut meter).await,
                        Transport::Mrt | Transport::MrtFair => mrt::sink(self, announce, &mut meter).await,
                    }
                };
                match time {
                    None => receiving.await?,
                    // How a flow that lasts for some time ends does not matter. The source ends it; that may be lost.
                    Some(time) => drop(tokio::time::timeout(time + SLACK, receiving).await),
                }
                tell(&Received { samples: meter.into_samples(), cpu: processor_time() })
            }
            Role::Source { to } => {
                let load = match (time, self.bytes) {
                    (Some(time), _) => Load::time(time),
                    (None, bytes) => Load::bytes(bytes.context("say --seconds or --bytes")?),
                };
                tell(&Starting { started: moment() })?;
                let packets = match self.transport {
                    Transport::TcpCubic | Transport::TcpBbr => tcp::source(self, to, load).await?,
                    Transport::QuinnCubic | Transport::QuinnBbr => quic::source(self, to, load).await?,
                    Transport::Mrt | Transport::MrtFair => mrt::source(self, to, load).await?,
                };
                tell(&Sent { packets, cpu: processor_time() })
            }
        }
    }
}

#[expect(clippy::print_stdout, reason = "this is how the ends report")]
fn tell(what: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(what)?);
    Ok(())
}

/// Now.
pub(super) fn moment() -> Moment {
    nanos(ClockId::Monotonic)
}

fn processor_time() -> f64 {
    nanos(ClockId::ProcessCPUTime) as f64 / 1e9
}

fn nanos(clock: ClockId) -> u64 {
    const PER_SEC: u64 = 1_000_000_000;
    let time = clock_gettime(clock);
    let part = |number: i64| u64::try_from(number).expect("these clocks start at 0");
    part(time.tv_sec) * PER_SEC + part(time.tv_nsec)
}
