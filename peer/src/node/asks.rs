//! What the rest of the program asks a node.

use std::net::SocketAddr;
use std::time::Duration;

use common::group::{ChatError, ConnectError, Listing, MAX_FILES, Member, Point, Shared, ShelfFull};
use common::id::{Content, PeerId};
use common::name::EntryName;
use common::nat::NatKind;
use common::wire::tracker::{Have, Holder};
use tokio::sync::{mpsc, oneshot};

use super::actor::Input;

/// Asks a node; clones ask the same.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    inputs: mpsc::Sender<Input>,
}

/// The node has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this node is ending")]
pub(crate) struct Ended;

/// What a node is asked.
#[derive(Debug)]
pub(super) enum Ask {
    Share(EntryName, Shared, Answer<Result<(), ShelfFull>>),
    Unshare(EntryName, Answer<()>),
    Announce(Content, Have, Answer<Result<(), ShelfFull>>),
    List(Option<EntryName>, u32, Answer<Page>),
    Holders(Content, Answer<Vec<Holder>>),
    Members(Answer<Members>),
    Precedence(Answer<Option<Precedence>>),
    Recall(Precedence, Answer<()>),
    Chat(String, Answer<Result<(), ChatError>>),
    Connect(SocketAddr, Answer<Result<PeerId, ConnectError>>),
    Invite(SocketAddr, Answer<()>),
    Peers(Answer<Peers>),
    Leave(Answer<()>),
}

/// Where an answer goes; dropped where there is none.
pub(super) type Answer<T> = oneshot::Sender<T>;

/// A part of the list of files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Page {
    /// How many there are in all.
    pub(crate) total: u32,
    /// Those from where it was asked for.
    pub(crate) files: Vec<Listing>,
}

/// Who is in the network.
#[derive(Debug, Clone)]
pub(crate) struct Members {
    /// In order of joining; this node is one of them.
    pub(crate) members: Vec<Member>,
}

/// Who is there, and how each is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peers {
    /// This node.
    pub(crate) here: OwnLine,
    /// The others, in order of joining.
    pub(crate) others: Vec<PeerLine>,
}

/// This node among the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnLine {
    /// What the others call its user.
    pub(crate) name: String,
    /// Whether it is the supernode.
    pub(crate) supernode: bool,
    /// Where it is seen from outside, once that is known.
    pub(crate) seen_at: Option<SocketAddr>,
    /// What stands in between.
    pub(crate) nat: NatKind,
}

/// Who stands before this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Precedence {
    /// In order of joining; none where this node is the first.
    pub(super) before: Vec<PeerId>,
    /// By which roster.
    pub(super) point: Point,
}

/// How another node is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerLine {
    /// Who.
    pub(crate) peer: PeerId,
    /// Its user's name.
    pub(crate) name: String,
    /// Whether it is the supernode.
    pub(crate) supernode: bool,
    /// How, if there is a connection to it.
    pub(crate) way: Option<Way>,
    /// What stands between it and the others, as far as it told.
    pub(crate) nat: NatKind,
}

/// A way to another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    /// Where it is; `None`: reached through a relay.
    pub(crate) address: Option<SocketAddr>,
    /// How far.
    pub(crate) round_trip: Duration,
    /// How fast it sends there, in bytes a second, if that is known.
    pub(crate) rate: Option<u64>,
}

impl Asker {
    pub(super) const fn new(inputs: mpsc::Sender<Input>) -> Self {
        Self { inputs }
    }

