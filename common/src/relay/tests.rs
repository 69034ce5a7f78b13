use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::*;
use crate::id::PeerId;
use crate::mrt::tests::clock;
use crate::mrt::{RELY, Route};
use crate::reader::ReadError;

const ANNA: PeerId = PeerId([1; 32]);
const BEN: PeerId = PeerId([2; 32]);
const CARL: PeerId = PeerId([3; 32]);
const LEFT: ChannelId = ChannelId(0x0102_0304_0506_0708);
const RIGHT: ChannelId = ChannelId(0x1112_1314_1516_1718);

fn route(number: u8) -> Route {
    Route { socket: 0, remote: SocketAddr::from(([192, 0, 2, number], 4000)) }
}

fn relayed(channel: ChannelId, inner: &[u8]) -> Vec<u8> {
    [RelayHead { channel }.encode().as_slice(), inner].concat()
}

/// A relay with a pair of Anna and Ben, whose addresses are known.
fn relay(now: Instant) -> Relay {
    let mut relay = Relay::new(now, RelayConfig::default());
    relay.open_pair(now, [ANNA, BEN], [LEFT, RIGHT]).unwrap();
    assert!(relay.set_address(LEFT, route(1)) && relay.set_address(RIGHT, route(2)));
    relay
}

#[test]
fn the_bytes_of_the_head_stay_as_they_are() {
    let datagram = relayed(LEFT, b"\x48inner");
    assert_eq!(HEXLOWER.encode(&datagram), "500102030405060708".to_owned() + "48696e6e6572");
    assert_eq!(RelayHead::decode(&datagram), Ok((RelayHead { channel: LEFT }, b"\x48inner".as_slice())));
    assert!(RelayHead::is_in_front_of(&datagram) && !RelayHead::is_in_front_of(b"\x48") && datagram[0] == RELY);
    assert_eq!(datagram.len(), HEAD_LENGTH + 6);
}

#[test]
fn a_head_without_a_datagram_or_with_another_head_is_none() {
    let whole = relayed(LEFT, b"x");
    for length in 0..whole.len() {
        assert_eq!(RelayHead::decode(&whole[..length]), Err(HeadError::Read(ReadError::Short)), "{length} bytes");
    }
    assert_eq!(RelayHead::decode(&relayed(LEFT, &relayed(RIGHT, b"x"))), Err(HeadError::Nested));
    assert_eq!(RelayHead::decode(b"\x48012345678"), Err(HeadError::Kind));
}

#[test]
fn what_one_sends_comes_to_the_other_and_back() {
    let now = clock::start();
    let mut relay = relay(now);
    let (mut there, mut back) = (relayed(LEFT, b"hello"), relayed(RIGHT, b"hi"));
    assert_eq!(relay.forward(now, route(1), &mut there), Ok(route(2)));
    assert_eq!(there, relayed(RIGHT, b"hello"));
    assert_eq!(relay.forward(now, route(2), &mut back), Ok(route(1)));
    assert_eq!(back, relayed(LEFT, b"hi"));
    let info = relay.pairs().next().unwrap();
    assert_eq!((info.members, info.channels, info.bytes), ([ANNA, BEN], [LEFT, RIGHT], [5, 2]));
    assert_eq!(relay.totals(), Totals { datagrams: 2, bytes: 7, ..Totals::default() });
}

#[test]
fn who_has_not_answered_is_not_buried() {
    let now = clock::start();
    let config = RelayConfig { max_unanswered: 2_000, ..RelayConfig::default() };
    let mut relay = Relay::new(now, config);
    relay.open_pair(now, [ANNA, BEN], [LEFT, RIGHT]).unwrap();
    assert!(relay.set_address(LEFT, route(1)) && relay.set_address(RIGHT, route(2)));
    let send = |relay: &mut Relay| relay.forward(now, route(1), &mut relayed(LEFT, &[0x48; 1_000]));
    assert_eq!([(); 3].map(|()| send(&mut relay)), [Ok(route(2)), Ok(route(2)), Err(Dropped::Unanswered)]);
    assert_eq!(relay.totals().unanswered, 1);
    relay.forward(now, route(2), &mut relayed(RIGHT, b"\x48")).unwrap();
    assert!((0..10).all(|_| send(&mut relay).is_ok()), "they talk");
}

