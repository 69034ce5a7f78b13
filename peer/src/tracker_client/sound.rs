//! Soundness: the names in what a tracker says end on terminals and disks, and its addresses are dialled, so they are checked
//! here before anybody sees them, whatever the tracker should have checked.

use common::name::{EntryName, EntryRef, UserName};
use common::wire::MAX_ADDRESSES;
use common::wire::tracker::{Code, Entry, Event, Holder, Meeting, Offer, Refusal, Reply, Subscription};

/// No sentence of a tracker is longer, in characters; what is beyond is cut.
const LONGEST_TEXT: usize = 500;

/// A reply without peers of illegal names; an error where the answer as a whole makes no sense then. Lists of entries stay
/// as they are, since who asked counts them: see [`is_sound`].
pub(super) fn reply(mut reply: Reply) -> Result<Reply, Refusal> {
    let sound = match &mut reply {
        Reply::Done | Reply::Entries { .. } | Reply::Registered { .. } | Reply::Devices { .. } => true,
        Reply::Welcome(welcome) => is_user(&welcome.name),
        Reply::LoggedIn { name } => is_user(name),
        Reply::Shared { users, .. } => users.iter().flatten().all(|user| is_user(user)),
        Reply::Versions { entry, .. } => is_sound(entry),
        Reply::Locations { entry, holders, .. } => {
            retain(holders);
            is_sound(entry)
        }
        Reply::Plan(plan) => {
            retain(&mut plan.holders);
            is_sound(&plan.entry)
        }
        Reply::Meeting(meeting) => is_sound_meeting(meeting),
        Reply::Users { users } => {
            users.retain(|user| is_user(&user.name));
            true
        }
        Reply::Whereabouts { holders } => {
            retain(holders);
            true
        }
        Reply::Subscriptions { subscriptions } => {
            subscriptions.retain(is_sound_subscription);
            true
        }
        Reply::History { lines } => {
            lines.retain(|line| is_user(&line.from));
            true
        }
        Reply::Offered { to, .. } => to.iter().all(|user| is_user(user)),
        Reply::Offers { received, sent } => {
            received.retain(is_sound_offer);
            sent.retain(|sent| is_sound_offer(&sent.offer) && sent.to.iter().all(|receiver| is_user(&receiver.user)));
            true
        }
    };
    if sound {
        return Ok(reply);
    }
    let text = "the tracker's answer has names that are none".to_owned();
    Err(Refusal { code: Code::Newer, text, candidates: Vec::new() })
}

/// A refusal that can be shown.
pub(super) fn refusal(mut refusal: Refusal) -> Refusal {
    let shown = refusal.text.chars().take(LONGEST_TEXT);
    refusal.text = shown.map(|character| if character.is_control() { ' ' } else { character }).collect();
    refusal.candidates.retain(is_sound);
    refusal
}

/// An event, if its names are names.
pub(super) fn event(mut event: Event) -> Option<Event> {
    let sound = match &mut event {
        Event::Holder { holder, .. } => is_user(&holder.user),
        Event::Joined { name, .. } | Event::Left { name, .. } => is_user(name),
        Event::Dial { addresses, .. } => {
            addresses.truncate(MAX_ADDRESSES);
            true
        }
        Event::NotReached { .. } | Event::Shutdown | Event::Revoked { .. } => true,
        Event::Meet(meeting) => is_sound_meeting(meeting),
        Event::Updated { entry } => is_sound(entry),
        Event::Gone { entry } | Event::Shared { entry, .. } => is_full_name(entry),
        Event::Chat(line) | Event::Message(line) => is_user(&line.from),
        Event::Offered(offer) => is_sound_offer(offer),
        Event::Answered { name, receiver, .. } => EntryName::new(name.as_str()).is_ok() && is_user(&receiver.user),
    };
    sound.then_some(event)
}

/// Whether the names in a line of the catalogue are names.
pub(crate) fn is_sound(entry: &Entry) -> bool {
    let sound = EntryName::new(entry.name.as_str()).is_ok()
        && !entry.owners.is_empty()
        && entry.owners.iter().all(|owner| is_user(owner));
    if !sound {
        tracing::warn!(name = ?entry.name, owners = ?entry.owners, "the tracker tells of an entry with an illegal name");
    }
    sound
}

