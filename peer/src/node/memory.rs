//! Memory: with whom this node was in a network last, and where; so that it finds back after a restart.
//!
//! What is in the file counts as hearsay: whoever is at an address must have the key of the network.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::group::{Addresses, Event, Point};
use common::id::{NetworkId, PeerId};
use common::name::UserName;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::time::sleep;

use super::asks::{Asker, Ended, Precedence};
use super::joining::{Found, Joiner};
use crate::command::off_reactor;
use crate::dir::{StateError, load_state, put_aside, save_state};
use crate::notice::Notice;

/// The file's format; one that is newer is not touched.
const SCHEMA: u32 = 1;
/// No file has more bytes: so many members have no more addresses.
const MAX_BYTES: u64 = 64 << 10;
/// So many members are remembered, the first ones: from the supernode on, those who will be it.
const MOST_MEMBERS: usize = 16;
/// Changes within this are written as one; picked by hand.
const SETTLE: Duration = Duration::from_secs(1);

/// With whom this node was in which network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    network: NetworkId,
    members: Vec<Known>,
    /// Who of them stood before this node.
    #[serde(default)]
    place: Option<Place>,
}

/// The place of this node in the order of joining.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// So many of the remembered members stood before it.
    before: usize,
    /// By the roster of this term ...
    term: u64,
    /// ... and this number.
    number: u64,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    peer: PeerId,
    name: UserName,
    addresses: Vec<SocketAddr>,
}

/// The memory of a node.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) path: PathBuf,
    pub(super) network: NetworkId,
    pub(super) here: PeerId,
    pub(super) asker: Asker,
    pub(super) events: broadcast::Receiver<Event>,
    pub(super) notices: broadcast::Sender<Notice>,
}

impl Memory {
    /// Goes back to where this node was, then remembers where it is, for as long as it runs.
    pub(super) async fn run(mut self, joiner: Joiner) {
        let (path, network) = (self.path.clone(), self.network);
        let (last, warning) = off_reactor(move || load(&path, network)).await;
        if let Some(text) = warning {
            self.warn(text);
        }
        if let Some(precedence) = last.as_ref().and_then(Remembered::precedence)
            && self.asker.recall(precedence).await.is_err()
        {
            return;
        }
        let addresses = last.as_ref().map(|last| in_turn(&last.members)).unwrap_or_default();
        let back = joiner.try_all(Found::Again, addresses);
        let remembering = self.remember(last);
        tokio::join!(back, remembering);
    }

    fn warn(&self, text: String) {
        // Nobody may be listening.
        let _heard = self.notices.send(Notice::Warning { text });
    }

    async fn remember(&mut self, mut last: Option<Remembered>) {
        let mut has_failed = false;
        loop {
            match self.events.recv().await {
                Ok(Event::Came(_) | Event::Went(_) | Event::SupernodeIs { .. })
                | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Ok(_) => continue,
                Err(broadcast::error::RecvError::Closed) => return,
            }
            sleep(SETTLE).await;
            // What happened meanwhile is seen now.
            self.events = self.events.resubscribe();
            let Ok(now) = self.look().await else { return };
            // Who is alone may want to go back.
            if now.members.is_empty() || last.as_ref() == Some(&now) {
                continue;
            }
            last = Some(now.clone());
            let path = self.path.clone();
            if let Err(error) = off_reactor(move || save_state(&path, SCHEMA, &now)).await
                && !std::mem::replace(&mut has_failed, true)
            {
                let path = self.path.display();
                self.warn(format!(
                    "Who is in this network could not be written to {path}: after a restart this node will not find back \
                     by itself ({error})."
                ));
            }
        }
    }

    /// Who is there now.
    async fn look(&self) -> Result<Remembered, Ended> {
        let (members, peers) = (self.asker.members().await?.members, self.asker.peers().await?.others);
        let place = self.asker.precedence().await?.map(|Precedence { before, point }| Place {
            before: before.len().min(MOST_MEMBERS),
            term: point.term,
            number: point.number,
        });
        let others = members.iter().filter(|member| member.id() != self.here).take(MOST_MEMBERS);
        let known = others.map(|member| {
            // Where it is reached at this moment comes first.
            let way = peers.iter().find(|line| line.peer == member.id()).and_then(|line| line.way?.address);
            let addresses = Addresses::new(way.into_iter().chain(member.addresses().as_slice().iter().copied()));
            Known { peer: member.id(), name: member.name().clone(), addresses: addresses.as_slice().to_vec() }
        });
        Ok(Remembered { network: self.network, members: known.collect(), place })
    }
}