#[test]
fn nothing_is_sent_for_strangers() {
    let now = clock::start();
    let mut relay = relay(now);
    let elsewhere = Route { socket: 1, ..route(1) };
    for (from, channel, why) in [
        (route(3), LEFT, Dropped::WrongAddress),
        (route(2), LEFT, Dropped::WrongAddress),
        (elsewhere, LEFT, Dropped::WrongAddress),
        (route(1), ChannelId(7), Dropped::UnknownChannel),
    ] {
        let mut datagram = relayed(channel, b"hello");
        assert_eq!(relay.forward(now, from, &mut datagram), Err(why));
        assert_eq!(datagram, relayed(channel, b"hello"), "it stays as it was");
    }
    assert_eq!(relay.forward(now, route(1), &mut []), Err(Dropped::Head(HeadError::Read(ReadError::Short))));
    let totals = relay.totals();
    assert_eq!((totals.datagrams, totals.foreign, totals.malformed), (0, 4, 1));
}

#[test]
fn nothing_passes_until_both_addresses_are_known() {
    let now = clock::start();
    let mut relay = Relay::new(now, RelayConfig::default());
    relay.open_pair(now, [ANNA, BEN], [LEFT, RIGHT]).unwrap();
    assert_eq!(relay.forward(now, route(1), &mut relayed(LEFT, b"x")), Err(Dropped::WrongAddress));
    relay.set_address(LEFT, route(1));
    assert_eq!(relay.forward(now, route(1), &mut relayed(LEFT, b"x")), Err(Dropped::Unreachable));
    relay.move_member(BEN, route(2));
    assert_eq!(relay.forward(now, route(1), &mut relayed(LEFT, b"x")), Ok(route(2)));
    // A member that moves is followed, and what comes from its old place is not its own any more.
    relay.move_member(ANNA, route(9));
    assert_eq!(relay.forward(now, route(1), &mut relayed(LEFT, b"x")), Err(Dropped::WrongAddress));
    assert_eq!(relay.forward(now, route(2), &mut relayed(RIGHT, b"x")), Ok(route(9)));
    assert!(!relay.set_address(ChannelId(7), route(1)));
}

#[test]
fn pairs_are_of_two_and_bounded() {
    let now = clock::start();
    let rate = NonZeroU64::new(1 << 20).unwrap();
    let config = RelayConfig { max_pairs: 3, max_pairs_of_member: 2, ..RelayConfig::new(rate) };
    let mut relay = Relay::new(now, config);
    let mut ids = (0_u64..).map(ChannelId);
    let mut open = |relay: &mut Relay, one: u8, other: u8| {
        let ids = [ids.next().unwrap(), ids.next().unwrap()];
        relay.open_pair(now, [PeerId([one; 32]), PeerId([other; 32])], ids)
    };
    assert_eq!(open(&mut relay, 1, 1), Err(OpenError::OneMember));
    assert_eq!(open(&mut relay, 1, 2), Ok(()));
    assert_eq!(open(&mut relay, 2, 1), Err(OpenError::Exists));
    assert_eq!(open(&mut relay, 1, 3), Ok(()));
    assert_eq!(open(&mut relay, 4, 1), Err(OpenError::MemberFull(PeerId([1; 32]))));
    assert_eq!(open(&mut relay, 4, 5), Ok(()));
    assert_eq!(open(&mut relay, 6, 7), Err(OpenError::Full));
    let [one, three] = [1, 3].map(|number| PeerId([number; 32]));
    let channels = relay.channels_between(one, three).unwrap();
    assert_eq!(relay.channels_between(three, one), Some([channels[1], channels[0]]));
    // A place that becomes free is used again, and old ids lead nowhere.
    assert_eq!(relay.close(channels[0]).unwrap().members, [one, three]);
    assert_eq!(relay.close(channels[1]), None);
    assert_eq!(relay.channels_between(one, three), None);
    assert_eq!(open(&mut relay, 6, 7), Ok(()));
    relay.set_address(channels[0], route(1));
    assert_eq!(relay.forward(now, route(1), &mut relayed(channels[0], b"x")), Err(Dropped::UnknownChannel));
}

