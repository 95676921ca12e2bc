//! Builds the C library of uv-capi, and compiles C programs against it.
//!
//! Cargo builds no crate of C libraries as a dependency, so their users run Cargo: the tests of
//! uv-capi, the conformance suite, the benches and `cargo xtask install`. [`libraries`] builds both
//! libraries once per process into a directory that all of them share. [`Compile`] compiles a
//! program against one of them.

#![forbid(unsafe_code)]

mod compile;
mod libraries;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use compile::{Against, Compile, Form, STATIC_NEEDS, STRICT, has_compiler, works};
pub use libraries::{Libraries, Profile, libraries};

/// A path inside the package uv-capi.
#[must_use]
pub fn package(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
}

/// The sources of the C program with the conformance rules.
///
/// # Errors
///
/// The errors of reading its directory.
pub fn conformance_sources() -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(package("tests/c/conform"))?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|end| end == "c"));
    paths.sort();
    Ok(paths)
}

/// Compiles the C program with the conformance rules for one form of the calls.
///
/// # Errors
///
/// A failed build of the library or of the program.
pub fn conformance_program(
    form: Form,
    profile: Profile,
    flags: &[&str],
    to: &Path,
) -> io::Result<()> {
    let flags: Vec<_> = flags.iter().copied().chain([form.define()]).collect();
    let compile = Compile {
        compiler: "cc",
        flags: &flags,
        against: Against::Ours,
        profile,
    };
    compile.program(&conformance_sources()?, to)
}
