//! The pairs, and the way of a datagram.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::head::{ChannelId, HeadError, RelayHead};
use super::quota::{Allowance, Quota, RelayConfig};
use crate::id::PeerId;
use crate::mrt::Route;

/// A pair of which either member sent nothing for so long ends. It is longer than any pause between the keep-alives of a connection,
/// and than a router's memory of a flow (RFC 4787, REQ-5: 2 min).
pub const CHANNEL_IDLE: Duration = Duration::from_secs(150);

/// Two who only keep a connection alive exchange less than [`KEPT_ALIVE`] in this time ...
const LOAD_TIME: Duration = Duration::from_secs(5);
/// ... in bytes: words and their acknowledgements each second come to some 2 KiB, and the proof of a way to as much. Whoever
/// moves a file exchanges far more.
const KEPT_ALIVE: u64 = 8 << 10;

/// Pairs are looked over for idle ones no more often than this.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// Datagrams that are passed on between two members each.
///
/// Contract: the owner makes a pair with [`Self::open_pair`], tells both members their channel ids, and says with
/// [`Self::set_address`] or [`Self::move_member`] where each member is as soon as that is proven (until then nothing can
/// pass, in either direction), and again whenever it changes. Each datagram for which [`RelayHead::is_in_front_of`] holds
/// goes through [`Self::forward`]. At the time of [`Self::poll_timeout`] it calls [`Self::handle_timeout`]. Time never
/// goes back, and all addresses are in one form: an IPv4 address is not written as an IPv6 one.
#[derive(Debug)]
pub struct Relay {
    config: RelayConfig,
    quota: Quota,
    /// Where the ends of pairs are.
    channels: HashMap<ChannelId, Place>,
    /// Pairs at places that do not change; `None`: a free place.
    pairs: Vec<Option<Pair>>,
    free: Vec<usize>,
    /// In which pairs a member is.
    members: BTreeMap<PeerId, Vec<usize>>,
    sweep_at: Option<Instant>,
    totals: Totals,
}

/// Why no pair can be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// There are as many pairs as there may be.
    #[error("the relay carries as many pairs as it may")]
    Full,
    /// A member is in as many pairs as it may be.
    #[error("{0} is in as many relayed pairs as it may be")]
    MemberFull(PeerId),
    /// There is one of these two.
    #[error("there is a pair of these two")]
    Exists,
    /// A member needs no relay to reach itself.
    #[error("a pair has two members")]
    OneMember,
    /// A channel id is in use, or both are the same; others will do.
    #[error("a channel id is in use")]
    IdInUse,
}

/// Why a datagram is not sent on. None of them is told to anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Dropped {
    /// It is no relayed one.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// There is no such channel: it ended, or somebody guesses.
    #[error("there is no such channel")]
    UnknownChannel,
    /// It did not come from where the member is known to be. If the member has moved its own way of telling will say so.
    #[error("not from the address of the channel's member")]
    WrongAddress,
    /// It is not known where the other member is.
    #[error("the address of the other member is not known")]
    Unreachable,
    /// The other member has sent nothing yet, and was sent enough.
    #[error("the other member has not answered")]
    Unanswered,
    /// The pair has used up its share, and nothing is left over by others.
    #[error("over the quota")]
    OverQuota,
}

/// A pair, to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairInfo {
    /// Who they are.
    pub members: [PeerId; 2],
    /// What each of them knows the pair by, in the same order.
    pub channels: [ChannelId; 2],
    /// Bytes that each of them sent and that were sent on, heads of relaying left out.
    pub bytes: [u64; 2],
    /// Datagrams of theirs that were over the quota.
    pub over_quota: u64,
    /// Whether it is known where both are; else nothing passes.
    pub is_open: bool,
    /// When it was opened.
    pub opened: Instant,
    /// When each of them last sent something, in the same order, or when it was opened.
    pub last_sent: [Instant; 2],
    /// When it last carried more than what keeps a connection alive, or when it was opened.
    pub busy: Instant,
}

/// Counters of a relay since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Datagrams sent on.
    pub datagrams: u64,
    /// Their bytes, heads of relaying left out.
    pub bytes: u64,
    /// Datagrams dropped for the quota.
    pub over_quota: u64,
    /// Datagrams dropped for no such channel, or from elsewhere than its member.
    pub foreign: u64,
    /// Datagrams dropped because it was not known where the other member is.
    pub unreachable: u64,
    /// Datagrams dropped because the other member had not answered.
    pub unanswered: u64,
    /// Datagrams dropped because they had no good head.
    pub malformed: u64,
}

