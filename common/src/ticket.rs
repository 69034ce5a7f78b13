//! Tickets: the tracker's word, signed, that the holder of a key may have a swarm. A downloader shows its ticket to each
//! seeder when the conversation opens; the seeder checks it with the tracker's key and asks nobody.
//! Its bytes are in `wire/WIRE.md`.

use crate::audience::{Audience, NotAnAudience};
use crate::id::{Content, FileId, FolderId, Hash, NetworkId};
use crate::identity::{BadSignature, Identity, PublicKey, SIGNATURE_LENGTH};
use crate::name::MAX_ENTRY_REF;
use crate::reader::{ReadError, Reader};

/// What a ticket begins with, so that its signature is never taken for one under something else.
const DOMAIN: &[u8] = b"shoal-ticket-v1";
const SWARM_FILE: u8 = 0;
const SWARM_FOLDER: u8 = 1;

/// Most bytes of a ticket.
pub const MAX_TICKET: usize =
    DOMAIN.len() + 32 + 1 + 2 + MAX_ENTRY_REF + 1 + 8 + 32 + 4 + 32 + 8 + 8 + SIGNATURE_LENGTH;

/// How far apart two peers' ideas of the tracker's time may be, in milliseconds: each learnt it when it joined, and
/// clocks drift. Picked by hand: a minute is long for clocks and short beside the hour that a ticket lasts.
pub const CLOCK_TOLERANCE_MS: u64 = 60_000;

/// What the tracker grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// In which network.
    pub network: NetworkId,
    /// On what ground: a seeder serves a swarm only under an audience for which it shares it.
    pub audience: Audience,
    /// Which swarm. That of a folder is good for its manifest as well, as a file.
    pub swarm: Content,
    /// Who may have it: a ticket is of use only on a connection that proved this key.
    pub holder: PublicKey,
    /// From when, milliseconds since 1970 of the tracker's time.
    pub not_before_ms: u64,
    /// Until when, the same.
    pub expires_ms: u64,
}

/// Why a ticket does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// The bytes are not those of a ticket in its one form.
    #[error("not a ticket")]
    Malformed,
    /// Not signed by this tracker.
    #[error("the ticket is not signed by this network's tracker")]
    Signature,
    /// Of another network.
    #[error("the ticket is of another network")]
    Network,
    /// For another swarm.
    #[error("the ticket is for another file")]
    Swarm,
    /// For another peer.
    #[error("the ticket is another peer's")]
    Holder,
    /// Shown before its time.
    #[error("the ticket is not valid yet")]
    NotYet,
    /// Shown after its time.
    #[error("the ticket has expired")]
    Expired,
}

impl Ticket {
    /// The ticket's bytes, signed by `tracker`; at most [`MAX_TICKET`].
    pub fn sign(&self, tracker: &Identity) -> Vec<u8> {
        let mut bytes = self.unsigned();
        let signature = tracker.sign(&bytes);
        bytes.extend_from_slice(&signature);
        bytes
    }

    /// Reads a ticket that this tracker signed. Whether it fits the occasion is for [`Self::check`].
    pub fn verify(bytes: &[u8], tracker_key: &PublicKey) -> Result<Self, TicketError> {
        if bytes.len() > MAX_TICKET {
            return Err(TicketError::Malformed);
        }
        let (signed, signature) = bytes.split_last_chunk::<SIGNATURE_LENGTH>().ok_or(TicketError::Malformed)?;
        let ticket = Self::decode(signed)?;
        tracker_key.verify(signed, signature)?;
        Ok(ticket)
    }

    /// Whether it lets `holder`, who proved that key, have `swarm` in `network` at `now_ms` of the tracker's time, give
    /// or take [`CLOCK_TOLERANCE_MS`].
    pub fn check(
        &self,
        network: NetworkId,
        swarm: &Content,
        holder: &PublicKey,
        now_ms: u64,
    ) -> Result<(), TicketError> {
        if self.network != network {
            return Err(TicketError::Network);
        }
        let manifest = self.swarm.folder().map(|folder| Content::File(folder.manifest()));
        if self.swarm != *swarm && manifest != Some(*swarm) {
            return Err(TicketError::Swarm);
        }
        if self.holder != *holder {
            return Err(TicketError::Holder);
        }
        if now_ms.saturating_add(CLOCK_TOLERANCE_MS) < self.not_before_ms {
            return Err(TicketError::NotYet);
        }
        if now_ms >= self.expires_ms.saturating_add(CLOCK_TOLERANCE_MS) {
            return Err(TicketError::Expired);
        }
        Ok(())
    }

