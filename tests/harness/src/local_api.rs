//! The local API of a running peer, spoken by hand: HTTP over its Unix socket, JSON lines in the answer.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use peer::command::{Command, Failure, Outcome, Status, Update};
use peer::notice::Notice;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A line of the answer to a command.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Update(Update),
    Outcome(Outcome),
    Failure(Failure),
}

/// A command under way. Dropping it hangs up.
#[derive(Debug)]
pub struct Running {
    answer: BufReader<UnixStream>,
}

impl Running {
    /// Sends a command; each line of its answer must come within `limit` of the one before.
    pub fn start(socket: &Path, command: &Command, limit: Duration) -> io::Result<Self> {
        let body = serde_json::to_string(command)?;
        Ok(Self { answer: request(socket, "POST /command", &body, limit)? })
    }

    /// Its end, without the updates on the way.
    pub fn finish(mut self) -> io::Result<Result<Outcome, Failure>> {
        loop {
            match next_line(&mut self.answer)? {
                Some(Line::Outcome(outcome)) => return Ok(Ok(outcome)),
                Some(Line::Failure(failure)) => return Ok(Err(failure)),
                Some(Line::Update(_)) => {}
                None => return Err(io::Error::other("the answer ended without an outcome")),
            }
        }
    }

    /// The next update; `None` at the end, whichever it is.
    pub fn next_update(&mut self) -> io::Result<Option<Update>> {
        match next_line(&mut self.answer)? {
            Some(Line::Update(update)) => Ok(Some(update)),
            Some(Line::Outcome(_) | Line::Failure(_)) | None => Ok(None),
        }
    }
}

/// The notices of a peer, from now on.
#[derive(Debug)]
pub struct Notices {
    answer: BufReader<UnixStream>,
}

impl Notices {
    /// Listens; each notice must come within `limit` of the one before.
    pub fn listen(socket: &Path, limit: Duration) -> io::Result<Self> {
        Ok(Self { answer: request(socket, "GET /notices", "", limit)? })
    }

    /// The next notice that `pick` picks.
    pub fn find<T>(&mut self, mut pick: impl FnMut(Notice) -> Option<T>) -> io::Result<T> {
        loop {
            let notice = next_line(&mut self.answer)?.ok_or_else(|| io::Error::other("the notices ended"))?;
            if let Some(picked) = pick(notice) {
                return Ok(picked);
            }
        }
    }
}

/// What the peer is doing.
pub fn status(socket: &Path, limit: Duration) -> io::Result<Status> {
    let mut answer = request(socket, "GET /status", "", limit)?;
    let mut body = String::new();
    answer.read_to_string(&mut body)?;
    Ok(serde_json::from_str(&body)?)
}

/// Sends a request and reads the head of the answer. HTTP 1.0, so that the body comes in one piece up to the end of the
/// connection.
fn request(socket: &Path, what: &str, body: &str, limit: Duration) -> io::Result<BufReader<UnixStream>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    let length = body.len();
    write!(
        stream,
        "{what} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = BufReader::new(stream);
    let mut head = String::new();
    answer.read_line(&mut head)?;
    if head.split_whitespace().nth(1) != Some("200") {
        let mut rest = String::new();
        answer.read_to_string(&mut rest)?;
        return Err(io::Error::other(format!("{what} was answered with {head}{rest}")));
    }
    loop {
        let mut field = String::new();
        if answer.read_line(&mut field)? == 0 || field == "\r\n" {
            return Ok(answer);
        }
    }
}

fn next_line<T: DeserializeOwned>(answer: &mut BufReader<UnixStream>) -> io::Result<Option<T>> {
    let mut line = String::new();
    if answer.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    match serde_json::from_str(&line) {
        Ok(value) => Ok(Some(value)),
        Err(error) => Err(io::Error::other(format!("{error} in the line {line}"))),
    }
}
