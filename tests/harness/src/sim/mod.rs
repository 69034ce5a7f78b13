//! A simulator of networks: MRT's machines on links as they are, in a time that passes only as fast as things happen.
//! A run follows from its seed, datagram for datagram.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use harness::sim::{Half, Host, Link, Network, Plan};
//! let mut network = Network::new(1);
//! let (ann, ben) = (network.node(Host::default()), network.node(Host::default()));
//! let cable = network.cable(Link::ethernet(50, 100).loss(0.01));
//! network.join(ann, ben, &[cable]);
//! let talk = network.connect(ann, ben, Plan::upload(Half::new(10 << 20)));
//! assert!(network.run_to_end(Duration::from_secs(60)));
//! assert!(network.is_done(talk));
//! ```
//!
//! Each module uses only those that stand after it in this list:
//!
//! - `scenario`: a random run from a seed, and what must hold of it
//! - `network`: nodes, cables and talks
//! - `node`: an endpoint, and what a driver does around it
//! - `talk`: a plan as it is carried out
//! - `progress`: what of a talk has arrived
//! - `plan`: what two sides are to say to each other
//! - `wires`: cables between sockets, and the datagrams in them
//! - `link`: what one direction of a cable does to datagrams

mod link;
mod network;
mod node;
mod plan;
mod progress;
mod scenario;
mod talk;
mod wires;

pub use link::{Bursts, HEADERS, Link, LinkFigures};
pub use network::{Change, Network, TalkId};
pub use node::{Host, NodeFigures};
pub use plan::{Close, End, Half, Known, Pace, Plan, StreamPlan};
pub use progress::{INTERVAL, Progress};
pub use scenario::{Failure, Outcome, Scenario, Trouble};
pub use talk::CLOSE_CODE;
pub use wires::{Cable, Direction, NodeId, Rebinding, Seen, Socket};
