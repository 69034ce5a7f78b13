//! The peer's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    peer::program::run(std::env::args_os())
}
