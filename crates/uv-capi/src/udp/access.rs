//! From a `uv_udp_t` to its box.

use std::ffi::c_int;

use super::state::UdpBox;
use crate::handle_box::{Kind, handle_box};
use crate::pointers::CPtr;
use crate::types::uv_udp_t;

/// The box of a handle that is open or closing.
///
/// # Errors
///
/// `EINVAL` for null and for another kind of handle, `EBADF` after the close callback.
#[inline]
pub(super) fn any_udp_box(handle: &CPtr<uv_udp_t>) -> Result<&UdpBox, c_int> {
    match handle_box(handle).map(|boxed| &boxed.kind) {
        Some(Kind::Udp(udp)) => Ok(udp),
        None if !handle.is_null() => Err(-libc::EBADF),
        _ => Err(-libc::EINVAL),
    }
}

/// The box of an open handle.
///
/// # Errors
///
/// Those of `any_udp_box`, and `EBADF` for a closing handle.
pub(super) fn udp_box(handle: &CPtr<uv_udp_t>) -> Result<&UdpBox, c_int> {
    let udp = any_udp_box(handle)?;
    if udp.udp.is_closing() {
        return Err(-libc::EBADF);
    }
    Ok(udp)
}
