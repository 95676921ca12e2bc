//! fork(2): a child shares its parent's epoll instance and must not change it, so a process must
//! recognise that it is a child.

#[cfg(feature = "poller")]
pub(crate) use generation::{generation, install};

#[cfg(feature = "poller")]
mod generation {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use crate::errno::{Errno, Result};

    /// The number of forks between the process that first called [`install`] and this one.
    static GENERATION: AtomicU32 = AtomicU32::new(0);

    extern "C" fn in_child() {
        GENERATION.fetch_add(1, Ordering::Relaxed);
    }

    /// Starts to count forks. `ENOMEM` if the C library cannot register the handler; the next call
    /// tries again.
    pub(crate) fn install() -> Result<()> {
        static INSTALLED: OnceLock<()> = OnceLock::new();
        if INSTALLED.get().is_some() {
            return Ok(());
        }
        // Two concurrent calls install two handlers, which both count: generations still differ.
        // SAFETY: `in_child` only adds to an atomic, which is async-signal-safe. The C library
        // removes the handler when this object is unloaded.
        match unsafe { libc::pthread_atfork(None, None, Some(in_child)) } {
            0 => {
                let _ = INSTALLED.set(());
                Ok(())
            }
            error => Err(Errno::from_raw(error)),
        }
    }

    /// Differs between a process and its children.
    #[inline]
    pub(crate) fn generation() -> u32 {
        GENERATION.load(Ordering::Relaxed)
    }
}

/// Runs `child` in a child process, and returns its exit code; `None` after a signal.
#[cfg(feature = "fault-injection")]
pub(crate) fn in_child(child: impl FnOnce()) -> crate::errno::Result<Option<i32>> {
    use super::syscall::syscall;
    use std::os::unix::process::ExitStatusExt;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    // SAFETY: the caller checked that this is the only thread, so no lock is held by a thread that
    // the child lacks.
    let process = syscall!(unsafe { libc::fork() })?;
    if process == 0 {
        let ended = catch_unwind(AssertUnwindSafe(child));
        // SAFETY: no pointers. It does not return, so the child drops nothing of the parent's
        // stack.
        unsafe { libc::_exit(i32::from(ended.is_err())) };
    }
    let mut status = 0;
    // SAFETY: `status` is writable.
    syscall!(unsafe { libc::waitpid(process, &raw mut status, 0) })?;
    Ok(std::process::ExitStatus::from_raw(status).code())
}
