//! What tests and benches share: clusters of real trackers and peers, and the company they get into.
//!
//! Each module uses only those that stand after it in this list:
//!
//! - [`scenario`]: what must always work, small for tests, large for soaks
//! - [`sim`]: networks in virtual time, and MRT's machines on them
//! - [`hostile`]: clients and seeders that break the rules
//! - [`cluster`]: a tracker, its peers and files, in processes of their own
//! - [`peer`]: `peer serve`, and one-shot commands beside it
//! - [`local_api`]: the peer's local API
//! - [`ground`]: two nodes that have to meet, and a third that both reach
//! - [`node`]: `peer mrt`, with a person at its terminal
//! - [`natlab`]: an internet, and homes behind routers that translate addresses
//! - [`emulator`]: two hosts and a link between them with rate, delay and loss
//! - [`netns`]: hosts of their own, joined by a switch
//! - [`small_disk`]: a disk that can be filled up
//! - [`terminal`]: a program with a person before it
//! - [`process`]: processes, watched and never left behind
//! - [`programs`]: where the programs under test are
//! - [`privilege`]: what not every machine gives
//! - [`slots`]: how many clusters run at once
//! - [`content`]: bytes that follow from a seed
//! - [`wait`]: waiting with a deadline
//!
//! What goes wrong in here panics with a sentence: it ends the test or the bench.

pub mod cluster;
pub mod content;
pub mod emulator;
pub mod ground;
pub mod hostile;
pub mod local_api;
pub mod natlab;
pub mod netns;
pub mod node;
pub mod peer;
pub mod privilege;
pub mod process;
pub mod programs;
pub mod scenario;
pub mod sim;
pub mod slots;
pub mod small_disk;
pub mod terminal;
pub mod wait;
