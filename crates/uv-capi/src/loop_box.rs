//! What is behind `uv_loop_t`: the loop, and the list of its handles.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::ptr;
use std::rc::Rc;

use uv_core::Loop;
use uv_sys::Errno;

use crate::hub::Hub;
use crate::pointers::Given;
use crate::process::uvudp_hrtime;
use crate::types::{uv_handle_t, uv_loop_t};

/// Behind `uv_loop_t.inner`.
#[derive(Debug)]
pub struct LoopBox {
    /// What wakes the loop for its async handles, from the first of them on.
    hub: OnceCell<Rc<Hub>>,
    pub(crate) event_loop: Loop,
    /// Every handle that is not closed, in the order in which they were made.
    handles: RefCell<BTreeMap<u64, Given<uv_handle_t>>>,
    entered: Cell<u64>,
    /// The loop's clock began at this many nanoseconds of the system's.
    began: u64,
}

impl LoopBox {
    pub(crate) fn new() -> uv_core::Result<Self> {
        let event_loop = Loop::new()?;
        event_loop.update_time();
        Ok(Self {
            hub: OnceCell::new(),
            handles: RefCell::default(),
            entered: Cell::new(0),
            began: uvudp_hrtime().saturating_sub(event_loop.now()),
            event_loop,
        })
    }

    /// What wakes the loop for its async handles, made at first use.
    pub(crate) fn hub(&self) -> uv_core::Result<&Rc<Hub>> {
        if self.hub.get().is_none() {
            let _ = self.hub.set(Hub::new(&self.event_loop)?);
        }
        self.hub.get().ok_or(Errno::EBADF)
    }

    /// Whether every handle is closed.
    /// The hub, if there is one.
    pub(crate) fn made_hub(&self) -> Option<&Rc<Hub>> {
        self.hub.get()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.handles.borrow().is_empty()
    }

    /// The serial number of the next handle.
    pub(crate) fn next_serial(&self) -> u64 {
        self.entered.get()
    }

    /// Takes a new handle into the list, and gives it its serial number.
    pub(crate) fn enter(&self, handle: Given<uv_handle_t>) -> u64 {
        let serial = self.entered.get();
        self.entered.set(serial + 1);
        self.handles.borrow_mut().insert(serial, handle);
        serial
    }

    /// The handle with this serial number is closed.
    pub(crate) fn leave(&self, serial: u64) {
        self.handles.borrow_mut().remove(&serial);
    }

    /// The first handle from this serial number on.
    pub(crate) fn handle_from(&self, serial: u64) -> Option<(u64, Given<uv_handle_t>)> {
        let handles = self.handles.borrow();
        let (serial, handle) = handles.range(serial..).next()?;
        Some((*serial, *handle))
    }

    /// Whether `is_it` says so of any handle.
    pub(crate) fn any(&self, is_it: impl Fn(Given<uv_handle_t>) -> bool) -> bool {
        self.handles.borrow().values().any(|&handle| is_it(handle))
    }

    pub(crate) fn millis(&self) -> u64 {
        (self.began + self.event_loop.now()) / 1_000_000
    }
}

/// The box of a loop; `None` for null, and once it is closed.
pub(crate) fn loop_box(loop_: &Given<uv_loop_t>) -> Option<&LoopBox> {
    let inner = loop_.get()?.inner.get().cast::<LoopBox>();
    // SAFETY: `inner` is null or a box that `boxed` made; only `take`, in `uv_loop_close`, takes it away.
    unsafe { inner.as_ref() }
}

/// A box, as `uv_loop_t` has it.
pub(crate) fn boxed(loop_box: LoopBox) -> *mut std::ffi::c_void {
    Box::into_raw(Box::new(loop_box)).cast()
}

/// Takes the box of a loop, into which no reference is held.
pub(crate) fn take(loop_: &uv_loop_t) -> Option<Box<LoopBox>> {
    let inner = loop_.inner.replace(ptr::null_mut()).cast::<LoopBox>();
    // SAFETY: what is not null came from `boxed`, and was just replaced, so that it is taken once.
    (!inner.is_null()).then(|| unsafe { Box::from_raw(inner) })
}
