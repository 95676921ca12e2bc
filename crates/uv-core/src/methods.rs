//! Methods that every handle type has.

/// Implements the methods that all handle types have: `is_active`, `is_closing`, `reference`,
/// `unreference`, `has_ref`, `event_loop` and `id`. Each type has a `close` method of its own.
///
/// ```
/// use std::rc::{Rc, Weak};
/// use uv_core::{Handle, Loop, Phase, Source, handle_methods};
///
/// /// A handle that is never active.
/// #[derive(Clone)]
/// pub struct Idler {
///     inner: Rc<Inner>,
/// }
///
/// struct Inner {
///     handle: Handle,
/// }
///
/// impl Source for Inner {
///     fn handle(&self) -> &Handle {
///         &self.handle
///     }
///     fn on_phase(self: Rc<Self>, _: Phase) {}
/// }
///
/// handle_methods!(Idler, inner.handle);
///
/// let event_loop = Loop::new()?;
/// let inner = Rc::new_cyclic(|this: &Weak<Inner>| Inner { handle: Handle::new(&event_loop, this.clone()) });
/// let idler = Idler { inner };
/// assert!(!idler.is_active() && idler.has_ref() && !idler.is_closing());
/// # Ok::<(), uv_core::Errno>(())
/// ```
#[macro_export]
macro_rules! handle_methods {
    ($name:ident, $($handle:ident).+) => {
        /// Methods that every handle has.
        impl $name {
            /// Whether the handle waits for something.
            #[doc(alias = "uv_is_active")]
            #[must_use]
            pub fn is_active(&self) -> bool {
                self.$($handle).+.is_active()
            }

            /// Whether `close` was called, or the loop was dropped.
            #[doc(alias = "uv_is_closing")]
            #[must_use]
            pub fn is_closing(&self) -> bool {
                self.$($handle).+.is_closing()
            }

            /// Keeps `Loop::run` running while the handle is active. This is the default.
            #[doc(alias = "uv_ref")]
            pub fn reference(&self) {
                self.$($handle).+.set_ref(true);
            }

            /// Lets `Loop::run` return although the handle is active.
            #[doc(alias = "uv_unref")]
            pub fn unreference(&self) {
                self.$($handle).+.set_ref(false);
            }

            /// Whether the handle keeps `Loop::run` running while it is active.
            #[doc(alias = "uv_has_ref")]
            #[must_use]
            pub fn has_ref(&self) -> bool {
                self.$($handle).+.has_ref()
            }

            /// The handle's loop; `None` when it was dropped.
            #[must_use]
            pub fn event_loop(&self) -> Option<$crate::Loop> {
                self.$($handle).+.event_loop()
            }

            /// Returns an id that other threads may hold; see `Loop::handle`.
            ///
            /// # Errors
            ///
            /// `EBADF` when the handle is closed or its loop was dropped.
            pub fn id(&self) -> $crate::Result<$crate::HandleId> {
                self.$($handle).+.id()
            }
        }
    };
}

/// Implements those methods, `close` and `Debug` for a `$name { inner: Rc<Inner> }` whose `Inner`
/// has a `handle` and a `close_callback`.
macro_rules! simple_handle {
    ($name:ident) => {
        $crate::handle_methods!($name, inner.handle);

        impl $name {
            /// Closes the handle. `callback` runs in the closing phase of the loop's current or
            /// next iteration, never inside this call. Until then the loop keeps the handle alive.
            /// Other callbacks are not called again.
            ///
            /// # Errors
            ///
            /// `EBADF` when it is closed already or its loop was dropped; `callback` is then
            /// dropped.
            #[doc(alias = "uv_close")]
            pub fn close(&self, callback: impl FnOnce(&Self) + 'static) -> Result<()> {
                self.inner.handle.close()?;
                *self.inner.close_callback.borrow_mut() = Some(Box::new(callback));
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("handle", &self.inner.handle)
                    .finish_non_exhaustive()
            }
        }
    };
}

pub(crate) use simple_handle;
