//! Joining and leaving, and whose a user name is.
//!
//! A name with a password is an account's, and belongs to the devices that are logged in. One without belongs to the first
//! key that uses it, until that key has not been seen for 30 days and has no entries. A guest's key has one name: it
//! keeps the one it has unless another is asked for by name, and then only while it has no entries, whose names would
//! change with it.
//! Where not everybody may join, only keys that are logged in to an account do.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use common::id::PeerId;
use common::identity::PublicKey;
use common::name::UserName;
use common::wire::tracker::{Access, Code, Event, Hello, Refusal};
use common::wire::{MAX_ADDRESSES, MAX_DEVICE_NAME};

use super::{Effect, News, Now, accounts, audiences, following, meeting, refusal, revoking};
use crate::state::{Account, ConnId, Contact, Device, Dials, Gate, Load, Meetings, Online, State, Write};

/// A name is free again when its key has no entries and was last seen so long ago.
const NAME_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// How exactly it is known when a device was last seen: each is written down once in so long while online.
const SEEN_EVERY: Duration = Duration::from_secs(3600);
/// Most accounts that are kept, those of guests too; some 400 bytes each.
pub(super) const MAX_ACCOUNTS: usize = 1_000_000;
/// The last number that is tried behind a default name.
const MAX_SUFFIX: u32 = 9_999;
/// With more peers than this online, who comes and goes is of interest to those only who share a swarm: to tell
/// everybody takes the square of their number of messages when they all come back to a tracker that was restarted, and
/// more than the 5 seconds that this may take.
const TELL_ALL_UP_TO: usize = 300;
/// In so many of its swarms the downloaders are told then that a peer has left.
const SWARMS_TOLD: usize = 100;

/// A name that is the caller's once the writes are committed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The name.
    pub(crate) name: UserName,
    /// What makes it so.
    pub(crate) writes: Vec<Write>,
    /// What else is to be done, when they are committed.
    pub(crate) effects: Vec<Effect>,
}

/// A peer that has a name and is to come online.
#[derive(Debug, Clone)]
pub(crate) struct Newcomer {
    /// Its connection.
    pub(crate) conn: ConnId,
    /// That connection's way to the index.
    pub(crate) gate: Arc<Gate>,
    /// Its key.
    pub(crate) key: PublicKey,
    /// Where it is.
    pub(crate) contact: Contact,
}

/// How a peer left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// It said so.
    SaidGoodbye,
    /// Its connection ended.
    Disconnected,
    /// It did not answer a ping in time.
    Silent,
    /// It did not read what was sent to it.
    NotReading,
    /// It sent what no peer sends.
    Nonsense,
    /// Its device was logged in or out, or thrown out.
    Expelled,
    /// The tracker ends.
    Shutdown,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SaidGoodbye => "it said goodbye",
            Self::Disconnected => "its connection ended",
            Self::Silent => "it did not answer",
            Self::NotReading => "it did not read what it was sent",
            Self::Nonsense => "it sent something else than messages",
            Self::Expelled => "its device was logged in or out",
            Self::Shutdown => "the tracker ends",
        })
    }
}

/// Finds the name that a peer joins under. What was online under another name is offline at once: that name may be
/// somebody else's next.
pub(crate) fn claim(state: &mut State, peer: PeerId, hello: &Hello, now: Now) -> Result<Claim, Refusal> {
    if hello.interfaces.len() > MAX_ADDRESSES || hello.advertised.len() > MAX_ADDRESSES {
        let text = format!("at most {MAX_ADDRESSES} addresses of each kind may be declared");
        return Err(refusal(Code::Limit, text));
    }
    let wanted = match UserName::new(hello.name.as_str()) {
        Ok(name) => name,
        Err(_) if hello.name_is_default => UserName::suggestion(&hello.name),
        Err(error) => return Err(refusal(Code::BadName, error.to_string())),
    };
    let known = state.accounts().device(&peer);
    let is_guest = known.is_none_or(|device| !has_password(state, &device.account));
    let name = match known {
        _ if is_guest && state.access != Access::Open => return Err(login_required(state.access)),
        // A device that is logged in has its account's name, whatever it was called before.
        Some(device) if !is_guest || hello.name_is_default || device.account == wanted => device.account.clone(),
        Some(device) => renamed(state, &device.account, wanted, now)?,
        None if state.accounts().len() >= MAX_ACCOUNTS => return Err(too_many_accounts()),
        None if hello.name_is_default => free_variant(state, &wanted, now)?,
        None => free(state, wanted, now)?,
    };
    let called = device_name(&hello.device);
    let (mut writes, mut effects) = (Vec::new(), Vec::new());
    match known {
        Some(device) if device.account == name && device.name == called => {}
        Some(device) if device.account == name => {
            writes.push(Write::Device(peer, Some(Device { name: called, ..device.clone() })));
        }
        _ => {
            let left = known.map(|device| device.account.clone());
            let is_renamed = left.is_some();
            writes.extend(vacate(state, &[name.clone()].into_iter().chain(left).collect()));
            let (created_ms, seen_ms) = (now.unix_ms, now.unix_ms);
            let account = Account { password: None, created_ms, seen_ms, former: Vec::new() };
            writes.push(Write::Account(name.clone(), Some(account)));
            let device = Device { account: name.clone(), name: called, since_ms: now.unix_ms, seen_ms };
            writes.push(Write::Device(peer, Some(device)));
            if is_renamed {
                // What it might have under the other name is not what it may have now.
                let (revoked, told) = revoking::revoke(state, [peer], None, now);
                writes.extend(revoked);
                effects.extend(accounts::expel(state, peer, now));
                effects.extend(told);
            }
        }
    }
    Ok(Claim { name, writes, effects })
}

