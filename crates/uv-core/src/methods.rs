//! What every handle type of this crate offers in the same words.

/// Methods for a `$name { inner: Rc<Inner> }` whose `Inner` has a `handle` and a `close_callback`.
macro_rules! handle_methods {
    ($name:ident) => {
        impl $name {
            /// Closes the handle. `callback` runs in the closing phase of the loop's current or next iteration, never inside
            /// this call; until then the loop keeps the handle alive. Other callbacks are not called again.
            ///
            /// # Errors
            ///
            /// `EBADF` when it is closed already or its loop is gone; `callback` is then dropped.
            #[doc(alias = "uv_close")]
            pub fn close(&self, callback: impl FnOnce(&Self) + 'static) -> Result<()> {
                self.inner.handle.close()?;
                *self.inner.close_callback.borrow_mut() = Some(Box::new(callback));
                Ok(())
            }

            /// Whether the handle waits for something.
            #[doc(alias = "uv_is_active")]
            pub fn is_active(&self) -> bool {
                self.inner.handle.is_active()
            }

            /// Whether [`close`](Self::close) was called, or the loop is gone.
            #[doc(alias = "uv_is_closing")]
            pub fn is_closing(&self) -> bool {
                self.inner.handle.is_closing()
            }

            /// Lets the handle keep [`Loop::run`] going while it is active, which it does at first.
            #[doc(alias = "uv_ref")]
            pub fn reference(&self) {
                self.inner.handle.set_ref(true);
            }

            /// Lets [`Loop::run`] end although the handle is active.
            #[doc(alias = "uv_unref")]
            pub fn unreference(&self) {
                self.inner.handle.set_ref(false);
            }

            /// Whether the handle keeps [`Loop::run`] going while it is active.
            #[doc(alias = "uv_has_ref")]
            pub fn has_ref(&self) -> bool {
                self.inner.handle.has_ref()
            }

            /// The handle's loop, or `None` when that is gone.
            pub fn event_loop(&self) -> Option<Loop> {
                self.inner.handle.event_loop()
            }

            /// A name for this handle that threads may carry; see [`Loop::source`].
            ///
            /// # Errors
            ///
            /// `EBADF` when the handle is closed or its loop is gone.
            pub fn id(&self) -> Result<HandleId> {
                self.inner.handle.id()
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

pub(crate) use handle_methods;
