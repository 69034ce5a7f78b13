//! The program: what was asked for, run in the right face, and its exit code.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use common::secret::Secret;
use tokio::io::BufReader;

use crate::api::ApiClient;
use crate::app::{GroupConfig, Unfinished};
use crate::backend::{Backend, Notices};
use crate::cli::{self, Cli, CliVerb, DEFAULT_WAIT_SECS, Environment, MrtArgs, NotACommand};
use crate::command::{Failure, FailureKind};
use crate::config::{Colours, Config};
use crate::demo;
use crate::host::{Host, Peer};
use crate::logging::Log;
use crate::node::{self, DiscoveryRule};
use crate::oneshot::{Run, TRACKER_PATIENCE};
use crate::shell::interactive::{self, Afterwards, Left, Setup, Shell};
use crate::shell::questions::{self, Answers, PublicAddress};
use crate::shell::render::{self, Detail, Format, Printed};
use crate::shell::{Dialect, Printing, Sink as _, Streams, Surroundings, Todo, pipe, todo};
use crate::signals::Signals;
use crate::tasks::Tasks;

/// How long threads that wait for the terminal or for a disk may hold up the end.
const LAST_THREADS: Duration = Duration::from_millis(200);
/// How long the first prompt waits for the tracker.
const GREETING_PATIENCE: Duration = Duration::from_secs(3);
/// More STUN servers tell nothing new: two show whether a router gives each of them another port.
const MOST_STUN_SERVERS: usize = 2;

/// Runs the program with these arguments.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let environment = Environment::of_this_process();
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // A program that asks for JSON reads why its arguments will not do as well.
    let format = if arguments.iter().any(|argument| argument == "--json") { Format::Json } else { Format::Text };
    let mut streams = Streams::of_this_process(environment.colours);
    match start(arguments, &environment) {
        Ok(code) => ExitCode::from(code),
        Err(NotACommand::Show(text)) => {
            let lines: Vec<Printed> = text.trim_end().lines().map(|line| Printed::Data(line.to_owned())).collect();
            let _nobody_reads = streams.print(&lines);
            ExitCode::SUCCESS
        }
        Err(NotACommand::Wrong(failure)) => {
            let _nobody_reads = streams.print(&render::failure(&failure, format));
            ExitCode::from(failure.kind.exit_code())
        }
    }
}

fn start(arguments: impl IntoIterator<Item = OsString>, environment: &Environment) -> Result<u8, NotACommand> {
    let cli = cli::parse_arguments(arguments)?;
    let mut config = Config::check(&cli.options, environment).map_err(wrong)?;
    if let Some(CliVerb::Mrt(arguments)) = &cli.action {
        if arguments.new_network_key {
            let key = node::new_network_key().map_err(|error| wrong(failed(&error)))?;
            return Err(NotACommand::Show(key));
        }
        config.app.group = Some(group_of(arguments).map_err(wrong)?);
    }
    let log = Log::start(&config.log_filter).map_err(|text| wrong(Failure::new(FailureKind::Usage, text)))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| wrong(Failure::new(FailureKind::Failed, format!("could not start threads: {error}"))))?;
    let code = runtime.block_on(Box::pin(dispatch(cli, &config, &log)));
    runtime.shutdown_timeout(LAST_THREADS);
    match code {
        Ok(code) => Ok(code),
        // Whoever read the output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        Err(error) => Err(wrong(Failure::new(FailureKind::Failed, error.to_string()))),
    }
}

/// The network that a node is to be in.
fn group_of(arguments: &MrtArgs) -> Result<GroupConfig, Failure> {
    if arguments.stun.len() > MOST_STUN_SERVERS {
        let text = format!("--stun is given more than {MOST_STUN_SERVERS} times");
        return Err(Failure::new(FailureKind::Usage, text).with_hint("two say all that can be found out"));
    }
    let from_file = arguments.network_key_file.as_ref().map(|path| {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::new(
                FailureKind::Usage,
                format!("the network key could not be read from {}: {error}", path.display()),
            )
        })?;
        Secret::new(text.lines().next().unwrap_or_default().to_owned())
            .map_err(|error| Failure::new(FailureKind::Usage, error.to_string()))
    });
    let key = from_file.transpose()?.or_else(|| arguments.network_key.clone());
    let psk = node::network_psk(key.as_ref().map(Secret::reveal)).map_err(|error| failed(&error))?;
    let discovery = if arguments.no_discovery { DiscoveryRule::Off } else { DiscoveryRule::On };
    Ok(GroupConfig { psk, stun: arguments.stun.clone(), discovery, hold: arguments.hold })
}

