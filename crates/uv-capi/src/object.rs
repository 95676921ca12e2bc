//! The box behind a handle: which of our handles it is, and what all of them can do.

use std::ptr;
use std::rc::Rc;

use uv_core::{Check, Idle, Prepare, Timer};

use crate::hub::Async;
use crate::pointers::Given;
use crate::types::{Handle, uv_handle_t};
use crate::udp::state::UdpBox;

/// Behind `uv_handle_t.inner`.
#[derive(Debug)]
pub struct Object {
    /// The handle's place in the order in which the loop's handles were made.
    pub(crate) serial: u64,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Timer(Timer),
    Idle(Idle),
    Prepare(Prepare),
    Check(Check),
    Async(Rc<Async>),
    Udp(UdpBox),
}

/// Says the same of every kind of handle.
macro_rules! each {
    ($kind:expr, $handle:ident => $say:expr) => {
        match $kind {
            Kind::Timer($handle) => $say,
            Kind::Idle($handle) => $say,
            Kind::Prepare($handle) => $say,
            Kind::Check($handle) => $say,
            Kind::Async($handle) => $say,
            Kind::Udp(udp) => {
                let $handle = &udp.udp;
                $say
            }
        }
    };
}

impl Kind {
    pub(crate) fn is_active(&self) -> bool {
        each!(self, handle => handle.is_active())
    }

    pub(crate) fn is_closing(&self) -> bool {
        each!(self, handle => handle.is_closing())
    }

    pub(crate) fn has_ref(&self) -> bool {
        each!(self, handle => handle.has_ref())
    }

    pub(crate) fn set_ref(&self, referenced: bool) {
        each!(self, handle => if referenced { handle.reference() } else { handle.unreference() });
        if let Self::Udp(udp) = self {
            udp.keep_loop_alive();
        }
    }

    /// Closes the handle; `then` runs in its closing turn. Not on a handle that is closing already.
    pub(crate) fn close(&self, then: impl FnOnce() + 'static) {
        if let Self::Udp(udp) = self {
            udp.receiver.close();
        }
        // An error says that it is closing, which the caller saw to.
        let _ = each!(self, handle => handle.close(move |_| then()));
    }
}

/// The box of a handle; `None` for null, and once it is closed.
#[inline]
pub(crate) fn object<T: Handle>(handle: &Given<T>) -> Option<&Object> {
    let inner = handle.get()?.head().inner.get().cast::<Object>();
    // SAFETY: `inner` is null or a box that `put` stored; only `take`, in the closing turn, takes it away.
    unsafe { inner.as_ref() }
}

/// The box of a handle that is not closing.
pub(crate) fn open(handle: &Given<uv_handle_t>) -> Option<&Kind> {
    let object = object(handle)?;
    (!object.kind.is_closing()).then_some(&object.kind)
}

/// Stores the box of a handle that has none.
pub(crate) fn put(handle: &uv_handle_t, object: Object) {
    handle.inner.set(Box::into_raw(Box::new(object)).cast());
}

/// Takes the box of a handle, in its closing turn: no reference into it is held.
pub(crate) fn take(handle: &uv_handle_t) -> Option<Box<Object>> {
    let inner = handle.inner.replace(ptr::null_mut()).cast::<Object>();
    // SAFETY: what is not null came from a box in `put`, and was just replaced, so that it is taken once.
    (!inner.is_null()).then(|| unsafe { Box::from_raw(inner) })
}
