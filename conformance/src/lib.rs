//! The conformance suite: the promises of this project as named rules, checked against real sockets.
//!
//! The rules in Rust (`rules/`, one file per topic) are the specification. Each rule runs on a loop
//! and a thread of its own, through the public API, for one address family. Rules that need a
//! misbehaving network (no route, a silent neighbour, a small MTU) run in a network namespace.
//! The C program `crates/uv-capi/tests/c/conform` has the rules of the C face; `c_rules` runs it.
//!
//! Two more binaries test the same promises: `random` makes random calls, and `deny` runs a program
//! with refused system calls.

#![forbid(unsafe_code)]

mod c_rules;
pub mod deny;
mod network;
pub mod random;
mod raw;
mod report;
mod router;
mod rule;
mod rules;
mod run;
mod sockets;
mod stage;
mod suite;
mod verdict;
mod watch;

pub use report::{Face, Outcome, Report, Status};
pub use rule::Rule;
pub use run::{Instance, instances};
pub use suite::{Selection, list, run};

/// Prints the reason of a skipped test. libtest does not capture this handle, unlike `eprintln!`.
#[cfg(test)]
fn skipped(reason: impl std::fmt::Display) {
    use std::io::Write;
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default();
    // A closed standard error output has no reader.
    let _ = writeln!(std::io::stderr(), "skipped {name}: {reason}");
}
