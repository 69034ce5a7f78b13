//! Accounts, as a session sees them: passwords are checked here, off the task that has the state, and within limits.

use std::net::SocketAddr;
use std::time::Duration;

use common::id::PeerId;
use common::name::UserName;
use common::secret::Secret;
use common::wire::tracker::{Code, Refusal, Reply};
use tokio::sync::oneshot;

use super::Shared;
use crate::attempts::{Attempt, Who};
use crate::owner::Input;
use crate::service::{AccountReply, AccountRequest, refusal, wrong_old_password, wrong_password};
use crate::source::Source;
use crate::state::{CodeHash, PasswordHash};

/// A key, and where it is seen: who signs up or logs in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Applicant {
    /// Whose key.
    pub(super) peer: PeerId,
    /// Where it is seen.
    pub(super) from: SocketAddr,
}

impl Applicant {
    pub(super) async fn sign_up(
        self,
        shared: &Shared,
        name: &str,
        password: Secret,
        code: Option<Secret>,
    ) -> Result<Reply, Refusal> {
        let name = parse(name)?;
        let code = code.map(|code| CodeHash::of(&code));
        // What is refused in any case is refused before it costs anything.
        self.ask(shared, AccountRequest::MaySignUp(name.clone(), code)).await?;
        let now = shared.clock.now().uptime;
        shared.attempts.work(self.source(), now).map_err(|wait| too_many("sign-ups", wait))?;
        let password = shared.passwords.hash(password).await?;
        self.ask_for_reply(shared, AccountRequest::SignUp(name, code, password)).await
    }

    pub(super) async fn log_in(self, shared: &Shared, name: &str, password: Secret) -> Result<Reply, Refusal> {
        let name = parse(name)?;
        let hash = self.check(shared, Some(name.clone()), password).await?;
        self.ask_for_reply(shared, AccountRequest::LogIn(name, hash)).await
    }

    pub(super) async fn change_password(self, shared: &Shared, old: Secret, new: Secret) -> Result<Reply, Refusal> {
        let old = self.check(shared, None, old).await?;
        let now = shared.clock.now().uptime;
        shared.attempts.work(self.source(), now).map_err(|wait| too_many("changes of passwords", wait))?;
        let new = shared.passwords.hash(new).await?;
        self.ask_for_reply(shared, AccountRequest::ChangePassword { old, new }).await
    }

    /// Checks a password within the limits; gives the hash that it was checked against.
    async fn check(self, shared: &Shared, name: Option<UserName>, password: Secret) -> Result<PasswordHash, Refusal> {
        // Without a name it is that of the account that the caller is logged in to: there is no other to be told apart.
        let wrong = if name.is_some() { wrong_password } else { wrong_old_password };
        let asked = self.ask(shared, AccountRequest::Credentials(name)).await?;
        let AccountReply::Credentials { name, password: hash, known } = asked else { return Err(wrong_password()) };
        let who = if known { Who::Known(self.peer) } else { Who::Stranger };
        let now = shared.clock.now().uptime;
        let attempt: Attempt =
            shared.attempts.begin(&name, self.source(), who, now).map_err(|wait| too_many("wrong passwords", wait))?;
        match shared.passwords.verify(password, hash.clone()).await {
            Ok(true) => {
                attempt.forgive();
                hash.ok_or_else(wrong)
            }
            Ok(false) => {
                drop(attempt);
                Err(wrong())
            }
            // It was not looked at.
            Err(refused) => {
                attempt.forgive();
                Err(refused)
            }
        }
    }

    async fn ask_for_reply(self, shared: &Shared, request: AccountRequest) -> Result<Reply, Refusal> {
        match self.ask(shared, request).await? {
            AccountReply::LoggedIn(name) => Ok(Reply::LoggedIn { name: name.to_string() }),
            AccountReply::Changed => Ok(Reply::Done),
            AccountReply::Yes | AccountReply::Credentials { .. } => Err(ending()),
        }
    }

    async fn ask(self, shared: &Shared, request: AccountRequest) -> Result<AccountReply, Refusal> {
        let (answer, answered) = oneshot::channel();
        let input = Input::Account { peer: self.peer, request, answer };
        shared.inputs.send(input).await.map_err(|_closed| ending())?;
        answered.await.map_err(|_closed| ending())?
    }

    fn source(self) -> Source {
        Source::of(self.from.ip())
    }
}

fn parse(name: &str) -> Result<UserName, Refusal> {
    UserName::new(name).map_err(|error| refusal(Code::BadName, error.to_string()))
}

fn too_many(what: &str, wait: Duration) -> Refusal {
    let seconds = wait.as_millis().div_ceil(1000).max(1);
    refusal(Code::Busy, format!("too many {what} came from here or for this account: try again in {seconds} s"))
}

fn ending() -> Refusal {
    refusal(Code::Unavailable, "the tracker ends: try again later")
}
