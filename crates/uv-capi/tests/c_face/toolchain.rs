//! Compilers, the libraries under test, and the programs of these tests.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) use uv_capi_harness::{Against, Form, STATIC_NEEDS, STRICT};
use uv_capi_harness::{Compile, Profile, works};

/// This crate's directory.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A C or C++ program in `tests/c`.
pub(crate) fn source(name: &str) -> PathBuf {
    root().join("tests/c").join(name)
}

/// The programs of `tests/c` that are written for libuv.
pub(crate) const PROGRAMS: [&str; 7] = [
    "echo_server",
    "retransmit",
    "recvmmsg",
    "multicast",
    "walk_and_close",
    "helpers",
    "events",
];

/// Whether the system has `tool`; says so if not.
pub(crate) fn has(tool: &str) -> bool {
    let found = works(tool, &["--version"]);
    if !found {
        skipped(&format!("there is no `{tool}` here"));
    }
    found
}

/// Names a test that is skipped on the terminal. The test harness does not capture the handle, as it does `eprintln!`.
fn skipped(reason: &str) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default();
    // Without a standard error output there is nobody to read it.
    let _ = writeln!(std::io::stderr(), "skipped {name}: {reason}");
}

/// A directory of one test in this process, which is empty until it is used, and removed with the value.
#[derive(Debug)]
pub(crate) struct Workshop(PathBuf);

impl Deref for Workshop {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // What a failed test leaves is of interest.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

pub(crate) fn workshop(name: &str) -> Workshop {
    let name = format!("{name}-{}", std::process::id());
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    Workshop(dir)
}

/// The directory of `libuv_udp.so` and `libuv_udp.a`, built in the profile of this test.
pub(crate) fn libraries() -> &'static Path {
    uv_capi_harness::libraries(Profile::current())
        .unwrap()
        .directory()
}

/// Compiles sources into one program, with the library in the profile of this test.
pub(crate) fn compile(
    compiler: &str,
    flags: &[&str],
    against: Against,
    sources: &[PathBuf],
    to: &Path,
) {
    let compile = Compile {
        compiler,
        flags,
        against,
        profile: Profile::current(),
    };
    compile
        .program(sources, to)
        .unwrap_or_else(|error| panic!("{error}"));
}

/// Compiles the conformance rules in one form of the calls.
pub(crate) fn compile_conformance(form: Form, flags: &[&str], to: &Path) {
    uv_capi_harness::conformance_program(form, Profile::current(), flags, to)
        .unwrap_or_else(|error| panic!("{error}"));
}

/// Runs a command that must succeed. If it does not, what it said is shown without the rules that hold.
pub(crate) fn expect_success(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let said = |text| String::from_utf8_lossy(text).into_owned();
    let of_interest: Vec<_> = said(&output.stdout)
        .lines()
        .filter(|line| !line.starts_with("passed\t"))
        .map(String::from)
        .collect();
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{}\n{}",
        output.status,
        of_interest.join("\n"),
        said(&output.stderr)
    );
    output
}

/// Runs a program, and gives what it said.
pub(crate) fn run(program: impl AsRef<OsStr>) -> String {
    let output = expect_success(&mut Command::new(program));
    String::from_utf8(output.stdout).unwrap()
}
