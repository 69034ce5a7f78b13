//! The desk: where the rest of the program finds, in a network without a tracker, who speaks like one. It answers from what
//! the group knows, on a stream within this process; so a network that changes its supernode looks like a tracker that is
//! always there.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use common::audience::Audience;
use common::group::{Event as GroupEvent, Listing, Member, Shared};
use common::id::{Content, PeerId};
use common::identity::PublicKey;
use common::name::{EntryName, EntryRef, UserName};
use common::wire::MAX_PAGE;
use common::wire::tracker::{
    Access, Announced, Code, Entry, Event, FromPeer, FromTracker, HistoryLine, Holder, Plan, Query, Refusal, Reply,
    Request, SortBy, User, Welcome,
};
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{broadcast, mpsc};

use super::asks::{Asker, Ended, Members};
use super::names::names;
use crate::tasks::Tasks;
use crate::tracker_client::{Entered, FrameReader, Wish, write_frame};

/// Bytes that the stream holds.
const PIPE: usize = 256 << 10;
/// Answers and events that wait to be written; who asks waits when there is no room.
const WAITING: usize = 64;
/// How long the client may wait for a word, in milliseconds. There is no machine in between that could be gone: a day.
const SILENCE_MS: u64 = 24 * 3600 * 1000;

/// Speaks like a tracker.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    asker: Asker,
    key: PublicKey,
    name: UserName,
    local: SocketAddr,
    events: broadcast::Sender<GroupEvent>,
}

impl Desk {
    pub(super) const fn new(
        asker: Asker,
        key: PublicKey,
        name: UserName,
        local: SocketAddr,
        events: broadcast::Sender<GroupEvent>,
    ) -> Self {
        Self { asker, key, name, local, events }
    }

    /// Serves everybody who enters.
    pub(super) async fn run(self, mut wishes: mpsc::Receiver<Wish>, tasks: Tasks) {
        while let Some(Wish { answer }) = wishes.recv().await {
            let (here, there) = tokio::io::duplex(PIPE);
            tasks.spawn("desk", self.clone().serve(here, tasks.clone()));
            // Who wished for it may be gone.
            drop(answer.send(Ok(Entered { stream: Box::new(there), key: self.key, remote: None })));
        }
    }

    async fn serve(self, stream: DuplexStream, tasks: Tasks) {
        let events = self.events.subscribe();
        let (read, write) = tokio::io::split(stream);
        let (outgoing, waiting) = mpsc::channel(WAITING);
        tokio::select! {
            () = self.answer_all(read, &outgoing, &tasks) => {}
            () = tell_all(events, &self, &outgoing) => {}
            () = write_all(write, waiting) => {}
        }
    }

    async fn answer_all(&self, read: ReadHalf<DuplexStream>, outgoing: &mpsc::Sender<FromTracker>, tasks: &Tasks) {
        let mut reader = FrameReader::new(read);
        while let Ok(Some(body)) = reader.next().await {
            let Ok(FromPeer::Request { id, op }) = FromPeer::from_body(&body) else { continue };
            let leaves = op == Request::Leave;
            let (desk, outgoing) = (self.clone(), outgoing.clone());
            let answering = async move {
                let message = match desk.answer(op).await {
                    Ok(result) => FromTracker::Reply { id, result },
                    Err(error) => FromTracker::Refusal { id, error },
                };
                drop(outgoing.send(message).await);
            };
            if leaves {
                return answering.await;
            }
            tasks.spawn("answer", answering);
        }
    }

