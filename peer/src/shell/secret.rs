//! Secrets at the terminal: a line that is typed without being shown.
//!
//! Keys come one by one meanwhile, so that Ctrl-C gives the terminal back as it was instead of ending the program.

use std::io::{self, Write as _};

use common::secret::{MAX_SECRET, Secret};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};

const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
const CTRL_H: u8 = 0x08;
const CTRL_U: u8 = 0x15;
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;

/// What came of asking.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// A line, without its end.
    Line(Secret),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D, or the terminal is gone.
    End,
}

/// How the terminal was; it is so again when this is dropped.
#[derive(Debug)]
pub(super) struct Restore(Option<Termios>);

impl Restore {
    /// Remembers how it is.
    pub(super) fn new() -> Self {
        Self(rustix::termios::tcgetattr(io::stdin()).ok())
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _terminal_gone = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Asks at the terminal for a line that is not shown. Blocks.
pub(super) fn ask_hidden(prompt: &str) -> io::Result<Typed> {
    let restore = Restore::new();
    let Some(before) = &restore.0 else { return Err(io::Error::other("there is no terminal")) };
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON);
    quiet.local_modes.remove(LocalModes::ISIG | LocalModes::IEXTEN);
    quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
    quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
    rustix::termios::tcsetattr(io::stdin(), OptionalActions::Now, &quiet)?;
    io::stderr().write_all(prompt.as_bytes())?;
    let typed = read_keys(&mut next_byte);
    drop(restore);
    let _terminal_gone = io::stderr().write_all(b"\n");
    typed
}

/// Asks at the terminal for a line that is shown; `None` at the end of input. Blocks.
pub(super) fn ask_shown(prompt: &str) -> io::Result<Option<String>> {
    io::stderr().write_all(prompt.as_bytes())?;
    let mut line = Vec::new();
    while let Some(byte) = next_byte()? {
        match byte {
            b'\n' => return Ok(Some(String::from_utf8_lossy(&line).into_owned())),
            _ if line.len() < MAX_SECRET => line.push(byte),
            _ => {}
        }
    }
    Ok(None)
}

/// The next byte of the terminal, and none beyond it: what follows may be for somebody else.
fn next_byte() -> io::Result<Option<u8>> {
    let mut byte = [0];
    loop {
        match rustix::io::read(io::stdin(), &mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(Some(byte[0])),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Makes a line of keys.
fn read_keys(next: &mut impl FnMut() -> io::Result<Option<u8>>) -> io::Result<Typed> {
    // With room for the longest: a buffer that grows leaves copies behind.
    let mut line = Vec::with_capacity(MAX_SECRET + 1);
    let end = loop {
        match next()? {
            None => break Some(Typed::End),
            Some(CTRL_D) if line.is_empty() => break Some(Typed::End),
            Some(b'\r' | b'\n' | CTRL_D) => break None,
            Some(CTRL_C) => break Some(Typed::Interrupt),
            Some(CTRL_U) => line.clear(),
            Some(CTRL_H | DELETE) => while line.pop().is_some_and(|byte| (0x80..0xc0).contains(&byte)) {},
            Some(ESCAPE) => skip_sequence(next)?,
            Some(byte) if byte < b' ' || line.len() > MAX_SECRET => {}
            Some(byte) => line.push(byte),
        }
    };
    // Whatever was typed is wiped with the secret that is made of it.
    let text = String::from_utf8(line).map_err(|_error| io::Error::other("it is not valid UTF-8"));
    let secret = text.and_then(|text| Secret::new(text).map_err(io::Error::other));
    match end {
        Some(end) => Ok(end),
        None => secret.map(Typed::Line),
    }
}

/// An arrow or another key that is more than a byte is no part of a password.
fn skip_sequence(next: &mut impl FnMut() -> io::Result<Option<u8>>) -> io::Result<()> {
    if let Some(b'[' | b'O') = next()? {
        while next()?.is_some_and(|byte| !(b'@'..=b'~').contains(&byte)) {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &str) -> io::Result<Typed> {
        let mut keys = keys.bytes();
        read_keys(&mut || Ok(keys.next()))
    }

    #[test]
    fn keys_become_a_line_and_mend_it() {
        for (keys, line) in [
            ("hunter2\r", "hunter2"),
            ("hx\x7funter2\n", "hunter2"),
            ("ü\x7f\x08\x7fa\n", "a"),
            ("wrong\x15right\n", "right"),
            ("a\x1b[A\x1b[1;5Cb\x1bOPc\x01\n", "abc"),
            ("two words\x04", "two words"),
            ("\n", ""),
        ] {
            assert_eq!(typed(keys).unwrap(), Typed::Line(Secret::new(line.to_owned()).unwrap()), "{keys:?}");
        }
    }

    #[test]
    fn a_line_may_be_given_up() {
        assert_eq!(typed("abc\x03").unwrap(), Typed::Interrupt);
        assert_eq!(typed("\x04").unwrap(), Typed::End);
        assert_eq!(typed("abc").unwrap(), Typed::End);
        assert!(typed(&format!("{}\n", "x".repeat(MAX_SECRET + 5))).is_err());
    }
}
