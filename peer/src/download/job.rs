//! One download, from the plan to the final name. The job owns the picker, the contacts and the sessions, and is the
//! only one that touches them; links and workers tell it what happens through one bounded queue.

mod prepare;
mod progress;
mod reusing;
mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::audience::Audience;
use common::bitmap::Bitmap;
use common::chunk::SwarmLayout;
use common::id::{Content, PeerId};
use common::merkle::SwarmHashes;
use common::wire::peer::{Message, Reason, chunks_in_map};
use common::wire::tracker::{Have, Plan, Reply, Request};
use data_encoding::HEXLOWER;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

pub(crate) use self::prepare::meta_of;
use self::prepare::{Prepared, prepare};
use self::session::Session;
use super::contacts::Contacts;
use super::goal::{Extent, Goal};
use super::layer::{Layer, Part};
use super::picker::Picker;
use super::tally::Tally;
use super::{JobEvent, LinkEvent, Meter, Source};
use crate::command::Progress;
use crate::context::Context;
use crate::engine::{Done, DownloadError, DownloadSpec, Shared};
use crate::link::{Link, LinkId};
use crate::notice::Notice;
use crate::outline::Insides;
use crate::storage::Partial;
use crate::storage::{Placement, Placing, PlanSource};
use crate::swarm::{Announced, Swarm};
use crate::tracker_client::{TrackerError, TrackerState};

/// Events that may wait for the job; links wait when it is full, so that nothing gathers.
const EVENTS: usize = 1024;
/// How often the job looks at clocks and rates.
const TICK: Duration = Duration::from_millis(100);
/// How often the journal's chunks are put on the disk.
const SYNC_INTERVAL: Duration = Duration::from_secs(2);
/// How often the tracker is asked for a new plan: for new holders, and for a fresh ticket.
const PLAN_INTERVAL: Duration = Duration::from_secs(30);
/// The same while there is nobody to ask for what is missing.
const STARVED_PLAN_INTERVAL: Duration = Duration::from_secs(3);
/// How long after the start a holder that is not connected yet keeps the others from taking more than their share.
const FAIR_START: Duration = Duration::from_millis(250);
/// A conversation without a word for so long, though something was asked, is begun anew: who serves says every 500 ms at
/// least that requests wait.
const DEAD: Duration = Duration::from_secs(20);
/// How long nobody may have what is missing until the user is told.
const STARVED_NOTICE: Duration = Duration::from_secs(2);

/// What a job needs from its engine.
#[derive(Debug, Clone)]
pub(crate) struct JobTools {
    pub(crate) context: Arc<Context>,
    pub(crate) downloading: PathBuf,
    pub(crate) progress: watch::Sender<Option<Progress>>,
    pub(crate) cancel: CancellationToken,
}

/// One download that is under way.
pub(crate) struct Job {
    tools: JobTools,
    spec: DownloadSpec,
    goal: Goal,
    began: Instant,
    swarm: Arc<Swarm>,
    partial: Arc<Partial>,
    hashes: Option<Arc<SwarmHashes>>,
    /// Chunks that may lie here are being looked for.
    looking: bool,
    layer: Layer,
    picker: Picker,
    contacts: Contacts,
    sessions: BTreeMap<LinkId, Session>,
    meters: Vec<Arc<Meter>>,
    /// Bytes of meters that are no more.
    metered: u64,
    tally: Tally,
    /// Verified bytes that are here.
    done_bytes: u64,
    wanted: Wanted,
    ticket: Option<Vec<u8>>,
    planning: bool,
    planned: Option<Instant>,
    tracker_state: watch::Receiver<TrackerState>,
    fed: Instant,
    told_starved: bool,
    synced: Instant,
    unsynced: u32,
    syncing: Option<tokio::task::JoinHandle<io::Result<()>>>,
    events: mpsc::Sender<JobEvent>,
}