    async fn answer(&self, request: Request) -> Result<Reply, Refusal> {
        match request {
            Request::Hello(_) => self.welcome().await,
            Request::Leave => self.asker.leave().await.map(|()| Reply::Done).map_err(ended),
            Request::Register { name, content, folder, .. } => self.register(&name, Shared { content, folder }).await,
            Request::Deregister { entry } => self.deregister(&entry).await,
            Request::List(query) => self.entries(&query, |_entry| true).await,
            Request::Search { text, query } => {
                let wanted = text.to_lowercase();
                self.entries(&query, |entry| entry.name.to_lowercase().contains(&wanted)).await
            }
            Request::Plan { entry, content } => self.plan(&entry, content).await,
            Request::Loc { entry, .. } => {
                let entry = self.find(&entry, None).await?;
                let holders = self.holders(entry.content).await?;
                Ok(Reply::Locations { entry, holders, next: None })
            }
            Request::Announce { swarms } => self.announce(swarms).await,
            Request::Completed { entry, content, .. } => self.share_on(&entry, content).await,
            Request::Dialled { .. } => Ok(Reply::Done),
            Request::Users => self.users().await,
            Request::Where { user } => self.whereabouts(&user).await,
            Request::Chat { text } => {
                let said = self.asker.chat(text).await.map_err(ended)?;
                said.map(|()| Reply::Done).map_err(|error| refusal(Code::Limit, error.to_string()))
            }
            Request::History => Ok(Reply::History { lines: Vec::new() }),
            Request::Subscriptions => Ok(Reply::Subscriptions { subscriptions: Vec::new() }),
            Request::Offers => Ok(Reply::Offers { received: Vec::new(), sent: Vec::new() }),
            _ => Err(refusal(Code::Forbidden, "that needs a tracker, and this network has none".to_owned())),
        }
    }

    async fn welcome(&self) -> Result<Reply, Refusal> {
        let Members { members } = self.asker.members().await.map_err(ended)?;
        Ok(Reply::Welcome(Welcome {
            name: self.name.to_string(),
            seen_as: self.local,
            time_ms: now_ms(),
            silence_ms: SILENCE_MS,
            peers: u32::try_from(members.len()).unwrap_or(u32::MAX),
            account: false,
            access: Access::Open,
            udp: None,
        }))
    }

    async fn register(&self, name: &str, shared: Shared) -> Result<Reply, Refusal> {
        let entry = name.parse().map_err(|error: common::name::NameError| refusal(Code::BadName, error.to_string()))?;
        let has_room = self.asker.share(entry, shared).await.map_err(ended)?;
        has_room.map_err(|error| refusal(Code::Limit, error.to_string()))?;
        let entry = format!("{}/{name}", self.name);
        Ok(Reply::Registered { entry, version: 1, already: false, audience: Audience::Public })
    }

    async fn deregister(&self, entry: &str) -> Result<Reply, Refusal> {
        let EntryRef { name, .. } = parse(entry)?;
        self.asker.unshare(name).await.map(|()| Reply::Done).map_err(ended)
    }

    /// What was downloaded is offered by this node, too: whoever shared it first may leave.
    async fn share_on(&self, entry: &str, content: Content) -> Result<Reply, Refusal> {
        let EntryRef { name, .. } = parse(entry)?;
        let listed = self.asker.list(Some(&name)).await.unwrap_or_default();
        let known = listed.into_iter().map(|listing| listing.shared).find(|shared| shared.content == content);
        // Where there is no room for it, it is served all the same.
        let _full = self.asker.share(name, known.unwrap_or_else(|| content.into())).await.map_err(ended)?;
        Ok(Reply::Done)
    }

    async fn announce(&self, swarms: Vec<Announced>) -> Result<Reply, Refusal> {
        for Announced { content, have, .. } in swarms {
            let announced = self.asker.announce(content, have).await.map_err(ended)?;
            announced.map_err(|error| refusal(Code::Limit, error.to_string()))?;
        }
        Ok(Reply::Done)
    }

    async fn entries(&self, query: &Query, wanted: impl Fn(&Entry) -> bool) -> Result<Reply, Refusal> {
        let mut entries = self.all(None).await?;
        entries.retain(wanted);
        if query.mine {
            entries.retain(|entry| entry.owners.iter().any(|owner| owner == self.name.as_str()));
        }
        match query.by {
            // Nobody knows when something was shared first.
            SortBy::Name | SortBy::Date => {}
            SortBy::Size => entries.sort_by_key(|entry| Reverse(entry.bytes())),
            SortBy::Seeders => entries.sort_by_key(|entry| Reverse(entry.seeders)),
        }
        let total = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        let limit = match query.limit {
            0 => MAX_PAGE,
            limit => limit.min(MAX_PAGE),
        };
        let part = entries.into_iter().skip(query.offset as usize).take(limit as usize);
        Ok(Reply::Entries { entries: part.collect(), total })
    }

