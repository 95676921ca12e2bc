//! Everything that must hold before a change is taken in, as named steps: each is timed, and the first that fails is the
//! last that runs. A step whose tool is missing is skipped with its reason.

use std::env;
use std::fmt;
use std::io;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::conform::{self, Report, Selection};
use crate::sandbox::{self, Checked};
use crate::stress;

/// One step.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    run: fn() -> Result<Done, Failed>,
}

/// All steps, in the order in which they run: what is quick and fails often comes first.
pub static STEPS: [Step; 15] = [
    Step {
        name: "fmt",
        about: "the code is formatted",
        run: fmt,
    },
    Step {
        name: "clippy",
        about: "clippy and the compiler have nothing to say",
        run: clippy,
    },
    Step {
        name: "docs",
        about: "the documentation builds without warnings",
        run: docs,
    },
    Step {
        name: "test",
        about: "the tests of the workspace",
        run: test,
    },
    Step {
        name: "conform",
        about: "the conformance suite, through Rust and through compiled C",
        run: conform,
    },
    Step {
        name: "sanitizers",
        about: "the C programs and the conformance suite in C with sanitizers for addresses and undefined behaviour",
        run: sanitizers,
    },
    Step {
        name: "libuv",
        about: "the C programs do the same with the system's libuv",
        run: libuv,
    },
    Step {
        name: "strace",
        about: "the system calls of a loop at rest, and of a handle after an option was switched off",
        run: strace,
    },
    Step {
        name: "inject",
        about: "the conformance suite in Rust under injected system call errors",
        run: inject,
    },
    Step {
        name: "sandbox",
        about: "the conformance suite in Rust where system calls are refused",
        run: sandbox,
    },
    Step {
        name: "fuzz",
        about: "the fuzz targets find nothing in a minute each",
        run: crate::fuzz::step,
    },
    Step {
        name: "stress",
        about: "every test under conditions that expose races, for a minute",
        run: stress,
    },
    Step {
        name: "valgrind",
        about: "the tests of the crates under valgrind, in Rust and in C",
        run: valgrind,
    },
    Step {
        name: "miri",
        about: "the pointers that the kernel is given, under Miri",
        run: miri,
    },
    Step {
        name: "package",
        about: "each crate packages, and with nothing that does not belong",
        run: package,
    },
];

/// How a step that did not fail ended.
pub(crate) enum Done {
    /// It holds; with a remark or none.
    Holds(String),
    /// It cannot run here.
    Skipped(String),
}

/// Why a step failed.
pub(crate) struct Failed(pub(crate) String);

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// Runs the steps but those in `skip`, and says whether all of them held.
pub fn run(skip: &[String]) -> bool {
    let chosen = STEPS
        .iter()
        .filter(|step| !skip.iter().any(|name| name == step.name));
    let mut told = Vec::new();
    let began = Instant::now();
    let mut holds = true;
    for step in chosen {
        println!("── {}: {}", step.name, step.about);
        let began = Instant::now();
        let (sign, remark) = match (step.run)() {
            Ok(Done::Holds(remark)) => ('✓', remark),
            Ok(Done::Skipped(reason)) => ('–', format!("skipped: {reason}")),
            Err(Failed(reason)) => {
                holds = false;
                ('✗', reason)
            }
        };
        told.push(format!(
            "{sign} {:10} {:6.1} s  {remark}",
            step.name,
            began.elapsed().as_secs_f64()
        ));
        println!("{}\n", told.last().map_or("", String::as_str));
        if !holds {
            break;
        }
    }
    println!("── together, {:.1} s", began.elapsed().as_secs_f64());
    told.iter().for_each(|line| println!("{}", line.trim_end()));
    holds
}

/// Runs the tests of the workspace, as the README says, and says whether they passed.
pub fn run_tests() -> bool {
    match test() {
        Ok(_) => true,
        Err(Failed(reason)) => {
            eprintln!("{reason}");
            false
        }
    }
}

pub(crate) fn cargo(arguments: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments.split_whitespace());
    command
}

/// Runs a command in the open.
fn passes(mut command: Command) -> Result<Done, Failed> {
    let status = command.status()?;
    if status.success() {
        Ok(Done::Holds(String::new()))
    } else {
        Err(Failed(format!("{status}: {}", shown(&command))))
    }
}

/// Runs a command and returns what it printed.
fn output(mut command: Command) -> Result<String, Failed> {
    let output = command.stderr(Stdio::inherit()).output()?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Failed(format!("{}: {}", output.status, shown(&command))))
    }
}

