//! The server side of the local API.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use tokio::net::{UnixListener, UnixStream, unix};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::lines::{Line, LinesBody, to_line};
use super::{MAX_CONNECTIONS, MAX_REQUEST, QUEUE};
use crate::backend::Backend;
use crate::command::{Command, Failure, FailureKind, Outcome, Update};
use crate::holding::Holding;
use crate::tasks::Tasks;

/// How long answers under way may take at the end.
const DRAIN: Duration = Duration::from_secs(2);

/// A running server. Made only by whoever holds the lock of the DIR: it takes the place of an old socket.
#[derive(Debug)]
pub(crate) struct ApiServer {
    socket: PathBuf,
    tasks: Tasks,
    /// Ends the accepting, and the answers that have no end of their own.
    stop: CancellationToken,
    /// Ended when the last answer is out.
    drained: CancellationToken,
    /// Commands under way.
    busy: watch::Sender<usize>,
}

#[derive(Debug, Clone)]
struct Shared<B> {
    backend: B,
    tasks: Tasks,
    stop: CancellationToken,
    busy: watch::Sender<usize>,
}

/// Counts a command for as long as it is under way.
struct Busy(watch::Sender<usize>);

impl Busy {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|busy| *busy += 1);
        Self(count.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|busy| *busy -= 1);
    }
}

