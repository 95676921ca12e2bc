//! `uv_async_t`: waking the loop from other threads and from signal handlers.

use std::ffi::c_int;
use std::rc::Rc;
use std::sync::atomic::{AtomicI32, AtomicU32};

use crate::handle_box::Kind;
use crate::lifecycle::init;
use crate::loop_box::loop_box;
use crate::pointers::{CPtr, OutPtr};
use crate::results::number;
use crate::types::{Signal, UV_ASYNC, uv_async_cb, uv_async_t, uv_loop_t};
use crate::wakeup::Async;

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_async_init(
    loop_: CPtr<uv_loop_t>,
    handle: OutPtr<uv_async_t>,
    async_cb: uv_async_cb,
) -> c_int {
    let wakeup = match loop_box(&loop_).map(|in_loop| in_loop.wakeup()) {
        Some(Ok(wakeup)) if !handle.is_null() => Rc::clone(wakeup),
        Some(Err(error)) => return number(error),
        _ => return -libc::EINVAL,
    };
    let structure = |base| uv_async_t {
        base,
        async_cb,
        signal: Signal {
            wakeup: AtomicI32::new(wakeup.fd()),
            pending: AtomicU32::new(0),
            busy: AtomicU32::new(0),
        },
    };
    init(loop_, handle, UV_ASYNC, structure, |event_loop, handle| {
        Ok(Kind::Async(Async::new(event_loop, &wakeup, handle)))
    })
}

/// Safe in any thread and in signal handlers.
#[unsafe(no_mangle)]
pub extern "C" fn uvudp_async_send(handle: CPtr<uv_async_t>) -> c_int {
    let Some(signal) = handle.signal() else {
        return -libc::EINVAL;
    };
    signal.send();
    0
}
