//! The box behind `uv_loop_t`: the loop, and the list of its handles.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::ptr;
use std::rc::Rc;

use uv_core::Loop;
use uv_sys::Errno;

use crate::pointers::CPtr;
use crate::process::uvudp_hrtime;
use crate::types::{uv_handle_t, uv_loop_t};
use crate::wakeup::AsyncWakeup;

/// Behind `uv_loop_t.inner`.
#[derive(Debug)]
pub struct LoopBox {
    /// The wake-up of the async handles, created with the first of them.
    wakeup: OnceCell<Rc<AsyncWakeup>>,
    pub(crate) event_loop: Loop,
    /// The handles that are not closed, in order of creation.
    handles: RefCell<BTreeMap<u64, CPtr<uv_handle_t>>>,
    entered: Cell<u64>,
    /// Start of the loop's clock, in nanoseconds of the monotonic clock.
    began: u64,
}

impl LoopBox {
    pub(crate) fn new() -> uv_core::Result<Self> {
        let event_loop = Loop::new()?;
        event_loop.update_time();
        Ok(Self {
            wakeup: OnceCell::new(),
            handles: RefCell::default(),
            entered: Cell::new(0),
            began: uvudp_hrtime().saturating_sub(event_loop.now()),
            event_loop,
        })
    }

    /// The wake-up of the async handles. The first call creates it.
    pub(crate) fn wakeup(&self) -> uv_core::Result<&Rc<AsyncWakeup>> {
        if self.wakeup.get().is_none() {
            let _ = self.wakeup.set(AsyncWakeup::new(&self.event_loop)?);
        }
        self.wakeup.get().ok_or(Errno::EBADF)
    }

    /// Whether every handle is closed.
    /// The wakeup, if there is one.
    pub(crate) fn existing_wakeup(&self) -> Option<&Rc<AsyncWakeup>> {
        self.wakeup.get()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.handles.borrow().is_empty()
    }

    /// The serial number of the next handle.
    pub(crate) fn next_serial(&self) -> u64 {
        self.entered.get()
    }

    /// Adds a new handle to the list, and returns its serial number.
    pub(crate) fn enter(&self, handle: CPtr<uv_handle_t>) -> u64 {
        let serial = self.entered.get();
        self.entered.set(serial + 1);
        self.handles.borrow_mut().insert(serial, handle);
        serial
    }

    /// Removes a closed handle from the list.
    pub(crate) fn leave(&self, serial: u64) {
        self.handles.borrow_mut().remove(&serial);
    }

    /// The first handle from this serial number on.
    pub(crate) fn handle_from(&self, serial: u64) -> Option<(u64, CPtr<uv_handle_t>)> {
        let handles = self.handles.borrow();
        let (serial, handle) = handles.range(serial..).next()?;
        Some((*serial, *handle))
    }

    /// Whether the predicate holds for any handle.
    pub(crate) fn any(&self, is_it: impl Fn(CPtr<uv_handle_t>) -> bool) -> bool {
        self.handles.borrow().values().any(|&handle| is_it(handle))
    }

    pub(crate) fn millis(&self) -> u64 {
        (self.began + self.event_loop.now()) / 1_000_000
    }
}

/// The box of a loop; `None` for null and after `uv_loop_close`.
pub(crate) fn loop_box(loop_: &CPtr<uv_loop_t>) -> Option<&LoopBox> {
    let inner = loop_.get()?.inner.get().cast::<LoopBox>();
    // SAFETY: `inner` is null or a box from `boxed`; only `take`, in `uv_loop_close`, removes it.
    unsafe { inner.as_ref() }
}

/// A box as the pointer that `uv_loop_t` stores.
pub(crate) fn boxed(loop_box: LoopBox) -> *mut std::ffi::c_void {
    Box::into_raw(Box::new(loop_box)).cast()
}

/// Removes the box of a loop, into which no reference is held.
pub(crate) fn take(loop_: &uv_loop_t) -> Option<Box<LoopBox>> {
    let inner = loop_.inner.replace(ptr::null_mut()).cast::<LoopBox>();
    // SAFETY: a non-null pointer came from `boxed`, and was just replaced, so that it is taken
    // once.
    (!inner.is_null()).then(|| unsafe { Box::from_raw(inner) })
}
