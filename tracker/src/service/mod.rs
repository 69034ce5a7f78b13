//! The service: the tracker's rules. A rule looks at the state, who asks, what is asked and when, and says what to
//! answer, what to write down, and whom to tell; it knows no sockets, clocks or files.
//!
//! What is soft (who is online, who has what) changes at once; what is durable changes by the outcome's writes, which
//! the caller applies before it asks the next rule, and of which it answers nobody before they are committed.

mod accounts;
mod admin;
mod audiences;
mod callers;
mod dialling;
mod entries;
mod finding;
mod following;
mod glob;
mod joining;
mod locating;
mod meeting;
mod offering;
mod people;
mod resolving;
mod revoking;
mod talking;

use std::net::SocketAddr;
use std::time::Duration;

use common::id::PeerId;
use common::wire::MAX_TRACKER_FRAME;
use common::wire::tracker::{Code, Event, Refusal, Reply, Request};

pub(crate) use self::accounts::{AccountReply, AccountRequest, account, wrong_old_password, wrong_password};
pub(crate) use self::admin::{AdminReply, AdminRequest, UserLine, admin};
use self::entries::Registration;
pub(crate) use self::joining::{Claim, Newcomer, Why, claim, enter, expire, leave, touch};
pub(crate) use self::locating::{Entered, announce, tell_of};
pub(crate) use self::meeting::udp_offer;
use self::offering::Push;
use crate::state::{ConnId, State, Write};

/// A reply's body is kept below this by counting what its parts take at most; what is around them fits the rest.
const REPLY_ROOM: usize = MAX_TRACKER_FRAME - (64 << 10);

/// The time of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    /// Milliseconds since 1970 (UTC).
    pub(crate) unix_ms: u64,
    /// Since the tracker began; never goes back.
    pub(crate) uptime: Duration,
}

/// What comes of a request.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The answer.
    pub(crate) reply: Result<Reply, Refusal>,
    /// When it may go out.
    pub(crate) when: When,
    /// What is to be applied and committed.
    pub(crate) writes: Vec<Write>,
    /// What else is to be done, when the answer goes out.
    pub(crate) effects: Vec<Effect>,
}

/// When an answer may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// At once.
    Now,
    /// When all that was written until now is committed: the answer rests on it.
    Committed,
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Send an event to a peer.
    Tell {
        /// Whom.
        to: PeerId,
        /// What.
        event: Event,
    },
    /// Send an event to all peers but one.
    TellOthers {
        /// Not to this one.
        than: PeerId,
        /// What.
        event: Event,
    },
    /// Send an event to all peers that are online.
    TellAll(Event),
    /// End a connection, whatever it was to be sent yet.
    Close(ConnId),
    /// End a connection when it was sent what it was to be sent; its peer is offline already.
    Expel(ConnId),
    /// Say something in the log.
    Say(News),
}

/// What the tracker's operator is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// A peer is there.
    Joined {
        /// Its user's name.
        name: String,
        /// Where it is seen.
        address: SocketAddr,
        /// How many peers are online now.
        peers: usize,
    },
    /// A peer is gone.
    Left {
        /// Its user's name.
        name: String,
        /// Where it was seen.
        address: SocketAddr,
        /// How many peers are online now.
        peers: usize,
        /// How it went.
        why: Why,
    },
    /// A peer has a whole file.
    Completed {
        /// Its user's name.
        name: String,
        /// Where it is seen.
        address: SocketAddr,
        /// `owner/name`.
        entry: String,
    },
}

impl Effect {
    /// Whether it follows from what is soft alone: who is offline stays so where what was to last is taken back.
    pub(crate) const fn is_of_soft_state(&self) -> bool {
        match self {
            Self::Close(_) | Self::Expel(_) => true,
            Self::Tell { event, .. } | Self::TellOthers { event, .. } | Self::TellAll(event) => {
                matches!(event, Event::Left { .. })
            }
            Self::Say(news) => matches!(news, News::Left { .. }),
        }
    }
}

/// What a rule that changes what is durable comes to: the answer, and what is to be written and done.
type Change = (Reply, Vec<Write>, Vec<Effect>);

impl Outcome {
    /// Nothing to write and nobody to tell.
    fn plain(reply: Result<Reply, Refusal>) -> Self {
        Self { reply, when: When::Now, writes: Vec::new(), effects: Vec::new() }
    }

    /// The answer and the effects rest on these writes, if there are any, and on those before.
    fn durable(change: Result<Change, Refusal>) -> Self {
        match change {
            Ok((reply, writes, effects)) => Self { reply: Ok(reply), when: When::Committed, writes, effects },
            Err(refusal) => Self::plain(Err(refusal)),
        }
    }

    fn telling(reply: Result<(Reply, Vec<Effect>), Refusal>) -> Self {
        match reply {
            Ok((reply, effects)) => Self { reply: Ok(reply), when: When::Now, writes: Vec::new(), effects },
            Err(refusal) => Self::plain(Err(refusal)),
        }
    }
}

