//! The beginning and the end of a handle: entering its loop, and the last turn.

use std::cell::Cell;
use std::ffi::{c_int, c_uint};
use std::ptr;

use uv_core::Loop;

use crate::loop_box::loop_box;
use crate::object::{Kind, Object, put, take};
use crate::pointers::{Given, Room};
use crate::types::{Handle, uv_close_cb, uv_handle_t, uv_loop_t};

/// Makes a handle of the loop in `room`: `structure` adds the members behind those that all have, `make` what is behind it.
/// If that fails, the handle is as one that is closed.
pub(crate) fn init<T: Handle>(
    loop_: Given<uv_loop_t>,
    room: Room<T>,
    type_: c_uint,
    structure: impl FnOnce(uv_handle_t) -> T,
    make: impl FnOnce(&Loop, Given<T>) -> uv_core::Result<Kind>,
) -> c_int {
    let Some(in_loop) = loop_box(&loop_) else {
        return -libc::EINVAL;
    };
    let placed = room.set_up(|data| {
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
        Err(error) => return -error.raw(),
    };
    let base = handle.base();
    if let Some(structure) = base.get() {
        let serial = in_loop.enter(base);
        put(structure, Object { serial, kind });
    }
    0
}

/// Begins to close a handle that is open and whose box has the kind `kind`.
pub(crate) fn close(handle: Given<uv_handle_t>, kind: &Kind, close_cb: uv_close_cb) {
    if let Some(structure) = handle.get() {
        structure.close_cb.set(close_cb);
    }
    kind.close(move || finish(handle));
}

/// The last turn: the box goes, and then the structure is the program's again.
fn finish(handle: Given<uv_handle_t>) {
    let Some(structure) = handle.get() else {
        return;
    };
    let close_cb = structure.close_cb.get();
    let object = take(structure);
    if let (Some(in_loop), Some(object)) = (loop_box(&structure.loop_), &object) {
        in_loop.leave(object.serial);
    }
    drop(object);
    if let Some(close_cb) = close_cb {
        handle.call(close_cb);
    }
}
