//! `cargo xtask`: the chores of this workspace. See `cargo xtask help`.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fmt::Display;
use std::path::PathBuf;
use std::process::{Command as Process, ExitCode};

use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};
use xtask::tools::{cargo, works};
use xtask::{ci, demo, fuzz, install, stress};

/// The chores of this workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show an echo server with its client, and the proposal step by step.
    Demo(demo::Options),
    /// Check every promise against real sockets.
    Conform(PassedOn),
    /// Build the C libraries, and install them with their headers and pkg-config files.
    Install {
        /// The directory that gets `include` and `lib`.
        #[arg(long, value_name = "DIR")]
        prefix: PathBuf,
    },
    /// Measure this project and its peers side by side, in a release build.
    Bench(PassedOn),
    /// Run a program with some system calls refused, as in a container or on an old kernel.
    Deny(PassedOn),
    /// Make random calls, and check what holds for any calls in any order.
    Random(PassedOn),
    /// Run the fuzz targets on the parsers and the C face.
    Fuzz(fuzz::Options),
    /// Run the tests of the workspace.
    Test,
    /// Run every test repeatedly under conditions that expose races, and count the failures.
    Stress(stress::Arguments),
    /// Run every check that a change must pass.
    Ci {
        /// Skip a step.
        #[arg(long, value_name = "STEP", value_parser = PossibleValuesParser::new(ci::names()))]
        skip: Vec<String>,
    },
}

/// The arguments of a program in another package, which also prints their help.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
struct PassedOn {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Demo(options) => finish(demo::run(options)),
        Command::Conform(passed_on) => run("--package conformance", passed_on),
        Command::Deny(passed_on) => run("--package conformance --bin deny", passed_on),
        Command::Random(passed_on) => run("--package conformance --bin random", passed_on),
        Command::Bench(passed_on) => {
            let libuv = works("pkg-config", &["--atleast-version=1.40", "libuv"]);
            let features = if libuv { " --features libuv" } else { "" };
            let bench = format!("--release --package uv-benches --bin bench{features}");
            run(&bench, passed_on)
        }
        Command::Install { prefix } => finish(install::install(&prefix).map(|installed| {
            let files = installed.files.iter();
            files.for_each(|file| println!("{}", file.display()));
            eprintln!("{}", installed.hint());
            true
        })),
        Command::Fuzz(options) => exit_code(fuzz::main(&options)),
        Command::Test => succeeds(cargo("test --workspace")),
        Command::Stress(arguments) => finish(stress::run(&arguments)),
        Command::Ci { skip } => exit_code(ci::run(&skip)),
    }
}

/// Runs a program of the workspace.
fn run(program: &str, passed_on: PassedOn) -> ExitCode {
    let mut command = cargo(&format!("run --quiet {program} --"));
    command.args(passed_on.arguments);
    succeeds(command)
}

fn succeeds(mut command: Process) -> ExitCode {
    finish(command.status().map(|status| status.success()))
}

fn finish(result: Result<bool, impl Display>) -> ExitCode {
    exit_code(result.unwrap_or_else(|error| {
        eprintln!("{error}");
        false
    }))
}

fn exit_code(success: bool) -> ExitCode {
    if success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
