//! Commands that say something to others.

use common::wire::MAX_CHAT_TEXT;
use common::wire::tracker::{Reply, Request};

use super::parts::Parts;
use super::{Failure, FailureKind, Outcome, failure};

/// Says something to all who are online.
pub(super) async fn chat(parts: &Parts, text: &str) -> Result<Outcome, Failure> {
    let text = sayable(text)?;
    said(parts, Request::Chat { text }).await
}

/// Says something to one user.
pub(super) async fn message(parts: &Parts, to: &str, text: &str) -> Result<Outcome, Failure> {
    let to = failure::user_name(to)?.to_string();
    let text = sayable(text)?;
    said(parts, Request::Message { to, text }).await
}

async fn said(parts: &Parts, request: Request) -> Result<Outcome, Failure> {
    match parts.tracker.request(request).await? {
        Reply::Done => Ok(Outcome::Said),
        _ => Err(failure::odd_answer()),
    }
}

/// What was said to all of late.
pub(super) async fn history(parts: &Parts) -> Result<Outcome, Failure> {
    match parts.tracker.request(Request::History).await? {
        Reply::History { lines } => Ok(Outcome::History(lines)),
        _ => Err(failure::odd_answer()),
    }
}

/// The text as it may be said: on one line, and not too long.
fn sayable(text: &str) -> Result<String, Failure> {
    let text: String =
        text.trim().chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    if text.is_empty() {
        return Err(Failure::new(FailureKind::Usage, "there is nothing to say"));
    }
    if text.len() > MAX_CHAT_TEXT {
        let text = format!("what is said has at most {MAX_CHAT_TEXT} bytes, this has {}", text.len());
        return Err(Failure::new(FailureKind::Usage, text).with_hint("put it into a file and share that"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_one_line_of_text() {
        assert_eq!(sayable(" it's\ta\nlong\x1b[2J day ").unwrap(), "it's a long [2J day");
        for text in ["", " \n", &"x".repeat(MAX_CHAT_TEXT + 1)] {
            assert_eq!(sayable(text).unwrap_err().kind, FailureKind::Usage);
        }
    }
}
