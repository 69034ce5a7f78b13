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
    Ok(page(state, &viewer, query, |_key, _line| true))
}

pub(super) fn search(state: &State, caller: PeerId, text: &str, query: Query) -> Result<Reply, Refusal> {
    let viewer = user_of(state, caller)?;
    if text.len() > MAX_SEARCH_TEXT {
        let text = format!("a search text has at most {MAX_SEARCH_TEXT} bytes");
        return Err(refusal(Code::Limit, text));
    }
    let pattern = Pattern::new(&fold(text));
    // Lines are many and owners few: mostly none of them is what is searched for.
    let any_owner = state.catalogue().owners().any(|owner| pattern.matches(owner.as_str()));
    Ok(page(state, &viewer, query, |key, line| {
        pattern.matches(&line.folded) || any_owner && is_found_by_owner(&pattern, key, line)
    }))
}

fn is_found_by_owner(pattern: &Pattern, key: &LineKey, line: &Line) -> bool {
    let is_found = |owner: &UserName| pattern.matches(owner.as_str());
    is_found(&key.first_owner) || line.owners.len() > 1 && line.owners.keys().skip(1).any(is_found)
}

fn page(state: &State, viewer: &UserName, query: Query, is_wanted: impl Fn(&LineKey, &Line) -> bool) -> Reply {
    let is_seen = |line: &Line| line.is_for(viewer) && (!query.mine || line.owners.contains_key(viewer));
    let lines = state.catalogue().lines();
    let found: Vec<Found<'_>> = lines.filter(|(key, line)| is_seen(line) && is_wanted(key, line)).collect();
    let total = u32::try_from(found.len()).unwrap_or(u32::MAX);
    let places = places(state, viewer, query, &found);
    let lines = places.into_iter().filter_map(|place| found.get(place).copied());
    Reply::Entries { entries: fill(state, viewer, lines, query), total }
}

