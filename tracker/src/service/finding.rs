//! Finding: pages of the catalogue.

use std::cmp::Reverse;

use common::id::PeerId;
use common::name::UserName;
use common::wire::tracker::{Code, Entry, Query, Refusal, Reply, SortBy};
use common::wire::{MAX_PAGE, MAX_SEARCH_TEXT};

use super::callers::user_of;
use super::glob::Pattern;
use super::resolving::{entry_bytes, view_alone, view_line};
use super::{REPLY_ROOM, refusal};
use crate::state::{Line, LineKey, State, fold};

type Found<'a> = (&'a LineKey, &'a Line);

pub(super) fn list(state: &State, caller: PeerId, query: Query) -> Result<Reply, Refusal> {
    let viewer = user_of(state, caller)?;
    Ok(page(state, &viewer, query, |_line| true))
}

pub(super) fn search(state: &State, caller: PeerId, text: &str, query: Query) -> Result<Reply, Refusal> {
    let viewer = user_of(state, caller)?;
    if text.len() > MAX_SEARCH_TEXT {
        let text = format!("a search text has at most {MAX_SEARCH_TEXT} bytes");
        return Err(refusal(Code::Limit, text));
    }
    let pattern = Pattern::new(fold(text));
    Ok(page(state, &viewer, query, |line| is_found(&pattern, line)))
}

fn is_found(pattern: &Pattern, line: &Line) -> bool {
    pattern.matches(&line.folded) || line.owners.keys().any(|owner| pattern.matches(owner.as_str()))
}

fn page(state: &State, viewer: &UserName, query: Query, is_wanted: impl Fn(&Line) -> bool) -> Reply {
    let is_seen = |line: &Line| line.is_for(viewer) && (!query.mine || line.owners.contains_key(viewer));
    let lines = state.catalogue().lines();
    let mut found: Vec<Found<'_>> = lines.filter(|(_, line)| is_seen(line) && is_wanted(line)).collect();
    sort(state, viewer, query, &mut found);
    let total = u32::try_from(found.len()).unwrap_or(u32::MAX);
    let offset = usize::try_from(query.offset).unwrap_or(usize::MAX);
    let rest = found.into_iter().skip(offset);
    Reply::Entries { entries: fill(state, viewer, rest, query), total }
}

/// Sorts lines that are in the order of names; equals stay so.
fn sort(state: &State, viewer: &UserName, query: Query, found: &mut [Found<'_>]) {
    match query.by {
        SortBy::Name => {}
        SortBy::Size => found.sort_by_key(|(_, line)| Reverse(line.bytes)),
        SortBy::Date => found.sort_by_cached_key(|(_, line)| {
            let mine = line.owners.get(viewer).filter(|_version| query.mine);
            Reverse(mine.map_or_else(|| line.since_ms(), |version| version.at_ms))
        }),
        SortBy::Seeders => found.sort_by_cached_key(|(_, line)| Reverse(state.index.counts(&line.swarm).seeders)),
    }
}

/// As many as were asked for, or as fit a reply: the next page begins after those that came.
fn fill<'a>(state: &State, viewer: &UserName, lines: impl Iterator<Item = Found<'a>>, query: Query) -> Vec<Entry> {
    let limit = if query.limit == 0 { MAX_PAGE } else { query.limit.min(MAX_PAGE) };
    let mut room = REPLY_ROOM;
    let mut entries = Vec::new();
    for (key, line) in lines.take(limit.try_into().unwrap_or(usize::MAX)) {
        let mine = state.catalogue().entry(viewer, &key.name).filter(|_entry| query.mine);
        let entry = match mine {
            Some(mine) => view_alone(state, viewer, viewer, &key.name, mine, mine.newest()),
            None => view_line(state, viewer, key, line),
        };
        match room.checked_sub(entry_bytes(&entry)) {
            Some(left) => room = left,
            None => break,
        }
        entries.push(entry);
    }
    entries
}

#[cfg(test)]
mod tests {
    use common::id::PeerId;
    use common::wire::MAX_TRACKER_FRAME;
    use common::wire::tracker::{FromTracker, Request};