fn failed(error: &dyn std::error::Error) -> Failure {
    Failure::new(FailureKind::Failed, error.to_string())
}

fn wrong(failure: Failure) -> NotACommand {
    NotACommand::Wrong(Box::new(failure))
}

async fn dispatch(cli: Cli, config: &Config, log: &Log) -> io::Result<u8> {
    let tasks = Tasks::new();
    let mut signals = Signals::listen()?;
    let answered = tokio::select! {
        answered = with_answers(config, &tasks) => answered?,
        _ = signals.next() => {
            let _terminal_gone = io::stderr().write_all(b"\n");
            return Ok(FailureKind::Cancelled.exit_code());
        }
    };
    let Some(config) = &answered else { return Ok(0) };
    // Without a terminal to draw progress on, each chunk has its line.
    let detail = if io::stderr().is_terminal() { config.detail } else { config.detail.max(Detail::Chunks) };
    let mut run = Run {
        config,
        streams: Streams::of_this_process(config.colours),
        printing: Printing { format: config.format, detail },
        signals,
        tasks: tasks.clone(),
    };
    let code = match cli.action {
        Some(CliVerb::Serve) => Box::pin(run.serve()).await,
        Some(CliVerb::Demo(arguments)) => Box::pin(demo::run(arguments, &mut run)).await,
        Some(CliVerb::Verb(verb)) => {
            let surroundings = Surroundings { wait: Some(DEFAULT_WAIT_SECS), home: None, dialect: Dialect::Tracker };
            match todo(verb, config.format == Format::Json, &surroundings) {
                Ok(Todo::Run(job)) => Box::pin(run.job(job)).await,
                Ok(Todo::Account(job)) => Box::pin(run.account(&job)).await,
                Err(failure) => run.fail(&failure),
            }
        }
        Some(CliVerb::Mrt(_)) | None => Box::pin(shell(&mut run, log)).await,
    };
    tasks.shutdown().await;
    code
}

/// The configuration of a node, after a person at a terminal was asked for what is not given; `None` where the person would
/// rather leave.
async fn with_answers(config: &Config, tasks: &Tasks) -> io::Result<Option<Config>> {
    let mut config = config.clone();
    let is_asked = is_interactive() && !config.given.contains(&"--listen");
    // Another shell on a node that runs starts none.
    let Some(group) = config.app.group.as_mut().filter(|_| is_asked) else { return Ok(Some(config)) };
    if ApiClient::find(&config.places, tasks).await.is_some() {
        return Ok(Some(config));
    }
    let public = if group.stun.is_empty() { PublicAddress::Ask } else { PublicAddress::Given };
    let Some(Answers { listen, stun }) = questions::ask(public).await? else { return Ok(None) };
    config.app.listen = listen;
    group.stun.extend(stun);
    Ok(Some(config))
}

fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// The shell, in the form that fits what stdin and stdout are.
async fn shell(run: &mut Run<'_>, log: &Log) -> io::Result<u8> {
    let interactive = is_interactive();
    let unfinished = if interactive { Unfinished::Resume } else { Unfinished::Leave };
    let peer = match Peer::find_or_start(run.config, unfinished, &run.tasks).await {
        Ok(peer) => peer,
        Err(failure) => return run.fail(&failure),
    };
    match peer {
        Peer::There(client) => {
            if let Err(failure) = run.check_running(&client).await {
                return run.fail(&failure);
            }
            if interactive { prompt_there(run, client, log).await } else { pipe(run, &client, None).await }
        }
        Peer::Here(host) => {
            let code = if interactive { prompt_here(run, &host, log).await } else { pipe_here(run, &host).await };
            host.shutdown().await;
            code
        }
    }
}

async fn pipe_here(run: &mut Run<'_>, host: &Host) -> io::Result<u8> {
    let mut notices = Notices::Here(host.app.notices());
    match run.connect(host, &mut notices, TRACKER_PATIENCE).await? {
        Some(Ok(_)) => {
            let code = pipe(run, &host.app, Some(&mut notices)).await?;
            run.linger(host, code).await?;
            Ok(code)
        }
        Some(Err(failure)) if failure.kind == FailureKind::LoginRequired => {
            // A line may log in; each that needs it says so.
            pipe(run, &host.app, Some(&mut notices)).await
        }
        Some(Err(failure)) => run.fail(&failure),
        None => Ok(FailureKind::Cancelled.exit_code()),
    }
}

