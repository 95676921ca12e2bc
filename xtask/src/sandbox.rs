//! The conformance suite in Rust where a sandbox or an old kernel refuses system calls.

use std::env;
use std::io;
use std::process::{Command, Stdio};

use crate::conform::Report;

/// What is refused together, as `cargo xtask deny` reads it.
const REFUSALS: [&[&str]; 7] = [
    // Filters of containers that are older than the call.
    &["epoll_pwait2=EPERM"],
    &["sendmmsg=EPERM"],
    &["recvmmsg=EPERM"],
    // Kernels and filters that lack it.
    &["epoll_pwait2=ENOSYS", "sendmmsg=ENOSYS"],
    &["recvmmsg=ENOSYS"],
    &[
        "setsockopt:SOL_UDP:UDP_SEGMENT=EPERM",
        "getsockopt:SOL_UDP:UDP_SEGMENT=EPERM",
        "setsockopt:SOL_UDP:UDP_GRO=EPERM",
        "getsockopt:SOL_UDP:UDP_GRO=EPERM",
    ],
    // As gVisor does: to set it succeeds and does nothing.
    &[
        "setsockopt:SOL_UDP:UDP_SEGMENT=0",
        "getsockopt:SOL_UDP:UDP_SEGMENT=ENOPROTOOPT",
        "setsockopt:SOL_UDP:UDP_GRO=0",
        "getsockopt:SOL_UDP:UDP_GRO=ENOPROTOOPT",
    ],
];

/// What there is to say of all refusals, or of the first under which a rule does not hold.
pub(crate) enum Checked {
    Holds(String),
    Broken(String),
    /// This kernel takes no filters.
    Cannot(String),
}

/// Runs the suite under each refusal.
pub(crate) fn check() -> io::Result<Checked> {
    let mut counts = Vec::new();
    for refused in REFUSALS {
        let mut command = under(refused)?;
        let usable = command.arg("true").status()?;
        if !usable.success() {
            return Ok(Checked::Cannot(format!(
                "no system calls can be refused here: {usable}"
            )));
        }
        let mut command = under(refused)?;
        command
            .arg(env::current_exe()?)
            .args(["conform", "--face", "rust", "--format", "json"]);
        let output = command.stderr(Stdio::inherit()).output()?;
        let report: Report = serde_json::from_slice(&output.stdout)?;
        let refused = refused.join(" ");
        if report.failed > 0 {
            let failures = report.failures_and_count();
            return Ok(Checked::Broken(format!("{refused}\n{failures}")));
        }
        counts.push(format!("{refused}: {}", report.count()));
    }
    Ok(Checked::Holds(counts.join("; ")))
}

/// A command that runs the program that is its next argument.
fn under(refused: &[&str]) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.arg("deny").args(refused).arg("--");
    Ok(command)
}
