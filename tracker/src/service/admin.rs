//! Administration: what the operator asks through the socket in the data directory.

use common::name::UserName;
use common::wire::tracker::{Code, Refusal};
use serde::{Deserialize, Serialize};

use super::joining::vacate;
use super::{Effect, Now, accounts, audiences, following, refusal, revoking};
use crate::state::{Account, CodeHash, Invite, PasswordHash, State, Write};

/// Most invites that are open at once.
const MAX_INVITES: usize = 10_000;

/// What the operator asks.
#[derive(Debug)]
pub(crate) enum AdminRequest {
    /// Makes an invite.
    Invite(CodeHash, Invite),
    /// Lists the users.
    Users,
    /// Whether [`Self::Reset`] would be granted.
    MayReset(UserName),
    /// Gives a user another password, and throws all its devices out.
    Reset(UserName, PasswordHash),
    /// Removes a user with all that it has.
    Remove(UserName),
}

/// What is said to that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AdminReply {
    /// Done, nothing to tell.
    Done,
    /// The users, by name.
    Users(Vec<UserLine>),
}

/// A user as the operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserLine {
    /// Its name.
    pub(crate) name: String,
    /// Whether it has a password; a guest has none.
    pub(crate) account: bool,
    /// How many devices are bound to it.
    pub(crate) devices: usize,
    /// How many of them are online.
    pub(crate) online: usize,
    /// How many entries it has.
    pub(crate) entries: usize,
    /// When it was made, milliseconds since 1970 (UTC).
    pub(crate) created_ms: u64,
    /// When it was last seen, to within an hour; milliseconds since 1970 (UTC).
    pub(crate) seen_ms: u64,
}

/// What comes of it.
#[derive(Debug)]
pub(crate) struct AdminOutcome {
    /// The answer, which rests on the writes.
    pub(crate) reply: AdminReply,
    /// What is to be applied and committed.
    pub(crate) writes: Vec<Write>,
    /// What else is to be done, when the answer goes out.
    pub(crate) effects: Vec<Effect>,
}

/// Does what the operator asks. Who is thrown out is offline at once.
pub(crate) fn admin(state: &mut State, request: AdminRequest, now: Now) -> Result<AdminOutcome, Refusal> {
    let (mut reply, mut writes, mut effects) = (AdminReply::Done, Vec::new(), Vec::new());
    match request {
        AdminRequest::Invite(code, invite) => {
            if state.invites().len() >= MAX_INVITES {
                let text = format!("there are {MAX_INVITES} invites already: wait until some are used or expire");
                return Err(refusal(Code::Limit, text));
            }
            writes.push(Write::Invite(code, Some(invite)));
        }
        AdminRequest::Users => reply = AdminReply::Users(users(state)),
        AdminRequest::MayReset(name) => drop(resettable(state, &name)?),
        AdminRequest::Reset(name, password) => {
            let account = resettable(state, &name)?;
            (writes, effects) = throw_out(state, &name, now);
            let account = Account { password: Some(password), former: Vec::new(), ..account };
            writes.push(Write::Account(name, Some(account)));
        }
        AdminRequest::Remove(name) => {
            state.accounts().get(&name).ok_or_else(|| no_user(&name))?;
            let named = audiences::named_by(state, &name);
            (writes, effects) = throw_out(state, &name, now);
            effects.extend(following::tell_all_gone(state, &name));
            // Who has the name next may have entries of the same names, for others: these ask for their tickets anew.
            let (revoked, told) = revoking::revoke(state, named, None, now);
            writes.extend(revoked);
            effects.extend(told);
            writes.extend(vacate(state, &[name].into()));
        }
    }
    Ok(AdminOutcome { reply, writes, effects })
}

fn throw_out(state: &mut State, name: &UserName, now: Now) -> (Vec<Write>, Vec<Effect>) {
    let devices: Vec<_> = state.accounts().devices_of(name).collect();
    accounts::unbind(state, devices, now)
}

fn resettable(state: &State, name: &UserName) -> Result<Account, Refusal> {
    let account = state.accounts().get(name).ok_or_else(|| no_user(name))?;
    if account.has_password() {
        return Ok(account.clone());
    }
    let text = format!("{name} is a guest and has no password: `tracker user remove {name}` frees the name");
    Err(refusal(Code::Conflict, text))
}

fn no_user(name: &UserName) -> Refusal {
    refusal(Code::NotFound, format!("there is no user {name}: `tracker user list` shows who there is"))
}

fn users(state: &State) -> Vec<UserLine> {
    let lines = state.accounts().iter().map(|(name, account)| UserLine {
        name: name.to_string(),
        account: account.has_password(),
        devices: state.accounts().devices_of(name).count(),
        online: state.roster.named(name).count(),
        entries: state.catalogue().count_of(name),
        created_ms: account.created_ms,
        seen_ms: state.accounts().seen_ms(name),
    });
    lines.collect()
}
