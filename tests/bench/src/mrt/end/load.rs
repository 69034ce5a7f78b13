//! Loads: how much a source sends.

use std::time::{Duration, Instant};

use super::PIECE;

/// What is left to send: so many bytes, or as many as go until some moment.
#[derive(Debug, Clone, Copy)]
pub(super) enum Load {
    Bytes(u64),
    Until(Instant),
}

impl Load {
    pub(super) const fn bytes(bytes: u64) -> Self {
        Self::Bytes(bytes)
    }

    /// From now on.
    pub(super) fn time(time: Duration) -> Self {
        Self::Until(Instant::now() + time)
    }

    /// How many bytes to send next, at most [`PIECE`]; `None` at the end.
    pub(super) fn next(&mut self) -> Option<usize> {
        match self {
            Self::Bytes(0) => None,
            Self::Bytes(left) => {
                let now = usize::try_from(*left).map_or(PIECE, |left| left.min(PIECE));
                *left -= now as u64;
                Some(now)
            }
            Self::Until(end) => (Instant::now() < *end).then_some(PIECE),
        }
    }

    /// When to give up sending, where a time was given: a write may block for longer.
    pub(super) fn end(&self) -> Option<Instant> {
        match self {
            Self::Bytes(_) => None,
            Self::Until(end) => Some(*end),
        }
    }
}