impl PairInfo {
    /// Whether both have sent something that was sent on, and are there. One alone makes no use of a pair: nobody answers it.
    pub fn is_used(&self) -> bool {
        self.is_open && !self.bytes.contains(&0)
    }

    /// Of a pair that is not used: when it was opened, or last renewed, or of use. Who has sent nothing since shows it.
    fn wished_for(&self) -> Instant {
        let [one, other] = self.last_sent;
        one.min(other)
    }
}

#[derive(Debug)]
struct Pair {
    left: End,
    right: End,
    allowance: Allowance,
    over_quota: u64,
    opened: Instant,
    load: Load,
}

/// How much passes between two.
#[derive(Debug)]
struct Load {
    /// Since when bytes are counted.
    since: Instant,
    bytes: u64,
    /// When there were many last.
    busy: Instant,
}

impl Load {
    fn add(&mut self, now: Instant, bytes: u64) {
        if now.saturating_duration_since(self.since) >= LOAD_TIME {
            (self.since, self.bytes) = (now, 0);
        }
        self.bytes += bytes;
        if self.bytes > KEPT_ALIVE {
            self.busy = now;
        }
    }
}

/// One member of a pair.
#[derive(Debug)]
struct End {
    member: PeerId,
    channel: ChannelId,
    address: Option<Route>,
    /// Bytes from here that were sent on.
    bytes: u64,
    /// When something last came from here, or when the pair was opened.
    last_sent: Instant,
}

/// Where an end is.
#[derive(Debug, Clone, Copy)]
struct Place {
    pair: usize,
    side: Side,
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Left,
    Right,
}

impl Relay {
    /// One without pairs.
    pub fn new(now: Instant, config: RelayConfig) -> Self {
        Self {
            config,
            quota: Quota::new(now, &config),
            channels: HashMap::new(),
            pairs: Vec::new(),
            free: Vec::new(),
            members: BTreeMap::new(),
            sweep_at: None,
            totals: Totals::default(),
        }
    }

    /// Makes a pair of two members, the first of whom asked for it; the channel ids, one for each in the same order, are fresh from a cryptographic source.
    pub fn open_pair(
        &mut self,
        now: Instant,
        [left, right]: [PeerId; 2],
        [left_channel, right_channel]: [ChannelId; 2],
    ) -> Result<(), OpenError> {
        self.may_open([left, right], [left_channel, right_channel])?;
        let end = |member, channel| End { member, channel, address: None, bytes: 0, last_sent: now };
        let pair = Pair {
            left: end(left, left_channel),
            right: end(right, right_channel),
            allowance: Allowance::default(),
            over_quota: 0,
            opened: now,
            load: Load { since: now, bytes: 0, busy: now },
        };
        let place = self.free.pop().unwrap_or(self.pairs.len());
        match self.pairs.get_mut(place) {
            Some(free) => *free = Some(pair),
            None => self.pairs.push(Some(pair)),
        }
        self.channels.insert(left_channel, Place { pair: place, side: Side::Left });
        self.channels.insert(right_channel, Place { pair: place, side: Side::Right });
        for member in [left, right] {
            self.members.entry(member).or_default().push(place);
        }
        self.sweep_at.get_or_insert(now + CHANNEL_IDLE);
        Ok(())
    }

    /// The channel ids of the pair of these two, in the order of the members, if there is one.
    pub fn channels_between(&self, one: PeerId, other: PeerId) -> Option<[ChannelId; 2]> {
        let mut pairs = self.members.get(&one)?.iter().filter_map(|place| self.pairs.get(*place)?.as_ref());
        pairs.find_map(|Pair { left, right, .. }| {
            if left.member == one && right.member == other {
                Some([left.channel, right.channel])
            } else if left.member == other && right.member == one {
                Some([right.channel, left.channel])
            } else {
                None
            }
        })
    }

    /// Lets the pair of these two, if there is one, last as long as if it were opened now; gives its channel ids, in the order of
    /// the members.
    pub fn renew_pair(&mut self, now: Instant, [one, other]: [PeerId; 2]) -> Option<[ChannelId; 2]> {
        let channels = self.channels_between(one, other)?;
        let place = channels.first().and_then(|channel| self.channels.get(channel))?.pair;
        let Some(Some(pair)) = self.pairs.get_mut(place) else { return None };
        (pair.left.last_sent, pair.right.last_sent) = (now, now);
        Some(channels)
    }

