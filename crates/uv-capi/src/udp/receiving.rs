//! Starting and stopping to receive. What comes in between is in `receiver.rs`.

use std::ffi::c_int;
use std::rc::Rc;

use uv_udp::Errno;

use super::receiver::Callbacks;
use super::{number, udp_box};
use crate::types::{uv_alloc_cb, uv_udp_recv_cb, uv_udp_t};

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_udp_recv_start(
    handle: *mut uv_udp_t,
    alloc_cb: uv_alloc_cb,
    recv_cb: uv_udp_recv_cb,
) -> c_int {
    let (Some(alloc), Some(recv)) = (alloc_cb, recv_cb) else {
        return -libc::EINVAL;
    };
    // SAFETY: as the crate says.
    let udp = match unsafe { udp_box(handle) } {
        Ok(udp) => udp,
        Err(error) => return error,
    };
    let receiver = Rc::clone(&udp.receiver);
    let started = if receiver.fills_large_buffers() {
        let lender = Rc::clone(&receiver);
        udp.udp.recv_batch_into_start(
            move |_, _| lender.lend(),
            move |_, lent, outcome| receiver.take_back(lent, outcome.map_err(Errno::from)),
        )
    } else {
        udp.udp.recv_batch_start(move |_, received| match received {
            Ok(batch) => receiver.take(batch),
            Err(error) => receiver.take_error(error.errno()),
        })
    };
    match started {
        Ok(()) => {
            udp.receiver.start(Callbacks { alloc, recv });
            0
        }
        Err(error) => number(error),
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_udp_recv_stop(handle: *mut uv_udp_t) -> c_int {
    if handle.is_null() {
        return -libc::EINVAL;
    }
    // SAFETY: as the crate says. A handle that is closing has stopped.
    if let Ok(udp) = unsafe { udp_box(handle) } {
        udp.receiver.stop();
        if let Err(error) = udp.udp.recv_stop() {
            return number(error);
        }
    }
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_udp_using_recvmmsg(handle: *const uv_udp_t) -> c_int {
    // SAFETY: as the crate says.
    unsafe { udp_box(handle) }.map_or(0, |udp| udp.receiver.fills_large_buffers().into())
}