impl Job {
    /// Runs a download to its end. What has come is kept, however it ends. `register` is told of the content that the
    /// tracker knows.
    pub(crate) async fn run(
        spec: DownloadSpec,
        goal: Goal,
        tools: JobTools,
        register: impl FnOnce(Content, mpsc::Sender<JobEvent>),
    ) -> Result<Done, DownloadError> {
        let began = Instant::now();
        let (events, mut queue) = mpsc::channel(EVENTS);
        let making = Swarm::making(goal.content, goal.outline.clone(), spec.audience.clone(), goal.announced);
        let (swarm, new) = tools.context.swarms.add(making);
        if !new {
            return Err(DownloadError::UnderWay);
        }
        // From here on the guard takes the swarm out again unless the download is done.
        let guard = SwarmGuard { swarm: Arc::clone(&swarm), context: Arc::clone(&tools.context), done: false };
        let prepared = tokio::select! {
            prepared = prepare(&spec, &goal, &tools) => prepared?,
            () = tools.cancel.cancelled() => return Err(DownloadError::Cancelled),
        };
        swarm.begin(events.clone(), Arc::clone(&prepared.partial), prepared.done.clone());
        register(spec.content, events.clone());
        let mut job = Self::new(spec, goal, tools, swarm, prepared, began, events);
        job.announce_map();
        job.know_hashes_of_small();
        job.look_here();
        if let Some(plan) = job.spec.plan.take() {
            let is_whole = plan.holders.iter().any(|holder| holder.have == Some(Have::All));
            job.on_plan(plan);
            if !is_whole {
                // Whoever came between that plan and now was told of to nobody.
                job.planned = None;
            }
        }
        let result = job.drive(&mut queue).await;
        job.end_sessions();
        match result {
            Ok(()) => job.finish(guard).await,
            Err(error) => {
                job.sync_at_end().await;
                Err(error)
            }
        }
    }

    fn new(
        spec: DownloadSpec,
        goal: Goal,
        tools: JobTools,
        swarm: Arc<Swarm>,
        prepared: Prepared,
        began: Instant,
        events: mpsc::Sender<JobEvent>,
    ) -> Self {
        let Prepared { partial, done, hashes, seed } = prepared;
        let hashes = hashes.map(Arc::new);
        if let Some(hashes) = &hashes {
            swarm.set_hashes(Arc::clone(hashes));
        }
        let mut tracker_state = tools.context.tracker().state();
        tracker_state.mark_unchanged();
        Self {
            tracker_state,
            layer: Layer::new(swarm.layout().clone(), began),
            done_bytes: bytes_in(swarm.layout(), done.iter()),
            wanted: wanted(swarm.layout(), &goal.skipped),
            looking: false,
            picker: Picker::new(swarm.layout().clone(), done, &goal.skipped, seed),
            contacts: Contacts::default(),
            sessions: BTreeMap::new(),
            meters: Vec::new(),
            metered: 0,
            tally: Tally::default(),
            ticket: None,
            planning: false,
            planned: None,
            fed: began,
            told_starved: false,
            synced: began,
            unsynced: 0,
            syncing: None,
            tools,
            spec,
            goal,
            began,
            swarm,
            partial,
            hashes,
            events,
        }
    }

    fn context(&self) -> &Arc<Context> {
        &self.tools.context
    }

