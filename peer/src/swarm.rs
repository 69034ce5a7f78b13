//! Swarms: what is here of each file, complete or in the making, for all who serve, fetch or announce it.
//!
//! Invariants: a swarm has a chunk only when it was verified (or the whole file was hashed), so that nothing
//! unverified is ever served or told of; and it is served under the audiences that it has at that moment, no other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use common::audience::{Audience, Sharing};
use common::bitmap::Bitmap;
use common::chunk::Layout;
use common::id::{Content, PeerId};
use common::merkle::ChunkHashes;
use common::wire::peer::{ConversationId, Message, Opener, Reason};
use tokio::sync::mpsc;

use crate::download::JobEvent;
use crate::link::{Link, Outbox};
use crate::revocations::Grant;
use crate::spread::Spread;
use crate::storage::Stamp;

/// Something that is shared or being downloaded.
#[derive(Debug)]
pub(crate) struct Swarm {
    content: Content,
    layout: Layout,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    have: Bitmap,
    hashes: Option<Arc<ChunkHashes>>,
    source: Source,
    listeners: Vec<Listener>,
    spread: Spread,
    job: Option<mpsc::Sender<JobEvent>>,
    /// For whom.
    audiences: BTreeMap<Audience, Announced>,
}

/// Whether the tracker is told that something is shared for an audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Announced {
    /// It is not: who asks for this knows of it from elsewhere (the manifest of a folder).
    No,
    /// It is.
    Yes,
}

/// How the audiences of a swarm changed, as far as the tracker is told of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Resharing {
    /// To be announced.
    pub(crate) added: Vec<Sharing>,
    /// To be withdrawn.
    pub(crate) removed: Vec<Sharing>,
}

/// Where the bytes are.
#[derive(Debug, Clone)]
enum Source {
    /// A file in the making, or one that was withdrawn.
    Making(Option<Arc<File>>),
    /// A complete file, which its owner may change at any time.
    Complete { path: PathBuf, stamp: Stamp },
}

/// A conversation whose other side wants to hear of new chunks.
#[derive(Debug)]
struct Listener {
    peer: PeerId,
    outbox: Weak<Outbox>,
    conversation: ConversationId,
    opener: Opener,
    /// Where the other side opened it: on what ground.
    grant: Option<Grant>,
}

/// Why bytes could not be read for a downloader.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadFailure {
    /// This chunk is not here.
    #[error("the chunk is not here")]
    NotHere,
    /// The file is not what it was.
    #[error("{0}")]
    Changed(String),
}

impl Swarm {
    /// A file that is complete, for nobody yet. It is opened for each reading, so that any number may be shared.
    pub(crate) fn complete(hashes: Arc<ChunkHashes>, path: PathBuf, stamp: Stamp) -> Self {
        let layout = hashes.layout();
        let have = Bitmap::full(layout.count());
        Self::new(hashes.file_id().into(), layout, have, Source::Complete { path, stamp }, Some(hashes))
    }

    /// A file that is to be downloaded under this audience.
    pub(crate) fn making(content: Content, audience: Audience) -> Self {
        let layout = Layout::of(&content.file_or_manifest());
        let making = Self::new(content, layout, Bitmap::empty(layout.count()), Source::Making(None), None);
        making.lock().audiences.insert(audience, Announced::Yes);
        making
    }

    fn new(content: Content, layout: Layout, have: Bitmap, source: Source, hashes: Option<Arc<ChunkHashes>>) -> Self {
        let spread = Spread::new(layout.count());
        let state =
            State { have, hashes, source, listeners: Vec::new(), spread, job: None, audiences: BTreeMap::new() };
        Self { content, layout, state: Mutex::new(state) }
    }

    /// What it is.
    pub(crate) const fn content(&self) -> Content {
        self.content
    }

    /// Whether it is shared for this audience now.
    pub(crate) fn is_for(&self, audience: &Audience) -> bool {
        self.lock().audiences.contains_key(audience)
    }

    /// What the tracker is told of it: one swarm for each audience.
    pub(crate) fn sharings(&self) -> Vec<Sharing> {
        let state = self.lock();
        let announced = state.audiences.iter().filter(|(_, announced)| **announced == Announced::Yes);
        announced.map(|(audience, _)| self.sharing(audience)).collect()
    }

