//! Fuzzing: every decoder of bytes and texts from outside is fed what no honest program sends. An input fails that makes
//! a decoder panic, take more memory than its target allows, take long, or read what it would not write.
//!
//! - `cargo run -p fuzz -- --seconds N [TARGET]` looks for such inputs
//! - `cargo test -p fuzz` replays the seeds and the files under `corpus/TARGET`
//!
//! It needs no sanitizer and no instrumented build: what an input is worth is told by how the decoder answered (see
//! [`Target::run`]). That finds less than real coverage, but runs anywhere in seconds. A run is repeated exactly by its
//! seed.
//!
//! Each module uses only those that stand after it in this list:
//!
//! - `fuzzer`: the loop
//! - `corpus`: inputs in files
//! - `target`: what is fuzzed
//! - `trial`: one input into one decoder
//! - `mutate`: broken inputs out of whole ones
//! - `random`: numbers from a seed
//! - `memory`: how much memory a thread takes

mod corpus;
mod fuzzer;
mod memory;
mod mutate;
mod random;
mod target;
mod trial;

pub use corpus::{Stray, keep, keep_failure, kept, stray};
pub use fuzzer::{Failure, Limits, Report, fuzz};
pub use memory::{Measured, measure};
pub use target::{TARGETS, Target, target};
pub use trial::{Fault, silence_panics, try_input};
