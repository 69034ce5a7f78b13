//! Accounts at a face: the commands that take a password, which is asked for and never written in a line.
//!
//! Before a password is sent, the user must have said once that the tracker is the right one: its fingerprint is shown
//! and confirmed at a terminal, or pinned in its address.

use std::future::Future;

use common::id::NetworkId;
use common::name::UserName;
use common::secret::Secret;
use tokio::sync::mpsc;

use super::render;
use super::secret::{Restore, Typed, ask_hidden, ask_shown};
use crate::backend::Backend;
use crate::command::{Command, Failure, FailureKind, Login, Outcome, off_reactor};

/// A command that takes a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccountJob {
    /// What is wanted.
    pub(crate) wish: Wish,
    /// Whether the result is wanted as JSON.
    pub(crate) json: bool,
    /// Where the password comes from.
    pub(crate) password: PasswordFrom,
}

/// What is wanted with an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To make this one.
    SignUp(UserName),
    /// To log in to this one.
    LogIn(UserName),
    /// Another password.
    ChangePassword,
}

impl Wish {
    /// How many passwords it takes at least.
    pub(crate) const fn passwords(&self) -> usize {
        match self {
            Self::SignUp(_) | Self::LogIn(_) => 1,
            Self::ChangePassword => 2,
        }
    }
}

/// Where passwords come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PasswordFrom {
    /// From a person at the terminal.
    Terminal,
    /// From the lines that follow in the input.
    Input,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asking {
    /// The password.
    Password,
    /// The password as it is, before it is changed.
    OldPassword,
    /// The one to be.
    NewPassword,
    /// The same once more, so that a slip of the finger is noticed.
    Again,
    /// The code of an invite.
    Code,
}

impl Asking {
    /// What a person is asked with.
    pub(crate) const fn prompt(self) -> &'static str {
        match self {
            Self::Password => "Password: ",
            Self::OldPassword => "Password as it is: ",
            Self::NewPassword => "New password: ",
            Self::Again => "The same again: ",
            Self::Code => "Code of the invite: ",
        }
    }

    /// What is missing where the input has ended.
    const fn noun(self) -> &'static str {
        match self {
            Self::Password | Self::OldPassword | Self::Again => "password",
            Self::NewPassword => "new password",
            Self::Code => "invite's code",
        }
    }
}

/// Whoever knows passwords: a person at a terminal, or the lines of an input.
pub(crate) trait Keeper {
    /// Whether it is a person, who can be shown something and asked again.
    fn is_person(&self) -> bool;

    /// Asks for a secret, without echo; `None` where there is none (any more), or where the person thinks better of it.
    fn secret(&mut self, asking: Asking) -> impl Future<Output = Result<Option<Secret>, Failure>>;

    /// Shows a person which tracker it is, and asks whether that is the right one.
    fn is_right(&mut self, tracker: &str, fingerprint: NetworkId) -> impl Future<Output = Result<bool, Failure>>;
}

/// The question about a tracker.
pub(crate) const RIGHT_TRACKER: &str = "Is this the right tracker? [yes/no] ";

/// What is shown before that question.
pub(crate) fn tracker_lines(tracker: &str, fingerprint: NetworkId) -> [String; 2] {
    [
        format!("No password was ever sent to the tracker at {tracker}. Its fingerprint is {fingerprint}"),
        "Whoever runs it can tell whether that is right: the tracker prints it when it starts.".to_owned(),
    ]
}

/// The same, where the answer was neither.
pub(crate) const YES_OR_NO: &str = "Say yes or no: ";

/// Whether an answer to that question is a yes, or a no as silence is one; `None` where it is neither.
pub(crate) fn is_yes(answer: &str) -> Option<bool> {
    match answer.trim().to_lowercase().as_str() {
        "yes" | "y" => Some(true),
        "no" | "n" | "" => Some(false),
        _ => None,
    }
}

/// Does what is wished, with what the keeper of the password says.
///
/// `pinned` is a fingerprint that the user gave with the tracker's address: that says that it is the right one, too.
pub(crate) async fn run<B: Backend>(
    backend: &B,
    wish: &Wish,
    pinned: Option<NetworkId>,
    keeper: &mut impl Keeper,
) -> Result<Outcome, Failure> {
    let ask = |command| async move {
        // These commands have no progress to show.
        let (updates, _nobody) = mpsc::channel(1);
        backend.run(command, updates).await
    };
    match wish {
        Wish::LogIn(name) => {
            let confirmed = confirm(backend, pinned, keeper).await?;
            let password = needed(keeper, Asking::Password).await?;
            ask(Command::LogIn { login: Login { name: name.to_string(), password, confirmed } }).await
        }
        Wish::SignUp(name) => {
            let confirmed = confirm(backend, pinned, keeper).await?;
            let password = chosen(keeper, Asking::Password).await?;
            let login = Login { name: name.to_string(), password, confirmed };
            match ask(Command::SignUp { login: login.clone(), code: None }).await {
                Err(failure) if failure.kind == FailureKind::InviteRequired => {
                    match keeper.secret(Asking::Code).await? {
                        Some(code) => ask(Command::SignUp { login, code: Some(code) }).await,
                        None => Err(failure.with_hint(NEEDS_CODE)),
                    }
                }
                ended => ended,
            }
        }
        Wish::ChangePassword => {
            let old = needed(keeper, Asking::OldPassword).await?;
            let new = chosen(keeper, Asking::NewPassword).await?;
            ask(Command::ChangePassword { old, new }).await
        }
    }
}