#[test]
fn a_channel_id_is_used_once() {
    let now = clock::start();
    let mut relay = relay(now);
    for ids in [[LEFT, ChannelId(5)], [ChannelId(5), RIGHT], [ChannelId(5); 2]] {
        assert_eq!(relay.open_pair(now, [ANNA, CARL], ids), Err(OpenError::IdInUse));
    }
}

#[test]
fn all_pairs_of_who_leaves_end() {
    let now = clock::start();
    let mut relay = relay(now);
    relay.open_pair(now, [CARL, ANNA], [ChannelId(5), ChannelId(6)]).unwrap();
    relay.open_pair(now, [CARL, BEN], [ChannelId(7), ChannelId(8)]).unwrap();
    let ended: Vec<_> = relay.remove_member(ANNA).into_iter().map(|pair| pair.members).collect();
    assert_eq!(ended, [[ANNA, BEN], [CARL, ANNA]]);
    assert_eq!(relay.pairs().map(|pair| pair.members).collect::<Vec<_>>(), [[CARL, BEN]]);
    assert_eq!(relay.remove_member(ANNA), []);
}

#[test]
fn a_pair_that_one_of_the_two_does_not_use_ends() {
    let begin = clock::start();
    let mut relay = relay(begin);
    relay.open_pair(begin, [CARL, ANNA], [ChannelId(5), ChannelId(6)]).unwrap();
    relay.move_member(ANNA, route(1));
    assert_eq!(relay.poll_timeout(), Some(begin + CHANNEL_IDLE));
    let used = begin + CHANNEL_IDLE / 2;
    assert_eq!(relay.forward(used, route(1), &mut relayed(LEFT, b"x")), Ok(route(2)));
    assert_eq!(relay.forward(used, route(2), &mut relayed(RIGHT, b"x")), Ok(route(1)));
    // Anna talks to Carl, who says nothing.
    let _unreachable = relay.forward(used, route(1), &mut relayed(ChannelId(6), b"x"));
    let early = begin + CHANNEL_IDLE - Duration::from_millis(1);
    assert_eq!(relay.handle_timeout(early), []);
    let ended: Vec<_> = relay.handle_timeout(begin + CHANNEL_IDLE).into_iter().map(|pair| pair.members).collect();
    assert_eq!(ended, [[CARL, ANNA]]);
    assert_eq!(relay.poll_timeout(), Some(used + CHANNEL_IDLE));
    assert_eq!(relay.handle_timeout(used + CHANNEL_IDLE).len(), 1);
    assert_eq!((relay.poll_timeout(), relay.pairs().count()), (None, 0));
}

#[test]
fn a_pair_that_one_alone_sends_through_makes_room() {
    let begin = clock::start();
    let mut relay = relay(begin);
    let unused_for = Duration::from_secs(10);
    let make_room = |relay: &mut Relay, secs, member: PeerId| {
        let in_the_way = |pair: &PairInfo| pair.members.contains(&member);
        relay.close_unused(begin + Duration::from_secs(secs), unused_for, in_the_way).map(|pair| pair.channels)
    };
    relay.forward(begin + Duration::from_secs(9), route(1), &mut relayed(LEFT, b"x")).unwrap();
    assert_eq!(make_room(&mut relay, 9, ANNA), None, "it may be about to be used");
    relay.renew_pair(begin + Duration::from_secs(5), [ANNA, BEN]).unwrap();
    assert_eq!(make_room(&mut relay, 14, ANNA), None, "it was asked for again");
    assert_eq!(make_room(&mut relay, 15, CARL), None, "it is not in the way");
    assert_eq!(make_room(&mut relay, 15, ANNA), Some([LEFT, RIGHT]));
    relay.open_pair(begin, [ANNA, BEN], [LEFT, RIGHT]).unwrap();
    assert!(relay.set_address(LEFT, route(1)) && relay.set_address(RIGHT, route(2)));
    for (from, channel) in [(route(1), LEFT), (route(2), RIGHT)] {
        relay.forward(begin, from, &mut relayed(channel, b"x")).unwrap();
    }
    assert_eq!(make_room(&mut relay, 60, ANNA), None, "both use it");
    relay.lose_member(BEN);
    assert_eq!(make_room(&mut relay, 9, ANNA), None, "it may come back");
    assert_eq!(make_room(&mut relay, 10, ANNA), Some([LEFT, RIGHT]));
}

