//! What a maintainer of this workspace does twice, as code: the `cargo xtask` commands are thin wrappers of this library,
//! so that the tests can run the same things.

#![forbid(unsafe_code)]

pub mod bench;
pub mod c_face;
pub mod ci;
pub mod conform;
pub mod demo;
pub mod deny;
pub mod fuzz;
mod sandbox;
pub mod stress;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// As a table, for people.
    #[default]
    Table,
    /// As JSON, for programs.
    Json,
}

/// Names a test that is skipped on the terminal. The test harness does not capture the handle, as it does `eprintln!`.
#[cfg(test)]
pub(crate) fn skipped(reason: impl std::fmt::Display) {
    use std::io::Write;
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default();
    // Without a standard error output there is nobody to read it.
    let _ = writeln!(std::io::stderr(), "skipped {name}: {reason}");
}
