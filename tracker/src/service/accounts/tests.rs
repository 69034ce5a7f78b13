//! Rules of accounts, without sockets and without hashing.

use common::id::{Hash, PeerId};
use common::wire::tracker::{Event, Have, Hello, Request};

use super::super::testing::{World, file, hello, hello_default, identity};
use super::*;
use crate::state::Invite;

fn hash(text: &str) -> PasswordHash {
    PasswordHash(text.to_owned())
}

fn code(number: u8) -> CodeHash {
    CodeHash(Hash([number; 32]))
}

impl World {
    fn account(&mut self, number: u8, request: AccountRequest) -> Result<Vec<Effect>, Code> {
        let peer = identity(number).peer_id();
        let outcome = account(&mut self.state, peer, request, self.now).map_err(|refused| refused.code)?;
        self.apply(outcome.writes);
        Ok(outcome.effects)
    }

    fn sign_up(&mut self, number: u8, name: &str) -> Result<Vec<Effect>, Code> {
        self.account(number, AccountRequest::SignUp(name.parse().unwrap(), None, hash(name)))
    }

    fn log_in(&mut self, number: u8, name: &str) -> Result<Vec<Effect>, Code> {
        self.account(number, AccountRequest::LogIn(name.parse().unwrap(), hash(name)))
    }

    fn known(&mut self, number: u8, name: &str) -> bool {
        let peer = identity(number).peer_id();
        match credentials(&self.state, peer, Some(name.parse().unwrap())).unwrap() {
            AccountReply::Credentials { known, .. } => known,
            other => panic!("{other:?}"),
        }
    }

    fn devices(&mut self, peer: PeerId) -> Vec<DeviceSeen> {
        match self.reply(peer, Request::Devices) {
            Reply::Devices { devices } => devices,
            other => panic!("{other:?}"),
        }
    }
}

fn revoked(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::TellAll(Event::Revoked { .. })))
}

#[test]
fn a_name_with_a_password_belongs_to_the_devices_that_are_logged_in() {
    let mut world = World::new();
    world.sign_up(1, "alice").unwrap();
    assert_eq!(world.try_join(2, &hello("alice")).unwrap_err().code, Code::NameTaken);
    assert_eq!(world.try_join(2, &hello_default("alice")).unwrap(), "alice-2");
    // Whatever name the device would like by default, it has its account's.
    let alice = world.try_join(1, &hello_default("student"));
    assert_eq!(alice.unwrap(), "alice");
    assert_eq!(world.try_join(1, &hello("bob")).unwrap(), "alice");
    // However long it is away.
    world.pass(std::time::Duration::from_secs(400 * 24 * 3600));
    let peer = identity(1).peer_id();
    world.leave(peer);
    world.pass(std::time::Duration::from_secs(400 * 24 * 3600));
    assert_eq!(world.try_join(3, &hello("alice")).unwrap_err().code, Code::NameTaken);
}

#[test]
fn two_devices_of_one_account_are_online_under_one_name() {
    let mut world = World::new();
    world.sign_up(1, "alice").unwrap();
    world.log_in(2, "alice").unwrap();
    let laptop = Hello { device: "lap\u{1b}top".to_owned(), ..hello("alice") };
    assert_eq!((world.try_join(1, &hello("alice")).unwrap(), world.try_join(2, &laptop).unwrap()).1, "alice");
    let (one, other) = (identity(1).peer_id(), identity(2).peer_id());
    let names: Vec<String> = world.devices(one).into_iter().map(|device| device.name).collect();
    assert!(names.contains(&"laptop".to_owned()) && names.len() == 2, "{names:?}");
    let Reply::Whereabouts { holders } = world.reply(one, Request::Where { user: "alice".to_owned() }) else {
        panic!("whereabouts")
    };
    assert_eq!(holders.len(), 2);
    world.leave(other);
    assert_eq!(world.devices(one).iter().filter(|device| device.online).count(), 1);
}

#[test]
fn where_accounts_are_asked_for_guests_stay_out() {
    for access in [Access::Accounts, Access::Invite] {
        let mut world = World::new();
        let guest = world.join(1, "guest");
        world.register(guest, "x", file(1));
        world.leave(guest);
        world.state.access = access;
        for wanted in [hello("guest"), hello_default("student")] {
            assert_eq!(world.try_join(1, &wanted).unwrap_err().code, Code::LoginRequired);
        }
        world.state.access = Access::Accounts;
        world.sign_up(1, "guest").unwrap();
        world.state.access = access;
        assert_eq!(world.try_join(1, &hello_default("x")).unwrap(), "guest");
        assert_eq!(world.state.catalogue().count_of(&"guest".parse().unwrap()), 1, "it keeps its entries");
    }
}

