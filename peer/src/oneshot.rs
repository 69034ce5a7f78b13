//! One-shots: a command given as arguments. It acts through the peer that runs on the DIR, or is that peer for as long as
//! it takes.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use common::wire::tracker::{Answer, Welcome};
use tokio::io::BufReader;
use tokio::sync::mpsc;

use crate::api::ApiClient;
use crate::app::{App, NameChoice, TrackerAddress, Unfinished};
use crate::backend::{Backend, Names, Notices};
use crate::command::{Command, Failure, FailureKind, Outcome, Update, hash_file};
use crate::config::Config;
use crate::host::{Host, Peer};
use crate::notice::Notice;
use crate::shell::account::{self, AccountJob, AtTerminal, PasswordFrom};
use crate::shell::pipe::FromInput;
use crate::shell::render::{self, Format, Printed};
use crate::shell::{Ended, Job, News, Printing, Sink as _, Stay, Streams, execute};
use crate::signals::Signals;
use crate::tasks::Tasks;

/// How long to wait for the tracker before a command fails for want of it.
pub(crate) const TRACKER_PATIENCE: Duration = Duration::from_secs(5);
/// How long a cancelled download may take to end.
const CANCEL_DEADLINE: Duration = Duration::from_secs(5);

/// What is common to the commands of one call.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    /// The peer's settings.
    pub(crate) config: &'a Config,
    /// Where lines go.
    pub(crate) streams: Streams,
    /// How.
    pub(crate) printing: Printing,
    /// What ends it early.
    pub(crate) signals: Signals,
    /// Where tasks belong.
    pub(crate) tasks: Tasks,
}

