//! Talking: to all who are online, or to one user.

use common::id::PeerId;
use common::name::UserName;
use common::wire::MAX_CHAT_TEXT;
use common::wire::tracker::{Code, Event, HistoryLine, Refusal, Reply};

use super::callers::{no_user, user_of};
use super::{Effect, Now, refusal};
use crate::state::State;

pub(super) fn chat(state: &mut State, caller: PeerId, text: String, now: Now) -> Result<(Reply, Vec<Effect>), Refusal> {
    let from = user_of(state, caller)?;
    let line = line(state, &from, text, now)?;
    state.talk.add(line.clone());
    Ok((Reply::Done, vec![Effect::TellOthers { than: caller, event: Event::Chat(line) }]))
}

pub(super) fn message(
    state: &mut State,
    caller: PeerId,
    to: &str,
    text: String,
    now: Now,
) -> Result<(Reply, Vec<Effect>), Refusal> {
    let from = user_of(state, caller)?;
    let to = UserName::new(to).map_err(|error| refusal(Code::BadName, error.to_string()))?;
    if state.accounts().get(&to).is_none() {
        return Err(no_user(to.as_str()));
    }
    let devices: Vec<PeerId> = state.roster.named(&to).filter(|device| *device != caller).collect();
    if devices.is_empty() {
        let text = if to == from {
            "no other device of yours is online".to_owned()
        } else {
            format!("{to} is not online, and would not hear of it later")
        };
        return Err(refusal(Code::Gone, text));
    }
    let event = Event::Message(line(state, &from, text, now)?);
    Ok((Reply::Done, devices.into_iter().map(|to| Effect::Tell { to, event: event.clone() }).collect()))
}

pub(super) fn history(state: &State, caller: PeerId) -> Result<Reply, Refusal> {
    user_of(state, caller)?;
    Ok(Reply::History { lines: state.talk.lines().cloned().collect() })
}

/// What somebody may say now, as a line.
fn line(state: &mut State, from: &UserName, text: String, now: Now) -> Result<HistoryLine, Refusal> {
    if text.len() > MAX_CHAT_TEXT {
        let text = format!("that has {} bytes, and at most {MAX_CHAT_TEXT} can be said at once", text.len());
        return Err(refusal(Code::Limit, text));
    }
    if text.trim().is_empty() {
        return Err(refusal(Code::Malformed, "there is nothing in that to be said"));
    }
    // Refused, not left out: what somebody means to say is not changed behind his back.
    if text.chars().any(is_control) {
        return Err(refusal(Code::Malformed, "control characters, newlines and tabs among them, cannot be said"));
    }
    if !state.talk.may_speak(from, now.uptime) {
        return Err(refusal(Code::Busy, "that is much at once: wait a few seconds"));
    }
    Ok(HistoryLine { from: from.to_string(), text, at_ms: now.unix_ms })
}

/// What acts on a terminal, breaks a line, or turns the direction of what stands after it.
fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use common::wire::tracker::Request;
    use common::wire::{MAX_HISTORY, MAX_TRACKER_FRAME};

    use super::super::testing::World;
    use super::*;

    fn chat(text: &str) -> Request {
        Request::Chat { text: text.to_owned() }
    }

    fn message(to: &str, text: &str) -> Request {
        Request::Message { to: to.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn what_is_said_to_all_is_kept_for_those_who_come_later() {
        let mut world = World::new();
        let alice = world.join(1, "alice");
        let line = HistoryLine { from: "alice".to_owned(), text: "hello".to_owned(), at_ms: world.now.unix_ms };
        let outcome = world.ask(alice, chat("hello"));
        let told = Effect::TellOthers { than: alice, event: Event::Chat(line.clone()) };
        assert_eq!((outcome.reply, outcome.effects), (Ok(Reply::Done), vec![told]));
        let bob = world.join(2, "bob");
        assert_eq!(world.reply(bob, Request::History), Reply::History { lines: vec![line] });
    }

    #[test]
    fn the_longest_history_fits_a_frame() {
        let mut world = World::new();
        let alice = world.join(1, &"a".repeat(32));
        for _ in 0..=MAX_HISTORY {
            world.reply(alice, chat(&"\"".repeat(MAX_CHAT_TEXT)));
            world.pass(Duration::from_secs(1));
        }
        let result = world.reply(alice, Request::History);
        let frame = common::wire::tracker::FromTracker::Reply { id: u64::MAX, result }.to_frame().unwrap();
        assert!(frame.len() < MAX_TRACKER_FRAME / 2);
    }

    #[test]
    fn a_message_goes_to_all_devices_of_one_user_and_to_nobody_else() {
        let mut world = World::new();
        let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
        let phone = world.another_device(4, "bob");
        world.join(3, "carol");
        let outcome = world.ask(alice, message("bob", "psst"));
        let mut told = outcome.effects.into_iter().map(|effect| match effect {
            Effect::Tell { to, event: Event::Message(line) } if line.text == "psst" && line.from == "alice" => to,
            other => panic!("{other:?}"),
        });
        let told: std::collections::BTreeSet<PeerId> = told.by_ref().collect();
        assert_eq!(told, [bob, phone].into());
        assert_eq!(world.reply(alice, Request::History), Reply::History { lines: Vec::new() });
        assert!(world.ask(bob, message("bob", "to my phone")).reply.is_ok());
    }

    #[test]
    fn who_is_not_there_hears_nothing() {
        let mut world = World::new();
        let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
        world.leave(bob);
        assert_eq!(world.refused(alice, message("bob", "psst")), Code::Gone);
        assert_eq!(world.refused(alice, message("nobody", "psst")), Code::NotFound);
        assert_eq!(world.refused(alice, message("No Body", "psst")), Code::BadName);
        assert_eq!(world.refused(alice, message("alice", "psst")), Code::Gone);
    }

    #[test]
    fn what_would_act_on_a_terminal_is_not_said() {
        let mut world = World::new();
        let (alice, _) = (world.join(1, "alice"), world.join(2, "bob"));
        for text in ["a\u{1b}[2J", "a\nb", "\r", "\u{7}", "\u{9b}1m", "\u{202e}gpj", "a\u{2028}b", "", " "] {
            assert_eq!(world.refused(alice, chat(text)), Code::Malformed, "{text:?}");
            assert_eq!(world.refused(alice, message("bob", text)), Code::Malformed, "{text:?}");
        }
        let long = "ü".repeat(MAX_CHAT_TEXT / 2);
        assert_eq!(world.reply(alice, chat(&long)), Reply::Done);
        assert_eq!(world.refused(alice, chat(&format!("{long}x"))), Code::Limit);
    }

    #[test]
    fn one_user_cannot_drown_the_others() {
        let mut world = World::new();
        let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
        let phone = world.another_device(4, "alice");
        let said = (0..20).filter(|_| world.ask(alice, chat("x")).reply.is_ok()).count();
        assert_eq!((said, world.refused(alice, message("bob", "x"))), (10, Code::Busy));
        assert_eq!(world.refused(phone, chat("x")), Code::Busy, "it is the user that counts");
        assert_eq!(world.reply(bob, chat("x")), Reply::Done);
        world.pass(Duration::from_secs(1));
        assert_eq!(world.reply(alice, chat("x")), Reply::Done);
    }
}
