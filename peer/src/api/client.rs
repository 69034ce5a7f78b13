//! The client side of the local API.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::lines::{Line, LineBuffer, to_line};
use super::{MAX_LINE, Places, QUEUE};
use crate::backend::{Backend, Names, Notices};
use crate::command::{Command, Failure, FailureKind, Outcome, Status, Update};
use crate::notice::Notice;
use crate::tasks::Tasks;

/// How long names for completion may take: somebody waits at the prompt.
const NAMES_DEADLINE: Duration = Duration::from_millis(500);

/// Acts through the peer that runs on a DIR; clones are handles to the same.
#[derive(Debug, Clone)]
pub(crate) struct ApiClient {
    socket: PathBuf,
    tasks: Tasks,
}

impl ApiClient {
    /// The peer that listens at one of these places; `None` where there is none.
    pub(crate) async fn find(places: &Places, tasks: &Tasks) -> Option<Self> {
        for socket in places.to_connect() {
            match connect(socket).await {
                Ok(_stream) => return Some(Self { socket: socket.to_path_buf(), tasks: tasks.clone() }),
                Err(error) => tracing::debug!(%error, socket = %socket.display(), "no peer here"),
            }
        }
        None
    }

    /// What the running peer is doing.
    pub(crate) async fn status(&self) -> Result<Status, Failure> {
        self.get("/status").await
    }

    async fn get<T: DeserializeOwned>(&self, path: &'static str) -> Result<T, Failure> {
        let response = self.send(Request::get(path), Bytes::new()).await?;
        let limited = http_body_util::Limited::new(response.into_body(), MAX_LINE);
        let body = limited.collect().await.map_err(ended)?.to_bytes();
        serde_json::from_slice(&body).map_err(strange)
    }

    async fn send(&self, request: hyper::http::request::Builder, body: Bytes) -> Result<Response<Incoming>, Failure> {
        let stream = connect(&self.socket).await.map_err(ended)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(ended)?;
        self.tasks.spawn("local api connection", async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the running peer ended");
            }
        });
        let request = request
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(strange)?;
        let response = sender.send_request(request).await.map_err(ended)?;
        match response.status() {
            StatusCode::OK => Ok(response),
            status => Err(strange(status)),
        }
    }
}

impl Backend for ApiClient {
    async fn run(&self, command: Command, updates: mpsc::Sender<Update>) -> Result<Outcome, Failure> {
        let body = to_line(&command).ok_or_else(|| {
            Failure::new(FailureKind::Failed, "the path is not valid UTF-8, which paths must be here")
        })?;
        let mut response = self.send(Request::post("/command"), body).await?;
        let mut buffer = LineBuffer::default();
        loop {
            while let Some(line) = buffer.next_line() {
                match serde_json::from_slice(&line).map_err(strange)? {
                    Line::Outcome(outcome) => return Ok(outcome),
                    Line::Failure(failure) => return Err(failure),
                    Line::Update(update) => {
                        let _full = updates.try_send(update);
                    }
                }
            }
            let Some(frame) = response.frame().await else {
                return Err(ended("it said nothing more"));
            };
            if let Some(data) = frame.map_err(ended)?.data_ref() {
                buffer.push(data).map_err(|_too_long| strange("a line that is too long"))?;
            }
        }
    }

    async fn notices(&self) -> Result<Notices, Failure> {
        let mut response = self.send(Request::get("/notices"), Bytes::new()).await?;
        let (notices, incoming) = mpsc::channel(QUEUE);
        self.tasks.spawn("local api notices", async move {
            let mut buffer = LineBuffer::default();
            while let Some(Ok(frame)) = response.frame().await {
                if frame.data_ref().is_some_and(|data| buffer.push(data).is_err()) {
                    return;
                }
                while let Some(line) = buffer.next_line() {
                    // A kind of notice that this program does not know is for newer ones.
                    let Ok(notice) = serde_json::from_slice::<Notice>(&line) else { continue };
                    if notices.send(notice).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Notices::There(incoming))
    }

    async fn names(&self) -> Names {
        let names = tokio::time::timeout(NAMES_DEADLINE, self.get("/names")).await;
        names.ok().and_then(Result::ok).unwrap_or_default()
    }
}

async fn connect(socket: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket).await?;
    if stream.peer_cred()?.uid() == rustix::process::getuid().as_raw() {
        Ok(stream)
    } else {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is another user's peer"))
    }
}

fn ended(why: impl std::fmt::Display) -> Failure {
    tracing::debug!(%why, "no answer from the running peer");
    Failure::new(FailureKind::Failed, "the peer that ran on this DIR has ended")
        .with_hint("the same command again starts one where that is needed")
}

fn strange(why: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Failed, format!("the peer that runs on this DIR answered strangely ({why})"))
        .with_hint("it may be of another version; `peer stop` ends it")
}