impl Run<'_> {
    /// Runs the commands to their end; gives the exit code.
    pub(crate) async fn job(&mut self, job: Job) -> io::Result<u8> {
        if job.commands.iter().all(|command| matches!(command, Command::Hash { .. })) {
            return self.commands(&FilesOnly, None, &job.commands).await.map(|(code, _any)| code);
        }
        if let Some(failure) = self.needs_running_peer(&job.commands).await {
            return self.fail(&failure);
        }
        match Peer::find_or_start(self.config, Unfinished::Leave, &self.tasks).await {
            Ok(Peer::There(client)) => {
                if let Err(failure) = self.check_running(&client).await {
                    return self.fail(&failure);
                }
                self.commands(&client, None, &job.commands).await.map(|(code, _any)| code)
            }
            Ok(Peer::Here(host)) => {
                let code = self.as_host(&host, &job).await;
                host.shutdown().await;
                code
            }
            Err(failure) => self.fail(&failure),
        }
    }

    /// Runs a command that takes a password; gives the exit code.
    pub(crate) async fn account(&mut self, job: &AccountJob) -> io::Result<u8> {
        if job.password == PasswordFrom::Terminal && !io::stdin().is_terminal() {
            return self.fail(&account::nobody_to_ask());
        }
        match Peer::find_or_start(self.config, Unfinished::Leave, &self.tasks).await {
            Ok(Peer::There(client)) => {
                if let Err(failure) = self.check_running(&client).await {
                    return self.fail(&failure);
                }
                self.account_through(&client, job).await
            }
            Ok(Peer::Here(host)) => {
                let mut notices = Notices::Here(host.app.notices());
                let code = match self.connect(&host, &mut notices, TRACKER_PATIENCE).await? {
                    Some(Err(failure)) if failure.kind == FailureKind::NoTracker => self.fail(&failure),
                    // What else the tracker says to this peer now may be mended by a login.
                    Some(_) => self.account_through(&host.app, job).await,
                    None => Ok(FailureKind::Cancelled.exit_code()),
                };
                host.shutdown().await;
                code
            }
            Err(failure) => self.fail(&failure),
        }
    }

    async fn account_through<B: Backend>(&mut self, backend: &B, job: &AccountJob) -> io::Result<u8> {
        let pinned = self.config.app.tracker.as_ref().and_then(|tracker| tracker.fingerprint);
        let asking = async {
            match job.password {
                PasswordFrom::Terminal => account::run(backend, &job.wish, pinned, &mut AtTerminal::new()).await,
                PasswordFrom::Input => {
                    let mut input = BufReader::new(tokio::io::stdin());
                    account::run(backend, &job.wish, pinned, &mut FromInput::new(&mut input)).await
                }
            }
        };
        let ended = tokio::select! {
            ended = asking => ended,
            _ = self.signals.next() => Err(Failure::new(FailureKind::Cancelled, "interrupted")),
        };
        match ended {
            Ok(outcome) => {
                self.streams.print(&render::outcome(&outcome, self.printing.format, self.printing.detail))?;
                Ok(0)
            }
            Err(failure) => self.fail(&failure),
        }
    }

    async fn as_host(&mut self, host: &Host, job: &Job) -> io::Result<u8> {
        let mut notices = Notices::Here(host.app.notices());
        let Some(connected) = self.connect(host, &mut notices, TRACKER_PATIENCE).await? else {
            return Ok(FailureKind::Cancelled.exit_code());
        };
        if let Err(failure) = connected
            && !job.commands.iter().all(|command| works_unjoined(command, failure.kind))
        {
            return self.fail(&failure);
        }
        let (code, any_done) = self.commands(&host.app, Some(&mut notices), &job.commands).await?;
        if job.stay == Stay::Seed && any_done {
            host.app.stay();
            self.streams.print(&[Printed::Talk("Seeding until Ctrl-C.".to_owned())])?;
            self.stay(host, &mut notices).await?;
        } else {
            if any_done && job.commands.iter().any(goes_on_in_background) {
                self.finish_downloads(host, &mut notices).await?;
            }
            self.linger(host, code).await?;
        }
        Ok(code)
    }

    /// Waits for commands of others on the DIR that act through this peer, unless the own one was cancelled (which the
    /// exit code says), and until a signal comes.
    pub(crate) async fn linger(&mut self, host: &Host, code: u8) -> io::Result<()> {
        if code == FailureKind::Cancelled.exit_code() {
            return Ok(());
        }
        let mut idle = std::pin::pin!(host.idle());
        if tokio::time::timeout(Duration::ZERO, &mut idle).await.is_ok() {
            return Ok(());
        }
        let text = "Other commands act through this one; waiting for them.".to_owned();
        self.streams.print(&[Printed::Talk(text)])?;
        tokio::select! {
            () = idle => Ok(()),
            _ = self.signals.next() => Ok(()),
            () = host.app.stop_requested() => Ok(()),
        }
    }

    /// Waits until a peer of this process is on the network, and prints its notices meanwhile; `None` when a signal came
    /// before.
    pub(crate) async fn connect(
        &mut self,
        host: &Host,
        notices: &mut Notices,
        patience: Duration,
    ) -> io::Result<Option<Result<Welcome, Failure>>> {
        let mut connecting = std::pin::pin!(host.app.wait_connected(patience));
        let connected = loop {
            tokio::select! {
                biased;
                Some(notice) = notices.next() => self.notice(&notice)?,
                connected = &mut connecting => break connected,
                _ = self.signals.next() => return Ok(None),
            }
        };
        // What led to it was told before, and is there already.
        while let Ok(Some(notice)) = tokio::time::timeout(Duration::ZERO, notices.next()).await {
            self.notice(&notice)?;
        }
        if let Ok(welcome) = &connected
            && let Some(text) = host.name_news(&self.config.app.name, &welcome.name)
        {
            self.streams.print(&[Printed::Talk(text)])?;
        }
        Ok(Some(connected))
    }

    /// One after the other, until a signal says to stop. Gives the exit code, and whether any of them went well.
    /// The notices are those of a peer that runs for this alone.
    async fn commands<B: Backend>(
        &mut self,
        backend: &B,
        notices: Option<&mut Notices>,
        commands: &[Command],
    ) -> io::Result<(u8, bool)> {
        let (mut code, mut any_done, mut notices) = (0, false, notices);
        for command in commands {
            let news = match &mut notices {
                Some(notices) => News::All(notices),
                None => News::of(backend, command).await,
            };
            match self.command(backend, command, news).await? {
                Some(Ok(_)) => any_done = true,
                Some(Err(failure)) if failure.kind == FailureKind::Cancelled => {
                    self.streams.print(&[Printed::Hint("the same command goes on with it".to_owned())])?;
                    return Ok((failure.kind.exit_code(), false));
                }
                Some(Err(failure)) if code == 0 => code = failure.kind.exit_code(),
                Some(Err(_)) => {}
                None => return Ok((FailureKind::Cancelled.exit_code(), false)),
            }
        }
        Ok((code, any_done))
    }

    /// `None` when a signal ended it before its end.
    async fn command<B: Backend>(
        &mut self,
        backend: &B,
        command: &Command,
        news: News<'_>,
    ) -> io::Result<Option<Ended>> {
        let mut running = std::pin::pin!(execute(backend, command.clone(), news, &mut self.streams, self.printing));
        tokio::select! {
            ended = &mut running => return ended.map(Some),
            _ = self.signals.next() => {}
        }
        let Command::Download { entry, .. } = command else { return Ok(None) };
        let cancel = async {
            let (updates, _nobody) = mpsc::channel(1);
            if let Err(failure) = backend.run(Command::Cancel { entry: Some(entry.clone()) }, updates).await {
                tracing::debug!(%failure, "the download had ended already");
            }
            // Its own end says what became of it.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = &mut running => ended.map(Some),
            () = cancel => Ok(None),
            // A second Ctrl-C ends at once.
            _ = self.signals.next() => Ok(None),
            () = tokio::time::sleep(CANCEL_DEADLINE) => Ok(None),
        }
    }

    /// Prints notices until no download is under way, or a signal comes, or `peer stop` is called.
    async fn finish_downloads(&mut self, host: &Host, notices: &mut Notices) -> io::Result<()> {
        let mut ended = std::pin::pin!(host.app.downloads_ended());
        loop {
            tokio::select! {
                biased;
                Some(notice) = notices.next() => self.notice(&notice)?,
                () = &mut ended => return Ok(()),
                _ = self.signals.next() => return Ok(()),
                () = host.app.stop_requested() => return Ok(()),
            }
        }
    }

    /// Prints notices until a signal comes or `peer stop` is called.
    async fn stay(&mut self, host: &Host, notices: &mut Notices) -> io::Result<()> {
        loop {
            tokio::select! {
                _ = self.signals.next() => return Ok(()),
                () = host.app.stop_requested() => return Ok(()),
                notice = notices.next() => match notice {
                    Some(notice) => self.notice(&notice)?,
                    None => return Ok(()),
                },
            }
        }
    }

    fn notice(&mut self, notice: &Notice) -> io::Result<()> {
        // Each chunk of what others download through this peer is a detail, terminal or not.
        self.streams.print(&render::notice(notice, self.config.detail))
    }

    /// Seeds, and answers the other commands of the DIR, until a signal comes or `peer stop` is called.
    pub(crate) async fn serve(&mut self) -> io::Result<u8> {
        let host = match Host::start(self.config, Unfinished::Resume, &self.tasks).await {
            Ok(host) => host,
            Err(failure) => return self.fail(&failure),
        };
        let code = self.serve_as(&host).await;
        host.shutdown().await;
        code
    }

    async fn serve_as(&mut self, host: &Host) -> io::Result<u8> {
        let mut notices = Notices::Here(host.app.notices());
        match self.connect(host, &mut notices, TRACKER_PATIENCE).await? {
            Some(Ok(_)) => {}
            // It may come yet, or be mended by a login; the notices say when.
            Some(Err(failure)) if matches!(failure.kind, FailureKind::NoTracker | FailureKind::LoginRequired) => {
                self.streams.print(&render::failure(&failure, Format::Text))?;
            }
            Some(Err(failure)) => return self.fail(&failure),
            None => return Ok(0),
        }
        self.streams.print(&[Printed::Data(self.ready_line(&host.app))])?;
        self.stay(host, &mut notices).await?;
        Ok(0)
    }

    fn ready_line(&self, app: &App) -> String {
        let (name, listen, tracker) = (app.name(), app.local_addr(), app.tracker());
        let dir = app.dir().root().display();
        match self.printing.format {
            Format::Text => format!("Ready: {name} listens at {listen}, tracker {tracker}, directory {dir}"),
            Format::Json => {
                let ready = serde_json::json!({
                    "name": name,
                    "listen": listen,
                    "tracker": tracker.to_string(),
                    "dir": app.dir().root(),
                    "process": std::process::id(),
                });
                serde_json::json!({ "ready": ready }).to_string()
            }
        }
    }

    /// Some commands make sense only where a peer runs.
    async fn needs_running_peer(&self, commands: &[Command]) -> Option<Failure> {
        let needs = |command: &Command| matches!(command, Command::Stop | Command::Cancel { .. });
        if !commands.iter().any(needs) || ApiClient::find(&self.config.places, &self.tasks).await.is_some() {
            return None;
        }
        let text = format!("no peer runs on {}", self.config.app.dir.root().display());
        Some(Failure::new(FailureKind::Failed, text).with_hint("another directory is chosen with --dir or --name"))
    }

    /// Whether the running peer is what the options ask for.
    pub(crate) async fn check_running(&mut self, client: &ApiClient) -> Result<(), Failure> {
        let (wanted, config) = (&self.config.app, self.config);
        if wanted.tracker.is_none() && matches!(wanted.name, NameChoice::Default(_)) && config.given.is_empty() {
            return Ok(());
        }
        let status = client.status().await?;
        let hint = "`peer stop` ends it; --dir chooses another directory";
        let dir = status.dir.display();
        if let Some(tracker) = &wanted.tracker {
            let other = status.tracker.parse::<TrackerAddress>().ok();
            let same = other.is_some_and(|other| other.host == tracker.host && other.port == tracker.port);
            let pinned = tracker.fingerprint.is_none_or(|pin| status.network.is_none_or(|network| network == pin));
            if !same || !pinned {
                let text = format!("the peer that runs on {dir} is on the tracker {}", status.tracker);
                return Err(Failure::new(FailureKind::Failed, text).with_hint(hint));
            }
        }
        if let NameChoice::Given(name) = &wanted.name
            && name.as_str() != status.name
            && !is_logged_in(client).await
        {
            let text = format!("the peer that runs on {dir} is called {}", status.name);
            return Err(Failure::new(FailureKind::Failed, text).with_hint(hint));
        }
        if !config.given.is_empty() {
            let options = config.given.join(", ");
            let text = format!("A peer runs on {dir} already and keeps its own {options}.");
            let _nobody_reads = self.streams.print(&[Printed::Talk(text)]);
        }
        Ok(())
    }

    /// Prints a failure; gives its exit code.
    pub(crate) fn fail(&mut self, failure: &Failure) -> io::Result<u8> {
        self.streams.print(&render::failure(failure, self.printing.format))?;
        Ok(failure.kind.exit_code())
    }
}