fn shown(command: &Command) -> impl fmt::Display {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether a tool is installed and may do what it is for here.
pub(crate) fn works(tool: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(tool);
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn fmt() -> Result<Done, Failed> {
    passes(cargo("fmt --all --check"))
}

fn clippy() -> Result<Done, Failed> {
    passes(cargo(
        "clippy --quiet --workspace --all-targets -- -D warnings",
    ))
}

fn docs() -> Result<Done, Failed> {
    let mut command = cargo("doc --quiet --workspace --no-deps");
    command.env("RUSTDOCFLAGS", "-D warnings");
    passes(command)
}

fn test() -> Result<Done, Failed> {
    passes(cargo("test --workspace"))
}

fn conform() -> Result<Done, Failed> {
    let report = conform::run(&Selection::all())?;
    if report.failed > 0 {
        return Err(Failed(report.failures_and_count()));
    }
    Ok(Done::Holds(report.count()))
}

/// The errors that a kernel gives at any time and a good one seldom gives: an interrupted call, and a batch that finds no
/// room.
const INJECTED: [&str; 2] = [
    "sendmsg:error=EINTR:when=3+3",
    "sendmmsg:error=EAGAIN:when=2+2",
];

fn inject() -> Result<Done, Failed> {
    if !may_trace() {
        return Ok(Done::Skipped("strace is missing, or may not trace".into()));
    }
    let this = env::current_exe()?;
    let mut counts = Vec::new();
    for injected in INJECTED {
        let mut command = Command::new("strace");
        command
            .args(["-f", "-qq", "-o", "/dev/null", "-e"])
            .arg(format!("inject={injected}"));
        command
            .arg(&this)
            .args(["conform", "--face", "rust", "--format", "json"]);
        let output = command.stderr(Stdio::inherit()).output()?;
        let report: Report = serde_json::from_slice(&output.stdout)
            .map_err(|error| Failed(format!("{error}: {}", shown(&command))))?;
        if report.failed > 0 {
            return Err(Failed(format!(
                "{injected}\n{}",
                report.failures_and_count()
            )));
        }
        counts.push(format!("{injected}: {}", report.count()));
    }
    Ok(Done::Holds(counts.join("; ")))
}

fn sandbox() -> Result<Done, Failed> {
    match sandbox::check()? {
        Checked::Holds(counts) => Ok(Done::Holds(counts)),
        Checked::Broken(reason) => Err(Failed(reason)),
        Checked::Cannot(reason) => Ok(Done::Skipped(reason)),
    }
}

/// The packages of the workspace that are chosen.
fn packages(chosen: impl Fn(&Value) -> bool) -> Result<Vec<String>, Failed> {
    let metadata = output(cargo("metadata --quiet --no-deps --format-version 1"))?;
    let metadata: Value =
        serde_json::from_str(&metadata).map_err(|error| Failed(error.to_string()))?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let names = packages
        .filter(|package| chosen(package))
        .map(|package| &package["name"]);
    Ok(names
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect())
}

/// Whether the package is a crate of the project, and not what surrounds them.
fn is_crate(package: &Value) -> bool {
    let manifest = package["manifest_path"].as_str();
    manifest.is_some_and(|path| path.contains("/crates/"))
}

/// Whether the package is published: `publish = false` is an empty list of registries.
fn is_published(package: &Value) -> bool {
    package["publish"].is_null()
}

/// Runs tests that need more than Rust, and are ignored by `cargo test` for that.
fn ignored_tests(package: &str, targets: &[&str], filter: &str) -> Result<Done, Failed> {
    let mut command = cargo("test --quiet --package");
    command.arg(package);
    for target in targets {
        command.args(["--test", target]);
    }
    command.args(["--", "--ignored", filter]);
    passes(command)
}

/// Whether an empty source compiles with these flags.
fn compiles_with(flags: &[&str]) -> bool {
    let empty = ["-shared", "-o", "/dev/null", "-xc", "/dev/null"];
    works("cc", &[&empty, flags].concat())
}

fn sanitizers() -> Result<Done, Failed> {
    if !compiles_with(&["-fsanitize=address,undefined"]) {
        let reason = "there is no C compiler with sanitizers";
        return Ok(Done::Skipped(reason.into()));
    }
    ignored_tests("uv-capi", &["c_face"], "address_sanitizer")
}

fn libuv() -> Result<Done, Failed> {
    if !compiles_with(&["-luv"]) {
        let reason = "there is no C compiler with libuv (`apt install libuv1-dev`)";
        return Ok(Done::Skipped(reason.into()));
    }
    ignored_tests("uv-capi", &["c_face"], "with_libuv")?;
    ignored_tests("uv-capi", &["c_face"], "beside_libuv")
}

fn may_trace() -> bool {
    works("strace", &["-qq", "-o", "/dev/null", "true"])
}

fn strace() -> Result<Done, Failed> {
    if !may_trace() {
        return Ok(Done::Skipped("strace is missing, or may not trace".into()));
    }
    ignored_tests("uv-udp", &["idle", "switched_off"], "")
}

fn stress() -> Result<Done, Failed> {
    let arguments = stress::Arguments::default();
    if stress::run(&arguments)? {
        Ok(Done::Holds(String::new()))
    } else {
        Err(Failed("some tests failed".into()))
    }
}

/// Test binaries that only start other programs, which valgrind does not follow.
const START_OTHERS: [&str; 3] = ["c_face", "idle", "switched_off"];

/// Test cases of each property under valgrind, which slows them down thirty times.
const CASES_UNDER_VALGRIND: &str = "8";

fn valgrind() -> Result<Done, Failed> {
    if !works("valgrind", &["--version"]) {
        return Ok(Done::Skipped("valgrind is missing".into()));
    }
    let mut build = cargo("test --quiet --no-run --message-format json");
    for package in packages(is_crate)? {
        build.args(["--package", &package]);
    }
    let messages = output(build)?;
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let tests = messages.filter(|message| {
        let starts_others = |name| START_OTHERS.contains(&name);
        message["profile"]["test"] == true
            && !message["target"]["name"]
                .as_str()
                .is_some_and(starts_others)
    });
    let binaries: Vec<_> = tests
        .filter_map(|test| test["executable"].as_str().map(str::to_owned))
        .collect();
    for binary in &binaries {
        let mut command = Command::new("valgrind");
        command.env("PROPTEST_CASES", CASES_UNDER_VALGRIND).args([
            "--quiet",
            "--error-exitcode=1",
            binary,
            "--quiet",
        ]);
        passes(command)?;
    }
    if !works("cc", &["--version"]) {
        let count = binaries.len();
        return Ok(Done::Holds(format!(
            "{count} binaries; in C skipped: there is no C compiler"
        )));
    }
    ignored_tests("uv-capi", &["c_face"], "valgrind")?;
    Ok(Done::Holds(format!("{} binaries, and C", binaries.len())))
}

/// The tests of the receive calls in uv-sys, over calls of their own instead of the kernel's.
fn miri() -> Result<Done, Failed> {
    // The proxy of rustup, which knows other toolchains.
    if !works("cargo", &["+nightly", "miri", "--version"]) {
        return Ok(Done::Skipped(
            "Miri is missing (`rustup component add miri --toolchain nightly`)".into(),
        ));
    }
    let mut command = Command::new("cargo");
    command.args(["+nightly", "miri", "test", "--quiet", "--package", "uv-sys"]);
    command.args(["--lib", "--target-dir", "target/miri", "recv::"]);
    passes(command)
}

/// What belongs into a published crate.
fn belongs(file: &str) -> bool {
    let files = [
        "Cargo.toml",
        "Cargo.toml.orig",
        "Cargo.lock",
        "README.md",
        "CHANGELOG.md",
        "build.rs",
        ".cargo_vcs_info.json",
    ];
    let directories = ["src/", "tests/", "examples/", "benches/", "include/"];
    // What proptest once failed with, it tries first from then on.
    let endings = [".rs", ".h", ".c", ".proptest-regressions"];
    let is_source = || endings.iter().any(|ending| file.ends_with(ending));
    files.contains(&file)
        || file.starts_with("LICENSE")
        || directories
            .iter()
            .any(|directory| file.starts_with(directory))
            && is_source()
}

fn package() -> Result<Done, Failed> {
    let packages = packages(is_published)?;
    for package in &packages {
        let listed = output(cargo(&format!(
            "package --quiet --list --allow-dirty --package {package}"
        )))?;
        let strays: Vec<_> = listed.lines().filter(|file| !belongs(file)).collect();
        if !strays.is_empty() {
            return Err(Failed(format!(
                "{package} would publish {}",
                strays.join(", ")
            )));
        }
        for needed in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
            if !listed.lines().any(|file| file == needed) {
                return Err(Failed(format!(
                    "{package} would be published without {needed}"
                )));
            }
        }
    }
    passes(cargo(
        "package --quiet --workspace --no-verify --allow-dirty",
    ))?;
    Ok(Done::Holds(packages.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_the_usual_files_belong_into_a_crate_and_nothing_else() {
        for file in [
            "Cargo.toml",
            "LICENSE-MIT",
            "src/lib.rs",
            "tests/functional/main.rs",
            "include/uv.h",
        ] {
            assert!(belongs(file), "{file}");
        }
        for file in [
            "notes.txt",
            "src/data.bin",
            "target/debug/x.rs",
            "perf.data",
        ] {
            assert!(!belongs(file), "{file}");
        }
    }

    #[test]
    fn steps_have_different_names() {
        let mut names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STEPS.len());
    }
}
