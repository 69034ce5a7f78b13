//! Wishes: a user wants to be in one network with whoever is at an address. The address may be that of a plain member, which
//! leads on to its supernode.

use std::net::SocketAddr;
use std::time::Instant;

use super::dials::DialId;
use super::limits::{ASK_EVERY, ASKED_DIAL_TIME, WISH_TIME};
use super::machine::{Group, Rewatch, Role};
use super::meeting::Asked;
use super::roster::Member;
use super::{ConnectError, Denial, Event};
use crate::id::PeerId;

/// One wish, until it comes true or cannot.
#[derive(Debug)]
pub(super) struct Wish {
    address: SocketAddr,
    stage: Stage,
    until: Instant,
}

/// How far it is.
#[derive(Debug)]
enum Stage {
    /// Nobody was dialled yet.
    New,
    /// The address is dialled.
    Dialling(DialId),
    /// Somebody is there.
    Reached {
        contact: PeerId,
        /// Whom it led on to.
        target: Option<PeerId>,
        /// When we ask, the next time.
        ask_at: Instant,
    },
    /// It cannot be.
    Failed(ConnectError),
}

impl Wish {
    pub(super) fn new(now: Instant, address: SocketAddr) -> Self {
        Self { address, stage: Stage::New, until: now + WISH_TIME }
    }

    /// Whether the wish is to be in the network of this peer.
    pub(super) fn is_about(&self, peer: &PeerId) -> bool {
        match &self.stage {
            Stage::Reached { contact, target, .. } => contact == peer || *target == Some(*peer),
            Stage::New | Stage::Dialling(_) | Stage::Failed(_) => false,
        }
    }

    fn goal(&self) -> Option<PeerId> {
        match &self.stage {
            Stage::Reached { contact, target, .. } => Some(target.unwrap_or(*contact)),
            Stage::New | Stage::Dialling(_) | Stage::Failed(_) => None,
        }
    }

    pub(super) fn due_at(&self) -> Instant {
        match &self.stage {
            Stage::Reached { ask_at, .. } => self.until.min(*ask_at),
            Stage::New | Stage::Dialling(_) | Stage::Failed(_) => self.until,
        }
    }
}

impl Group {
    /// Whether our user wants to be in the network of this peer.
    pub(super) fn asked(&self, peer: &PeerId) -> Asked {
        if self.wishes.iter().any(|wish| wish.is_about(peer)) { Asked::Yes } else { Asked::No }
    }

    pub(super) fn on_wish_dialled(&mut self, id: DialId, reached: Option<PeerId>) {
        self.rewatch = Rewatch::Needed;
        let (me, now) = (self.me.id(), self.now);
        for wish in &mut self.wishes {
            if matches!(wish.stage, Stage::Dialling(dial) if dial == id) {
                wish.stage = match reached {
                    None => Stage::Failed(ConnectError::NoAnswer),
                    Some(peer) if peer == me => Stage::Failed(ConnectError::Ourselves),
                    Some(contact) => Stage::Reached { contact, target: None, ask_at: now },
                };
            }
        }
    }

    /// A peer leads on to its supernode; says whether a user waits for that.
    pub(super) fn lead_wishes(&mut self, now: Instant, from: PeerId, supernode: &Member) -> bool {
        let mut led = false;
        for wish in &mut self.wishes {
            if let Stage::Reached { contact, target, ask_at } = &mut wish.stage
                && (*contact == from || *target == Some(from))
            {
                (*target, led) = (Some(supernode.id()), true);
                *ask_at = now;
            }
        }
        if led {
            self.rewatch = Rewatch::Needed;
            self.dial(now, supernode, Some(from));
        }
        led
    }

    /// Whom our user asked for does not take us in.
    pub(super) fn fail_wishes(&mut self, peer: PeerId, denial: Denial) {
        for wish in &mut self.wishes {
            if wish.is_about(&peer) {
                wish.stage = Stage::Failed(ConnectError::Denied(denial));
            }
        }
    }

    /// Wishes that came true or failed are told of, the others ask on.
    pub(super) fn step_wishes(&mut self, now: Instant) {
        let wishes = std::mem::take(&mut self.wishes);
        for mut wish in wishes {
            self.step_wish(now, &mut wish);
            let outcome = match &wish.stage {
                Stage::Reached { contact, .. } if wish.goal().is_some_and(|goal| self.is_together_with(&goal)) => {
                    Some(Event::Connected { address: wish.address, peer: *contact })
                }
                Stage::Failed(why) => Some(Event::ConnectFailed { address: wish.address, why: *why }),
                _ if wish.until <= now => {
                    Some(Event::ConnectFailed { address: wish.address, why: ConnectError::Timeout })
                }
                _ => None,
            };
            match outcome {
                Some(event) => {
                    self.rewatch = Rewatch::Needed;
                    self.tell(event);
                }
                None => self.wishes.push(wish),
            }
        }
        // The questions are asked last: what is asked shows that it is a user's wish.
        for place in 0..self.wishes.len() {
            self.ask_for_wish(now, place);
        }
    }

    fn step_wish(&mut self, now: Instant, wish: &mut Wish) {
        match &mut wish.stage {
            Stage::New => {
                if let Some(id) = self.dial_address(now, wish.address, ASKED_DIAL_TIME) {
                    wish.stage = Stage::Dialling(id);
                }
            }
            Stage::Dialling(id) if !self.dials.is_under_way(*id) => {
                wish.stage = Stage::Failed(ConnectError::NoAnswer);
            }
            Stage::Reached { contact, target, .. } => {
                if let Some(led) = target
                    && !self.links.contains(led)
                    && !self.dials.is_dialling(led)
                {
                    *target = None;
                }
                if target.is_none() && !self.links.contains(contact) {
                    wish.stage = Stage::New;
                }
            }
            Stage::Dialling(_) | Stage::Failed(_) => {}
        }
    }

    fn ask_for_wish(&mut self, now: Instant, place: usize) {
        let Some(Stage::Reached { ask_at, .. }) = self.wishes.get_mut(place).map(|wish| &mut wish.stage) else {
            return;
        };
        if now < *ask_at {
            return;
        }
        *ask_at = now + ASK_EVERY;
        let Some(goal) = self.wishes.get(place).and_then(Wish::goal) else { return };
        if !self.links.is_ready(&goal) {
            // It may say HELO any moment; asked for every step it would be asked for far too often.
            if let Some(Stage::Reached { ask_at, .. }) = self.wishes.get_mut(place).map(|wish| &mut wish.stage) {
                *ask_at = now + ASK_EVERY / 10;
            }
            return;
        }
        match &self.role {
            Role::Leading(_) => self.introduce(goal),
            Role::Following(_) | Role::Seeking(_) => self.join(now, goal),
            Role::Left => {}
        }
    }

    /// Whether a peer is in our network for certain.
    fn is_together_with(&self, peer: &PeerId) -> bool {
        match &self.role {
            Role::Leading(leading) => leading.is_confirmed(peer),
            Role::Following(following) => following.roster.member(peer).is_some(),
            Role::Seeking(_) | Role::Left => false,
        }
    }
}
