//! Numbers from a seed: everything random in a connection follows from the 32 bytes that its endpoint was made with.

use std::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroize as _;

/// A generator of bytes that nobody can guess who does not know the seed. Each draw replaces the state by a hash of it, so
/// that what was drawn earlier does not follow from the state. `Debug` shows nothing of it.
pub(super) struct Random {
    state: [u8; 32],
}

impl Random {
    /// Draws from `seed`: 32 bytes from a cryptographic source, or fixed ones in a test.
    pub(super) const fn new(seed: [u8; 32]) -> Self {
        Self { state: seed }
    }

    /// 32 fresh bytes.
    pub(super) fn bytes(&mut self) -> [u8; 32] {
        let output = Self::derive(&self.state, b"shoal-mrt-output");
        self.state = Self::derive(&self.state, b"shoal-mrt-state");
        output
    }

    /// A fresh number.
    pub(super) fn u64(&mut self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// A generator of its own for one connection, or for one handshake.
    pub(super) fn fork(&mut self) -> Self {
        Self::new(self.bytes())
    }

    fn derive(state: &[u8; 32], label: &[u8]) -> [u8; 32] {
        Sha256::new_with_prefix(label).chain_update(state).finalize().into()
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        self.state.zeroize();
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Random").finish_non_exhaustive()
    }
}
