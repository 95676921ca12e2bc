//! Checks the rules of the conformance suite: `cargo xtask conform`.

#![forbid(unsafe_code)]

use std::io;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use conformance::{Selection, list, run};

/// Check every promise against real sockets.
#[derive(Parser)]
#[command(bin_name = "cargo xtask conform")]
struct Arguments {
    /// Only rules whose name and family contain each of these words, as in `peer/` or `traps v6`.
    #[arg(long, default_value = "")]
    filter: String,
    /// List the rules instead of checking them.
    #[arg(long)]
    list: bool,
    /// The format of the report.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Only one face: the Rust API, or compiled C in both forms of the calls.
    #[arg(long, value_enum)]
    face: Option<Face>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// A table for people.
    #[default]
    Table,
    /// JSON for programs.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Face {
    Rust,
    C,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    conform(&arguments).unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}

fn conform(arguments: &Arguments) -> io::Result<ExitCode> {
    let selection = Selection {
        rust: arguments.face != Some(Face::C),
        c: arguments.face != Some(Face::Rust),
        filter: arguments.filter.clone(),
    };
    if arguments.list {
        list(&selection)?.iter().for_each(|line| println!("{line}"));
        return Ok(ExitCode::SUCCESS);
    }
    let report = run(&selection)?;
    match arguments.format {
        Format::Table => println!("{}", report.to_table()),
        Format::Json => println!("{}", report.to_json()),
    }
    Ok(if report.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
