//! A backend without a peer, for tests of faces.

use std::sync::{Arc, Mutex};

use common::audience::Audience;
use common::id::{FileId, Hash, NetworkId, PeerId};
use common::wire::tracker::{Access, Entry};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Backend, Names, Notices};
use crate::command::{Activity, Command, Downloaded, Failure, FailureKind, Outcome, Progress, Share, Status, Update};
use crate::notice::Notice;

/// Does what its commands' names say; see [`Fake::run`].
#[derive(Debug, Clone)]
pub(crate) struct Fake {
    pub(crate) seen: Arc<Mutex<Vec<Command>>>,
    pub(crate) notices: broadcast::Sender<Notice>,
    /// Cancelled when a command was dropped before its end.
    pub(crate) dropped: CancellationToken,
    /// Whether the user said before that the tracker is the right one.
    confirmed: bool,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self {
            seen: Arc::default(),
            notices: broadcast::channel(16).0,
            dropped: CancellationToken::new(),
            confirmed: false,
        }
    }

    /// On a tracker that was confirmed before.
    pub(crate) fn confirmed() -> Self {
        Self { confirmed: true, ..Self::new() }
    }

    /// The tracker's fingerprint.
    pub(crate) const NETWORK: NetworkId = NetworkId([0x5a; 32]);

    pub(crate) fn seen(&self) -> Vec<Command> {
        self.seen.lock().unwrap().clone()
    }
}

pub(crate) fn entry(name: &str, length: u64) -> Entry {
    Entry {
        owners: vec!["ann".to_owned()],
        name: name.to_owned(),
        version: 1,
        content: FileId::new(length, Hash([0xab; 32])).unwrap().into(),
        folder: None,
        restricted: false,
        users: Vec::new(),
        seeders: 3,
        downloaders: 0,
        registered_ms: 0,
    }
}

pub(crate) fn progress(name: &str, chunks: u32) -> Progress {
    Progress {
        name: name.to_owned(),
        activity: Activity::Downloading,
        chunks,
        chunks_total: 7,
        bytes: u64::from(chunks) * 16384,
        bytes_total: 107_330,
        bytes_per_sec: 1000,
        seeders: 3,
    }
}

pub(crate) fn downloaded(name: &str) -> Downloaded {
    let share = |user: &str, chunks: u32, bytes: u64| Share {
        user: user.to_owned(),
        peer: PeerId([7; 32]),
        address: "127.0.0.1:42490".parse().unwrap(),
        chunks,
        bytes,
    };
    Downloaded {
        entry: format!("ann/{name}"),
        version: 1,
        file: entry(name, 107_330).content,
        bytes: 107_330,
        path: format!("/dir/seeding/{name}").into(),
        already: false,
        fetched_bytes: 107_330,
        elapsed_ms: 1500,
        shares: vec![share("ann", 4, 65536), share("bob", 3, 41794)],
    }
}

impl Backend for Fake {
    /// `d stuck` never ends, `d missing`, `d lonely` and `d no-tracker` fail in these ways, other downloads end well;
    /// all lists have one file.
    async fn run(&self, command: Command, updates: mpsc::Sender<Update>) -> Result<Outcome, Failure> {
        self.seen.lock().unwrap().push(command.clone());
        let guard = self.dropped.clone().drop_guard();
        let ended = match command {
            Command::Download { entry, .. } => match entry.as_str() {
                "stuck" => {
                    let _ = updates.send(Update::Progress(progress("stuck", 1))).await;
                    std::future::pending().await
                }
                "missing" => Err(Failure::new(FailureKind::Failed, "there is no missing").with_hint("look at `lst`")),
                "lonely" => Err(Failure::new(FailureKind::Incomplete, "nobody has it")),
                "no-tracker" => Err(Failure::new(FailureKind::NoTracker, "no tracker")),
                name => {
                    for chunk in 0..2 {
                        let from = "127.0.0.1:42490".parse().unwrap();
                        let notice = Notice::ChunkReceived { name: name.to_owned(), chunk, from };
                        let _ = updates.send(Update::Notice(notice)).await;
                        let _ = updates.send(Update::Progress(progress(name, chunk + 1))).await;
                    }
                    Ok(Outcome::Downloaded(downloaded(name)))
                }
            },
            Command::List(_) | Command::Search { .. } => Ok(Outcome::Entries(vec![entry("doug.png", 107_330)])),
            Command::Register { path, users: _ } => Ok(Outcome::Registered {
                entry: "ann/doug.png".to_owned(),
                name: "doug.png".to_owned(),
                file: entry("doug.png", 107_330).content,
                folder: None,
                version: 1,
                path,
                already: false,
                audience: Audience::Public,
            }),
            Command::Status => Ok(Outcome::Status(Box::new(status()))),
            Command::Tracker => Ok(Outcome::Tracker {
                address: "localhost:8000".to_owned(),
                fingerprint: Self::NETWORK,
                confirmed: self.confirmed,
                access: Access::Invite,
            }),
            Command::SignUp { code: None, .. } => Err(Failure::new(FailureKind::InviteRequired, "an invite, please")),
            Command::SignUp { login, .. } | Command::LogIn { login } => Ok(Outcome::LoggedIn { name: login.name }),
            Command::ChangePassword { .. } => Ok(Outcome::PasswordChanged),
            Command::History => Ok(Outcome::History(Vec::new())),
            Command::Stop => Ok(Outcome::Stopping),
            other => Err(Failure::new(FailureKind::Failed, format!("{other:?} is not played"))),
        };
        guard.disarm();
        ended
    }

    async fn notices(&self) -> Result<Notices, Failure> {
        Ok(Notices::Here(self.notices.subscribe()))
    }

    async fn names(&self) -> Names {
        Names { entries: vec!["doug.png".to_owned()], users: vec!["ann".to_owned()], downloads: Vec::new() }
    }
}

pub(crate) fn status() -> Status {
    Status {
        name: "ann".to_owned(),
        peer: PeerId([7; 32]),
        dir: "/dir".into(),
        listen: "[::]:4000".parse().unwrap(),
        tracker: "localhost:8000".to_owned(),
        network: None,
        connected: true,
        sharing: Vec::new(),
        downloads: vec![progress("big.bin", 3)],
        uploaded_bytes: 1 << 20,
        downloaded_bytes: 0,
        over_mrt: Vec::new(),
    }
}