/// Puts a peer online under the name that it claimed.
pub(crate) fn enter(state: &mut State, name: UserName, newcomer: Newcomer, now: Now) -> Vec<Effect> {
    let peer = newcomer.key.peer_id();
    let address = newcomer.contact.seen;
    let event = Event::Joined { name: name.to_string(), peer };
    let online = Online {
        conn: newcomer.conn,
        gate: newcomer.gate,
        key: newcomer.key,
        name: name.clone(),
        contact: newcomer.contact,
        since_ms: now.unix_ms,
        reachable: None,
        dials: Dials::default(),
        meetings: Meetings::default(),
        met_at: None,
        load: Load::default(),
    };
    let replaced = state.roster.insert(peer, online);
    meeting::part(state, peer);
    let mut effects = Vec::new();
    if let Some(replaced) = &replaced {
        // The others need not hear of this: what the newer connection announces comes in place of the older's.
        replaced.gate.close();
        state.index.remove_peer(&peer);
        effects.push(Effect::Close(replaced.conn));
    } else if state.roster.len() <= TELL_ALL_UP_TO {
        effects.push(Effect::TellOthers { than: peer, event });
    }
    effects.push(Effect::Say(News::Joined { name: name.to_string(), address, peers: state.roster.len() }));
    effects.extend(revoking::recent(state, peer, now));
    effects
}

/// Takes a peer offline, if this is still its connection.
pub(crate) fn leave(state: &mut State, peer: PeerId, conn: ConnId, why: Why, now: Now) -> (Vec<Write>, Vec<Effect>) {
    if state.roster.get(&peer).is_none_or(|online| online.conn != conn) {
        return (Vec::new(), Vec::new());
    }
    let tell_all = state.roster.len() <= TELL_ALL_UP_TO;
    let Some(online) = state.roster.remove(&peer) else { return (Vec::new(), Vec::new()) };
    online.gate.close();
    meeting::part(state, peer);
    let files = state.index.remove_peer(&peer);
    let event = Event::Left { name: online.name.to_string(), peer };
    let mut effects: Vec<Effect> = if tell_all {
        vec![Effect::TellOthers { than: peer, event }]
    } else {
        let concerned: BTreeSet<PeerId> =
            files.iter().take(SWARMS_TOLD).flat_map(|file| state.index.downloaders(file)).collect();
        concerned.into_iter().map(|to| Effect::Tell { to, event: event.clone() }).collect()
    };
    let address = online.contact.seen;
    effects.push(Effect::Say(News::Left { name: online.name.to_string(), address, peers: state.roster.len(), why }));
    let writes = seen_now(state, peer, now).into_iter().collect();
    (writes, effects)
}

/// Writes down that those who are online were seen, where that was long ago.
pub(crate) fn touch(state: &State, now: Now) -> Vec<Write> {
    state.roster.by_name().filter_map(|(peer, _)| seen_now(state, *peer, now)).collect()
}

/// Forgets what has expired: names that are free again, invites, revocations.
pub(crate) fn expire(state: &State, now: Now) -> Vec<Write> {
    let accounts = state.accounts().iter();
    let expired = accounts.filter(|(name, account)| is_expired(state, name, account, now));
    let mut writes = vacate(state, &expired.map(|(name, _)| name.clone()).collect());
    let invites = state.invites().iter().filter(|(_, invite)| invite.expires_ms <= now.unix_ms);
    writes.extend(invites.map(|(code, _)| Write::Invite(code, None)));
    writes.extend(revoking::forget(state, now));
    writes.extend(following::forget_strangers(state));
    writes
}