    /// Whether the node has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.inputs.is_closed()
    }

    async fn ask<T>(&self, question: impl FnOnce(Answer<T>) -> Ask) -> Result<T, Ended> {
        let (answer, answered) = oneshot::channel();
        self.inputs.send(Input::Ask(question(answer))).await.map_err(|_closed| Ended)?;
        answered.await.map_err(|_dropped| Ended)
    }

    /// Shares something under this name, and tells all.
    pub(crate) async fn share(&self, entry: EntryName, shared: Shared) -> Result<Result<(), ShelfFull>, Ended> {
        self.ask(|answer| Ask::Share(entry, shared, answer)).await
    }

    /// Ends that.
    pub(crate) async fn unshare(&self, entry: EntryName) -> Result<(), Ended> {
        self.ask(|answer| Ask::Unshare(entry, answer)).await
    }

    /// Says which chunks are here.
    pub(crate) async fn announce(&self, content: Content, have: Have) -> Result<Result<(), ShelfFull>, Ended> {
        self.ask(|answer| Ask::Announce(content, have, answer)).await
    }

    /// What there is, all or of one name, in order: at most [`MAX_FILES`], whatever the supernode says; an error where nobody
    /// answers, too.
    pub(crate) async fn list(&self, name: Option<&EntryName>) -> Result<Vec<Listing>, Ended> {
        let mut all = Vec::new();
        loop {
            let offset = u32::try_from(all.len()).unwrap_or(u32::MAX);
            let page = self.ask(|answer| Ask::List(name.cloned(), offset, answer)).await?;
            let is_last = page.files.is_empty();
            all.extend(page.files);
            if is_last || all.len() >= MAX_FILES.min(page.total as usize) {
                all.truncate(MAX_FILES);
                return Ok(all);
            }
        }
    }

    /// Who has something of `content`; an error where nobody answers, too.
    pub(crate) async fn holders(&self, content: Content) -> Result<Vec<Holder>, Ended> {
        self.ask(|answer| Ask::Holders(content, answer)).await
    }

    /// Who is in the network.
    pub(crate) async fn members(&self) -> Result<Members, Ended> {
        self.ask(Ask::Members).await
    }

    /// Who stands before this node; `None` where nobody ever joined it.
    pub(super) async fn precedence(&self) -> Result<Option<Precedence>, Ended> {
        self.ask(Ask::Precedence).await
    }

    /// That was so in an earlier run.
    pub(super) async fn recall(&self, precedence: Precedence) -> Result<(), Ended> {
        self.ask(|answer| Ask::Recall(precedence, answer)).await
    }

    /// Says something to all.
    pub(crate) async fn chat(&self, text: String) -> Result<Result<(), ChatError>, Ended> {
        self.ask(|answer| Ask::Chat(text, answer)).await
    }

    /// Connects to whoever is there, with all who follow this node.
    pub(crate) async fn connect(&self, address: SocketAddr) -> Result<Result<PeerId, ConnectError>, Ended> {
        self.ask(|answer| Ask::Connect(address, answer)).await
    }

    /// Opens our router towards an address, until it answers or a minute has passed.
    pub(crate) async fn invite(&self, address: SocketAddr) -> Result<(), Ended> {
        self.ask(|answer| Ask::Invite(address, answer)).await
    }

    /// Who is there, and how each is reached.
    pub(crate) async fn peers(&self) -> Result<Peers, Ended> {
        self.ask(Ask::Peers).await
    }

    /// Leaves in good order.
    pub(crate) async fn leave(&self) -> Result<(), Ended> {
        self.ask(Ask::Leave).await
    }
}

#[cfg(test)]
pub(super) mod tests {
    use common::id::{FileId, Hash};

    use super::*;

    /// Asks a node that knows these members, and nothing else.
    #[expect(clippy::disallowed_methods, reason = "it ends with those who ask")]
    pub(in super::super) fn of(members: Vec<Member>) -> Asker {
        let (sender, mut inputs) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(input) = inputs.recv().await {
                if let Input::Ask(Ask::Members(answer)) = input {
                    drop(answer.send(Members { members: members.clone() }));
                }
            }
        });
        Asker::new(sender)
    }

    /// Asks whoever takes the questions.
    pub(in super::super) fn by_hand() -> (Asker, mpsc::Receiver<Input>) {
        let (sender, asked) = mpsc::channel(1);
        (Asker::new(sender), asked)
    }

    /// Where the answer to the next question goes, which must be who is there.
    pub(in super::super) async fn members_wanted(asked: &mut mpsc::Receiver<Input>) -> Answer<Members> {
        match asked.recv().await {
            Some(Input::Ask(Ask::Members(answer))) => answer,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_list_without_an_end_is_cut_off() {
        let (inputs, mut asked) = mpsc::channel(1);
        let asker = Asker::new(inputs);
        let file = Content::File(FileId::new(1, Hash([1; 32])).unwrap());
        let entry = EntryName::new("one of too many").unwrap();
        let page = vec![Listing { owner: PeerId([1; 32]), entry, shared: file.into() }; 1000];
        let answering = async {
            while let Some(Input::Ask(Ask::List(_, _, answer))) = asked.recv().await {
                answer.send(Page { total: u32::MAX, files: page.clone() }).unwrap();
            }
        };
        let listing = async {
            let files = asker.list(None).await.unwrap();
            drop(asker);
            files
        };
        let ((), files) = tokio::join!(answering, listing);
        assert_eq!(files.len(), MAX_FILES);
    }
}
