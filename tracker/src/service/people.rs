//! People: who is online, where, and what they finished.

use common::id::PeerId;
use common::name::UserName;
use common::wire::tracker::{Code, Holder, Refusal, Reply, User};

use super::{Effect, News, REPLY_ROOM, entries, refusal};
use crate::state::State;

/// Most bytes of a [`User`] in JSON beside its name.
const USER_BYTES: usize = 180;

/// Who is online; where they are more than fit a reply (some 4,600), the first by name.
pub(super) fn users(state: &State) -> Reply {
    let mut room = REPLY_ROOM;
    let mut users = Vec::new();
    for (peer, online) in state.roster.by_name() {
        match room.checked_sub(USER_BYTES + online.name.as_str().len()) {
            Some(left) => room = left,
            None => break,
        }
        users.push(User {
            name: online.name.to_string(),
            peer: *peer,
            since_ms: online.since_ms,
            files: u32::try_from(state.index.swarms_of(peer)).unwrap_or(u32::MAX),
            reachable: online.reachable,
        });
    }
    Reply::Users { users }
}

/// Where somebody is, by user name or peer id.
pub(super) fn whereabouts(state: &State, caller: PeerId, user: &str) -> Result<Reply, Refusal> {
    let peer = match (user.parse::<PeerId>(), UserName::new(user)) {
        (Ok(peer), _) => Some(peer),
        (_, Ok(name)) => {
            let online = state.roster.named(&name);
            online.or_else(|| state.users().owner(&name))
        }
        (Err(_), Err(error)) => return Err(refusal(Code::BadName, error.to_string())),
    };
    let Some(peer) = peer else {
        return Err(refusal(Code::NotFound, format!("there is no user {user}: `users` shows who is online")));
    };
    let (Some(online), Some(asker)) = (state.roster.get(&peer), state.roster.get(&caller)) else {
        return Err(refusal(Code::Gone, format!("{user} is not online")));
    };
    let addresses = online.contact.addresses_for(&asker.contact);
    let holder = Holder { peer, user: online.name.to_string(), addresses, have: None };
    Ok(Reply::Whereabouts { holders: vec![holder] })
}

pub(super) fn completed(state: &State, caller: PeerId, entry: &str) -> Result<(Reply, Vec<Effect>), Refusal> {
    // What is no name never gets into the log.
    let entry = entries::parse(entry)?.to_string();
    let said = state.roster.get(&caller).map(|online| {
        let (name, address) = (online.name.to_string(), online.contact.seen);
        Effect::Say(News::Completed { name, address, entry })
    });
    Ok((Reply::Done, said.into_iter().collect()))
}
