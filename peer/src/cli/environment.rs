//! The environment: what of this process's surroundings matters to the program.

use std::path::PathBuf;

use etcetera::BaseStrategy as _;

use crate::config::Colours;

/// What the environment says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// The login name.
    pub(crate) login: Option<String>,
    /// The user's home.
    pub(crate) home: Option<PathBuf>,
    /// Where programs keep data: `$XDG_DATA_HOME`, else `~/.local/share`.
    pub(crate) data_home: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`.
    pub(crate) runtime_dir: Option<PathBuf>,
    /// `$RUST_LOG`: which log lines to print, instead of what `-v` says.
    pub(crate) log_filter: Option<String>,
    /// Whether the terminal can do no more than print lines.
    pub(crate) dumb_terminal: bool,
    /// Whether `$NO_COLOR` is set.
    pub(crate) colours: Colours,
}

impl Environment {
    /// Reads the environment of this process.
    pub(crate) fn of_this_process() -> Self {
        let xdg = etcetera::base_strategy::Xdg::new().ok();
        Self {
            login: ["USER", "LOGNAME"].iter().find_map(|name| read(name)).or_else(login_by_id),
            home: xdg.as_ref().map(|xdg| xdg.home_dir().to_path_buf()),
            data_home: xdg.as_ref().map(etcetera::BaseStrategy::data_dir),
            runtime_dir: xdg.as_ref().and_then(etcetera::BaseStrategy::runtime_dir),
            log_filter: read("RUST_LOG"),
            colours: if read("NO_COLOR").is_some() { Colours::Never } else { Colours::OnTerminal },
            dumb_terminal: read("TERM").is_none_or(|terminal| terminal == "dumb"),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn read(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The name that /etc/passwd has for this process's user; services and containers often have no `$USER`.
fn login_by_id() -> Option<String> {
    let id = rustix::process::getuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _password, uid) = (fields.next()?, fields.next()?, fields.next()?);
        (uid == id).then(|| name.to_owned())
    })
}
