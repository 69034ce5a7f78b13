//! Targets: the decoders, what they are fed first, and what must hold of what they read.

use std::fmt::{self, Write as _};

mod binary;
mod group;
mod json;
mod mrt;
mod nat;
mod pair;
mod text;

/// A decoder under test.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name on the command line and under `corpus/`.
    pub name: &'static str,
    /// Feeds it one input, panics where something does not hold that must, and tells how it answered: inputs with answers
    /// of their own are worth being broken further.
    pub run: fn(&[u8]) -> String,
    /// Inputs to begin with: what honest programs send.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words of its language.
    pub words: &'static [&'static str],
    /// Bytes of memory that it may take at a time, whatever the input.
    pub memory_base: usize,
    /// Bytes of memory beside that, for each byte of input.
    pub memory_per_byte: usize,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    text::IDS,
    text::NAMES,
    binary::BITMAP,
    binary::HASHES,
    binary::KEY,
    binary::MANIFEST,
    binary::PEER_MESSAGE,
    binary::READER,
    binary::TICKET,
    json::FROM_PEER,
    json::FROM_TRACKER,
    mrt::PACKET,
    mrt::FRAMES,
    pair::PAIR,
    nat::STUN,
    nat::RELAY,
    nat::CANDIDATES,
    group::MESSAGE,
    group::GROUP,
    group::NODE_MESSAGE,
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// The first names of types and variants in a value, those before any text in it; takes no memory for the rest.
fn kind_of(value: &impl fmt::Debug) -> String {
    let mut head = Head::default();
    // An error says that the head is full.
    let _full = write!(head, "{value:?}");
    let before_text = head.0.split('"').next().unwrap_or_default();
    let words = before_text.split(|character: char| !character.is_alphanumeric());
    words.filter(|word| word.starts_with(char::is_uppercase)).take(3).collect::<Vec<_>>().join(" ")
}

/// Takes the beginning of a text and no more.
#[derive(Default)]
struct Head(String);

impl fmt::Write for Head {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        const ENOUGH: usize = 256;
        self.0.push_str(&part[..part.floor_char_boundary(ENOUGH)]);
        if self.0.len() < ENOUGH { Ok(()) } else { Err(fmt::Error) }
    }
}

/// How a decoder answered: `ok`, or its reason.
fn answer<T, E: fmt::Display>(result: &Result<T, E>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.to_string(),
    }
}
