//! Swarms: what is here of each file, complete or in the making, for all who serve, fetch or announce it.
//!
//! Invariants: a swarm has a chunk only when it was verified (or the whole file was hashed), so that nothing
//! unverified is ever served or told of; and it is served under the audiences that it has at that moment, no other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use common::audience::{Audience, Sharing};
use common::bitmap::Bitmap;
use common::chunk::SwarmLayout;
use common::id::{Content, PeerId};
use common::manifest::Manifest;
use common::merkle::{ChunkHashes, SwarmHashes};
use common::wire::peer::{ConversationId, Message, Opener, Reason};
use tokio::sync::mpsc;

use crate::download::JobEvent;
use crate::link::{Link, Outbox};
use crate::outline::{Insides, Outline};
use crate::revocations::Grant;
use crate::spread::Spread;
use crate::storage::{Looks, Partial};
use crate::whole::{ReadFailure, Whole};

/// Something that is shared or being downloaded.
#[derive(Debug)]
pub(crate) struct Swarm {
    content: Content,
    outline: Outline,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    have: Bitmap,
    hashes: Option<Arc<SwarmHashes>>,
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
    /// In the making, or not even begun.
    Making(Option<Arc<Partial>>),
    /// Complete; its owner may change it at any time.
    Complete(Arc<Whole>),
    /// Complete and in memory: the manifest of a folder.
    Kept(Arc<[u8]>),
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

impl Swarm {
    /// Something that is complete, for nobody yet. It is opened for each reading, so that any number may be shared.
    pub(crate) fn complete(content: Content, insides: &Insides, path: PathBuf, looks: Looks) -> Self {
        let outline = insides.outline();
        let have = Bitmap::full(outline.layout().count());
        let source = Source::Complete(Arc::new(Whole::new(path, looks, outline.clone())));
        Self::new(content, outline, have, source, Some(Arc::clone(insides.hashes())))
    }

    /// A file that is in memory, for nobody yet.
    pub(crate) fn kept(hashes: ChunkHashes, bytes: Arc<[u8]>) -> Self {
        let id = hashes.file_id();
        let outline = Outline::of_file(&id);
        let have = Bitmap::full(outline.layout().count());
        Self::new(id.into(), outline, have, Source::Kept(bytes), Some(Arc::new(hashes.into())))
    }

    /// Something that is to be downloaded under this audience.
    pub(crate) fn making(content: Content, outline: Outline, audience: Audience, announced: Announced) -> Self {
        let none = Bitmap::empty(outline.layout().count());
        let making = Self::new(content, outline, none, Source::Making(None), None);
        making.lock().audiences.insert(audience, announced);
        making
    }

    fn new(content: Content, outline: Outline, have: Bitmap, source: Source, hashes: Option<Arc<SwarmHashes>>) -> Self {
        let spread = Spread::new(outline.layout().count());
        let state =
            State { have, hashes, source, listeners: Vec::new(), spread, job: None, audiences: BTreeMap::new() };
        Self { content, outline, state: Mutex::new(state) }
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
    pub(crate) const fn layout(&self) -> &SwarmLayout {
        self.outline.layout()
    }

    /// Of a folder: what is in it.
    pub(crate) const fn manifest(&self) -> Option<&Arc<Manifest>> {
        self.outline.manifest()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The chunk hashes, once they are known.
    pub(crate) fn hashes(&self) -> Option<Arc<SwarmHashes>> {
        self.lock().hashes.clone()
    }

    /// Whether all is here and it may be served as a whole.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.lock().source, Source::Complete(_) | Source::Kept(_))
    }

    /// Where it lies, when it is complete.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match &self.lock().source {
            Source::Complete(whole) => Some(whole.path().to_owned()),
            Source::Making(_) | Source::Kept(_) => None,
        }
    }

    /// The job that downloads it begins: it hears of those who come for its chunks. Those who came before hear what is
    /// here.
    pub(crate) fn begin(&self, job: mpsc::Sender<JobEvent>, source: Arc<Partial>, have: Bitmap) {
        let told: Vec<_> = {
            let mut state = self.lock();
            state.job = Some(job);
            state.source = Source::Making(Some(source));
            state.have = have.clone();
            let listeners = state.listeners.iter();
            listeners.filter_map(|l| Some((l.outbox.upgrade()?, l.conversation, l.opener))).collect()
        };
        for (outbox, conversation, opener) in told {
            common::wire::peer::maps(conversation, opener, &have).into_iter().for_each(|message| outbox.send(message));
        }
    }

    /// The chunk hashes became known.
    pub(crate) fn set_hashes(&self, hashes: Arc<SwarmHashes>) {
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

    /// The download is done: from now on it is served from its final place.
    pub(crate) fn finish(&self, path: PathBuf, looks: Looks) {
        let whole = Whole::new(path, looks, self.outline.clone());
        let mut state = self.lock();
        state.source = Source::Complete(Arc::new(whole));
        state.job = None;
    }

    /// The download is done, and these are the bytes: they are served from memory.
    pub(crate) fn keep(&self, bytes: Arc<[u8]>) {
        let mut state = self.lock();
        state.source = Source::Kept(bytes);
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
    pub(crate) fn read(&self, chunk: u32, offset: u32, buffer: &mut [u8]) -> Result<(), ReadFailure> {
        let Some(index) = self.layout().chunk(chunk) else { return Err(ReadFailure::NotHere) };
        let source = {
            let state = self.lock();
            if !state.have.contains(chunk) {
                return Err(ReadFailure::NotHere);
            }
            state.source.clone()
        };
        match source {
            Source::Making(Some(partial)) => {
                // Its files may be on their way to their places.
                partial.read_at(chunk, offset.into(), buffer).map_err(|_error| ReadFailure::NotHere)
            }
            Source::Making(None) => Err(ReadFailure::NotHere),
            Source::Complete(whole) => whole.read(index, offset, buffer),
            Source::Kept(bytes) => {
                let at = self.layout().place(index).offset + u64::from(offset);
                let from = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
                let wanted = from.get(..buffer.len()).ok_or(ReadFailure::NotHere)?;
                buffer.copy_from_slice(wanted);
                Ok(())
            }
        }
    }

    /// Whether what is complete is still what it was, going by its stamps. Blocks.
    pub(crate) fn check(&self) -> Result<(), ReadFailure> {
        let source = self.lock().source.clone();
        match source {
            Source::Complete(whole) => whole.check(),
            Source::Making(_) | Source::Kept(_) => Ok(()),
        }
    }

    /// Hashes a chunk again that a downloader calls bad. Blocks.
    pub(crate) fn check_chunk(&self, chunk: u32) -> Result<(), ReadFailure> {
        let (source, hashes) = {
            let state = self.lock();
            (state.source.clone(), state.hashes.clone())
        };
        match (source, hashes) {
            (Source::Complete(whole), Some(hashes)) => whole.check_chunk(&hashes, chunk),
            _ => Ok(()),
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

    /// The swarm of what is in a folder, where this is one that is served.
    pub(crate) fn manifest_of(&self, content: &Content) -> Option<Arc<Swarm>> {
        self.find(&Content::File(content.folder()?.manifest()))
    }

    /// A folder is served no more, and neither is the list of what is in it.
    pub(crate) fn remove_manifest_of(&self, content: &Content) {
        if let Some(manifest) = self.manifest_of(content).filter(|manifest| manifest.sharings().is_empty())
            && self.remove(&manifest)
        {
            manifest.refuse_all("this folder is shared no more");
        }
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Swarm>> {
        self.lock().values().cloned().collect()
    }
}
