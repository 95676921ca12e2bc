//! Receive calls for Miri, which lacks the kernel's. They write through the same pointers, so Miri
//! checks the provenance of these. Each message is `hello` from 127.0.0.1:7, and they never end.

use std::ptr;

use libc::{c_int, c_uint, iovec, mmsghdr, msghdr, sockaddr, socklen_t, ssize_t, timespec};

use super::addr::RawAddr;

const MESSAGE: &[u8] = b"hello";

/// # Safety
///
/// `base` has room for `len` bytes.
unsafe fn store(base: *mut u8, len: usize) {
    // SAFETY: the caller guarantees it.
    unsafe { ptr::copy_nonoverlapping(MESSAGE.as_ptr(), base, MESSAGE.len().min(len)) };
}

/// # Safety
///
/// `name` is null or has room for `*len` bytes, and `len` then points to a length.
unsafe fn store_name(name: *mut sockaddr, len: *mut socklen_t) {
    if name.is_null() {
        return;
    }
    let (raw, raw_len) = RawAddr::encode(&([127, 0, 0, 1], 7).into());
    // SAFETY: the caller guarantees it; a `RawAddr` is longer than `raw_len`.
    unsafe {
        assert!(*len >= raw_len);
        ptr::copy_nonoverlapping(
            raw.as_ptr().cast::<u8>(),
            name.cast::<u8>(),
            raw_len as usize,
        );
        *len = raw_len;
    }
}

/// # Safety
///
/// As recvmsg(2).
pub(super) unsafe fn recvmsg(_: c_int, header: *mut msghdr, _: c_int) -> ssize_t {
    // SAFETY: the caller guarantees it.
    unsafe {
        let list: *mut iovec = (*header).msg_iov;
        assert!((*header).msg_iovlen == 1);
        store((*list).iov_base.cast(), (*list).iov_len);
        store_name((*header).msg_name.cast(), &raw mut (*header).msg_namelen);
        if !(*header).msg_control.is_null() {
            let control = (*header).msg_control.cast::<u8>();
            ptr::write_bytes(control, 0, (*header).msg_controllen);
            (*header).msg_controllen = 0;
        }
    }
    MESSAGE.len() as ssize_t
}

/// # Safety
///
/// As recvfrom(2).
pub(super) unsafe fn recvfrom(
    _: c_int,
    base: *mut libc::c_void,
    len: usize,
    _: c_int,
    name: *mut sockaddr,
    name_len: *mut socklen_t,
) -> ssize_t {
    // SAFETY: the caller guarantees it.
    unsafe {
        store(base.cast(), len);
        store_name(name, name_len);
    }
    MESSAGE.len() as ssize_t
}

/// # Safety
///
/// As recvmmsg(2).
pub(super) unsafe fn recvmmsg(
    fd: c_int,
    headers: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    _: *mut timespec,
) -> c_int {
    for index in 0..count as usize {
        // SAFETY: the caller guarantees it: there are `count` headers.
        unsafe {
            let message = headers.add(index);
            (*message).msg_len = recvmsg(fd, &raw mut (*message).msg_hdr, flags) as c_uint;
        }
    }
    count as c_int
}