impl Remembered {
    /// Who stood before this node.
    fn precedence(&self) -> Option<Precedence> {
        let Place { before, term, number } = self.place?;
        let before = self.members.iter().take(before).map(|known| known.peer).collect();
        Some(Precedence { before, point: Point { term, number } })
    }
}

/// What is remembered of this network, and what the user should hear. Blocks.
fn load(path: &Path, network: NetworkId) -> (Option<Remembered>, Option<String>) {
    let trouble = match load_state::<Remembered>(path, SCHEMA, MAX_BYTES) {
        Ok(last) => return (last.filter(|last| last.network == network), None),
        Err(StateError::Io(error)) if error.kind() != io::ErrorKind::InvalidData => error.to_string(),
        Err(error @ StateError::Newer(_)) => error.to_string(),
        Err(error) => match put_aside(path) {
            Ok(aside) => format!("{error}; it is kept as {}", aside.display()),
            Err(_) => error.to_string(),
        },
    };
    let path = path.display();
    let text = format!("Where this node's network was cannot be read from {path}: {trouble}. `C ADDR PORT` connects.");
    (None, Some(text))
}

/// The first address of each member, then the second of each, and so on: no more than can be dialled.
fn in_turn(members: &[Known]) -> Vec<SocketAddr> {
    let members = members.iter().take(MOST_MEMBERS);
    let each: Vec<Addresses> = members.map(|known| Addresses::new(known.addresses.iter().copied())).collect();
    let longest = each.iter().map(|addresses| addresses.as_slice().len()).max().unwrap_or(0);
    (0..longest).flat_map(|place| each.iter().filter_map(move |all| all.as_slice().get(place).copied())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const NETWORK: NetworkId = NetworkId([7; 32]);

    fn known(number: u8, addresses: &[&str]) -> Known {
        Known {
            peer: PeerId([number; 32]),
            name: UserName::new("ann").unwrap(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn a_network_is_remembered_for_its_own_key_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("network.json");
        assert_eq!(load(&path, NETWORK), (None, None));
        let place = Some(Place { before: 1, term: 3, number: 4 });
        let members = vec![known(1, &["192.0.2.1:4000"]), known(2, &[])];
        let last = Remembered { network: NETWORK, members, place };
        let before = Precedence { before: vec![PeerId([1; 32])], point: Point { term: 3, number: 4 } };
        assert_eq!(last.precedence(), Some(before));
        save_state(&path, SCHEMA, &last).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(load(&path, NETWORK), (Some(last), None));
        assert_eq!(load(&path, NetworkId([8; 32])), (None, None));
    }

    #[test]
    fn a_damaged_memory_is_kept_aside_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("network.json");
        let huge = format!(r#"{{"schema":1,"network":"{}"}}"#, "x".repeat(1 << 17));
        for (number, damaged) in ["", "{", r#"{"schema":1}"#, huge.as_str()].into_iter().enumerate() {
            std::fs::write(&path, damaged).unwrap();
            let (last, warning) = load(&path, NETWORK);
            assert_eq!(last, None);
            assert!(warning.unwrap().contains("C ADDR PORT"), "{damaged:.20}");
            assert!(!path.exists(), "{number}");
        }
        std::fs::write(&path, r#"{"schema":2}"#).unwrap();
        assert!(load(&path, NETWORK).1.unwrap().contains("newer version"));
        assert!(path.exists(), "a newer one is left as it is");
    }

    #[test]
    fn everybody_has_a_turn_and_nonsense_none() {
        let members = [
            known(1, &["192.0.2.1:1", "192.0.2.1:1", "0.0.0.0:1", "192.0.2.1:2"]),
            known(2, &[]),
            known(3, &["192.0.2.3:0", "224.0.0.1:1", "192.0.2.3:1"]),
        ];
        let turns: Vec<String> = in_turn(&members).iter().map(ToString::to_string).collect();
        assert_eq!(turns, ["192.0.2.1:1", "192.0.2.3:1", "192.0.2.1:2"]);
        let crowd = vec![known(1, &["192.0.2.1:1"]); 1000];
        assert_eq!(in_turn(&crowd).len(), MOST_MEMBERS);
    }
}
