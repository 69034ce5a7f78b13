//! People: who is online, where, and what they finished.

use common::id::PeerId;
use common::name::UserName;
use common::wire::tracker::{Code, Holder, Refusal, Reply, User};

use super::{Effect, News, REPLY_ROOM, refusal, resolving};
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
    let (known, devices): (bool, Vec<PeerId>) = match (user.parse::<PeerId>(), UserName::new(user)) {
        (Ok(peer), _) => (true, vec![peer]),
        (_, Ok(name)) => (state.accounts().get(&name).is_some(), state.roster.named(&name).collect()),
        (Err(_), Err(error)) => return Err(refusal(Code::BadName, error.to_string())),
    };
    if !known {
        return Err(refusal(Code::NotFound, format!("there is no user {user}: `users` shows who is online")));
    }
    let gone = || refusal(Code::Gone, format!("{user} is not online"));
    let asker = state.roster.get(&caller).ok_or_else(gone)?;
    let online = devices.iter().filter_map(|peer| state.roster.get(peer).map(|online| (*peer, online)));
    let holders: Vec<Holder> = online
        .map(|(peer, online)| Holder {
            peer,
            user: online.name.to_string(),
            addresses: online.contact.addresses_for(&asker.contact),
            have: None,
        })
        .collect();
    if holders.is_empty() { Err(gone()) } else { Ok(Reply::Whereabouts { holders }) }
}

pub(super) fn completed(state: &State, caller: PeerId, entry: &str) -> Result<(Reply, Vec<Effect>), Refusal> {
    // What is no name never gets into the log.
    let entry = resolving::parse(entry)?.to_string();
    let said = state.roster.get(&caller).map(|online| {
        let (name, address) = (online.name.to_string(), online.contact.seen);
        Effect::Say(News::Completed { name, address, entry })
    });
    Ok((Reply::Done, said.into_iter().collect()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use common::audience::Audience;
    use common::wire::tracker::{Have, Request};

    use super::super::testing::{World, file};
    use super::*;

    fn whereabouts(user: impl ToString) -> Request {
        Request::Where { user: user.to_string() }
    }

    #[test]
    fn users_are_those_who_are_online_by_name() {
        let mut world = World::new();
        let bob = world.join(2, "bob");
        world.pass(Duration::from_secs(1));
        let alice = world.join(1, "alice");
        let carol = world.join(3, "carol");
        world.leave(carol);
        world.announce(bob, file(1), Have::All);
        world.announce(bob, file(2), Have::Map("0000".to_owned()));
        let user =
            |name: &str, peer, since_ms, files| User { name: name.to_owned(), peer, since_ms, files, reachable: None };
        let since = world.now.unix_ms;
        let users = vec![user("alice", alice, since, 0), user("bob", bob, since - 1000, 2)];
        assert_eq!(world.reply(alice, Request::Users), Reply::Users { users });
    }

    #[test]
    fn people_are_found_by_name_or_peer_id() {
        let mut world = World::new();
        let (alice, bob, carol) = (world.join(1, "alice"), world.join(2, "bob"), world.join(3, "carol"));
        world.leave(carol);
        for who in ["bob".to_owned(), bob.to_string()] {
            let Reply::Whereabouts { holders } = world.reply(alice, whereabouts(who)) else { panic!("whereabouts") };
            assert_eq!((holders.len(), holders[0].peer, holders[0].user.as_str()), (1, bob, "bob"));
            assert_eq!(holders[0].addresses, ["192.0.2.2:4000".parse().unwrap()]);
        }
        assert_eq!(world.refused(alice, whereabouts("carol")), Code::Gone);
        assert_eq!(world.refused(alice, whereabouts(PeerId([9; 32]))), Code::Gone);
        assert_eq!(world.refused(alice, whereabouts("nobody")), Code::NotFound);
        assert_eq!(world.refused(alice, whereabouts("No Body")), Code::BadName);
    }

    #[test]
    fn the_operator_hears_of_completed_downloads_but_not_of_nonsense() {
        let mut world = World::new();
        let alice = world.join(1, "alice");
        let completed =
            |entry: &str| Request::Completed { entry: entry.to_owned(), content: file(1), audience: Audience::Public };
        let outcome = world.ask(alice, completed("bob/doug.png"));
        let news = News::Completed {
            name: "alice".to_owned(),
            address: "192.0.2.1:50000".parse().unwrap(),
            entry: "bob/doug.png".to_owned(),
        };
        assert_eq!((outcome.reply, outcome.effects), (Ok(Reply::Done), vec![Effect::Say(news)]));
        assert_eq!(world.refused(alice, completed("x\n2026 ERROR all is lost")), Code::BadName);
    }
}