    fn unsigned(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAX_TICKET);
        bytes.extend_from_slice(DOMAIN);
        bytes.extend_from_slice(&self.network.0);
        self.audience.encode(&mut bytes);
        let (kind, file) = match self.swarm {
            Content::File(file) => (SWARM_FILE, file),
            Content::Folder(folder) => (SWARM_FOLDER, folder.manifest()),
        };
        bytes.push(kind);
        bytes.extend_from_slice(&file.length().to_be_bytes());
        bytes.extend_from_slice(&file.root().0);
        if let Content::Folder(folder) = self.swarm {
            bytes.extend_from_slice(&folder.chunks().to_be_bytes());
        }
        bytes.extend_from_slice(&self.holder.0);
        bytes.extend_from_slice(&self.not_before_ms.to_be_bytes());
        bytes.extend_from_slice(&self.expires_ms.to_be_bytes());
        bytes
    }

    fn decode(signed: &[u8]) -> Result<Self, TicketError> {
        let mut reader = Reader::new(signed);
        if reader.take(DOMAIN.len())? != DOMAIN {
            return Err(TicketError::Malformed);
        }
        let network = NetworkId(reader.array()?);
        let audience = Audience::decode(&mut reader)?;
        let swarm = decode_swarm(&mut reader)?;
        let holder = PublicKey(reader.array()?);
        let (not_before_ms, expires_ms) = (reader.u64()?, reader.u64()?);
        reader.end()?;
        Ok(Self { network, audience, swarm, holder, not_before_ms, expires_ms })
    }
}

fn decode_swarm(reader: &mut Reader<'_>) -> Result<Content, TicketError> {
    let kind = reader.u8()?;
    let file = FileId::new(reader.u64()?, Hash(reader.array()?)).map_err(|_error| TicketError::Malformed)?;
    match kind {
        SWARM_FILE => Ok(Content::File(file)),
        SWARM_FOLDER => {
            let folder = FolderId::new(file, reader.u32()?).map_err(|_error| TicketError::Malformed)?;
            Ok(Content::Folder(folder))
        }
        _ => Err(TicketError::Malformed),
    }
}

impl From<NotAnAudience> for TicketError {
    fn from(_: NotAnAudience) -> Self {
        Self::Malformed
    }
}

impl From<ReadError> for TicketError {
    fn from(_: ReadError) -> Self {
        Self::Malformed
    }
}

