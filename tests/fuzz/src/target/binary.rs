//! Decoders of bytes.

use std::collections::BTreeSet;

use common::audience::{Audience, OfferId};
use common::bitmap::Bitmap;
use common::id::{Content, FileId, FolderId, Hash, NetworkId, PeerId};
use common::identity::{Identity, PublicKey};
use common::manifest::{Entry, EntryKind, Manifest};
use common::merkle::ChunkHashes;
use common::reader::Reader;
use common::ticket::Ticket;
use common::wire::FRAME_HEADER;
use common::wire::peer::{Message, Opener, Reason};

use super::{Target, answer, kind_of};

/// Four bytes of length, then the bitmap or its hex.
pub(super) const BITMAP: Target = Target {
    name: "bitmap",
    run: bitmap,
    seeds: || {
        [(10, b"\x80\x40".as_slice()), (0, b""), (7, b"\xfe"), (10, b"8040"), (1 << 19, b"")]
            .map(|(length, rest): (u32, &[u8])| [length.to_be_bytes().as_slice(), rest].concat())
            .to_vec()
    },
    words: &["ff", "00", "80", "0"],
    memory_base: 4 << 10,
    // The runs of chunks are up to 4 a byte, of 8 bytes each, in a list that doubles.
    memory_per_byte: 128,
};

/// Eight bytes of length, a root, chunk hashes.
pub(super) const HASHES: Target = Target {
    name: "hashes",
    run: hashes,
    seeds: || {
        let mut hasher = common::merkle::FileHasher::new(40_000).expect("not over 8 TiB");
        hasher.update(&[7; 40_000]);
        let hashes = hasher.finish().expect("the length fits");
        let layer = hashes.as_slice().iter().flat_map(|hash| hash.0);
        let id = hashes.file_id();
        vec![id.length().to_be_bytes().into_iter().chain(id.root().0).chain(layer).collect()]
    },
    words: &[],
    memory_base: 4 << 10,
    memory_per_byte: 8,
};

/// A key as DER, a signature, and what was signed.
pub(super) const KEY: Target = Target {
    name: "key",
    run: key,
    seeds: || {
        let identity = signer();
        let signature = identity.sign(b"message");
        vec![[identity.public_key().to_spki_der().as_slice(), &signature, b"message"].concat()]
    },
    words: &["\u{1}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}"],
    memory_base: 4 << 10,
    memory_per_byte: 4,
};

/// A manifest.
pub(super) const MANIFEST: Target = Target {
    name: "manifest",
    run: manifest,
    seeds: || {
        let file = FileId::new(107_330, Hash([0xcd; 32])).expect("not over 8 TiB");
        let entry = |path: &str, kind| Entry { path: path.to_owned(), mode: 0o644, kind };
        let entries = vec![
            entry("a", EntryKind::File(file)),
            entry("b/c", EntryKind::EmptyDirectory),
            entry("b/d/e", EntryKind::File(file)),
        ];
        [Vec::new(), entries].map(|entries| Manifest::new(entries).expect("they are in nobody's way").encode()).to_vec()
    },
    words: &["shoal-manifest-v1", "/", "..", "\u{0}\u{1}a", "NUL"],
    memory_base: 4 << 10,
    // An entry of 8 bytes is some 80 in a list, and its name is in a set.
    memory_per_byte: 64,
};

/// The body of a frame between peers.
pub(super) const PEER_MESSAGE: Target = Target {
    name: "peer_message",
    run: peer_message,
    seeds: || messages().iter().map(body_of).collect(),
    words: &["\u{1}", "\u{6}", "\u{7}", "\u{9}", "\u{c}", "\u{f}", "\u{13}"],
    memory_base: 4 << 10,
    memory_per_byte: 8,
};

/// What to read, a byte for each step, then a 0 and what it is read from.
pub(super) const READER: Target = Target {
    name: "reader",
    run: reader,
    seeds: || vec![b"\x01\x02\x03\x04\x05\x06\x00abcdefghijklmnopqrstuvwxyz0123456789".to_vec()],
    words: &[],
    memory_base: 4 << 10,
    memory_per_byte: 0,
};

