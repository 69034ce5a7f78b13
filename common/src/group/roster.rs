//! Rosters: who is in a network, as its supernode signed it; and farewells: whom a supernode named as its successor.
//!
//! The invariant of a [`Roster`]: nobody stands in it twice, its supernode is one of its members, and there are at most
//! [`MAX_MEMBERS`] in all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::Refusal;
use super::codec::{self, DecodeError, Writer};
use super::limits::MAX_MEMBERS;
use crate::id::{NetworkId, PeerId};
use crate::identity::{Identity, PublicKey, SIGNATURE_LENGTH};
use crate::mrt::StaticKey;
use crate::name::UserName;
use crate::reader::Reader;
use crate::wire::MAX_ADDRESSES;

/// What a signed roster begins with, so that no signature is taken for one under something else.
const ROSTER_CONTEXT: &[u8] = b"shoal-mrt-peer-v1";
/// What a signed farewell begins with.
const FAREWELL_CONTEXT: &[u8] = b"shoal-mrt-scls-v1";

/// A place in an order that only grows: of rosters (term and sequence) and of lines of chat (term and number).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point {
    /// The term of a supernode; 0 before anybody joined.
    pub term: u64,
    /// Within the term, from 1.
    pub number: u64,
}

/// Where a member may be reached, the likeliest first: at most [`MAX_ADDRESSES`], none twice, all with an address and a
/// port that can be dialled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    addresses: Vec<SocketAddr>,
}

/// One member as the others know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    id: PeerId,
    identity: PublicKey,
    static_key: StaticKey,
    name: UserName,
    addresses: Addresses,
}

/// PEER: who is in the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    /// Which of all: the term, and the number within it.
    pub(super) point: Point,
    /// Who signs it.
    pub(super) supernode: PeerId,
    /// In order of joining.
    pub(super) members: Vec<Member>,
    /// Those who were lost and are looked for.
    pub(super) absent: Vec<Member>,
}

/// SCLS: a supernode's word that it is one no more, and who is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Farewell {
    /// The term that ends.
    pub(super) term: u64,
    /// The lowest term of the successor.
    pub(super) next_term: u64,
    /// Whom to follow.
    pub(super) successor: Member,
}

/// A text and a signature under it and its context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sealed {
    body: Arc<[u8]>,
    signature: [u8; SIGNATURE_LENGTH],
}

impl Addresses {
    /// Takes what can be dialled, in order, up to the limit.
    pub fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        let mut taken = Self::default();
        for address in addresses {
            taken.push(address);
        }
        taken
    }

    /// In order.
    pub fn as_slice(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Adds one at the end, if it can be dialled, is new, and there is room.
    pub(super) fn push(&mut self, address: SocketAddr) {
        // Flow label and scope mean nothing to another machine, and are not on the wire.
        let address = SocketAddr::new(address.ip(), address.port());
        let dialled = address.port() != 0 && !address.ip().is_unspecified() && !address.ip().is_multicast();
        if dialled && self.addresses.len() < MAX_ADDRESSES && !self.addresses.contains(&address) {
            self.addresses.push(address);
        }
    }
}

impl Member {
    /// Says of a node who it is.
    pub fn new(identity: PublicKey, static_key: StaticKey, name: UserName, addresses: Addresses) -> Self {
        Self { id: identity.peer_id(), identity, static_key, name, addresses }
    }

    /// Who.
    pub const fn id(&self) -> PeerId {
        self.id
    }

    /// The key its signatures are checked with.
    pub const fn identity(&self) -> PublicKey {
        self.identity
    }

    /// What to dial it by.
    pub const fn static_key(&self) -> StaticKey {
        self.static_key
    }

    /// What its user is called. Names are not unique.
    pub const fn name(&self) -> &UserName {
        &self.name
    }

    /// Where to dial it.
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.raw(&self.identity.0).raw(&self.static_key.0).text(self.name.as_str()).addresses(&self.addresses);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let identity = codec::public_key(reader)?;
        let static_key = StaticKey(reader.array()?);
        Ok(Self::new(identity, static_key, codec::user_name(reader)?, codec::addresses(reader)?))
    }
}