#[test]
fn an_invite_is_good_for_so_many_and_so_long() {
    let mut world = World::new();
    world.state.access = Access::Invite;
    let expires_ms = world.now.unix_ms + 1000;
    world.apply(vec![Write::Invite(code(1), Some(Invite { uses_left: 2, expires_ms }))]);
    let sign_up = |name: &str, code| AccountRequest::SignUp(name.parse().unwrap(), code, hash(name));
    assert_eq!(world.account(1, sign_up("a", None)), Err(Code::InviteRequired));
    assert_eq!(world.account(1, sign_up("a", Some(code(2)))), Err(Code::InviteRequired));
    assert!(world.account(1, sign_up("a", Some(code(1)))).is_ok());
    // A refusal does not use it up.
    assert_eq!(world.account(2, sign_up("a", Some(code(1)))), Err(Code::NameTaken));
    assert!(world.account(2, sign_up("b", Some(code(1)))).is_ok());
    assert_eq!(world.account(3, sign_up("c", Some(code(1)))), Err(Code::InviteRequired));
    world.apply(vec![Write::Invite(code(3), Some(Invite { uses_left: 1, expires_ms }))]);
    world.pass(std::time::Duration::from_secs(1));
    assert_eq!(world.account(3, sign_up("c", Some(code(3)))), Err(Code::InviteRequired));
}

#[test]
fn a_guest_with_entries_keeps_them_by_signing_up_under_its_name_and_no_other() {
    let mut world = World::new();
    world.sign_up(1, "alice").unwrap();
    let bob = world.join(2, "bob");
    world.register(bob, "x", file(1));
    assert_eq!(world.sign_up(2, "carol"), Err(Code::Conflict));
    assert_eq!(world.log_in(2, "alice"), Err(Code::Conflict));
    let other = world.join(3, "other");
    assert_eq!(world.sign_up(3, "bob"), Err(Code::NameTaken));
    let effects = world.sign_up(2, "bob").unwrap();
    assert!(matches!(effects[0], Effect::Expel(_)), "it joins anew: {effects:?}");
    assert!(world.state.roster.get(&bob).is_none());
    assert_eq!(world.log_in(3, "bob").map(|effects| revoked(&effects)), Ok(true), "what it had as a guest is over");
    assert!(
        world.state.accounts().get(&"other".parse().unwrap()).is_none() && world.state.roster.get(&other).is_none()
    );
    assert_eq!(world.log_in(3, "alice"), Err(Code::Conflict), "it is logged in as bob");
}

#[test]
fn a_password_that_was_changed_meanwhile_does_not_log_in() {
    let mut world = World::new();
    world.sign_up(1, "alice").unwrap();
    let change = |old: &str, new: &str| AccountRequest::ChangePassword { old: hash(old), new: hash(new) };
    assert_eq!(world.account(1, change("wrong", "new")), Err(Code::WrongPassword));
    assert_eq!(world.account(2, change("alice", "new")), Err(Code::LoginRequired));
    world.account(1, change("alice", "new")).unwrap();
    assert_eq!(world.log_in(2, "alice"), Err(Code::WrongPassword));
    assert_eq!(world.log_in(2, "nobody"), Err(Code::WrongPassword));
}

#[test]
fn logged_out_it_is_known_and_thrown_out_it_is_not() {
    let mut world = World::new();
    world.sign_up(1, "alice").unwrap();
    world.log_in(2, "alice").unwrap();
    let (one, other) = (world.join(1, "alice"), world.join(2, "alice"));
    world.announce(other, file(1), Have::All);
    let outcome = world.ask(one, Request::LogOut);
    assert!(outcome.reply.is_ok() && revoked(&outcome.effects) && world.state.roster.get(&one).is_none());
    assert_eq!((world.known(1, "alice"), world.known(3, "alice")), (true, false));
    assert_eq!(world.try_join(1, &hello("alice")).unwrap_err().code, Code::NameTaken);
    world.log_in(1, "alice").unwrap();
    world.join(1, "alice");
    let stranger = world.join(3, "stranger");
    assert_eq!(world.refused(stranger, Request::Revoke { device: other }), Code::LoginRequired);
    assert_eq!(world.refused(one, Request::Revoke { device: stranger }), Code::NotFound);
    let outcome = world.ask(one, Request::Revoke { device: other });
    assert!(outcome.reply.is_ok() && revoked(&outcome.effects));
    assert!(outcome.effects.iter().any(|effect| matches!(effect, Effect::Expel(_))));
    assert_eq!((world.known(2, "alice"), world.state.index.swarms_of(&other)), (false, 0));
    assert!(world.state.revocations().of(other).next().is_some());
    assert_eq!(world.devices(one).len(), 1);
    // One that is offline, and one that logged out, can be thrown out too.
    world.log_in(2, "alice").unwrap();
    world.join(2, "alice");
    world.ask(other, Request::LogOut);
    assert!(world.known(2, "alice"));
    assert!(world.ask(one, Request::Revoke { device: other }).reply.is_ok());
    assert!(!world.known(2, "alice"));
}
