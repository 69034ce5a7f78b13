//! Packets sent and not yet acknowledged.
