use super::*;
use crate::chunk::Layout;
use crate::id::MAX_FOLDER_CHUNKS;
use data_encoding::HEXLOWER;
use proptest::prelude::*;

const CONVERSATION: ConversationId = 0x0102_0304;

fn one_of_each() -> Vec<(Message, String)> {
    let file = FileId::new(5, Hash([0xab; 32])).unwrap();
    let conversation = CONVERSATION;
    let text = || "no".to_owned();
    let c = "01020304";
    let root = "ab".repeat(32);
    vec![
        (Message::Hello { version: 1, network: NetworkId([7; 32]), port: 9 }, format!("010001{}0009", "07".repeat(32))),
        (
            Message::Open { conversation, content: file.into(), ticket: vec![1, 2] },
            format!("02{c}000000000000000005{root}0102"),
        ),
        (
            Message::Open { conversation, content: FolderId::new(file, 3).unwrap().into(), ticket: vec![1, 2] },
            format!("02{c}010000000000000005{root}000000030102"),
        ),
        (Message::Opened { conversation, complete: true }, format!("03{c}01")),
        (Message::Refused { conversation, reason: Reason::Ticket, text: text() }, format!("04{c}00026e6f")),
        (Message::Close { conversation }, format!("05{c}")),
        (
            Message::Map { conversation, opener: Opener::Receiver, first: 8, bits: vec![0x80] },
            format!("06{c}010000000880"),
        ),
        (Message::Have { conversation, opener: Opener::Sender, chunks: vec![3] }, format!("07{c}0000000003")),
        (Message::GetHashes { conversation, first: 1, count: 2 }, format!("08{c}0000000100000002")),
        (Message::Hashes { conversation, first: 1, hashes: vec![Hash([0xab; 32])] }, format!("09{c}00000001{root}")),
        (Message::Request { conversation, chunk: 6 }, format!("0a{c}00000006")),
        (Message::Cancel { conversation, chunk: 6 }, format!("0b{c}00000006")),
        (Message::Piece { conversation, chunk: 6, offset: 1, length: 2 }, format!("0c{c}000000060000000100000002")),
        (Message::Queued { conversation }, format!("0d{c}")),
        (Message::Unavailable { conversation, chunk: 6 }, format!("0e{c}00000006")),
        (Message::Suggest { conversation, chunks: vec![] }, format!("0f{c}")),
        (Message::Bad { conversation, chunk: 6 }, format!("10{c}00000006")),
        (Message::Ping { token: 1 }, "110000000000000001".to_owned()),
        (Message::Pong { token: 1 }, "120000000000000001".to_owned()),
        (Message::Bye { reason: Reason::Newer(77), text: text() }, "13004d6e6f".to_owned()),
    ]
}

#[test]
fn bytes_are_those_of_the_page() {
    for (message, hex) in one_of_each() {
        let mut frame = Vec::new();
        message.encode(&mut frame);
        let (header, body) = frame.split_at(FRAME_HEADER);
        assert_eq!(HEXLOWER.encode(body), hex, "{message:?}");
        assert_eq!(header, u32::try_from(body.len()).unwrap().to_be_bytes());
        assert_eq!(Message::decode(body), Ok(message));
    }
}

#[test]
fn every_type_has_an_example() {
    let mut kinds: Vec<u8> = one_of_each().iter().map(|(_, hex)| HEXLOWER.decode(hex.as_bytes()).unwrap()[0]).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, (kind::HELLO..=kind::BYE).collect::<Vec<_>>());
    assert_eq!(Message::decode(&[0]), Err(DecodeError::Type(0)));
    assert_eq!(Message::decode(&[kind::BYE + 1, 0, 0, 0, 0]), Err(DecodeError::Type(kind::BYE + 1)));
}

#[test]
fn numbers_beyond_their_limits_are_refused() {
    let piece = |length: u32| {
        let mut frame = Vec::new();
        Message::Piece { conversation: 1, chunk: 0, offset: 0, length }.encode(&mut frame);
        Message::decode(&frame[FRAME_HEADER..])
    };
    assert!(piece(MAX_PIECE).is_ok());
    assert_eq!(piece(MAX_PIECE + 1), Err(DecodeError::Limit(kind::PIECE)));
    assert_eq!(piece(0), Err(DecodeError::Limit(kind::PIECE)));
    let mut open = vec![kind::OPEN, 0, 0, 0, 1, 0];
    open.extend(u64::MAX.to_be_bytes());
    open.extend([0; 32]);
    assert_eq!(Message::decode(&open), Err(DecodeError::Id(IdError::TooLong)));
    let mut open = vec![kind::OPEN, 0, 0, 0, 1, 1];
    open.extend([0; 8 + 32]);
    open.extend((MAX_FOLDER_CHUNKS + 1).to_be_bytes());
    assert_eq!(Message::decode(&open), Err(DecodeError::Id(IdError::TooManyChunks)));
    let mut have = vec![kind::HAVE, 0, 0, 0, 1, 0];
    have.extend(vec![0; (MAX_CHUNKS_NAMED + 1) * 4]);
    assert_eq!(Message::decode(&have), Err(DecodeError::Limit(kind::HAVE)));
}

#[test]
fn the_longest_map_fits_and_comes_back() {
    let count = Layout::for_length(crate::id::MAX_FILE_LENGTH).count();
    let bitmap = Bitmap::full(count);
    let mut came = Bitmap::empty(count);
    for message in maps(1, Opener::Sender, &bitmap) {
        let mut frame = Vec::new();
        message.encode(&mut frame);
        let Ok(Message::Map { first, bits, .. }) = Message::decode(&frame[FRAME_HEADER..]) else { panic!("not a map") };
        for chunk in chunks_in_map(count, first, &bits) {
            came.insert(chunk);
        }
    }
    assert_eq!(came, bitmap);
    assert!(maps(1, Opener::Sender, &Bitmap::empty(9)).is_empty());
}

#[test]
fn chunks_beyond_the_last_are_left_out_of_a_map() {
    assert_eq!(chunks_in_map(3, 0, &[0xff, 0xff]), [0, 1, 2]);
    assert!(chunks_in_map(3, u32::MAX, &[0xff; 9]).is_empty());
}

proptest! {
    #[test]
    fn damaged_bytes_never_panic(which in 0usize..20, at in 0usize..80, flip in any::<u8>(), cut in 0usize..80) {
        let (message, _) = one_of_each().swap_remove(which);
        let mut frame = Vec::new();
        message.encode(&mut frame);
        let mut body = frame.split_off(FRAME_HEADER);
        let length = body.len();
        body[at % length] ^= flip;
        body.truncate(length.saturating_sub(cut).max(1));
        if let Ok(message) = Message::decode(&body) {
            let mut again = Vec::new();
            message.encode(&mut again);
            prop_assert_eq!(&again[FRAME_HEADER..], &body[..]);
        }
    }

    #[test]
    fn random_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::decode(&body);
    }
}
