//! Messages as bytes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::world::{address, identity, member, peer_id};
use crate::bitmap::Bitmap;
use crate::group::limits::{MAX_MEMBERS, MAX_MESSAGE, MAX_TERM};
use crate::group::line::{Line, LineId, Ordered};
use crate::group::meeting::{Asked, Company, Meet};
use crate::group::message::{Join, Message, Origin, Shares, Tidings};
use crate::group::roster::{Farewell, Sealed};
use crate::group::{Addresses, DecodeError, Denial, Listing, Member, Point, Roster, Shared, network_id};
use crate::id::{Content, FileId, FolderId, Hash};
use crate::identity::Identity;
use crate::mrt::StaticKey;
use crate::name::{EntryName, UserName};
use crate::wire::tracker::{FolderSize, Have, Holder};

const LAST_KIND: u8 = 26;

pub(super) fn file(number: u8) -> Content {
    FileId::new(100_000, Hash([number; 32])).unwrap().into()
}

pub(super) fn entry(name: &str) -> EntryName {
    EntryName::new(name).unwrap()
}

fn point(term: u64, number: u64) -> Point {
    Point { term, number }
}

fn roster() -> Roster {
    let members = vec![member(0), member(1)];
    Roster { point: point(1, 2), supernode: peer_id(0), members, absent: vec![member(2)] }
}

fn sealed() -> Sealed {
    roster().seal(&identity(0), &network_id(&[1; 32]))
}

fn line() -> Line {
    Line::say(&identity(1), &network_id(&[1; 32]), member(1).name().clone(), 7, 1, "hello")
}

fn holder(have: Option<Have>) -> Holder {
    Holder { peer: peer_id(3), user: "node3".to_owned(), addresses: vec![address(3)], have }
}

/// Some of every kind.
fn examples() -> Vec<Message> {
    let network = network_id(&[1; 32]);
    let folder = Content::Folder(FolderId::new(FileId::new(10, Hash([5; 32])).unwrap(), 20).unwrap());
    let mut half = Bitmap::empty(file(1).chunks());
    half.insert(1);
    let farewell = Farewell { term: 1, next_term: 2, successor: member(1) }.seal(&identity(0), &network);
    let meet = Meet {
        term: 3,
        wish: Asked::Yes,
        company: Company::Members,
        sender_first: Some(point(1, 2)),
        receiver_first: None,
    };
    let after = Some(Origin { point: point(4, 5), supernode: peer_id(2) });
    let join = Join { name: member(1).name().clone(), addresses: Addresses::new([address(1)]), after };
    let shared = Shared { content: folder, folder: Some(FolderSize { files: 3, bytes: 1 << 40 }) };
    let all = vec![(entry("doug.png"), file(1).into()), (entry("photos"), shared), (entry("old"), folder.into())];
    let shares = Shares { tidings: Tidings::New, shared: all, dropped: vec![entry("old")] };
    let haves =
        vec![(file(1), Have::All), (file(3), Have::of(&half)), (file(2), Have::Add(vec![0, 3])), (folder, Have::None)];
    vec![
        Message::Hello { protocol: 1, network },
        Message::Ping,
        Message::Pong,
        Message::Meet(meet),
        Message::Join(Join { after: None, ..join.clone() }),
        Message::Join(join),
        Message::Seek,
        Message::Deny(Denial::Full),
        Message::Deny(Denial::FarAhead),
        Message::Peer { roster: sealed(), heard: Some(point(1, 9)) },
        Message::Here { point: point(1, 2), heard: None },
        Message::Lead(sealed()),
        Message::Farewell(farewell),
        Message::Leave,
        Message::Missing,
        Message::Chat(line()),
        Message::Line(Ordered::new(&identity(0), &network, point(1, 3), line())),
        Message::Seen(LineId { author: peer_id(1), run: 7, number: 1 }),
        Message::File(shares.clone()),
        Message::Have(haves),
        Message::News { owner: peer_id(2), shares },
        Message::GetFiles { request: 1, name: Some(entry("a")), offset: 5 },
        Message::Files { request: 1, total: 9, files: vec![Listing { owner: peer_id(1), entry: entry("a"), shared }] },
        Message::Request { request: 2, content: folder },
        Message::Start { request: 2, content: file(1), holders: vec![holder(None), holder(Some(Have::of(&half)))] },
        Message::More { content: file(1), holder: holder(Some(Have::All)) },
        Message::Invite(peer_id(4)),
        Message::Open(member(4)),
    ]
}

