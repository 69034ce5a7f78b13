//! The controllers against a bottleneck in virtual time.

mod goals;
mod link;
