//! Finding: pages of the catalogue.

use common::wire::tracker::{Code, Entry, Page, Refusal, Reply};
use common::wire::{MAX_PAGE, MAX_SEARCH_TEXT};

use super::entries::{entry_bytes, view};
use super::glob::Pattern;
use super::{REPLY_ROOM, refusal};
use crate::state::{Line, LineKey, State, fold};

pub(super) fn list(state: &State, page: Page) -> Reply {
    let lines = state.catalogue().lines();
    let total = lines.len();
    let offset = usize::try_from(page.offset).unwrap_or(usize::MAX);
    let entries = fill(state, lines.skip(offset), page);
    Reply::Entries { entries, total: u32::try_from(total).unwrap_or(u32::MAX) }
}

pub(super) fn search(state: &State, text: &str, page: Page) -> Result<Reply, Refusal> {
    if text.len() > MAX_SEARCH_TEXT {
        let text = format!("a search text has at most {MAX_SEARCH_TEXT} bytes");
        return Err(refusal(Code::Limit, text));
    }
    let pattern = Pattern::new(fold(text));
    let found: Vec<_> = state.catalogue().lines().filter(|(_, line)| is_found(&pattern, line)).collect();
    let total = u32::try_from(found.len()).unwrap_or(u32::MAX);
    let offset = usize::try_from(page.offset).unwrap_or(usize::MAX);
    Ok(Reply::Entries { entries: fill(state, found.into_iter().skip(offset), page), total })
}

fn is_found(pattern: &Pattern, line: &Line) -> bool {
    pattern.matches(&line.folded) || line.owners.keys().any(|owner| pattern.matches(owner.as_str()))
}

/// As many as were asked for, or as fit a reply: the next page begins after those that came.
fn fill<'a>(state: &State, lines: impl Iterator<Item = (&'a LineKey, &'a Line)>, page: Page) -> Vec<Entry> {
    let limit = if page.limit == 0 { MAX_PAGE } else { page.limit.min(MAX_PAGE) };
    let mut room = REPLY_ROOM;
    let mut entries = Vec::new();
    for (key, line) in lines.take(limit.try_into().unwrap_or(usize::MAX)) {
        let entry = view(state, key, line);
        match room.checked_sub(entry_bytes(&entry)) {
            Some(left) => room = left,
            None => break,
        }
        entries.push(entry);
    }
    entries
}
