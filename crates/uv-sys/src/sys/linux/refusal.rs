//! System calls that old kernels lack, or that a sandbox refuses: container filters (seccomp(2))
//! often refuse calls that are newer than they are.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::errno::Errno;

/// Whether a system call is refused. Cached once known: a process cannot remove a filter.
pub(crate) struct Refusal(AtomicBool);

impl Refusal {
    pub(crate) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    #[inline]
    pub(crate) fn is_known(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether `error` means that the call is refused. `probe` makes the call on descriptor -1: a
    /// filter returns the same error, the kernel `EBADF`. This distinguishes a filter's `EPERM`
    /// from one that a firewall rule causes.
    #[cold]
    pub(crate) fn explains(&self, error: Errno, probe: impl FnOnce() -> Errno) -> bool {
        let refused = matches!(error, Errno::ENOSYS | Errno::EPERM) && probe() == error;
        if refused {
            self.0.store(true, Ordering::Relaxed);
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_error_that_the_probe_repeats_is_a_refusal() {
        for (error, probed, refused) in [
            (Errno::ENOSYS, Errno::ENOSYS, true),
            (Errno::EPERM, Errno::EPERM, true),
            (Errno::EPERM, Errno::EBADF, false),
            (Errno::EBADF, Errno::EBADF, false),
            (Errno::EAGAIN, Errno::EPERM, false),
        ] {
            let refusal = Refusal::new();
            assert_eq!(refusal.explains(error, || probed), refused, "{error}");
            assert_eq!(refusal.is_known(), refused, "{error}");
        }
    }
}
