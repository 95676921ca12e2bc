//! Makes random calls: `cargo xtask random`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use conformance::random::{self, Options};

/// The memory check needs the number of allocated bytes.
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = random::ALLOCATOR;

/// Make random calls, and check what holds for any calls in any order.
#[derive(Parser)]
#[command(bin_name = "cargo xtask random")]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    if random::main(&Arguments::parse().options) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
