//! News: what the user of a node hears of the network by itself, beside who comes, goes and talks.

use std::collections::BTreeMap;

use common::group::Event;
use common::id::PeerId;
use tokio::sync::broadcast;

use crate::notice::Notice;

/// Tells until the node ends.
pub(super) async fn tell(mut events: broadcast::Receiver<Event>, here: PeerId, notices: broadcast::Sender<Notice>) {
    let mut news = News { here, names: BTreeMap::new() };
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
                bytes: listing.content.file_or_manifest().length(),
            }),
            Event::SupernodeLost { .. } => Some(Notice::SupernodeLost),
            Event::SupernodeIs { peer, .. } => {
                Some(Notice::Supernode { name: (peer != self.here).then(|| self.name(&peer)) })
            }
            Event::Refused { whom, why } => {
                Some(Notice::Warning { text: format!("{} was refused: {why}.", self.name(&whom)) })
            }
            _ => None,
        }
    }

    fn name(&self, peer: &PeerId) -> String {
        self.names.get(peer).cloned().unwrap_or_else(|| peer.to_string())
    }
}