/// A ticket without its signature, which the target adds: a broken signature hides everything behind it.
pub(super) const TICKET: Target = Target {
    name: "ticket",
    run: ticket,
    seeds: || {
        let entry = Audience::Entry("jane/doug.png".parse().expect("it is one"));
        let mut tickets = [Audience::Public, Audience::Offer(OfferId(7)), entry].map(whole_ticket).to_vec();
        tickets.push(Ticket { swarm: folder(), ..whole_ticket(Audience::Public) });
        let unsigned = |ticket: Ticket| {
            let mut bytes = ticket.sign(&signer());
            bytes.truncate(bytes.len() - common::identity::SIGNATURE_LENGTH);
            bytes
        };
        tickets.into_iter().map(unsigned).collect()
    },
    words: &["shoal-ticket-v1"],
    memory_base: 4 << 10,
    memory_per_byte: 8,
};

fn signer() -> Identity {
    Identity::from_seed(&[1; 32])
}

fn folder() -> Content {
    let manifest = FileId::new(9, Hash([1; 32])).expect("not over 8 TiB");
    FolderId::new(manifest, 3).expect("not over 2^20 chunks").into()
}

fn whole_ticket(audience: Audience) -> Ticket {
    let swarm = FileId::new(107_330, Hash([0xcd; 32])).expect("not over 8 TiB");
    Ticket {
        network: NetworkId(signer().peer_id().0),
        audience,
        swarm: swarm.into(),
        holder: signer().public_key(),
        not_before_ms: 1_700_000_000_000,
        expires_ms: 1_700_003_600_000,
    }
}

fn bitmap(input: &[u8]) -> String {
    let mut reader = Reader::new(input);
    let Ok(length) = reader.u32() else {
        return "short".to_owned();
    };
    let rest = reader.rest();
    let bitmap = Bitmap::from_bytes(length, rest);
    if let Ok(bitmap) = &bitmap {
        assert_eq!(bitmap.as_bytes(), rest);
        assert_eq!(Bitmap::from_hex(length, &bitmap.to_hex()).as_ref(), Ok(bitmap));
        let in_runs: u32 = bitmap.runs().iter().map(|(first, last)| last - first + 1).sum();
        assert_eq!((in_runs, bitmap.is_full()), (bitmap.count(), bitmap.count() == length));
        assert!(bitmap.iter().chain(bitmap.missing()).count() == length as usize);
    }
    let Ok(text) = str::from_utf8(rest) else {
        return answer(&bitmap);
    };
    let from_hex = Bitmap::from_hex(length, text);
    if let Ok(bitmap) = &from_hex {
        assert_eq!(bitmap.to_hex(), text);
    }
    [answer(&bitmap), answer(&from_hex)].join(", ")
}

fn hashes(input: &[u8]) -> String {
    let mut reader = Reader::new(input);
    let (Ok(length), Ok(root)) = (reader.u64(), reader.array()) else {
        return "short".to_owned();
    };
    let id = match FileId::new(length, Hash(root)) {
        Ok(id) => id,
        Err(error) => return error.to_string(),
    };
    let mut layer = Vec::with_capacity(reader.left() / 32);
    while let Ok(hash) = reader.array() {
        layer.push(Hash(hash));
    }
    let checked = ChunkHashes::checked(&id, layer);
    if let Ok(checked) = &checked {
        assert_eq!(checked.file_id(), id);
    }
    answer(&checked)
}

fn key(input: &[u8]) -> String {
    const DER_LENGTH: usize = 44;
    let (der, rest) = input.split_at(input.len().min(DER_LENGTH));
    let key = PublicKey::from_spki_der(der);
    let Ok(key) = key else {
        return answer(&key);
    };
    assert_eq!(key.to_spki_der(), der);
    let mut reader = Reader::new(rest);
    let Ok(signature) = reader.array() else {
        return "short".to_owned();
    };
    let message = reader.rest();
    let verified = key.verify(message, &signature);
    let is_honest = key == signer().public_key() && message == b"message" && signature == signer().sign(message);
    assert!(key != signer().public_key() || verified.is_ok() == is_honest, "a forged signature counts");
    answer(&verified)
}

