//! The tracker's program: arguments, log, signals, exit code.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracker::Server;
use tracker::cli::Args;

/// As a shell says it of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_not_set| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.with_target(false).with_ansi(colours).init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let code = runtime.block_on(async {
        tokio::select! {
            result = run(args) => result.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS),
            () = second_interrupt() => ExitCode::from(INTERRUPTED),
        }
    });
    // Nothing is waited for: after a tidy end nothing is left, and a second Ctrl-C means at once.
    runtime.shutdown_background();
    code
}

async fn run(args: Args) -> anyhow::Result<()> {
    let mut config = args.into_config()?;
    config.max_connections = tracker::server::allow_files(config.max_connections);
    let server = Server::bind(config).await?;
    let (address, fingerprint) = (server.local_addr(), server.fingerprint());
    // Nobody may be reading this, and that is no reason to end.
    let _read = writeln!(std::io::stdout(), "tracker listening on {address} fingerprint {fingerprint}");
    tracing::info!("to join: peer --tracker HOST:{}#{fingerprint}", address.port());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("ending; Ctrl-C once more ends at once");
    };
    server.run(shutdown).await?;
    Ok(())
}

async fn second_interrupt() {
    let Ok(mut interrupt) = signal(SignalKind::interrupt()) else { return std::future::pending().await };
    interrupt.recv().await;
    interrupt.recv().await;
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let _read = writeln!(std::io::stderr(), "tracker: {error}");
    ExitCode::FAILURE
}
