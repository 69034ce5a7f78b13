//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, value_parser};
use etcetera::BaseStrategy as _;

use crate::config::{Access, Config, DEFAULT_MAX_CONNECTIONS, DEFAULT_PING_INTERVAL, DEFAULT_PING_TIMEOUT};

/// The directory below the user's data that is used unless another is given.
const DATA_DIRECTORY: &str = "shoal-tracker";
/// No ping comes more often, and none has less time to be answered.
const SHORTEST_SECS: f64 = 0.05;
/// No ping comes less often, and none has more time to be answered: a day.
const LONGEST_SECS: f64 = 86_400.0;

/// Shoal's tracker: knows who is there, who has which chunks of what, and who may have them
///
/// Peers join it, register files, and ask it from whom to download; the files themselves never come here. When it
/// listens it prints one line with its address and its fingerprint: the name of its key, which peers can pin by giving
/// it after the address, as in `peer --tracker HOST:8000#FINGERPRINT`.
#[derive(Debug, Parser)]
#[command(version, name = "tracker", max_term_width = 100)]
pub struct Args {
    /// Where to listen
    ///
    /// `[::]` means all addresses, of IPv6 and IPv4. Port 0 means a free port; the line that is printed says which.
    #[arg(long, value_name = "ADDR:PORT", default_value_t = Config::new(PathBuf::new()).listen)]
    listen: SocketAddr,

    /// The directory for what is to last: the tracker's key, names and entries
    ///
    /// It is made if it is not there. A tracker that is started with the same directory again is the same tracker to
    /// its peers. Default: `shoal-tracker` below `$XDG_DATA_HOME`, which is `~/.local/share` unless set.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// How often each peer is asked whether it is there
    ///
    /// A shorter time costs traffic, a longer one keeps peers that are gone in the lists. Fractions are allowed; at
    /// least 0.05, at most 86400.
    #[arg(long, value_name = "SECS", value_parser = seconds, default_value_t = Seconds(DEFAULT_PING_INTERVAL))]
    #[arg(help_heading = "Peers that are gone")]
    ping_interval: Seconds,

    /// How long a peer may take to answer
    ///
    /// A peer that has not answered by then is gone: nobody is sent to it any more, and the others are told. Fractions
    /// are allowed; at least 0.05, at most 86400.
    #[arg(long, value_name = "SECS", value_parser = seconds, default_value_t = Seconds(DEFAULT_PING_TIMEOUT))]
    #[arg(help_heading = "Peers that are gone")]
    ping_timeout: Seconds,

    /// How many connections there may be at once
    ///
    /// More are closed at once. Each takes some 50 KiB of memory, up to 1.2 MiB while its peer asks for much and reads
    /// slowly, and one of the files that the system lets a process open.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_CONNECTIONS as u64)]
    #[arg(value_parser = value_parser!(u64).range(1..=1_000_000))]
    #[arg(help_heading = "Limits")]
    max_connections: u64,

    /// Who may join
    #[arg(long, value_name = "WHO", value_enum, default_value_t = Access::Open)]
    #[arg(help_heading = "Limits")]
    access: Access,
}

impl Args {
    /// Checks what was given and fills in what was not.
    pub fn into_config(self) -> anyhow::Result<Config> {
        let data = match self.data {
            Some(data) => data,
            None => {
                let base = etcetera::choose_base_strategy();
                let base =
                    base.context("no home directory is known: say with --data where the tracker keeps its data")?;
                base.data_dir().join(DATA_DIRECTORY)
            }
        };
        Ok(Config {
            listen: self.listen,
            data,
            ping_interval: self.ping_interval.0,
            ping_timeout: self.ping_timeout.0,
            max_connections: usize::try_from(self.max_connections)?,
            access: self.access,
        })
    }
}

#[derive(Debug, Clone, Copy)]
struct Seconds(Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.as_secs_f64())
    }
}

fn seconds(text: &str) -> Result<Seconds, String> {
    let seconds: f64 = text.parse().map_err(|_error| "not a number of seconds".to_owned())?;
    if (SHORTEST_SECS..=LONGEST_SECS).contains(&seconds) {
        Ok(Seconds(Duration::from_secs_f64(seconds)))
    } else {
        Err(format!("not between {SHORTEST_SECS} and {LONGEST_SECS} seconds"))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_in_order() {
        Args::command().debug_assert();
    }

    #[test]
    fn what_is_not_given_has_its_default() {
        let config = Args::parse_from(["tracker", "--data", "/x"]).into_config().unwrap();
        assert_eq!(config.listen, "[::]:8000".parse().unwrap());
        assert_eq!((config.ping_interval, config.ping_timeout), (DEFAULT_PING_INTERVAL, DEFAULT_PING_TIMEOUT));
        assert_eq!((config.max_connections, config.data), (DEFAULT_MAX_CONNECTIONS, PathBuf::from("/x")));
    }

    #[test]
    fn times_may_have_fractions_but_not_be_absurd() {
        let interval = |text: &str| {
            let args = Args::try_parse_from(["tracker", "--data", "/x", &format!("--ping-interval={text}")]);
            args.ok().map(|args| args.ping_interval.0)
        };
        assert_eq!(interval("0.25"), Some(Duration::from_millis(250)));
        assert_eq!(interval("86400"), Some(Duration::from_secs(86400)));
        for text in ["0", "-1", "nan", "inf", "1e9", "x", ""] {
            assert_eq!(interval(text), None, "{text}");
        }
    }
}
