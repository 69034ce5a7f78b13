use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::*;

fn list(text: &str) -> Candidates {
    let candidate = |word: &str| {
        let (origin, address) = word.split_once('=').unwrap();
        let origin = match origin {
            "user" => Origin::User,
            "stun" => Origin::Stun,
            "peer" => Origin::Peer,
            "if" => Origin::Interface,
            other => panic!("{other}"),
        };
        Candidate { origin, address: address.parse().unwrap() }
    };
    text.split_whitespace().map(candidate).collect()
}

fn encoded(candidates: &Candidates) -> Vec<u8> {
    let mut out = Vec::new();
    candidates.encode(&mut out);
    out
}

fn tried(mine: &str, theirs: &str) -> Vec<String> {
    to_try(&list(mine), &list(theirs)).iter().map(ToString::to_string).collect()
}

#[test]
fn the_bytes_of_a_list_stay_as_they_are() {
    let candidates = list("if=192.168.1.5:41000 stun=203.0.113.9:4001 if=[2001:db8::9]:41000");
    let hex = "03 02 04cb0071090fa1 04 04c0a80105a028 04 0620010db8000000000000000000000009a028".replace(' ', "");
    assert_eq!(HEXLOWER.encode(&encoded(&candidates)), hex);
    assert_eq!(Candidates::decode(&encoded(&candidates)), Ok(candidates));
    assert_eq!(encoded(&Candidates::default()), [0]);
}

#[test]
fn a_list_has_one_form() {
    let refused = |hex: &str| {
        let bytes = HEXLOWER.decode(hex.replace(' ', "").as_bytes()).unwrap();
        Candidates::decode(&bytes).unwrap_err()
    };
    let [one, other] = ["04c0a80105a028", "04c0a80106a028"];
    assert_eq!(refused(&format!("01 05{one}")), CandidatesError::Kind);
    assert_eq!(refused("01 04 05c0a80105a028"), CandidatesError::Kind);
    assert_eq!(refused(&format!("02 04{one} 04{one}")), CandidatesError::Refused, "twice");
    assert_eq!(refused(&format!("02 04{one} 02{one}")), CandidatesError::Refused, "twice, the second time better");
    assert_eq!(refused(&format!("02 04{one} 02{other}")), CandidatesError::Refused, "the wrong order");
    assert_eq!(refused("01 04 04c0a801050000"), CandidatesError::Refused, "port 0");
    assert_eq!(refused("01 04 04000000000001"), CandidatesError::Refused, "unspecified");
    assert_eq!(refused("01 04 06 00000000000000000000ffffc0a80105 0001"), CandidatesError::Refused, "mapped");
    assert_eq!(refused(&format!("01 04{one}00")), CandidatesError::Read(ReadError::Trailing(1)));
    assert_eq!(refused(&format!("02 04{one}")), CandidatesError::Read(ReadError::Short));
    assert_eq!(refused("03 0104c0a801010001 0104c0a801020001 0104c0a801030001"), CandidatesError::Refused, "too many");
}

#[test]
fn nonsense_and_more_than_enough_is_left_out() {
    let mut candidates = Candidates::default();
    for nonsense in
        ["0.0.0.0:1", "192.0.2.1:0", "224.0.0.1:1", "255.255.255.255:1", "[::]:1", "[ff02::1]:1", "[fe80::1]:1"]
    {
        assert!(!candidates.add(Origin::Interface, nonsense.parse().unwrap()), "{nonsense}");
    }
    for number in 1..=20 {
        let address = format!("10.0.0.{number}:1").parse().unwrap();
        assert_eq!(candidates.add(Origin::Interface, address), number <= 8, "{number}");
    }
    let mapped = "[::ffff:203.0.113.9]:7".parse().unwrap();
    assert!(candidates.add(Origin::Peer, mapped));
    assert!(candidates.contains("203.0.113.9:7".parse().unwrap()), "in its canonical form");
    assert_eq!(candidates.iter().map(|candidate| candidate.origin).next(), Some(Origin::Peer), "the surer ones first");
}

#[test]
fn an_address_is_there_once_with_its_best_origin() {
    let mut candidates = list("if=203.0.113.9:7 if=10.0.0.1:7");
    assert!(candidates.add(Origin::Stun, "203.0.113.9:7".parse().unwrap()));
    assert!(!candidates.add(Origin::Peer, "203.0.113.9:7".parse().unwrap()));
    assert_eq!(candidates, list("stun=203.0.113.9:7 if=10.0.0.1:7"));
    candidates.forget(Origin::Stun);
    assert_eq!(candidates, list("if=10.0.0.1:7"));
}

