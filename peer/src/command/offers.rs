//! Offers: what users push to each other. An offer that is accepted is an ordinary download, which its receivers share
//! between them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use common::audience::{Audience, OfferId};
use common::id::NetworkId;
use common::name::{EntryName, EntryRef, UserName};
use common::wire::tracker::{Answer, FolderSize, Offer, OfferState, Receiver, Reply, Request, Sent};
use tokio::sync::mpsc;

use super::downloads::{Interest, Running};
use super::errand::{self, Errand, Purpose};
use super::parts::{Parts, absolute};
use super::register::{Readable, readable};
use super::{Failure, FailureKind, Outcome, Update, failure};
use crate::engine::PlanSource;
use crate::library::Item;
use crate::notice::Notice;

/// So many offers are remembered as told; a tracker has fewer for one user.
const MOST_TOLD: usize = 10_000;

/// Pushes a file or a folder to users, and serves it to them from where it lies.
pub(super) async fn send(
    parts: &Arc<Parts>,
    path: PathBuf,
    to: Option<Vec<String>>,
    updates: &mpsc::Sender<Update>,
) -> Result<Outcome, Failure> {
    absolute(&path)?;
    match &to {
        Some(users) if users.is_empty() => {
            return Err(Failure::new(FailureKind::Usage, "nobody is named to send it to")
                .with_hint("name users, or give --all"));
        }
        Some(users) => users.iter().try_for_each(|user| failure::user_name(user).map(drop))?,
        None => {}
    }
    let Readable { name, shared, folder } = readable(parts, &path, updates).await?;
    let all = Arc::clone(parts);
    let pushing = async move {
        let network = all.network()?;
        let content = shared.content;
        let request = Request::Offer { name: name.to_string(), content, folder, to };
        let Reply::Offered { offer, to } = all.tracker.request(request).await? else {
            return Err(failure::odd_answer());
        };
        let bytes = errand::bytes(&shared.looks);
        let (path, looks) = (shared.path.clone(), shared.looks.clone());
        let (entries, offers) = (Default::default(), BTreeSet::from([offer]));
        all.share(Item { network, content, path, entries, offers, looks }, shared).await;
        all.save_library().await;
        Ok(Outcome::Sent { offer, name: name.to_string(), bytes, to })
    };
    parts.to_the_end("send", pushing).await
}

/// Answers an offer to this user.
pub(super) async fn answer(parts: &Arc<Parts>, which: Option<&str>, answer: Answer) -> Result<Outcome, Failure> {
    let (received, _) = all(parts).await?;
    let offer = choose(received, which)?;
    let network = parts.network()?;
    let outcome = Outcome::Answered { offer: offer.id, from: offer.from.clone(), name: offer.name.clone(), answer };
    match answer {
        Answer::Accept => accept(parts, network, offer).await?,
        Answer::Refuse => {
            parts.tracker.request(Request::Answer { offer: offer.id, answer }).await?;
        }
    }
    Ok(outcome)
}

/// Offers to this user, and by it.
pub(super) async fn offers(parts: &Parts) -> Result<Outcome, Failure> {
    let (received, sent) = all(parts).await?;
    Ok(Outcome::Offers { received, sent })
}

async fn all(parts: &Parts) -> Result<(Vec<Offer>, Vec<Sent>), Failure> {
    match parts.tracker.request(Request::Offers).await? {
        Reply::Offers { received, sent } => Ok((received, sent)),
        _ => Err(failure::odd_answer()),
    }
}

/// The offer that is meant: by its number, or by who sent it, or the only one, where that has no answer yet.
fn choose(received: Vec<Offer>, which: Option<&str>) -> Result<Offer, Failure> {
    if let Some(number) = which.and_then(|which| which.parse().ok()) {
        let found = received.into_iter().find(|offer| offer.id == OfferId(number));
        return found.ok_or_else(|| {
            Failure::new(FailureKind::Failed, format!("there is no offer {number}"))
                .with_hint("`offers` shows those that there are")
        });
    }
    let open = received.into_iter().filter(|offer| offer.state == OfferState::Offered);
    let mut open: Vec<Offer> = open.filter(|offer| which.is_none_or(|user| offer.from == user)).collect();
    let whose = which.map_or_else(String::new, |user| format!(" by {user}"));
    if open.len() > 1 {
        let lines: Vec<String> =
            open.iter().map(|one| format!("{} ({} by {})", one.id.0, one.name, one.from)).collect();
        return Err(Failure::new(FailureKind::Failed, format!("several offers{whose} wait: {}", lines.join(", ")))
            .with_hint("say which, by its number"));
    }
    open.pop().ok_or_else(|| {
        Failure::new(FailureKind::Failed, format!("no offer{whose} waits for an answer"))
            .with_hint("`offers` shows those that there are")
    })
}