impl ApiServer {
    /// Listens at `socket` and answers through `backend`.
    pub(crate) fn bind<B: Backend>(socket: &Path, backend: B) -> io::Result<Self> {
        match fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(socket)?;
        fs::set_permissions(socket, fs::Permissions::from_mode(0o600))?;
        let (tasks, stop, drained) = (Tasks::new(), CancellationToken::new(), CancellationToken::new());
        let busy = watch::Sender::new(0);
        let shared = Shared { backend, tasks: tasks.clone(), stop: stop.clone(), busy: busy.clone() };
        let router = Router::new()
            .route("/command", post(command::<B>))
            .route("/notices", get(notices::<B>))
            .route("/status", get(status::<B>))
            .route("/names", get(names::<B>))
            .layer(DefaultBodyLimit::max(MAX_REQUEST))
            .with_state(shared);
        let owned = OwnedListener { listener, slots: Arc::new(Semaphore::new(MAX_CONNECTIONS)) };
        let serve = axum::serve(owned, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        let end = drained.clone().drop_guard();
        tasks.spawn("local api", async move {
            let _end = end;
            if let Err(error) = serve.await {
                tracing::error!(%error, "the local API ended");
            }
        });
        Ok(Self { socket: socket.to_path_buf(), tasks, stop, drained, busy })
    }

    /// Ends when no command is under way.
    pub(crate) async fn idle(&self) {
        let idle = self.busy.subscribe().wait_for(|busy| *busy == 0).await.map(drop);
        idle.expect("this server has a sender of its own");
    }

    /// Accepts nobody any more and takes the socket away; commands under way go on.
    ///
    /// To be called before the lock is given up: whoever holds it next makes a socket of the same name.
    pub(crate) fn stop_accepting(&self) {
        if !self.stop.is_cancelled() {
            self.stop.cancel();
            if let Err(error) = fs::remove_file(&self.socket) {
                tracing::debug!(%error, socket = %self.socket.display(), "the socket was gone already");
            }
        }
    }

    /// Waits a little for answers under way, then ends.
    pub(crate) async fn shutdown(&self) {
        self.stop_accepting();
        // Whoever does not read his answer in time does not get it.
        let _timed_out = tokio::time::timeout(DRAIN, self.drained.cancelled()).await;
        self.tasks.shutdown().await;
    }
}

async fn command<B: Backend>(State(shared): State<Shared<B>>, Json(command): Json<Command>) -> Response {
    tracing::debug!(?command, "asked through the local API");
    let (lines, body) = mpsc::channel(QUEUE);
    let (backend, busy) = (shared.backend.clone(), Busy::new(&shared.busy));
    shared.tasks.spawn("local api command", async move {
        let _busy = busy;
        let gone = lines.clone();
        tokio::select! {
            () = gone.closed() => {}
            () = run(backend, command, lines) => {}
        }
    });
    ndjson(body)
}

async fn run<B: Backend>(backend: B, command: Command, lines: mpsc::Sender<Bytes>) {
    let (updates, mut incoming) = mpsc::channel(QUEUE);
    let mut running = std::pin::pin!(backend.run(command, updates));
    let ended = loop {
        tokio::select! {
            biased;
            Some(update) = incoming.recv() => forward(&lines, update),
            ended = &mut running => break ended,
        }
    };
    while let Ok(update) = incoming.try_recv() {
        forward(&lines, update);
    }
    let last = match ended {
        Ok(outcome) => Line::Outcome(outcome),
        Err(failure) => Line::Failure(failure),
    };
    let line = to_line(&last).or_else(|| {
        to_line(&Line::Failure(Failure::new(FailureKind::Failed, "a path in the answer is not valid UTF-8")))
    });
    if let Some(line) = line {
        // An error means that nobody listens any more.
        let _gone = lines.send(line).await;
    }
}

/// Never waits: a client that stands still must not hold up the download it looks at.
fn forward(lines: &mpsc::Sender<Bytes>, update: Update) {
    if let Some(line) = to_line(&Line::Update(update)) {
        let _full = lines.try_send(line);
    }
}

async fn notices<B: Backend>(State(shared): State<Shared<B>>) -> Response {
    let mut notices = match shared.backend.notices().await {
        Ok(notices) => notices,
        Err(failure) => return (StatusCode::SERVICE_UNAVAILABLE, failure.text).into_response(),
    };
    let (lines, body) = mpsc::channel(QUEUE);
    let stop = shared.stop.clone();
    shared.tasks.spawn("local api notices", async move {
        loop {
            tokio::select! {
                () = lines.closed() => break,
                () = stop.cancelled() => break,
                notice = notices.next() => match notice {
                    // A client that stands still misses what finds no room.
                    Some(notice) => if let Some(line) = to_line(&notice) {
                        let _full = lines.try_send(line);
                    },
                    None => break,
                },
            }
        }
    });
    ndjson(body)
}

async fn status<B: Backend>(State(shared): State<Shared<B>>) -> Response {
    let (updates, _nobody) = mpsc::channel(1);
    match shared.backend.run(Command::Status, updates).await {
        Ok(Outcome::Status(status)) => Json(status).into_response(),
        Ok(other) => unreachable!("a status ended in {other:?}"),
        Err(failure) => (StatusCode::SERVICE_UNAVAILABLE, Json(failure)).into_response(),
    }
}

async fn names<B: Backend>(State(shared): State<Shared<B>>) -> Response {
    Json(shared.backend.names().await).into_response()
}

fn ndjson(body: mpsc::Receiver<Bytes>) -> Response {
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::new(LinesBody(body))).into_response()
}

/// Gives out connections of the own user only, a bounded number at once.
struct OwnedListener {
    listener: UnixListener,
    slots: Arc<Semaphore>,
}

impl axum::serve::Listener for OwnedListener {
    type Io = Connection;
    type Addr = unix::SocketAddr;

    async fn accept(&mut self) -> (Connection, unix::SocketAddr) {
        loop {
            let slot = Arc::clone(&self.slots).acquire_owned().await.expect("the semaphore is never closed");
            let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
            match stream.peer_cred() {
                Ok(caller) if caller.uid() == rustix::process::getuid().as_raw() => {
                    return (Connection::new(stream, slot), address);
                }
                other => tracing::warn!(?other, "another user knocked at the local API and was not let in"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<unix::SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that holds its slot as long as it is open.
type Connection = Holding<UnixStream, OwnedSemaphorePermit>;