const NEEDS_CODE: &str = "`tracker invite` makes one; with --password-stdin it stands in the second line";

/// The fingerprint that a person has just confirmed; nothing where that is not needed.
async fn confirm<B: Backend>(
    backend: &B,
    pinned: Option<NetworkId>,
    keeper: &mut impl Keeper,
) -> Result<Option<NetworkId>, Failure> {
    let (updates, _nobody) = mpsc::channel(1);
    let Outcome::Tracker { address, fingerprint, confirmed, .. } = backend.run(Command::Tracker, updates).await? else {
        return Err(Failure::new(FailureKind::Failed, "the running peer does not say which tracker it is on")
            .with_hint("it may be of another version; `peer stop` ends it"));
    };
    if confirmed {
        return Ok(None);
    }
    if pinned == Some(fingerprint) {
        return Ok(pinned);
    }
    let place = address.split_once('#').map_or(address.as_str(), |(place, _)| place);
    if !keeper.is_person() {
        let text = format!("nobody has confirmed yet that the tracker at {address} is the right one");
        return Err(Failure::new(FailureKind::Failed, text).with_hint(format!(
            "if its fingerprint is right, pin it: --tracker {place}#{fingerprint}; or log in once at a terminal"
        )));
    }
    if keeper.is_right(&address, fingerprint).await? {
        Ok(Some(fingerprint))
    } else {
        Err(Failure::new(FailureKind::Cancelled, "no password was sent").with_hint(format!(
            "ask who runs the tracker for its fingerprint, and give it: --tracker {place}#FINGERPRINT"
        )))
    }
}

/// A secret without which nothing goes on.
async fn needed(keeper: &mut impl Keeper, asking: Asking) -> Result<Secret, Failure> {
    match keeper.secret(asking).await? {
        Some(secret) if secret.reveal().is_empty() => {
            Err(Failure::new(FailureKind::Usage, format!("the {} is empty", asking.noun())))
        }
        Some(secret) => Ok(secret),
        None if keeper.is_person() => Err(Failure::new(FailureKind::Cancelled, "nothing was sent")),
        None => Err(Failure::new(FailureKind::Usage, format!("the input ends where the {} should be", asking.noun()))),
    }
}

/// A new secret; a person is asked twice.
async fn chosen(keeper: &mut impl Keeper, asking: Asking) -> Result<Secret, Failure> {
    let secret = needed(keeper, asking).await?;
    if keeper.is_person() && needed(keeper, Asking::Again).await? != secret {
        return Err(Failure::new(FailureKind::Usage, "the two are not the same; nothing was sent"));
    }
    Ok(secret)
}

/// A line of an input as a secret, without its line end.
pub(crate) fn secret_of(line: String) -> Result<Secret, Failure> {
    let mut line = line;
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Secret::new(line).map_err(|too_long| Failure::new(FailureKind::Usage, too_long.to_string()))
}

/// The person at the terminal of a program without a prompt.
#[derive(Debug)]
pub(crate) struct AtTerminal {
    /// Whatever happens meanwhile, the terminal is then as it was.
    _restore: Restore,
}

impl AtTerminal {
    /// The terminal as it is now.
    pub(crate) fn new() -> Self {
        Self { _restore: Restore::new() }
    }
}

impl Keeper for AtTerminal {
    fn is_person(&self) -> bool {
        true
    }

    async fn secret(&mut self, asking: Asking) -> Result<Option<Secret>, Failure> {
        match off_reactor(move || ask_hidden(asking.prompt())).await {
            Ok(Typed::Line(secret)) => Ok(Some(secret)),
            Ok(Typed::Interrupt | Typed::End) => Ok(None),
            Err(error) => Err(Failure::new(FailureKind::Failed, format!("the password could not be read: {error}"))),
        }
    }