/// Takes names from whoever had them: the accounts, their devices, and what was meant for them.
pub(super) fn vacate(state: &State, names: &BTreeSet<UserName>) -> Vec<Write> {
    // What is nobody's means nothing to anybody: to look for it takes a while.
    let names: BTreeSet<UserName> = names.iter().filter(|name| state.accounts().get(name).is_some()).cloned().collect();
    let mut writes = Vec::new();
    for name in &names {
        writes.extend(state.accounts().devices_of(name).map(|peer| Write::Device(peer, None)));
        writes.push(Write::Account(name.clone(), None));
    }
    writes.extend(audiences::forget(state, &names));
    writes
}

/// Whether nobody has a name, or one who has not been seen for long and left nothing.
pub(super) fn is_free(state: &State, name: &UserName, now: Now) -> bool {
    state.accounts().get(name).is_none_or(|account| is_expired(state, name, account, now))
}

pub(super) fn has_password(state: &State, name: &UserName) -> bool {
    state.accounts().get(name).is_some_and(Account::has_password)
}

fn login_required(access: Access) -> Refusal {
    let text = match access {
        Access::Invite => {
            "this tracker is for people who were invited: sign up with the code of an invite (`peer signup NAME`), or log \
             in if you have an account here (`peer login NAME`)"
        }
        Access::Accounts | Access::Open => {
            "this tracker is for people who have an account: sign up (`peer signup NAME`), or log in if you have one \
             (`peer login NAME`)"
        }
    };
    refusal(Code::LoginRequired, text)
}

pub(super) fn too_many_accounts() -> Refusal {
    refusal(Code::Limit, "this tracker knows as many users as it can keep: ask its operator")
}

fn renamed(state: &State, name: &UserName, wanted: UserName, now: Now) -> Result<UserName, Refusal> {
    let entries = state.catalogue().count_of(name);
    if entries > 0 {
        let text = format!(
            "this peer is {name} here and has {entries} entries under that name: join as {name}, or deregister them first"
        );
        return Err(refusal(Code::Conflict, text));
    }
    free(state, wanted, now)
}

fn free(state: &State, wanted: UserName, now: Now) -> Result<UserName, Refusal> {
    if is_free(state, &wanted, now) {
        return Ok(wanted);
    }
    let text = if has_password(state, &wanted) {
        format!(
            "the name {wanted} belongs to an account here: `peer login {wanted}` if it is yours, or choose another with \
             --name"
        )
    } else {
        format!("the name {wanted} belongs to another peer here: choose another with --name")
    };
    Err(refusal(Code::NameTaken, text))
}

fn free_variant(state: &State, wanted: &UserName, now: Now) -> Result<UserName, Refusal> {
    let numbered = (2..=MAX_SUFFIX).map(|number| wanted.with_suffix(number));
    let mut variants = std::iter::once(wanted.clone()).chain(numbered);
    variants.find(|name| is_free(state, name, now)).ok_or_else(|| {
        let text =
            format!("the name {wanted} is taken, and so are {wanted}-2 and all that follow: choose one with --name");
        refusal(Code::NameTaken, text)
    })
}

fn is_expired(state: &State, name: &UserName, account: &Account, now: Now) -> bool {
    !account.has_password()
        && age(state.accounts().seen_ms(name), now) >= NAME_KEPT
        && state.catalogue().count_of(name) == 0
        && state.roster.named(name).next().is_none()
}

const fn age(seen_ms: u64, now: Now) -> Duration {
    Duration::from_millis(now.unix_ms.saturating_sub(seen_ms))
}

fn seen_now(state: &State, peer: PeerId, now: Now) -> Option<Write> {
    let device = state.accounts().device(&peer)?;
    let seen = Device { seen_ms: now.unix_ms, ..device.clone() };
    (age(device.seen_ms, now) >= SEEN_EVERY).then_some(Write::Device(peer, Some(seen)))
}

/// What a user calls a machine, as it is kept: no control characters, and not long.
fn device_name(said: &str) -> String {
    let mut name: String = said.trim().chars().filter(|character| !is_unprintable(*character)).collect();
    name.truncate(name.floor_char_boundary(MAX_DEVICE_NAME));
    name
}