#[test]
fn who_is_full_of_idle_pairs_that_others_asked_for_gets_room() {
    let begin = clock::start();
    let mut relay = Relay::new(begin, RelayConfig::default());
    let peer = |number| PeerId([number; 32]);
    let channels = |number: u8| [0, 100].map(|side| ChannelId(u64::from(side + number)));
    // Anna asked for the first; the others asked for Anna, and one of them for Ben, too.
    for (number, members) in
        (0..).zip([[ANNA, BEN], [peer(10), ANNA], [peer(11), ANNA], [peer(12), ANNA], [peer(12), BEN]])
    {
        relay.open_pair(begin, members, channels(number)).unwrap();
        for (channel, end) in channels(number).into_iter().zip([1, 2]) {
            assert!(relay.set_address(channel, route(end)));
        }
    }
    let at = |secs| begin + Duration::from_secs(secs);
    let send = |relay: &mut Relay, secs, number, bytes| {
        let [channel, _] = channels(number);
        relay.forward(at(secs), route(1), &mut relayed(channel, &vec![7; bytes])).unwrap();
    };
    let close = |relay: &mut Relay, secs, full| {
        relay.close_idle(at(secs), Duration::from_secs(10), full).map(|pair| pair.channels)
    };
    let full = OpenError::MemberFull(ANNA);
    assert_eq!(close(&mut relay, 9, full), None, "they have just begun");
    for secs in 10..60 {
        send(&mut relay, secs, 1, 200);
        send(&mut relay, secs, 2, 9_000);
    }
    assert_eq!(close(&mut relay, 60, OpenError::IdInUse), None);
    assert_eq!(close(&mut relay, 60, full), Some(channels(3)), "its other end has one more");
    assert_eq!(close(&mut relay, 60, full), Some(channels(1)), "it is kept alive and no more");
    assert_eq!(close(&mut relay, 60, full), None, "much goes through one, and Anna asked for the other");
    assert_eq!(close(&mut relay, 60, OpenError::Full), Some(channels(0)), "both have others");
    assert_eq!(close(&mut relay, 60, OpenError::Full), None, "each is the only one of somebody");
}

#[test]
fn a_pair_that_is_asked_for_again_is_the_same_and_lasts_longer() {
    let begin = clock::start();
    let mut relay = relay(begin);
    assert_eq!(relay.renew_pair(begin, [ANNA, CARL]), None, "there is none");
    let again = begin + CHANNEL_IDLE / 2;
    assert_eq!(relay.renew_pair(again, [ANNA, BEN]), Some([LEFT, RIGHT]));
    assert_eq!(relay.renew_pair(again, [BEN, ANNA]), Some([RIGHT, LEFT]));
    assert_eq!(relay.handle_timeout(begin + CHANNEL_IDLE), []);
    assert_eq!(relay.handle_timeout(again + CHANNEL_IDLE).len(), 1);
}

#[test]
fn nothing_passes_for_who_is_lost_until_it_is_back() {
    let now = clock::start();
    let mut relay = relay(now);
    relay.lose_member(ANNA);
    assert_eq!(relay.forward(now, route(2), &mut relayed(RIGHT, b"x")), Err(Dropped::Unreachable));
    assert_eq!(relay.forward(now, route(1), &mut relayed(LEFT, b"x")), Err(Dropped::WrongAddress));
    relay.move_member(ANNA, route(3));
    assert_eq!(relay.forward(now, route(2), &mut relayed(RIGHT, b"x")), Ok(route(3)));
}

#[test]
fn what_is_over_the_quota_is_dropped_and_counted() {
    let now = clock::start();
    let mut relay = relay(now);
    let passed = (0..100_000).filter(|_| relay.forward(now, route(1), &mut relayed(LEFT, &[7; 1200])).is_ok()).count();
    let info = relay.pairs().next().unwrap();
    assert!((100..4000).contains(&passed), "{passed}");
    assert_eq!((info.over_quota, info.bytes), (100_000 - passed as u64, [passed as u64 * 1200, 0]));
    assert_eq!(relay.totals().over_quota, info.over_quota);
    let later = now + Duration::from_secs(1);
    assert_eq!(relay.forward(later, route(1), &mut relayed(LEFT, &[7; 1200])), Ok(route(2)));
}

