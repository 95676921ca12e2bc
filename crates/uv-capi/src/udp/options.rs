//! Socket options. Their names in `uv-udp` and `uv-sys` are those of the README.

use std::cell::Cell;
use std::ffi::{c_int, c_uint};

use uv_udp::{Result, Udp};

use super::access::udp_box;
use crate::handle_box::{Kind, open};
use crate::pointers::CPtr;
use crate::results::{code, number};
use crate::types::{UV_UDP, uv_handle_t, uv_udp_t};

pub(super) fn set(handle: CPtr<uv_udp_t>, option: impl FnOnce(&Udp) -> Result<()>) -> c_int {
    code(udp_box(&handle).and_then(|udp| option(&udp.udp).map_err(number)))
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_set_broadcast(handle: CPtr<uv_udp_t>, on: c_int) -> c_int {
    set(handle, |udp| udp.options().set_broadcast(on != 0))
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_set_ttl(handle: CPtr<uv_udp_t>, ttl: c_int) -> c_int {
    match c_uint::try_from(ttl) {
        Ok(ttl @ 1..=255) => set(handle, |udp| udp.options().set_ttl(ttl)),
        _ => -libc::EINVAL,
    }
}

/// Sets the size of a buffer, or reads it if `value` is 0.
fn buffer_size(
    handle: CPtr<uv_handle_t>,
    value: CPtr<Cell<c_int>>,
    get: impl FnOnce(&Udp) -> Result<usize>,
    set: impl FnOnce(&Udp, usize) -> Result<()>,
) -> std::result::Result<(), c_int> {
    let (Some(structure), Some(value)) = (handle.get(), value.get()) else {
        return Err(-libc::EINVAL);
    };
    if structure.type_ != UV_UDP {
        return Err(-libc::EOPNOTSUPP);
    }
    let Some(Kind::Udp(udp)) = open(&handle) else {
        return Err(-libc::EBADF);
    };
    match value.get() {
        0 => {
            let size = get(&udp.udp).map_err(number)?;
            value.set(size.try_into().unwrap_or(c_int::MAX));
            Ok(())
        }
        wanted => {
            let size = wanted.try_into().map_err(|_| -libc::EINVAL)?;
            set(&udp.udp, size).map_err(number)
        }
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_send_buffer_size(
    handle: CPtr<uv_handle_t>,
    value: CPtr<Cell<c_int>>,
) -> c_int {
    let (get, set) = (
        |udp: &Udp| udp.options().send_buffer_size(),
        |udp: &Udp, on| udp.options().set_send_buffer_size(on),
    );
    code(buffer_size(handle, value, get, set))
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_recv_buffer_size(
    handle: CPtr<uv_handle_t>,
    value: CPtr<Cell<c_int>>,
) -> c_int {
    let (get, set) = (
        |udp: &Udp| udp.options().recv_buffer_size(),
        |udp: &Udp, on| udp.options().set_recv_buffer_size(on),
    );
    code(buffer_size(handle, value, get, set))
}
