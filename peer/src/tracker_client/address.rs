//! The address of a tracker as a user writes it: `HOST[:PORT][#FINGERPRINT]`.

use std::fmt;
use std::str::FromStr;

use common::id::NetworkId;
use common::wire::DEFAULT_TRACKER_PORT;
use serde::{Deserialize, Serialize};

/// Where a tracker is and, where pinned, which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrackerAddress {
    /// A host name or an IP address, without brackets.
    pub host: String,
    /// TCP port, never 0.
    pub port: u16,
    /// Only this tracker will do.
    pub fingerprint: Option<NetworkId>,
}

/// Why a text is not a tracker's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing before the port.
    #[error("a tracker's address is HOST:PORT, and the host is missing")]
    Host,
    /// Not a number from 1 to 65535.
    #[error("{0:?} is not a port: a number from 1 to 65535")]
    Port(String),
    /// Not a fingerprint.
    #[error("what stands after # is not a fingerprint: 52 characters of a-z and 2-7, as the tracker prints it")]
    Fingerprint,
}

impl TrackerAddress {
    /// `host:port`, without fingerprint, the host in lower case: as it stands in `known_trackers`.
    pub fn place(&self) -> String {
        let host = self.host.to_lowercase();
        if host.contains(':') { format!("[{host}]:{}", self.port) } else { format!("{host}:{}", self.port) }
    }
}

impl FromStr for TrackerAddress {
    type Err = AddressError;

    /// Reads `HOST[:PORT][#FINGERPRINT]`; an IPv6 address with a port stands in brackets.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (place, fingerprint) = match text.split_once('#') {
            Some((place, fingerprint)) => {
                (place, Some(fingerprint.parse().map_err(|_error: common::id::IdError| AddressError::Fingerprint)?))
            }
            None => (text, None),
        };
        let (host, port) = split_port(place)?;
        if host.is_empty() || host.chars().any(|c| c.is_whitespace() || c.is_control() || "/[]".contains(c)) {
            return Err(AddressError::Host);
        }
        Ok(Self { host: host.to_owned(), port, fingerprint })
    }
}

fn split_port(place: &str) -> Result<(&str, u16), AddressError> {
    let (host, port) = if let Some(bracketed) = place.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']').ok_or(AddressError::Host)?;
        match rest {
            "" => (host, None),
            _ => (host, Some(rest.strip_prefix(':').ok_or_else(|| AddressError::Port(rest.to_owned()))?)),
        }
    } else {
        match place.rsplit_once(':') {
            // More than one colon without brackets: an IPv6 address alone.
            Some((host, port)) if !host.contains(':') => (host, Some(port)),
            _ => (place, None),
        }
    };
    match port {
        None => Ok((host, DEFAULT_TRACKER_PORT)),
        Some(port) => match port.parse() {
            Ok(number) if number != 0 && port.bytes().all(|byte| byte.is_ascii_digit()) => Ok((host, number)),
            _ => Err(AddressError::Port(port.to_owned())),
        },
    }
}

impl fmt::Display for TrackerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())?;
        match &self.fingerprint {
            Some(fingerprint) => write!(f, "#{fingerprint}"),
            None => Ok(()),
        }
    }
}

impl TryFrom<String> for TrackerAddress {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<TrackerAddress> for String {
    fn from(address: TrackerAddress) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_what_they_write() {
        let pin = "a".repeat(52);
        for (text, host, port, written) in [
            ("lab", "lab", 8000, "lab:8000"),
            ("Lab:81", "Lab", 81, "lab:81"),
            ("10.0.0.1:9", "10.0.0.1", 9, "10.0.0.1:9"),
            ("::1", "::1", 8000, "[::1]:8000"),
            ("[::1]", "::1", 8000, "[::1]:8000"),
            ("[fe80::1%eth0]:7", "fe80::1%eth0", 7, "[fe80::1%eth0]:7"),
        ] {
            let address: TrackerAddress = text.parse().unwrap();
            assert_eq!((address.host.as_str(), address.port, &address.fingerprint), (host, port, &None), "{text}");
            assert_eq!(address.to_string(), written);
            let pinned: TrackerAddress = format!("{text}#{pin}").parse().unwrap();
            assert_eq!(pinned.to_string(), format!("{written}#{pin}"));
            assert_eq!(pinned.fingerprint, pin.parse().ok());
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for text in ["", ":8000", "#aaa", "[::1", "a b", "http://lab:1"] {
            assert!(text.parse::<TrackerAddress>().is_err(), "{text}");
        }
        for port in ["0", "65536", "+1", "x", ""] {
            assert_eq!(format!("lab:{port}").parse::<TrackerAddress>(), Err(AddressError::Port(port.to_owned())));
        }
        assert_eq!("lab#short".parse::<TrackerAddress>(), Err(AddressError::Fingerprint));
    }
}
