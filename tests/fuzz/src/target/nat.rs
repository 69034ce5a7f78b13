//! What comes from strangers before there is a connection: STUN, relayed datagrams, and lists of candidates.

use std::net::SocketAddr;
use std::time::Instant;

use common::id::PeerId;
use common::mrt::Route;
use common::nat::{
    Candidate, Candidates, MAX_CANDIDATES, MAX_CANDIDATES_BYTES, MAX_STUN_ANSWER, MAX_TRIED, Origin, StunClient,
    StunMessage, StunProof, TransactionId, is_stun, respond_to_stun, respond_to_stun_with, to_try,
};
use common::relay::{ChannelId, HEAD_LENGTH, Relay, RelayConfig, RelayHead};

use super::{Target, answer, kind_of};

/// A datagram that may be STUN.
pub(super) const STUN: Target = Target {
    name: "stun",
    run: stun,
    seeds: || {
        let request = request();
        let mut plain = request[..20].to_vec();
        plain[3] = 0;
        let answers = [address("192.0.2.1:9"), address("[2001:db8::1]:9")];
        let answers = answers.map(|from| respond_to_stun(&request, from).expect("a good request has an answer"));
        // With attributes: PRIORITY, which is not known, and behind a plain MAPPED-ADDRESS an error code.
        let with = |kind: &[u8], attributes: &[u8]| {
            let length = u8::try_from(attributes.len()).expect("they are few");
            [kind, &[0, length], &plain[4..], attributes].concat()
        };
        let unknown = with(b"\x00\x01", b"\x00\x24\x00\x04\x6e\x00\x01\xff");
        let refused = respond_to_stun(&unknown, address("192.0.2.1:9")).expect("there is one");
        let old = with(b"\x01\x01", b"\x00\x01\x00\x08\x00\x01\x80\x55\xc0\x00\x02\x01");
        let [v4, v6] = answers;
        vec![request, plain.clone(), v4, v6, unknown, refused, old]
    },
    words: &["!\u{12}", "\u{1}\u{1}", "\u{1}\u{11}", "\0 \0\u{8}", "\0\u{9}\0\u{4}", "\0\u{8}\0\u{14}", "\0\u{24}\0\0"],
    memory_base: 4 << 10,
    memory_per_byte: 2,
};

/// From which of four places it comes, a byte, and a datagram to a relay.
pub(super) const RELAY: Target = Target {
    name: "relay",
    run: relay,
    seeds: || {
        let each = (0..4).map(|number: u8| {
            let head = RelayHead { channel: CHANNELS[usize::from(number)] }.encode();
            [&[number], head.as_slice(), b"\x48inside"].concat()
        });
        each.chain([b"\x00\x48not relayed".to_vec()]).collect()
    },
    words: &["P", "PP", "\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}"],
    memory_base: 8 << 10,
    memory_per_byte: 2,
};

/// A list of candidates.
pub(super) const CANDIDATES: Target = Target {
    name: "candidates",
    run: candidates,
    seeds: || {
        let with = |origin| ours().iter().map(|ours| Candidate { origin, ..*ours }).collect();
        let lists = ORIGINS.into_iter().map(with).chain([ours(), Candidates::default()]);
        lists.map(|list| encoded(&list)).collect()
    },
    words: &[
        "\u{1}\u{4}",
        "\u{2}\u{4}",
        "\u{3}\u{6}",
        "\u{4}\u{6}",
        "\u{4}\u{4}\u{7f}\0\0\u{1}",
        "\u{4}\u{4}\u{a}\0\0",
    ],
    memory_base: 4 << 10,
    memory_per_byte: 8,
};

const ORIGINS: [Origin; 4] = [Origin::User, Origin::Stun, Origin::Peer, Origin::Interface];
const CHANNELS: [ChannelId; 4] = [ChannelId(1), ChannelId(2), ChannelId(3), ChannelId(4)];
const SERVER: &str = "198.51.100.1:3478";
const ID: TransactionId = TransactionId([7; 12]);

fn address(text: &str) -> SocketAddr {
    text.parse().expect("it is one")
}

fn request() -> Vec<u8> {
    let now = Instant::now();
    StunClient::new(now, address(SERVER), ID).poll_transmit(now).expect("the first goes out at once")
}