/// Who, the channels, and where they are.
type ModelPair = ([PeerId; 2], [ChannelId; 2], [Option<Route>; 2]);

/// What is done to a relay in a random run.
#[derive(Debug, Clone)]
enum Step {
    Open(u8, u8),
    Close(u8),
    Leave(u8),
    Move(u8, u8),
    Forward { from: u8, channel: u8 },
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let member = 0_u8..6;
    prop_oneof![
        (member.clone(), member.clone()).prop_map(|(one, other)| Step::Open(one, other)),
        any::<u8>().prop_map(Step::Close),
        member.clone().prop_map(Step::Leave),
        (member, 0_u8..8).prop_map(|(member, place)| Step::Move(member, place)),
        (0_u8..8, any::<u8>()).prop_map(|(from, channel)| Step::Forward { from, channel }),
        (0_u64..100).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Against a list of pairs that is searched from front to back.
    #[test]
    fn the_table_does_what_a_list_would(steps in prop::collection::vec(step(), 1..200)) {
        let mut now = clock::start();
        let mut relay = Relay::new(now, RelayConfig::default());
        let mut model: Vec<ModelPair> = Vec::new();
        let mut next_id = 0;
        for step in steps {
            match step {
                Step::Open(one, other) => {
                    let members = [one, other].map(|number| PeerId([number; 32]));
                    let ids = [ChannelId(next_id), ChannelId(next_id + 1)];
                    next_id += 2;
                    if relay.open_pair(now, members, ids).is_ok() {
                        model.push((members, ids, [None; 2]));
                    }
                }
                Step::Close(number) => {
                    let channel = ChannelId(u64::from(number) % (next_id + 1));
                    let closed = relay.close(channel).map(|pair| pair.members);
                    let at = model.iter().position(|(_, ids, _)| ids.contains(&channel));
                    prop_assert_eq!(closed, at.map(|at| model.remove(at).0));
                }
                Step::Leave(member) => {
                    let member = PeerId([member; 32]);
                    let ended = relay.remove_member(member).len();
                    let before = model.len();
                    model.retain(|(members, ..)| !members.contains(&member));
                    prop_assert_eq!(ended, before - model.len());
                }
                Step::Move(member, place) => {
                    let member = PeerId([member; 32]);
                    relay.move_member(member, route(place));
                    for (members, _, places) in &mut model {
                        let ends = members.iter().zip(places).filter(|(other, _)| **other == member);
                        ends.for_each(|(_, at)| *at = Some(route(place)));
                    }
                }
                Step::Forward { from, channel } => {
                    let channel = ChannelId(u64::from(channel) % (next_id + 1));
                    let expected = model.iter().find_map(|(_, ids, places)| {
                        let at = ids.iter().position(|id| *id == channel)?;
                        let to = (places[at] == Some(route(from))).then_some(places[1 - at])??;
                        Some((to, ids[1 - at]))
                    });
                    let mut datagram = relayed(channel, b"x");
                    let forwarded = relay.forward(now, route(from), &mut datagram).ok();
                    prop_assert_eq!(forwarded, expected.map(|(to, _)| to));
                    let written = expected.map_or(channel, |(_, id)| id);
                    prop_assert_eq!(datagram, relayed(written, b"x"));
                }
                Step::Wait(secs) => {
                    now += Duration::from_secs(secs);
                    for ended in relay.handle_timeout(now) {
                        prop_assert!(ended.last_sent.iter().any(|sent| *sent + CHANNEL_IDLE <= now));
                        model.retain(|(members, ..)| *members != ended.members);
                    }
                }
            }
            let pairs: Vec<_> = relay.pairs().map(|pair| (pair.members, pair.channels)).collect();
            prop_assert_eq!(pairs.len(), model.len());
            prop_assert!(model.iter().all(|(members, ids, _)| pairs.contains(&(*members, *ids))));
            prop_assert!(pairs.is_empty() || relay.poll_timeout().is_some());
        }
    }
}
