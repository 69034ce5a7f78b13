//! Reaching: by whatever way leads to a peer. First it is dialled, then it is asked to dial us, and where neither works both
//! meet over MRT, with the tracker as the rendezvous.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::id::PeerId;
use common::wire::tracker::{Event, Request};
use tokio::sync::broadcast;

use crate::context::Context;
use crate::link::Link;
use crate::links;

/// How long a peer that was asked to dial us may take; one that cannot reach us says so earlier, if it is not too old.
const DIAL_BACK: Duration = Duration::from_secs(8);

/// The link to a peer, however it can be had.
pub(crate) async fn reach(context: &Arc<Context>, peer: PeerId, addresses: &[SocketAddr]) -> io::Result<Arc<Link>> {
    let error = match links::connect(context, peer, addresses).await {
        Ok(link) => return Ok(link),
        Err(error) => error,
    };
    if let Some(link) = dialled_back(context, peer).await {
        return Ok(link);
    }
    links::connect_beside(context, peer).await.unwrap_or(Err(error))
}

/// Has a peer dial us.
async fn dialled_back(context: &Arc<Context>, peer: PeerId) -> Option<Arc<Link>> {
    let mut events = context.tracker().events();
    context.tracker().request(Request::DialMe { peer }).await.ok()?;
    tokio::select! {
        link = context.links.wait_for(&peer, DIAL_BACK) => link,
        () = not_reached(&mut events, peer) => context.links.find(&peer),
    }
}

/// Ends when that peer has said that it cannot reach us.
async fn not_reached(events: &mut broadcast::Receiver<Event>, wanted: PeerId) {
    loop {
        match events.recv().await {
            Ok(Event::NotReached { peer }) if peer == wanted => return,
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            // The deadline will come.
            Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
        }
    }
}
