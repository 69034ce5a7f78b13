//! Shoal's figures, measured beside those of others in the same run, since absolute figures move from machine to machine.

mod crowd;
mod hash;
mod mrt;
mod multi;
mod report;
mod resume;
mod rivals;
mod soak;
mod transfer;

use std::path::PathBuf;
use std::process::ExitCode;

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand};

/// Measure Shoal
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Clone, Args)]
struct Options {
    /// Print JSON instead of a table
    #[arg(long, global = true)]
    json: bool,
    /// How often each is measured, in turns
    #[arg(long, global = true, value_name = "N")]
    rounds: Option<u32>,
    /// Size of the file
    #[arg(long, global = true, value_name = "BYTES")]
    size: Option<ByteSize>,
    /// Where files are made, instead of the system's directory for temporary files
    #[arg(long, global = true, value_name = "DIR")]
    place: Option<PathBuf>,
}

#[derive(Debug, Clone, Subcommand)]
enum Bench {
    /// One seeder to one downloader, beside curl and aria2
    Transfer,
    /// Four seeders of 25 MiB/s each to one downloader
    Multi,
    /// SHA-256 alone, and file ids
    Hash,
    /// One seeder and N downloaders at once, all uploads limited alike
    Crowd {
        /// How many download
        #[arg(long, default_value_t = 8, value_name = "N")]
        downloaders: u32,
    },
    /// From the restart of a killed downloader to its first new chunk
    Resume,
    /// Many rounds of one thing that must always work
    Soak(soak::SoakArgs),
    /// MRT beside TCP and quinn
    Mrt(mrt::MrtArgs),
    /// One end of a flow of `mrt`
    #[command(hide = true)]
    MrtEnd(mrt::EndArgs),
}

impl Options {
    fn size_or(&self, default: u64) -> u64 {
        self.size.map_or(default, |size| size.as_u64())
    }

    fn rounds_or(&self, default: u32) -> u32 {
        self.rounds.unwrap_or(default).max(1)
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the program's face")]
fn main() -> ExitCode {
    let Cli { bench, options } = Cli::parse();
    let report = match bench {
        Bench::Transfer => transfer::run(&options),
        Bench::Multi => Ok(multi::run(&options)),
        Bench::Hash => Ok(hash::run(&options)),
        Bench::Crowd { downloaders } => Ok(crowd::run(&options, downloaders)),
        Bench::Resume => Ok(resume::run(&options)),
        Bench::Soak(args) => soak::run(&options, &args),
        Bench::Mrt(args) => mrt::run(&options, &args),
        Bench::MrtEnd(args) => match mrt::run_end(&args) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => Err(error),
        },
    };
    match report {
        Ok(report) if options.json => println!("{}", report.to_json()),
        Ok(report) => println!("{}", report.to_table()),
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