    /// It is for these audiences too.
    pub(crate) fn add_audiences(&self, audiences: BTreeSet<Audience>, announced: Announced) -> Resharing {
        let mut state = self.lock();
        let mut added = Vec::new();
        for audience in audiences {
            let before = state.audiences.get(&audience).copied();
            if announced == Announced::Yes && before != Some(Announced::Yes) {
                added.push(self.sharing(&audience));
            }
            state.audiences.insert(audience, before.map_or(announced, |before| before.max(announced)));
        }
        Resharing { added, removed: Vec::new() }
    }

    /// It is for these audiences, and for no others any more.
    pub(crate) fn set_audiences(&self, audiences: BTreeSet<Audience>, announced: Announced) -> Resharing {
        let gone = {
            let mut state = self.lock();
            state.audiences.extract_if(.., |audience, _| !audiences.contains(audience)).collect::<Vec<_>>()
        };
        let gone = gone.into_iter().filter(|(_, announced)| *announced == Announced::Yes);
        let removed = gone.map(|(audience, _)| self.sharing(&audience)).collect();
        Resharing { removed, ..self.add_audiences(audiences, announced) }
    }

    /// It is not for this audience any more.
    pub(crate) fn remove_audience(&self, audience: &Audience) -> Resharing {
        let before = self.lock().audiences.remove(audience);
        let removed = before.filter(|announced| *announced == Announced::Yes).map(|_| self.sharing(audience));
        Resharing { added: Vec::new(), removed: removed.into_iter().collect() }
    }

    /// Whether it is for anybody.
    pub(crate) fn has_audiences(&self) -> bool {
        !self.lock().audiences.is_empty()
    }

    fn sharing(&self, audience: &Audience) -> Sharing {
        Sharing { content: self.content, audience: audience.clone() }
    }

    /// How it is cut.
    pub(crate) const fn layout(&self) -> Layout {
        self.layout
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The chunk hashes, once they are known.
    pub(crate) fn hashes(&self) -> Option<Arc<ChunkHashes>> {
        self.lock().hashes.clone()
    }

    /// Whether all is here and it may be served as a whole.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.lock().source, Source::Complete { .. })
    }