/// Does what a peer that is online asks. Joining and leaving are [`claim`], [`enter`] and [`leave`].
pub(crate) fn handle(state: &mut State, caller: PeerId, request: Request, now: Now) -> Outcome {
    if state.roster.get(&caller).is_none() {
        return Outcome::plain(Err(refusal(Code::NotJoined, "join first")));
    }
    match request {
        Request::Hello(_) => Outcome::plain(Err(refusal(Code::Malformed, "this connection has joined already"))),
        Request::Leave => Outcome::plain(Ok(Reply::Done)),
        Request::SignUp { .. } | Request::LogIn { .. } => {
            let text = "this connection has joined already: sign up or log in on one that has not";
            Outcome::plain(Err(refusal(Code::Malformed, text)))
        }
        // Passwords are checked by the session, which then asks for [`account`].
        Request::ChangePassword { .. } => Outcome::plain(Err(wrong_password())),
        Request::LogOut => accounts::log_out(state, caller, now),
        Request::Devices => Outcome::plain(accounts::devices(state, caller)),
        Request::Revoke { device } => accounts::revoke(state, caller, device, now),
        Request::Completed { entry, content, audience } => {
            let (writes, effects) = offering::completed(state, caller, &content, &audience);
            let said = people::completed(state, caller, &entry);
            match said {
                Ok((reply, said)) if !writes.is_empty() => {
                    Outcome::durable(Ok((reply, writes, [effects, said].concat())))
                }
                said => Outcome::telling(said),
            }
        }
        Request::DialMe { peer } => Outcome::telling(dialling::dial_me(state, caller, peer, now)),
        Request::Dialled { peer, reached } => {
            Outcome::telling(Ok(dialling::dialled(state, caller, peer, reached, now)))
        }
        Request::Mrt(contact) => Outcome::plain(meeting::appear(state, caller, contact, now)),
        Request::Meet { peer } => Outcome::telling(meeting::meet(state, caller, peer, now)),
        Request::Met { peer, reached } => Outcome::plain(Ok(meeting::met(state, caller, peer, reached, now))),
        Request::Users => Outcome::plain(Ok(people::users(state))),
        Request::Where { user } => Outcome::plain(people::whereabouts(state, caller, &user)),
        request => handle_catalogue(state, caller, request, now),
    }
}

/// What is asked of entries and of who has them.
fn handle_catalogue(state: &mut State, caller: PeerId, request: Request, now: Now) -> Outcome {
    match request {
        Request::Register { name, content, folder, users } => {
            let registration = Registration { name, content, folder, users };
            Outcome::durable(entries::register(state, caller, registration, now))
        }
        Request::Deregister { entry } => Outcome::durable(entries::deregister(state, caller, &entry, now)),
        Request::Share { entry, change } => Outcome::durable(audiences::share(state, caller, &entry, change, now)),
        Request::List(query) => Outcome::plain(finding::list(state, caller, query)),
        Request::Search { text, query } => Outcome::plain(finding::search(state, caller, &text, query)),
        Request::Versions { entry } => Outcome::plain(resolving::versions(state, caller, &entry)),
        Request::Loc { entry, offset } => Outcome::plain(locating::locate(state, caller, &entry, offset)),
        Request::Plan { entry, content } => {
            Outcome::telling(locating::plan(state, caller, &entry, content.as_ref(), now))
        }
        Request::PlanOffer { offer } => Outcome::telling(locating::plan_offer(state, caller, offer, now)),
        Request::Announce { swarms } => {
            let (refusal, effects) = locating::announce_private(state, caller, swarms);
            Outcome { effects, ..Outcome::plain(refusal.map_or(Ok(Reply::Done), Err)) }
        }
        request => handle_social(state, caller, request, now),
    }
}

/// What is asked of other people.
fn handle_social(state: &mut State, caller: PeerId, request: Request, now: Now) -> Outcome {
    match request {
        Request::Subscribe { entry } => Outcome::durable(following::subscribe(state, caller, &entry, now)),
        Request::Unsubscribe { entry } => Outcome::durable(following::unsubscribe(state, caller, &entry)),
        Request::Subscriptions => Outcome::plain(following::subscriptions(state, caller)),
        Request::Chat { text } => Outcome::telling(talking::chat(state, caller, text, now)),
        Request::Message { to, text } => Outcome::telling(talking::message(state, caller, &to, text, now)),
        Request::History => Outcome::plain(talking::history(state, caller)),
        Request::Offer { name, content, folder, to } => {
            let push = Push { name, content, folder, to };
            Outcome::durable(offering::offer(state, caller, push, now))
        }
        Request::Answer { offer, answer } => Outcome::durable(offering::answer(state, caller, offer, answer, now)),
        Request::Offers => Outcome::plain(offering::offers(state, caller)),
        _ => Outcome::plain(Err(refusal(Code::Unknown, "not here yet"))),
    }
}

/// A refusal without candidates.
pub(crate) fn refusal(code: Code, text: impl Into<String>) -> Refusal {
    Refusal { code, text: text.into(), candidates: Vec::new() }
}

#[cfg(test)]
mod testing;
