//! `uv_async_t`: waking the loop from other threads and from signal handlers.

use std::ffi::c_int;
use std::rc::Rc;
use std::sync::atomic::{AtomicI32, AtomicU32};

use crate::closing::init;
use crate::hub::Async;
use crate::loop_box::loop_box;
use crate::object::Kind;
use crate::pointers::{Given, Room};
use crate::types::{Signal, UV_ASYNC, uv_async_cb, uv_async_t, uv_loop_t};

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_async_init(
    loop_: Given<uv_loop_t>,
    handle: Room<uv_async_t>,
    async_cb: uv_async_cb,
) -> c_int {
    let hub = match loop_box(&loop_).map(|in_loop| in_loop.hub()) {
        Some(Ok(hub)) if !handle.is_null() => Rc::clone(hub),
        Some(Err(error)) => return -error.raw(),
        _ => return -libc::EINVAL,
    };
    let structure = |base| uv_async_t {
        base,
        async_cb,
        signal: Signal {
            wakeup: AtomicI32::new(hub.fd()),
            pending: AtomicU32::new(0),
            busy: AtomicU32::new(0),
        },
    };
    init(loop_, handle, UV_ASYNC, structure, |event_loop, handle| {
        Ok(Kind::Async(Async::new(event_loop, &hub, handle)))
    })
}

/// From any thread and from signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn uvudp_async_send(handle: Given<uv_async_t>) -> c_int {
    let Some(signal) = handle.signal() else {
        return -libc::EINVAL;
    };
    signal.send();
    0
}
