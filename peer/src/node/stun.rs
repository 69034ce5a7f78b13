//! STUN servers: who is asked where this node is seen from outside, at the start, every few minutes, and when the supernode
//! is lost: then the way out of this house may be another one.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::str::FromStr;
use std::time::Duration;

use common::group::Event;
use common::nat::Observation;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use super::actor::Input;
use crate::mrt::{Node, SocketId};
use crate::notice::Notice;
use crate::tracker_client::reachable_addresses;

/// The port of STUN (RFC 8489, section 18.6).
const DEFAULT_PORT: u16 = 3478;
/// No name in the DNS is longer (RFC 1035, section 2.3.4).
const MAX_HOST: usize = 255;

/// A STUN server as a user writes it: `HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StunServer {
    /// A host name or an IP address, without brackets.
    pub(crate) host: String,
    /// UDP port, never 0.
    pub(crate) port: u16,
}

/// A text that is no STUN server's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not HOST:PORT, such as stun.example.org:3478 or [2001:db8::7]:3478, with a port from 1 to 65535")]
pub(crate) struct NotAServer;

impl FromStr for StunServer {
    type Err = NotAServer;

    /// An IPv6 address with a port stands in brackets.
    fn from_str(text: &str) -> Result<Self, NotAServer> {
        let (host, port) = match text.strip_prefix('[').map(|bracketed| bracketed.split_once(']')) {
            Some(None) => return Err(NotAServer),
            Some(Some((host, ""))) => (host, None),
            Some(Some((host, rest))) => (host, Some(rest.strip_prefix(':').ok_or(NotAServer)?)),
            None => match text.rsplit_once(':') {
                // More than one colon without brackets: an IPv6 address alone.
                Some((host, port)) if !host.contains(':') => (host, Some(port)),
                _ => (text, None),
            },
        };
        let is_host = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        if host.is_empty() || host.len() > MAX_HOST || !host.chars().all(is_host) {
            return Err(NotAServer);
        }
        let port = match port.map(str::parse) {
            None => DEFAULT_PORT,
            Some(Ok(port)) if port != 0 => port,
            Some(_) => return Err(NotAServer),
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for StunServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// What may have changed: interfaces come and go, and routers forget.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Where this node is, as its machine says.
    pub(super) interfaces: Vec<SocketAddr>,
    /// Where the servers saw it.
    pub(super) observations: Vec<Observation>,
}

/// It is looked again after this time: home routers forget what is not used after some minutes (RFC 4787, REQ-5).
pub(super) const EVERY: Duration = Duration::from_secs(180);
/// However often the supernode is lost, it is not looked more often; picked by hand.
const SELDOM: Duration = Duration::from_secs(10);
/// The resolver has so long for a name.
const LOOKUP: Duration = Duration::from_secs(10);

/// Looks for as long as the node runs.
#[derive(Debug)]
pub(super) struct Lookout {
    pub(super) node: Node,
    pub(super) servers: Vec<StunServer>,
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) events: broadcast::Receiver<Event>,
    pub(super) notices: broadcast::Sender<Notice>,
}

impl Lookout {
    pub(super) async fn run(mut self) {
        let mut silent = BTreeSet::new();
        loop {
            let mut observations = Vec::new();
            for server in &self.servers {
                match self.ask(server).await {
                    Ok(seen) => {
                        silent.remove(&server.to_string());
                        observations.extend(seen);
                    }
                    Err(why) if silent.insert(server.to_string()) => {
                        let text = format!("The STUN server {server} did not say where this node is seen: {why}.");
                        // Nobody may be listening.
                        let _heard = self.notices.send(Notice::Warning { text });
                    }
                    Err(why) => tracing::debug!(%server, why, "still silent"),
                }
            }
            let local = self.node.local_addr();
            let ips = reachable_addresses(local).into_iter();
            let interfaces = ips.map(|ip| SocketAddr::new(ip, local.port())).collect();
            if self.inputs.send(Input::Seen(Seen { interfaces, observations })).await.is_err() {
                return;
            }
            self.rest().await;
        }
    }

    /// Ends when it is to be looked again.
    async fn rest(&mut self) {
        let begin = Instant::now();
        let lost = async {
            loop {
                match self.events.recv().await {
                    Ok(Event::SupernodeLost { .. }) => return sleep_until(begin + SELDOM).await,
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
                }
            }
        };
        // Time over, or lost: both are reasons.
        let _either = timeout(EVERY, lost).await;
    }

    /// Asks a server over each family of addresses that both sides have; a phrase where none answers.
    async fn ask(&self, server: &StunServer) -> Result<Vec<Observation>, String> {
        let looking_up = tokio::net::lookup_host((server.host.as_str(), server.port));
        let found: Vec<SocketAddr> = match timeout(LOOKUP, looking_up).await {
            Ok(Ok(found)) => found.filter(|address| self.node.route_to(*address).is_ok()).collect(),
            Ok(Err(error)) => return Err(format!("its address cannot be found ({error}); is --stun right?")),
            Err(_) => return Err("its address was not found in time; is there a network?".to_owned()),
        };
        let of = |is_family: fn(&SocketAddr) -> bool| found.iter().copied().find(is_family);
        let (v4, v6) = (of(SocketAddr::is_ipv4), of(SocketAddr::is_ipv6));
        if v4.is_none() && v6.is_none() {
            return Err("it has no address that can be reached from where this node listens".to_owned());
        }
        let (v4, v6) = tokio::join!(self.ask_at(v4), self.ask_at(v6));
        let why = [&v4, &v6].into_iter().find_map(|asked| asked.as_ref()?.as_ref().err().cloned());
        let seen: Vec<Observation> = [v4, v6].into_iter().flatten().flatten().collect();
        match why {
            Some(why) if seen.is_empty() => Err(why),
            _ => Ok(seen),
        }
    }

    async fn ask_at(&self, server: Option<SocketAddr>) -> Option<Result<Observation, String>> {
        let asked = server?;
        let seen = self.node.stun(asked, SocketId(0)).await;
        Some(match seen {
            Ok(mapped) => Ok(Observation { local: local_towards(&self.node, asked), asked, mapped }),
            Err(error) => Err(format!(
                "{error} from {asked}; is it a STUN server, and may UDP leave here? Until it answers the supernode's word \
                 counts"
            )),
        })
    }
}

/// The first socket of a node with the address of the interface over which it reaches somebody, as far as that is known.
pub(super) fn local_towards(node: &Node, remote: SocketAddr) -> SocketAddr {
    let local = node.local_addr();
    if !local.ip().is_unspecified() {
        return local;
    }
    let any: IpAddr = if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // To connect sends nothing: the kernel looks which way it would go.
    let way = UdpSocket::bind((any, 0)).and_then(|probe| probe.connect(remote).and_then(|()| probe.local_addr()));
    SocketAddr::new(way.map_or(any, |way| way.ip()), local.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_and_written() {
        for (text, written) in [
            ("stun.example.org", "stun.example.org:3478"),
            ("stun.example.org:1", "stun.example.org:1"),
            ("192.0.2.1:8000", "192.0.2.1:8000"),
            ("[2001:db8::7]:8000", "[2001:db8::7]:8000"),
            ("2001:db8::7", "[2001:db8::7]:3478"),
        ] {
            assert_eq!(text.parse::<StunServer>().unwrap().to_string(), written, "{text}");
        }
        for text in ["", ":1", "host:", "host:0", "host:65536", "a b", "a/b:1", "[::1", "[::1]1", "stun:a:b:c:\n"] {
            assert_eq!(text.parse::<StunServer>(), Err(NotAServer), "{text}");
        }
    }
}
