//! A small network without sockets: peers join, ask and leave, and each rule's outcome can be looked at.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::audience::Audience;
use common::id::{Content, FileId, Hash, PeerId};
use common::identity::Identity;
use common::wire::tracker::{Announced, Code, Event, Have, Hello, Plan, Refusal, Reply, Request};

use super::{Effect, Newcomer, Now, Outcome, Why, claim, enter, handle, leave};
use crate::state::{ConnId, Contact, Device, Gate, State, Write};

pub(super) struct World {
    pub(super) state: State,
    pub(super) now: Now,
    conns: u64,
}

/// A file of 16 chunks.
pub(super) fn file(number: u8) -> Content {
    FileId::new(16_384 * 16, Hash([number; 32])).unwrap().into()
}

/// The key that goes with a number.
pub(super) fn identity(number: u8) -> Identity {
    Identity::from_seed(&[number; 32])
}

pub(super) fn hello(name: &str) -> Hello {
    Hello {
        name: name.to_owned(),
        name_is_default: false,
        port: 4000,
        interfaces: Vec::new(),
        advertised: Vec::new(),
        agent: String::new(),
        device: String::new(),
    }
}

pub(super) fn hello_default(name: &str) -> Hello {
    Hello { name_is_default: true, ..hello(name) }
}

impl World {
    pub(super) fn new() -> Self {
        let now = Now { unix_ms: 1_700_000_000_000, uptime: Duration::from_secs(100) };
        Self { state: State::new(identity(0), 1), now, conns: 0 }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now.uptime += time;
        self.now.unix_ms += u64::try_from(time.as_millis()).unwrap();
    }

    pub(super) fn apply(&mut self, writes: Vec<Write>) {
        for write in writes {
            self.state.apply(write);
        }
    }

    /// Joins with key `number`, or is refused; gives its name.
    pub(super) fn try_join(&mut self, number: u8, hello: &Hello) -> Result<String, Refusal> {
        self.join_from(number, hello, &format!("192.0.2.{number}:50000")).map(|(name, _)| name)
    }

    pub(super) fn join_from(
        &mut self,
        number: u8,
        hello: &Hello,
        seen: &str,
    ) -> Result<(String, Vec<Effect>), Refusal> {
        let key = identity(number).public_key();
        let claimed = claim(&mut self.state, key.peer_id(), hello, self.now)?;
        self.apply(claimed.writes);
        let seen: SocketAddr = seen.parse().unwrap();
        let contact = Contact {
            seen,
            arrived_at: "203.0.113.1".parse().unwrap(),
            port: hello.port,
            interfaces: hello.interfaces.clone(),
            advertised: hello.advertised.clone(),
        };
        self.conns += 1;
        let newcomer = Newcomer { conn: ConnId(self.conns), gate: Arc::new(Gate::default()), key, contact };
        let entered = enter(&mut self.state, claimed.name.clone(), newcomer, self.now);
        Ok((claimed.name.to_string(), [claimed.effects, entered].concat()))
    }

    /// Joins under this name.
    pub(super) fn join(&mut self, number: u8, name: &str) -> PeerId {
        assert_eq!(self.try_join(number, &hello(name)).unwrap(), name);
        identity(number).peer_id()
    }

    /// Binds key `number` to a user that there is, as a log-in does, and joins with it.
    pub(super) fn another_device(&mut self, number: u8, name: &str) -> PeerId {
        let peer = identity(number).peer_id();
        let account = name.parse().unwrap();
        let device = Device { account, name: String::new(), since_ms: self.now.unix_ms, seen_ms: self.now.unix_ms };
        self.apply(vec![Write::Device(peer, Some(device))]);
        assert_eq!(self.try_join(number, &hello(name)).unwrap(), name);
        peer
    }

    pub(super) fn leave(&mut self, peer: PeerId) -> Vec<Effect> {
        let conn = self.state.roster.get(&peer).unwrap().conn;
        let (writes, effects) = leave(&mut self.state, peer, conn, Why::Disconnected, self.now);
        self.apply(writes);
        effects
    }

    pub(super) fn ask(&mut self, peer: PeerId, request: Request) -> Outcome {
        let mut outcome = handle(&mut self.state, peer, request, self.now);
        self.apply(std::mem::take(&mut outcome.writes));
        outcome
    }

    pub(super) fn reply(&mut self, peer: PeerId, request: Request) -> Reply {
        self.ask(peer, request).reply.unwrap()
    }

    pub(super) fn refused(&mut self, peer: PeerId, request: Request) -> Code {
        self.ask(peer, request).reply.unwrap_err().code
    }

    pub(super) fn register(&mut self, peer: PeerId, name: &str, content: Content) -> Reply {
        self.reply(peer, Request::Register { name: name.to_owned(), content, folder: None, users: None })
    }

    /// Registers for these users only.
    pub(super) fn register_for(&mut self, peer: PeerId, name: &str, content: Content, users: &[&str]) -> Reply {
        let users = Some(users.iter().map(|user| (*user).to_owned()).collect());
        self.reply(peer, Request::Register { name: name.to_owned(), content, folder: None, users })
    }

    /// Announces for an audience.
    pub(super) fn announce_for(&mut self, peer: PeerId, content: Content, audience: Audience, have: Have) {
        let swarms = vec![Announced { content, audience, have }];
        assert_eq!(self.reply(peer, Request::Announce { swarms }), Reply::Done);
    }

    pub(super) fn announce(&mut self, peer: PeerId, content: Content, have: Have) -> Vec<Effect> {
        let swarms = vec![Announced { content, audience: Audience::Public, have }];
        let outcome = self.ask(peer, Request::Announce { swarms });
        assert_eq!(outcome.reply, Ok(Reply::Done));
        outcome.effects
    }

    pub(super) fn plan(&mut self, peer: PeerId, entry: &str) -> (Plan, Vec<Effect>) {
        let outcome = self.ask(peer, Request::Plan { entry: entry.to_owned(), content: None });
        match outcome.reply {
            Ok(Reply::Plan(plan)) => (plan, outcome.effects),
            other => panic!("{other:?}"),
        }
    }
}

/// Who is told of which holder.
pub(super) fn told(effects: &[Effect]) -> Vec<(PeerId, PeerId)> {
    let mut told: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Tell { to, event: Event::Holder { holder, .. } } => Some((*to, holder.peer)),
            _ => None,
        })
        .collect();
    told.sort_unstable();
    told
}
