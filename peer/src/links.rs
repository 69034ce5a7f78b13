//! All links of this peer, one to each other peer; dialling and accepting.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use common::id::PeerId;
use common::tls::{self, Expect};
use common::wire::PEER_ALPN;
use common::wire::peer::Reason;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::context::{Context, Ways};
use crate::gate::network_of;
use crate::link::{Dialler, HANDSHAKE_DEADLINE, Introduced, Link, introduce};
use crate::overlay::Reached;

/// How long the addresses of a peer may take, all together (DESIGN section 3).
const DIAL_DEADLINE: Duration = Duration::from_secs(2);
/// How long the overlay may look for a way to a peer: over a relay, at first, or by opening both routers.
const OVERLAY_DEADLINE: Duration = Duration::from_secs(5);
/// The same where it has to ask the tracker first where it is itself.
const BESIDE_DEADLINE: Duration = Duration::from_secs(12);
/// How long one address is tried alone before the next is tried beside it (RFC 8305).
const STAGGER: Duration = Duration::from_millis(100);
/// A link that was silent for so long gives way to any new one.
const DOUBTFUL: Duration = Duration::from_secs(6);
/// Most links at a time.
const MOST_LINKS: usize = 512;
/// More links than this from one address (IPv6: one /64) are a crowd: a class behind one router should be none.
const CROWD: usize = 32;
/// A link of a crowd that has moved no chunk bytes for so long gives way when there is no room.
const QUIET: Duration = Duration::from_secs(10);
/// What TLS may hold back before it is written to the socket: a piece and its header.
const TLS_BUFFER: usize = (1 << 20) + (64 << 10);

/// All links of this peer.
#[derive(Debug)]
pub(crate) struct Links {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    by_peer: HashMap<PeerId, Arc<Link>>,
    dialling: HashSet<PeerId>,
}

impl Links {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::default(), changed: watch::Sender::new(()) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The link to a peer.
    pub(crate) fn find(&self, peer: &PeerId) -> Option<Arc<Link>> {
        self.lock().by_peer.get(peer).filter(|link| !link.is_closed()).cloned()
    }

    /// Whether this peer is being dialled.
    pub(crate) fn is_dialling(&self, peer: &PeerId) -> bool {
        self.lock().dialling.contains(peer)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().by_peer.len()
    }

    /// Whether there is room for one more. Where there is none, one without conversations has to go, or the quietest of those
    /// that came in number from one address.
    fn has_room(&self) -> bool {
        let gives_way = {
            let state = self.lock();
            if state.by_peer.len() < MOST_LINKS {
                return true;
            }
            let idle = state.by_peer.values().find(|link| link.is_idle()).cloned();
            idle.or_else(|| state.quietest_of_a_crowd())
        };
        gives_way.inspect(|link| link.close(Reason::Busy, "others need the room")).is_some()
    }

    /// Adds a link. Of two to the same peer one stays: the newer where the same side dialled both, otherwise that which
    /// the lower peer id dialled, so that both ends keep the same. Says which one.
    fn add(&self, link: Arc<Link>, here: PeerId) -> Arc<Link> {
        let mut state = self.lock();
        let earlier = state.by_peer.get(&link.peer()).filter(|earlier| !earlier.is_closed()).cloned();
        let keep_earlier = earlier.as_ref().is_some_and(|earlier| {
            let lower_dialled = match earlier.dialler() {
                Dialler::Here => here < link.peer(),
                Dialler::There => link.peer() < here,
            };
            earlier.dialler() != link.dialler() && lower_dialled && earlier.heard().elapsed() < DOUBTFUL
        });
        let (kept, given_up) = match earlier {
            Some(earlier) if keep_earlier => (earlier, Some(link)),
            earlier => {
                state.by_peer.insert(link.peer(), Arc::clone(&link));
                (link, earlier)
            }
        };
        drop(state);
        if let Some(link) = given_up {
            link.close(Reason::Duplicate, "another connection is kept");
        }
        self.changed.send_replace(());
        kept
    }

    /// A link has ended.
    pub(crate) fn remove(&self, link: &Link) {
        let mut state = self.lock();
        if state.by_peer.get(&link.peer()).is_some_and(|there| there.id() == link.id()) {
            state.by_peer.remove(&link.peer());
        }
        drop(state);
        self.changed.send_replace(());
    }

    /// Waits until there is a link to this peer.
    pub(crate) async fn wait_for(&self, peer: &PeerId, most: Duration) -> Option<Arc<Link>> {
        let mut changed = self.changed.subscribe();
        let waiting = async {
            loop {
                if let Some(link) = self.find(peer) {
                    return Some(link);
                }
                changed.changed().await.ok()?;
            }
        };
        timeout(most, waiting).await.ok().flatten()
    }
}

