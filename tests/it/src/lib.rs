//! What Shoal must do, tested from the outside: real trackers and peers on loopback and in network namespaces. One test
//! binary, so that it links once and knows how much runs at a time.
//!
//! - `passwords`: at a terminal, from a pipe, and nowhere else
//! - `sharing`: several seeders, several downloaders, all sizes
//! - `resume`: kills, restarts, cancelling
//! - `faults`: seeders and trackers that fail, disks that are full
//! - `following`: new versions, watched files, pushed files
//! - `names`: who may be called what
//! - `errors`: what users get wrong
//! - `shell`: commands from a pipe, and the words of this family
//! - `hostile`: those who break the rules
//! - `story`: a day of three users
//! - `rights`: every operation against every role
//! - `nodes`: networks without a tracker
//! - `nat_changes`: two nodes while routers and ways change
//! - `nat_matrix`: two nodes behind each pair of kinds of routers
//! - `node_story`: README's story of them
//! - `rendezvous`: peers of a tracker that meet over MRT
//! - `survival`: what they outlive
//! - `holding`: what a supernode fetches for the others
//! - `standstill`: how long something did not go on, for the others
//! - `starting`: how a node of such a network is started
//! - `liars`: those who break their rules
//! - `mrt`: the transport on simulated networks
//! - `mrt_hostile`: the transport under attack
//! - `stun`: against a STUN server that others wrote
//! - `hosts`: on hosts of their own, over IPv4 and IPv6
//! - `rebinding`: the transport through a router that forgets
//! - `natlab`: routers that translate addresses
//! - `emulator`: links with rate, delay and loss

#[cfg(test)]
mod emulator;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod following;
#[cfg(test)]
mod holding;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod hosts;
#[cfg(test)]
mod liars;
#[cfg(test)]
mod mrt;
#[cfg(test)]
mod mrt_hostile;
#[cfg(test)]
mod names;
#[cfg(test)]
mod nat_changes;
#[cfg(test)]
mod nat_matrix;
#[cfg(test)]
mod natlab;
#[cfg(test)]
mod node_story;
#[cfg(test)]
mod nodes;
#[cfg(test)]
mod passwords;
#[cfg(test)]
mod rebinding;
#[cfg(test)]
mod rendezvous;
#[cfg(test)]
mod resume;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod sharing;
#[cfg(test)]
mod shell;
#[cfg(test)]
mod standstill;
#[cfg(test)]
mod starting;
#[cfg(test)]
mod story;
#[cfg(test)]
mod stun;
#[cfg(test)]
mod survival;

/// Runs a scenario at the size for tests.
#[cfg(test)]
fn small(name: &str) -> harness::scenario::Findings {
    let scenario = harness::scenario::find(name).expect("there is such a scenario");
    (scenario.run)(scenario.small)
}
