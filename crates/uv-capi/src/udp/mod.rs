//! `uv_udp_t`: its functions are in the files below.

mod addresses;
mod connecting;
mod flags;
mod life;
mod multicast;
mod options;
mod receiver;
mod receiving;
mod sending;
pub(crate) mod state;

use crate::object::{Kind, object};
use crate::pointers::Given;
use crate::types::uv_udp_t;

#[cfg(test)]
pub(crate) use flags::FLAGS;

use state::UdpBox;

/// Says what is behind a handle that is not closing, or closing but not closed; the error for others.
#[inline]
fn with_any_udp<T>(
    handle: Given<uv_udp_t>,
    with: impl FnOnce(&UdpBox) -> Result<T, i32>,
) -> Result<T, i32> {
    match object(&handle.base()).map(|object| &object.kind) {
        Some(Kind::Udp(udp)) => with(udp),
        None if !handle.is_null() => Err(-libc::EBADF),
        _ => Err(-libc::EINVAL),
    }
}

/// The same for a handle that is not closing.
#[inline]
fn with_udp<T>(
    handle: Given<uv_udp_t>,
    with: impl FnOnce(&UdpBox) -> Result<T, i32>,
) -> Result<T, i32> {
    with_any_udp(handle, |udp| {
        if udp.udp.is_closing() {
            return Err(-libc::EBADF);
        }
        with(udp)
    })
}

/// What a function returns for a result without a value.
fn code(result: Result<(), i32>) -> i32 {
    result.err().unwrap_or(0)
}

/// The error as C has it.
fn number(error: uv_sys::Errno) -> i32 {
    -error.raw()
}
