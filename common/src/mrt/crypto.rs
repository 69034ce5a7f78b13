//! Sealing and opening packets.

/// How packets are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Suite {
    /// AES-256-GCM: fastest where the processor has instructions for AES.
    #[default]
    Aes256Gcm,
    /// ChaCha20-Poly1305: fastest elsewhere.
    ChaCha20Poly1305,
}

impl Suite {
    /// As on the wire.
    pub(super) const fn byte(self) -> u8 {
        match self {
            Self::Aes256Gcm => 1,
            Self::ChaCha20Poly1305 => 2,
        }
    }

    /// From the wire.
    pub(super) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Aes256Gcm),
            2 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }
}

/// The keys of both directions at the beginning, out of the handshake. Wiped when dropped; `Debug` shows nothing.
pub(super) struct Secrets {
    pub(super) send: [u8; 32],
    pub(super) receive: [u8; 32],
}

/// Why a packet was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpenError {
    /// It was not sealed by the other side for us, or was changed on its way.
    #[error("the packet does not open")]
    Forged,
    /// So many packets did not open that the key must not be used any more.
    #[error("too many forged packets")]
    Exhausted,
}

/// The keys of a connection: sealing in place, opening in place, key update.
#[derive(Debug)]
pub(super) struct Crypto {}

impl Crypto {
    pub(super) fn new(suite: Suite, secrets: &Secrets) -> Self {
        let _ = secrets;
        unimplemented!("{suite:?}")
    }
    /// The phase bit of packets sealed now.
    pub(super) fn phase(&self) -> bool {
        unimplemented!()
    }
    /// Seals the packet that begins at `start` of `out` and goes to its end: the first `DATA_HEADER` bytes stay readable, are
    /// authenticated, the rest is sealed in place, and the tag is appended.
    pub(super) fn seal(&mut self, number: u64, out: &mut Vec<u8>, start: usize) {
        unimplemented!("{number} {out:?} {start}")
    }
    /// Opens `packet` in place; gives what was inside. Nothing changes when it fails, but a count. A packet of the next phase that
    /// opens changes the key for receiving; those of the phase before open for a while.
    pub(super) fn open<'a>(
        &mut self,
        phase: bool,
        number: u64,
        packet: &'a mut [u8],
    ) -> Result<&'a mut [u8], OpenError> {
        unimplemented!("{phase} {number} {packet:?}")
    }
    /// Changes to the next key for sending, if the limit of packets comes near and `acked` (the largest acknowledged packet number)
    /// shows that the other side has seen the current one. Called before each packet with the number it will have.
    pub(super) fn update_if_due(&mut self, next_number: u64, acked: Option<u64>) {
        unimplemented!("{next_number} {acked:?}")
    }
}

/// Which packet numbers came: for finding duplicates. Remembers the last 8,192; older ones count as seen (RFC 6479).
#[derive(Debug, Default)]
pub(super) struct ReplayWindow {}

impl ReplayWindow {
    /// Whether `number` may be new.
    pub(super) fn is_new(&self, number: u64) -> bool {
        unimplemented!("{number}")
    }
    /// `number` came, and its packet was opened.
    pub(super) fn mark(&mut self, number: u64) {
        unimplemented!("{number}")
    }
}