    /// All entries, or those of a name: what several members share under one name with the same content is one.
    async fn all(&self, name: Option<&EntryName>) -> Result<Vec<Entry>, Refusal> {
        let files = self.asker.list(name).await.map_err(unanswered)?;
        let Members { members } = self.asker.members().await.map_err(ended)?;
        Ok(merge(&files, &names(&members)))
    }

    /// The one entry that this text means.
    async fn find(&self, text: &str, content: Option<Content>) -> Result<Entry, Refusal> {
        let EntryRef { owner, name } = parse(text)?;
        let mut found = self.all(Some(&name)).await?;
        found.retain(|entry| {
            let of_owner = owner.as_ref().is_none_or(|owner| entry.owners.iter().any(|one| one == owner.as_str()));
            // What is being downloaded goes on although its owner has left.
            content.map_or(of_owner, |content| entry.content == content)
        });
        match found.as_slice() {
            [] => Err(refusal(Code::NotFound, format!("nobody shares {text}"))),
            [_] => Ok(found.swap_remove(0)),
            [_, _, ..] => {
                let text = format!("different files are shared as {text}");
                Err(Refusal { code: Code::Ambiguous, text, candidates: found })
            }
        }
    }

    async fn plan(&self, text: &str, content: Option<Content>) -> Result<Reply, Refusal> {
        let entry = match (self.find(text, content).await, content) {
            (Err(Refusal { code: Code::NotFound, .. }), Some(content)) => orphan(&parse(text)?, content),
            (found, _) => found?,
        };
        let holders = self.holders(entry.content).await?;
        Ok(Reply::Plan(Plan { entry, audience: Audience::Public, ticket: String::new(), holders }))
    }

    async fn holders(&self, content: Content) -> Result<Vec<Holder>, Refusal> {
        self.asker.holders(content).await.map_err(unanswered)
    }

    async fn users(&self) -> Result<Reply, Refusal> {
        let Members { members } = self.asker.members().await.map_err(ended)?;
        let mut names = names(&members);
        let mut user = |member: &Member| User {
            name: names.remove(&member.id()).unwrap_or_default(),
            peer: member.id(),
            since_ms: 0,
            files: 0,
            reachable: None,
        };
        Ok(Reply::Users { users: members.iter().map(&mut user).collect() })
    }

    async fn whereabouts(&self, user: &str) -> Result<Reply, Refusal> {
        let Members { members } = self.asker.members().await.map_err(ended)?;
        let names = names(&members);
        let holder = |member: &Member| {
            let name = names.get(&member.id()).filter(|name| *name == user || member.id().to_string() == user)?;
            let addresses = member.addresses().as_slice().to_vec();
            Some(Holder { peer: member.id(), user: name.clone(), addresses, have: None })
        };
        let holders: Vec<_> = members.iter().filter_map(holder).collect();
        if holders.is_empty() {
            return Err(refusal(Code::NotFound, format!("nobody here is called {user}")));
        }
        Ok(Reply::Whereabouts { holders })
    }
}

fn merge(files: &[Listing], names: &BTreeMap<PeerId, String>) -> Vec<Entry> {
    let mut merged: BTreeMap<(String, Content), Entry> = BTreeMap::new();
    for Listing { owner, entry, shared } in files {
        let owner = names.get(owner).cloned().unwrap_or_else(|| owner.to_string());
        let key = (entry.to_string(), shared.content);
        let merged = merged.entry(key).or_insert_with(|| entry_of(entry, shared.content));
        // They say the same, unless somebody lies.
        merged.folder = merged.folder.or(shared.folder);
        merged.owners.push(owner);
        merged.seeders += 1;
    }
    merged.into_values().collect()
}

