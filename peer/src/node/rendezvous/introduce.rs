//! Asking the tracker for a meeting, and the reasons why there is no way to a peer.

use std::io;

use common::id::PeerId;
use common::relay::ChannelId;
use common::wire::tracker::{Code, Meeting, Refusal, Reply, Request, UdpOffer};

use super::presence::Presence;
use crate::tracker_client::{TrackerClient, TrackerError};

/// Why there is no way to a peer over MRT. Each is a phrase that follows "it cannot be reached by TCP, and".
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unmet {
    /// The tracker is too old, or has no UDP port.
    #[error("the tracker does not help peers to meet over MRT")]
    NoHelp,
    /// The tracker refused.
    #[error("the tracker says: {0}")]
    Refused(Refusal),
    /// The other side does not serve over MRT.
    #[error("it does not serve over MRT (its user can start it with --mrt)")]
    NotServing,
    /// This machine gives no UDP socket.
    #[error("this machine gives no UDP port: {0}")]
    Socket(io::Error),
    /// A firewall keeps datagrams from the tracker, or its answers from here.
    #[error("no datagrams come through between this peer and the tracker, so MRT cannot be used here")]
    NoDatagrams,
    /// Something answers where the tracker's UDP port is said to be, but not as the tracker does.
    #[error("what answers at the tracker's UDP port gives no proof of where this peer is, so MRT cannot be used here")]
    NoProof,
    /// Neither can reach the other, and nobody relays.
    #[error("over MRT neither router lets the other's datagrams in, and the tracker does not relay (--relay off)")]
    NotRelayed,
    /// Neither can reach the other, and the relay has no room for them.
    #[error(
        "over MRT neither router lets the other's datagrams in, and the tracker's relay has no room for two more now"
    )]
    NoRoom,
    /// It did not answer, although the tracker relays.
    #[error("over MRT it did not answer either")]
    Silence,
    /// The tracker did not answer.
    #[error("the tracker does not answer")]
    NoTracker,
    /// This peer is ending.
    #[error("this peer is ending")]
    Ending,
}

impl Unmet {
    /// Why somebody was not reached who has a way through the relay, or not; the tracker relays, or not.
    pub(super) const fn unanswered(way: Option<ChannelId>, offer: Option<UdpOffer>) -> Self {
        match (way, offer) {
            (Some(_), _) => Self::Silence,
            (None, Some(UdpOffer { relays: true, .. })) => Self::NoRoom,
            (None, Some(UdpOffer { relays: false, .. })) => Self::NotRelayed,
            // It has gone meanwhile.
            (None, None) => Self::NoTracker,
        }
    }

    /// Whether the user should hear of it: it will be the same the next time, unless somebody does something.
    pub(crate) const fn is_lasting(&self) -> bool {
        match self {
            Self::NoHelp | Self::NotServing | Self::NoDatagrams | Self::NoProof | Self::NotRelayed => true,
            Self::Socket(_) => true,
            Self::Refused(_) | Self::NoRoom | Self::Silence | Self::NoTracker | Self::Ending => false,
        }
    }
}

/// What the tracker says to a wish.
#[derive(Debug)]
pub(super) enum Introduced {
    /// The other was told, too.
    Meeting(Box<Meeting>),
    /// Only who has shown where it is can meet others.
    ShowYourself,
}

/// Asks the tracker for a meeting with this peer, once it knows where we are.
pub(super) async fn introduce(
    tracker: &TrackerClient,
    presence: Option<&Presence>,
    peer: PeerId,
) -> Result<Introduced, Unmet> {
    if tracker.connected().await.is_err() {
        return Err(Unmet::NoTracker);
    }
    if tracker.udp().is_none() {
        return Err(Unmet::NoHelp);
    }
    if let Some(presence) = presence {
        presence.known().await?;
    }
    match tracker.request(Request::Meet { peer }).await {
        Ok(Reply::Meeting(meeting)) if meeting.peer == peer => Ok(Introduced::Meeting(Box::new(meeting))),
        Ok(_) => Err(Unmet::NoHelp),
        Err(TrackerError::Refused(refusal)) => match refusal.code {
            Code::Conflict if presence.is_none() => Ok(Introduced::ShowYourself),
            Code::NotFound => Err(Unmet::NotServing),
            Code::Unknown | Code::Newer | Code::Unavailable => Err(Unmet::NoHelp),
            _ => Err(Unmet::Refused(refusal)),
        },
        Err(_) => Err(Unmet::NoTracker),
    }
}

#[cfg(test)]
mod tests {
    use common::nat::StunToken;

    use super::*;

    #[test]
    fn nobody_is_told_that_the_tracker_does_not_relay_when_it_does() {
        let offer = |relays| Some(UdpOffer { token: StunToken([0; 16]), relays });
        let said = |way, offer| Unmet::unanswered(way, offer).to_string();
        assert!(said(None, offer(false)).contains("--relay off"));
        assert!(said(None, offer(true)).contains("no room"));
        assert!(!said(Some(ChannelId(1)), offer(true)).contains("relay"));
    }

    #[test]
    fn the_user_hears_what_somebody_has_to_do_something_about() {
        // The tracker was started with --stun off, or is too old.
        assert!(Unmet::NoHelp.is_lasting() && Unmet::NoProof.is_lasting());
        assert!(!Unmet::NoTracker.is_lasting() && !Unmet::Silence.is_lasting());
    }
}
