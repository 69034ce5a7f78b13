//! Ping: is that peer there, and how far.

use std::net::SocketAddr;
use std::time::Duration;

use common::id::PeerId;
use common::wire::tracker::{Reply, Request};

use super::parts::Parts;
use super::{Failure, FailureKind, Outcome, failure};

/// Pings a user's peer, the peer of an id, or the peer at an address.
pub(super) async fn ping(parts: &Parts, target: &str) -> Result<Outcome, Failure> {
    // No user name has a colon.
    if target.contains(':') { at_address(parts, target).await } else { of_user(parts, target).await }
}

async fn at_address(parts: &Parts, target: &str) -> Result<Outcome, Failure> {
    let addresses: Vec<SocketAddr> = match target.parse() {
        Ok(address) => vec![address],
        Err(_) => resolve(target).await?,
    };
    pong(parts, None, &addresses)
        .await
        .map_err(|why| Failure::new(FailureKind::Failed, format!("no peer answers at {target} ({why})")))
}

async fn resolve(target: &str) -> Result<Vec<SocketAddr>, Failure> {
    match tokio::net::lookup_host(target).await {
        Ok(found) => Ok(found.collect()),
        Err(error) => {
            tracing::debug!(target, %error, "not resolved");
            Err(Failure::new(FailureKind::Usage, format!("{target:?} is neither a user nor ADDR:PORT")))
        }
    }
}

async fn of_user(parts: &Parts, target: &str) -> Result<Outcome, Failure> {
    let user = match target.parse::<PeerId>() {
        Ok(peer) => peer.to_string(),
        Err(_) => failure::user_name(target)?.to_string(),
    };
    let Reply::Whereabouts { holders } = parts.tracker.request(Request::Where { user: user.clone() }).await? else {
        return Err(failure::odd_answer());
    };
    if holders.iter().any(|holder| holder.peer == parts.peer) {
        let (peer, address) = (parts.peer, parts.listen);
        return Ok(Outcome::Pong { peer, address, round_trip_us: 0 });
    }
    let mut why = "it has no address".to_owned();
    for holder in holders {
        match pong(parts, Some(holder.peer), &holder.addresses).await {
            Ok(outcome) => return Ok(outcome),
            Err(error) => why = error,
        }
    }
    Err(Failure::new(FailureKind::Failed, format!("{user} is online, but cannot be reached ({why})")))
}

async fn pong(parts: &Parts, peer: Option<PeerId>, addresses: &[SocketAddr]) -> Result<Outcome, String> {
    let pong = parts.engine.ping(peer, addresses).await.map_err(|error| error.to_string())?;
    Ok(Outcome::Pong { peer: pong.peer, address: pong.address, round_trip_us: microseconds(pong.round_trip) })
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