    /// The member of this channel is at this address, as far as this channel goes. Says whether there is such a channel.
    pub fn set_address(&mut self, channel: ChannelId, address: Route) -> bool {
        let Some(place) = self.channels.get(&channel) else { return false };
        let Some(Some(Pair { left, right, .. })) = self.pairs.get_mut(place.pair) else { return false };
        let end = match place.side {
            Side::Left => left,
            Side::Right => right,
        };
        end.address = Some(address);
        true
    }

    /// A member is at this address, in all pairs in which it is.
    pub fn move_member(&mut self, member: PeerId, address: Route) {
        self.set_addresses(member, Some(address));
    }

    /// It is not known any more where a member is: its pairs stay for [`CHANNEL_IDLE`], should it come back, but nothing
    /// passes.
    pub fn lose_member(&mut self, member: PeerId) {
        self.set_addresses(member, None);
    }

    fn set_addresses(&mut self, member: PeerId, address: Option<Route>) {
        for place in self.members.get(&member).into_iter().flatten() {
            let Some(Some(pair)) = self.pairs.get_mut(*place) else { continue };
            for end in [&mut pair.left, &mut pair.right] {
                if end.member == member {
                    end.address = address;
                }
            }
        }
    }

    /// A relayed datagram came from `from`. Its head is rewritten in place for the other member, to whom it is to be sent
    /// as it is then; the address is given. Takes the same short time however many pairs there are, and no memory.
    pub fn forward(&mut self, now: Instant, from: Route, datagram: &mut [u8]) -> Result<Route, Dropped> {
        let forwarded = self.try_forward(now, from, datagram);
        let counter = match &forwarded {
            Ok(_) => &mut self.totals.datagrams,
            Err(Dropped::OverQuota) => &mut self.totals.over_quota,
            Err(Dropped::UnknownChannel | Dropped::WrongAddress) => &mut self.totals.foreign,
            Err(Dropped::Unanswered) => &mut self.totals.unanswered,
            Err(Dropped::Unreachable) => &mut self.totals.unreachable,
            Err(Dropped::Head(_)) => &mut self.totals.malformed,
        };
        *counter += 1;
        forwarded
    }

    /// Ends the pair of a channel. The other member is to be told by the owner.
    pub fn close(&mut self, channel: ChannelId) -> Option<PairInfo> {
        let place = self.channels.get(&channel)?.pair;
        self.end(place)
    }

    /// Makes room: of the pairs that are in the way, ends the one that is unused and was wished for first, at least so long ago;
    /// gives it. The members are to be told by the owner.
    pub fn close_unused(
        &mut self,
        now: Instant,
        unused_for: Duration,
        is_in_the_way: impl Fn(&PairInfo) -> bool,
    ) -> Option<PairInfo> {
        let is_unused = |pair: &PairInfo| {
            !pair.is_used() && now.saturating_duration_since(pair.wished_for()) >= unused_for && is_in_the_way(pair)
        };
        let oldest = self.pairs().filter(is_unused).min_by_key(PairInfo::wished_for)?;
        let [channel, _] = oldest.channels;
        self.close(channel)
    }

    /// Makes room where pairs are kept alive and no more, for this reason: ends one that carried nothing else for so long, of who
    /// has the most pairs, and of these the one that was idle longest; gives it. Of a member that is full others asked for
    /// it; and where the table is, both of its members have further ones.
    pub fn close_idle(&mut self, now: Instant, idle_for: Duration, full: OpenError) -> Option<PairInfo> {
        let is_in_the_way = |pair: &PairInfo| match full {
            OpenError::MemberFull(member) => {
                let [_, asked_for] = pair.members;
                asked_for == member
            }
            OpenError::Full => self.crowd(pair) > 1,
            OpenError::Exists | OpenError::OneMember | OpenError::IdInUse => false,
        };
        let is_idle = |pair: &PairInfo| now.saturating_duration_since(pair.busy) >= idle_for;
        let idle = self.pairs().filter(|pair| is_idle(pair) && is_in_the_way(pair));
        let [channel, _] = idle.min_by_key(|pair| (Reverse(self.crowd(pair)), pair.busy))?.channels;
        self.close(channel)
    }

    /// In how many pairs both members of this one are at least.
    fn crowd(&self, pair: &PairInfo) -> usize {
        pair.members.iter().map(|member| self.members.get(member).map_or(0, Vec::len)).min().unwrap_or_default()
    }