impl State {
    fn quietest_of_a_crowd(&self) -> Option<Arc<Link>> {
        let came = self.by_peer.values().filter(|link| link.dialler() == Dialler::There);
        let came: Vec<_> = came.map(|link| (network_of(link.address().ip()), link.moved(), link)).collect();
        quietest_of_a_crowd(&came, Instant::now()).map(Arc::clone)
    }
}

/// Of the networks from which more than [`CROWD`] came: the one who has moved nothing for the longest, and for at least
/// [`QUIET`]. One who makes many keys does not fill the table with them.
fn quietest_of_a_crowd<T: Copy>(came: &[(IpAddr, Instant, T)], now: Instant) -> Option<T> {
    let mut from: HashMap<IpAddr, usize> = HashMap::new();
    came.iter().for_each(|(network, ..)| *from.entry(*network).or_default() += 1);
    let crowd = came.iter().filter(|(network, ..)| from.get(network).is_some_and(|links| *links > CROWD));
    let quiet = crowd.filter(|(_, moved, _)| now.saturating_duration_since(*moved) >= QUIET);
    quiet.min_by_key(|(_, moved, _)| *moved).map(|(.., link)| *link)
}

/// A dial that is under way; others to the same peer wait for it.
struct DialGuard<'a> {
    links: &'a Links,
    peer: PeerId,
}

impl Drop for DialGuard<'_> {
    fn drop(&mut self) {
        self.links.lock().dialling.remove(&self.peer);
        self.links.changed.send_replace(());
    }
}

/// The link to a peer: the one there is, or a new one; by TCP to the first of these addresses at which it answers, where
/// peers are reached that way.
pub(crate) async fn connect(context: &Arc<Context>, peer: PeerId, addresses: &[SocketAddr]) -> io::Result<Arc<Link>> {
    connect_by(context, peer, async {
        match &context.ways {
            Ways::Tcp | Ways::TcpFirst(_) => {
                let (stream, introduced) = dial(context, Expect::Peer(peer), addresses).await?;
                Ok(Link::start(stream, introduced, context))
            }
            Ways::Overlay(overlay) => {
                let reached = timeout(OVERLAY_DEADLINE, overlay.reach(peer)).await??;
                greet(context, reached, Dialler::Here).await
            }
        }
    })
    .await
}

/// The link to a peer that cannot be reached by TCP: the one there is, or a new one over what there is beside TCP; `None`:
/// there is nothing beside it.
pub(crate) async fn connect_beside(context: &Arc<Context>, peer: PeerId) -> Option<io::Result<Arc<Link>>> {
    let Ways::TcpFirst(overlay) = &context.ways else { return None };
    let connecting = connect_by(context, peer, async {
        let reached = timeout(BESIDE_DEADLINE, overlay.reach(peer)).await??;
        greet(context, reached, Dialler::Here).await
    });
    Some(connecting.await)
}

/// The link to a peer: the one there is, or what comes of `connecting`. Who wants one while another connects waits for that.
async fn connect_by(
    context: &Arc<Context>,
    peer: PeerId,
    connecting: impl Future<Output = io::Result<Arc<Link>>>,
) -> io::Result<Arc<Link>> {
    let links = &context.links;
    let mut changed = links.changed.subscribe();
    loop {
        if let Some(link) = links.find(&peer) {
            return Ok(link);
        }
        if links.lock().dialling.insert(peer) {
            break;
        }
        // Another download dials it already.
        changed.changed().await.map_err(io::Error::other)?;
    }
    let _guard = DialGuard { links, peer };
    Ok(links.add(connecting.await?, context.identity.peer_id()))
}

/// A link to whoever is at the first of these addresses that answers; it is not one of [`Links`].
pub(crate) async fn connect_to_anyone(context: &Arc<Context>, addresses: &[SocketAddr]) -> io::Result<Arc<Link>> {
    let (stream, introduced) = dial(context, Expect::Anyone, addresses).await?;
    Ok(Link::start(stream, introduced, context))
}

/// Takes somebody who came over the overlay.
pub(crate) async fn take(context: &Arc<Context>, reached: Reached) -> io::Result<()> {
    let link = timeout(HANDSHAKE_DEADLINE, greet(context, reached, Dialler::There)).await??;
    context.links.add(link, context.identity.peer_id());
    Ok(())
}

