//! `cargo xtask fuzz`: runs the fuzz targets of `fuzz/` with the flags of `cargo fuzz run`.
//!
//! It needs neither `cargo fuzz` nor a nightly toolchain: with `RUSTC_BOOTSTRAP`, a stable compiler
//! accepts the flags. The corpus has the place that `cargo fuzz` expects, and begins with the seeds
//! of this module.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use uv_sys::{ControlEncoder, Family};

use crate::step::{Done, Failed};
use crate::tools::{cargo, works};

/// The targets and their time.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Seconds for each target.
    #[arg(long, default_value_t = SECONDS)]
    pub seconds: u32,
    /// Only targets whose name contains this text.
    #[arg(long, default_value = "")]
    pub filter: String,
}

/// Default seconds for each target: most findings come in the first ten.
const SECONDS: u32 = 60;
/// The longest input, in bytes: several messages, addresses or options.
const MAX_LENGTH: usize = 1024;
type Seeds = fn() -> Vec<Vec<u8>>;
/// The targets with their first inputs.
const TARGETS: [(&str, Seeds); 3] = [
    ("control_messages", control_messages),
    ("c_addresses", c_addresses),
    ("c_options", c_options),
];
/// The compiler flags of `cargo fuzz`: coverage for libFuzzer, and AddressSanitizer.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address -Cdebug-assertions -Ccodegen-units=1";

/// Runs the targets. Returns whether they found nothing.
#[must_use]
pub fn main(options: &Options) -> bool {
    match run(options) {
        Ok(Done::Holds(remark)) => println!("{remark}"),
        Ok(Done::Skipped(reason)) => println!("skipped: {reason}"),
        Err(Failed(reason)) => {
            eprintln!("{reason}");
            return false;
        }
    }
    true
}

/// The step of `cargo xtask ci`.
pub(crate) fn step() -> Result<Done, Failed> {
    run(&Options {
        seconds: SECONDS,
        filter: String::new(),
    })
}

fn run(options: &Options) -> Result<Done, Failed> {
    for compiler in ["cc", "c++"] {
        if !works(compiler, &["--version"]) {
            return Ok(Done::Skipped(format!("{compiler} is missing")));
        }
    }
    let Some(host) = host() else {
        return Ok(Done::Skipped("rustc reports no host".into()));
    };
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let mut format = cargo("fmt --check");
    if !format.current_dir(&directory).status()?.success() {
        return Err(Failed("the fuzz targets are not formatted".into()));
    }
    let mut build = cargo("build --quiet --release --bins --target");
    build.arg(&host).current_dir(&directory);
    build.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", FLAGS);
    build.env("CARGO_TARGET_DIR", directory.join("target"));
    if !build.status()?.success() {
        return Err(Failed("the fuzz targets do not build".into()));
    }
    let binaries = directory.join("target").join(host).join("release");
    let mut done = Vec::new();
    for (name, seeds) in TARGETS {
        if name.contains(&options.filter) {
            let corpus = corpus(&directory, name, seeds())?;
            done.push(fuzz(&binaries.join(name), name, &corpus, options.seconds)?);
        }
    }
    Ok(Done::Holds(done.join("; ")))
}

/// The target triple. With `--target`, Cargo builds the build scripts without the flags.
fn host() -> Option<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
}

/// The directory of a target's inputs, with at least these in it.
fn corpus(directory: &Path, name: &str, seeds: Vec<Vec<u8>>) -> io::Result<PathBuf> {
    let corpus = directory.join("corpus").join(name);
    fs::create_dir_all(&corpus)?;
    for (index, seed) in seeds.iter().enumerate() {
        fs::write(corpus.join(format!("seed-{index}")), seed)?;
    }
    Ok(corpus)
}

/// Runs one target. Returns its name with the number of inputs.
fn fuzz(binary: &Path, name: &str, corpus: &Path, seconds: u32) -> Result<String, Failed> {
    let artifacts = corpus.join("../../artifacts").join(name);
    fs::create_dir_all(&artifacts)?;
    let output = Command::new(binary)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={MAX_LENGTH}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(corpus)
        .stdin(Stdio::null())
        .output()?;
    let printed = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(Failed(format!("{name}: {}\n{printed}", output.status)));
    }
    // "Done 585935 runs in 9 second(s)", the last line.
    let runs = printed.lines().find_map(|line| line.strip_prefix("Done "));
    let runs = runs.and_then(|line| line.split(' ').next());
    Ok(format!("{name}: {} runs", runs.unwrap_or("no")))
}

/// Control messages as a kernel writes them, in both families.
fn control_messages() -> Vec<Vec<u8>> {
    let mut seeds = vec![Vec::new()];
    for family in [Family::V4, Family::V6] {
        let mut memory = [0; 512];
        let mut control = ControlEncoder::new(&mut memory);
        let source = family.unspecified().into();
        let written = control
            .segment_size(1_200)
            .and_then(|()| control.tos(family, 2))
            .and_then(|()| control.ttl(family, 64))
            .and_then(|()| control.source(family, source))
            .and_then(|()| control.transmit_at(1));
        if written.is_ok() {
            seeds.push(control.as_bytes().to_vec());
        }
    }
    // IP_RECVERR and IPV6_RECVERR: 16 bytes and the address of the sender of the ICMP message; SOL_SOCKET with a time and a
    // count.
    for (level, kind, length) in [(0, 11, 32), (41, 25, 44), (1, 35, 16), (1, 40, 4)] {
        let mut memory = [0; 128];
        let mut control = ControlEncoder::new(&mut memory);
        let mut contents = vec![1; length];
        if let Some(family) = contents.get_mut(16..18) {
            family.copy_from_slice(&[if level == 0 { 2 } else { 10 }, 0]);
        }
        if control.push(level, kind, &contents).is_ok() {
            seeds.push(control.as_bytes().to_vec());
        }
    }
    seeds
}

/// Texts, structures of both families, and sockets bound and connected: see `fuzz/c/addresses.c`.
fn c_addresses() -> Vec<Vec<u8>> {
    let texts = ["127.0.0.1", "::1", "fe80::1%lo", "::ffff:1.2.3.4", "1.2.3"];
    let mut seeds: Vec<Vec<u8>> = texts
        .iter()
        .map(|text| {
            let length = u8::try_from(text.len()).unwrap_or(0);
            [&[0, length], text.as_bytes(), &[0, 1, 0, 0, 1]].concat()
        })
        .collect();
    let v4 = [&[2, 0, 1, 2, 127, 0, 0, 1][..], &[0; 8]].concat();
    let v6 = [&[10, 0, 1, 2, 0, 0, 0, 0][..], &[0; 15], &[1], &[0; 4]].concat();
    for address in [v4, v6] {
        seeds.push([&[1][..], &address, &[40]].concat());
        for connects in [0, 17] {
            seeds.push([&[2][..], &address, &[connects, 0]].concat());
        }
    }
    seeds
}

/// Each option once, on a handle of each family: see `fuzz/c/options.c`.
fn c_options() -> Vec<Vec<u8>> {
    let groups = [&b"\x0b239.1.2.3.4"[..], b"\x09127.0.0.1", b"\xff"].concat();
    let mut seeds = Vec::new();
    for family in [0_u8, 2, 10] {
        for option in 0..12 {
            let begin = [family, 0, 0, 0, 1, 0, 0, 0, 32, 8, 0, 0, 0, 0, option];
            seeds.push([&begin[..], &[1, 0, 0, 0]].concat());
            seeds.push([&begin[..], &groups, &[1]].concat());
        }
    }
    seeds
}
