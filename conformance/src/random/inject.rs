//! The random calls under strace, which injects errors that the kernel may return at any time.

use std::env;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use uv_capi_harness::works;

use super::options::Options;

/// A fault of a system call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    /// The value of `inject=` for strace(1).
    pub(super) inject: &'static str,
    /// The error that callers may see; `None` if the library hides it.
    pub(super) visible: Option<&'static str>,
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

/// The injected faults. Their periods are primes, which differ from the periods of the calls.
static FAULTS: &[Fault] = &[
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
    // Calls that a container's filter always refuses.
    hidden("sendmmsg:error=EPERM"),
    hidden("recvmmsg:error=EPERM"),
    hidden("epoll_pwait2:error=EPERM"),
    hidden("epoll_pwait2:error=ENOSYS"),
];

/// The faults that this machine can inject. Reports on standard error if it can inject none.
pub(super) fn faults() -> impl Iterator<Item = &'static Fault> {
    let can_trace = works("strace", &["-qq", "-o", "/dev/null", "true"]);
    if !can_trace {
        let count = FAULTS.len();
        eprintln!("{count} system call faults are skipped: no strace, or no permission to trace");
    }
    FAULTS.iter().filter(move |_| can_trace)
}

/// The command of the random calls with one fault. `program` is the path of this program.
fn command(fault: &Fault, program: &Path, options: &Options) -> Command {
    let mut command = Command::new("strace");
    let call = fault.inject.split(':').next().unwrap_or_default();
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", "signal=none"]);
    // strace stops only the failing calls: the others keep their speed.
    command.args(["--seccomp-bpf", "-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={}", fault.inject)]);
    command.arg(program);
    command.args(["--seed", &options.seed.to_string()]);
    command.args(["--steps", &options.steps.to_string()]);
    let tolerated = options.tolerate.iter().map(String::as_str);
    for errno in fault.visible.into_iter().chain(tolerated) {
        command.args(["--tolerate", errno]);
    }
    for check in &options.without {
        command.args(["--without", &check.to_string()]);
    }
    command
}

/// Becomes strace with one fault. Returns only on a failure.
pub(super) fn exec(name: &str, options: &Options) -> bool {
    let Some(fault) = FAULTS.iter().find(|fault| fault.inject == name) else {
        eprintln!("{name} is no fault of `--list-faults`");
        return false;
    };
    let error = match env::current_exe() {
        Ok(program) => command(fault, &program, options).exec(),
        Err(error) => error,
    };
    eprintln!("strace: {error}");
    false
}

/// Runs each fault whose name contains the filter, and prints its result. Returns whether every
/// check held.
pub(super) fn run(options: &Options) -> bool {
    let mut holds = true;
    for fault in faults().filter(|fault| fault.inject.contains(&options.filter)) {
        let run = |program: PathBuf| command(fault, &program, options).output();
        match env::current_exe().and_then(run) {
            Ok(output) if output.status.success() => println!("✓ {}", fault.inject),
            Ok(output) => {
                holds = false;
                let printed = String::from_utf8_lossy(&output.stderr);
                println!("✗ {}\n{printed}", fault.inject);
            }
            Err(error) => {
                holds = false;
                println!("✗ {}: {error}", fault.inject);
            }
        }
    }
    holds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_its_own_name_and_the_program_tolerates_its_visible_error() {
        let mut names: Vec<_> = FAULTS.iter().map(|fault| fault.inject).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FAULTS.len());
        for fault in FAULTS {
            let command = command(fault, Path::new("random"), &Options::default());
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