/// Whether a command ends before what it began has ended.
const fn goes_on_in_background(command: &Command) -> bool {
    matches!(command, Command::Answer { answer: Answer::Accept, .. })
}

/// Whether that peer's name is an account's, whatever name it was started with.
async fn is_logged_in(client: &ApiClient) -> bool {
    let (updates, _nobody) = mpsc::channel(1);
    matches!(client.run(Command::WhoAmI, updates).await, Ok(Outcome::WhoAmI { account: true, .. }))
}

/// Whether a command does something even if this peer is not on the network, for a reason of this kind.
const fn works_unjoined(command: &Command, why: FailureKind) -> bool {
    match command {
        Command::Status => true,
        Command::Tracker | Command::WhoAmI => matches!(why, FailureKind::LoginRequired),
        _ => false,
    }
}

/// Runs what needs neither peer nor tracker.
#[derive(Debug, Clone, Copy)]
struct FilesOnly;

impl Backend for FilesOnly {
    async fn run(&self, command: Command, updates: mpsc::Sender<Update>) -> Result<Outcome, Failure> {
        match command {
            Command::Hash { path } => hash_file(path, updates).await,
            other => unreachable!("{other:?} is not for files only"),
        }
    }

    async fn notices(&self) -> Result<Notices, Failure> {
        let (_ended, notices) = mpsc::channel(1);
        Ok(Notices::There(notices))
    }

    async fn names(&self) -> Names {
        Names::default()
    }
}
