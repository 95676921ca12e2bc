//! `cargo xtask`: the chores of this workspace. See `cargo xtask help`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use xtask::conform::{self, Report, Status};
use xtask::demo::Options;

/// The chores of this workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what this is: echo as fast as it goes, and the proposal as a story.
    Demo {
        /// Seconds of echoing.
        #[arg(long, default_value_t = 3)]
        seconds: u32,
        /// Bytes in each datagram.
        #[arg(long, default_value_t = 1200, value_parser = clap::value_parser!(u16).range(..=65_507))]
        size: u16,
    },
    /// Check every promise against real sockets.
    Conform {
        /// Only rules whose name has this text in it, as in `peer/` or `traps v6`.
        #[arg(long, default_value = "")]
        filter: String,
        /// Name the rules, and check none.
        #[arg(long)]
        list: bool,
        /// For people or for programs.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

#[derive(Clone, Copy, Default, PartialEq, ValueEnum)]
enum Format {
    #[default]
    Table,
    Json,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Demo { seconds, size } => demo(Options {
            seconds,
            size: size.into(),
        }),
        Command::Conform {
            filter,
            list,
            format,
        } => conform(&filter, list, format),
    }
}

fn demo(options: Options) -> ExitCode {
    match xtask::demo::run(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the demo ends here: {error}");
            ExitCode::FAILURE
        }
    }
}

fn conform(filter: &str, list: bool, format: Format) -> ExitCode {
    let chosen: Vec<_> = conform::instances()
        .into_iter()
        .filter(|instance| {
            filter
                .split_whitespace()
                .all(|word| instance.to_string().contains(word))
        })
        .collect();
    if list {
        for instance in chosen {
            println!("{instance:60} {}", instance.rule.title);
        }
        return ExitCode::SUCCESS;
    }
    let report = Report::new(chosen.iter().map(|instance| instance.run()).collect());
    println!(
        "{}",
        if format == Format::Json {
            report.to_json()
        } else {
            report.to_table()
        }
    );
    let failed = report
        .rules
        .iter()
        .any(|rule| rule.status == Status::Failed);
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
