//! News: what the user of a node hears of the network by itself, beside who comes, goes and talks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::group::{Event, Refusal};
use common::id::PeerId;
use tokio::sync::broadcast;

use crate::notice::Notice;

/// Who does the same again and again is named for it once in this time.
const NAME_AGAIN: Duration = Duration::from_secs(60);
/// So many refusals are remembered; while there are so many, others are not told.
const MOST_NAMED: usize = 256;

/// Tells until the node ends.
pub(super) async fn tell(mut events: broadcast::Receiver<Event>, here: PeerId, notices: broadcast::Sender<Notice>) {
    let mut news = News { here, names: BTreeMap::new(), named: Vec::new() };
    loop {
        match events.recv().await {
            Ok(event) => {
                if let Some(notice) = news.notice(event) {
                    // Nobody may be listening.
                    let _heard = notices.send(notice);
                }
            }
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

struct News {
    here: PeerId,
    names: BTreeMap<PeerId, String>,
    /// Who was named for what, and when.
    named: Vec<(PeerId, Refusal, Instant)>,
}

impl News {
    fn notice(&mut self, event: Event) -> Option<Notice> {
        match event {
            Event::Came(member) => {
                self.names.insert(member.id(), member.name().to_string());
                None
            }
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
            Event::SupernodeLost { .. } => Some(Notice::SupernodeLost),
            Event::SupernodeIs { peer, .. } => {
                Some(Notice::Supernode { name: (peer != self.here).then(|| self.name(&peer)) })
            }
            Event::Refused { whom, why } if self.is_news(whom, why) => {
                Some(Notice::Warning { text: format!("{} was refused: {why}.", self.name(&whom)) })
            }
            _ => None,
        }
    }

    /// Whether somebody was not named for this of late.
    fn is_news(&mut self, whom: PeerId, why: Refusal) -> bool {
        let now = Instant::now();
        self.named.retain(|(.., at)| now < *at + NAME_AGAIN);
        let is_new = !self.named.iter().any(|(peer, what, _)| (*peer, *what) == (whom, why));
        let has_room = self.named.len() < MOST_NAMED;
        if is_new && has_room {
            self.named.push((whom, why, now));
        }
        is_new && has_room
    }

    fn name(&self, peer: &PeerId) -> String {
        self.names.get(peer).cloned().unwrap_or_else(|| peer.to_string())
    }
}