/// Says yes to an offer, and begins to download it in the background.
async fn accept(parts: &Arc<Parts>, network: NetworkId, offer: Offer) -> Result<(), Failure> {
    parts.tracker.request(Request::Answer { offer: offer.id, answer: Answer::Accept }).await?;
    parts.records.accept(network, offer.id);
    parts.save_records().await;
    bring(parts, network, offer).await;
    Ok(())
}

/// Begins to bring here what was accepted, and sees to it in the background that it comes.
async fn bring(parts: &Arc<Parts>, network: NetworkId, offer: Offer) {
    let Some(mut running) = begin(parts, network, &offer).await else { return };
    let parts = Arc::clone(parts);
    parts.clone().tasks.spawn("accepted offer", async move {
        loop {
            let mut end = running.end.clone();
            let ended = end.wait_for(Option::is_some).await.ok().and_then(|end| (*end).clone());
            if !matches!(ended, Some(Ok(_))) {
                return;
            }
            // It may have been under way for another reason; then it is here now, but not on account of the offer.
            match begin(&parts, network, &offer).await {
                Some(again) => running = again,
                None => return,
            }
        }
    });
}

/// Begins to download what was accepted, unless it is here.
async fn begin(parts: &Arc<Parts>, network: NetworkId, offer: &Offer) -> Option<Arc<Running>> {
    // The names were checked when they came.
    let sender = UserName::new(offer.from.as_str()).ok()?;
    let name = EntryName::new(offer.name.as_str()).ok()?;
    let errand = Errand {
        entry: EntryRef { owner: Some(sender), name },
        version: 0,
        content: offer.content,
        audience: Audience::Offer(offer.id),
        source: PlanSource::Offer(offer.id),
        purpose: Purpose::Once,
    };
    let content = offer.content;
    let listed = parts.with_library(move |library| library.of_content(network, &content)).await;
    let Some((item, shared)) = listed else {
        let spec = errand.spec(parts.dir.seeding().join(&offer.name));
        return Some(errand::start(parts, network, errand, spec, Interest::User).await.into_running());
    };
    if !item.offers.contains(&offer.id) {
        let downloaded = errand::take(parts, network, &errand, shared).await;
        parts.tell(Notice::Downloaded { name: offer.name.clone(), path: downloaded.path });
    }
    None
}

/// Tells of offers that wait for an answer, goes on with what was accepted, and ends what is settled.
pub(super) async fn catch_up(
    parts: &Arc<Parts>,
    network: NetworkId,
    told: &mut BTreeSet<OfferId>,
) -> Result<(), Failure> {
    // Before the question: what is offered meanwhile is not in the answer.
    let shared: BTreeSet<OfferId> = parts.library.items(network).into_iter().flat_map(|item| item.offers).collect();
    let accepted = parts.records.accepted(network);
    let (received, sent) = all(parts).await?;
    let known = received.iter().map(|offer| offer.id).chain(sent.iter().map(|sent| sent.offer.id));
    let known: BTreeSet<OfferId> = known.collect();
    for offer in received {
        match offer.state {
            OfferState::Offered => on_offered(parts, network, offer, told),
            OfferState::Accepted { .. } if accepted.contains(&offer.id) => {
                bring(parts, network, offer).await;
            }
            OfferState::Accepted { .. } | OfferState::Refused => {}
            OfferState::Done => parts.records.settle(network, offer.id),
        }
    }
    for offer in accepted.difference(&known) {
        parts.records.settle(network, *offer);
    }
    parts.save_records().await;
    let settled = sent.iter().filter(|sent| is_settled(sent)).map(|sent| sent.offer.id);
    let over: BTreeSet<OfferId> = settled.chain(shared.difference(&known).copied()).collect();
    share_no_more(parts, network, over.intersection(&shared).copied()).await;
    Ok(())
}

/// Nobody needs an offer any more that all its receivers have, or have refused.
fn is_settled(sent: &Sent) -> bool {
    let is_over = |receiver: &Receiver| matches!(receiver.state, OfferState::Done | OfferState::Refused);
    sent.to.iter().all(is_over)
}