impl From<BadSignature> for TicketError {
    fn from(_: BadSignature) -> Self {
        Self::Signature
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audience::OfferId;
    use crate::name::{MAX_ENTRY_NAME, MAX_USER_NAME};
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    const HOUR_MS: u64 = 3_600_000;
    const NOW_MS: u64 = 1_700_000_000_000;

    fn tracker() -> Identity {
        Identity::from_seed(&[1; 32])
    }

    fn holder() -> PublicKey {
        Identity::from_seed(&[2; 32]).public_key()
    }

    fn file(length: u64) -> FileId {
        FileId::new(length, Hash([0xcd; 32])).unwrap()
    }

    fn entry(text: &str) -> Audience {
        Audience::Entry(text.parse().unwrap())
    }

    fn ticket(audience: Audience) -> Ticket {
        Ticket {
            network: NetworkId(tracker().peer_id().0),
            audience,
            swarm: file(107_330).into(),
            holder: holder(),
            not_before_ms: NOW_MS,
            expires_ms: NOW_MS + HOUR_MS,
        }
    }

    #[test]
    fn bytes_are_those_of_the_page() {
        let bytes = ticket(entry("jane/doug.png")).sign(&tracker());
        let text = [
            "73686f616c2d7469636b65742d7631",
            &HEXLOWER.encode(&tracker().peer_id().0),
            "01000d",
            "6a616e652f646f75672e706e67",
            "00",
            "000000000001a342",
            &"cd".repeat(32),
            &holder().to_string(),
            "0000018bcfe56800",
            "0000018bd01c5680",
        ]
        .concat();
        let signature = tracker().sign(&HEXLOWER.decode(text.as_bytes()).unwrap());
        assert_eq!(HEXLOWER.encode(&bytes), text + &HEXLOWER.encode(&signature));
    }

    #[test]
    fn what_the_tracker_signed_comes_back() {
        let longest = || entry(&format!("{}/{}", "a".repeat(MAX_USER_NAME), "b".repeat(MAX_ENTRY_NAME)));
        for audience in [Audience::Public, entry("jane/doug.png"), longest(), Audience::Offer(OfferId(7))] {
            let ticket = ticket(audience);
            let bytes = ticket.sign(&tracker());
            assert!(bytes.len() <= MAX_TICKET);
            assert_eq!(Ticket::verify(&bytes, &tracker().public_key()), Ok(ticket));
        }
        let swarm = FolderId::new(file(1), 1).unwrap().into();
        let longest = Ticket { swarm, ..ticket(longest()) };
        assert_eq!(longest.sign(&tracker()).len(), MAX_TICKET);
    }

    #[test]
    fn another_signer_is_refused() {
        let bytes = ticket(Audience::Public).sign(&Identity::from_seed(&[9; 32]));
        assert_eq!(Ticket::verify(&bytes, &tracker().public_key()), Err(TicketError::Signature));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let bytes = ticket(entry("jane/doug.png")).sign(&tracker());
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(Ticket::verify(&damaged, &tracker().public_key()).is_err(), "byte {at} bit {bit}");
            }
            assert!(Ticket::verify(&bytes[..at], &tracker().public_key()).is_err(), "cut at {at}");
        }
    }

    type Edit<'a> = &'a dyn Fn(&mut Vec<u8>);

    /// Forms that say something a ticket could say, properly signed, but not in its one form.
    #[test]
    fn other_forms_are_refused_although_signed() {
        let signed = |change: Edit<'_>| {
            let mut bytes = ticket(Audience::Public).unsigned();
            change(&mut bytes);
            let signature = tracker().sign(&bytes);
            bytes.extend_from_slice(&signature);
            Ticket::verify(&bytes, &tracker().public_key())
        };
        let kind = DOMAIN.len() + 32;
        assert!(signed(&|_| {}).is_ok());
        let wrong: [(&str, Edit<'_>); 9] = [
            ("a byte after the end", &|bytes| bytes.push(0)),
            ("another version", &|bytes| bytes[DOMAIN.len() - 1] = b'2'),
            ("an unknown audience", &|bytes| bytes[kind] = 3),
            ("an unknown kind of swarm", &|bytes| bytes[kind + 3] = 2),
            ("an entry without text", &|bytes| bytes[kind] = 1),
            ("public with a text", &|bytes| {
                bytes[kind + 2] = 1;
                bytes.insert(kind + 3, b'a');
            }),
            ("a text that is not UTF-8", &|bytes| {
                bytes[kind] = 1;
                bytes[kind + 2] = 1;
                bytes.insert(kind + 3, 0xff);
            }),
            ("a text that goes beyond the end", &|bytes| bytes[kind..kind + 3].copy_from_slice(&[1, 1, 0x20])),
            ("a file over 8 TiB", &|bytes| bytes[kind + 4] = 0xff),
        ];
        for (what, change) in wrong {
            assert_eq!(signed(change), Err(TicketError::Malformed), "{what}");
        }
    }

    #[test]
    fn that_of_a_folder_is_good_for_its_manifest_but_not_the_other_way_round() {
        let folder: Content = FolderId::new(file(5), 3).unwrap().into();
        let other: Content = FolderId::new(file(5), 4).unwrap().into();
        let ticket = |swarm| Ticket { swarm, ..ticket(Audience::Public) };
        let check = |held, wanted: &Content| {
            let ticket = ticket(held);
            ticket.check(ticket.network, wanted, &ticket.holder, NOW_MS)
        };
        assert_eq!(check(folder, &folder), Ok(()));
        assert_eq!(check(folder, &file(5).into()), Ok(()));
        assert_eq!(check(folder, &other), Err(TicketError::Swarm));
        assert_eq!(check(folder, &file(6).into()), Err(TicketError::Swarm));
        assert_eq!(check(file(5).into(), &folder), Err(TicketError::Swarm));
    }

    #[test]
    fn it_counts_for_one_network_swarm_holder_and_time() {
        let ticket = ticket(Audience::Public);
        let check = |network, swarm: &Content, holder, now_ms| ticket.check(network, swarm, holder, now_ms);
        let (network, swarm, holder) = (ticket.network, &ticket.swarm, &ticket.holder);
        let other_holder = tracker().public_key();
        let other_swarm = file(107_331).into();
        let last = NOW_MS + HOUR_MS + CLOCK_TOLERANCE_MS;
        assert_eq!(check(network, swarm, holder, NOW_MS), Ok(()));
        assert_eq!(check(NetworkId([0; 32]), swarm, holder, NOW_MS), Err(TicketError::Network));
        assert_eq!(check(network, &other_swarm, holder, NOW_MS), Err(TicketError::Swarm));
        assert_eq!(check(network, swarm, &other_holder, NOW_MS), Err(TicketError::Holder));
        assert_eq!(check(network, swarm, holder, NOW_MS - CLOCK_TOLERANCE_MS), Ok(()));
        assert_eq!(check(network, swarm, holder, NOW_MS - CLOCK_TOLERANCE_MS - 1), Err(TicketError::NotYet));
        assert_eq!(check(network, swarm, holder, last - 1), Ok(()));
        assert_eq!(check(network, swarm, holder, last), Err(TicketError::Expired));
        assert_eq!(check(network, swarm, holder, u64::MAX), Err(TicketError::Expired));
        assert_eq!(check(network, swarm, holder, 0), Err(TicketError::NotYet));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..MAX_TICKET + 2)) {
            prop_assert!(Ticket::verify(&bytes, &tracker().public_key()).is_err());
            let mut with_domain = DOMAIN.to_vec();
            with_domain.extend_from_slice(&bytes);
            if let Ok(ticket) = Ticket::decode(&with_domain) {
                prop_assert_eq!(ticket.unsigned(), with_domain);
            }
        }
    }
}