/// Whether somebody to meet has a name; addresses beyond those of which anything is remembered are cut.
fn is_sound_meeting(meeting: &mut Meeting) -> bool {
    meeting.addresses.truncate(MAX_ADDRESSES);
    is_user(&meeting.user)
}

fn is_sound_offer(offer: &Offer) -> bool {
    is_user(&offer.from) && EntryName::new(offer.name.as_str()).is_ok()
}

fn is_sound_subscription(subscription: &Subscription) -> bool {
    is_full_name(&subscription.entry) && subscription.newest.as_ref().is_none_or(is_sound)
}

/// Whether a text is `owner/name`.
fn is_full_name(text: &str) -> bool {
    text.parse().is_ok_and(|entry: EntryRef| entry.owner.is_some())
}

fn retain(holders: &mut Vec<Holder>) {
    holders.retain(|holder| is_user(&holder.user));
}

fn is_user(name: &str) -> bool {
    UserName::new(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::entry;
    use super::*;
    use common::audience::Audience;
    use common::id::PeerId;
    use common::mrt::StaticKey;
    use common::wire::tracker::{Plan, User};

    const ESCAPE: &str = "\u{1b}[2J";

    fn holder(user: &str) -> Holder {
        Holder { peer: PeerId([0; 32]), user: user.to_owned(), addresses: Vec::new(), have: None }
    }

    fn plan(name: &str) -> Reply {
        let holders = vec![holder("ann"), holder(ESCAPE)];
        Reply::Plan(Plan { entry: entry("ann", name), audience: Audience::Public, ticket: String::new(), holders })
    }

    #[test]
    fn peers_with_illegal_names_are_not_there() {
        match reply(plan("x")) {
            Ok(Reply::Plan(plan)) => assert_eq!(plan.holders, [holder("ann")]),
            other => panic!("{other:?}"),
        }
        let user =
            |name: &str| User { name: name.to_owned(), peer: PeerId([0; 32]), since_ms: 0, files: 0, reachable: None };
        let users = Reply::Users { users: vec![user(ESCAPE), user("ann")] };
        assert_eq!(reply(users), Ok(Reply::Users { users: vec![user("ann")] }));
        let left = Event::Left { name: ESCAPE.to_owned(), peer: PeerId([0; 32]) };
        assert_eq!(event(left), None);
    }

    #[test]
    fn nobody_has_more_addresses_than_are_remembered() {
        let addresses = vec!["192.0.2.1:1".parse().unwrap(); 10 * MAX_ADDRESSES];
        let (peer, user, static_key) = (PeerId([0; 32]), "ann".to_owned(), StaticKey([0; 32]));
        let meeting = Meeting { peer, user, static_key, addresses: addresses.clone(), channel: None };
        let counts = [
            match reply(Reply::Meeting(meeting.clone())) {
                Ok(Reply::Meeting(meeting)) => meeting.addresses.len(),
                other => panic!("{other:?}"),
            },
            match event(Event::Meet(meeting)) {
                Some(Event::Meet(meeting)) => meeting.addresses.len(),
                other => panic!("{other:?}"),
            },
            match event(Event::Dial { peer, addresses }) {
                Some(Event::Dial { addresses, .. }) => addresses.len(),
                other => panic!("{other:?}"),
            },
        ];
        assert_eq!(counts, [MAX_ADDRESSES; 3]);
    }

    #[test]
    fn an_answer_about_an_illegal_name_is_none() {
        for name in ["../x", "", ESCAPE] {
            assert!(reply(plan(name)).is_err(), "{name}");
        }
        let locations = Reply::Locations { entry: entry("Root", "x"), holders: Vec::new(), next: None };
        assert!(reply(locations).is_err());
    }

    #[test]
    fn sentences_do_nothing_to_a_terminal() {
        let text = format!("no{ESCAPE}{}", "!".repeat(10_000));
        let candidates = vec![entry("ann", "x"), entry("ann", "a/b")];
        let shown = refusal(Refusal { code: Code::NotFound, text, candidates });
        assert!(shown.text.starts_with("no [2J!") && shown.text.len() == LONGEST_TEXT);
        assert_eq!(shown.candidates, [entry("ann", "x")]);
    }
}
