//! Tools of the system.

use std::process::{Command, Stdio};

/// Whether a tool runs with these arguments.
#[must_use]
pub fn works(tool: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(tool);
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
