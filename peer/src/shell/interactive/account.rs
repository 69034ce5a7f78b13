//! Passwords at the prompt: asked for by the thread that has the terminal, while the line editor has not.

use common::id::NetworkId;
use common::secret::Secret;

use super::Running;
use super::complete::LineKind;
use super::prompt::Answer;
use crate::backend::Backend;
use crate::command::{Failure, FailureKind, Outcome};
use crate::shell::account::{self, AccountJob, Asking, Keeper};
use crate::shell::render::{self, Format, Printed};

impl<B: Backend> Running<B> {
    /// Asks for passwords, does what is wished with them, and prints how it ended. The prompt has the new name then.
    pub(super) async fn account(&mut self, job: &AccountJob) {
        let format = if job.json { Format::Json } else { self.setup.printing.format };
        let backend = self.backend.clone();
        let ended = account::run(&backend, &job.wish, None, &mut AtPrompt(self)).await;
        let lines = match &ended {
            Ok(outcome) => render::outcome(outcome, format, self.setup.printing.detail),
            Err(failure) => render::failure(failure, format),
        };
        self.screen.print(lines);
        if let Ok(outcome) = &ended {
            self.follow_name(outcome);
        }
    }

    /// Has the prompt show the name that this peer has from now on.
    pub(super) fn follow_name(&mut self, outcome: &Outcome) {
        if let Outcome::LoggedIn { name } | Outcome::LoggedOut { name: Some(name) } = outcome {
            self.setup.prompt = super::prompt_of(name);
        }
    }
}

/// The person at the prompt.
struct AtPrompt<'a, B>(&'a mut Running<B>);

impl<B: Backend> Keeper for AtPrompt<'_, B> {
    fn is_person(&self) -> bool {
        true
    }

    async fn secret(&mut self, asking: Asking) -> Result<Option<Secret>, Failure> {
        match self.0.ask(asking.prompt().to_owned(), LineKind::Secret).await {
            Answer::Secret(secret) => Ok(Some(secret)),
            Answer::Broken(why) => Err(Failure::new(FailureKind::Failed, why)),
            Answer::Line(_) | Answer::Interrupt { .. } | Answer::End => Ok(None),
        }
    }

    async fn is_right(&mut self, tracker: &str, fingerprint: NetworkId) -> Result<bool, Failure> {
        let lines = account::tracker_lines(tracker, fingerprint);
        self.0.screen.print(lines.into_iter().map(Printed::Talk).collect());
        let mut question = account::RIGHT_TRACKER;
        while let Answer::Line(line) = self.0.ask(question.to_owned(), LineKind::Answer).await {
            if let Some(is_right) = account::is_yes(&line) {
                return Ok(is_right);
            }
            question = account::YES_OR_NO;
        }
        Ok(false)
    }
}