#[test]
fn messages_read_what_they_write() {
    let mut kinds = BTreeSet::new();
    for message in examples() {
        let bytes = message.encode();
        kinds.insert(bytes[0]);
        assert_eq!(Message::decode(&bytes), Ok(message));
    }
    assert_eq!(kinds, (1..=LAST_KIND).collect());
}

#[test]
fn a_message_with_a_byte_too_few_or_too_many_is_none() {
    for message in examples() {
        let bytes = message.encode();
        for length in 0..bytes.len() {
            assert!(Message::decode(&bytes[..length]).is_err(), "{message:?} cut to {length}");
        }
        assert!(Message::decode(&[bytes.as_slice(), &[0]].concat()).is_err(), "{message:?}");
    }
    assert_eq!(Message::decode(&[0]), Err(DecodeError::Kind(0)));
    assert_eq!(Message::decode(&[LAST_KIND + 1]), Err(DecodeError::Kind(LAST_KIND + 1)));
}

#[test]
fn some_bytes_are_fixed() {
    let hex = |message: &Message| data_encoding::HEXLOWER.encode(&message.encode());
    let meet = Meet {
        term: 3,
        wish: Asked::Yes,
        company: Company::Alone,
        sender_first: Some(point(1, 2)),
        receiver_first: None,
    };
    assert_eq!(hex(&Message::Ping), "02");
    assert_eq!(hex(&Message::Deny(Denial::FarAhead)), "0701");
    assert_eq!(hex(&Message::Meet(meet)), "0400000000000000030301000000000000000100000000000000020 0".replace(' ', ""));
    let get = Message::GetFiles { request: 1, name: Some(entry("ab")), offset: 5 };
    assert_eq!(hex(&get), "13000000010100026162000000 05".replace(' ', ""));
    let here = Message::Here { point: point(1, 2), heard: None };
    assert_eq!(hex(&here), "090000000000000001000000000000000200");
}

#[test]
fn a_full_roster_fits_a_message() {
    let name = UserName::new("n".repeat(32)).unwrap();
    let addresses =
        Addresses::new((1..40).map(|port| std::net::SocketAddr::new([0xff; 8].map(|_| 0xfd00_u16).into(), port)));
    let members = (0..MAX_MEMBERS).map(|at| {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&at.to_be_bytes());
        let key = Identity::from_seed(&seed).public_key();
        Member::new(key, StaticKey(seed), name.clone(), addresses.clone())
    });
    let members: Vec<Member> = members.collect();
    let full = Roster { point: point(1, 1), supernode: members[0].id(), members, absent: Vec::new() };
    let network = network_id(&[1; 32]);
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&0_usize.to_be_bytes());
    let sealed = full.seal(&Identity::from_seed(&seed), &network);
    let bytes = Message::Peer { roster: sealed.clone(), heard: None }.encode();
    assert!(bytes.len() <= MAX_MESSAGE, "{}", bytes.len());
    assert!(Message::decode(&bytes).is_ok());
    assert_eq!(Roster::open(&sealed, &network), Ok(full));
}

#[test]
fn what_is_signed_has_one_form() {
    let network = network_id(&[1; 32]);
    let twice = Roster { absent: vec![member(1)], ..roster() };
    let headless = Roster { supernode: peer_id(2), ..roster() };
    let early = Roster { point: point(0, 1), ..roster() };
    let late = Roster { point: point(MAX_TERM + 1, 1), ..roster() };
    for wrong in [twice, headless, early, late] {
        let sealed = wrong.seal(&identity(0), &network);
        assert!(Roster::open(&sealed, &network).is_err(), "{wrong:?}");
    }
    assert_eq!(Roster::open(&sealed(), &network), Ok(roster()));
    assert!(Roster::open(&sealed(), &network_id(&[2; 32])).is_err(), "of another network");
}

proptest! {
    #[test]
    fn bytes_are_a_message_in_its_one_form_or_none(which in 0usize..28, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = examples()[which].encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(message.encode(), bytes);
        }
    }

    #[test]
    fn noise_is_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(message.encode(), bytes);
        }
    }
}
