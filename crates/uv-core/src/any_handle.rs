//! A handle of unknown type, for walks over a loop.

use std::fmt;
use std::rc::Rc;

use uv_sys::Result;

use crate::core::HandleId;
use crate::handle::Source;

/// A handle of any type, from [`Loop::handles`](crate::Loop::handles) or
/// [`Loop::handle`](crate::Loop::handle). Holding it keeps the handle alive.
///
/// ```
/// use std::time::Duration;
/// use uv_core::{Loop, RunMode, Timer};
///
/// let event_loop = Loop::new()?;
/// for _ in 0..3 {
///     Timer::new(&event_loop).start(Duration::MAX, Duration::ZERO, |_| ())?;
/// }
/// // An orderly shutdown: open handles are closed, and complete their requests.
/// for handle in event_loop.handles() {
///     if !handle.is_closing() {
///         handle.close()?;
///     }
/// }
/// assert_eq!(event_loop.run(RunMode::Default), Ok(false));
/// # Ok::<(), uv_core::Errno>(())
/// ```
#[derive(Clone)]
#[doc(alias = "uv_handle_t")]
pub struct AnyHandle {
    source: Rc<dyn Source>,
}

impl AnyHandle {
    pub(crate) fn new(source: Rc<dyn Source>) -> Self {
        Self { source }
    }

    /// The id of the handle. See [`Handle::id`](crate::Handle::id).
    ///
    /// # Errors
    ///
    /// `EBADF` when the handle is closed, or its loop was dropped.
    pub fn id(&self) -> Result<HandleId> {
        self.source.handle().id()
    }

    /// Whether the handle waits for something.
    #[doc(alias = "uv_is_active")]
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.source.handle().is_active()
    }

    /// Whether the handle keeps the loop running while it is active.
    #[doc(alias = "uv_has_ref")]
    #[must_use]
    pub fn has_ref(&self) -> bool {
        self.source.handle().has_ref()
    }

    /// Whether the handle is closing or closed, or its loop was dropped.
    #[doc(alias = "uv_is_closing")]
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.source.handle().is_closing()
    }

    /// Closes the handle, without a close callback. Its pending requests complete with `ECANCELED`
    /// in the closing phase of the loop's current or next iteration.
    ///
    /// # Errors
    ///
    /// `EBADF` when it is closing already, or its loop was dropped.
    #[doc(alias = "uv_close")]
    pub fn close(&self) -> Result<()> {
        self.source.handle().close()
    }
}

impl fmt::Debug for AnyHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyHandle")
            .field("handle", self.source.handle())
            .finish()
    }
}
