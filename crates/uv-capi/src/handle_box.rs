//! The box behind a handle: its kind, and the operations that all kinds share.

use std::ptr;
use std::rc::Rc;

use uv_core::{Check, Idle, Prepare, Timer};

use crate::pointers::CPtr;
use crate::types::{Handle, uv_handle_t};
use crate::udp::state::UdpBox;
use crate::wakeup::Async;

/// Behind `uv_handle_t.inner`.
#[derive(Debug)]
pub struct HandleBox {
    /// The handle's position in the loop's order of creation.
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

/// Evaluates an expression for the handle of any kind.
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

    /// Closes the handle; `then` runs in the closing phase. The handle must not be closing.
    pub(crate) fn close(&self, then: impl FnOnce() + 'static) {
        if let Self::Udp(udp) = self {
            udp.receiver.close();
        }
        // The only error is a handle that is closing.
        let _ = each!(self, handle => handle.close(move |_| then()));
    }
}

/// The box of a handle; `None` for null and after closing.
#[inline]
pub(crate) fn handle_box<T: Handle>(handle: &CPtr<T>) -> Option<&HandleBox> {
    let inner = handle.get()?.head().inner.get().cast::<HandleBox>();
    // SAFETY: `inner` is null or a box from `put`; only `take`, in the closing phase, removes it.
    unsafe { inner.as_ref() }
}

/// The box of a handle that is not closing.
pub(crate) fn open(handle: &CPtr<uv_handle_t>) -> Option<&Kind> {
    let boxed = handle_box(handle)?;
    (!boxed.kind.is_closing()).then_some(&boxed.kind)
}

/// Stores the box of a handle that has none.
pub(crate) fn put(handle: &uv_handle_t, boxed: HandleBox) {
    handle.inner.set(Box::into_raw(Box::new(boxed)).cast());
}

/// Removes the box of a handle in the closing phase, when no reference into it is held.
pub(crate) fn take(handle: &uv_handle_t) -> Option<Box<HandleBox>> {
    let inner = handle.inner.replace(ptr::null_mut()).cast::<HandleBox>();
    // SAFETY: a non-null pointer came from `put`, and was just replaced, so that it is taken once.
    (!inner.is_null()).then(|| unsafe { Box::from_raw(inner) })
}
