//! `fuzz`: looks for inputs that break a decoder.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use clap::Parser;
use data_encoding::HEXLOWER;
use fuzz::{Failure, Limits, TARGETS, Target, fuzz, keep, keep_failure, silence_panics, target, try_input};

/// Feed broken input to Shoal's decoders
#[derive(Debug, Parser)]
struct Arguments {
    /// Seconds in all; with several targets each gets its share
    #[arg(long, default_value_t = 60, value_name = "SECS")]
    seconds: u64,
    /// Number that decides which inputs are tried; without it the clock does
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Write inputs that were answered in a new way to tests/fuzz/corpus-new
    #[arg(long)]
    keep: bool,
    /// Try this one input, in hex, instead
    #[arg(long, value_name = "HEX", requires = "target")]
    input: Option<String>,
    /// What to fuzz; all if missing
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(TARGETS.iter().map(|target| target.name)))]
    target: Option<String>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    silence_panics();
    let targets: Vec<&Target> = match &arguments.target {
        Some(name) => target(name).into_iter().collect(),
        None => TARGETS.iter().collect(),
    };
    if let (Some(hex), [target]) = (&arguments.input, targets.as_slice()) {
        let input = HEXLOWER.decode(hex.as_bytes()).context("--input is not in lower-case hex")?;
        say(&format!("{:?}", try_input(target, &input)));
        return Ok(ExitCode::SUCCESS);
    }
    let seed = arguments.seed.map_or_else(seed_of_the_clock, Ok)?;
    let share = Duration::from_secs(arguments.seconds) / u32::try_from(targets.len()).unwrap_or(u32::MAX);
    for target in targets {
        let report = fuzz(target, seed, Limits { time: share, inputs: u64::MAX })?;
        say(&format!("{}: seed {seed}, {} inputs, {} answers", target.name, report.tried, report.answers));
        if let Some(failure) = report.failure {
            tell(target, seed, &failure)?;
            return Ok(ExitCode::FAILURE);
        }
        for input in report.new.iter().filter(|_| arguments.keep) {
            keep(target, input)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn seed_of_the_clock() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
    Ok(now.as_secs())
}

fn tell(target: &Target, seed: u64, failure: &Failure) -> Result<()> {
    let path = keep_failure(target, &failure.input)?;
    say(&format!("{} FAILED: {:?}", target.name, failure.fault));
    say(&format!("input {} of seed {seed}, kept in {}:", failure.at, path.display()));
    say(&HEXLOWER.encode(&failure.input));
    say(&format!("again: cargo run -p fuzz -- {} --input HEX", target.name));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn say(text: &str) {
    println!("{text}");
}
