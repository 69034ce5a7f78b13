//! News: what the user of a node hears of the network by itself, beside who comes, goes and talks.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use common::group::{Event, Refusal};
use common::id::PeerId;
use tokio::sync::broadcast;
use tokio::time::sleep_until;

use super::asks::{Asker, Members};
use super::names::names;
use crate::notice::Notice;

/// Who does the same again and again is named for it once in this time.
const NAME_AGAIN: Duration = Duration::from_secs(60);
/// So many refusals are remembered; while there are so many, others are not told.
const MOST_NAMED: usize = 256;

/// While a supernode is looked for honest members may claim its place, or terms, that others do not grant yet. Who does so
/// is named after this time, if the supernode stayed what it was meanwhile ...
const DOUBT: Duration = Duration::from_secs(5);
/// ... and was not lost so shortly before.
const CALM: Duration = Duration::from_secs(10);

/// Tells until the node ends.
pub(super) async fn tell(
    mut events: broadcast::Receiver<Event>,
    here: PeerId,
    asker: Asker,
    notices: broadcast::Sender<Notice>,
) {
    let mut news = News::new(here);
    loop {
        let due = news.due_at();
        let overdue = async {
            match due {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let told = tokio::select! {
            event = events.recv() => match event {
                Ok(event) => {
                    // A crowd that comes is looked at when all of it is there.
                    if news.may_name_somebody(&event) || (matches!(event, Event::Came(_)) && events.is_empty()) {
                        news.learn(&asker).await;
                    }
                    news.notice(Instant::now(), event)
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    news.learn_anew(&asker).await;
                    None
                }
                Err(broadcast::error::RecvError::Closed) => return,
            },
            () = overdue => news.doubt_over(Instant::now()),
        };
        if let Some(notice) = told {
            // Nobody may be listening.
            let _heard = notices.send(notice);
        }
    }
}

struct News {
    here: PeerId,
    /// What members are called, and those who have left of whom the news have not heard that.
    names: BTreeMap<PeerId, String>,
    /// Who was named for what, and when.
    named: Vec<(PeerId, Refusal, Instant)>,
    /// Who may be honest, and when that is known.
    doubted: VecDeque<(PeerId, Refusal, Instant)>,
    /// When a supernode was lost.
    lost: Option<Instant>,
}

impl News {
    const fn new(here: PeerId) -> Self {
        Self { here, names: BTreeMap::new(), named: Vec::new(), doubted: VecDeque::new(), lost: None }
    }

    /// Whether the user may now be told of somebody by name.
    fn may_name_somebody(&self, event: &Event) -> bool {
        match event {
            Event::Shared(_) | Event::SupernodeIs { .. } => true,
            Event::Refused { whom, why } => !self.was_named(whom, *why),
            _ => false,
        }
    }

    /// Looks what members are called.
    async fn learn(&mut self, asker: &Asker) {
        // Where the node ends nobody needs to know.
        if let Ok(Members { members }) = asker.members().await {
            self.names.extend(names(&members));
        }
    }

    /// The same when it was not heard who left.
    async fn learn_anew(&mut self, asker: &Asker) {
        self.names.clear();
        self.learn(asker).await;
    }

    /// When [`Self::doubt_over`] has something to say.
    fn due_at(&self) -> Option<Instant> {
        self.doubted.front().map(|(.., at)| *at)
    }

    /// Somebody who was doubted stays refused.
    fn doubt_over(&mut self, now: Instant) -> Option<Notice> {
        self.doubted.pop_front_if(|(.., at)| *at <= now).map(|(whom, why, _)| self.refused(&whom, why))
    }

    fn refused(&self, whom: &PeerId, why: Refusal) -> Notice {
        Notice::Warning { text: format!("{} was refused: {why}.", self.name(whom)) }
    }

    fn notice(&mut self, now: Instant, event: Event) -> Option<Notice> {
        if matches!(event, Event::SupernodeLost { .. } | Event::SupernodeIs { .. }) {
            // Whoever claimed something was about to have it, or to lose it.
            self.doubted.clear();
        }
        match event {
            Event::Went(peer) => {
                self.names.remove(&peer);
                None
            }
            Event::Shared(listing) if listing.owner != self.here => Some(Notice::Shares {
                owner: self.name(&listing.owner),
                name: listing.entry.to_string(),
                bytes: match listing.shared.folder {
                    Some(folder) => folder.bytes,
                    None => listing.shared.content.file_or_manifest().length(),
                },
            }),
            Event::SupernodeLost { .. } => {
                self.lost = Some(now);
                Some(Notice::SupernodeLost)
            }
            Event::SupernodeIs { peer, .. } => {
                Some(Notice::Supernode { name: (peer != self.here).then(|| self.name(&peer)) })
            }
            Event::Refused { whom, why: why @ (Refusal::NotSupernode | Refusal::Term) } => {
                tracing::info!(peer = %whom, %why, "refused");
                let is_calm = self.lost.is_none_or(|lost| now >= lost + CALM);
                // Of strangers nobody can do anything about it.
                if is_calm && self.names.contains_key(&whom) && self.is_news(now, whom, why) {
                    self.doubted.push_back((whom, why, now + DOUBT));
                }
                None
            }
            Event::Refused { whom, why } if self.is_news(now, whom, why) => Some(self.refused(&whom, why)),
            _ => None,
        }
    }

    /// Whether somebody was not named for this of late.
    fn is_news(&mut self, now: Instant, whom: PeerId, why: Refusal) -> bool {
        self.named.retain(|(.., at)| now < *at + NAME_AGAIN);
        let is_new = !self.was_named(&whom, why);
        let has_room = self.named.len() < MOST_NAMED;
        if is_new && has_room {
            self.named.push((whom, why, now));
        }
        is_new && has_room
    }

    fn was_named(&self, whom: &PeerId, why: Refusal) -> bool {
        self.named.iter().any(|(peer, what, _)| (peer, *what) == (whom, why))
    }

    fn name(&self, peer: &PeerId) -> String {
        self.names.get(peer).cloned().unwrap_or_else(|| peer.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::asks::tests as asks;
    use super::*;
    use common::group::{Addresses, Member};
    use common::identity::Identity;
    use common::mrt::StaticKey;
    use common::name::UserName;

    fn mallory() -> Member {
        let key = Identity::from_seed(&[3; 32]).public_key();
        Member::new(key, StaticKey([4; 32]), UserName::new("mallory").unwrap(), Addresses::default())
    }

    fn news() -> News {
        let mut news = News::new(PeerId([1; 32]));
        news.names = names(&[mallory()]);
        news
    }

    #[tokio::test]
    async fn who_lies_under_the_name_of_another_is_told_from_him() {
        let ann = |number| {
            let key = Identity::from_seed(&[number; 32]).public_key();
            Member::new(key, StaticKey([number; 32]), UserName::new("ann").unwrap(), Addresses::default())
        };
        let members = vec![ann(1), ann(2)];
        let lie = Event::Refused { whom: members[1].id(), why: Refusal::Lie };
        let (events, notices) = (broadcast::Sender::new(4), broadcast::Sender::new(4));
        let mut heard = notices.subscribe();
        let telling = tell(events.subscribe(), PeerId([9; 32]), asks::of(members.clone()), notices);
        for event in [Event::Came(members[0].clone()), Event::Came(members[1].clone()), lie] {
            events.send(event).unwrap();
        }
        drop(events);
        telling.await;
        let text = "ann-2 was refused: it lies about the members.".to_owned();
        assert_eq!(heard.try_recv(), Ok(Notice::Warning { text }));
    }

    #[tokio::test]
    async fn who_left_unheard_is_forgotten() {
        let (events, notices) = (broadcast::Sender::new(2), broadcast::Sender::new(4));
        let (asker, mut asked) = asks::by_hand();
        let mut heard = notices.subscribe();
        let telling = tell(events.subscribe(), PeerId([9; 32]), asker, notices);
        let happening = async move {
            events.send(Event::Came(mallory())).unwrap();
            let answer = asks::members_wanted(&mut asked).await;
            // There is no room for all of these, and the first is lost.
            for peer in [mallory().id(), PeerId([7; 32]), PeerId([8; 32])] {
                events.send(Event::Went(peer)).unwrap();
            }
            answer.send(Members { members: vec![mallory()] }).unwrap();
            asks::members_wanted(&mut asked).await.send(Members { members: Vec::new() }).unwrap();
            events.send(Event::Refused { whom: mallory().id(), why: Refusal::Lie }).unwrap();
            asks::members_wanted(&mut asked).await.send(Members { members: Vec::new() }).unwrap();
        };
        tokio::join!(telling, happening);
        let text = format!("{} was refused: it lies about the members.", mallory().id());
        assert_eq!(heard.try_recv(), Ok(Notice::Warning { text }));
    }

    const CLAIMS: Refusal = Refusal::NotSupernode;

    #[test]
    fn who_claims_the_place_of_a_supernode_that_stays_is_named() {
        let (mut news, now) = (news(), Instant::now());
        let claim = Event::Refused { whom: mallory().id(), why: CLAIMS };
        assert_eq!(news.notice(now, claim.clone()), None);
        assert_eq!((news.doubt_over(now), news.due_at()), (None, Some(now + DOUBT)));
        let text = "mallory was refused: it claims the place of the supernode.".to_owned();
        assert_eq!(news.doubt_over(now + DOUBT), Some(Notice::Warning { text }));
        assert_eq!(news.notice(now + DOUBT, claim), None);
        assert_eq!(news.due_at(), None, "once is enough");
    }

    #[test]
    fn honest_candidates_and_strangers_are_not_named() {
        let (mut news, now) = (news(), Instant::now());
        let claim = |whom| Event::Refused { whom, why: CLAIMS };
        assert_eq!(news.notice(now, claim(PeerId([9; 32]))), None);
        assert_eq!(news.due_at(), None, "a stranger");
        news.notice(now, claim(mallory().id()));
        news.notice(now, Event::SupernodeIs { peer: mallory().id(), term: 2 });
        assert_eq!(news.due_at(), None, "it became the supernode");
        let later = now + NAME_AGAIN;
        news.notice(later, Event::SupernodeLost { peer: PeerId([2; 32]) });
        news.notice(later + DOUBT, claim(mallory().id()));
        assert_eq!(news.due_at(), None, "another was being looked for");
    }

    #[test]
    fn who_lies_is_named_at_once() {
        let text = "mallory was refused: it lies about the members.".to_owned();
        let lie = Event::Refused { whom: mallory().id(), why: Refusal::Lie };
        assert_eq!(news().notice(Instant::now(), lie), Some(Notice::Warning { text }));
    }
}
