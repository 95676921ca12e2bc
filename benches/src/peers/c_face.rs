//! This project through its C API. A C program of `crates/uv-capi` does the workloads in a process
//! of its own, linked with the shared library of the same profile. In one program, two static
//! libraries would define Rust's runtime symbols twice.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use serde_json::Value;

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

/// The package with the library and the program, from here.
const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/uv-capi");

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

/// Builds the library, and the program with it, into a directory beside the library.
fn compile() -> io::Result<PathBuf> {
    let library = build_library()?;
    let dir = library.with_file_name("uv-udp-c");
    fs::create_dir_all(&dir)?;
    for name in ["libuv_udp.so", "libuv_udp.so.0"] {
        let link = dir.join(name);
        let _ = fs::remove_file(&link);
        symlink(&library, link)?;
    }
    let program = dir.join("workloads");
    let package = Path::new(PACKAGE);
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-std=c11", "-D_DEFAULT_SOURCE"]);
    cc.arg("-I").arg(package.join("include"));
    cc.arg("-I").arg(package.join("include/compat"));
    cc.arg(package.join("tests/c/workloads.c"));
    cc.arg("-L").arg(&dir).arg("-luv_udp");
    cc.arg(format!("-Wl,-rpath,{}", dir.display()));
    let status = cc.arg("-o").arg(&program).status();
    match status {
        Ok(status) if status.success() => Ok(program),
        Ok(status) => Err(io::Error::other(format!("cc: {status}"))),
        Err(error) => Err(io::Error::other(format!("no C compiler: {error}"))),
    }
}

fn build_library() -> io::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--package", "uv-capi", "--lib"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let output = build
        .arg("--message-format=json")
        .current_dir(PACKAGE)
        .stderr(Stdio::inherit())
        .output()?;
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let files = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| Some(message.get("filenames")?.as_array()?.clone()))
        .flatten()
        .filter_map(|file| file.as_str().map(PathBuf::from));
    files
        .into_iter()
        .find(|file| file.file_name().is_some_and(|name| name == "libuv_udp.so"))
        .ok_or_else(|| io::Error::other("uv-capi does not build"))
}