/// Says hello on a stream of the overlay.
async fn greet(context: &Arc<Context>, reached: Reached, dialler: Dialler) -> io::Result<Arc<Link>> {
    let network = context.joined.get().and_then(crate::tracker_client::TrackerClient::network);
    let network = network.ok_or_else(|| io::Error::other("this peer is in no network yet"))?;
    let Reached { mut stream, key, address } = reached;
    introduce(&mut stream, network, context.port).await?;
    if dialler == Dialler::There && !context.links.has_room() {
        return Err(io::Error::other("refused: too many"));
    }
    Ok(Link::start(stream, Introduced { key, address, dialler }, context))
}

/// A new connection to the first of these addresses that answers as expected.
async fn dial(
    context: &Arc<Context>,
    expect: Expect,
    addresses: &[SocketAddr],
) -> io::Result<(tokio_rustls::TlsStream<TcpStream>, Introduced)> {
    let dialling = async {
        let mut attempts = JoinSet::new();
        let mut waiting = addresses.iter().copied();
        let mut last_error = io::Error::new(io::ErrorKind::AddrNotAvailable, "it has no address");
        loop {
            let next = waiting.next();
            if let Some(address) = next {
                attempts.spawn(dial_one(Arc::clone(context), expect, address));
            } else if attempts.is_empty() {
                return Err(last_error);
            }
            let patience = if next.is_some() { STAGGER } else { DIAL_DEADLINE };
            match timeout(patience, attempts.join_next()).await {
                Ok(Some(Ok(Ok(connected)))) => return Ok(connected),
                Ok(Some(Ok(Err(error)))) => last_error = error,
                Ok(Some(Err(panicked))) => last_error = io::Error::other(panicked),
                Ok(None) | Err(_) => {}
            }
        }
    };
    match timeout(DIAL_DEADLINE, dialling).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "it did not answer in 2 s")),
    }
}

async fn dial_one(
    context: Arc<Context>,
    expect: Expect,
    address: SocketAddr,
) -> io::Result<(tokio_rustls::TlsStream<TcpStream>, Introduced)> {
    let network = context.tracker().network().ok_or_else(|| io::Error::other("this peer is in no network yet"))?;
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let config = tls::client_config(&context.identity, expect, PEER_ALPN);
    let mut stream = TlsConnector::from(config).connect(tls::server_name(), socket).await?;
    stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER));
    let key = tls::peer_key(stream.get_ref().1).ok_or_else(|| io::Error::other("the peer showed no key"))?;
    introduce(&mut stream, network, context.port).await?;
    Ok((stream.into(), Introduced { key, address, dialler: Dialler::Here }))
}

/// Takes a connection that somebody made.
pub(crate) async fn accept(context: &Arc<Context>, socket: TcpStream, address: SocketAddr) -> io::Result<()> {
    let greeting = async {
        let network = context.joined.get().and_then(crate::tracker_client::TrackerClient::network);
        let network = network.ok_or_else(|| io::Error::other("this peer is in no network yet"))?;
        socket.set_nodelay(true)?;
        let config = tls::server_config(&context.identity, PEER_ALPN);
        let mut stream = TlsAcceptor::from(config).accept(socket).await?;
        stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER));
        let key = tls::peer_key(stream.get_ref().1).ok_or_else(|| io::Error::other("the peer showed no key"))?;
        introduce(&mut stream, network, context.port).await?;
        io::Result::Ok((stream, Introduced { key, address, dialler: Dialler::There }))
    };
    let (stream, introduced) = match timeout(HANDSHAKE_DEADLINE, greeting).await {
        Ok(greeted) => greeted?,
        Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long")),
    };
    if introduced.key == context.identity.public_key() || !context.links.has_room() {
        return Err(io::Error::other("refused: itself, or too many"));
    }
    let link = Link::start(stream, introduced, context);
    context.links.add(link, context.identity.peer_id());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quietest_of_those_who_come_in_number_gives_way() {
        let start = Instant::now();
        let now = start + QUIET * 2;
        let at = |last: u8| IpAddr::from([192, 0, 2, last]);
        // A class behind one router, all quiet, is no crowd.
        let class: Vec<_> = (0..CROWD).map(|number| (at(1), start, number)).collect();
        assert_eq!(quietest_of_a_crowd(&class, now), None);
        let mut all = class;
        all.extend((0..=CROWD).map(|number| (at(2), start + QUIET / 2, 100 + number)));
        all[CROWD + 7].1 = start + QUIET / 4;
        assert_eq!(quietest_of_a_crowd(&all, now), Some(107));
        for one in &mut all {
            one.1 = now - QUIET / 2;
        }
        assert_eq!(quietest_of_a_crowd(&all, now), None, "all of them move bytes");
    }
}
