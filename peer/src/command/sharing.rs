//! Sharing: for whom an own entry is. What is served follows the tracker's word on it at once.

use common::name::EntryRef;
use common::wire::tracker::{AudienceChange, Reply, Request};

use super::parts::Parts;
use super::{Failure, Outcome, failure};

/// Changes for whom an own entry is.
pub(super) async fn share(parts: &Parts, entry: &str, change: AudienceChange) -> Result<Outcome, Failure> {
    let asked = failure::entry_ref(entry)?;
    match &change {
        AudienceChange::Add(users) | AudienceChange::Remove(users) => {
            users.iter().try_for_each(|user| failure::user_name(user).map(drop))?;
        }
        AudienceChange::Everyone | AudienceChange::Nobody => {}
    }
    let Reply::Shared { entry, audience, users } =
        parts.tracker.request(Request::Share { entry: asked.to_string(), change }).await?
    else {
        return Err(failure::odd_answer());
    };
    let full: EntryRef = failure::entry_ref(&entry)?;
    parts.set_audience(full, audience).await;
    Ok(Outcome::Shared { entry, users })
}
