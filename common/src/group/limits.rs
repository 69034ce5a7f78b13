//! Limits and times of a group, each in one place. Where no source is named a number was picked by hand.

use std::time::Duration;

use crate::name::MAX_USER_NAME;
use crate::wire::MAX_ADDRESSES;

/// The version of what members say to each other; those of another do not speak.
pub const PROTOCOL: u16 = 1;
/// Most members of a network, those that are absent included.
pub const MAX_MEMBERS: usize = 1024;
/// Bytes of a member in a roster at most: two keys, the name, the addresses (IPv6: 19 bytes each),
/// both behind a count.
const MAX_MEMBER_BYTES: usize = 32 + 32 + 2 + MAX_USER_NAME + 2 + MAX_ADDRESSES * 19;
/// The longest message, in bytes: a full roster, its signature, and room for what stands before it.
pub const MAX_MESSAGE: usize = MAX_MEMBERS * MAX_MEMBER_BYTES + 1024;
/// The longest message that holds no roster: the map of a folder with the most chunks is 128 KiB.
pub(super) const MAX_PLAIN_MESSAGE: usize = 192 << 10;
/// Most bytes of a line of chat.
pub const MAX_TEXT: usize = 4 << 10;

/// The highest term: nobody gets there, and one more still fits.
pub(super) const MAX_TERM: u64 = u64::MAX >> 1;
/// A term that is further ahead than this is nobody's honest one: it would take an election a second for 18 hours.
pub(super) const MAX_TERM_LEAD: u64 = 1 << 16;
/// By so much the claims of newcomers raise a term at once: a quarter of what members accept, who may have been away ...
pub(super) const RISES: u32 = 1 << 14;
/// ... and by so much a second in the long run: as much as the elections that [`MAX_TERM_LEAD`] thinks of.
pub(super) const RISES_PER_SEC: u32 = 1;

/// A PING goes out so often (DESIGN, section 6, asks for a fast migration).
pub(super) const PING_EVERY: Duration = Duration::from_secs(1);
/// A link on which nothing came for so long is dead.
pub(super) const SILENCE: Duration = Duration::from_secs(3);
/// A supernode that was heard within this is held for alive when others ask: one PING may be late.
pub(super) const FRESH: Duration = Duration::from_millis(1500);
/// So long a new connection may take to say HELO.
pub(super) const HELLO_TIME: Duration = Duration::from_secs(5);

/// A dial may take so long where others wait for its outcome: two lost packets and a slow path.
pub(super) const DIAL_TIME: Duration = Duration::from_millis(1500);
/// A dial that a user asked for may take so long: the handshake's own timeout.
pub(super) const ASKED_DIAL_TIME: Duration = Duration::from_secs(10);
/// So many ways to one peer are tried at once.
pub(super) const MAX_WAYS: usize = 4;
/// After a dial through a relay others have their turn for so long.
pub(super) const RELAY_AGAIN: Duration = Duration::from_secs(4);
/// So many dials are under way at once.
pub(super) const MAX_DIALS: usize = 32;
/// While so many are, no lost members are dialled: the rest is for those who are known to be there.
pub(super) const MAX_SEARCHES: usize = 24;

/// A user's wish to connect is given up after this.
pub(super) const WISH_TIME: Duration = Duration::from_secs(20);
/// A wish that got no answer is repeated after this; so is the question of one who looks for a supernode.
pub(super) const ASK_EVERY: Duration = Duration::from_secs(1);
/// Most wishes of a user at once.
pub(super) const MAX_WISHES: usize = 4;

/// Before a node takes over, those that it is linked to have so long to say that the supernode lives.
pub(super) const ASK_TIME: Duration = Duration::from_millis(500);
/// A candidate that answers has so long to take over, counted from the beginning: it may notice the death by silence only,
/// and must dial those before it.
pub(super) const CANDIDATE_TIME: Duration = Duration::from_millis(5000);
/// Each further candidate has so much more, so that two do not take over at once after those before them were silent.
pub(super) const CANDIDATE_STEP: Duration = Duration::from_millis(750);
/// So many further candidates have more time; the rest have as much as the last of them.
pub(super) const MAX_CANDIDATE_STEPS: u32 = 8;
/// A successor that was named has so long to be reached.
pub(super) const SUCCESSOR_TIME: Duration = Duration::from_secs(4);
/// A successor may lead on to the next at most so often in one search.
pub(super) const MAX_HOPS: u8 = 8;
/// A candidate is dialled at most so often in one search.
pub(super) const MAX_TRIES: u8 = 3;

