//! Compilers, the libraries under test, and running what comes out.

use std::ffi::OsStr;
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
        eprintln!("skipped: there is no `{tool}` here");
    }
    found
}

/// A directory of this test's own, which is empty.
pub(crate) fn workshop(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
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
        let dir = workshop("libraries");
        for (from, to) in [
            ("libuv_udp.so", "libuv_udp.so"),
            ("libuv_udp.so", "libuv_udp.so.0"),
            ("libuv_udp.a", "libuv_udp.a"),
        ] {
            fs::hard_link(built.join(from), dir.join(to)).unwrap();
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

/// Whether programs can be compiled against the system's libuv; says so if not.
pub(crate) fn has_libuv() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    let found = *FOUND.get_or_init(|| {
        let dir = workshop("libuv");
        let probe = dir.join("probe.c");
        fs::write(
            &probe,
            "#include <uv.h>\nint main(void) { return uv_version() == 0; }\n",
        )
        .unwrap();
        let mut command = Command::new("cc");
        command
            .arg("-o")
            .arg(dir.join("probe"))
            .arg(probe)
            .arg("-luv");
        command.output().is_ok_and(|output| output.status.success())
    });
    if !found {
        eprintln!("skipped: there is no libuv to compare with (`apt install libuv1-dev`)");
    }
    found
}
