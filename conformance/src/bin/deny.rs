//! Runs a program with refused system calls: `cargo xtask deny`.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

/// Run a program with some system calls refused, as in a container or on an old kernel.
#[derive(Parser)]
#[command(bin_name = "cargo xtask deny")]
struct Arguments {
    /// A refused call, as CALL=ERROR or CALL:LEVEL:OPTION=ERROR: `recvmmsg=ENOSYS`, `setsockopt:SOL_UDP:UDP_GRO=EPERM`.
    #[arg(required = true)]
    refusals: Vec<String>,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

fn main() -> ExitCode {
    let Arguments { refusals, program } = Arguments::parse();
    let error = match conformance::deny::exec(&refusals, &program) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(error) => error,
    };
    eprintln!("{error}");
    ExitCode::FAILURE
}