    /// Until all is there.
    async fn drive(&mut self, queue: &mut mpsc::Receiver<JobEvent>) -> Result<(), DownloadError> {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let cancel = self.tools.cancel.clone();
        while !(self.picker.is_done() && self.hashes.is_some()) {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(DownloadError::Cancelled),
                event = queue.recv() => {
                    let Some(event) = event else { return Err(DownloadError::Cancelled) };
                    self.on_event(event)?;
                }
                _ = ticks.tick() => self.on_tick()?,
            }
            self.dial();
            self.give_orders();
        }
        Ok(())
    }

    fn on_event(&mut self, event: JobEvent) -> Result<(), DownloadError> {
        match event {
            JobEvent::Link(link, event) => self.on_link_event(link, event)?,
            JobEvent::Connected(peer, Ok(link)) => self.on_link(peer, &link),
            JobEvent::Connected(peer, Err(error)) => self.on_unreached(peer, &error),
            JobEvent::Closed(link) => self.on_closed(link),
            JobEvent::Newcomer(link) => self.on_link(link.peer(), &link),
            JobEvent::Holder(audience, holder) => {
                if audience == self.spec.audience && holder.peer != self.context().identity.peer_id() {
                    self.contacts.on_holder(holder, Instant::now());
                }
            }
            JobEvent::Reshared { entry, audience } => {
                if self.spec.source == PlanSource::Entry && self.spec.entry == entry {
                    self.set_audience(audience);
                }
            }
            JobEvent::Planned(Ok(plan)) => {
                self.planning = false;
                self.on_plan(*plan);
            }
            JobEvent::Planned(Err(error)) => self.on_no_plan(error)?,
            JobEvent::Found { chunk } => self.on_found(chunk),
            JobEvent::Looked => self.on_looked(),
            JobEvent::Disk(source) => return Err(disk_error(&self.partial, source)),
        }
        Ok(())
    }

    fn on_link_event(&mut self, link: LinkId, event: LinkEvent) -> Result<(), DownloadError> {
        let now = Instant::now();
        match event {
            LinkEvent::Opened { complete } => self.on_opened(link, complete),
            LinkEvent::Refused { reason, text } => self.on_refused(link, reason, &text),
            LinkEvent::Have(chunks) => chunks.iter().for_each(|chunk| self.picker.on_have(link, *chunk)),
            LinkEvent::Map { first, bits } => {
                let chunks = chunks_in_map(self.swarm.layout().count(), first, &bits);
                chunks.iter().for_each(|chunk| self.picker.on_have(link, *chunk));
            }
            LinkEvent::Suggest(chunks) => self.picker.on_suggest(link, &chunks),
            LinkEvent::Unavailable { chunk } => self.picker.on_unavailable(link, chunk, now),
            LinkEvent::Hashes { first, hashes } => match self.layer.on_part(link, first, hashes, now) {
                Part::Next { first, count } => self.ask_hashes(link, first, count),
                Part::Whole(hashes) => self.on_hashes(hashes)?,
                Part::Bad => {
                    let from = self.sessions.get(&link).map(|session| Source::of(&session.link));
                    return from.map_or(Ok(()), |from| self.on_bad(link, 0, from));
                }
                Part::None | Part::Stray => {}
            },
            LinkEvent::Verified { chunk, from } => self.on_verified(link, chunk, from),
            LinkEvent::Bad { chunk, from } => return self.on_bad(link, chunk, from),
        }
        Ok(())
    }

    fn on_verified(&mut self, link: LinkId, chunk: u32, from: Source) {
        let now = Instant::now();
        let known = self.picker.done().contains(chunk);
        self.picker.on_verified(link, chunk, now);
        self.fed = now;
        if known {
            return;
        }
        let size = self.swarm.layout().chunk(chunk).map_or(0, |index| self.swarm.layout().size(index));
        self.take_in(chunk);
        let Source { peer, address } = from;
        let user = self.contacts.find(&peer).map(|contact| contact.user.clone()).unwrap_or_default();
        self.tally.on_chunk(peer, &user, address, size);
        self.contacts.on_success(peer);
        self.context().notice(Notice::ChunkReceived { name: self.spec.name.clone(), chunk, from: address });
    }

    /// A link gave wrong bytes: its peer is dropped, named, and never asked again, though it may have hung up before.
    fn on_bad(&mut self, link: LinkId, chunk: u32, from: Source) -> Result<(), DownloadError> {
        let now = Instant::now();
        let Source { peer, address } = from;
        if let Some(session) = self.sessions.get(&link) {
            session.link.outbox().send(Message::Bad { conversation: session.conversation, chunk });
        }
        // It may have come back over another link.
        let links: Vec<LinkId> = self.sessions.iter().filter(|(_, one)| one.peer == peer).map(|(id, _)| *id).collect();
        for link in links {
            if let Some(session) = self.sessions.remove(&link) {
                session.link.close(Reason::Protocol, "wrong bytes");
                self.forget(link);
            }
        }
        if !self.contacts.ban(peer, now) {
            return Ok(());
        }
        let user = self.contacts.find(&peer).map(|contact| contact.user.clone()).unwrap_or_default();
        let user = if user.is_empty() { peer.to_string() } else { user };
        tracing::warn!(%peer, chunk, "wrong bytes");
        self.context().notice(Notice::BadSeeder { name: self.spec.name.clone(), user, peer, address, chunk });
        if !self.contacts.any_usable() {
            return Err(self.bad_seeders());
        }
        Ok(())
    }

    fn bad_seeders(&self) -> DownloadError {
        DownloadError::BadSeeders { names: self.contacts.banned().join(", ") }
    }

    fn on_hashes(&mut self, hashes: SwarmHashes) -> Result<(), DownloadError> {
        self.partial.keep_hashes(&hashes).map_err(|source| disk_error(&self.partial, source))?;
        let hashes = Arc::new(hashes);
        self.swarm.set_hashes(Arc::clone(&hashes));
        self.hashes = Some(hashes);
        self.look_here();
        Ok(())
    }

    fn know_hashes_of_small(&mut self) {
        if self.hashes.is_none()
            && let Some(hashes) = SwarmHashes::known(self.swarm.layout())
        {
            let hashes = Arc::new(hashes);
            self.swarm.set_hashes(Arc::clone(&hashes));
            self.hashes = Some(hashes);
        }
    }

    fn announce_map(&self) {
        self.context().announce(&self.swarm, &Have::Map(self.picker.done().to_hex()));
    }

    fn on_tick(&mut self) -> Result<(), DownloadError> {
        let now = Instant::now();
        for (id, session) in &self.sessions {
            let round_trip = session.link.round_trip().unwrap_or_default();
            self.picker.observe(*id, session.meter.bytes(), session.meter.heard(), round_trip, now);
        }
        self.drop_dead(now);
        self.rotate(now);
        let opening = self.sessions.values().any(|session| !session.opened);
        let starting = now.duration_since(self.began) < FAIR_START && (opening || self.contacts.is_waiting());
        self.picker.set_expected(starting.then(|| self.contacts.expected()));
        self.plan_if_due(now);
        self.ask_hashes_if_due(now);
        self.sync_if_due(now);
        self.show_progress(now);
        self.starve(now)
    }

    /// Whether nobody who is there has anything for us, and for how long that may be.
    fn starve(&mut self, now: Instant) -> Result<(), DownloadError> {
        if self.looking {
            self.fed = now;
            return Ok(());
        }
        let talking = |id: &LinkId| !self.picker.is_silent(*id, now);
        if self.picker.is_busy() && self.sessions.keys().any(talking) {
            self.fed = now;
            self.told_starved = false;
            return Ok(());
        }
        let starved = now.duration_since(self.fed);
        let nowhere = self.picker.nowhere();
        let missing = if nowhere > 0 { nowhere } else { self.missing() };
        if starved >= STARVED_NOTICE && !self.told_starved {
            self.told_starved = true;
            self.context().notice(Notice::Waiting { name: self.spec.name.clone(), chunks: missing });
        }
        if self.spec.wait.is_some_and(|wait| starved >= wait) {
            if !self.contacts.banned().is_empty() {
                return Err(self.bad_seeders());
            }
            return Err(self.incomplete(missing));
        }
        Ok(())
    }

    const fn missing(&self) -> u32 {
        self.picker.missing()
    }

    fn plan_if_due(&mut self, now: Instant) {
        if self.tracker_state.has_changed().unwrap_or(false) {
            // A tracker that was away has forgotten that we want to hear of new holders.
            self.tracker_state.mark_unchanged();
            self.planned = None;
        }
        let interval =
            if self.told_starved || self.sessions.is_empty() { STARVED_PLAN_INTERVAL } else { PLAN_INTERVAL };
        let due = self.planned.is_none_or(|planned| now.duration_since(planned) >= interval);
        if self.planning || !due {
            return;
        }
        self.planning = true;
        self.planned = Some(now);
        let (tracker, events) = (self.context().tracker().clone(), self.events.clone());
        let request = match self.spec.source {
            PlanSource::Entry => Request::Plan { entry: self.spec.entry.clone(), content: Some(self.spec.content) },
            PlanSource::Offer(offer) => Request::PlanOffer { offer },
        };
        self.context().tasks.spawn("plan", async move {
            let answer = match tracker.request(request).await {
                Ok(Reply::Plan(plan)) => Ok(Box::new(plan)),
                Ok(_) => return,
                Err(error) => Err(error),
            };
            let _ = events.send(JobEvent::Planned(answer)).await;
        });
    }

    fn on_plan(&mut self, plan: Plan) {
        let now = Instant::now();
        self.planned = Some(now);
        if plan.entry.content != self.spec.content {
            tracing::warn!(entry = self.spec.entry, "the tracker's plan is for something else");
            return;
        }
        self.set_audience(plan.audience);
        if let Ok(ticket) = HEXLOWER.decode(plan.ticket.as_bytes()) {
            self.ticket = Some(ticket);
        }
        for holder in plan.holders {
            if holder.peer != self.context().identity.peer_id() {
                self.contacts.on_holder(holder, now);
            }
        }
    }

    /// The entry is for others now than it was when the download began.
    fn set_audience(&mut self, audience: Audience) {
        if audience == self.spec.audience {
            return;
        }
        self.spec.audience = audience.clone();
        if let Some(manifest) = self.context().swarms.manifest_of(&self.goal.content) {
            let change = manifest.set_audiences(BTreeSet::from([audience.clone()]), Announced::No);
            self.context().reshare(&manifest, change, &Have::All);
        }
        let change = self.swarm.set_audiences(BTreeSet::from([audience]), self.goal.announced);
        self.context().reshare(&self.swarm, change, &Have::Map(self.picker.done().to_hex()));
    }

    /// Without a plan the download goes on with whom it knows; without anybody it must end where the tracker refuses.
    fn on_no_plan(&mut self, error: TrackerError) -> Result<(), DownloadError> {
        self.planning = false;
        match error {
            TrackerError::Refused(refusal) if self.sessions.is_empty() => Err(DownloadError::Refused(refusal)),
            error => {
                tracing::debug!(%error, "no plan");
                Ok(())
            }
        }
    }

    fn sync_if_due(&mut self, now: Instant) {
        if self.syncing.as_ref().is_some_and(tokio::task::JoinHandle::is_finished) {
            self.syncing = None;
        }
        let due = now.duration_since(self.synced) >= SYNC_INTERVAL;
        if self.syncing.is_none() && self.unsynced > 0 && due {
            self.synced = now;
            self.unsynced = 0;
            let partial = Arc::clone(&self.partial);
            self.syncing = Some(tokio::task::spawn_blocking(move || partial.sync()));
        }
    }

    async fn sync_at_end(&mut self) {
        if let Some(syncing) = self.syncing.take() {
            // A failure here costs a rehash at the next start, no more.
            let _ = syncing.await;
        }
        let partial = Arc::clone(&self.partial);
        let ending = tokio::task::spawn_blocking(move || {
            // What links still bring would be mixed with what the next run writes.
            partial.end_writing();
            partial.sync()
        });
        let _ = ending.await;
    }

    /// All is verified: the file gets its final name, and is put on the disk afterwards.
    async fn finish(mut self, mut guard: SwarmGuard) -> Result<Done, DownloadError> {
        let Some(hashes) = self.hashes.clone() else { return Err(DownloadError::Cancelled) };
        self.show_progress(Instant::now());
        let (partial, context) = (Arc::clone(&self.partial), Arc::clone(self.context()));
        if self.goal.outline.manifest().is_some() && matches!(self.spec.placing, Placing::Over { .. }) {
            // It changes file by file, which nobody needs to be warned of.
            context.retire(&self.spec.target);
        }
        let placing = tokio::task::spawn_blocking(move || {
            let placement = partial.place()?;
            context.retire(&placement.path);
            let looks = partial.looks(&placement)?;
            Ok((placement, looks))
        });
        let placed = placing.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
        let elapsed = self.began.elapsed();
        let (placement, looks) = placed.map_err(|source| disk_error(&self.partial, source))?;
        let Placement { path, edited, elsewhere } = placement;
        let mut audiences = BTreeSet::from([self.spec.audience.clone()]);
        match self.goal.extent {
            Extent::Whole if elsewhere.is_empty() => {
                self.swarm.finish(path.clone(), looks.clone());
                guard.done = true;
                self.context().announce(&self.swarm, &Have::All);
            }
            // A part of a folder, or one that was edited, is nobody else's.
            Extent::Whole | Extent::Part => audiences.clear(),
        }
        self.settle();
        let fetched_bytes = self.metered + self.meters.iter().map(|meter| meter.bytes()).sum::<u64>();
        let insides = Insides::new(&self.goal.outline, hashes);
        let shared = Shared { content: self.goal.content, path, looks, insides, audiences };
        Ok(Done { shared, fetched_bytes, elapsed, shares: self.tally.shares(), edited })
    }

    /// Puts file and name on the disk, and only then forgets the journal. Goes on when the job has ended.
    fn settle(&mut self) {
        let (partial, syncing) = (Arc::clone(&self.partial), self.syncing.take());
        self.context().tasks.spawn("settle", async move {
            if let Some(syncing) = syncing {
                let _ = syncing.await;
            }
            let settled = tokio::task::spawn_blocking(move || partial.settle()).await;
            if let Ok(Err(error)) = settled {
                tracing::warn!(%error, "a finished download could not be put on the disk; it is checked at the next start");
            }
        });
    }

    fn on_link(&mut self, peer: PeerId, link: &Arc<Link>) {
        self.begin_session(peer, link);
    }
}

/// How much a job is to bring.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    chunks: u32,
    bytes: u64,
}

fn wanted(layout: &SwarmLayout, skipped: &Bitmap) -> Wanted {
    let bytes = layout.length() - bytes_in(layout, skipped.iter());
    Wanted { chunks: layout.count() - skipped.count(), bytes }
}

fn bytes_in(layout: &SwarmLayout, chunks: impl Iterator<Item = u32>) -> u64 {
    chunks.filter_map(|chunk| layout.chunk(chunk)).map(|chunk| u64::from(layout.size(chunk))).sum()
}

fn disk_error(partial: &Partial, source: io::Error) -> DownloadError {
    DownloadError::Disk { path: partial.data_path(), source }
}

/// Takes the swarm of a download that did not end well out of what is served.
struct SwarmGuard {
    swarm: Arc<Swarm>,
    context: Arc<Context>,
    done: bool,
}

impl Drop for SwarmGuard {
    fn drop(&mut self) {
        if !self.done && self.context.swarms.remove(&self.swarm) {
            self.context.announce(&self.swarm, &Have::None);
            self.swarm.refuse_all("the download was stopped");
            self.context.swarms.remove_manifest_of(&self.swarm.content());
        }
    }
}
