//! Accounts: signing up, logging in and out, devices.
//!
//! Passwords are checked before the rules are asked, off the task that has the state: a rule gets the hash that was
//! checked, and refuses where the account has another by now.

use std::cmp::Reverse;

use common::id::PeerId;
use common::name::UserName;
use common::wire::tracker::{Access, Code, Device as DeviceSeen, Refusal, Reply};

use super::joining::{MAX_ACCOUNTS, Why, has_password, is_free, leave, too_many_accounts, vacate};
use super::{Effect, Now, Outcome, When, refusal, revoking};
use crate::state::{Account, CodeHash, Device, PasswordHash, State, Write};

/// Most devices of one account.
const MAX_DEVICES: usize = 100;
/// So many devices that logged out are known to an account; the oldest go first.
const MAX_FORMER: usize = 16;

/// What a key that has not joined, or the session of one that has, asks about accounts.
#[derive(Debug)]
pub(crate) enum AccountRequest {
    /// What a password for the account of this name is checked against; without a name, for the key's own.
    Credentials(Option<UserName>),
    /// Whether [`Self::SignUp`] would be granted: it is worth hashing a password.
    MaySignUp(UserName, Option<CodeHash>),
    /// Makes an account of this name, with this password, and binds the key to it.
    SignUp(UserName, Option<CodeHash>, PasswordHash),
    /// Binds the key to the account of this name; its password was checked against this.
    LogIn(UserName, PasswordHash),
    /// Gives the key's account another password; the one that it has was checked against this.
    ChangePassword {
        /// What was checked.
        old: PasswordHash,
        /// What is to be.
        new: PasswordHash,
    },
}

/// What is said to that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AccountReply {
    /// It would be granted.
    Yes,
    /// The password is another.
    Changed,
    /// The key is bound to the account of this name.
    LoggedIn(UserName),
    /// What a password is checked against.
    Credentials {
        /// The account's name.
        name: UserName,
        /// The hash; `None` where there is no such account, or it has no password.
        password: Option<PasswordHash>,
        /// Whether the key is, or was, one of its devices.
        known: bool,
    },
}

/// What comes of it.
#[derive(Debug)]
pub(crate) struct AccountOutcome {
    /// The answer, which rests on the writes.
    pub(crate) reply: AccountReply,
    /// What is to be applied and committed.
    pub(crate) writes: Vec<Write>,
    /// What else is to be done, when the answer goes out.
    pub(crate) effects: Vec<Effect>,
}

/// Does what a key asks about accounts. What was online under another name is offline at once.
pub(crate) fn account(
    state: &mut State,
    peer: PeerId,
    request: AccountRequest,
    now: Now,
) -> Result<AccountOutcome, Refusal> {
    let plain = |reply| AccountOutcome { reply, writes: Vec::new(), effects: Vec::new() };
    match request {
        AccountRequest::Credentials(name) => Ok(plain(credentials(state, peer, name)?)),
        AccountRequest::MaySignUp(name, code) => {
            may_sign_up(state, peer, &name, code, now).map(|_invite| plain(AccountReply::Yes))
        }
        AccountRequest::SignUp(name, code, password) => sign_up(state, peer, name, code, password, now),
        AccountRequest::LogIn(name, password) => log_in(state, peer, name, &password, now),
        AccountRequest::ChangePassword { old, new } => {
            let write = change_password(state, peer, &old, new)?;
            Ok(AccountOutcome { writes: vec![write], ..plain(AccountReply::Changed) })
        }
    }
}

/// The sentence is the same for a wrong password and an unknown name.
pub(crate) fn wrong_password() -> Refusal {
    refusal(Code::WrongPassword, "no account here has this name and this password: look at both, and try again")
}

/// Who is to change his password gave another as the one that he has.
pub(crate) fn wrong_old_password() -> Refusal {
    refusal(Code::WrongPassword, "this is not your password as it is now, so it stays: try again")
}

fn credentials(state: &State, peer: PeerId, name: Option<UserName>) -> Result<AccountReply, Refusal> {
    let bound_to = state.accounts().device(&peer).map(|device| &device.account);
    let name = name.or_else(|| bound_to.cloned()).ok_or_else(not_logged_in)?;
    let account = state.accounts().get(&name);
    let known = account.is_some_and(|account| bound_to == Some(&name) || account.former.contains(&peer));
    Ok(AccountReply::Credentials { password: account.and_then(|account| account.password.clone()), name, known })
}