    /// Where a complete file lies.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match &self.lock().source {
            Source::Complete { path, .. } => Some(path.clone()),
            Source::Making(_) => None,
        }
    }

    /// The job that downloads it begins: it hears of those who come for its chunks. Those who came before hear what is
    /// here.
    pub(crate) fn begin(&self, job: mpsc::Sender<JobEvent>, source: File, have: Bitmap) {
        let told: Vec<_> = {
            let mut state = self.lock();
            state.job = Some(job);
            state.source = Source::Making(Some(Arc::new(source)));
            state.have = have.clone();
            let listeners = state.listeners.iter();
            listeners.filter_map(|l| Some((l.outbox.upgrade()?, l.conversation, l.opener))).collect()
        };
        for (outbox, conversation, opener) in told {
            common::wire::peer::maps(conversation, opener, &have).into_iter().for_each(|message| outbox.send(message));
        }
    }

    /// The chunk hashes became known.
    pub(crate) fn set_hashes(&self, hashes: Arc<ChunkHashes>) {
        self.lock().hashes = Some(hashes);
    }

    /// A chunk was verified and written; tells all who listen.
    pub(crate) fn add(&self, chunk: u32) {
        let told: Vec<_> = {
            let mut state = self.lock();
            if !state.have.insert(chunk) {
                return;
            }
            state.listeners.retain(|listener| listener.outbox.strong_count() > 0);
            let listeners = state.listeners.iter();
            listeners.filter_map(|l| Some((l.outbox.upgrade()?, l.conversation, l.opener))).collect()
        };
        for (outbox, conversation, opener) in told {
            outbox.have(conversation, opener, chunk);
        }
    }

    /// The download is done: from now on the file is served from its final place.
    pub(crate) fn finish(&self, path: PathBuf, stamp: Stamp) {
        let mut state = self.lock();
        state.source = Source::Complete { path, stamp };
        state.job = None;
    }

    /// Adds a conversation that wants to hear of new chunks: one that the other side opened on some ground, or one of this
    /// side. Gives the chunks that are here at this moment.
    pub(crate) fn listen(&self, link: &Link, conversation: ConversationId, grant: Option<Grant>) -> Bitmap {
        let mut state = self.lock();
        let (peer, outbox) = (link.peer(), Arc::downgrade(link.outbox()));
        let opener = if grant.is_some() { Opener::Receiver } else { Opener::Sender };
        state.listeners.push(Listener { peer, outbox, conversation, opener, grant });
        state.have.clone()
    }

    /// The conversation ended.
    pub(crate) fn unlisten(&self, link: &Link, conversation: ConversationId, opener: Opener) {
        let gone = Arc::downgrade(link.outbox());
        self.lock().listeners.retain(|listener| {
            !(listener.conversation == conversation && listener.opener == opener && listener.outbox.ptr_eq(&gone))
        });
    }

    /// Tells the job, if there is one, that this peer came for chunks: it may have some too.
    pub(crate) fn on_newcomer(&self, link: &Arc<Link>) {
        if let Some(job) = &self.lock().job {
            // A job that is too busy hears of the peer from the tracker too.
            let _ = job.try_send(JobEvent::Newcomer(Arc::clone(link)));
        }
    }

    /// Works on what a sole seeder knows of its downloaders, where all is here, then tells them what to ask for.
    pub(crate) fn spread(&self, work: impl FnOnce(&mut Spread)) {
        let told: Vec<_> = {
            let mut state = self.lock();
            if !state.have.is_full() {
                return;
            }
            work(&mut state.spread);
            let suggestions = state.spread.suggest();
            let outbox_of = |peer: PeerId| {
                let listeners = state.listeners.iter();
                let mut openers = listeners.filter(|l| l.peer == peer && l.opener == Opener::Receiver);
                openers.find_map(|l| Some((l.outbox.upgrade()?, l.conversation)))
            };
            suggestions.into_iter().filter_map(|(peer, chunks)| Some((outbox_of(peer)?, chunks))).collect()
        };
        for ((outbox, conversation), chunks) in told {
            outbox.send(Message::Suggest { conversation, chunks });
        }
    }

    /// Nothing of this swarm is served any more: ends all conversations that others opened.
    pub(crate) fn refuse_all(&self, text: &str) {
        self.refuse(Reason::NotShared, text, |_, _| true);
    }

    /// Ends the conversations of those for whom it is not shared any more.
    pub(crate) fn refuse_strangers(&self) {
        let audiences: BTreeSet<Audience> = self.lock().audiences.keys().cloned().collect();
        let text = "it is not shared for that audience any more; a new ticket may help";
        self.refuse(Reason::Ticket, text, |_, grant| !audiences.contains(&grant.audience));
    }

    /// Ends the conversations that others opened on such grounds.
    pub(crate) fn refuse(&self, reason: Reason, text: &str, mut is_meant: impl FnMut(PeerId, &Grant) -> bool) {
        let refused: Vec<Listener> = {
            let mut state = self.lock();
            let meant = |one: &mut Listener| one.grant.as_ref().is_some_and(|grant| is_meant(one.peer, grant));
            state.listeners.extract_if(.., meant).collect()
        };
        for Listener { peer, outbox, conversation, .. } in refused {
            if let Some(outbox) = outbox.upgrade() {
                outbox.refuse(conversation, reason, text);
            }
            self.spread(|spread| spread.leave(peer));
        }
    }

    /// Reads into `buffer` from `offset` within a chunk. Blocks.
    ///
    /// A complete file is compared with its stamp before and after: a change in between is an error, and what was read
    /// is not to be used. It is the downloader's check that guarantees the bytes.
    pub(crate) fn read(&self, chunk: u32, offset: u32, buffer: &mut [u8]) -> Result<(), ReadFailure> {
        let Some(index) = self.layout.chunk(chunk) else { return Err(ReadFailure::NotHere) };
        let source = {
            let state = self.lock();
            if !state.have.contains(chunk) {
                return Err(ReadFailure::NotHere);
            }
            state.source.clone()
        };
        let at = self.layout.offset(index) + u64::from(offset);
        match source {
            Source::Making(Some(file)) => file.read_exact_at(buffer, at).map_err(|error| unreadable(&error)),
            Source::Making(None) => Err(ReadFailure::NotHere),
            Source::Complete { path, stamp } => {
                let file = open_unchanged(&path, &stamp)?;
                file.read_exact_at(buffer, at).map_err(|error| unreadable(&error))?;
                compare(file.metadata(), &stamp)
            }
        }
    }

    /// Whether a complete file is still what it was, going by its stamp. Blocks.
    pub(crate) fn check(&self) -> Result<(), ReadFailure> {
        let source = self.lock().source.clone();
        match source {
            Source::Complete { path, stamp } => compare(std::fs::metadata(path), &stamp),
            Source::Making(_) => Ok(()),
        }
    }

    /// Hashes a chunk again that a downloader calls bad. Blocks.
    pub(crate) fn check_chunk(&self, chunk: u32) -> Result<(), ReadFailure> {
        let (source, hashes) = {
            let state = self.lock();
            (state.source.clone(), state.hashes.clone())
        };
        let (Source::Complete { path, stamp }, Some(hashes)) = (source, hashes) else { return Ok(()) };
        match crate::storage::verify_chunk(&open_unchanged(&path, &stamp)?, &hashes, chunk) {
            Ok(true) => Ok(()),
            Ok(false) => Err(ReadFailure::Changed(CHANGED.to_owned())),
            Err(error) => Err(unreadable(&error)),
        }
    }
}

