//! Entries: who may register what, what a name means, and how a line of the catalogue looks to a peer.

use common::audience::Audience;
use common::id::{Content, PeerId};
use common::index::SwarmKey;
use common::name::{EntryName, EntryRef, UserName};
use common::wire::tracker::{Code, Entry, Refusal, Reply};

use super::{Now, refusal};
use crate::state::{Line, LineKey, Registered, State, Write};

/// Most entries of one user.
const MAX_ENTRIES_OF_USER: usize = 100_000;
/// Most entries in all; some 500 bytes of memory each.
const MAX_ENTRIES: usize = 1_000_000;
/// So many owners of a line are named; where there are more, nobody reads them all.
const MAX_OWNERS_NAMED: usize = 100;
/// So many entries are named that an ambiguous name could be.
const MAX_CANDIDATES: usize = 20;

/// Most bytes of an [`Entry`] in JSON: its numbers, its root and the names of its fields, and a name in which each
/// character is escaped.
pub(super) fn entry_bytes(entry: &Entry) -> usize {
    const WITHOUT_NAMES: usize = 300;
    const AROUND_A_NAME: usize = 3;
    let owners: usize = entry.owners.iter().map(|owner| owner.len() + AROUND_A_NAME).sum();
    WITHOUT_NAMES + 2 * entry.name.len() + owners
}

pub(super) fn register(
    state: &State,
    caller: PeerId,
    name: &str,
    content: Content,
    now: Now,
) -> Result<(Reply, Vec<Write>), Refusal> {
    let name = EntryName::new(name).map_err(|error| bad_name(&error))?;
    let owner = owner_of(state, caller)?;
    let entry = format!("{owner}/{name}");
    match state.catalogue().entry(&owner, &name) {
        Some(registered) if registered.content == content => {
            return Ok((
                Reply::Registered { entry, version: 1, already: true, audience: Audience::Public },
                Vec::new(),
            ));
        }
        Some(_) => {
            let text = format!("your entry {name} names another file: `dereg {name}` first, or use another name");
            return Err(refusal(Code::Conflict, text));
        }
        None => {}
    }
    if state.catalogue().count_of(&owner) >= MAX_ENTRIES_OF_USER {
        let text = format!("a user may have at most {MAX_ENTRIES_OF_USER} entries: deregister some first");
        return Err(refusal(Code::Limit, text));
    }
    if state.catalogue().len() >= MAX_ENTRIES {
        return Err(refusal(Code::Limit, "this tracker has as many entries as it can keep: ask its operator"));
    }
    let registered = Registered { content, at_ms: now.unix_ms };
    Ok((
        Reply::Registered { entry, version: 1, already: false, audience: Audience::Public },
        vec![Write::Entry(owner, name, Some(registered))],
    ))
}

pub(super) fn deregister(state: &State, caller: PeerId, entry: &str) -> Result<(Reply, Vec<Write>), Refusal> {
    let EntryRef { owner: named, name } = parse(entry)?;
    let caller = owner_of(state, caller)?;
    let is_bare = named.is_none();
    let owner = named.unwrap_or_else(|| caller.clone());
    if state.catalogue().entry(&owner, &name).is_none() {
        return Err(match state.catalogue().lines_of(&name).next() {
            Some((key, _)) if is_bare => {
                let text =
                    format!("{name} is an entry of {}, not yours: only its owner can deregister it", key.first_owner);
                refusal(Code::Forbidden, text)
            }
            _ => not_found(entry),
        });
    }
    if owner != caller {
        let text = format!("{owner}/{name} is not yours: only {owner} can deregister it");
        return Err(refusal(Code::Forbidden, text));
    }
    Ok((Reply::Done, vec![Write::Entry(owner, name, None)]))
}

/// The line that a peer means by `entry`; where `file` is given, the one that names it.
pub(super) fn resolve<'a>(
    state: &'a State,
    entry: &str,
    content: Option<&Content>,
) -> Result<(&'a LineKey, &'a Line), Refusal> {
    let EntryRef { owner, name } = parse(entry)?;
    if let Some(owner) = owner {
        let registered = state.catalogue().entry(&owner, &name).ok_or_else(|| not_found(entry))?;
        if content.is_some_and(|content| *content != registered.content) {
            return Err(changed(entry));
        }
        return state.catalogue().line(&name, &registered.content).ok_or_else(|| not_found(entry));
    }
    if let Some(content) = content {
        return state.catalogue().line(&name, content).ok_or_else(|| match state.catalogue().lines_of(&name).next() {
            Some(_) => changed(entry),
            None => not_found(entry),
        });
    }
    let mut lines = state.catalogue().lines_of(&name);
    let first = lines.next().ok_or_else(|| not_found(entry))?;
    if lines.next().is_none() {
        return Ok(first);
    }
    let candidates = state.catalogue().lines_of(&name).take(MAX_CANDIDATES);
    let candidates: Vec<Entry> = candidates.map(|(key, line)| view(state, key, line)).collect();
    let text = format!("several owners have different files under the name {name}: say OWNER/{name}");
    Err(Refusal { code: Code::Ambiguous, text, candidates })
}