async fn pipe<B: Backend>(run: &mut Run<'_>, backend: &B, notices: Option<&mut Notices>) -> io::Result<u8> {
    let surroundings =
        Surroundings { wait: Some(DEFAULT_WAIT_SECS), home: run.config.home.clone(), dialect: dialect(run.config) };
    let input = BufReader::new(tokio::io::stdin());
    let code = tokio::select! {
        code = pipe::run(input, backend, notices, &surroundings, run.printing, &mut run.streams) => Some(code),
        _ = run.signals.next() => None,
        () = backend.ended() => None,
    };
    if let Some(code) = code {
        return code;
    }
    run.streams.end_progress();
    run.fail(&Failure::new(FailureKind::Cancelled, "interrupted; what has come of a download is kept"))
}

async fn prompt_here(run: &mut Run<'_>, host: &Host, log: &Log) -> io::Result<u8> {
    let mut notices = Notices::Here(host.app.notices());
    let greeting = match run.connect(host, &mut notices, GREETING_PATIENCE).await? {
        Some(Ok(welcome)) if run.config.app.group.is_some() => {
            let listen = host.app.local_addr();
            vec![Printed::Talk(format!(
                "You are {}; this node listens at {listen}. `C ADDR PORT` connects.",
                welcome.name
            ))]
        }
        Some(Ok(welcome)) => {
            let others = match welcome.peers {
                0 | 1 => "nobody else is online".to_owned(),
                2 => "1 other peer is online".to_owned(),
                peers => format!("{} other peers are online", peers - 1),
            };
            vec![Printed::Talk(format!("You are {} on {}; {others}.", welcome.name, host.app.tracker()))]
        }
        Some(Err(failure)) if failure.kind == FailureKind::NoTracker => {
            let mut lines = render::failure(&failure, Format::Text);
            lines.push(Printed::Talk("It is tried again and again; what needs no tracker works meanwhile.".to_owned()));
            lines
        }
        Some(Err(failure)) if failure.kind == FailureKind::LoginRequired => {
            vec![Printed::Talk(format!("Not on the network: {failure}. Here, without `peer`."))]
        }
        Some(Err(failure)) => return run.fail(&failure),
        None => return Ok(FailureKind::Cancelled.exit_code()),
    };
    let setup = setup(run, greeting, &host.app.name(), Afterwards::Kept);
    let shell = Shell { backend: host.app.clone(), notices, setup };
    let left = interactive::run(shell, &mut run.signals, log, &run.tasks).await?;
    Ok(exit_code(left))
}

async fn prompt_there(run: &mut Run<'_>, client: ApiClient, log: &Log) -> io::Result<u8> {
    let (status, notices) = match tokio::join!(client.status(), client.notices()) {
        (Ok(status), Ok(notices)) => (status, notices),
        (Err(failure), _) | (_, Err(failure)) => return run.fail(&failure),
    };
    let greeting = vec![Printed::Talk(format!(
        "This is another shell on the peer that runs on {}: {} on {}.",
        status.dir.display(),
        status.name,
        status.tracker
    ))];
    let setup = setup(run, greeting, &status.name, Afterwards::GoOn);
    let shell = Shell { backend: client, notices, setup };
    let left = interactive::run(shell, &mut run.signals, log, &run.tasks).await?;
    Ok(exit_code(left))
}

fn setup(run: &Run<'_>, greeting: Vec<Printed>, name: &str, afterwards: Afterwards) -> Setup {
    let config = run.config;
    let mut greeting = greeting;
    greeting.push(Printed::Talk("`help` lists the commands, `q` leaves.".to_owned()));
    Setup {
        greeting,
        prompt: interactive::prompt_of(name),
        history: config.app.dir.history(),
        surroundings: Surroundings { wait: None, home: config.home.clone(), dialect: dialect(config) },
        printing: run.printing,
        colours: if config.dumb_terminal { Colours::Never } else { config.colours },
        afterwards,
    }
}

const fn dialect(config: &Config) -> Dialect {
    match config.app.group {
        None => Dialect::Tracker,
        Some(_) => Dialect::Mrt,
    }
}

const fn exit_code(left: Left) -> u8 {
    match left {
        Left::Quit | Left::PeerEnded => 0,
        Left::Signal => FailureKind::Cancelled.exit_code(),
    }
}
