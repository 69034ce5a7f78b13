//! Offers: what users push to each other, and what the receivers made of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use common::audience::OfferId;
use common::id::{Content, PeerId};
use common::name::{EntryName, UserName};
use common::wire::tracker::FolderSize;
use serde::{Deserialize, Serialize};

/// One offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OfferRecord {
    /// By which user.
    pub(crate) from: UserName,
    /// Under which name.
    pub(crate) name: EntryName,
    /// What.
    pub(crate) content: Content,
    /// With a folder: how much is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) folder: Option<FolderSize>,
    /// When, milliseconds since 1970 (UTC).
    pub(crate) at_ms: u64,
    /// To whom, and what they made of it.
    pub(crate) receivers: BTreeMap<UserName, Response>,
}

/// What a receiver made of an offer.
///
/// ```text
///    Offered ----> Accepted ----> Done
///       |            ^ |
///       |            | v
///       +--------> Refused
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Response {
    /// Nothing yet.
    Offered,
    /// This device of the receiver downloads it.
    Accepted(PeerId),
    /// This device has it.
    Done(PeerId),
    /// It does not want it.
    Refused,
}

/// All offers. The invariant: each stands under its sender and all its receivers.
#[derive(Debug, Default)]
pub(crate) struct Offers {
    by_id: BTreeMap<OfferId, OfferRecord>,
    by_user: HashMap<UserName, BTreeSet<OfferId>>,
    /// The highest number that one ever had.
    last: Option<OfferId>,
}

impl OfferRecord {
    /// Whether a user is its sender or has accepted it.
    pub(crate) fn is_for(&self, user: &UserName) -> bool {
        let accepted = |response: &Response| matches!(response, Response::Accepted(_) | Response::Done(_));
        self.from == *user || self.receivers.get(user).is_some_and(accepted)
    }

    /// Whether every receiver has it or does not want it.
    pub(crate) fn is_settled(&self) -> bool {
        self.receivers.values().all(|response| matches!(response, Response::Done(_) | Response::Refused))
    }

    /// This offer with another response of one receiver.
    pub(crate) fn with(&self, user: &UserName, response: Response) -> Self {
        let mut record = self.clone();
        record.receivers.insert(user.clone(), response);
        record
    }
}

impl Offers {
    /// The offer of this number.
    pub(crate) fn get(&self, id: OfferId) -> Option<&OfferRecord> {
        self.by_id.get(&id)
    }

    /// The offers that a user made or was made, the oldest first.
    pub(crate) fn of(&self, user: &UserName) -> impl DoubleEndedIterator<Item = (OfferId, &OfferRecord)> {
        let ids = self.by_user.get(user).into_iter().flatten();
        ids.filter_map(|id| self.by_id.get(id).map(|record| (*id, record)))
    }

    /// A number that no offer ever had.
    pub(crate) fn next_id(&self) -> OfferId {
        OfferId(self.last.map_or(1, |OfferId(last)| last + 1))
    }

    /// Puts an offer in, or out with `None`, and gives what was there before.
    pub(super) fn set(&mut self, id: OfferId, offer: Option<OfferRecord>) -> Option<OfferRecord> {
        let before = self.by_id.remove(&id);
        for user in before.iter().flat_map(parties) {
            if let Some(ids) = self.by_user.get_mut(user) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_user.remove(user);
                }
            }
        }
        if let Some(offer) = offer {
            for user in parties(&offer) {
                self.by_user.entry(user.clone()).or_default().insert(id);
            }
            self.by_id.insert(id, offer);
        }
        before
    }

    /// Remembers the highest number that was ever given, and gives the one before.
    pub(super) const fn set_last(&mut self, last: Option<OfferId>) -> Option<OfferId> {
        std::mem::replace(&mut self.last, last)
    }
}

fn parties(offer: &OfferRecord) -> impl Iterator<Item = &UserName> {
    offer.receivers.keys().chain([&offer.from])
}

#[cfg(test)]
mod tests {
    use common::id::{FileId, Hash};

    use super::*;

    #[test]
    fn an_offer_stands_under_all_its_users() {
        let user = |name: &str| -> UserName { name.parse().unwrap() };
        let record = OfferRecord {
            from: user("a"),
            name: "x".parse().unwrap(),
            content: FileId::new(1, Hash([1; 32])).unwrap().into(),
            folder: None,
            at_ms: 5,
            receivers: [(user("b"), Response::Offered), (user("c"), Response::Done(PeerId([1; 32])))].into(),
        };
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<OfferRecord>(&json).unwrap(), record);
        let mut offers = Offers::default();
        assert_eq!(offers.set(OfferId(7), Some(record.clone())), None);
        assert_eq!(["a", "b", "c", "d"].map(|name| offers.of(&user(name)).count()), [1, 1, 1, 0]);
        assert_eq!(["a", "b", "c", "d"].map(|name| record.is_for(&user(name))), [true, false, true, false]);
        assert!(!record.is_settled() && record.with(&user("b"), Response::Refused).is_settled());
        assert_eq!(offers.set(OfferId(7), None), Some(record));
        assert!(offers.by_user.is_empty() && offers.get(OfferId(7)).is_none());
    }
}