    /// Ends all pairs of a member that has left. The other members are to be told by the owner.
    pub fn remove_member(&mut self, member: PeerId) -> Vec<PairInfo> {
        let places = self.members.get(&member).cloned().unwrap_or_default();
        places.into_iter().filter_map(|place| self.end(place)).collect()
    }

    /// When [`Self::handle_timeout`] is to be called, if at all.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.sweep_at
    }

    /// Ends the pairs of which a member sent nothing for [`CHANNEL_IDLE`], and gives them: the other one alone keeps none.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<PairInfo> {
        if self.sweep_at.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let idle_at = |pair: &Pair| pair.left.last_sent.min(pair.right.last_sent) + CHANNEL_IDLE;
        let is_idle = |pair: &Option<Pair>| pair.as_ref().is_some_and(|pair| idle_at(pair) <= now);
        let places: Vec<_> = (0..).zip(&self.pairs).filter(|(_, pair)| is_idle(pair)).map(|(place, _)| place).collect();
        let ended = places.into_iter().filter_map(|place| self.end(place)).collect();
        let next = self.pairs.iter().flatten().map(idle_at).min();
        self.sweep_at = next.map(|next| next.max(now + SWEEP_PAUSE));
        ended
    }

    /// All pairs, to look at.
    pub fn pairs(&self) -> impl Iterator<Item = PairInfo> + '_ {
        self.pairs.iter().flatten().map(Pair::info)
    }

    /// The counters.
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    fn may_open(&self, [left, right]: [PeerId; 2], [one, other]: [ChannelId; 2]) -> Result<(), OpenError> {
        if left == right {
            return Err(OpenError::OneMember);
        }
        if self.channels_between(left, right).is_some() {
            return Err(OpenError::Exists);
        }
        if one == other || self.channels.contains_key(&one) || self.channels.contains_key(&other) {
            return Err(OpenError::IdInUse);
        }
        let is_under = |count: usize, limit: u32| u32::try_from(count).is_ok_and(|count| count < limit);
        for member in [left, right] {
            let count = self.members.get(&member).map_or(0, Vec::len);
            if !is_under(count, self.config.max_pairs_of_member) {
                return Err(OpenError::MemberFull(member));
            }
        }
        if !is_under(self.pairs.len() - self.free.len(), self.config.max_pairs) {
            return Err(OpenError::Full);
        }
        Ok(())
    }

    fn try_forward(&mut self, now: Instant, from: Route, datagram: &mut [u8]) -> Result<Route, Dropped> {
        let (head, inner) = RelayHead::decode(datagram)?;
        let inner_length = inner.len() as u64;
        let place = *self.channels.get(&head.channel).ok_or(Dropped::UnknownChannel)?;
        let pair = self.pairs.get_mut(place.pair).and_then(Option::as_mut).ok_or(Dropped::UnknownChannel)?;
        let (sender, receiver) = match place.side {
            Side::Left => (&mut pair.left, &pair.right),
            Side::Right => (&mut pair.right, &pair.left),
        };
        if sender.address != Some(from) {
            return Err(Dropped::WrongAddress);
        }
        sender.last_sent = now;
        let to = receiver.address.ok_or(Dropped::Unreachable)?;
        if receiver.bytes == 0 && sender.bytes >= self.config.max_unanswered {
            return Err(Dropped::Unanswered);
        }
        if !self.quota.take(now, &mut pair.allowance, datagram.len()) {
            pair.over_quota += 1;
            return Err(Dropped::OverQuota);
        }
        sender.bytes += inner_length;
        pair.load.add(now, inner_length);
        self.totals.bytes += inner_length;
        RelayHead { channel: receiver.channel }.replace(datagram);
        Ok(to)
    }

    fn end(&mut self, place: usize) -> Option<PairInfo> {
        let pair = self.pairs.get_mut(place)?.take()?;
        self.free.push(place);
        for End { member, channel, .. } in [&pair.left, &pair.right] {
            self.channels.remove(channel);
            if let Some(places) = self.members.get_mut(member) {
                places.retain(|other| *other != place);
                if places.is_empty() {
                    self.members.remove(member);
                }
            }
        }
        Some(pair.info())
    }
}

impl Pair {
    const fn info(&self) -> PairInfo {
        let Self { left, right, .. } = self;
        PairInfo {
            members: [left.member, right.member],
            channels: [left.channel, right.channel],
            bytes: [left.bytes, right.bytes],
            over_quota: self.over_quota,
            is_open: left.address.is_some() && right.address.is_some(),
            opened: self.opened,
            last_sent: [left.last_sent, right.last_sent],
            busy: self.load.busy,
        }
    }
}
