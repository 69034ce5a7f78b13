//! Commands about the catalogue: list, search, versions, loc, deregister, users.

use common::name::EntryRef;
use common::wire::tracker::{Entry, Query, Reply, Request};
use common::wire::{MAX_PAGE, MAX_SEARCH_TEXT};

use super::parts::Parts;
use super::{Failure, FailureKind, Listing, Outcome, failure, watch};
use crate::tracker_client::is_sound;

/// No list is longer, whatever the tracker says: entries or holders.
const MOST_LISTED: usize = 100_000;

/// All entries.
pub(super) async fn list(parts: &Parts, listing: Listing) -> Result<Outcome, Failure> {
    let entries = pages(parts, listing, Request::List).await?;
    if listing == Listing::default() {
        parts.names.on_all_entries(&entries);
    } else {
        parts.names.on_entries(&entries);
    }
    Ok(Outcome::Entries(entries))
}

/// The entries with this text.
pub(super) async fn search(parts: &Parts, text: &str, listing: Listing) -> Result<Outcome, Failure> {
    if text.len() > MAX_SEARCH_TEXT {
        let text = format!("a search text has at most {MAX_SEARCH_TEXT} bytes, this one has {}", text.len());
        return Err(Failure::new(FailureKind::Usage, text));
    }
    let entries = pages(parts, listing, |query| Request::Search { text: text.to_owned(), query }).await?;
    parts.names.on_entries(&entries);
    Ok(Outcome::Entries(entries))
}

async fn pages(parts: &Parts, listing: Listing, request: impl Fn(Query) -> Request) -> Result<Vec<Entry>, Failure> {
    let Listing { mine, by, limit } = listing;
    let most = limit.map_or(MOST_LISTED, |limit| usize::try_from(limit).unwrap_or(MOST_LISTED).min(MOST_LISTED));
    let mut entries = Vec::new();
    let mut offset: u32 = 0;
    loop {
        let Reply::Entries { entries: page, total } = parts
            .tracker
            .request(request(Query { offset, limit: limit.unwrap_or(MAX_PAGE).min(MAX_PAGE), mine, by }))
            .await?
        else {
            return Err(failure::odd_answer());
        };
        let taken = u32::try_from(page.len()).unwrap_or(u32::MAX);
        offset = offset.saturating_add(taken);
        entries.extend(page.into_iter().filter(is_sound));
        if taken == 0 || offset >= total || entries.len() >= most {
            entries.truncate(most);
            return Ok(entries);
        }
    }
}

/// All versions of an entry.
pub(super) async fn versions(parts: &Parts, entry: &str) -> Result<Outcome, Failure> {
    let entry = failure::entry_ref(entry)?.to_string();
    match parts.tracker.request(Request::Versions { entry }).await? {
        Reply::Versions { entry, versions } => Ok(Outcome::Versions { entry, versions }),
        _ => Err(failure::odd_answer()),
    }
}

/// Who has which chunks of an entry.
pub(super) async fn loc(parts: &Parts, entry: &str) -> Result<Outcome, Failure> {
    let asked = failure::entry_ref(entry)?;
    let mut holders = Vec::new();
    let mut offset = 0;
    loop {
        let request = Request::Loc { entry: asked.to_string(), offset };
        let Reply::Locations { entry, holders: page, next } = parts.tracker.request(request).await? else {
            return Err(failure::odd_answer());
        };
        holders.extend(page);
        match next {
            // A next part that does not come later would be asked for for ever.
            Some(next) if next > offset && holders.len() < MOST_LISTED => offset = next,
            _ => {
                holders.truncate(MOST_LISTED);
                return Ok(Outcome::Locations { entry, holders });
            }
        }
    }
}

/// Takes an own entry out of the catalogue, and stops sharing its file unless another of its names is still there.
pub(super) async fn deregister(parts: &Parts, entry: &str) -> Result<Outcome, Failure> {
    let asked = failure::entry_ref(entry)?;
    match parts.tracker.request(Request::Deregister { entry: asked.to_string() }).await? {
        Reply::Done => {}
        _ => return Err(failure::odd_answer()),
    }
    // A bare name means the caller's own entry.
    let owner = match asked.owner {
        Some(owner) => owner,
        None => failure::user_name(&parts.user_name())?,
    };
    let full = EntryRef { owner: Some(owner.clone()), name: asked.name };
    let network = parts.network()?;
    parts.names.on_gone(owner.as_str(), full.name.as_str());
    watch::forget(parts, network, &full.name).await;
    let reshared = parts.with_library(move |library| library.forget_entry(network, &full)).await;
    parts.reshare(reshared).await;
    parts.save_library().await;
    Ok(Outcome::Deregistered { entry: entry.to_owned() })
}

/// Who is online.
pub(super) async fn users(parts: &Parts) -> Result<Outcome, Failure> {
    let Reply::Users { users } = parts.tracker.request(Request::Users).await? else {
        return Err(failure::odd_answer());
    };
    parts.names.on_users(&users);
    Ok(Outcome::Users(users))
}
