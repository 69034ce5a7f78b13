//! Networks: ranges of IPv4 addresses.

use std::fmt;
use std::net::Ipv4Addr;

/// A range of addresses, the first of them its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    name: Ipv4Addr,
    bits: u8,
}

impl Network {
    /// The range of addresses that share their first `bits` bits, at least 16, with `name`; its other bits must be 0.
    pub(super) const fn new(name: Ipv4Addr, bits: u8) -> Self {
        Self { name, bits }
    }

    /// Its address number `number`; 0 is its name.
    ///
    /// # Panics
    /// When it has not so many, less the one for broadcasts.
    pub(super) fn address(&self, number: u16) -> Ipv4Addr {
        let length = 1_u32 << (u32::BITS - u32::from(self.bits));
        assert!(u32::from(number) + 1 < length, "{self} has room for {length} addresses");
        Ipv4Addr::from_bits(self.name.to_bits() + u32::from(number))
    }

    /// How many leading bits its addresses share.
    pub(super) const fn bits(&self) -> u8 {
        self.bits
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.name, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_each_other_up_to_the_one_for_broadcasts() {
        let network = Network::new(Ipv4Addr::new(198, 51, 100, 8), 29);
        assert_eq!(network.to_string(), "198.51.100.8/29");
        assert_eq!(network.address(6), Ipv4Addr::new(198, 51, 100, 14));
        assert!(std::panic::catch_unwind(|| network.address(7)).is_err());
    }
}
