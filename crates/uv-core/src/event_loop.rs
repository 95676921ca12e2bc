//! The loop as its users see it.

use std::any::{Any, TypeId};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use uv_sys::{Errno, Interest, Result};

use crate::any_handle::AnyHandle;
use crate::core::{Core, HandleId};
use crate::handle::{Handle, Source};
use crate::interest::Changes;
use crate::iteration::{MAX_UNPOLLED_ITERATIONS, RunMode};
use crate::phase::Phase;
use crate::posts::Shared;
use crate::runnable::Runnable;

/// A single-threaded event loop.
///
/// A clone is another reference to the same loop. Handles refer to it weakly. When the last clone
/// is dropped, the loop closes its open handles and drops their callbacks without calling them;
/// later calls on them return `EBADF`.
///
/// A callback that captures a clone of its loop makes a reference cycle: neither is dropped.
/// Callbacks get their handle as an argument, which returns its loop.
///
/// ```
/// use std::time::Duration;
/// use uv_core::{Loop, RunMode, Timer};
///
/// let event_loop = Loop::new()?;
/// let timer = Timer::new(&event_loop);
/// timer.start(Duration::ZERO, Duration::from_millis(1), |timer| {
///     if let Some(event_loop) = timer.event_loop() {
///         event_loop.stop();
///     }
/// })?;
/// assert!(event_loop.run(RunMode::Default)?, "the timer is still active");
/// drop(event_loop);
/// assert!(timer.is_closing());
/// # Ok::<(), uv_core::Errno>(())
/// ```
#[derive(Clone)]
#[doc(alias = "uv_loop_t")]
pub struct Loop {
    core: Rc<Core<dyn Source>>,
}

impl Loop {
    /// Makes a loop with a poller of its own.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE` or `ENOMEM` when the kernel refuses a poller.
    #[doc(alias = "uv_loop_init")]
    pub fn new() -> Result<Self> {
        Ok(Self {
            core: Rc::new(Core::new()?),
        })
    }

    pub(crate) fn shared(&self) -> Arc<Shared<Self>> {
        Arc::clone(&self.core.shared)
    }

    /// Runs iterations as `mode` says, and returns whether something still keeps the loop
    /// [alive](Self::alive).
    ///
    /// A panic in a callback reaches the caller. The loop can be run again, and continues with the
    /// next callback; hooks that the iteration had not reached run in the next one.
    ///
    /// # Errors
    ///
    /// `EDEADLK` inside a callback of this loop; `ESTALE` in a forked child, see
    /// [`reinit_after_fork`](Self::reinit_after_fork); otherwise errors of epoll_wait(2), of which
    /// a working system has none.
    #[doc(alias = "uv_run")]
    pub fn run(&self, mode: RunMode) -> Result<bool> {
        let core = &self.core;
        core.check_process()?;
        if core.running.replace(true) {
            return Err(Errno::EDEADLK);
        }
        let _running = RunGuard(core);
        core.shared.wake_up();
        while !core.stopping.get() && (mode != RunMode::Default || core.alive()) {
            core.iterate(self, mode)?;
            if mode != RunMode::Default {
                break;
            }
        }
        Ok(core.alive())
    }

    /// Makes [`run`](Self::run) return after the current iteration. Outside of `run`, the next one
    /// returns at once.
    #[doc(alias = "uv_stop")]
    pub fn stop(&self) {
        self.core.stopping.set(true);
    }

    /// Whether something keeps the loop running: an active and referenced handle, a handle that is
    /// closing, a post that has not run, or a [`KeepAlive`](crate::KeepAlive).
    #[doc(alias = "uv_loop_alive")]
    #[must_use]
    pub fn alive(&self) -> bool {
        self.core.alive()
    }

    /// The loop's clock in nanoseconds: monotonic, from an arbitrary start. Inside
    /// [`run`](Self::run) it is read once per iteration and after a wait; outside, at every call.
    /// Timers count from the call that starts them, not from this clock.
    #[doc(alias = "uv_now")]
    #[must_use]
    pub fn now(&self) -> u64 {
        self.core.now()
    }

    /// Reads the clock again at its next use, for instance after a long callback.
    #[doc(alias = "uv_update_time")]
    pub fn update_time(&self) {
        self.core.now.set(None);
    }

