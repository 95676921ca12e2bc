//! Making a system call: errors, lengths and message headers.

use std::mem;

use crate::errno::{Errno, Result};

/// Makes a system call: -1 becomes the [`Errno`], and EINTR repeats the call.
///
/// `syscall!(once …)` returns EINTR instead, for callers with a deadline.
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
pub(crate) use syscall;

/// Converts a length that the kernel returned, after -1 was excluded.
pub(crate) fn length(value: libc::ssize_t) -> Result<usize> {
    usize::try_from(value).map_err(|_| Errno::EIO)
}

/// Bytes of control messages that the kernel wrote. The field's type differs between C libraries.
pub(crate) fn control_len(header: &libc::msghdr) -> usize {
    header.msg_controllen as _
}

pub(crate) fn empty_header() -> libc::msghdr {
    // SAFETY: a msghdr is integers and pointers, for which zeroes are valid.
    unsafe { mem::zeroed() }
}
