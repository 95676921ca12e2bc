//! Compilers, the libraries under test, and running what comes out.

use std::ffi::OsStr;
use std::io::Write;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::{env, fs};

/// This crate's directory.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A C or C++ program in `tests/c`.
pub(crate) fn source(name: &str) -> PathBuf {
    root().join("tests/c").join(name)
}

/// The sources of the conformance suite in C.
pub(crate) fn conformance() -> Vec<PathBuf> {
    let entries = fs::read_dir(source("conform")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|end| end == "c"))
        .collect()
}

/// Whether the system has `tool`; says so if not.
pub(crate) fn has(tool: &str) -> bool {
    let found = Command::new(tool)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
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

/// Links a file under a name that other processes of this test may be replacing, too.
fn link(from: &Path, to: &Path) {
    let own = to.with_extension(std::process::id().to_string());
    let _ = fs::remove_file(&own);
    fs::hard_link(from, &own).unwrap();
    fs::rename(&own, to).unwrap();
    // rename(2) leaves both where they are the same file already.
    let _ = fs::remove_file(&own);
}

/// The directory with `libuv_udp.so` (under each name that it has once it is installed) and `libuv_udp.a`, just built.
pub(crate) fn libraries() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // A crate of C libraries alone is not built for its tests, so it is built by them.
        let test = env::current_exe().unwrap();
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let release = test.components().any(|part| part.as_os_str() == "release");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([
            "build",
            "--quiet",
            "--package",
            "uv-capi",
            "--lib",
            "--target-dir",
        ]);
        cargo.arg(target);
        if release {
            cargo.arg("--release");
        }
        expect_success(&mut cargo);
        let built = target.join(if release { "release" } else { "debug" });
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libraries");
        fs::create_dir_all(&dir).unwrap();
        for (from, to) in [
            ("libuv_udp.so", "libuv_udp.so"),
            ("libuv_udp.so", "libuv_udp.so.0"),
            ("libuv_udp.a", "libuv_udp.a"),
        ] {
            link(&built.join(from), &dir.join(to));
        }
        dir
    })
}

/// What a program is compiled and linked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Against {
    /// Ours, in the proposal's form.
    Ours,
    /// Ours, in libuv 1.x's form.
    OursAsLibuv,
    /// Ours as a static library, in libuv 1.x's form.
    OursStatic,
    /// The system's libuv.
    Libuv,
}

/// How a program is compiled.
pub(crate) struct Compile<'a> {
    pub(crate) compiler: &'a str,
    pub(crate) flags: &'a [&'a str],
    pub(crate) against: Against,
}

/// Warnings are errors; and what POSIX has is there also under a strict standard.
pub(crate) const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-D_DEFAULT_SOURCE"];

/// What the static library needs of the system (`rustc --print native-static-libs`).
pub(crate) const STATIC_NEEDS: [&str; 6] = ["-lgcc_s", "-lutil", "-lrt", "-lm", "-ldl", "-lc"];

impl Compile<'_> {
    /// Compiles sources into one program.
    pub(crate) fn program(&self, sources: &[PathBuf], to: &Path) {
        let include = root().join("include");
        let mut command = Command::new(self.compiler);
        command
            .args(STRICT)
            .args(["-g", "-pthread", "-o"])
            .arg(to)
            .args(sources);
        command.args(self.flags);
        if self.against != Against::Libuv {
            command.arg("-I").arg(&include);
        }
        if matches!(self.against, Against::OursAsLibuv | Against::OursStatic) {
            command.arg("-I").arg(include.join("compat"));
        }
        match self.against {
            Against::Libuv => {
                command.arg("-luv");
            }
            Against::OursStatic => {
                command.arg(libraries().join("libuv_udp.a"));
                command.args(STATIC_NEEDS);
            }
            Against::Ours | Against::OursAsLibuv => {
                command.arg("-L").arg(libraries()).arg("-luv_udp");
                command.arg(format!("-Wl,-rpath,{}", libraries().display()));
            }
        }
        expect_success(&mut command);
    }
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