    use super::super::testing::{World, file};
    use super::*;

    fn names(reply: Reply) -> (Vec<String>, u32) {
        match reply {
            Reply::Entries { entries, total } => {
                let names = entries.into_iter().map(|entry| format!("{}/{}", entry.owners[0], entry.name)).collect();
                (names, total)
            }
            other => panic!("{other:?}"),
        }
    }

    fn find(world: &mut World, peer: PeerId, text: &str) -> Vec<String> {
        let request = Request::Search { text: text.to_owned(), query: Query::default() };
        names(world.reply(peer, request)).0
    }

    #[test]
    fn lists_are_in_the_order_of_names_and_owners_and_come_in_pages() {
        let mut world = World::new();
        let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
        for (peer, name, number) in [(bob, "c", 1), (alice, "b", 2), (bob, "a", 3), (bob, "b", 4), (alice, "a", 5)] {
            world.register(peer, name, file(number));
        }
        let mut page =
            |offset, limit| names(world.reply(alice, Request::List(Query { offset, limit, ..Query::default() })));
        let all = ["alice/a", "bob/a", "alice/b", "bob/b", "bob/c"].map(str::to_owned);
        assert_eq!(page(0, 0), (all.to_vec(), 5));
        assert_eq!(page(0, u32::MAX), (all.to_vec(), 5));
        assert_eq!(page(1, 2), (all[1..3].to_vec(), 5));
        assert_eq!(page(4, 9), (all[4..].to_vec(), 5));
        assert_eq!(page(u32::MAX, 1), (Vec::new(), 5));
    }

    #[test]
    fn a_search_looks_at_names_and_owners_whatever_the_case() {
        let mut world = World::new();
        let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
        world.register(alice, "Straße.PNG", file(1));
        world.register(bob, "straw.txt", file(2));
        world.register(bob, "Übung", file(3));
        for (text, want) in [
            ("stra", &["alice/Straße.PNG", "bob/straw.txt"][..]),
            ("STRASSE", &[]),
            ("straße", &["alice/Straße.PNG"]),
            ("*.png", &["alice/Straße.PNG"]),
            ("?traw*", &["bob/straw.txt"]),
            ("ali", &["alice/Straße.PNG"]),
            ("b?b", &["bob/straw.txt", "bob/Übung"]),
            ("übung", &["bob/Übung"]),
            ("", &["alice/Straße.PNG", "bob/straw.txt", "bob/Übung"]),
            ("none", &[]),
        ] {
            assert_eq!(find(&mut world, alice, text), want, "{text}");
        }
        let long = Request::Search { text: "x".repeat(MAX_SEARCH_TEXT + 1), query: Query::default() };
        assert_eq!(world.refused(alice, long), Code::Limit);
        let query = Query { offset: 1, limit: 1, ..Query::default() };
        let paged = names(world.reply(alice, Request::Search { text: "stra".to_owned(), query }));
        assert_eq!(paged, (vec!["bob/straw.txt".to_owned()], 2));
    }

    #[test]
    fn the_largest_page_fits_a_frame() {
        let mut world = World::new();
        let peers: Vec<PeerId> = (0..100).map(|number| world.join(number, &format!("{number:0>32}"))).collect();
        // Quotes take two bytes in JSON.
        for number in 0..300 {
            let name = format!("{number:03}{}", "\"".repeat(252));
            for peer in &peers {
                world.register(*peer, &name, file(1));
            }
        }
        let mut seen = 0;
        let mut parts = 0;
        while seen < 300 {
            let query = Query { offset: seen, ..Query::default() };
            let result = world.reply(peers[0], Request::List(query));
            let Reply::Entries { entries, total: 300 } = &result else { panic!("{result:?}") };
            seen += u32::try_from(entries.len()).unwrap();
            parts += 1;
            let frame = FromTracker::Reply { id: u64::MAX, result }.to_frame().unwrap();
            assert!(frame.len() <= MAX_TRACKER_FRAME);
        }
        assert_eq!(parts, 2);
    }
}
