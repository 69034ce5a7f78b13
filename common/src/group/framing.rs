//! Messages on a stream: each behind its length, a big-endian u32.

use super::limits::MAX_MESSAGE;
use crate::wire::FRAME_HEADER;

/// A message that is longer than any may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of {length} bytes is longer than any may be ({MAX_MESSAGE})")]
pub struct FrameTooLong {
    /// What its length says.
    pub length: usize,
}

/// What goes on the stream for a message.
pub fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("messages are kept below their limit");
    [length.to_be_bytes().as_slice(), message].concat()
}

/// Cuts a stream into messages. Holds what came of one message, at most [`MAX_MESSAGE`] bytes, and what was pushed last.
#[derive(Debug, Default)]
pub struct Framer {
    bytes: Vec<u8>,
    /// So many bytes at the front were given out.
    taken: usize,
}

impl Framer {
    /// Takes in what came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message, if all of it is there. After an error the stream is of no use.
    pub fn next_message(&mut self) -> Result<Option<&[u8]>, FrameTooLong> {
        let Some((_, rest)) = self.bytes.split_at_checked(self.taken) else { return Ok(None) };
        let Some((header, rest)) = rest.split_first_chunk::<FRAME_HEADER>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX);
        if length > MAX_MESSAGE {
            return Err(FrameTooLong { length });
        }
        let Some((message, _)) = rest.split_at_checked(length) else { return Ok(None) };
        self.taken += FRAME_HEADER + length;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut() {
        let messages = [vec![1, 2, 3], Vec::new(), vec![7; 1000]];
        let stream: Vec<u8> = messages.iter().flat_map(|message| frame(message)).collect();
        for cut in [1, 2, 5, 1000] {
            let (mut framer, mut out) = (Framer::default(), Vec::new());
            for part in stream.chunks(cut) {
                framer.push(part);
                while let Some(message) = framer.next_message().unwrap() {
                    out.push(message.to_vec());
                }
            }
            assert_eq!(out, messages, "cut {cut}");
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_an_error_at_once() {
        let mut framer = Framer::default();
        framer.push(&u32::MAX.to_be_bytes());
        assert_eq!(framer.next_message(), Err(FrameTooLong { length: u32::MAX as usize }));
    }
}
