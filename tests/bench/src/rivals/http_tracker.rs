//! A BitTorrent tracker over HTTP (BEP 3, BEP 23) for one torrent with one seeder: it tells everybody else of that.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::torrent::{number, text};

const READ_LIMIT: Duration = Duration::from_secs(5);

/// The tracker; ends when dropped.
#[derive(Debug)]
pub(crate) struct HttpTracker {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    seeder_port: Option<u16>,
    ended: bool,
}

impl HttpTracker {
    pub(crate) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let seen = Arc::clone(&state);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                let ended = seen.lock().unwrap_or_else(PoisonError::into_inner).ended;
                if ended {
                    return;
                }
                // A client that hangs up in the middle asks again.
                drop(stream.and_then(|stream| answer(stream, &seen)));
            }
        });
        Ok(Self { address, state, thread: Some(thread) })
    }

    /// What a torrent has as `announce`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/announce", self.address)
    }

    /// Whether somebody who has the whole file is there: it has checked it by then.
    pub(crate) fn has_seeder(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).seeder_port.is_some()
    }
}

impl Drop for HttpTracker {
    fn drop(&mut self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        let wake = TcpStream::connect(self.address);
        if let (Ok(_), Some(thread)) = (wake, self.thread.take()) {
            drop(thread.join());
        }
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    stream.set_read_timeout(Some(READ_LIMIT))?;
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    let body = announced(&line, &mut state.lock().unwrap_or_else(PoisonError::into_inner));
    write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(&body)
}

/// Takes an announcement in and answers it.
fn announced(request_line: &str, state: &mut State) -> Vec<u8> {
    const INTERVAL_SECS: u64 = 1800;
    let field = |name: &str| {
        let query = request_line.split_whitespace().nth(1)?.split_once('?')?.1;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    let port: u16 = field("port").and_then(|port| port.parse().ok()).unwrap_or(0);
    let complete = field("left").as_deref() == Some("0");
    if complete && field("event").as_deref() == Some("started") {
        state.seeder_port = Some(port);
    }
    let peers = match state.seeder_port {
        Some(seeder) if seeder != port => [Ipv4Addr::LOCALHOST.octets().as_slice(), &seeder.to_be_bytes()].concat(),
        _ => Vec::new(),
    };
    let entries = [text(b"interval"), number(INTERVAL_SECS), text(b"peers"), text(&peers)].concat();
    [b"d".as_slice(), &entries, b"e"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeder_is_told_to_others_only() {
        let mut state = State::default();
        let nobody = b"d8:intervali1800e5:peers0:e";
        let of = |state: &mut State, query| announced(&format!("GET /announce?{query} HTTP/1.1\r\n"), state);
        assert_eq!(of(&mut state, "port=7&left=9&event=started"), nobody);
        assert_eq!(of(&mut state, "port=258&left=0&event=started"), nobody);
        assert_eq!(of(&mut state, "port=7&left=0&event=completed"), b"d8:intervali1800e5:peers6:\x7f\0\0\x01\x01\x02e");
    }
}