/// Says whether the key may make an account of this name; gives what becomes of the invite.
fn may_sign_up(
    state: &State,
    peer: PeerId,
    name: &UserName,
    code: Option<CodeHash>,
    now: Now,
) -> Result<Option<Write>, Refusal> {
    let bound_to = state.accounts().device(&peer).map(|device| &device.account);
    let is_its_own = bound_to == Some(name) && !has_password(state, name);
    if !is_its_own {
        leaves_nothing(state, bound_to)?;
        if !is_free(state, name, now) {
            let text = format!("the name {name} is taken: choose another, or `login {name}` if it is yours");
            return Err(refusal(Code::NameTaken, text));
        }
        if state.accounts().len() >= MAX_ACCOUNTS {
            return Err(too_many_accounts());
        }
    }
    if state.access != Access::Invite {
        return Ok(None);
    }
    let invite = code.and_then(|code| Some((code, state.invites().get(&code)?)));
    match invite {
        Some((code, invite)) if invite.uses_left > 0 && invite.expires_ms > now.unix_ms => {
            let mut left = invite;
            left.uses_left -= 1;
            Ok(Some(Write::Invite(code, (left.uses_left > 0).then_some(left))))
        }
        _ => {
            let text =
                "to sign up here takes the code of an invite that is still good: ask who runs this tracker for one";
            Err(refusal(Code::InviteRequired, text))
        }
    }
}

fn sign_up(
    state: &mut State,
    peer: PeerId,
    name: UserName,
    code: Option<CodeHash>,
    password: PasswordHash,
    now: Now,
) -> Result<AccountOutcome, Refusal> {
    let invite = may_sign_up(state, peer, &name, code, now)?;
    let before = state.accounts().device(&peer).cloned();
    let mut writes: Vec<Write> = invite.into_iter().collect();
    let mut effects = Vec::new();
    let is_its_own = before.as_ref().is_some_and(|device| device.account == name);
    if !is_its_own {
        let left = before.as_ref().map(|device| device.account.clone());
        writes.extend(vacate(state, &[name.clone()].into_iter().chain(left).collect()));
    }
    let created_ms = state.accounts().get(&name).filter(|_| is_its_own).map_or(now.unix_ms, |own| own.created_ms);
    let account = Account { password: Some(password), created_ms, seen_ms: now.unix_ms, former: Vec::new() };
    writes.push(Write::Account(name.clone(), Some(account)));
    if is_its_own {
        // It has this name already, but is told of its account when it joins anew.
        effects.extend(expel(state, peer, now));
    } else {
        let (more, told) = bind(state, peer, before, &name, now);
        writes.extend(more);
        effects.extend(told);
    }
    Ok(AccountOutcome { reply: AccountReply::LoggedIn(name), writes, effects })
}

fn log_in(
    state: &mut State,
    peer: PeerId,
    name: UserName,
    password: &PasswordHash,
    now: Now,
) -> Result<AccountOutcome, Refusal> {
    let account = state.accounts().get(&name).filter(|account| account.password.as_ref() == Some(password));
    let account = account.cloned().ok_or_else(wrong_password)?;
    let before = state.accounts().device(&peer).cloned();
    if before.as_ref().is_some_and(|device| device.account == name) {
        return Ok(AccountOutcome { reply: AccountReply::LoggedIn(name), writes: Vec::new(), effects: Vec::new() });
    }
    leaves_nothing(state, before.as_ref().map(|device| &device.account))?;
    if state.accounts().devices_of(&name).count() >= MAX_DEVICES {
        let text = format!("{name} has {MAX_DEVICES} devices already: `devices revoke ID` one of them first");
        return Err(refusal(Code::Limit, text));
    }
    let mut writes = vacate(state, &before.iter().map(|device| device.account.clone()).collect());
    let (bound, effects) = bind(state, peer, before, &name, now);
    writes.extend(bound);
    if account.former.contains(&peer) {
        let former = account.former.iter().copied().filter(|former| *former != peer).collect();
        writes.push(Write::Account(name.clone(), Some(Account { former, ..account })));
    }
    Ok(AccountOutcome { reply: AccountReply::LoggedIn(name), writes, effects })
}

/// Binds a key to an account; the name that it had as a guest is free already.
fn bind(
    state: &mut State,
    peer: PeerId,
    before: Option<Device>,
    name: &UserName,
    now: Now,
) -> (Vec<Write>, Vec<Effect>) {
    let called = before.map(|device| device.name).unwrap_or_default();
    let device = Device { account: name.clone(), name: called, since_ms: now.unix_ms, seen_ms: now.unix_ms };
    let mut writes = vec![Write::Device(peer, Some(device))];
    // What it may have as somebody else is not what it may have now.
    let (revoked, told) = revoking::revoke(state, [peer], None, now);
    writes.extend(revoked);
    let mut effects = expel(state, peer, now);
    effects.extend(told);
    (writes, effects)
}

/// Whether a key may leave the name that it has: as a guest's it must have no entries, as an account's it logs out first.
fn leaves_nothing(state: &State, name: Option<&UserName>) -> Result<(), Refusal> {
    let Some(name) = name else { return Ok(()) };
    let entries = state.catalogue().count_of(name);
    let text = if has_password(state, name) {
        format!("this device is logged in as {name}: `logout` first")
    } else if entries > 0 {
        format!(
            "this device is {name} here and has {entries} entries under that name: deregister them, or `signup {name}` to \
             make an account of them"
        )
    } else {
        return Ok(());
    };
    Err(refusal(Code::Conflict, text))
}

