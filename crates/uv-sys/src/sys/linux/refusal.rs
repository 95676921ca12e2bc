//! System calls that a sandbox refuses, as container filters do with those that are younger than themselves (seccomp(2)), and
//! that old kernels lack.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::errno::Errno;

/// Whether this process may not make a system call. Once known, it is remembered: a filter cannot be taken away.
pub(crate) struct Refusal(AtomicBool);

impl Refusal {
    pub(crate) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    #[inline]
    pub(crate) fn is_known(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether `error` says that the call is refused. `probe` makes the call on descriptor -1: a filter answers as before, the
    /// kernel `EBADF`. That tells the filter's `EPERM` from one that the kernel gives for a datagram (netfilter(8)).
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
    fn only_an_answer_that_does_not_depend_on_the_descriptor_is_a_refusal() {
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
