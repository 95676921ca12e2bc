//! The conditions under which subjects run.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::process::nice;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::background::Background;
use super::output_directory;

/// A change of the machine around a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// Two endless loops per CPU beside the subject.
    BusyCpus,
    /// The subject may use one CPU only.
    OneCpu,
    /// The subject has the lowest priority, beside endless loops.
    LowestPriority,
    /// Ten processes of the subject run at once.
    TenCopies,
    /// New UDP sockets of the subject have small buffers.
    SmallBuffers,
    /// Other sockets bind and release ephemeral ports.
    ForeignPorts,
}

impl Condition {
    pub(super) const ALL: [Self; 6] = [
        Self::BusyCpus,
        Self::OneCpu,
        Self::LowestPriority,
        Self::TenCopies,
        Self::SmallBuffers,
        Self::ForeignPorts,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::BusyCpus => "busy CPUs",
            Self::OneCpu => "one CPU",
            Self::LowestPriority => "lowest priority",
            Self::TenCopies => "ten copies",
            Self::SmallBuffers => "small buffers",
            Self::ForeignPorts => "foreign ports",
        }
    }

    /// The reason why this machine cannot make the condition, if it cannot.
    pub(super) fn why_not(self) -> Option<String> {
        match self {
            Self::SmallBuffers => small_buffers().as_ref().err().cloned(),
            Self::OneCpu => sched_getaffinity(None)
                .err()
                .map(|error| format!("sched_getaffinity: {error}")),
            _ => None,
        }
    }

    /// The number of processes of the subject at once.
    pub(super) fn copies(self) -> usize {
        if self == Self::TenCopies { 10 } else { 1 }
    }

    /// The background work, which ends when this is dropped.
    pub(super) fn background(self) -> Background {
        match self {
            Self::BusyCpus => Background::busy(),
            Self::LowestPriority => Background::busy_at_low_priority(),
            Self::ForeignPorts => Background::binding_ports(),
            Self::OneCpu | Self::TenCopies | Self::SmallBuffers => Background::default(),
        }
    }

    /// Changes the calling thread. Processes that it starts inherit the condition.
    pub(super) fn apply_to_this_thread(self) -> io::Result<()> {
        match self {
            Self::OneCpu => {
                let allowed = sched_getaffinity(None)?;
                let first = (0..CpuSet::MAX_CPU).find(|&cpu| allowed.is_set(cpu));
                let mut one = CpuSet::new();
                one.set(first.unwrap_or(0));
                sched_setaffinity(None, &one)?;
            }
            // On Linux the nice value belongs to the thread.
            Self::LowestPriority => drop(nice(19)?),
            _ => {}
        }
        Ok(())
    }

    /// Changes the command that starts the subject.
    pub(super) fn apply_to(self, command: &mut Command) {
        if let (Self::SmallBuffers, Ok(library)) = (self, small_buffers()) {
            command.env("LD_PRELOAD", library);
        }
    }
}

/// Compiles the library that shrinks the buffers of new sockets. `net.core.rmem_default` has no
/// value per network namespace, so it would change every process of the machine.
fn small_buffers() -> &'static Result<PathBuf, String> {
    static LIBRARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let to = output_directory().join("small_buffers.so");
        fs::create_dir_all(output_directory()).map_err(|error| error.to_string())?;
        let output = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .arg(&to)
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/src/stress/small_buffers.c"
            ))
            .arg("-ldl")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("no C compiler: {error}"))?;
        if output.status.success() {
            Ok(to)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    })
}