fn stun(input: &[u8]) -> String {
    let decoded = StunMessage::decode(input);
    assert!(decoded.is_err() || is_stun(input), "a message that is not told apart from others");
    let is_request = matches!(decoded, Ok(StunMessage::Request { .. }));
    for from in ["192.0.2.1:9", "[2001:db8::1]:9"].map(address) {
        let response = respond_to_stun_with(input, from, |_token, _address| Some(StunProof([1; 16])));
        assert_eq!(response.is_some(), is_request, "only requests are answered, and all of them");
        let Some(response) = response else { continue };
        assert!(response.len() <= MAX_STUN_ANSWER && response.len() <= input.len() + 24, "an amplification");
        let (StunMessage::Success { id, .. } | StunMessage::Error { id, .. } | StunMessage::Request { id, .. }) =
            StunMessage::decode(&response).expect("our own answer is good");
        assert_eq!(input.get(8..20), Some(id.0.as_slice()));
    }
    let now = Instant::now();
    let mut client = StunClient::new(now, address(SERVER), ID);
    let _request = client.poll_transmit(now);
    assert!(!client.handle_datagram(address("192.0.2.1:9"), input), "it comes from elsewhere");
    let is_answer = client.handle_datagram(address(SERVER), input);
    assert_eq!(is_answer, client.outcome().is_some());
    match decoded {
        Ok(message) => format!("{} {is_answer}", kind_of(&message)),
        Err(_) => answer(&decoded),
    }
}

fn relay(input: &[u8]) -> String {
    let Some((place, datagram)) = input.split_first() else { return "empty".to_owned() };
    let now = Instant::now();
    let mut relay = Relay::new(now, RelayConfig::default());
    let routes = [0, 1, 2, 3].map(|number| Route { socket: 0, remote: SocketAddr::from(([192, 0, 2, number], 9)) });
    let [one, other, third, last] = CHANNELS;
    for (members, channels) in [([1, 2], [one, other]), ([3, 4], [third, last])] {
        let opened = relay.open_pair(now, members.map(|number| PeerId([number; 32])), channels);
        opened.expect("there is room for two");
    }
    for (channel, route) in CHANNELS.into_iter().zip(routes) {
        assert!(relay.set_address(channel, route));
    }
    let from = usize::from(*place) % routes.len();
    let mut rewritten = datagram.to_vec();
    match relay.forward(now, routes[from], &mut rewritten) {
        Ok(to) => {
            let partner = from ^ 1;
            assert_eq!(to, routes[partner], "it goes to the other of the pair");
            let read = RelayHead::decode(&rewritten);
            let inside = datagram.get(HEAD_LENGTH..).expect("it had a head");
            assert_eq!(read, Ok((RelayHead { channel: CHANNELS[partner] }, inside)));
            "forwarded".to_owned()
        }
        Err(dropped) => {
            assert_eq!(rewritten, datagram, "what is dropped stays as it is");
            dropped.to_string()
        }
    }
}

fn ours() -> Candidates {
    let each = ["192.168.1.5:1", "127.0.0.1:1", "203.0.113.9:1", "[2001:db8::1]:1", "[fd00::1]:1"].map(address);
    ORIGINS.into_iter().cycle().zip(each).map(|(origin, address)| Candidate { origin, address }).collect()
}

fn encoded(candidates: &Candidates) -> Vec<u8> {
    let mut out = Vec::new();
    candidates.encode(&mut out);
    out
}

fn candidates(input: &[u8]) -> String {
    let read = Candidates::decode(input);
    let Ok(theirs) = &read else { return answer(&read) };
    assert_eq!(encoded(theirs), input, "a second form");
    assert!(theirs.len() <= MAX_CANDIDATES && input.len() <= MAX_CANDIDATES_BYTES);
    let ours = ours();
    let tried = to_try(&ours, theirs);
    assert!(tried.len() <= MAX_TRIED);
    assert!(tried.iter().all(|address| theirs.contains(*address) && !ours.contains(*address) && address.port() != 0));
    assert!(to_try(theirs, &ours).iter().all(|address| ours.contains(*address)));
    let words = ["none", "one", "two", "some"];
    format!("{} {}", words[theirs.len().min(3)], words[tried.len().min(3)])
}
