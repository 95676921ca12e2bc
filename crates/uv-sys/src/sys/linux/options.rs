//! Socket options.

use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::errno::{Errno, Result};

/// A value that an option has: an integer, or a C structure of integers without padding.
///
/// # Safety
///
/// Every byte of a value is initialised, and any bytes make a value.
pub(crate) unsafe trait Value: Copy {}

// SAFETY: an integer.
unsafe impl Value for libc::c_int {}

pub(crate) fn set<T: Value>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: T,
) -> Result<()> {
    let len = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is `len` initialised bytes.
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

/// The option's value; `EINVAL` if the kernel's is not as long as `T`.
pub(crate) fn get<T: Value>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
) -> Result<T> {
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
    // SAFETY: zeroed, then overwritten by the kernel; any bytes make a `T`.
    Ok(unsafe { value.assume_init() })
}

fn set_bool(fd: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, on: bool) -> Result<()> {
    set(fd, level, name, libc::c_int::from(on))
}

fn get_bool(fd: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int) -> Result<bool> {
    Ok(get::<libc::c_int>(fd, level, name)? != 0)
}

/// Options that are on or off, under one level and name.
macro_rules! switches {
    ($($set:ident $get:ident $level:ident $name:ident;)*) => {$(
        pub(crate) fn $set(fd: BorrowedFd<'_>, on: bool) -> Result<()> {
            set_bool(fd, libc::$level, libc::$name, on)
        }

        pub(crate) fn $get(fd: BorrowedFd<'_>) -> Result<bool> {
            get_bool(fd, libc::$level, libc::$name)
        }
    )*};
}

switches! {
    set_reuse_address reuse_address SOL_SOCKET SO_REUSEADDR;
    set_reuse_port reuse_port SOL_SOCKET SO_REUSEPORT;
    set_broadcast broadcast SOL_SOCKET SO_BROADCAST;
    set_ipv6_only ipv6_only SOL_IPV6 IPV6_V6ONLY;
    set_gro gro SOL_UDP UDP_GRO;
}

fn set_size(fd: BorrowedFd<'_>, name: libc::c_int, bytes: usize) -> Result<()> {
    let bytes = libc::c_int::try_from(bytes).map_err(|_| Errno::EINVAL)?;
    set(fd, libc::SOL_SOCKET, name, bytes)
}

fn get_size(fd: BorrowedFd<'_>, name: libc::c_int) -> Result<usize> {
    usize::try_from(get::<libc::c_int>(fd, libc::SOL_SOCKET, name)?).map_err(|_| Errno::EIO)
}

pub(crate) fn set_send_buffer_size(fd: BorrowedFd<'_>, bytes: usize) -> Result<()> {
    set_size(fd, libc::SO_SNDBUF, bytes)
}

pub(crate) fn send_buffer_size(fd: BorrowedFd<'_>) -> Result<usize> {
    get_size(fd, libc::SO_SNDBUF)
}

pub(crate) fn set_recv_buffer_size(fd: BorrowedFd<'_>, bytes: usize) -> Result<()> {
    set_size(fd, libc::SO_RCVBUF, bytes)
}

pub(crate) fn recv_buffer_size(fd: BorrowedFd<'_>) -> Result<usize> {
    get_size(fd, libc::SO_RCVBUF)
}