fn entry_of(name: &EntryName, content: Content) -> Entry {
    Entry {
        owners: Vec::new(),
        name: name.to_string(),
        version: 1,
        content,
        folder: None,
        restricted: false,
        users: Vec::new(),
        seeders: 0,
        downloaders: 0,
        registered_ms: 0,
    }
}

/// An entry that nobody shares any more, of which somebody may still have chunks.
fn orphan(reference: &EntryRef, content: Content) -> Entry {
    let owners = reference.owner.iter().map(UserName::to_string).collect();
    Entry { owners, ..entry_of(&reference.name, content) }
}

fn parse(text: &str) -> Result<EntryRef, Refusal> {
    text.parse().map_err(|error: common::name::NameError| refusal(Code::BadName, error.to_string()))
}

fn refusal(code: Code, text: String) -> Refusal {
    Refusal { code, text, candidates: Vec::new() }
}

fn ended(ended: Ended) -> Refusal {
    refusal(Code::Unavailable, ended.to_string())
}

fn unanswered(_ended: Ended) -> Refusal {
    refusal(Code::Unavailable, "the supernode does not answer now; try again in some seconds".to_owned())
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What members are called, as long as nobody leaves and nobody changes their order.
#[derive(Debug, Default)]
struct Called {
    names: BTreeMap<PeerId, String>,
}

impl Called {
    /// What a member is called who calls himself `wished`. Of a crowd that comes the first is asked for, and the others known.
    async fn name_of(&mut self, peer: &PeerId, wished: &UserName, asker: &Asker) -> String {
        if !self.names.contains_key(peer)
            && let Ok(Members { members }) = asker.members().await
        {
            self.names = names(&members);
        }
        self.names.get(peer).cloned().unwrap_or_else(|| wished.to_string())
    }

    fn forget(&mut self) {
        self.names.clear();
    }
}

/// Tells what happens in the group.
async fn tell_all(mut events: broadcast::Receiver<GroupEvent>, desk: &Desk, outgoing: &mpsc::Sender<FromTracker>) {
    let mut known: BTreeMap<PeerId, String> = BTreeMap::new();
    let mut called = Called::default();
    loop {
        let event = match events.recv().await {
            Ok(event) => event,
            Err(broadcast::error::RecvError::Lagged(_)) => {
                // Who left may not have been heard.
                let Ok(Members { members }) = desk.asker.members().await else { return };
                known = members.iter().map(|member| (member.id(), member.name().to_string())).collect();
                continue;
            }
            Err(broadcast::error::RecvError::Closed) => return,
        };
        let told = match event {
            GroupEvent::Came(member) => {
                let peer = member.id();
                let name = called.name_of(&peer, member.name(), &desk.asker).await;
                known.insert(peer, name.clone());
                (peer != desk.key.peer_id()).then_some(Event::Joined { name, peer })
            }
            GroupEvent::Went(peer) => {
                called.forget();
                let name = known.remove(&peer).unwrap_or_else(|| peer.to_string());
                Some(Event::Left { name, peer })
            }
            GroupEvent::SupernodeIs { .. } => {
                called.forget();
                None
            }
            GroupEvent::Chat { author, name, text, .. } => {
                let from = called.name_of(&author, &name, &desk.asker).await;
                Some(Event::Chat(HistoryLine { from, text, at_ms: now_ms() }))
            }
            GroupEvent::Holder { content, holder } => {
                Some(Event::Holder { content, audience: Audience::Public, holder })
            }
            _ => None,
        };
        if let Some(event) = told
            && outgoing.send(FromTracker::Event(event)).await.is_err()
        {
            return;
        }
    }
}

async fn write_all(mut write: WriteHalf<DuplexStream>, mut waiting: mpsc::Receiver<FromTracker>) {
    while let Some(message) = waiting.recv().await {
        match message.to_frame() {
            Ok(frame) => {
                if write_frame(&mut write, &frame).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::warn!(%error, "an answer within this process"),
        }
    }
}

#[cfg(test)]
mod tests {
    use common::group::{Addresses, Point};
    use common::identity::Identity;
    use common::mrt::StaticKey;

    use super::super::asks::tests as asks;
    use super::*;

    fn key(number: u8) -> PublicKey {
        Identity::from_seed(&[number; 32]).public_key()
    }

    /// Two who call themselves the same, and the desk of a third.
    fn scene() -> (Vec<Member>, Desk) {
        let name = || UserName::new("ann").unwrap();
        let member = |number| Member::new(key(number), StaticKey([number; 32]), name(), Addresses::default());
        let members = vec![member(1), member(2)];
        let local = SocketAddr::from(([127, 0, 0, 1], 4000));
        let desk = Desk::new(asks::of(members.clone()), key(3), name(), local, broadcast::Sender::new(4));
        (members, desk)
    }

    #[tokio::test]
    async fn those_who_call_themselves_the_same_talk_under_different_names() {
        let (members, desk) = scene();
        let (events, (outgoing, mut told)) = (desk.events.subscribe(), mpsc::channel(4));
        for member in &members {
            desk.events.send(GroupEvent::Came(member.clone())).unwrap();
        }
        let said = GroupEvent::Chat {
            author: members[1].id(),
            name: members[1].name().clone(),
            text: "hello".to_owned(),
            position: Point { term: 1, number: 1 },
        };
        desk.events.send(said).unwrap();
        let telling = tell_all(events, &desk, &outgoing);
        let hearing = async {
            let mut names = Vec::new();
            while names.len() < 3 {
                match told.recv().await {
                    Some(FromTracker::Event(Event::Joined { name, .. })) => names.push(name),
                    Some(FromTracker::Event(Event::Chat(line))) => names.push(line.from),
                    other => panic!("{other:?}"),
                }
            }
            names
        };
        tokio::select! {
            () = telling => panic!("it ended"),
            names = hearing => assert_eq!(names, ["ann", "ann-2", "ann-2"]),
        }
    }

    #[tokio::test]
    async fn those_who_call_themselves_the_same_are_found_by_different_names() {
        let (members, desk) = scene();
        for (called, member) in ["ann", "ann-2"].into_iter().zip(&members) {
            for asked in [called.to_owned(), member.id().to_string()] {
                let Ok(Reply::Whereabouts { holders }) = desk.answer(Request::Where { user: asked }).await else {
                    panic!("{called} is there");
                };
                let found: Vec<_> = holders.iter().map(|holder| (holder.peer, holder.user.as_str())).collect();
                assert_eq!(found, [(member.id(), called)]);
            }
        }
        let Ok(Reply::Users { users }) = desk.answer(Request::Users).await else { panic!("they are there") };
        assert_eq!(users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["ann", "ann-2"]);
    }

    #[tokio::test]
    async fn who_came_unheard_is_known_when_it_leaves() {
        let key = |number| Identity::from_seed(&[number; 32]).public_key();
        let name = || UserName::new("ann").unwrap();
        let ann = Member::new(key(1), StaticKey([1; 32]), name(), Addresses::default());
        let local = SocketAddr::from(([127, 0, 0, 1], 4000));
        let desk = Desk::new(asks::of(vec![ann.clone()]), key(2), name(), local, broadcast::Sender::new(1));
        let events = broadcast::Sender::new(2);
        let ((outgoing, mut told), heard) = (mpsc::channel(4), events.subscribe());
        // There is no room for all of these, and the first is lost.
        for event in [GroupEvent::Came(ann.clone()), GroupEvent::Went(key(3).peer_id()), GroupEvent::Went(ann.id())] {
            events.send(event).unwrap();
        }
        drop(events);
        tell_all(heard, &desk, &outgoing).await;
        drop(outgoing);
        let mut left = Vec::new();
        while let Some(FromTracker::Event(Event::Left { name, .. })) = told.recv().await {
            left.push(name);
        }
        assert_eq!(left, [key(3).peer_id().to_string(), "ann".to_owned()]);
    }
}