/// Which of the lines found, which are in the order of names, stand on the page, in its order.
fn places(state: &State, viewer: &UserName, query: Query, found: &[Found<'_>]) -> Vec<usize> {
    let offset = usize::try_from(query.offset).unwrap_or(usize::MAX).min(found.len());
    let end = offset.saturating_add(limit(query)).min(found.len());
    let rank = |line: &Line| match query.by {
        SortBy::Name => 0,
        SortBy::Size => line.bytes,
        SortBy::Date => {
            let mine = line.owners.get(viewer).filter(|_version| query.mine);
            mine.map_or(line.since_ms, |version| version.at_ms)
        }
        SortBy::Seeders => state.index.counts(&line.swarm).seeders.into(),
    };
    if query.by == SortBy::Name {
        return (offset..end).collect();
    }
    let mut ranked: Vec<(Reverse<u64>, usize)> =
        found.iter().enumerate().map(|(place, (_, line))| (Reverse(rank(line)), place)).collect();
    // Only what stands on the page and before it needs an order.
    if end < ranked.len() {
        ranked.select_nth_unstable(end);
        ranked.truncate(end);
    }
    ranked.sort_unstable();
    ranked.into_iter().skip(offset).map(|(_, place)| place).collect()
}

fn limit(query: Query) -> usize {
    let limit = if query.limit == 0 { MAX_PAGE } else { query.limit.min(MAX_PAGE) };
    limit.try_into().unwrap_or(usize::MAX)
}

/// As many of them as fit a reply: the next page begins after those that came.
fn fill<'a>(state: &State, viewer: &UserName, lines: impl Iterator<Item = Found<'a>>, query: Query) -> Vec<Entry> {
    let mut room = REPLY_ROOM;
    let mut entries = Vec::new();
    for (key, line) in lines {
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
    use common::id::{FileId, Hash};
    use common::wire::MAX_TRACKER_FRAME;
    use common::wire::tracker::{FromTracker, Have, Request};

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

    fn by(world: &mut World, peer: PeerId, query: Query) -> Vec<String> {
        names(world.reply(peer, Request::List(query))).0
    }

    #[test]
    fn lists_are_sorted_as_asked_and_equals_by_name() {
        let mut world = World::new();
        let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
        let sized = |length: u64, number: u8| FileId::new(length, Hash([number; 32])).unwrap().into();
        for (peer, name, length, number) in [(bob, "c", 5, 1), (alice, "b", 9, 2), (bob, "a", 5, 3), (alice, "d", 7, 4)]
        {
            world.pass(std::time::Duration::from_secs(1));
            world.register(peer, name, sized(length, number));
        }
        world.announce(alice, sized(5, 1), Have::All);
        world.announce(bob, sized(5, 1), Have::All);
        world.announce(bob, sized(7, 4), Have::All);
        let mut sorted = |sort, mine, offset| {
            let query = Query { by: sort, mine, offset, limit: 3 };
            by(&mut world, alice, query).join(" ")
        };
        assert_eq!(sorted(SortBy::Name, false, 0), "bob/a alice/b bob/c");
        assert_eq!(sorted(SortBy::Size, false, 0), "alice/b alice/d bob/a");
        assert_eq!(sorted(SortBy::Size, false, 2), "bob/a bob/c");
        assert_eq!(sorted(SortBy::Date, false, 0), "alice/d bob/a alice/b");
        assert_eq!(sorted(SortBy::Seeders, false, 0), "bob/c alice/d bob/a");
        assert_eq!(sorted(SortBy::Date, true, 0), "alice/d alice/b");
    }

    #[test]
    fn of_what_others_have_too_one_sees_ones_own_when_asking_for_that() {
        let mut world = World::new();
        let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
        world.register(alice, "x", file(1));
        world.register(bob, "x", file(2));
        world.pass(std::time::Duration::from_secs(1));
        world.register(bob, "x", file(1));
        let query = Query { mine: true, ..Query::default() };
        let Reply::Entries { entries, total: 1 } = world.reply(bob, Request::List(query)) else { panic!("one entry") };
        assert_eq!((entries[0].owners.as_slice(), entries[0].version), (&["bob".to_owned()][..], 2));
        assert_eq!(entries[0].registered_ms, world.now.unix_ms);
    }

    /// `cargo test --release -p tracker --lib -- --ignored --nocapture searches_of`
    #[test]
    #[ignore = "a measurement: it prints how long searches take"]
    fn searches_of_many_entries_take() {
        const ENTRIES: u32 = 100_000;
        let mut world = World::new();
        let peers: Vec<PeerId> = (0..100).map(|number| world.join(number, &format!("user-{number}"))).collect();
        for number in 0..ENTRIES {
            let peer = peers[number as usize % peers.len()];
            let mut root = [7; 32];
            root[..4].copy_from_slice(&number.to_be_bytes());
            let content = FileId::new(u64::from(number.wrapping_mul(2_654_435_761)), Hash(root)).unwrap().into();
            let name = format!("Results of measurement {number:06} by the second group.tar.gz");
            if number % 10 == 0 {
                world.register_for(peer, &name, content, &["user-1"]);
            } else {
                world.register(peer, &name, content);
            }
            world.announce(peer, content, Have::All);
        }
        for sort in [SortBy::Name, SortBy::Size, SortBy::Date, SortBy::Seeders] {
            for text in ["", "measurement", "77.TAR", "user-7", "*second*tar*", "*5?by*", "nothing at all"] {
                let query = Query { by: sort, ..Query::default() };
                let mut times = Vec::new();
                let mut found = 0;
                for _ in 0..10 {
                    let begun = std::time::Instant::now();
                    let request = match text {
                        "" => Request::List(query),
                        text => Request::Search { text: text.to_owned(), query },
                    };
                    found = names(world.reply(peers[1], request)).1;
                    times.push(begun.elapsed());
                }
                times.sort_unstable();
                println!("{sort:?} {text:?}: {found} found, least {:?}, median {:?}", times[0], times[5]);
            }
        }
    }
}
