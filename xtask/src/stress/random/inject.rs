//! The same under strace, which lets system calls fail as a kernel may let them fail at any time.

use std::env;
use std::io;
use std::process::{Command, Output};

use super::Options;
use crate::ci::works;

/// A fault of a system call.
#[derive(Clone, Copy, Debug)]
pub struct Injection {
    /// What strace(1) is to inject.
    pub inject: &'static str,
    /// The error that the program may then see, if it may see it.
    pub visible: Option<&'static str>,
}

const fn hidden(inject: &'static str) -> Injection {
    Injection {
        inject,
        visible: None,
    }
}

const fn visible(inject: &'static str, errno: &'static str) -> Injection {
    Injection {
        inject,
        visible: Some(errno),
    }
}

/// Which calls fail, how, and which of them. Primes, so that no pattern of calls always has the same ones fail.
pub static INJECTIONS: &[Injection] = &[
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
    visible("epoll_ctl:error=ENOSPC:when=8+3", "ENOSPC"),
    visible("epoll_ctl:error=ENOMEM:when=8+3", "ENOMEM"),
    // Calls that a container's filter refuses from the first to the last.
    hidden("sendmmsg:error=EPERM"),
    hidden("recvmmsg:error=EPERM"),
    hidden("epoll_pwait2:error=EPERM"),
    hidden("epoll_pwait2:error=ENOSYS"),
];

/// How a run ended that was not skipped.
#[derive(Clone, Debug)]
pub struct Injected {
    /// Whether every check held.
    pub holds: bool,
    /// What the run printed.
    pub printed: String,
}

/// Plays the steps under a fault. `Ok(None)` where strace is missing or may not trace.
///
/// # Errors
///
/// What running a program may answer.
pub fn run_injected(injection: &Injection, options: &Options) -> io::Result<Option<Injected>> {
    if !works("strace", &["-qq", "-o", "/dev/null", "true"]) {
        return Ok(None);
    }
    let mut command = Command::new("strace");
    let name = injection.inject.split(':').next().unwrap_or_default();
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", "signal=none", "-e"]);
    command.arg(format!("trace={name}"));
    // Only the calls that fail are stopped at: the others are as fast as ever.
    command.args(["--seccomp-bpf", "-e"]);
    command.arg(format!("inject={}", injection.inject));
    command.arg(env::current_exe()?).arg("random");
    command.args(["--seed", &options.seed.to_string()]);
    command.args(["--steps", &options.steps.to_string()]);
    let visible = injection.visible.into_iter().map(str::to_owned);
    for errno in visible.chain(options.tolerate.iter().cloned()) {
        command.args(["--tolerate", &errno]);
    }
    for check in &options.without {
        let name = clap::ValueEnum::to_possible_value(check);
        command.args(name.map(|name| format!("--without={}", name.get_name())));
    }
    let Output {
        status,
        stdout,
        stderr,
    } = command.output()?;
    let printed = [stderr, stdout].concat();
    Ok(Some(Injected {
        holds: status.success(),
        printed: String::from_utf8_lossy(&printed).into_owned(),
    }))
}