fn change_password(state: &State, peer: PeerId, old: &PasswordHash, new: PasswordHash) -> Result<Write, Refusal> {
    let name = state.accounts().device(&peer).map(|device| device.account.clone()).ok_or_else(not_logged_in)?;
    let account = state.accounts().get(&name).filter(|account| account.password.as_ref() == Some(old));
    let account = account.cloned().ok_or_else(wrong_old_password)?;
    Ok(Write::Account(name, Some(Account { password: Some(new), ..account })))
}

/// Takes the caller's key from its account.
pub(super) fn log_out(state: &mut State, caller: PeerId, now: Now) -> Outcome {
    let Some((name, account)) = account_of(state, caller) else { return Outcome::plain(Err(not_logged_in())) };
    let mut former: Vec<PeerId> = account.former.iter().copied().filter(|former| *former != caller).collect();
    former.push(caller);
    former.drain(..former.len().saturating_sub(MAX_FORMER));
    let account = Account { former, seen_ms: now.unix_ms, ..account };
    let (mut writes, effects) = unbind(state, [caller], now);
    writes.push(Write::Account(name, Some(account)));
    Outcome { reply: Ok(Reply::Done), when: When::Committed, writes, effects }
}

/// The devices of the caller's account, the one that was seen last first.
pub(super) fn devices(state: &State, caller: PeerId) -> Result<Reply, Refusal> {
    let own = state.accounts().device(&caller).ok_or_else(not_logged_in)?;
    let mut devices: Vec<DeviceSeen> = state
        .accounts()
        .devices_of(&own.account)
        .filter_map(|peer| {
            let Device { name, since_ms, seen_ms, .. } = state.accounts().device(&peer)?.clone();
            Some(DeviceSeen { peer, name, since_ms, seen_ms, online: state.roster.get(&peer).is_some() })
        })
        .collect();
    devices.sort_by_key(|device| (Reverse(device.online), Reverse(device.seen_ms), device.peer));
    Ok(Reply::Devices { devices })
}

/// Throws a device out of the caller's account. It may try the password again, as any stranger may.
pub(super) fn revoke(state: &mut State, caller: PeerId, device: PeerId, now: Now) -> Outcome {
    let Some((name, account)) = account_of(state, caller) else { return Outcome::plain(Err(not_logged_in())) };
    let is_bound = state.accounts().device(&device).is_some_and(|device| device.account == name);
    if !is_bound && !account.former.contains(&device) {
        let text = format!("{name} has no device {device}: `devices` shows those that it has");
        return Outcome::plain(Err(refusal(Code::NotFound, text)));
    }
    let (mut writes, effects) =
        if is_bound { unbind(state, [device], now) } else { revoking::revoke(state, [device], None, now) };
    let former = account.former.iter().copied().filter(|former| *former != device).collect();
    writes.push(Write::Account(name, Some(Account { former, ..account })));
    Outcome { reply: Ok(Reply::Done), when: When::Committed, writes, effects }
}

/// Unbinds keys, takes their tickets from them, and takes them offline.
pub(super) fn unbind(
    state: &mut State,
    devices: impl IntoIterator<Item = PeerId>,
    now: Now,
) -> (Vec<Write>, Vec<Effect>) {
    let devices: Vec<PeerId> = devices.into_iter().collect();
    let (mut writes, told) = revoking::revoke(state, devices.iter().copied(), None, now);
    let mut effects = Vec::new();
    for device in devices {
        writes.push(Write::Device(device, None));
        effects.extend(expel(state, device, now));
    }
    effects.extend(told);
    (writes, effects)
}

/// Takes a peer offline that is to join anew, or not at all: what it asks from now on is not heard.
pub(super) fn expel(state: &mut State, peer: PeerId, now: Now) -> Vec<Effect> {
    let Some(conn) = state.roster.get(&peer).map(|online| online.conn) else { return Vec::new() };
    // When it was seen is written with what it is bound to, which is about to change.
    let (_seen, left) = leave(state, peer, conn, Why::Expelled, now);
    let mut effects = vec![Effect::Expel(conn)];
    effects.extend(left);
    effects
}

fn account_of(state: &State, caller: PeerId) -> Option<(UserName, Account)> {
    let name = &state.accounts().device(&caller)?.account;
    let account = state.accounts().get(name).filter(|account| account.has_password())?;
    Some((name.clone(), account.clone()))
}

fn not_logged_in() -> Refusal {
    let text =
        "this device is not logged in to an account: `signup NAME` makes one, `login NAME` uses one that you have";
    refusal(Code::LoginRequired, text)
}

#[cfg(test)]
mod tests;
