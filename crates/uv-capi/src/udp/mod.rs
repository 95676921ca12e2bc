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

/// What is behind a handle that is not closing, or closing but not closed; the error for others.
#[inline]
fn any_udp_box(handle: &Given<uv_udp_t>) -> Result<&UdpBox, i32> {
    match object(handle).map(|object| &object.kind) {
        Some(Kind::Udp(udp)) => Ok(udp),
        None if !handle.is_null() => Err(-libc::EBADF),
        _ => Err(-libc::EINVAL),
    }
}

/// What is behind a handle that is not closing; the error for others.
fn udp_box(handle: &Given<uv_udp_t>) -> Result<&UdpBox, i32> {
    let udp = any_udp_box(handle)?;
    if udp.udp.is_closing() {
        return Err(-libc::EBADF);
    }
    Ok(udp)
}

/// What a function returns for a result without a value.
fn code(result: Result<(), i32>) -> i32 {
    result.err().unwrap_or(0)
}

/// The error as C has it.
fn number(error: uv_sys::Errno) -> i32 {
    -error.raw()
}
