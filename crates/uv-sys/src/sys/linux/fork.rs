//! fork(2): a child shares its parent's epoll instance, must not change it, and so must know that it is one.

#[cfg(feature = "poller")]
pub(crate) use generation::{generation, install};

#[cfg(feature = "poller")]
mod generation {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use crate::errno::{Errno, Result};

    /// How many forks lie between this process and the one that first called [`install`].
    static GENERATION: AtomicU32 = AtomicU32::new(0);

    extern "C" fn in_child() {
        GENERATION.fetch_add(1, Ordering::Relaxed);
    }

    /// Starts to count forks. `ENOMEM` where the C library cannot register the handler; the next call tries again.
    pub(crate) fn install() -> Result<()> {
        static INSTALLED: OnceLock<()> = OnceLock::new();
        if INSTALLED.get().is_some() {
            return Ok(());
        }
        // Two threads that get here together install two handlers: a child then is two generations younger, which is as good.
        // SAFETY: `in_child` only adds to an atomic, which is async-signal-safe; it is a function of this object, whose handlers
        // the C library removes when the object is unloaded.
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

/// Runs `child` in a child process, and gives the exit code of that.
#[cfg(feature = "fault-injection")]
pub(crate) fn in_child(child: impl FnOnce()) -> crate::errno::Result<Option<i32>> {
    use super::syscall::syscall;
    use std::os::unix::process::ExitStatusExt;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    // SAFETY: the caller has seen that this is the only thread, so that the child has all that its memory says there is.
    let process = syscall!(unsafe { libc::fork() })?;
    if process == 0 {
        let ended = catch_unwind(AssertUnwindSafe(child));
        // SAFETY: no pointers; it does not return, so that nothing of the parent's stack is dropped here.
        unsafe { libc::_exit(i32::from(ended.is_err())) };
    }
    let mut status = 0;
    // SAFETY: `status` has room for the answer.
    syscall!(unsafe { libc::waitpid(process, &raw mut status, 0) })?;
    Ok(std::process::ExitStatus::from_raw(status).code())
}