async fn share_no_more(parts: &Parts, network: NetworkId, offers: impl Iterator<Item = OfferId>) {
    let offers: Vec<OfferId> = offers.collect();
    if offers.is_empty() {
        return;
    }
    for offer in offers {
        let reshared = parts.with_library(move |library| library.forget_offer(network, offer)).await;
        parts.reshare(reshared).await;
    }
    parts.save_library().await;
}

/// Somebody pushes something to this user: it is told once, and accepted where that was wished for at the start.
pub(super) fn on_offered(parts: &Arc<Parts>, network: NetworkId, offer: Offer, told: &mut BTreeSet<OfferId>) {
    if offer.state != OfferState::Offered || !told.insert(offer.id) {
        return;
    }
    if told.len() > MOST_TOLD {
        // They count up: the oldest, which is not told of again unless the tracker does.
        told.pop_first();
    }
    let accepted = parts.accept.accepts(&offer.from);
    let folder = offer.folder;
    let bytes = folder.map_or_else(|| offer.content.file_or_manifest().length(), |folder| folder.bytes);
    let (from, name, files) = (offer.from.clone(), offer.name.clone(), folder.map(|folder: FolderSize| folder.files));
    parts.tell(Notice::Offered { offer: offer.id, from, name, bytes, files, accepted });
    if accepted {
        let all = Arc::clone(parts);
        parts.tasks.spawn("accept an offer", async move {
            if let Err(failure) = accept(&all, network, offer).await {
                // Another device of this user may have been the first.
                tracing::info!(%failure, "an offer was not accepted");
            }
        });
    }
}

/// A receiver of an offer of this user has answered, or has it.
pub(super) fn on_answered(parts: &Arc<Parts>, network: NetworkId, offer: OfferId, name: String, receiver: Receiver) {
    let may_be_settled = matches!(receiver.state, OfferState::Done | OfferState::Refused);
    parts.tell(Notice::OfferAnswered { offer, name, receiver });
    if !may_be_settled {
        return;
    }
    let parts = Arc::clone(parts);
    parts.clone().tasks.spawn("settle an offer", async move {
        match all(&parts).await {
            Ok((_, sent)) if sent.iter().any(|sent| sent.offer.id == offer && is_settled(sent)) => {
                share_no_more(&parts, network, std::iter::once(offer)).await;
            }
            Ok(_) => {}
            Err(failure) => tracing::debug!(%failure, "whether an offer is settled is asked at the next connect"),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::{FileId, Hash};

    fn offer(number: u64, from: &str, state: OfferState) -> Offer {
        let content = FileId::new(1, Hash([1; 32])).unwrap().into();
        Offer {
            id: OfferId(number),
            from: from.to_owned(),
            name: "x".to_owned(),
            content,
            folder: None,
            at_ms: 0,
            state,
        }
    }

    #[test]
    fn an_offer_is_meant_by_number_by_sender_or_because_it_is_the_only_one() {
        let open = OfferState::Offered;
        let two = || vec![offer(1, "ann", open), offer(2, "bob", open), offer(3, "bob", OfferState::Done)];
        let chosen = |received, which| choose(received, which).map(|offer| offer.id.0);
        assert_eq!(chosen(two(), Some("3")), Ok(3), "also one that was answered");
        assert_eq!(chosen(two(), Some("bob")), Ok(2));
        assert_eq!(chosen(vec![offer(7, "eve", open)], None), Ok(7));
        for (received, which, part) in [
            (two(), None, "1 (x by ann), 2 (x by bob)"),
            (two(), Some("eve"), "no offer by eve"),
            (two(), Some("9"), "no offer 9"),
            (Vec::new(), None, "no offer waits"),
        ] {
            let failure = choose(received, which).unwrap_err();
            assert!(failure.text.contains(part), "{failure}");
        }
    }

    #[test]
    fn an_offer_is_settled_when_everybody_has_it_or_does_not_want_it() {
        let sent = |states: &[OfferState]| {
            let receiver = |state: &OfferState| Receiver { user: "u".to_owned(), state: *state };
            Sent { offer: offer(1, "me", OfferState::Offered), to: states.iter().map(receiver).collect() }
        };
        assert!(is_settled(&sent(&[OfferState::Done, OfferState::Refused])));
        for open in [OfferState::Offered, OfferState::Accepted { percent: Some(99) }] {
            assert!(!is_settled(&sent(&[OfferState::Done, open])));
        }
    }
}
