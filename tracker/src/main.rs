//! The tracker's program: arguments, log, signals, exit code.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;
use tracker::cli::{Args, Task};
use tracker::{Config, Server, Signals, admin};

/// As a shell says it of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let ended = Args::parse().into_task().and_then(|task| match task {
        Task::Run(config) => serve(config),
        Task::Admin { action, data, output } => admin::run(action, &data, output).map(|()| ExitCode::SUCCESS),
    });
    ended.unwrap_or_else(|error| {
        let _read = writeln!(std::io::stderr(), "tracker: {error}");
        ExitCode::FAILURE
    })
}

fn serve(config: Config) -> anyhow::Result<ExitCode> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_not_set| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.with_target(false).with_ansi(std::io::stderr().is_terminal()).init();
    let runtime = tokio::runtime::Runtime::new()?;
    let ended = runtime.block_on(run(config));
    // Nothing is waited for: after a tidy end nothing is left, and otherwise it is to end at once.
    runtime.shutdown_background();
    ended
}

async fn run(mut config: Config) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::take_over()?;
    config.max_connections = tracker::server::allow_files(config.max_connections);
    let server = tokio::select! {
        server = Server::bind(config) => server?,
        () = signals.asked() => return Ok(ExitCode::from(INTERRUPTED)),
    };
    let (address, fingerprint) = (server.local_addr(), server.fingerprint());
    // That nobody reads this is no reason to end.
    let _read = writeln!(std::io::stdout(), "tracker listening on {address} fingerprint {fingerprint}");
    tracing::info!("to join: peer --tracker HOST:{}#{fingerprint}", address.port());
    let (ask, asked) = oneshot::channel();
    let mut running = Box::pin(server.run(async { asked.await.unwrap_or_default() }));
    tokio::select! {
        ended = &mut running => return ended.map(|()| ExitCode::SUCCESS).map_err(anyhow::Error::from),
        () = signals.asked() => {}
    }
    tracing::info!("ending; Ctrl-C ends at once");
    let _running = ask.send(());
    tokio::select! {
        ended = running => ended?,
        () = signals.insisted() => return Ok(ExitCode::from(INTERRUPTED)),
    }
    Ok(ExitCode::SUCCESS)
}
