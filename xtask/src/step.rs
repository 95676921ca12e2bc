//! One step of `cargo xtask ci`: its tools, its work, its result.

use std::io::{self, BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::tools::{cargo, display, works};

/// One step.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The name on the command line.
    pub name: &'static str,
    /// The property that the step checks.
    pub about: &'static str,
    /// A tool beside Rust, without which the step is skipped.
    pub(crate) needs: Option<Tool>,
    pub(crate) work: Work,
}

/// The work of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// Cargo with these arguments.
    Cargo(&'static str),
    /// Cargo with these arguments, which choose tests by name.
    Tests(&'static str),
    /// Anything else.
    Function(fn() -> Result<Done, Failed>),
}

/// A tool of the system, with a purpose that it must serve on this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tool {
    CompilerWithSanitizers,
    CompilerWithLibuv,
    Miri,
    Strace,
    Valgrind,
}

/// A step that did not fail.
#[derive(Debug)]
pub(crate) enum Done {
    /// It holds, perhaps with a remark.
    Holds(String),
    /// It cannot run here, for this reason.
    Skipped(String),
}

/// The reason of a failed step.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) String);

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl Step {
    pub(crate) fn run(&self) -> Result<Done, Failed> {
        if let Some(tool) = self.needs
            && !tool.works()
        {
            return Ok(Done::Skipped(tool.missing().into()));
        }
        match self.work {
            Work::Cargo(arguments) => passes(cargo(arguments)),
            Work::Tests(arguments) => tests_pass(cargo(arguments)),
            Work::Function(function) => function(),
        }
    }
}

impl Tool {
    fn works(self) -> bool {
        match self {
            Self::CompilerWithSanitizers => compiles_with("-fsanitize=address,undefined"),
            Self::CompilerWithLibuv => compiles_with("-luv"),
            // The proxy of rustup, which knows other toolchains.
            Self::Miri => works("cargo", &["+nightly", "miri", "--version"]),
            Self::Strace => works("strace", &["-qq", "-o", "/dev/null", "true"]),
            Self::Valgrind => works("valgrind", &["--version"]),
        }
    }

    fn missing(self) -> &'static str {
        match self {
            Self::CompilerWithSanitizers => "no C compiler with sanitizers",
            Self::CompilerWithLibuv => "no C compiler with libuv (`apt install libuv1-dev`)",
            Self::Miri => "no Miri (`rustup component add miri --toolchain nightly`)",
            Self::Strace => "no strace, or no permission to trace",
            Self::Valgrind => "no valgrind",
        }
    }
}

/// Whether an empty source compiles with this flag.
fn compiles_with(flag: &str) -> bool {
    works(
        "cc",
        &["-shared", "-o", "/dev/null", "-xc", "/dev/null", flag],
    )
}

/// Runs a command with its output on the terminal.
pub(crate) fn passes(mut command: Command) -> Result<Done, Failed> {
    let status = command.status()?;
    if status.success() {
        Ok(Done::Holds(String::new()))
    } else {
        Err(Failed(format!("{status}: {}", display(&command))))
    }
}

/// Runs a command that runs chosen tests. Fails also if it chose none: their names may have changed.
pub(crate) fn tests_pass(mut command: Command) -> Result<Done, Failed> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut count = 0;
    for line in child
        .stdout
        .take()
        .into_iter()
        .flat_map(|out| BufReader::new(out).lines())
    {
        let line = line?;
        println!("{line}");
        count += passed(&line).unwrap_or(0);
    }
    let status = child.wait()?;
    if !status.success() {
        return Err(Failed(format!("{status}: {}", display(&command))));
    }
    if count == 0 {
        return Err(Failed(format!("no test ran: {}", display(&command))));
    }
    Ok(Done::Holds(format!("{count} tests")))
}

/// The number of passed tests in the last line of a test binary.
fn passed(line: &str) -> Option<usize> {
    let counts = line.strip_prefix("test result: ok. ")?;
    counts.split_once(" passed")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prints(line: &str) -> Command {
        let mut command = Command::new("echo");
        command.arg(line);
        command
    }

    #[test]
    fn a_step_that_runs_no_test_fails() {
        for (line, holds) in [
            ("test result: ok. 2 passed; 0 failed; 0 ignored", true),
            ("test result: ok. 0 passed; 0 failed; 9 filtered out", false),
            ("nothing", false),
        ] {
            assert_eq!(tests_pass(prints(line)).is_ok(), holds, "{line}");
        }
        assert!(tests_pass(Command::new("false")).is_err());
    }
}
