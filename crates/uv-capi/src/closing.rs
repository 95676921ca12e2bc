//! The beginning and the end of a handle: entering its loop, and the last turn.

use std::ffi::{c_int, c_uint};
use std::ptr;

use crate::event_loop::loop_box;
use crate::object::{Kind, Object};
use crate::types::{uv_close_cb, uv_handle_t, uv_loop_t};

/// Makes `handle` a handle of the loop, with what `make` gives. `data` stays as it is: programs set it before.
///
/// # Safety
///
/// `loop_` is null or an initialised loop; `handle` is null or room for a handle, of which nothing but `data` matters.
pub(crate) unsafe fn init(
    loop_: *mut uv_loop_t,
    handle: *mut uv_handle_t,
    type_: c_uint,
    make: impl FnOnce(&uv_core::Loop) -> uv_core::Result<Kind>,
) -> c_int {
    // SAFETY: as the caller vouches.
    let Some(in_loop) = (unsafe { loop_box(loop_) }).filter(|_| !handle.is_null()) else {
        return -libc::EINVAL;
    };
    let kind = match make(&in_loop.lp) {
        Ok(kind) => kind,
        Err(error) => return -error.raw(),
    };
    let inner = Box::into_raw(Box::new(Object {
        serial: in_loop.enter(handle),
        kind,
    }));
    // SAFETY: the caller says that there is room for a handle; members are written one by one, so that none is read.
    unsafe {
        (&raw mut (*handle).loop_).write(loop_);
        (&raw mut (*handle).type_).write(type_);
        (&raw mut (*handle).close_cb).write(None);
        (&raw mut (*handle).inner).write(inner);
        (&raw mut (*handle).reserved).write([ptr::null_mut(); 3]);
    }
    0
}

/// Begins to close a handle that is open.
///
/// # Safety
///
/// `handle` is a handle whose box has the kind `kind`.
pub(crate) unsafe fn close(handle: *mut uv_handle_t, kind: &Kind, close_cb: uv_close_cb) {
    // SAFETY: the caller vouches for `handle`.
    unsafe { (*handle).close_cb = close_cb };
    // SAFETY: the handle stays in place until its close callback, and the closing turn comes once.
    kind.close(move || unsafe { finish(handle) });
}

/// The last turn: the box goes, and then the structure is the program's again.
///
/// # Safety
///
/// `handle` is a handle in its closing turn.
unsafe fn finish(handle: *mut uv_handle_t) {
    // SAFETY: until the callback the handle is where it was.
    let (in_loop, inner, close_cb) = unsafe {
        (
            loop_box((*handle).loop_),
            (*handle).inner,
            (*handle).close_cb,
        )
    };
    // SAFETY: `inner` came from a box in `init`, and this turn, which comes once, is the only place that takes it.
    let object = unsafe { Box::from_raw(inner) };
    // SAFETY: as above.
    unsafe { (*handle).inner = ptr::null_mut() };
    if let Some(in_loop) = in_loop {
        in_loop.leave(object.serial);
    }
    drop(object);
    if let Some(close_cb) = close_cb {
        // SAFETY: the program's own function, with its own handle, and nothing of ours refers to it any more.
        unsafe { close_cb(handle) };
    }
}