/// A line as a peer sees it.
pub(super) fn view(state: &State, key: &LineKey, line: &Line) -> Entry {
    let counts = state.index.counts(&SwarmKey::new(&line.content, &Audience::Public));
    Entry {
        owners: line.owners.keys().take(MAX_OWNERS_NAMED).map(UserName::to_string).collect(),
        name: key.name.to_string(),
        version: 1,
        content: line.content,
        folder: None,
        restricted: false,
        users: Vec::new(),
        seeders: counts.seeders,
        downloaders: counts.downloaders,
        registered_ms: line.since_ms(),
    }
}

pub(super) fn parse(entry: &str) -> Result<EntryRef, Refusal> {
    entry.parse().map_err(|error| bad_name(&error))
}

fn owner_of(state: &State, caller: PeerId) -> Result<UserName, Refusal> {
    let online = state.roster.get(&caller);
    online.map(|online| online.name.clone()).ok_or_else(|| refusal(Code::NotJoined, "join first"))
}

fn bad_name(error: &common::name::NameError) -> Refusal {
    refusal(Code::BadName, error.to_string())
}

fn changed(entry: &str) -> Refusal {
    refusal(Code::Changed, format!("{entry} does not name that file any more: look at `lst`"))
}

fn not_found(entry: &str) -> Refusal {
    refusal(Code::NotFound, format!("there is no entry {entry}: `lst` shows what there is"))
}

#[cfg(test)]
mod tests {
    use common::wire::tracker::{Have, Page, Request};

    use super::super::When;
    use super::super::testing::{World, file};
    use super::*;

    fn register(name: &str, file: FileId) -> Request {
        Request::Register { name: name.to_owned(), file }
    }

    fn deregister(entry: &str) -> Request {
        Request::Deregister { entry: entry.to_owned() }
    }

    fn plan(entry: &str, file: Option<FileId>) -> Request {
        Request::Plan { entry: entry.to_owned(), file }
    }

