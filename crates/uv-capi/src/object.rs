//! The box behind a handle: which of our handles it is, and what all of them can do.

use std::rc::Rc;

use uv_core::{Check, Idle, Prepare, Timer};

use crate::asynchronous::Async;
use crate::types::uv_handle_t;
use crate::udp::UdpBox;

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
            udp.stop_receiving();
        }
        // An error says that it is closing, which the caller saw to.
        let _ = each!(self, handle => handle.close(move |_| then()));
    }
}

/// The box of a handle; `None` for null, and once it is closed.
///
/// # Safety
///
/// `handle` is null or was initialised; the answer is used as the crate says of references to boxes.
pub(crate) unsafe fn object<'a>(handle: *const uv_handle_t) -> Option<&'a Object> {
    // SAFETY: the caller vouches for `handle`; `inner` is null or a box that lives until the closing turn.
    unsafe { handle.as_ref()?.inner.as_ref() }
}

/// The box of a handle that is not closing.
///
/// # Safety
///
/// As [`object`].
pub(crate) unsafe fn open<'a>(handle: *const uv_handle_t) -> Option<&'a Kind> {
    // SAFETY: as the caller vouches.
    let object = unsafe { object(handle) }?;
    (!object.kind.is_closing()).then_some(&object.kind)
}
