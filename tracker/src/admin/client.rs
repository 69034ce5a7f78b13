//! The program's side of administration: one line to the running tracker, one back.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::place::Place;
use super::{Request, Response};

/// So long the tracker may take; an export of a million entries takes some seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why a running tracker was not asked, or did not do it.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// There is none with this directory.
    #[error("no tracker runs with the data in {0}: start it, or say with --data where it keeps its data")]
    NotRunning(PathBuf),
    /// It did not answer.
    #[error("the tracker that runs with the data in {path} did not answer ({source})")]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It said no.
    #[error("{0}")]
    Refused(String),
}

/// Asks the tracker that runs with this directory.
pub(super) fn ask(data: &Path, request: &Request) -> Result<Response, AskError> {
    let on_socket = |source| AskError::Io { path: data.to_owned(), source };
    let connected = Place::of(data).and_then(|place| UnixStream::connect(place.path()));
    let mut stream = connected.map_err(|error| match error.kind() {
        // Nothing there, or only what a tracker that was killed left behind.
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
            AskError::NotRunning(data.to_owned())
        }
        _ => on_socket(error),
    })?;
    let mut exchange = || -> io::Result<String> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut answer = String::new();
        BufReader::new(&stream).read_line(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().map_err(on_socket)?;
    if answer.is_empty() {
        return Err(on_socket(io::ErrorKind::UnexpectedEof.into()));
    }
    match serde_json::from_str(&answer).map_err(|error| on_socket(error.into()))? {
        Response::Error(text) => Err(AskError::Refused(text)),
        response => Ok(response),
    }
}