fn manifest(input: &[u8]) -> String {
    let read = Manifest::decode(input);
    if let Ok(manifest) = &read {
        assert_eq!(manifest.encode(), input, "a second form");
        let count: u32 =
            manifest.files().map(|(number, ..)| manifest.layout().chunks_of(number)).map(|c| c.end - c.start).sum();
        assert_eq!(count, manifest.folder_id().chunks());
    }
    answer(&read)
}

fn messages() -> Vec<Message> {
    let content = FileId::new(5, Hash([0xab; 32])).expect("not over 8 TiB").into();
    let (conversation, chunk) = (7, 6);
    vec![
        Message::Hello { version: 1, network: NetworkId([7; 32]), port: 9 },
        Message::Open { conversation, content, ticket: whole_ticket(Audience::Public).sign(&signer()) },
        Message::Open { conversation, content: folder(), ticket: whole_ticket(Audience::Public).sign(&signer()) },
        Message::Opened { conversation, complete: true },
        Message::Refused { conversation, reason: Reason::Ticket, text: "no".to_owned() },
        Message::Close { conversation },
        Message::Map { conversation, opener: Opener::Receiver, first: 8, bits: vec![0x80, 1] },
        Message::Have { conversation, opener: Opener::Sender, chunks: vec![3, 4] },
        Message::GetHashes { conversation, first: 1, count: 2 },
        Message::Hashes { conversation, first: 1, hashes: vec![Hash([0xab; 32])] },
        Message::Request { conversation, chunk },
        Message::Cancel { conversation, chunk },
        Message::Piece { conversation, chunk, offset: 1, length: 2 },
        Message::Queued { conversation },
        Message::Unavailable { conversation, chunk },
        Message::Suggest { conversation, chunks: vec![1] },
        Message::Bad { conversation, chunk },
        Message::Ping { token: 1 },
        Message::Pong { token: 1 },
        Message::Bye { reason: Reason::Newer(77), text: "bye".to_owned() },
    ]
}

fn body_of(message: &Message) -> Vec<u8> {
    let mut frame = Vec::new();
    message.encode(&mut frame);
    frame.split_off(FRAME_HEADER)
}

fn peer_message(input: &[u8]) -> String {
    let message = Message::decode(input);
    match &message {
        Ok(message) => {
            assert_eq!(body_of(message), input, "{message:?} is written in another form");
            kind_of(message)
        }
        Err(error) => error.to_string(),
    }
}

fn reader(input: &[u8]) -> String {
    let end = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    let (steps, bytes) = input.split_at(end);
    let mut reader = Reader::new(bytes);
    let mut refused = BTreeSet::new();
    for step in steps {
        let before = reader.left();
        let taken = match step % 7 {
            0 => reader.u8().map(|_| 1),
            1 => reader.u16().map(|_| 2),
            2 => reader.u32().map(|_| 4),
            3 => reader.u64().map(|_| 8),
            4 => reader.array::<32>().map(|_| 32),
            5 => reader.take(usize::from(*step)).map(<[u8]>::len),
            _ => reader.take(usize::MAX).map(<[u8]>::len),
        };
        assert_eq!(reader.left(), before - taken.unwrap_or(0));
        if taken.is_err() {
            refused.insert(["u8", "u16", "u32", "u64", "array", "take", "take all"][usize::from(step % 7)]);
        }
    }
    refused.insert(if reader.left() == 0 { "end" } else { "rest" });
    refused.into_iter().collect()
}

fn ticket(input: &[u8]) -> String {
    let key = signer().public_key();
    assert!(Ticket::verify(input, &key).is_err(), "an unsigned ticket counts");
    let signed = [input, &signer().sign(input)].concat();
    let ticket = Ticket::verify(&signed, &key);
    if let Ok(ticket) = &ticket {
        assert_eq!(ticket.sign(&signer()), signed, "a ticket in another form counts");
        let (network, holder) = (NetworkId(PeerId([0; 32]).0), signer().public_key());
        for now_ms in [0, ticket.not_before_ms, ticket.expires_ms, u64::MAX] {
            assert!(ticket.network == network || ticket.check(network, &ticket.swarm, &holder, now_ms).is_err());
            let _fits = ticket.check(ticket.network, &ticket.swarm, &ticket.holder, now_ms);
        }
    }
    ticket.map_or_else(|error| error.to_string(), |ticket| kind_of(&ticket.audience))
}