#[test]
fn private_addresses_are_tried_behind_the_same_nat_only() {
    let theirs = "stun=203.0.113.9:2 if=10.1.2.3:2";
    assert_eq!(tried("stun=203.0.113.9:1 if=10.7.7.7:1", theirs), ["10.1.2.3:2", "203.0.113.9:2"]);
    assert_eq!(tried("stun=203.0.113.8:1 if=10.7.7.7:1", theirs), ["203.0.113.9:2"]);
    // An interface of ours is in the same network, whatever can be seen from outside.
    assert_eq!(tried("stun=203.0.113.8:1 if=10.1.2.9:1", theirs), ["10.1.2.3:2", "203.0.113.9:2"]);
}

#[test]
fn in_a_network_without_outside_the_addresses_that_were_seen_are_tried() {
    let theirs = "peer=10.1.2.3:2 if=10.1.2.3:2 if=172.17.0.1:2";
    assert_eq!(tried("peer=10.9.9.9:1 if=10.9.9.9:1", theirs), ["10.1.2.3:2"]);
    assert_eq!(tried("stun=203.0.113.8:1 if=10.9.9.9:1", theirs), Vec::<String>::new());
}

#[test]
fn loopback_is_tried_where_both_were_seen_there() {
    let theirs = "peer=127.0.0.1:2 if=192.168.1.5:2";
    assert_eq!(tried("peer=127.0.0.1:1 if=192.168.1.5:1", theirs), ["127.0.0.1:2", "192.168.1.5:2"]);
    assert_eq!(tried("peer=192.168.1.6:1 if=192.168.1.6:1", theirs), ["192.168.1.5:2"]);
    assert_eq!(tried("peer=127.0.0.1:1", "if=127.0.0.1:2 user=127.0.0.1:3"), Vec::<String>::new());
}

#[test]
fn only_families_that_we_have_are_tried_and_ipv6_first() {
    let theirs = "stun=203.0.113.9:2 if=[2001:db8:1::9]:2";
    assert_eq!(tried("if=10.0.0.1:1", theirs), ["203.0.113.9:2"]);
    assert_eq!(tried("if=10.0.0.1:1 if=[2001:db8:2::1]:1", theirs), ["[2001:db8:1::9]:2", "203.0.113.9:2"]);
    assert_eq!(tried("if=[2001:db8:1::1]:1", theirs), ["[2001:db8:1::9]:2"]);
}

#[test]
fn what_the_user_says_is_tried_and_our_own_address_is_not() {
    assert_eq!(tried("if=10.0.0.1:1", "user=10.9.9.9:2 stun=203.0.113.9:2"), ["10.9.9.9:2", "203.0.113.9:2"]);
    assert_eq!(tried("stun=203.0.113.9:1", "stun=203.0.113.9:1 user=203.0.113.9:2"), ["203.0.113.9:2"]);
}

#[test]
fn no_list_makes_us_try_many() {
    let theirs: Vec<_> = (1..=8).map(|number| format!("if=203.0.113.{number}:2")).collect();
    let theirs = format!("{} stun=198.51.100.1:1 stun=198.51.100.2:1 user=198.51.100.3:1", theirs.join(" "));
    assert_eq!(tried("if=10.0.0.1:1", &theirs).len(), MAX_TRIED);
}

fn address() -> impl Strategy<Value = SocketAddr> {
    let v4 = (prop_oneof![Just([127, 0, 0, 1]), Just([10, 0, 0, 1]), any::<[u8; 4]>()], any::<u16>());
    let v6 = (any::<[u8; 16]>(), 0_u16..3);
    prop_oneof![v4.prop_map(SocketAddr::from), v6.prop_map(SocketAddr::from)]
}

fn candidates() -> impl Strategy<Value = Candidates> {
    let candidate = (prop::sample::select(Origin::ALL.to_vec()), address());
    let candidate = candidate.prop_map(|(origin, address)| Candidate { origin, address });
    prop::collection::vec(candidate, 0..30).prop_map(|each| each.into_iter().collect())
}

proptest! {
    #[test]
    fn lists_come_back_as_they_were(candidates in candidates(), damage in any::<(usize, u8)>()) {
        let mut bytes = encoded(&candidates);
        prop_assert!(candidates.len() <= MAX_CANDIDATES && bytes.len() <= MAX_CANDIDATES_BYTES);
        prop_assert_eq!(Candidates::decode(&bytes), Ok(candidates));
        let at = damage.0 % bytes.len();
        bytes[at] ^= damage.1;
        if let Ok(read) = Candidates::decode(&bytes) {
            prop_assert_eq!(encoded(&read), bytes);
        }
    }

    #[test]
    fn what_is_tried_is_theirs_and_not_ours(mine in candidates(), theirs in candidates()) {
        let tried = to_try(&mine, &theirs);
        prop_assert!(tried.len() <= MAX_TRIED);
        for (number, address) in tried.iter().enumerate() {
            prop_assert!(theirs.contains(*address) && !mine.contains(*address));
            prop_assert!(!tried[..number].contains(address));
        }
    }
}
