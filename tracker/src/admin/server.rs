//! The running tracker's side of administration.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::id::NetworkId;
use common::name::UserName;
use common::secret::Secret;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::export::Export;
use super::place::Place;
use super::{Invited, Request, Response};
use crate::clock::Clock;
use crate::owner::Input;
use crate::passwords::{Passwords, random_text};
use crate::service::{AdminReply, AdminRequest};
use crate::state::{CodeHash, Invite};
use crate::tasks::Tasks;

const SOCKET_MODE: u32 = 0o600;
/// So many are answered at once; more wait.
const AT_ONCE: usize = 4;
/// The longest line that is read.
const MAX_REQUEST: u64 = 16 << 10;
/// From the start of a connection to the end of its line, and from the answer to its having been read.
const PATIENCE: Duration = Duration::from_secs(30);
/// The system cannot give another connection now: it is asked again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A socket in a data directory that this process has locked; it is taken away in the end.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    place: Place,
    listener: UnixListener,
}

/// Who is asked what.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    /// The owner of the state.
    pub(crate) inputs: mpsc::Sender<Input>,
    /// Hashes new passwords.
    pub(crate) passwords: Passwords,
    /// What time it is.
    pub(crate) clock: Clock,
    /// Where peers connect.
    pub(crate) listen: SocketAddr,
    /// The tracker's fingerprint.
    pub(crate) fingerprint: NetworkId,
}

impl AdminSocket {
    /// Listens in `data`, in the place of what an earlier tracker left behind.
    pub(crate) fn bind(data: &Path) -> io::Result<Self> {
        let place = Place::of(data)?;
        match fs::remove_file(place.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(place.path())?;
        fs::set_permissions(place.path(), Permissions::from_mode(SOCKET_MODE))?;
        Ok(Self { place, listener })
    }

    /// Answers for ever; each connection in a task of `tasks`.
    pub(crate) async fn serve(self, desk: Desk, tasks: Tasks) {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let Ok((stream, _)) = self.listener.accept().await else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let desk = desk.clone();
            tasks.spawn("admin", async move {
                if let Err(error) = answer(stream, &desk).await {
                    tracing::debug!("an administration command was not answered: {error}");
                }
                drop(slot);
            });
        }
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        let _gone_already = fs::remove_file(self.place.path());
    }
}

async fn answer(mut stream: UnixStream, desk: &Desk) -> io::Result<()> {
    let theirs = stream.peer_cred()?.uid();
    if theirs != rustix::process::geteuid().as_raw() && theirs != rustix::process::Uid::ROOT.as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut line = String::new();
    let (reading, mut writing) = stream.split();
    timeout(PATIENCE, BufReader::new(reading.take(MAX_REQUEST)).read_line(&mut line)).await??;
    let response = match serde_json::from_str(&line) {
        Ok(request) => desk.ask(request).await.unwrap_or_else(Response::Error),
        Err(_error) => Response::Error("the running tracker does not know that command: it is another version".into()),
    };
    let mut bytes = serde_json::to_vec(&response)?;
    bytes.push(b'\n');
    timeout(PATIENCE, async {
        writing.write_all(&bytes).await?;
        writing.shutdown().await
    })
    .await?
}

impl Desk {
    async fn ask(&self, request: Request) -> Result<Response, String> {
        match request {
            Request::Invite { uses, lasts_ms } => self.invite(uses, lasts_ms).await,
            Request::Users => match self.admin(AdminRequest::Users).await? {
                AdminReply::Users(users) => Ok(Response::Users(users)),
                AdminReply::Done => Ok(Response::Done),
            },
            Request::Reset { name } => self.reset(parse(&name)?).await,
            Request::Remove { name } => {
                self.admin(AdminRequest::Remove(parse(&name)?)).await?;
                tracing::info!("the operator removed {name}");
                Ok(Response::Done)
            }
            Request::Export => {
                let (answer, answered) = oneshot::channel();
                self.inputs.send(Input::Export(answer)).await.map_err(|_closed| ending())?;
                let stored = answered.await.map_err(|_closed| ending())?.map_err(|error| error.to_string())?;
                Ok(Response::Export(Export::of(&stored)))
            }
        }
    }

    async fn invite(&self, uses: u32, lasts_ms: u64) -> Result<Response, String> {
        let code = random_secret()?;
        let expires_ms = self.clock.now().unix_ms.saturating_add(lasts_ms);
        let invite = Invite { uses_left: uses, expires_ms };
        self.admin(AdminRequest::Invite(CodeHash::of(&code), invite)).await?;
        let (listen, fingerprint) = (self.listen, self.fingerprint);
        Ok(Response::Invited(Invited { code, expires_ms, listen, fingerprint }))
    }

    async fn reset(&self, name: UserName) -> Result<Response, String> {
        self.admin(AdminRequest::MayReset(name.clone())).await?;
        let password = random_secret()?;
        let hash = self.passwords.hash(password.clone()).await.map_err(|refused| refused.text)?;
        tracing::info!("the operator gave {name} another password");
        self.admin(AdminRequest::Reset(name, hash)).await?;
        Ok(Response::Reset { password })
    }

    async fn admin(&self, request: AdminRequest) -> Result<AdminReply, String> {
        let (answer, answered) = oneshot::channel();
        self.inputs.send(Input::Admin { request, answer }).await.map_err(|_closed| ending())?;
        let reply = answered.await.map_err(|_closed| ending())?;
        reply.map_err(|refused| refused.text)
    }
}

fn parse(name: &str) -> Result<UserName, String> {
    UserName::new(name).map_err(|error| error.to_string())
}

fn random_secret() -> Result<Secret, String> {
    let text = random_text().ok_or("the system gives no random numbers")?;
    Secret::new(text).map_err(|error| error.to_string())
}

fn ending() -> String {
    "the tracker ends: try again when it runs".to_owned()
}
