//! Decoders of texts: ids, keys, names.

use std::fmt::{Debug, Display};
use std::path::{Component, Path};
use std::str::FromStr;

use common::id::{Content, FileId, FolderId, Hash, NetworkId, PeerId};
use common::identity::PublicKey;
use common::name::{EntryName, EntryRef, MAX_ENTRY_NAME, UserName};

use super::{Target, answer, kind_of};

pub(super) const IDS: Target = Target {
    name: "ids",
    run: ids,
    seeds: || {
        let file = FileId::new(107_330, Hash([0xcd; 32])).expect("not over 8 TiB");
        let folder = FolderId::new(file, 3).expect("not over 2^20 chunks");
        [
            file.to_string(),
            Content::Folder(folder).to_string(),
            Hash([1; 32]).to_string(),
            PeerId([0xa7; 32]).to_string(),
            NetworkId([0; 32]).to_string(),
        ]
        .map(String::into_bytes)
        .to_vec()
    },
    words: &["-", "0x", "8796093022208", "aaaaaaaaaaaaa", "22222222", "00000000", "ffffffff"],
    memory_base: 4 << 10,
    memory_per_byte: 8,
};

pub(super) const NAMES: Target = Target {
    name: "names",
    run: names,
    seeds: || {
        [
            "doug.png",
            "jane/doug.png",
            "student-2",
            "../x",
            "CON.txt",
            "a\nb",
            " a",
            "gpj.\u{202e}exe",
            "Ünïcödé 文件.txt",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
    },
    words: &[
        "/",
        "\\",
        ".",
        "..",
        " ",
        "\u{202e}",
        "con",
        "NUL",
        "com1",
        "LPT\u{b9}",
        ":",
        "\u{2029}",
        "\u{a0}",
        "~",
        "\u{301}",
    ],
    memory_base: 4 << 10,
    memory_per_byte: 16,
};

fn ids(input: &[u8]) -> String {
    let Ok(text) = str::from_utf8(input) else {
        return "not text".to_owned();
    };
    [
        read::<FileId>(text),
        read::<Content>(text),
        read::<Hash>(text),
        read::<PeerId>(text),
        read::<NetworkId>(text),
        read::<PublicKey>(text),
    ]
    .join(", ")
}

/// What is read is what is written, and reads the same again.
fn read<T>(text: &str) -> String
where
    T: FromStr<Err: Display + Debug + PartialEq> + Display + Debug + PartialEq,
{
    let value = text.parse::<T>();
    if let Ok(value) = &value {
        let again = value.to_string().parse::<T>();
        assert_eq!(again.as_ref(), Ok(value));
    }
    answer(&value)
}

fn names(input: &[u8]) -> String {
    let Ok(text) = str::from_utf8(input) else {
        return "not text".to_owned();
    };
    let name = EntryName::new(text);
    if name.is_ok() {
        let components: Vec<_> = Path::new(text).components().collect();
        assert!(matches!(components.as_slice(), [Component::Normal(only)] if *only == text), "not one component");
        assert!(text.len() <= MAX_ENTRY_NAME && !text.contains('\\') && !text.contains(char::is_control));
    }
    let entry = text.parse::<EntryRef>();
    if let Ok(entry) = &entry {
        assert_eq!(entry.to_string(), text);
        assert_eq!(EntryName::new(entry.name.as_str()).as_ref(), Ok(&entry.name));
    }
    let suggestion = UserName::suggestion(text);
    assert_eq!(UserName::new(suggestion.as_str()).as_ref(), Ok(&suggestion));
    let suffixed = suggestion.with_suffix(u32::MAX);
    assert_eq!(UserName::new(suffixed.as_str()), Ok(suffixed));
    [kind_of(&name), kind_of(&entry), kind_of(&UserName::new(text))].join(", ")
}