    async fn is_right(&mut self, tracker: &str, fingerprint: NetworkId) -> Result<bool, Failure> {
        let [one, two] = tracker_lines(tracker, fingerprint);
        let mut question = format!("{}\n{two}\n{RIGHT_TRACKER}", render::visible(&one));
        while let Ok(Some(answer)) = off_reactor(move || ask_shown(&question)).await {
            if let Some(is_right) = is_yes(&answer) {
                return Ok(is_right);
            }
            question = YES_OR_NO.to_owned();
        }
        Ok(false)
    }
}

/// A pipe has nobody to ask.
pub(crate) fn nobody_to_ask() -> Failure {
    Failure::new(FailureKind::Usage, "there is no terminal to ask for the password at")
        .with_hint("--password-stdin reads it from the input")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::fake::Fake;
    use std::collections::VecDeque;

    /// Knows these secrets, in this order.
    struct Knows {
        person: bool,
        secrets: VecDeque<&'static str>,
        asked: Vec<Asking>,
        says: &'static str,
    }

    impl Keeper for Knows {
        fn is_person(&self) -> bool {
            self.person
        }

        async fn secret(&mut self, asking: Asking) -> Result<Option<Secret>, Failure> {
            self.asked.push(asking);
            self.secrets.pop_front().map(|secret| secret_of(secret.to_owned())).transpose()
        }

        async fn is_right(&mut self, _tracker: &str, _fingerprint: NetworkId) -> Result<bool, Failure> {
            Ok(is_yes(self.says) == Some(true))
        }
    }

    fn person(secrets: &[&'static str], says: &'static str) -> Knows {
        Knows { person: true, secrets: secrets.iter().copied().collect(), asked: Vec::new(), says }
    }

    fn ann() -> UserName {
        UserName::new("ann").unwrap()
    }

    fn login(password: &str, confirmed: Option<NetworkId>) -> Login {
        Login { name: "ann".to_owned(), password: secret_of(password.to_owned()).unwrap(), confirmed }
    }

    #[tokio::test]
    async fn a_person_confirms_the_tracker_before_the_password_is_asked_for() {
        let fake = Fake::new();
        let mut keeper = person(&["hunter2"], "Yes");
        run(&fake, &Wish::LogIn(ann()), None, &mut keeper).await.unwrap();
        let expected = Command::LogIn { login: login("hunter2", Some(Fake::NETWORK)) };
        assert_eq!(fake.seen(), [Command::Tracker, expected]);

        let fake = Fake::new();
        let mut keeper = person(&["hunter2"], "");
        let failure = run(&fake, &Wish::LogIn(ann()), None, &mut keeper).await.unwrap_err();
        assert_eq!((failure.kind, keeper.asked.len()), (FailureKind::Cancelled, 0), "{failure}");
        assert_eq!(fake.seen(), [Command::Tracker]);
    }

    #[tokio::test]
    async fn without_a_person_the_tracker_must_be_pinned() {
        let fake = Fake::new();
        let mut keeper = Knows { person: false, ..person(&["hunter2"], "yes") };
        let failure = run(&fake, &Wish::LogIn(ann()), None, &mut keeper).await.unwrap_err();
        assert!(failure.hint.unwrap().contains(&format!("--tracker localhost:8000#{}", Fake::NETWORK)));
        assert_eq!(fake.seen(), [Command::Tracker], "no password was sent");
    }

    #[tokio::test]
    async fn a_new_password_is_asked_for_twice_and_an_invite_when_it_is_needed() {
        let fake = Fake::confirmed();
        let mut keeper = person(&["a", "b"], "");
        let failure = run(&fake, &Wish::SignUp(ann()), None, &mut keeper).await.unwrap_err();
        assert!(failure.text.contains("not the same"), "{failure}");
        let mut keeper = person(&["a", "a", "K0DE"], "");
        run(&fake, &Wish::SignUp(ann()), None, &mut keeper).await.unwrap();
        assert_eq!(keeper.asked, [Asking::Password, Asking::Again, Asking::Code]);
        let code = secret_of("K0DE\r\n".to_owned()).unwrap();
        assert_eq!(fake.seen().last(), Some(&Command::SignUp { login: login("a", None), code: Some(code) }));
    }

    #[tokio::test]
    async fn an_input_that_ends_too_early_is_said_to() {
        let fake = Fake::confirmed();
        for (wish, secrets, part) in [
            (Wish::LogIn(ann()), [].as_slice(), "where the password should be"),
            (Wish::ChangePassword, &["old"], "where the new password should be"),
            (Wish::LogIn(ann()), &[""], "the password is empty"),
        ] {
            let mut keeper = Knows { person: false, ..person(secrets, "") };
            let failure = run(&fake, &wish, None, &mut keeper).await.unwrap_err();
            assert!(failure.text.contains(part), "{failure}");
        }
        let mut keeper = Knows { person: false, ..person(&["a"], "") };
        let failure = run(&fake, &Wish::SignUp(ann()), None, &mut keeper).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::InviteRequired);
    }
}
