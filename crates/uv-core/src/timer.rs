//! Timers.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use uv_sys::{Errno, Result};

use crate::callback::{Callback, CloseCallback};
use crate::clock::{self, nanos};
use crate::event_loop::Loop;
use crate::handle::{Handle, Source};
use crate::methods::simple_handle;
use crate::phase::Phase;

/// Calls back once or repeatedly, on the loop's nanosecond clock.
///
/// Timers due in the same iteration fire in due order, and those due at the same time in start
/// order. A callback never runs before its time, measured from the call that started the timer; a
/// busy loop runs it late. A repeating timer is due again one repeat value after its callback was
/// called, so a late call does not shorten the next interval.
///
/// A clone is another reference to the same timer. Callbacks get the timer as an argument; a
/// callback that captures a clone keeps the timer alive until it is closed.
///
/// ```
/// use std::time::Duration;
/// use uv_core::{Loop, RunMode, Timer};
///
/// let event_loop = Loop::new()?;
/// let timer = Timer::new(&event_loop);
/// let mut left = 3;
/// timer.start(Duration::ZERO, Duration::from_millis(1), move |timer| {
///     left -= 1;
///     if left == 0 {
///         timer.stop().unwrap();
///     }
/// })?;
/// event_loop.run(RunMode::Default)?;
/// # Ok::<(), uv_core::Errno>(())
/// ```
#[derive(Clone)]
#[doc(alias = "uv_timer_t")]
pub struct Timer {
    inner: Rc<Inner>,
}

struct Inner {
    handle: Handle,
    /// Nanoseconds; 0 for a timer that fires once.
    repeat: Cell<u64>,
    started: Cell<bool>,
    callback: Callback<dyn FnMut(&Timer)>,
    close_callback: CloseCallback<Timer>,
}

impl Timer {
    /// Makes a timer that is not started.
    #[doc(alias = "uv_timer_init")]
    #[must_use]
    pub fn new(event_loop: &Loop) -> Self {
        let inner = Rc::new_cyclic(|this: &std::rc::Weak<Inner>| Inner {
            handle: Handle::new(event_loop, this.clone()),
            repeat: Cell::new(0),
            started: Cell::new(false),
            callback: Callback::new(),
            close_callback: RefCell::new(None),
        });
        Self { inner }
    }

    /// Calls `callback` once `timeout` has passed since this call; zero is the next iteration.
    /// Unless `repeat` is zero, calls it again each time that `repeat` has passed since the start
    /// of its last call. An active timer is restarted.
    ///
    /// # Errors
    ///
    /// `EBADF` when the timer is closed or its loop was dropped.
    #[doc(alias = "uv_timer_start")]
    pub fn start(
        &self,
        timeout: Duration,
        repeat: Duration,
        callback: impl FnMut(&Timer) + 'static,
    ) -> Result<()> {
        let handle = &self.inner.handle;
        handle.check_open()?;
        self.inner.repeat.set(nanos(repeat));
        self.inner.started.set(true);
        self.inner.callback.set(Box::new(callback));
        self.wait(timeout);
        Ok(())
    }

    fn wait(&self, timeout: Duration) {
        self.inner.handle.set_timeout(timeout);
        self.inner.handle.set_active(true);
    }

    /// Stops the timer, and keeps its callback for [`again`](Self::again).
    ///
    /// # Errors
    ///
    /// `EBADF` when the timer is closed or its loop was dropped.
    #[doc(alias = "uv_timer_stop")]
    pub fn stop(&self) -> Result<()> {
        let handle = &self.inner.handle;
        handle.check_open()?;
        handle.clear_deadline();
        handle.set_active(false);
        Ok(())
    }

    /// Restarts a repeating timer with its repeat value as the timeout, which counts from this
    /// call. Has no effect on a timer that does not repeat.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the timer was never started; `EBADF` when it is closed or its loop was
    /// dropped.
    #[doc(alias = "uv_timer_again")]
    pub fn again(&self) -> Result<()> {
        self.inner.handle.check_open()?;
        match (self.inner.started.get(), self.inner.repeat.get()) {
            (false, _) => Err(Errno::EINVAL),
            (true, 0) => Ok(()),
            (true, repeat) => {
                self.wait(Duration::from_nanos(repeat));
                Ok(())
            }
        }
    }

    /// The repeat value; zero for a timer that fires once.
    #[doc(alias = "uv_timer_get_repeat")]
    #[must_use]
    pub fn repeat(&self) -> Duration {
        Duration::from_nanos(self.inner.repeat.get())
    }

    /// Sets the repeat value, in effect from the next callback on.
    #[doc(alias = "uv_timer_set_repeat")]
    pub fn set_repeat(&self, repeat: Duration) {
        self.inner.repeat.set(nanos(repeat));
    }

    /// The time from this call until the timer is due; zero when it is due or not active.
    #[doc(alias = "uv_timer_get_due_in")]
    #[must_use]
    pub fn due_in(&self) -> Duration {
        let due = self.inner.handle.deadline().unwrap_or(0);
        Duration::from_nanos(due.saturating_sub(clock::now()))
    }
}

impl Source for Inner {
    fn handle(&self) -> &Handle {
        &self.handle
    }

    fn on_phase(self: Rc<Self>, phase: Phase) {
        let timer = Timer { inner: self };
        let inner = &timer.inner;
        match phase {
            Phase::Deadline => {
                if timer.repeat().is_zero() || timer.again().is_err() {
                    inner.handle.set_active(false);
                }
                inner.callback.call(|callback| callback(&timer));
            }
            Phase::Closing => {
                inner.callback.clear();
                let callback = inner.close_callback.take();
                if let Some(callback) = callback {
                    callback(&timer);
                }
            }
            Phase::LoopDropped => {
                inner.callback.clear();
                drop(inner.close_callback.take());
            }
            Phase::Completions
            | Phase::Hook
            | Phase::Flush
            | Phase::Dispatch
            | Phase::AfterPoll => {}
        }
    }
}

simple_handle!(Timer);