    fn entries(world: &mut World, peer: PeerId) -> Vec<Entry> {
        match world.reply(peer, Request::List(Page::default())) {
            Reply::Entries { entries, .. } => entries,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn registering_again_changes_nothing_but_another_file_is_a_conflict() {
        let mut world = World::new();
        let alice = world.join(1, "alice");
        let outcome = world.ask(alice, register("x", file(1)));
        assert_eq!(outcome.when, When::Committed);
        assert_eq!(
            outcome.reply,
            Ok(Reply::Registered {
                entry: "alice/x".to_owned(),
                version: 1,
                already: false,
                audience: Audience::Public
            })
        );
        let outcome = world.ask(alice, register("x", file(1)));
        // What it says rests on the write before, which may not be committed yet.
        assert_eq!(outcome.when, When::Committed);
        assert_eq!(
            outcome.reply,
            Ok(Reply::Registered {
                entry: "alice/x".to_owned(),
                version: 1,
                already: true,
                audience: Audience::Public
            })
        );
        let refusal = world.ask(alice, register("x", file(2))).reply.unwrap_err();
        assert_eq!(refusal.code, Code::Conflict);
        assert!(refusal.text.contains("dereg x"), "{refusal}");
        assert!(world.ask(alice, deregister("x")).reply.is_ok());
        assert!(world.ask(alice, register("x", file(2))).reply.is_ok());
    }

    #[test]
    fn names_that_would_harm_are_refused() {
        let mut world = World::new();
        let alice = world.join(1, "alice");
        let long = "a".repeat(256);
        for name in ["../x", "/etc/passwd", "a/b", "CON", "nul.txt", "", ".", "..", "a\nb", "a\u{202e}b", &long] {
            assert_eq!(world.refused(alice, register(name, file(1))), Code::BadName, "{name:?}");
        }
        for entry in ["../x", "/etc/passwd", "a/b/c", "", "Alice/x"] {
            assert_eq!(world.refused(alice, plan(entry, None)), Code::BadName, "{entry:?}");
            assert_eq!(world.refused(alice, deregister(entry)), Code::BadName, "{entry:?}");
        }
        assert_eq!(entries(&mut world, alice), []);
    }

    #[test]
    fn the_same_name_and_file_is_one_line_of_all_its_owners() {
        let mut world = World::new();
        let [alice, bob, carol] = [(1, "alice"), (2, "bob"), (3, "carol")].map(|(key, name)| world.join(key, name));
        for peer in [carol, alice, bob] {
            world.register(peer, "x", file(1));
            world.announce(peer, file(1), Have::All);
        }
        let entries = entries(&mut world, bob);
        assert_eq!(entries.len(), 1);
        assert_eq!((entries[0].owners.join(" "), entries[0].seeders), ("alice bob carol".to_owned(), 3));
    }

    #[test]
    fn a_bare_name_will_do_unless_owners_have_different_files_under_it() {
        let mut world = World::new();
        let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
        world.register(alice, "x", file(1));
        assert_eq!(world.plan(bob, "x").0.entry.file, file(1));
        world.register(bob, "x", file(2));
        let refusal = world.ask(bob, plan("x", None)).reply.unwrap_err();
        assert_eq!(refusal.code, Code::Ambiguous);
        let candidates: Vec<&str> = refusal.candidates.iter().map(|entry| entry.owners[0].as_str()).collect();
        assert_eq!(candidates, ["alice", "bob"]);
        assert_eq!(world.plan(bob, "alice/x").0.entry.file, file(1));
        assert_eq!(world.plan(bob, "bob/x").0.entry.file, file(2));
        assert!(world.ask(bob, plan("x", Some(file(2)))).reply.is_ok(), "the file says which");
    }

    #[test]
    fn a_download_that_goes_on_hears_that_the_entry_changed() {
        let mut world = World::new();
        let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
        world.register(alice, "x", file(1));
        assert_eq!(world.refused(bob, plan("alice/x", Some(file(2)))), Code::Changed);
        assert_eq!(world.refused(bob, plan("x", Some(file(2)))), Code::Changed);
        assert_eq!(world.refused(bob, plan("y", Some(file(2)))), Code::NotFound);
        assert_eq!(world.refused(bob, plan("bob/x", None)), Code::NotFound);
    }

    #[test]
    fn only_the_owner_deregisters() {
        let mut world = World::new();
        let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
        world.register(alice, "x", file(1));
        assert_eq!(world.refused(bob, deregister("x")), Code::Forbidden);
        assert_eq!(world.refused(bob, deregister("alice/x")), Code::Forbidden);
        assert_eq!(world.refused(bob, deregister("y")), Code::NotFound);
        assert_eq!(world.refused(bob, deregister("bob/x")), Code::NotFound);
        let outcome = world.ask(alice, deregister("alice/x"));
        assert_eq!((outcome.reply, outcome.when), (Ok(Reply::Done), When::Committed));
        assert_eq!(world.refused(alice, deregister("x")), Code::NotFound);
        assert_eq!(entries(&mut world, bob), []);
    }

    #[test]
    fn one_owner_less_leaves_the_line_of_the_others() {
        let mut world = World::new();
        let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
        world.register(alice, "x", file(1));
        world.pass(std::time::Duration::from_secs(1));
        world.register(bob, "x", file(1));
        let first = entries(&mut world, bob)[0].registered_ms;
        world.ask(alice, deregister("x")).reply.unwrap();
        let entries = entries(&mut world, bob);
        assert_eq!((entries[0].owners.as_slice(), entries[0].registered_ms), (&["bob".to_owned()][..], first + 1000));
    }

    #[test]
    fn only_so_many_owners_and_candidates_are_named() {
        let mut world = World::new();
        let peers: Vec<PeerId> = (0..=150).map(|number| world.join(number, &format!("u{number:03}"))).collect();
        for (number, peer) in (0..).zip(&peers) {
            world.register(*peer, "same", file(1));
            world.register(*peer, "other", file(number));
        }
        let same = entries(&mut world, peers[0]).into_iter().find(|entry| entry.name == "same").unwrap();
        assert_eq!(same.owners.len(), MAX_OWNERS_NAMED);
        let refusal = world.ask(peers[0], plan("other", None)).reply.unwrap_err();
        assert_eq!(refusal.candidates.len(), MAX_CANDIDATES);
    }
}
