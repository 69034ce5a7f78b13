//! Privilege: what a test needs that not every machine gives. Such a test is skipped aloud, and in CI it fails.

use std::env;
use std::io::{self, Write as _};

/// Whether this process is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether `need` is met; says on the terminal, past the capture of the test runner, that `test` is skipped if not.
///
/// # Panics
/// In CI (`CI` is set), where nothing may be skipped.
#[must_use]
pub fn met(test: &str, need: Result<(), String>) -> bool {
    let Err(why) = need else { return true };
    assert!(env::var_os("CI").is_none(), "{test} cannot run here: {why}");
    // Not `eprintln!`: the runner would hide it with the output of all tests that pass.
    let line = format!("skipped {test}: {why}\n");
    if io::stderr().write_all(line.as_bytes()).is_err() {
        return false;
    }
    false
}

/// The need to be root.
pub fn root(what_for: &str) -> Result<(), String> {
    if is_root() { Ok(()) } else { Err(format!("{what_for} needs root")) }
}
