//! Running Cargo and the tools of the system.

use std::env;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
pub use uv_capi_harness::works;

/// Cargo with these arguments, separated by spaces.
#[must_use]
pub fn cargo(arguments: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments.split_whitespace());
    command
}

/// Runs Cargo for a build, and returns its messages. `build` includes `--message-format json`.
pub(crate) fn build_messages(mut build: Command) -> io::Result<Vec<Value>> {
    let output = build.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        let error = format!("{}: {}", output.status, display(&build));
        return Err(io::Error::other(error));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    Ok(messages.collect())
}

/// Builds a binary of the package conformance, and returns its path.
pub(crate) fn conformance_binary(name: &str) -> io::Result<PathBuf> {
    let build = format!("build --quiet --package conformance --bin {name} --message-format json");
    let messages = build_messages(cargo(&build))?;
    let executable = messages
        .iter()
        .find_map(|message| message["executable"].as_str());
    let executable = executable.ok_or_else(|| io::Error::other(format!("no binary {name}")))?;
    Ok(executable.into())
}

/// A command as it would be typed.
pub(crate) fn display(command: &Command) -> String {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}
