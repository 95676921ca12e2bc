//! Descriptors, memory and CPUs of the process.

use std::alloc::System;
use std::fs;
use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// Counts allocations, in a program with this global allocator.
pub static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocated bytes; 0 without this global allocator.
pub(super) fn live_bytes() -> usize {
    let stats = ALLOCATOR.stats();
    stats
        .bytes_allocated
        .saturating_sub(stats.bytes_deallocated)
}

/// The numbers of the descriptors that are open.
pub(super) fn descriptors() -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    // The directory itself is one of them.
    numbers.sort_unstable();
    let gone = |number: &u64| fs::read_link(format!("/proc/self/fd/{number}")).is_ok();
    numbers.retain(gone);
    Ok(numbers)
}

/// Leaves this many free descriptors above the highest open one, or restores the limit.
pub(super) fn limit_descriptors(free: Option<usize>) -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let soft = match free {
        Some(free) => descriptors()?.last().map_or(0, |highest| highest + 1) + free as u64,
        None => hard.min(MAX_DESCRIPTORS),
    };
    Ok(setrlimit(Resource::RLIMIT_NOFILE, soft.min(hard), hard)?)
}

/// The limit that most systems give.
const MAX_DESCRIPTORS: u64 = 1024;

/// Keeps this thread, and threads that it starts, on one CPU. The kernel keeps the order of a flow
/// on one CPU only.
pub(super) struct OneCpu(Option<CpuSet>);

impl OneCpu {
    /// Chooses one of the allowed CPUs.
    pub(super) fn new(any: usize) -> Self {
        let this = Pid::from_raw(0);
        let Ok(before) = sched_getaffinity(this) else {
            return Self(None);
        };
        let may_run = |cpu: &usize| before.is_set(*cpu).unwrap_or(false);
        let mut one = CpuSet::new();
        let cpus: Vec<_> = (0..CpuSet::count()).filter(may_run).collect();
        if let Some(cpu) = cpus.get(any % cpus.len().max(1))
            && one.set(*cpu).is_ok()
        {
            let _ = sched_setaffinity(this, &one);
        }
        Self(Some(before))
    }
}

impl Drop for OneCpu {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = sched_setaffinity(Pid::from_raw(0), before);
        }
    }
}
