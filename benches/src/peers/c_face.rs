//! This project through its C API. A C program of `crates/uv-capi` does the workloads in a process
//! of its own, linked with the shared library of the same profile. In one program, two static
//! libraries would define Rust's runtime symbols twice.

use std::{io, path::PathBuf, process::Command, sync::OnceLock, time::Duration};

use uv_capi_harness::{Against, Compile, Profile, libraries, package};

use super::{Bench, Peer};
use crate::{
    measure::{Failure, Measurement, Outcome, Params},
    workload::{BURST, LARGE, SMALL, Workload},
};

/// The C API.
pub const PEER: Peer = Peer {
    name: "uv-udp (C)",
    about: "this project's C library, used as libuv is, in a process of its own; UV_UDP_RECVMMSG for bursts",
    runs: RUNS,
    lacks: &[],
    otherwise: "the C program does the pummels and the bursts",
    prepare: Some(prepare),
};

const RUNS: &[(Workload, Bench)] = &[
    (Workload::Pummel1, |params| {
        workload(params, &["pummel", "1"])
    }),
    (Workload::Pummel10, |params| {
        workload(params, &["pummel", "10"])
    }),
    (Workload::Pummel100, |params| {
        workload(params, &["pummel", "100"])
    }),
    (Workload::Connected1, |params| burst(params, SMALL, 1)),
    (Workload::Burst45, |params| burst(params, SMALL, BURST)),
    (Workload::Burst1200, |params| burst(params, LARGE, BURST)),
];

fn burst(params: &Params, size: usize, outstanding: usize) -> Outcome {
    let (size, outstanding) = (size.to_string(), outstanding.to_string());
    workload(params, &["burst", &size, &outstanding])
}

/// The program, built at the first call.
fn program() -> &'static Result<PathBuf, String> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    PROGRAM.get_or_init(|| compile().map_err(|error| error.to_string()))
}

/// Builds the program before the first round, because a running compiler slows a round down.
fn prepare() {
    // If the build fails, each round returns the reason.
    let _ = program();
}

/// Runs the program, which prints the datagrams sent and received, and the nanoseconds.
fn workload(params: &Params, arguments: &[&str]) -> Outcome {
    let program = program().clone().map_err(Failure::Unsupported)?;
    let times = [params.warmup, params.duration].map(|time| time.as_millis().to_string());
    let output = Command::new(program)
        .args(arguments)
        .args(times)
        .arg(params.at_least.to_string())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<u64> = text
        .split_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect();
    let [sent, delivered, nanos] = numbers[..] else {
        return Err(io::Error::other(format!("the C program ended with {}", output.status)).into());
    };
    let mut measured = Measurement::of(delivered, Duration::from_nanos(nanos));
    measured.share = (sent > 0).then(|| (delivered as f64 / sent as f64).min(1.0));
    Ok(measured)
}

/// Builds the library in the profile of this program, and the C program beside it.
fn compile() -> io::Result<PathBuf> {
    let profile = Profile::current();
    let program = libraries(profile)?.directory().join("workloads");
    let compile = Compile {
        compiler: "cc",
        flags: &["-O2", "-std=c11"],
        against: Against::OursAsLibuv,
        profile,
    };
    compile.program(&[package("tests/c/workloads.c")], &program)?;
    Ok(program)
}
