//! Hooks into an iteration: idle, prepare and check.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};

use uv_sys::Result;

use crate::callback::{Callback, CloseCallback};
use crate::event_loop::Loop;
use crate::handle::{Handle, Source};
use crate::methods::simple_handle;
use crate::phase::{HookPhase, Phase};

/// What the three types share. `H` is the type that callbacks get.
struct Inner<H> {
    handle: Handle,
    started: Cell<bool>,
    callback: Callback<dyn FnMut(&H)>,
    close_callback: CloseCallback<H>,
}

trait Hook: Sized + 'static {
    fn from_inner(inner: Rc<Inner<Self>>) -> Self;
}

impl<H: Hook> Inner<H> {
    fn new(event_loop: &Loop) -> Rc<Self> {
        Rc::new_cyclic(|this: &Weak<Self>| Self {
            handle: Handle::new(event_loop, this.clone()),
            started: Cell::new(false),
            callback: Callback::new(),
            close_callback: RefCell::new(None),
        })
    }

    fn start(&self, place: HookPhase, callback: Box<dyn FnMut(&H)>) -> Result<()> {
        self.handle.check_open()?;
        if !self.started.replace(true) {
            self.callback.set(callback);
            self.handle.set_hook(place);
            self.handle.set_active(true);
        }
        Ok(())
    }

    fn stop(&self) {
        self.started.set(false);
        self.handle.clear_hook();
        self.handle.set_active(false);
        self.callback.clear();
    }
}

impl<H: Hook> Source for Inner<H> {
    fn handle(&self) -> &Handle {
        &self.handle
    }

    fn on_phase(self: Rc<Self>, phase: Phase) {
        match phase {
            Phase::Hook => {
                let hook = H::from_inner(Rc::clone(&self));
                self.callback.call(|callback| callback(&hook));
            }
            Phase::Closing => {
                self.stop();
                let callback = self.close_callback.take();
                if let Some(callback) = callback {
                    callback(&H::from_inner(self));
                }
            }
            Phase::LoopDropped => {
                self.stop();
                drop(self.close_callback.take());
            }
            Phase::Deadline
            | Phase::Completions
            | Phase::Flush
            | Phase::Dispatch
            | Phase::AfterPoll => {}
        }
    }
}

macro_rules! hook {
    ($(#[$doc:meta])* $name:ident, $noun:literal) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name {
            inner: Rc<Inner<Self>>,
        }

        impl Hook for $name {
            fn from_inner(inner: Rc<Inner<Self>>) -> Self {
                Self { inner }
            }
        }

        impl $name {
            #[doc = concat!("Makes a", $noun, " hook that is not started.")]
            #[must_use]
            pub fn new(event_loop: &Loop) -> Self {
                Self { inner: Inner::new(event_loop) }
            }

            /// Calls `callback` once in every iteration from now on. Has no effect on a started
            /// hook.
            ///
            /// # Errors
            ///
            /// `EBADF` when the hook is closed or its loop was dropped.
            pub fn start(&self, callback: impl FnMut(&Self) + 'static) -> Result<()> {
                self.inner.start(HookPhase::$name, Box::new(callback))
            }

            /// Stops the hook, and drops its callback.
            ///
            /// # Errors
            ///
            /// `EBADF` when the hook is closed or its loop was dropped.
            pub fn stop(&self) -> Result<()> {
                self.inner.handle.check_open()?;
                self.inner.stop();
                Ok(())
            }
        }

        simple_handle!($name);
    };
}

hook! {
    /// Runs in every iteration, and keeps the loop from waiting while it is started: for background
    /// work in small pieces.
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
    Idle, "n idle"
}

hook! {
    /// Runs in every iteration before queued sends are flushed and the loop polls.
    ///
    /// ```
    /// use uv_core::{Loop, Prepare, RunMode};
    ///
    /// let event_loop = Loop::new()?;
    /// let prepare = Prepare::new(&event_loop);
    /// prepare.start(|_| println!("the loop is about to poll"))?;
    /// // An unreferenced hook does not keep the loop running.
    /// prepare.unreference();
    /// assert!(!event_loop.run(RunMode::Default)?);
    /// # Ok::<(), uv_core::Errno>(())
    /// ```
    #[doc(alias = "uv_prepare_t")]
    Prepare, " prepare"
}

hook! {
    /// Runs in every iteration after ready handles were dispatched.
    ///
    /// ```
    /// use uv_core::{Check, Loop, RunMode};
    ///
    /// let event_loop = Loop::new()?;
    /// let check = Check::new(&event_loop);
    /// check.start(|check| {
    ///     println!("only the closing phase follows");
    ///     check.close(|_| println!("closed")).unwrap();
    /// })?;
    /// assert!(!event_loop.run(RunMode::NoWait)?);
    /// # Ok::<(), uv_core::Errno>(())
    /// ```
    #[doc(alias = "uv_check_t")]
    Check, " check"
}
