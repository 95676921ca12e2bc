//! setsockopt(2) and getsockopt(2).

use std::ffi::CString;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::syscall::syscall;
use crate::errno::{Errno, Result};

/// A type into which an option's value can be read.
///
/// # Safety
///
/// Any bytes must be a valid value.
pub(crate) unsafe trait Value: Copy {}

// SAFETY: an integer.
unsafe impl Value for libc::c_int {}
// SAFETY: two integers.
unsafe impl Value for libc::sock_txtime {}

/// The feature to which an option belongs.
#[cfg(feature = "fault-injection")]
fn feature(level: libc::c_int, name: libc::c_int) -> Option<crate::fault::Feature> {
    use crate::fault::Feature;
    match (level, name) {
        (libc::SOL_UDP, libc::UDP_SEGMENT) => Some(Feature::Segmentation),
        (libc::SOL_UDP, libc::UDP_GRO) => Some(Feature::Gro),
        (libc::SOL_SOCKET, libc::SO_TXTIME) => Some(Feature::TxTime),
        (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS) => Some(Feature::Timestamps),
        (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => Some(Feature::RecvDrops),
        (libc::SOL_SOCKET, libc::SO_REUSEPORT) => Some(Feature::ReusePort),
        _ => None,
    }
}

/// Sets an option. The kernel only reads the value and memory behind its pointers.
pub(crate) fn set<T: Copy>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: T,
) -> Result<()> {
    #[cfg(feature = "fault-injection")]
    crate::fault::option(feature(level, name))?;
    let len = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is `len` bytes long.
    syscall!(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            ptr::from_ref(&value).cast(),
            len,
        )
    })?;
    Ok(())
}

/// Reads an option; `EINVAL` if the kernel's value has another length than `T`.
pub(crate) fn get<T: Value>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
) -> Result<T> {
    #[cfg(feature = "fault-injection")]
    crate::fault::option(feature(level, name))?;
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` has room for `len` bytes.
    syscall!(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &mut len,
        )
    })?;
    if len as usize != mem::size_of::<T>() {
        return Err(Errno::EINVAL);
    }
    // SAFETY: zeroed, then overwritten by the kernel; any bytes are a valid `T`.
    Ok(unsafe { value.assume_init() })
}

pub(crate) fn set_bool(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    on: bool,
) -> Result<()> {
    set(fd, level, name, libc::c_int::from(on))
}

pub(crate) fn get_bool(fd: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int) -> Result<bool> {
    Ok(get::<libc::c_int>(fd, level, name)? != 0)
}

pub(crate) fn octet(value: u32) -> Result<u8> {
    u8::try_from(value).map_err(|_| Errno::EINVAL)
}

/// The name for the kernel: at most IFNAMSIZ bytes with its NUL.
pub(crate) fn interface_name(name: &str) -> Result<CString> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ {
        return Err(Errno::EINVAL);
    }
    CString::new(name).map_err(|_| Errno::EINVAL)
}
