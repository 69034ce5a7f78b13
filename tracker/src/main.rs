//! The tracker's program: arguments, log, signals, exit code.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;
use tracker::cli::Args;
use tracker::{Server, Signals};

/// As a shell says it of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_not_set| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.with_target(false).with_ansi(std::io::stderr().is_terminal()).init();
    let ended = tokio::runtime::Runtime::new().map_err(anyhow::Error::from).and_then(|runtime| {
        let ended = runtime.block_on(run(args));
        // Nothing is waited for: after a tidy end nothing is left, and otherwise it is to end at once.
        runtime.shutdown_background();
        ended
    });
    ended.unwrap_or_else(|error| {
        let _read = writeln!(std::io::stderr(), "tracker: {error}");
        ExitCode::FAILURE
    })
}

async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::take_over()?;
    let mut config = args.into_config()?;
    config.max_connections = tracker::server::allow_files(config.max_connections);
    let server = tokio::select! {
        server = Server::bind(config) => server?,
        () = signals.asked() => return Ok(ExitCode::from(INTERRUPTED)),
    };
    let (address, fingerprint) = (server.local_addr(), server.fingerprint());
    // Nobody may be reading this, and that is no reason to end.
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
