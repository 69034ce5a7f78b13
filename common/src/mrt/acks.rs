//! Packets received and not yet acknowledged.
