//! Trust: which key the tracker must have. One pinned in the address, or remembered from the first use, or any.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use common::id::{NetworkId, PeerId};
use common::tls::{Expect, UnexpectedPeer};

use super::known_trackers::{Known, KnownError, KnownTrackers};
use super::{TrackerAddress, TrackerError};

/// What is known of one tracker's key.
#[derive(Debug)]
pub(super) struct Trust {
    place: String,
    known: KnownTrackers,
    basis: Result<Basis, TrackerError>,
    /// The key of the first use, in this run.
    first_use: OnceLock<NetworkId>,
    /// The key that a tracker proved which did not let this peer in: nothing to hold it to.
    met: OnceLock<NetworkId>,
    /// Whether the user has confirmed the key in this run.
    confirmed: AtomicBool,
}

#[derive(Debug)]
enum Basis {
    Pinned(NetworkId),
    Remembered(Known),
    Nothing,
}

/// What came of a first use.
#[derive(Debug)]
pub(super) enum FirstUse {
    /// It was none.
    No,
    /// It is remembered in this file.
    Remembered(PathBuf),
    /// It could not be remembered: a sentence.
    NotRemembered(String),
}

impl Trust {
    /// Looks what is pinned or remembered. Blocks for a small file.
    pub(super) fn new(address: &TrackerAddress, known_trackers: PathBuf) -> Self {
        let (place, known) = (address.place(), KnownTrackers::new(known_trackers));
        let basis = match address.fingerprint {
            Some(pinned) => Ok(Basis::Pinned(pinned)),
            None => match known.find(&place) {
                Ok(Some(remembered)) => Ok(Basis::Remembered(remembered)),
                Ok(None) => Ok(Basis::Nothing),
                Err(error) => Err(unreadable(&known, &error)),
            },
        };
        Self {
            place,
            known,
            basis,
            first_use: OnceLock::new(),
            met: OnceLock::new(),
            confirmed: AtomicBool::new(false),
        }
    }

    /// The network is this one, whoever coordinates it.
    pub(super) fn given(network: NetworkId, known_trackers: PathBuf) -> Self {
        Self {
            place: String::new(),
            known: KnownTrackers::new(known_trackers),
            basis: Ok(Basis::Pinned(network)),
            first_use: OnceLock::new(),
            met: OnceLock::new(),
            confirmed: AtomicBool::new(false),
        }
    }

    /// The network that the tracker must be, where that is known.
    pub(super) fn expected(&self) -> Option<NetworkId> {
        match &self.basis {
            Ok(Basis::Pinned(fingerprint) | Basis::Remembered(Known { fingerprint, .. })) => Some(*fingerprint),
            Ok(Basis::Nothing) | Err(_) => self.first_use.get().copied(),
        }
    }

    /// The tracker proved to have this key, but did not let this peer in.
    pub(super) fn on_met(&self, network: NetworkId) {
        let _met_before = self.met.set(network);
    }

    /// The network that the tracker must be, or else the one that it said it is.
    pub(super) fn expected_or_met(&self) -> Option<NetworkId> {
        self.expected().or_else(|| self.met.get().copied())
    }

    /// Whether the user ever said that the expected key is the right one: pinned it, or confirmed it.
    pub(super) fn is_confirmed(&self) -> bool {
        let before = match &self.basis {
            Ok(Basis::Pinned(_)) => true,
            Ok(Basis::Remembered(known)) => known.confirmed,
            Ok(Basis::Nothing) | Err(_) => false,
        };
        before || self.confirmed.load(Ordering::SeqCst)
    }

    /// The user says so of the expected key; an error, a sentence, where that could not be written down. Blocks for a small
    /// file.
    pub(super) fn confirm(&self, network: NetworkId) -> Result<(), String> {
        let _expected_before = self.first_use.set(network);
        self.confirmed.store(true, Ordering::SeqCst);
        self.known.confirm(&self.place, network).map_err(|error| {
            let (place, path) = (&self.place, self.known.path().display());
            format!("That the tracker at {place} is the right one could not be remembered in {path}: {error}")
        })
    }

    /// Whom to expect at the tracker's address; an error when that cannot be known.
    pub(super) fn expect(&self) -> Result<Expect, TrackerError> {
        match &self.basis {
            Err(error) => Err(error.clone()),
            Ok(_) => Ok(self.expected().map_or(Expect::Anyone, |network| Expect::Peer(PeerId(network.0)))),
        }
    }

    /// The tracker proved to have this key, and it is the expected one. Blocks for a small file.
    pub(super) fn on_proven(&self, network: NetworkId) -> FirstUse {
        if self.expected().is_some() || self.first_use.set(network).is_err() {
            return FirstUse::No;
        }
        match self.known.remember(&self.place, network) {
            Ok(()) => FirstUse::Remembered(self.known.path().to_owned()),
            Err(error) => FirstUse::NotRemembered(format!(
                "The fingerprint {network} of the tracker at {} could not be remembered in {}: {error}",
                self.place,
                self.known.path().display()
            )),
        }
    }

    /// Somebody else answered.
    pub(super) fn wrong_key(&self, unexpected: &UnexpectedPeer) -> TrackerError {
        let UnexpectedPeer { expected, found } = unexpected;
        let (place, path) = (&self.place, self.known.path().display());
        match &self.basis {
            Ok(Basis::Pinned(_)) => TrackerError::Untrusted {
                text: format!("the tracker at {place} has the key {found}, and not {expected} as given"),
                hint:
                    "compare what stands after # with the fingerprint that the tracker prints when it starts; if they \
                       differ, somebody else may be posing as it"
                        .to_owned(),
            },
            Ok(Basis::Remembered(Known { line, .. })) => TrackerError::Untrusted {
                text: format!(
                    "THE KEY OF THE TRACKER AT {place} HAS CHANGED: it is {found}, but line {line} of {path} says \
                     {expected}; somebody else may be posing as it"
                ),
                hint: format!(
                    "if whoever runs the tracker says that {found} is right, take line {line} out of {path} and start again"
                ),
            },
            Ok(Basis::Nothing) | Err(_) => TrackerError::Untrusted {
                text: format!("the tracker at {place} now has the key {found}, and not {expected} as before"),
                hint: format!("ask whoever runs it; if {found} is right, take its line out of {path} and start again"),
            },
        }
    }
}

fn unreadable(known: &KnownTrackers, error: &KnownError) -> TrackerError {
    let path = known.path().display();
    TrackerError::Untrusted {
        text: format!("could not see in {path} which key the tracker had before: {error}"),
        hint: format!("mend or take out that line of {path}, or give --tracker HOST:PORT#FINGERPRINT"),
    }
}
