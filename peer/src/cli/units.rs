//! Units: sizes, rates and times as a user writes them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU64;

use bytesize::ByteSize;

/// How long to wait for chunks that nobody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitTime {
    /// So many seconds.
    Secs(u64),
    /// As long as it takes.
    Forever,
}

/// Reads a size: bytes, or a number with `KiB`, `MiB`, `GiB` and so on.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    // The parser behind takes what overflows for the largest number there is; nobody means that.
    match text.parse::<ByteSize>() {
        Ok(ByteSize(u64::MAX)) => Err("that is more than there can be".to_owned()),
        Ok(ByteSize(bytes)) => Ok(bytes),
        Err(_) => Err("not a size: a number of bytes, or a number with KiB, MiB or GiB".to_owned()),
    }
}

/// Reads a rate in bytes a second: a size, with or without `/s`; not 0.
pub(crate) fn parse_rate(text: &str) -> Result<NonZeroU64, String> {
    let size = text.trim().strip_suffix("/s").unwrap_or(text);
    match parse_size(size).map(NonZeroU64::new) {
        Ok(Some(rate)) => Ok(rate),
        Ok(None) => Err("nothing would ever move; leave the option out for no limit".to_owned()),
        Err(_) => Err("not a rate: bytes a second, or a number with KiB, MiB or GiB".to_owned()),
    }
}

/// Reads a number of seconds, or `forever`.
pub(crate) fn parse_wait(text: &str) -> Result<WaitTime, String> {
    match text {
        "forever" => Ok(WaitTime::Forever),
        _ => {
            text.parse().map(WaitTime::Secs).map_err(|_not_a_number| "not a number of seconds, nor \"forever\"".into())
        }
    }
}

/// Reads an address to listen on: `ADDR:PORT`, or a port alone for all addresses.
pub(crate) fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
        return Ok(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port));
    }
    text.parse().map_err(|_not_an_address| {
        "not ADDR:PORT, such as 0.0.0.0:4000 or [::]:4000, with a port from 0 (a free one) to 65535".to_owned()
    })
}

/// Reads an address that others can dial: `ADDR:PORT` with a real address and a real port.
pub(crate) fn parse_advertise(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_not_an_address| "not ADDR:PORT, such as 203.0.113.7:4000 or [2001:db8::7]:4000".to_owned())?;
    if address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast() {
        return Err("nobody can dial that; give the address and port that others reach".to_owned());
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_binary_and_decimal_units() {
        for (text, bytes) in [
            ("0", 0),
            ("1", 1),
            ("107330", 107_330),
            ("16KiB", 16 << 10),
            ("1.5 MiB", 3 << 19),
            ("2 gib", 2 << 30),
            ("10MB", 10_000_000),
            (" 7 ", 7),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "x", "-1", "5x", "MiB", "1e3", "1.2.3MiB", "0x10", "99999999999999999999", "99999999 EiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_sizes_but_not_0() {
        assert_eq!(parse_rate("25MiB/s"), Ok(NonZeroU64::new(25 << 20).unwrap()));
        assert_eq!(parse_rate("1"), Ok(NonZeroU64::MIN));
        assert!(parse_rate("0").unwrap_err().contains("leave the option out"));
        assert!(parse_rate("fast").unwrap_err().starts_with("not a rate"));
    }

    #[test]
    fn waits_are_seconds_or_forever() {
        assert_eq!(parse_wait("30"), Ok(WaitTime::Secs(30)));
        assert_eq!(parse_wait("forever"), Ok(WaitTime::Forever));
        for text in ["", "-1", "1.5", "ever"] {
            assert!(parse_wait(text).is_err(), "{text}");
        }
    }

    #[test]
    fn listen_addresses_may_be_a_port_alone() {
        for (text, address) in
            [("4000", "[::]:4000"), (":4000", "[::]:4000"), ("127.0.0.1:0", "127.0.0.1:0"), ("[::1]:5", "[::1]:5")]
        {
            assert_eq!(parse_listen(text), Ok(address.parse().unwrap()), "{text}");
        }
        for text in ["", "localhost:1", "1.2.3.4", "::1", "65536", "1.2.3.4:65536"] {
            assert!(parse_listen(text).is_err(), "{text}");
        }
    }

    #[test]
    fn advertised_addresses_can_be_dialled() {
        assert!(parse_advertise("203.0.113.7:4000").is_ok());
        for text in ["0.0.0.0:4000", "[::]:4000", "203.0.113.7:0", "4000", "224.0.0.1:4"] {
            assert!(parse_advertise(text).is_err(), "{text}");
        }
    }
}
