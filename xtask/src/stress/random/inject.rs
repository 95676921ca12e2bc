//! The same under strace, which lets system calls fail as a kernel may let them fail at any time.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Options;
use crate::ci::works;

/// A fault of a system call.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// What strace(1) is to inject.
    pub inject: &'static str,
    /// The error that the program may then see, if it may see it.
    pub visible: Option<&'static str>,
}

const fn hidden(inject: &'static str) -> Fault {
    Fault {
        inject,
        visible: None,
    }
}

const fn visible(inject: &'static str, errno: &'static str) -> Fault {
    Fault {
        inject,
        visible: Some(errno),
    }
}

/// Which calls fail, how, and which of them. Primes, so that no pattern of calls always has the same ones fail.
pub static FAULTS: &[Fault] = &[
    hidden("sendmsg:error=EINTR:when=3+7"),
    hidden("sendmmsg:error=EINTR:when=2+3"),
    hidden("recvmsg:error=EINTR:when=3+7"),
    hidden("recvmmsg:error=EINTR:when=2+3"),
    hidden("epoll_pwait2:error=EINTR:when=3+7"),
    hidden("sendmsg:error=EAGAIN:when=3+7"),
    hidden("sendmmsg:error=EAGAIN:when=2+3"),
    hidden("recvmsg:error=EAGAIN:when=3+3"),
    hidden("recvmmsg:error=EAGAIN:when=3+3"),
    visible("sendmsg:error=ENOBUFS:when=5+11", "ENOBUFS"),
    visible("sendmmsg:error=ENOBUFS:when=3+5", "ENOBUFS"),
    visible("sendmsg:error=ENOMEM:when=5+11", "ENOMEM"),
    visible("sendmsg:error=EPERM:when=5+11", "EPERM"),
    visible("recvmsg:error=ENOMEM:when=5+11", "ENOMEM"),
    visible("socket:error=EMFILE:when=11+7", "EMFILE"),
    visible("socket:error=ENOBUFS:when=11+7", "ENOBUFS"),
    visible("setsockopt:error=ENOMEM:when=23+29", "ENOMEM"),
    visible("setsockopt:error=EPERM:when=23+29", "EPERM"),
    visible("bind:error=ENOMEM:when=11+7", "ENOMEM"),
    visible("connect:error=EAGAIN:when=5+7", "EAGAIN"),
    visible("epoll_ctl:error=ENOSPC:when=11+7", "ENOSPC"),
    visible("epoll_ctl:error=ENOMEM:when=11+7", "ENOMEM"),
    // Calls that a container's filter refuses from the first to the last.
    hidden("sendmmsg:error=EPERM"),
    hidden("recvmmsg:error=EPERM"),
    hidden("epoll_pwait2:error=EPERM"),
    hidden("epoll_pwait2:error=ENOSYS"),
];

/// A run of the random calls in a process of its own, which prints a line for each check, as the tests of Rust do.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    fault: Option<&'static Fault>,
}

/// The random calls without a fault, and with each. Says on standard error what is left out.
#[must_use]
pub fn programs() -> Vec<Program> {
    let mut programs = vec![Program { fault: None }];
    if works("strace", &["-qq", "-o", "/dev/null", "true"]) {
        let faults = FAULTS.iter().map(Some);
        programs.extend(faults.map(|fault| Program { fault }));
    } else {
        let count = FAULTS.len();
        eprintln!("{count} system call faults are skipped: strace is missing, or may not trace");
    }
    programs
}

impl Program {
    /// What it is called in tables.
    #[must_use]
    pub fn name(&self) -> String {
        match self.fault {
            None => "random".into(),
            Some(fault) => format!("random {}", fault.inject),
        }
    }

    /// Whether this is the one without a fault.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.fault.is_none()
    }

    /// The command of one run; `xtask` is the path of this program.
    #[must_use]
    pub fn command(&self, xtask: &Path, options: &Options) -> Command {
        let mut command = match self.fault {
            None => Command::new(xtask),
            Some(fault) => {
                let mut command = Command::new("strace");
                let call = fault.inject.split(':').next().unwrap_or_default();
                command.args(["-f", "-qq", "-o", "/dev/null", "-e", "signal=none"]);
                // Only the calls that fail are stopped at: the others are as fast as ever.
                command.args(["--seccomp-bpf", "-e", &format!("trace={call}")]);
                command.args(["-e", &format!("inject={}", fault.inject)]);
                command.arg(xtask);
                command
            }
        };
        command.arg("random");
        command.args(["--seed", &options.seed.to_string()]);
        command.args(["--steps", &options.steps.to_string()]);
        let visible = self.fault.and_then(|fault| fault.visible);
        let tolerated = options.tolerate.iter().map(String::as_str);
        for errno in visible.into_iter().chain(tolerated) {
            command.args(["--tolerate", errno]);
        }
        for check in &options.without {
            command.args(["--without", &check.to_string()]);
        }
        command
    }
}

/// Runs each fault whose name has `filter` in it, prints how it went, and says whether every check held.
pub(super) fn run(options: &Options) -> bool {
    let programs = programs().into_iter();
    let faults = programs.filter(|program| !program.is_plain());
    let chosen = faults.filter(|program| program.name().contains(&options.filter));
    let mut holds = true;
    for program in chosen {
        let run = |xtask: PathBuf| program.command(&xtask, options).output();
        match env::current_exe().and_then(run) {
            Ok(output) if output.status.success() => println!("✓ {}", program.name()),
            Ok(output) => {
                holds = false;
                let printed = String::from_utf8_lossy(&output.stderr);
                println!("✗ {}\n{printed}", program.name());
            }
            Err(error) => {
                holds = false;
                println!("✗ {}: {error}", program.name());
            }
        }
    }
    holds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_a_name_of_its_own_and_lets_the_program_see_what_it_may_see() {
        let mut names: Vec<_> = FAULTS.iter().map(|fault| fault.inject).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FAULTS.len());
        for fault in FAULTS {
            let program = Program { fault: Some(fault) };
            let command = program.command(Path::new("xtask"), &Options::default());
            let words: Vec<_> = command
                .get_args()
                .filter_map(|word| word.to_str())
                .collect();
            let tolerated = words.iter().position(|word| *word == "--tolerate");
            let tolerated = tolerated.map(|place| words[place + 1]);
            assert_eq!(tolerated, fault.visible, "{}", fault.inject);
        }
    }
}