    /// How many iterations the loop has begun, the current one included.
    #[doc(alias = "uv_metrics_info")]
    #[must_use]
    #[inline]
    pub fn iteration_count(&self) -> u64 {
        self.core.iteration.get()
    }

    /// Makes the loop poll in this iteration if it has not yet, else in the next one, although it
    /// has [other work](crate#one-iteration). For a handle type that knows that other handles'
    /// descriptors are ready.
    #[inline]
    pub fn force_poll(&self) {
        self.core.unpolled.set(MAX_UNPOLLED_ITERATIONS);
    }

    /// Ends the [`Phase::Flush`] of this iteration. Handles that are still scheduled for it keep
    /// their order, and run in the next iteration before those that are scheduled later. For a
    /// handle type whose handles share a limit per iteration.
    #[inline]
    pub fn end_flush(&self) {
        self.core.flush_ended.set(true);
    }

    /// How long another loop may wait for the descriptor of this one ([`AsFd`]) to become readable
    /// before it calls [`run`](Self::run) with [`RunMode::NoWait`]; `None` for no limit.
    ///
    /// Call it before each wait: it prepares the poller, and from then on other threads wake the
    /// loop. An outer loop that ends with this one checks [`alive`](Self::alive) after this call.
    /// The result is exact to the nanosecond; round it up for a coarser wait.
    ///
    /// # Errors
    ///
    /// `ESTALE` in a forked child, see [`reinit_after_fork`](Self::reinit_after_fork).
    ///
    /// ```
    /// use std::time::Duration;
    /// use rustix::event::{PollFd, PollFlags, Timespec, poll};
    /// use uv_core::{Loop, RunMode, Timer};
    ///
    /// let event_loop = Loop::new()?;
    /// Timer::new(&event_loop).start(Duration::from_millis(1), Duration::ZERO, |_| println!("due"))?;
    /// loop {
    ///     let timeout = event_loop.poll_timeout()?;
    ///     if !event_loop.alive() {
    ///         break;
    ///     }
    ///     // The outer loop adds its own descriptors to the list.
    ///     let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    ///     poll(&mut [PollFd::new(&event_loop, PollFlags::IN)], timeout.as_ref()).unwrap();
    ///     event_loop.run(RunMode::NoWait)?;
    /// }
    /// # Ok::<(), uv_core::Errno>(())
    /// ```
    #[doc(alias = "uv_backend_timeout")]
    pub fn poll_timeout(&self) -> Result<Option<Duration>> {
        self.core.check_process()?;
        self.core.changes.apply();
        Ok(self.core.prepare_to_wait())
    }

    /// Whether the loop's descriptor is readable now: whether the next [`run`](Self::run) finds
    /// events without waiting. Due timers and other work are not events;
    /// [`poll_timeout`](Self::poll_timeout) includes those.
    ///
    /// For an outer loop whose reports are edge-triggered: see [Embedding](crate#embedding).
    ///
    /// # Errors
    ///
    /// `ESTALE` in a forked child, see [`reinit_after_fork`](Self::reinit_after_fork); `ENOMEM`.
    pub fn has_events(&self) -> Result<bool> {
        self.core.poller.has_events()
    }

    /// Makes the loop usable in a child process after fork(2): it gets a poller of its own with the
    /// same interests, and another descriptor ([`AsFd`]). Has no effect in the process that made
    /// the loop.
    ///
    /// Before this call the child shares the poller with its parent, and changes nothing in it. The
    /// child may close and drop handles and drop the loop without any effect on the parent.
    /// [`run`](Self::run), [`poll_timeout`](Self::poll_timeout), and calls that begin to watch a
    /// descriptor return `ESTALE`. The loop recognises children that the C library's `fork` made.
    ///
    /// Handles, timers and pending requests then exist in both processes. The sockets are shared:
    /// each datagram goes to the process that reads it first. Other threads do not exist in the
    /// child: a [`KeepAlive`](crate::KeepAlive) that one of them held is never dropped there, and a
    /// thread inside `post` leaves its lock behind. So a process best forks before it starts
    /// threads.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE` or `ENOMEM` when the kernel refuses a poller; the loop is unchanged. A
    /// descriptor that the new poller refuses is reported to its handle
    /// ([`Source::interest_refused`]).
    #[doc(alias = "uv_loop_fork")]
    pub fn reinit_after_fork(&self) -> Result<()> {
        self.core.reinit_after_fork()
    }

