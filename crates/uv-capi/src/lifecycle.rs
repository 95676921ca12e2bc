//! The start and the end of a handle: entering its loop, and the closing phase.

use std::cell::Cell;
use std::ffi::{c_int, c_uint};
use std::ptr;

use uv_core::Loop;

use crate::handle_box::{HandleBox, Kind, put, take};
use crate::loop_box::loop_box;
use crate::pointers::{CPtr, OutPtr};
use crate::results::number;
use crate::types::{Handle, uv_close_cb, uv_handle_t, uv_loop_t};

/// Initializes a handle of the loop in `memory`. `structure` adds the members that follow the
/// common ones, and `make` creates the Rust handle. If that fails, the handle is in the state of a
/// closed one.
pub(crate) fn init<T: Handle>(
    loop_: CPtr<uv_loop_t>,
    memory: OutPtr<T>,
    type_: c_uint,
    structure: impl FnOnce(uv_handle_t) -> T,
    make: impl FnOnce(&Loop, CPtr<T>) -> uv_core::Result<Kind>,
) -> c_int {
    let Some(in_loop) = loop_box(&loop_) else {
        return -libc::EINVAL;
    };
    let placed = memory.initialize(|data| {
        structure(uv_handle_t {
            data: Cell::new(data),
            loop_,
            type_,
            close_cb: Cell::new(None),
            inner: Cell::new(ptr::null_mut()),
            reserved: [ptr::null_mut(); 3],
        })
    });
    let Some(handle) = placed else {
        return -libc::EINVAL;
    };
    let kind = match make(&in_loop.event_loop, handle) {
        Ok(kind) => kind,
        Err(error) => return number(error),
    };
    let base = handle.base();
    if let Some(structure) = base.get() {
        let serial = in_loop.enter(base);
        put(structure, HandleBox { serial, kind });
    }
    0
}

/// Starts to close an open handle, whose box has this kind.
pub(crate) fn close(handle: CPtr<uv_handle_t>, kind: &Kind, close_cb: uv_close_cb) {
    if let Some(structure) = handle.get() {
        structure.close_cb.set(close_cb);
    }
    kind.close(move || finish(handle));
}

/// The closing phase: drops the box, and then returns the structure to the program.
fn finish(handle: CPtr<uv_handle_t>) {
    let Some(structure) = handle.get() else {
        return;
    };
    let close_cb = structure.close_cb.get();
    let boxed = take(structure);
    if let (Some(in_loop), Some(boxed)) = (loop_box(&structure.loop_), &boxed) {
        in_loop.leave(boxed.serial);
    }
    drop(boxed);
    if let Some(close_cb) = close_cb {
        handle.call(close_cb);
    }
}