const CHANGED: &str = "it was changed after it was registered; register it again to share what it is now";

fn open_unchanged(path: &Path, stamp: &Stamp) -> Result<File, ReadFailure> {
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    compare(file.metadata(), stamp)?;
    Ok(file)
}

fn compare(metadata: io::Result<Metadata>, stamp: &Stamp) -> Result<(), ReadFailure> {
    match metadata {
        Ok(metadata) if Stamp::of(&metadata) == *stamp => Ok(()),
        Ok(_) => Err(ReadFailure::Changed(CHANGED.to_owned())),
        Err(error) => Err(unreadable(&error)),
    }
}

/// What an error of the file system says of a file: gone for good, or not to be had at the moment.
fn unreadable(error: &io::Error) -> ReadFailure {
    match error.kind() {
        io::ErrorKind::NotFound => ReadFailure::Changed("it was deleted or moved".to_owned()),
        io::ErrorKind::UnexpectedEof => ReadFailure::Changed(CHANGED.to_owned()),
        io::ErrorKind::PermissionDenied => {
            ReadFailure::Changed("it may no longer be read (permission denied)".to_owned())
        }
        _ => {
            // Too many open files, a disk that is away: it may be there again in a moment.
            tracing::warn!(%error, "a shared file could not be read");
            ReadFailure::NotHere
        }
    }
}

/// All swarms of this peer in its network.
#[derive(Debug, Default)]
pub(crate) struct Swarms {
    by_content: Mutex<HashMap<Content, Arc<Swarm>>>,
}

impl Swarms {
    fn lock(&self) -> MutexGuard<'_, HashMap<Content, Arc<Swarm>>> {
        self.by_content.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The swarm of this content.
    pub(crate) fn find(&self, content: &Content) -> Option<Arc<Swarm>> {
        self.lock().get(content).cloned()
    }

    /// Adds a swarm unless there is one for its content; says which one is there now and whether it is the new one.
    pub(crate) fn add(&self, swarm: Swarm) -> (Arc<Swarm>, bool) {
        let mut by_content = self.lock();
        if let Some(there) = by_content.get(&swarm.content) {
            return (Arc::clone(there), false);
        }
        let swarm = Arc::new(swarm);
        by_content.insert(swarm.content, Arc::clone(&swarm));
        (swarm, true)
    }

    /// Takes a swarm out, if it is still this one.
    pub(crate) fn remove(&self, swarm: &Arc<Swarm>) -> bool {
        let mut by_content = self.lock();
        let same = by_content.get(&swarm.content).is_some_and(|there| Arc::ptr_eq(there, swarm));
        if same {
            by_content.remove(&swarm.content);
        }
        same
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Swarm>> {
        self.lock().values().cloned().collect()
    }
}