/// Members that a supernode expects have so long to come; those whose connection broke, too.
pub(super) const AWAIT_TIME: Duration = Duration::from_secs(4);
/// A lost member is looked for so often (DESIGN, section 6).
pub(super) const PROBE_EVERY: Duration = Duration::from_secs(2);
/// One for whom there was no dial has its turn before all others as soon as there is one, which is seen so often.
pub(super) const SEARCH_AGAIN: Duration = Duration::from_millis(500);
/// A lost member is looked for so long.
pub(super) const PROBE_FOR: Duration = Duration::from_secs(600);
/// Changes of the roster within this go out as one: a class that comes in at once costs no more than it must.
pub(super) const PUBLISH_EVERY: Duration = Duration::from_millis(50);
/// So often in a row; then less: a roster goes to everybody, and a full one has hundreds of KiB.
pub(super) const PUBLISH_BURST: u32 = 16;
/// So often a second in the long run.
pub(super) const PUBLISH_PER_SEC: u32 = 4;
/// A supernode that asked to be taken in waits so long for the answer.
pub(super) const YIELD_TIME: Duration = Duration::from_secs(3);
/// A node looks for a missing standby so often.
pub(super) const STANDBY_EVERY: Duration = Duration::from_secs(5);
/// One that does not come is dialled less often each time, down to this: a thousand members that do so are to be no burden for
/// whoever is at the addresses that it gave.
pub(super) const STANDBY_RARELY: Duration = Duration::from_secs(80);
/// One that leads on to a supernode to which there is no connection has it dialled so often, where no user waits for it.
pub(super) const LED_DIAL_EVERY: Duration = Duration::from_secs(4);
/// So many members behind the supernode are standbys: everybody keeps a connection to them.
pub(super) const STANDBYS: usize = 2;
/// A supernode that leaves waits so long for its successor.
pub(super) const LEAVE_TIME: Duration = Duration::from_secs(3);
/// After its successor took over it stays so long for those who are on their way.
pub(super) const LEAVE_GRACE: Duration = Duration::from_secs(1);
/// So many peers are remembered with whom one was in a roster.
pub(super) const MAX_REMEMBERED: usize = 4096;

/// A new supernode waits so long for lines of the old one before it orders new ones.
pub(super) const GATHER_TIME: Duration = Duration::from_millis(1500);
/// So many lines of ours may be under way.
pub const MAX_PENDING_LINES: usize = 64;
/// So many lines wait for their places, and of one author as many as it may have under way.
pub(super) const MAX_WAITING_LINES: usize = 2048;
/// So many lines get places at once, each of which goes to all ...
pub(super) const PLACES_BURST: u32 = 64;
/// ... and so many a second in the long run.
pub(super) const PLACES_PER_SEC: u32 = 256;
/// So many lines are kept for those who missed them.
pub(super) const MAX_LOG: usize = 100;
/// So many authors are remembered, so that no line is shown twice.
pub(super) const MAX_AUTHORS: usize = 4096;
/// So many runs of an author's program are remembered.
pub(super) const MAX_RUNS: usize = 4;

/// What a link sends costs others something: a KiB that goes on to all, or a few entries of a list, one each. So much may
/// come at once (all that a member has is told to a new supernode) ...
pub(super) const BURST: u32 = 2048;
/// ... and so much a second in the long run.
pub(super) const REFILL_PER_SEC: u32 = 64;
/// Bytes that cost one.
pub(super) const BYTES_A_TOKEN: usize = 1024;
/// To come into the list, or to change in it, costs so much: all others are sent a new one. Twice a second in the long run.
pub(super) const LISTING_COST: u32 = 32;
/// A node keeps below that: it tells of other addresses so often at once ...
pub(super) const MOVES_BURST: u32 = 8;
/// ... and so often a second in the long run, the last ones.
pub(super) const MOVES_PER_SEC: u32 = 1;
/// To share something new costs so much, and its bytes: it goes to all others at once. A node that tells of all it may share, by
/// the longest names and after all it had, has enough.
pub(super) const NEWS_COST: u32 = 12;
/// To have another open its NAT costs so much ...
pub(super) const INVITE_COST: u32 = 4;
/// ... and is done so often for the same two at most.
pub(super) const INVITE_EVERY: Duration = Duration::from_secs(1);
/// Announcements of chunks that cost one.
pub(super) const HAVES_A_TOKEN: usize = 8;
/// So many lines of chat a member may send at once: those that were under way come again to a new supernode.
pub(super) const CHAT_BURST: u32 = 256;
/// What a node shares and has goes out so often at most, together ...
pub(super) const TELL_EVERY: Duration = Duration::from_millis(500);
/// ... and in messages of about so many bytes, which keeps it below what it may cost.
pub(super) const TELL_BYTES: usize = 8 << 10;
/// More chunks than these are told as a map.
pub(super) const MAX_ADDED: usize = 256;
/// Our own lines keep below that: so many a second ...
pub(super) const LINES_PER_SEC: u32 = 32;
/// ... and so many at once.
pub(super) const LINES_BURST: u32 = 64;
/// A link whose messages had to be refused so often is closed.
pub(super) const MAX_FAULTS: u32 = 16;

/// Most files that one member shares.
pub const MAX_SHARES: usize = 4096;
/// Most files that all members together share.
pub const MAX_FILES: usize = 1 << 16;
/// Most files and folders of which one member says which chunks it has.
pub const MAX_HAVES: usize = 8192;
/// Most files in one message.
pub(super) const MAX_LISTED: usize = 128;
/// Bytes of maps that one message takes before the next begins.
pub(super) const MAX_BATCH: usize = 32 << 10;
/// Bytes of maps in one answer; what finds no room the holders say themselves.
pub(super) const MAX_ANSWER_MAPS: usize = 128 << 10;
/// Most bytes of a map that is told of a new holder.
pub(super) const MAX_NEWS_MAP: usize = 4 << 10;
/// That a member has something is told again, if it had it, had it not, and has it again: so often at once, since programs are
/// restarted ...
pub(super) const TOLD_BURST: u32 = 4;
/// ... and so often a second in the long run.
pub(super) const TOLD_PER_SEC: u32 = 1;
/// After so long without all of that may be told at once again.
pub(super) const TOLD_FOR: Duration = Duration::from_secs((TOLD_BURST / TOLD_PER_SEC) as u64);
/// Of so much of one member others are told within that.
pub(super) const MAX_TOLD: usize = 1024;
/// So many questions of ours may wait for an answer.
pub const MAX_REQUESTS: usize = 64;
/// Nothing said within this: a question is given up.
pub(super) const REQUEST_TIME: Duration = Duration::from_secs(30);
