//! `cargo xtask bench`: its arguments, and the way to the release build that measures. The measuring is done by
//! `examples/bench.rs`, so that nobody who wants the demo has to build the peers first.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::Format;
use crate::ci::{cargo, works};

/// What to measure, and how to report it.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Only this workload; may be given several times.
    #[arg(long, value_name = "WORKLOAD")]
    pub workload: Vec<String>,
    /// Only this peer beside ourselves; may be given several times.
    #[arg(long, value_name = "PEER")]
    pub peer: Vec<String>,
    /// Shorter and fewer rounds: less than a minute.
    #[arg(long)]
    pub quick: bool,
    /// For people or for programs.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Draw a chart of each workload into this directory.
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "target/bench")]
    pub plot: Option<PathBuf>,
    /// Name the workloads, and measure none.
    #[arg(long)]
    pub list: bool,
}

/// Runs the example with these arguments in a release build, with libuv if it is installed, and says whether that worked.
pub fn run(arguments: impl Iterator<Item = OsString>) -> bool {
    let mut command = cargo("run --quiet --release --package xtask --example bench");
    if cfg!(feature = "libuv") || works("pkg-config", &["--atleast-version=1.40", "libuv"]) {
        command.args(["--features", "libuv"]);
    }
    command.arg("--").args(arguments);
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("cargo: {error}");
            false
        }
    }
}
