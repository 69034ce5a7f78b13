//! Programs: where the built `tracker` and `peer` are. They are built here, with the profile of the running test, since
//! cargo tells a package nothing of the binaries of another.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The programs under test.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `tracker`.
    pub tracker: PathBuf,
    /// `peer`.
    pub peer: PathBuf,
}

/// Builds them where they are missing or stale, once a process.
///
/// # Panics
/// When they cannot be built.
pub fn programs() -> &'static Programs {
    static BUILT: OnceLock<Programs> = OnceLock::new();
    BUILT.get_or_init(|| {
        let profile_dir = profile_dir();
        build(&profile_dir);
        let find = |name: &str| {
            let path = profile_dir.join(name);
            assert!(path.is_file(), "cargo built no {}", path.display());
            path
        };
        Programs { tracker: find("tracker"), peer: find("peer") }
    })
}

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// `target/debug` or `target/release`: this program lies there or, a test, in `deps` below.
fn profile_dir() -> PathBuf {
    let exe = env::current_exe().expect("a running program has a path");
    let dir = exe.parent().expect("a program lies in a directory");
    if dir.ends_with("deps") { dir.parent().expect("deps lies in a profile's directory") } else { dir }.to_path_buf()
}

fn build(profile_dir: &Path) {
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        None | Some("debug") => "dev",
        Some(name) => name,
    };
    let target_dir = profile_dir.parent().expect("a profile's directory lies in a target directory");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "-p", "tracker", "-p", "peer", "--bins", "--profile", profile])
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(repository())
        .stdin(Stdio::null())
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "cargo built no programs:\n{}", String::from_utf8_lossy(&output.stderr));
}
