//! Linux.

use crate::errno::Errno;

/// Makes a syscall: -1 becomes the [`Errno`], and EINTR makes it again.
///
/// The form `syscall!(once …)` reports EINTR instead, for calls whose caller has a deadline to look at.
macro_rules! syscall {
    (once $call:expr) => {
        match $call {
            -1 => Err($crate::errno::Errno::last()),
            value => Ok(value),
        }
    };
    ($call:expr) => {
        loop {
            match syscall!(once $call) {
                Err($crate::errno::Errno::EINTR) => {}
                result => break result,
            }
        }
    };
}

pub(crate) mod addr;
pub(crate) mod cmsg;
#[cfg(feature = "poller")]
pub(crate) mod epoll;
pub(crate) mod errno;
pub(crate) mod error_queue;
#[cfg(any(feature = "poller", feature = "fault-injection"))]
pub(crate) mod fork;
pub(crate) mod multicast;
pub(crate) mod options;
#[cfg(miri)]
mod pretended;
pub(crate) mod recv;
pub(crate) mod refusal;
pub(crate) mod send;
pub(crate) mod socket;

/// Reads the calling thread's errno.
pub(crate) fn last_errno() -> i32 {
    // SAFETY: the C library returns a valid pointer to this thread's own errno.
    unsafe { *libc::__errno_location() }
}

/// The most elements that one message's vector or one batch may have (UIO_MAXIOV).
pub(crate) const IOV_MAX: usize = 1024;

/// What a length that the kernel wrote means: never negative after the -1 was taken out.
pub(crate) fn length(value: libc::ssize_t) -> Result<usize, Errno> {
    usize::try_from(value).map_err(|_| Errno::EIO)
}

/// How many bytes of control messages the kernel says there are: an integer of another type in each C library.
pub(crate) fn control_len(header: &libc::msghdr) -> usize {
    header.msg_controllen as _
}