/// Control characters, and those that change the direction of what follows.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use common::wire::tracker::{Have, Request};

    use super::super::testing::{World, file, hello, hello_default, identity};
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn a_name_belongs_to_the_first_key_that_uses_it() {
        let mut world = World::new();
        let alice = world.join(1, "alice");
        assert_eq!(world.try_join(2, &hello("alice")).unwrap_err().code, Code::NameTaken);
        world.leave(alice);
        assert_eq!(world.try_join(2, &hello("alice")).unwrap_err().code, Code::NameTaken);
        assert_eq!(world.try_join(1, &hello("alice")).unwrap(), "alice");
    }

    #[test]
    fn a_default_name_that_is_taken_gets_a_number_and_keeps_it() {
        let mut world = World::new();
        for (number, want) in [(1, "student"), (2, "student-2"), (3, "student-3"), (2, "student-2")] {
            assert_eq!(world.try_join(number, &hello_default("student")).unwrap(), want);
        }
        assert_eq!(world.try_join(4, &hello_default("Frau Müller")).unwrap(), "frau-m-ller");
    }

    #[test]
    fn only_user_names_are_names() {
        let mut world = World::new();
        for name in ["", "Alice", "a/b", "a b", "..", "a\n", &"a".repeat(33)] {
            assert_eq!(world.try_join(1, &hello(name)).unwrap_err().code, Code::BadName, "{name:?}");
        }
        assert_eq!(world.state.accounts().len(), 0);
    }

    #[test]
    fn a_key_is_renamed_only_while_it_has_no_entries() {
        let mut world = World::new();
        let peer = world.join(1, "alice");
        world.join(1, "bob");
        assert_eq!(world.try_join(2, &hello("alice")).unwrap(), "alice");
        world.register(peer, "x", file(1));
        assert_eq!(world.try_join(1, &hello("carol")).unwrap_err().code, Code::Conflict);
        assert_eq!(world.try_join(1, &hello_default("carol")).unwrap(), "bob");
        assert_eq!(world.try_join(1, &hello("bob")).unwrap(), "bob");
        assert_eq!(world.try_join(1, &hello("alice")).unwrap_err().code, Code::Conflict);
    }

    /// Between the two connections of one key somebody else may have taken the name that it left.
    #[test]
    fn who_takes_another_name_is_nobody_under_the_one_it_had() {
        let mut world = World::new();
        let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
        world.register_for(alice, "x", file(1), &["bob"]);
        let conn = world.state.roster.get(&bob).unwrap().conn;
        let claim = claim(&mut world.state, bob, &hello("robert"), world.now).unwrap();
        world.apply(claim.writes);
        assert!(claim.effects.contains(&Effect::Expel(conn)), "{:?}", claim.effects);
        let plan = Request::Plan { entry: "alice/x".to_owned(), content: None };
        assert_eq!(world.refused(bob, plan.clone()), Code::NotJoined, "its older connection is not heard");
        assert!(world.state.revocations().before_ms(bob, None).is_some(), "nor are its tickets worth anything");
        let other_bob = world.join(3, "bob");
        assert_eq!(world.state.roster.named(&"bob".parse().unwrap()).collect::<Vec<_>>(), [other_bob]);
        world.join(2, "robert");
        assert_eq!(world.refused(bob, plan), Code::NotFound);
    }

    #[test]
    fn a_name_is_free_after_30_days_without_its_key_and_entries() {
        let mut world = World::new();
        let alice = world.join(1, "alice");
        world.register(alice, "x", file(1));
        // While it is online it is seen.
        world.pass(DAY * 40);
        assert_eq!(world.try_join(2, &hello("alice")).unwrap_err().code, Code::NameTaken);
        assert_eq!(expire(&world.state, world.now), []);
        world.leave(alice);
        world.pass(DAY * 40);
        assert_eq!(world.try_join(2, &hello("alice")).unwrap_err().code, Code::NameTaken, "it has an entry");
        world.join(1, "alice");
        let deregister = Request::Deregister { entry: "x".to_owned() };
        assert!(world.ask(alice, deregister).reply.is_ok());
        world.leave(alice);
        world.pass(DAY * 30 - Duration::from_secs(1));
        assert_eq!(world.try_join(2, &hello("alice")).unwrap_err().code, Code::NameTaken);
        assert_eq!(expire(&world.state, world.now), []);
        world.pass(Duration::from_secs(1));
        let free_again = [Write::Device(alice, None), Write::Account("alice".parse().unwrap(), None)];
        assert_eq!(expire(&world.state, world.now), free_again);
        assert_eq!(world.try_join(2, &hello("alice")).unwrap(), "alice");
        assert!(world.state.accounts().device(&alice).is_none());
        assert_eq!(world.try_join(1, &hello_default("alice")).unwrap(), "alice-2");
    }

    #[test]
    fn when_somebody_was_seen_is_written_once_an_hour() {
        let mut world = World::new();
        let alice = world.join(1, "alice");
        assert_eq!(touch(&world.state, world.now), []);
        world.pass(Duration::from_secs(3600));
        let writes = touch(&world.state, world.now);
        assert_eq!(writes.len(), 1);
        world.apply(writes);
        assert_eq!(world.state.accounts().device(&alice).unwrap().seen_ms, world.now.unix_ms);
        assert_eq!(touch(&world.state, world.now), []);
        world.pass(Duration::from_secs(3600));
        world.leave(alice);
        assert_eq!(world.state.accounts().device(&alice).unwrap().seen_ms, world.now.unix_ms);
    }

    #[test]
    fn the_others_hear_who_comes_and_goes_and_so_does_the_operator() {
        let mut world = World::new();
        let alice = world.join(1, "alice");
        let bob = identity(2).peer_id();
        let (_, effects) = world.join_from(2, &hello("bob"), "198.51.100.2:7").unwrap();
        let address = "198.51.100.2:7".parse().unwrap();
        assert_eq!(
            effects,
            [
                Effect::TellOthers { than: bob, event: Event::Joined { name: "bob".to_owned(), peer: bob } },
                Effect::Say(News::Joined { name: "bob".to_owned(), address, peers: 2 }),
            ]
        );
        world.announce(bob, file(1), Have::All);
        let effects = world.leave(bob);
        assert_eq!(
            effects,
            [
                Effect::TellOthers { than: bob, event: Event::Left { name: "bob".to_owned(), peer: bob } },
                Effect::Say(News::Left { name: "bob".to_owned(), address, peers: 1, why: Why::Disconnected }),
            ]
        );
        assert_eq!((world.state.index.swarm_count(), world.state.roster.len()), (0, 1));
        assert!(world.state.roster.get(&alice).is_some());
    }

    #[test]
    fn the_newer_connection_of_a_key_replaces_the_older() {
        let mut world = World::new();
        let alice = world.join(1, "alice");
        world.announce(alice, file(1), Have::All);
        let older = world.state.roster.get(&alice).unwrap();
        let (older, older_gate) = (older.conn, Arc::clone(&older.gate));
        let (_, effects) = world.join_from(1, &hello("alice"), "192.0.2.9:1").unwrap();
        assert_eq!(effects[0], Effect::Close(older));
        assert!(older_gate.pass(|| ()).is_none());
        assert_eq!(world.state.index.swarm_count(), 0);
        // That the older one ends means nothing any more.
        assert_eq!(leave(&mut world.state, alice, older, Why::Silent, world.now), (vec![], vec![]));
        assert_eq!(world.state.roster.len(), 1);
    }

    #[test]
    fn in_a_crowd_only_downloaders_hear_who_left() {
        let mut world = World::new();
        let (alice, bob, carol) = (world.join(1, "alice"), world.join(2, "bob"), world.join(3, "carol"));
        world.announce(alice, file(1), Have::All);
        world.announce(bob, file(1), Have::Map("0000".to_owned()));
        world.announce(carol, file(2), Have::Map("0000".to_owned()));
        for number in 0..TELL_ALL_UP_TO {
            let name: UserName = format!("p{number}").parse().unwrap();
            let mut seed = [9; 32];
            seed[..8].copy_from_slice(&number.to_be_bytes());
            let key = common::identity::Identity::from_seed(&seed).public_key();
            let contact = world.state.roster.get(&alice).unwrap().contact.clone();
            let newcomer =
                Newcomer { conn: ConnId(10_000 + number as u64), gate: Arc::new(Gate::default()), key, contact };
            enter(&mut world.state, name, newcomer, world.now);
        }
        let effects = world.leave(alice);
        let told: Vec<PeerId> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Tell { to, event: Event::Left { .. } } => Some(*to),
                Effect::TellOthers { .. } => panic!("everybody is told"),
                _ => None,
            })
            .collect();
        assert_eq!(told, [bob]);
    }

    #[test]
    fn sixteen_addresses_of_each_kind_and_no_more() {
        let mut world = World::new();
        let mut hello = hello("alice");
        hello.interfaces = vec!["10.0.0.1".parse().unwrap(); 16];
        assert!(world.try_join(1, &hello).is_ok());
        hello.interfaces.push("10.0.0.1".parse().unwrap());
        assert_eq!(world.try_join(1, &hello).unwrap_err().code, Code::Limit);
        hello.interfaces.clear();
        hello.advertised = vec!["10.0.0.1:1".parse().unwrap(); 17];
        assert_eq!(world.try_join(1, &hello).unwrap_err().code, Code::Limit);
    }
}
