//! Config: the arguments and the environment, checked; what the parts of the program are made from.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use common::name::UserName;
use common::wire::MAX_ADDRESSES;
use common::wire::tracker::MrtRole;

use crate::api::Places;
use crate::app::{AcceptRule, AppConfig, NameChoice, Unfinished};
use crate::cli::{Environment, Options};
use crate::command::{Failure, FailureKind};
use crate::dir::Dir;
use crate::shell::render::{Detail, Format};

/// What the program was asked to be.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The peer on this DIR, where this process becomes it.
    pub(crate) app: AppConfig,
    /// Where the local API of this DIR is.
    pub(crate) places: Places,
    /// Options that only count at the start of a peer, as they were given.
    pub(crate) given: Vec<&'static str>,
    /// For whom results are.
    pub(crate) format: Format,
    /// How much is told.
    pub(crate) detail: Detail,
    /// Which log lines are printed.
    pub(crate) log_filter: String,
    /// What `~` stands for at the prompt.
    pub(crate) home: Option<PathBuf>,
    /// Whether the terminal can do no more than print lines.
    pub(crate) dumb_terminal: bool,
    /// Whether lines are coloured.
    pub(crate) colours: Colours,
}

/// Whether lines are coloured on a terminal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Colours {
    /// Where the output is a terminal.
    #[default]
    OnTerminal,
    /// Nowhere.
    Never,
}

impl Config {
    /// Checks what was given.
    pub(crate) fn check(options: &Options, environment: &Environment) -> Result<Self, Failure> {
        let name = match &options.name {
            Some(name) => NameChoice::Given(name.clone()),
            None => NameChoice::Default(UserName::suggestion(environment.login.as_deref().unwrap_or_default())),
        };
        let dir = dir(options, environment, &name)?;
        if options.advertise.len() > MAX_ADDRESSES {
            let text = format!("--advertise is given more than {MAX_ADDRESSES} times");
            return Err(Failure::new(FailureKind::Usage, text));
        }
        let places = Places::of(&dir, environment.runtime_dir.as_deref());
        let app = AppConfig {
            tracker: options.tracker.clone(),
            name,
            dir,
            listen: options.listen.unwrap_or(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0)),
            advertise: options.advertise.clone(),
            limit_up: options.limit_up,
            limit_down: options.limit_down,
            unfinished: Unfinished::Leave,
            accept: accept(options),
            mrt: if options.mrt { MrtRole::Serves } else { MrtRole::Asks },
            group: None,
        };
        Ok(Self {
            app,
            places,
            given: given(options),
            format: if options.json { Format::Json } else { Format::Text },
            detail: if options.verbose > 0 { Detail::Full } else { Detail::Brief },
            log_filter: environment.log_filter.clone().unwrap_or_else(|| log_filter(options.verbose).to_owned()),
            home: environment.home.clone(),
            dumb_terminal: environment.dumb_terminal,
            colours: environment.colours,
        })
    }
}

fn dir(options: &Options, environment: &Environment, name: &NameChoice) -> Result<Dir, Failure> {
    let (NameChoice::Given(name) | NameChoice::Default(name)) = name;
    let root = match (&options.dir, &environment.data_home) {
        (Some(dir), _) if dir.as_os_str().is_empty() => {
            return Err(Failure::new(FailureKind::Usage, "--dir is empty"));
        }
        (Some(dir), _) => dir.clone(),
        (None, Some(home)) => home.join("shoal").join(name.as_str()),
        (None, None) => {
            return Err(Failure::new(FailureKind::Usage, "there is no home directory to keep files in")
                .with_hint("say where with `--dir DIR`"));
        }
    };
    let unusable = |error: io::Error| {
        Failure::new(FailureKind::Failed, format!("could not find out where {} is: {error}", root.display()))
    };
    let dir = Dir::new(&root).map_err(unusable)?;
    if dir.root().to_str().is_none() {
        let text = format!("the path of DIR, {}, is not valid UTF-8, which it must be here", dir.root().display());
        return Err(Failure::new(FailureKind::Usage, text).with_hint("choose another with `--dir DIR`"));
    }
    Ok(dir)
}

fn accept(options: &Options) -> AcceptRule {
    if options.accept_all {
        AcceptRule::All
    } else if options.accept_from.is_empty() {
        AcceptRule::Ask
    } else {
        AcceptRule::From(options.accept_from.iter().cloned().collect())
    }
}

fn given(options: &Options) -> Vec<&'static str> {
    let all = [
        ("--listen", options.listen.is_some()),
        ("--advertise", !options.advertise.is_empty()),
        ("--limit-up", options.limit_up.is_some()),
        ("--limit-down", options.limit_down.is_some()),
        ("--accept-from", !options.accept_from.is_empty()),
        ("--accept-all", options.accept_all),
        ("--mrt", options.mrt),
    ];
    all.into_iter().filter_map(|(name, is_given)| is_given.then_some(name)).collect()
}

/// Notices tell the user what matters; the log is for what goes wrong beside that.
const fn log_filter(verbose: u8) -> &'static str {
    match verbose {
        0 => "error",
        1 => "warn,peer=info",
        2 => "warn,peer=debug,common=debug",
        _ => "debug,peer=trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::parse_arguments;
    use std::path::Path;

    fn environment() -> Environment {
        Environment {
            login: Some("Ann Smith".to_owned()),
            home: Some("/home/ann".into()),
            data_home: Some("/home/ann/.local/share".into()),
            ..Environment::default()
        }
    }

    fn check(arguments: &[&str], environment: &Environment) -> Result<Config, Failure> {
        let arguments = std::iter::once(&"peer").chain(arguments).map(Into::into);
        Config::check(&parse_arguments(arguments).unwrap().options, environment)
    }

    #[test]
    fn the_login_name_is_made_legal_and_names_the_dir() {
        let config = check(&[], &environment()).unwrap();
        assert_eq!(config.app.name, NameChoice::Default(UserName::new("ann-smith").unwrap()));
        assert_eq!(config.app.dir.root(), Path::new("/home/ann/.local/share/shoal/ann-smith"));
        assert_eq!(config.app.listen, "[::]:0".parse().unwrap());
    }

    #[test]
    fn options_work_before_and_after_the_command() {
        for arguments in
            [["--name", "bob", "--dir", "/d", "--json", "lst"], ["lst", "--name", "bob", "--dir", "/d", "--json"]]
        {
            let config = check(&arguments, &environment()).unwrap();
            assert_eq!(config.app.name, NameChoice::Given(UserName::new("bob").unwrap()), "{arguments:?}");
            assert_eq!((config.app.dir.root(), config.format), (Path::new("/d"), Format::Json));
        }
    }

    #[test]
    fn without_a_home_a_dir_is_asked_for() {
        let failure = check(&[], &Environment::default()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Usage);
        assert!(failure.hint.unwrap().contains("--dir"));
        let config = check(&["--dir", "/d"], &Environment::default()).unwrap();
        assert_eq!(config.app.name, NameChoice::Default(UserName::suggestion("")));
    }

    #[test]
    fn too_many_addresses_are_refused() {
        let mut arguments = Vec::new();
        for _ in 0..=MAX_ADDRESSES {
            arguments.extend(["--advertise", "203.0.113.7:4000"]);
        }
        assert_eq!(check(&arguments, &environment()).unwrap_err().kind, FailureKind::Usage);
        assert_eq!(check(&arguments[2..], &environment()).unwrap().app.advertise.len(), MAX_ADDRESSES);
    }
}
