//! Dialling: from `host:port` to a TCP connection, whichever of the host's addresses answers.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

/// An address that has not answered after so long gets the next one as a rival (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);
/// No more of a host's addresses are tried; picked by hand.
const MOST_ADDRESSES: usize = 16;

type Try = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// Connects to the first address that answers within `deadline`. The error is a phrase for people.
pub(super) async fn dial(host: &str, port: u16, deadline: Duration) -> Result<TcpStream, String> {
    let until = Instant::now() + deadline;
    let found = match tokio::time::timeout_at(until, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(found)) => interleaved(found),
        Ok(Err(error)) => {
            tracing::debug!(host, %error, "name not resolved");
            return Err("no such host is known".to_owned());
        }
        Err(_) => return Err("nobody says where that host is".to_owned()),
    };
    if found.is_empty() {
        return Err("that host has no address".to_owned());
    }
    match tokio::time::timeout_at(until, first_of(found)).await {
        Ok(Ok(stream)) => {
            stream.set_nodelay(true).map_err(|error| words(&error))?;
            Ok(stream)
        }
        Ok(Err(error)) => Err(words(&error)),
        Err(_) => Err(format!("no answer within {} s", deadline.as_secs())),
    }
}

/// What went wrong, in words that are the same everywhere.
pub(super) fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::TimedOut => "no answer".to_owned(),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => "no way to that host".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            "the connection broke".to_owned()
        }
        _ => error.to_string(),
    }
}

/// The families in turn, beginning with the one that the system would take, each in the system's order.
fn interleaved(found: impl Iterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
    let mut all: Vec<SocketAddr> = found.take(MOST_ADDRESSES).collect();
    all.dedup();
    let first_is_ipv6 = all.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = all.into_iter().partition(|address| address.is_ipv6() == first_is_ipv6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut order = VecDeque::new();
    loop {
        let (one, other) = (first.next(), second.next());
        if one.is_none() && other.is_none() {
            return order;
        }
        order.extend(one);
        order.extend(other);
    }
}

/// Tries the addresses in order, the next one as soon as one fails or has had its head start.
async fn first_of(mut addresses: VecDeque<SocketAddr>) -> io::Result<TcpStream> {
    let mut tries: Vec<Try> = Vec::new();
    let mut telling: Option<io::Error> = None;
    loop {
        if let Some(address) = addresses.pop_front() {
            tries.push(Box::pin(TcpStream::connect(address)));
        }
        if tries.is_empty() {
            return Err(telling.unwrap_or_else(|| io::ErrorKind::TimedOut.into()));
        }
        tokio::select! {
            result = any_of(&mut tries) => match result {
                Ok(stream) => return Ok(stream),
                // A family that this machine does not have says nothing about the tracker.
                Err(error) if telling.as_ref().is_none_or(says_nothing) => telling = Some(error),
                Err(_) => {}
            },
            () = tokio::time::sleep(HEAD_START), if !addresses.is_empty() => {}
        }
    }
}

fn says_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable | io::ErrorKind::AddrNotAvailable
    ) || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// The first of these that ends; it is taken out.
async fn any_of(tries: &mut Vec<Try>) -> io::Result<TcpStream> {
    poll_fn(|context| {
        for number in 0..tries.len() {
            if let Some(one) = tries.get_mut(number)
                && let Poll::Ready(result) = one.as_mut().poll(context)
            {
                drop(tries.swap_remove(number));
                return Poll::Ready(result);
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn families_take_turns() {
        let addresses = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"];
        let order: Vec<String> = interleaved(addresses.iter().map(|text| text.parse().unwrap()))
            .into_iter()
            .map(|address| address.to_string())
            .collect();
        assert_eq!(order, ["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"]);
    }

    #[tokio::test]
    async fn a_refusing_address_does_not_hold_up_the_next() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open_at = open.local_addr().unwrap();
        let stream = first_of([closed, open_at].into()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open_at);
        assert_eq!(dial("127.0.0.1", closed.port(), HEAD_START).await.unwrap_err(), "connection refused");
    }

    #[tokio::test]
    async fn a_name_that_is_none_is_said_to_be() {
        let error = dial("no such host", 1, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(error, "no such host is known");
    }
}
