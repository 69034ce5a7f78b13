//! Proof of an address without state: who can send back what we sent to an address receives what is sent there.
//!
//! A cookie is the time at which it was made, and a MAC over that, the address, and the id that the initiator chose:
//!
//! ```text
//! milliseconds since the endpoint was made   8 bytes
//! HMAC-SHA256                               32 bytes
//! ```
//!
//! Only the endpoint that made it reads it. The key of the MAC changes every two minutes.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign, verify};
use zeroize::Zeroizing;

use super::frame::put_address;
use super::packet::ConnectionId;
use super::random::Random;
use crate::reader::Reader;

/// How long a cookie is good: several round trips of the slowest path, with a lost packet among them.
const LIFETIME: Duration = Duration::from_secs(20);

/// How long a key is in use: long enough that most cookies are checked with the key that is in use, and short enough that nobody
/// collects many MACs of one.
const KEY_LIFETIME: Duration = Duration::from_secs(120);

/// Makes cookies and knows them again. `Debug` shows no key.
pub(super) struct Cookies {
    /// What times count from.
    epoch: Instant,
    random: Random,
    /// When `current` came into use.
    since: Instant,
    current: Key,
    /// For cookies made before `since`.
    previous: Key,
}

impl Cookies {
    pub(super) fn new(now: Instant, random: &mut Random) -> Self {
        let mut random = random.fork();
        let (current, previous) = (key(&mut random), key(&mut random));
        Self { epoch: now, random, since: now, current, previous }
    }

    /// A cookie for this address and this id: 40 bytes, good for [`LIFETIME`].
    pub(super) fn make(&mut self, now: Instant, from: SocketAddr, source: ConnectionId) -> Vec<u8> {
        self.change_keys(now);
        let made = self.milliseconds(now).to_be_bytes();
        let tag = sign(&self.current, &covered(made, from, source));
        [made.as_slice(), tag.as_ref()].concat()
    }

    /// Whether it is one of ours, for this address and id, and not too old.
    pub(super) fn check(&mut self, now: Instant, from: SocketAddr, source: ConnectionId, cookie: &[u8]) -> bool {
        self.change_keys(now);
        let mut reader = Reader::new(cookie);
        let Ok(made) = reader.array() else { return false };
        let time = u64::from_be_bytes(made);
        let age = self.milliseconds(now).checked_sub(time).map(Duration::from_millis);
        if age.is_none_or(|age| age >= LIFETIME) {
            return false;
        }
        let key = if time >= self.milliseconds(self.since) { &self.current } else { &self.previous };
        // Compares in constant time, and all of the 32 bytes.
        verify(key, &covered(made, from, source), reader.rest()).is_ok()
    }

    fn change_keys(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) >= KEY_LIFETIME {
            // A cookie made earlier in this very millisecond is lost by that, and asked for again. After a long pause the
            // key that becomes the previous one is old, but no cookie that it made is still good.
            self.previous = std::mem::replace(&mut self.current, key(&mut self.random));
            self.since = now;
        }
    }

    fn milliseconds(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for Cookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cookies").field("since", &self.since).finish_non_exhaustive()
    }
}

fn key(random: &mut Random) -> Key {
    Key::new(HMAC_SHA256, Zeroizing::new(random.bytes()).as_ref())
}

/// What the MAC of a cookie covers.
fn covered(made: [u8; 8], from: SocketAddr, source: ConnectionId) -> Vec<u8> {
    let mut out = made.to_vec();
    put_address(&mut out, from);
    out.extend(source.0.to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::super::packet::MAX_COOKIE;
    use super::*;

    const SOURCE: ConnectionId = ConnectionId(5);

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn cookies() -> (Cookies, Instant) {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let start = Instant::now();
        (Cookies::new(start, &mut Random::new([1; 32])), start)
    }

    #[test]
    fn a_cookie_is_good_for_one_address_and_one_id() {
        let (mut cookies, now) = cookies();
        for from in ["192.0.2.1:4000", "[2001:db8::1]:4000"].map(address) {
            let cookie = cookies.make(now, from, SOURCE);
            assert!(cookie.len() <= MAX_COOKIE);
            assert!(cookies.check(now, from, SOURCE, &cookie));
            assert!(!cookies.check(now, from, ConnectionId(6), &cookie));
            for other in ["192.0.2.1:4001", "192.0.2.2:4000", "[2001:db8::1]:4001", "[::ffff:192.0.2.1]:4000"] {
                assert!(!cookies.check(now, address(other), SOURCE, &cookie), "{other}");
            }
        }
    }

    #[test]
    fn no_byte_of_a_cookie_can_be_changed_or_left_out() {
        let (mut cookies, now) = cookies();
        let from = address("192.0.2.1:4000");
        let later = now + Duration::from_secs(1);
        let cookie = cookies.make(later, from, SOURCE);
        for byte in 0..cookie.len() {
            let mut damaged = cookie.clone();
            damaged[byte] ^= 1;
            assert!(!cookies.check(later, from, SOURCE, &damaged), "byte {byte}");
            assert!(!cookies.check(later, from, SOURCE, &cookie[..byte]), "{byte} bytes");
        }
        assert!(!cookies.check(later, from, SOURCE, &[cookie.as_slice(), &[0]].concat()));
        assert!(cookies.check(later, from, SOURCE, &cookie));
        let mut others = Cookies::new(now, &mut Random::new([2; 32]));
        assert!(!others.check(later, from, SOURCE, &cookie), "another endpoint's");
    }

    #[test]
    fn a_cookie_is_good_for_its_time_whatever_keys_do() {
        let (mut cookies, start) = cookies();
        let from = address("192.0.2.1:4000");
        for second in 0..600 {
            let made = start + Duration::from_millis(1_000 * second + 7);
            let cookie = cookies.make(made, from, SOURCE);
            let last = made + LIFETIME - Duration::from_millis(1);
            // Cookies are made at every second, so that the key changes as under load.
            let (mut early, mut late) = (cookies.clone_for_test(), cookies.clone_for_test());
            assert!(early.check(made, from, SOURCE, &cookie), "second {second}");
            assert!(late.check(last, from, SOURCE, &cookie), "second {second}");
            assert!(!late.check(last + Duration::from_millis(1), from, SOURCE, &cookie), "second {second}");
        }
    }

    #[test]
    fn keys_change() {
        let (mut cookies, start) = cookies();
        let from = address("192.0.2.1:4000");
        let before = cookies.current.clone();
        cookies.make(start + KEY_LIFETIME, from, SOURCE);
        let message = b"message";
        assert_ne!(sign(&before, message).as_ref(), sign(&cookies.current, message).as_ref());
        assert_eq!(sign(&before, message).as_ref(), sign(&cookies.previous, message).as_ref());
    }

    #[test]
    fn the_bytes_of_a_cookie_stay_as_they_are() {
        let (mut cookies, start) = cookies();
        let cookie = cookies.make(start + Duration::from_millis(0x0102), address("192.0.2.1:4000"), SOURCE);
        let expected = "00000000000001029a36817bcde713be1258fc8122cfd2daedc4ac12c1da510825a7d80f4d26683f";
        assert_eq!(data_encoding::HEXLOWER.encode(&cookie), expected);
    }

    impl Cookies {
        /// Another one with the same keys.
        fn clone_for_test(&self) -> Self {
            Self {
                epoch: self.epoch,
                random: Random::new([9; 32]),
                since: self.since,
                current: self.current.clone(),
                previous: self.previous.clone(),
            }
        }
    }
}