impl Roster {
    /// The member with this id.
    pub fn member(&self, peer: &PeerId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == *peer)
    }

    /// Which of all rosters this is.
    pub const fn point(&self) -> Point {
        self.point
    }

    /// Who leads.
    pub const fn supernode(&self) -> PeerId {
        self.supernode
    }

    /// In order of joining.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The place of a member in the order of joining.
    pub(super) fn place(&self, peer: &PeerId) -> Option<usize> {
        self.members.iter().position(|member| member.id == *peer)
    }

    /// Whether there is room for one more.
    pub(super) const fn is_full(&self) -> bool {
        self.members.len() + self.absent.len() >= MAX_MEMBERS
    }

    /// The standbys of `me`: the first members beside the supernode and itself.
    pub(super) fn standbys(&self, me: &PeerId, count: usize) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.id != self.supernode && member.id != *me).take(count)
    }

    pub(super) fn seal(&self, identity: &Identity, network: &NetworkId) -> Sealed {
        let mut writer = Writer::default();
        writer.point(self.point).peer(&self.supernode).count(self.members.len());
        self.members.iter().for_each(|member| member.encode(&mut writer));
        writer.count(self.absent.len());
        self.absent.iter().for_each(|member| member.encode(&mut writer));
        Sealed::new(identity, ROSTER_CONTEXT, network, writer.into_bytes())
    }

    /// Reads a roster and checks that its supernode signed it.
    pub(super) fn open(sealed: &Sealed, network: &NetworkId) -> Result<Self, Refusal> {
        let roster = Self::decode(&sealed.body)?;
        let supernode = roster.member(&roster.supernode).ok_or(Refusal::Lie)?;
        sealed.verify(&supernode.identity, ROSTER_CONTEXT, network)?;
        Ok(roster)
    }

    fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let (point, supernode) = (codec::point(&mut reader)?, codec::peer(&mut reader)?);
        let members = codec::list(&mut reader, MAX_MEMBERS, Member::decode)?;
        let absent = codec::list(&mut reader, MAX_MEMBERS - members.len(), Member::decode)?;
        reader.end()?;
        let ids: BTreeSet<PeerId> = members.iter().chain(&absent).map(Member::id).collect();
        if ids.len() != members.len() + absent.len() || point.term == 0 {
            return Err(DecodeError::Form);
        }
        Ok(Self { point, supernode, members, absent })
    }

    /// Whether `next`, from the same supernode, leaves everybody's key as it was. Between two supernodes, or after one was away,
    /// that says nothing: who has two keys may have shown another there. Whom a list names by a wrong key is not reached by
    /// it, but nobody is taken for another: that is proven when a connection is made.
    pub(super) fn keeps_keys(&self, next: &Self) -> bool {
        let known = self.members.iter().chain(&self.absent);
        let mut listed = next.members.iter().chain(&next.absent);
        let keys: BTreeSet<(PeerId, StaticKey)> = known.map(|member| (member.id, member.static_key)).collect();
        let ids: BTreeSet<PeerId> = keys.iter().map(|(id, _)| *id).collect();
        listed.all(|member| !ids.contains(&member.id) || keys.contains(&(member.id, member.static_key)))
    }

    /// Whether `next`, from the same supernode, puts nobody before whom it stood behind. Newcomers come to the end, and so does
    /// who was away. No two others came back within the moment between two rosters. `me` was away only if there were rosters
    /// that it did not get, since it was in none of them; then others may have come and gone, too.
    pub(super) fn keeps_order(&self, next: &Self, me: &PeerId) -> bool {
        let places: BTreeMap<PeerId, usize> =
            (0..).zip(&self.members).map(|(place, member)| (member.id, place)).collect();
        let mut last = None;
        let stayed = next.members.iter().take_while(|member| {
            let place = places.get(&member.id).copied();
            let stays = place.is_some() && place > last;
            last = place;
            stays
        });
        let stayed = stayed.count();
        let came_back = next.members.iter().skip(stayed).filter(|member| places.contains_key(&member.id));
        if came_back.clone().any(|member| member.id == *me) {
            return next.point.term > self.point.term || next.point.number > self.point.number.saturating_add(1);
        }
        came_back.count() <= 1
    }

    /// Whether it lists `me`, with the right keys.
    pub(super) fn lists(&self, me: &Member) -> Result<(), Refusal> {
        match self.member(&me.id) {
            Some(listed) if listed.static_key == me.static_key => Ok(()),
            _ => Err(Refusal::Lie),
        }
    }
}

impl Farewell {
    pub(super) fn seal(&self, identity: &Identity, network: &NetworkId) -> Sealed {
        let mut writer = Writer::default();
        writer.u64(self.term).u64(self.next_term);
        self.successor.encode(&mut writer);
        Sealed::new(identity, FAREWELL_CONTEXT, network, writer.into_bytes())
    }

    /// Reads a farewell and checks that `key` signed it; `None` where its term is over anyway.
    pub(super) fn open(
        sealed: &Sealed,
        key: &PublicKey,
        network: &NetworkId,
        term: u64,
    ) -> Result<Option<Self>, Refusal> {
        let farewell = Self::decode(&sealed.body)?;
        if farewell.term < term {
            return Ok(None);
        }
        sealed.verify(key, FAREWELL_CONTEXT, network)?;
        Ok(Some(farewell))
    }

    fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let (term, next_term) = (codec::term(&mut reader)?, codec::term(&mut reader)?);
        let successor = Member::decode(&mut reader)?;
        reader.end()?;
        Ok(Self { term, next_term, successor })
    }
}

impl Sealed {
    fn new(identity: &Identity, context: &[u8], network: &NetworkId, body: Vec<u8>) -> Self {
        let signature = identity.sign(&[context, network.0.as_slice(), &body].concat());
        Self { body: body.into(), signature }
    }

    fn verify(&self, key: &PublicKey, context: &[u8], network: &NetworkId) -> Result<(), Refusal> {
        let signed = [context, network.0.as_slice(), &self.body].concat();
        key.verify(&signed, &self.signature).map_err(|_error| Refusal::Signature)
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.raw(&self.signature).blob(&self.body);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let signature = reader.array()?;
        Ok(Self { body: codec::blob(reader)?.into(), signature })
    }
}
