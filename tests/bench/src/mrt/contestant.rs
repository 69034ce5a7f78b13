//! Contestants: the transports that are measured, and with which packets.

use std::fmt;

use clap::ValueEnum;

/// A transport with one way to control how fast it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Transport {
    /// Linux TCP with CUBIC, not encrypted
    TcpCubic,
    /// Linux TCP with BBR, not encrypted
    TcpBbr,
    /// quinn with CUBIC
    QuinnCubic,
    /// quinn with BBR
    QuinnBbr,
    /// MRT with its model of the path
    Mrt,
    /// MRT with CUBIC
    MrtFair,
}

impl Transport {
    /// What it is called in tables.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::TcpCubic => "TCP CUBIC",
            Self::TcpBbr => "TCP BBR",
            Self::QuinnCubic => "quinn CUBIC",
            Self::QuinnBbr => "quinn BBR",
            Self::Mrt => "MRT",
            Self::MrtFair => "MRT fair",
        }
    }

    /// What it is called on the command line.
    pub(super) fn code(self) -> String {
        let value = self.to_possible_value().expect("no transport is hidden");
        value.get_name().to_owned()
    }

    /// Whether this program, not the kernel, makes its packets.
    pub(super) const fn makes_packets(self) -> bool {
        !matches!(self, Self::TcpCubic | Self::TcpBbr)
    }

    /// The datagrams that it is measured with on loopback, in bytes.
    pub(super) const fn loopback_packets(self) -> &'static [u16] {
        if self.makes_packets() { &[INTERNET_PACKET, MRT_DEFAULT, LARGEST] } else { &[INTERNET_PACKET] }
    }

    /// Whether it is one of those that MRT is to be compared with. CUBIC of TCP is not: nobody chose it for bad links.
    pub(super) const fn is_rival(self) -> bool {
        matches!(self, Self::TcpBbr | Self::QuinnCubic | Self::QuinnBbr)
    }
}

/// A transport and its largest datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contestant {
    pub(super) transport: Transport,
    /// Bytes of the largest UDP payload; without effect on TCP.
    pub(super) packet: u16,
}

/// What fits in all links of the Internet that matter: 1500 bytes less headers of IPv6 and UDP.
pub(super) const INTERNET_PACKET: u16 = 1452;

impl Contestant {
    /// As on the Internet.
    pub(super) const fn on_internet(transport: Transport) -> Self {
        Self { transport, packet: INTERNET_PACKET }
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.transport.name())?;
        if self.transport.makes_packets() { write!(f, ", {} B", self.packet) } else { Ok(()) }
    }
}
/// The largest that MRT tries by default.
const MRT_DEFAULT: u16 = 16 * 1024;
/// The largest UDP payload there is.
const LARGEST: u16 = 65_527;
