//! Hooks into an iteration: idle, prepare and check.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use uv_sys::Result;

use crate::callback::{Callback, CloseCallback};
use crate::event_loop::Loop;
use crate::handle::Handle;
use crate::hook_list::HookPhase;
use crate::methods::simple_handle;
use crate::source::{Phase, Source};

macro_rules! hook {
    ($(#[$doc:meta])* $name:ident, $module:ident, $noun:literal) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name {
            inner: Rc<$module::Inner>,
        }

        mod $module {
            use super::*;

            pub(super) struct Inner {
                pub(super) handle: Handle,
                pub(super) started: Cell<bool>,
                pub(super) callback: Callback<dyn FnMut(&$name)>,
                pub(super) close_callback: CloseCallback<$name>,
            }

            impl Source for Inner {
                fn handle(&self) -> &Handle {
                    &self.handle
                }

                fn on_phase(self: Rc<Self>, phase: Phase) {
                    let hook = $name { inner: self };
                    match phase {
                        Phase::Hook => hook.inner.callback.call(|callback| callback(&hook)),
                        Phase::Closing => {
                            hook.end();
                            let callback = hook.inner.close_callback.take();
                            if let Some(callback) = callback {
                                callback(&hook);
                            }
                        }
                        Phase::LoopDropped => {
                            hook.end();
                            drop(hook.inner.close_callback.take());
                        }
                        Phase::Deadline
                        | Phase::Completions
                        | Phase::Flush
                        | Phase::Dispatch
                        | Phase::Speculative => {}
                    }
                }
            }
        }

        impl $name {
            #[doc = concat!("A", $noun, " hook that is not started.")]
            pub fn new(event_loop: &Loop) -> Self {
                let inner = Rc::new_cyclic(|this: &std::rc::Weak<$module::Inner>| $module::Inner {
                    handle: Handle::new(event_loop, this.clone()),
                    started: Cell::new(false),
                    callback: Callback::new(),
                    close_callback: RefCell::new(None),
                });
                Self { inner }
            }

            /// Calls `callback` once in every iteration from now on. On a hook that is started, nothing happens.
            ///
            /// # Errors
            ///
            /// `EBADF` when the hook is closed or its loop is gone.
            pub fn start(&self, callback: impl FnMut(&Self) + 'static) -> Result<()> {
                let handle = &self.inner.handle;
                handle.check_open()?;
                if !self.inner.started.replace(true) {
                    self.inner.callback.set(Box::new(callback));
                    handle.set_hook(HookPhase::$name);
                    handle.set_active(true);
                }
                Ok(())
            }

            /// Ends the calls, and drops the callback.
            ///
            /// # Errors
            ///
            /// `EBADF` when the hook is closed or its loop is gone.
            pub fn stop(&self) -> Result<()> {
                self.inner.handle.check_open()?;
                self.end();
                Ok(())
            }

            fn end(&self) {
                self.inner.started.set(false);
                self.inner.handle.clear_hook();
                self.inner.handle.set_active(false);
                self.inner.callback.clear();
            }
        }

        simple_handle!($name);
    };
}

hook! {
    /// Runs in every iteration, and keeps the loop from waiting while it is started: work for when there is nothing else.
    ///
    /// ```
    /// use uv_core::{Idle, Loop, RunMode};
    ///
    /// let event_loop = Loop::new()?;
    /// let mut pieces = 0..10;
    /// Idle::new(&event_loop).start(move |idle| {
    ///     if pieces.next().is_none() {
    ///         idle.stop().unwrap();
    ///     }
    /// })?;
    /// assert!(!event_loop.run(RunMode::Default)?);
    /// # Ok::<(), uv_core::Errno>(())
    /// ```
    #[doc(alias = "uv_idle_t")]
    Idle, idle, "n idle"
}

hook! {
    /// Runs in every iteration before queued sends go out and the loop polls.
    ///
    /// ```
    /// use uv_core::{Loop, Prepare, RunMode};
    ///
    /// let event_loop = Loop::new()?;
    /// let prepare = Prepare::new(&event_loop);
    /// prepare.start(|_| println!("the loop is about to wait"))?;
    /// // To look on is no reason to run.
    /// prepare.unreference();
    /// assert!(!event_loop.run(RunMode::Default)?);
    /// # Ok::<(), uv_core::Errno>(())
    /// ```
    #[doc(alias = "uv_prepare_t")]
    Prepare, prepare, " prepare"
}

hook! {
    /// Runs in every iteration after what the poll reported was dispatched.
    ///
    /// ```
    /// use uv_core::{Check, Loop, RunMode};
    ///
    /// let event_loop = Loop::new()?;
    /// let check = Check::new(&event_loop);
    /// check.start(|check| {
    ///     println!("this is the end of the iteration, but for closing");
    ///     check.close(|_| println!("closed")).unwrap();
    /// })?;
    /// assert!(!event_loop.run(RunMode::NoWait)?);
    /// # Ok::<(), uv_core::Errno>(())
    /// ```
    #[doc(alias = "uv_check_t")]
    Check, check, " check"
}
