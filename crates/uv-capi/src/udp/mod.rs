//! `uv_udp_t`: what is behind it. The functions are in the files below.

mod addresses;
mod connecting;
mod flags;
mod life;
mod multicast;
mod options;
mod receiver;
mod receiving;
mod sending;

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use uv_core::KeepAlive;
use uv_udp::Udp;

use crate::object::{Kind, object};
use crate::types::uv_udp_t;

#[cfg(test)]
pub(crate) use flags::FLAGS;

use receiver::Receiver;

/// Behind `uv_udp_t`.
pub(crate) struct UdpBox {
    pub(crate) udp: Udp,
    receiver: Rc<Receiver>,
    /// Held while the handle has sends under way and does not keep the loop alive by itself: in libuv requests keep it alive
    /// also when their handle does not.
    keep_alive: RefCell<Option<KeepAlive>>,
}

impl UdpBox {
    fn new(udp: Udp, receiver: Rc<Receiver>) -> Self {
        Self {
            udp,
            receiver,
            keep_alive: RefCell::new(None),
        }
    }

    /// The program is not called with datagrams any more.
    pub(crate) fn stop_receiving(&self) {
        self.receiver.stop();
    }

    /// To be called when the handle's own reference changes, and while it has none when sends begin and end.
    pub(crate) fn keep_loop_alive(&self) {
        let wanted = !self.udp.has_ref() && self.udp.send_queue_count() > 0;
        let mut held = self.keep_alive.borrow_mut();
        if held.is_some() != wanted {
            *held = self
                .udp
                .event_loop()
                .filter(|_| wanted)
                .map(|lp| lp.remote().keep_alive());
        }
    }
}

impl fmt::Debug for UdpBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpBox")
            .field("udp", &self.udp)
            .finish_non_exhaustive()
    }
}

/// What is behind a handle that is not closing, or closing but not closed; the error for others.
///
/// # Safety
///
/// As [`object`].
#[inline]
unsafe fn any_udp_box<'a>(handle: *const uv_udp_t) -> Result<&'a UdpBox, i32> {
    // SAFETY: as the caller vouches; a `uv_udp_t` begins with a `uv_handle_t`.
    match unsafe { object(handle.cast()) }.map(|object| &object.kind) {
        Some(Kind::Udp(udp)) => Ok(udp),
        None if !handle.is_null() => Err(-libc::EBADF),
        _ => Err(-libc::EINVAL),
    }
}

/// What is behind a handle that is not closing; the error for others.
///
/// # Safety
///
/// As [`open`].
unsafe fn udp_box<'a>(handle: *const uv_udp_t) -> Result<&'a UdpBox, i32> {
    // SAFETY: as the caller vouches.
    let udp = unsafe { any_udp_box(handle) }?;
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
