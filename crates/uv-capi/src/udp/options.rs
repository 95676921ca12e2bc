//! Options of the socket.

use std::ffi::{c_int, c_uint};

use uv_udp::{Result, Udp};

use super::{code, number, udp_box};
use crate::types::{UV_UDP, uv_handle_t, uv_udp_t};

/// # Safety
///
/// As the crate says.
pub(super) unsafe fn set(handle: *mut uv_udp_t, option: impl FnOnce(&Udp) -> Result<()>) -> c_int {
    // SAFETY: as the caller vouches.
    code(unsafe { udp_box(handle) }.and_then(|udp| option(&udp.udp).map_err(number)))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_udp_set_broadcast(handle: *mut uv_udp_t, on: c_int) -> c_int {
    // SAFETY: as the crate says.
    unsafe { set(handle, |udp| udp.set_broadcast(on != 0)) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_udp_set_ttl(handle: *mut uv_udp_t, ttl: c_int) -> c_int {
    match c_uint::try_from(ttl) {
        // SAFETY: as the crate says.
        Ok(ttl @ 1..=255) => unsafe { set(handle, |udp| udp.set_ttl(ttl)) },
        _ => -libc::EINVAL,
    }
}

/// Reads or sets the size of a buffer: 0 asks for it.
///
/// # Safety
///
/// As the crate says; `value` is null or a number.
unsafe fn buffer_size(
    handle: *mut uv_handle_t,
    value: *mut c_int,
    get: impl FnOnce(&Udp) -> Result<usize>,
    set: impl FnOnce(&Udp, usize) -> Result<()>,
) -> std::result::Result<(), c_int> {
    if handle.is_null() || value.is_null() {
        return Err(-libc::EINVAL);
    }
    // SAFETY: as the caller vouches.
    if unsafe { (*handle).type_ } != UV_UDP {
        return Err(-libc::EOPNOTSUPP);
    }
    // SAFETY: as the caller vouches.
    let udp = unsafe { udp_box(handle.cast()) }?;
    // SAFETY: as the caller vouches.
    match unsafe { value.read() } {
        0 => {
            let size = get(&udp.udp).map_err(number)?;
            // SAFETY: as the caller vouches.
            unsafe { value.write(size.try_into().unwrap_or(c_int::MAX)) };
            Ok(())
        }
        wanted => {
            let size = wanted.try_into().map_err(|_| -libc::EINVAL)?;
            set(&udp.udp, size).map_err(number)
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_send_buffer_size(
    handle: *mut uv_handle_t,
    value: *mut c_int,
) -> c_int {
    let (get, set) = (Udp::send_buffer_size, Udp::set_send_buffer_size);
    // SAFETY: as the crate says.
    code(unsafe { buffer_size(handle, value, get, set) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_recv_buffer_size(
    handle: *mut uv_handle_t,
    value: *mut c_int,
) -> c_int {
    let (get, set) = (Udp::recv_buffer_size, Udp::set_recv_buffer_size);
    // SAFETY: as the crate says.
    code(unsafe { buffer_size(handle, value, get, set) })
}