    /// Returns the source with this id, if its type is `T`. `None` if it was closed or dropped, or
    /// belongs to another loop. A source that [is closing](Handle::is_closing) is found until its
    /// [`Phase::Closing`] is over.
    ///
    /// For handle types, whose `T` is private: other code cannot call its [`Source`] methods. Other
    /// code uses [`handle`](Self::handle). See [`HandleId`] for an example.
    #[must_use]
    pub fn source<T: Source>(&self, id: HandleId) -> Option<Rc<T>> {
        let source: Rc<dyn Any> = self.core.find(id)?;
        source.downcast().ok()
    }

    /// Returns the handle with this id. `None` if it was closed or dropped, or belongs to another
    /// loop. A handle that is closing is found until its close callback was called.
    #[must_use]
    pub fn handle(&self, id: HandleId) -> Option<AnyHandle> {
        self.core.find(id).map(AnyHandle::new)
    }

    /// Returns the loop's handles in no particular order.
    ///
    /// It omits handles that never were active, never had a deadline, a hook or a descriptor, and
    /// were never asked for their id.
    #[doc(alias = "uv_walk")]
    #[must_use]
    pub fn handles(&self) -> Vec<AnyHandle> {
        let sources = self.core.sources().into_iter();
        sources.map(AnyHandle::new).collect()
    }

    /// Returns the loop's value of type `T`, made at first use and dropped with the loop.
    ///
    /// It holds memory that all handles of a type share, such as the [`Pool`](crate::Pool) of their
    /// queues.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use uv_core::Loop;
    ///
    /// let event_loop = Loop::new()?;
    /// event_loop.local(|| Cell::new(1)).set(2);
    /// assert_eq!(event_loop.local(|| Cell::new(1)).get(), 2);
    /// # Ok::<(), uv_core::Errno>(())
    /// ```
    pub fn local<T: Any>(&self, make: impl FnOnce() -> T) -> Rc<T> {
        let known = self.core.locals.borrow().get(&TypeId::of::<T>()).cloned();
        match known.map(Rc::downcast::<T>) {
            Some(Ok(value)) => value,
            _ => {
                let value = Rc::new(make());
                self.core
                    .locals
                    .borrow_mut()
                    .insert(TypeId::of::<T>(), value.clone());
                value
            }
        }
    }
}

impl AsFd for Loop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.core.poller.as_fd()
    }
}

impl fmt::Debug for Loop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loop")
            .field("alive", &self.alive())
            .field("live", &self.core.live.get())
            .finish_non_exhaustive()
    }
}

/// Marks the loop as running until it is dropped, by a return or by a panic.
struct RunGuard<'a>(&'a Core<dyn Source>);

impl Drop for RunGuard<'_> {
    fn drop(&mut self) {
        self.0.running.set(false);
        self.0.stopping.set(false);
        self.0.now.set(None);
        self.0.shared.wake_up();
    }
}

impl Handle {
    /// Makes the handle part of `this`, inside [`Rc::new_cyclic`].
    #[must_use]
    pub fn new(event_loop: &Loop, this: Weak<dyn Source>) -> Self {
        Self::with_core(Rc::downgrade(&event_loop.core), this)
    }

    /// The loop; `None` when it was dropped.
    #[must_use]
    #[inline]
    pub fn event_loop(&self) -> Option<Loop> {
        self.upgrade_core().map(|core| Loop { core })
    }
}

impl Runnable for dyn Source {
    type Loop = Loop;

    #[inline]
    fn is_closing(&self) -> bool {
        self.handle().is_closing()
    }

    #[inline]
    fn begin_phase(&self, phase: Phase) -> bool {
        self.handle().begin_phase(phase)
    }

    #[inline]
    fn end_closing(&self) {
        self.handle().end_closing();
    }

    #[inline]
    fn detach(&self) {
        self.handle().detach();
    }

    #[inline]
    fn reapply_interests(&self, changes: &Changes) {
        self.handle().reapply_interests(changes);
    }

    #[inline]
    fn on_phase(self: Rc<Self>, phase: Phase) {
        Source::on_phase(self, phase);
    }

    #[inline]
    fn on_ready(self: Rc<Self>, readiness: Interest) {
        Source::on_ready(self, readiness);
    }

    #[inline]
    fn interest_refused(self: Rc<Self>, error: Errno) {
        Source::interest_refused(self, error);
    }
}
