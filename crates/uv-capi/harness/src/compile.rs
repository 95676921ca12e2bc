//! Compiling C and C++ programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

use crate::libraries::{Profile, libraries};
use crate::package;

/// Warnings are errors, and strict standards keep the POSIX declarations.
pub const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-D_DEFAULT_SOURCE"];

/// System libraries for the static library (`rustc --print native-static-libs`).
pub const STATIC_NEEDS: [&str; 6] = ["-lgcc_s", "-lutil", "-lrt", "-lm", "-ldl", "-lc"];

/// The form of the calls in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The proposal's.
    Proposal,
    /// libuv 1.x's.
    LibuvV1,
}

impl Form {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Proposal, Self::LibuvV1];

    /// The definition that selects the form.
    #[must_use]
    pub fn define(self) -> &'static str {
        match self {
            Self::Proposal => "-DPROPOSAL",
            Self::LibuvV1 => "-DUV_UDP_V1",
        }
    }

    /// `c` or `c-v1`, as in the list of the C program and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Proposal => "c",
            Self::LibuvV1 => "c-v1",
        }
    }
}

/// The header and the library of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// Ours, shared, in the proposal's form unless a flag defines another.
    Ours,
    /// Ours, shared, in libuv 1.x's form: the program includes `uv.h`.
    OursAsLibuv,
    /// Ours, static, in libuv 1.x's form.
    OursStatic,
    /// The system's libuv.
    Libuv,
}

/// How a program is compiled.
#[derive(Clone, Copy, Debug)]
pub struct Compile<'a> {
    /// The compiler, as `cc`.
    pub compiler: &'a str,
    /// Flags behind the usual ones.
    pub flags: &'a [&'a str],
    /// The header and the library.
    pub against: Against,
    /// The profile of our library.
    pub profile: Profile,
}

impl Compile<'_> {
    /// Compiles sources into one program. Another process may run `to` or compile it meanwhile: it
    /// is replaced at once when the compiler is done.
    ///
    /// # Errors
    ///
    /// A failed build of the library; the messages of the compiler.
    pub fn program(&self, sources: &[PathBuf], to: &Path) -> io::Result<()> {
        let own = to.with_extension(std::process::id().to_string());
        let include = package("include");
        let mut command = Command::new(self.compiler);
        command
            .args(STRICT)
            .args(["-g", "-pthread", "-o"])
            .arg(&own)
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
                command.arg(libraries(self.profile)?.static_library());
                command.args(STATIC_NEEDS);
            }
            Against::Ours | Against::OursAsLibuv => {
                let directory = libraries(self.profile)?.directory();
                command.arg("-L").arg(directory).arg("-luv_udp");
                command.arg(format!("-Wl,-rpath,{}", directory.display()));
            }
        }
        let output = command
            .output()
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.compiler)))?;
        if output.status.success() {
            return fs::rename(&own, to);
        }
        let messages = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("{command:?}\n{messages}")))
    }
}

/// Whether the system has the C compiler `cc`.
#[must_use]
pub fn has_compiler() -> bool {
    works("cc", &["--version"])
}

/// Whether a tool of the system runs with these arguments, and succeeds.
#[must_use]
pub fn works(tool: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(tool);
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
