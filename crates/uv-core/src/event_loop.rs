//! The loop as its users see it.

use std::any::{Any, TypeId};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use uv_sys::{Errno, Result};

use crate::any_handle::AnyHandle;
use crate::core::Core;
use crate::handle::HandleId;
use crate::proxy::LoopProxy;
use crate::source::Source;

/// How long [`Loop::run`] runs.
///
/// ```
/// use uv_core::{Loop, Prepare, RunMode};
///
/// let event_loop = Loop::new()?;
/// assert_eq!(event_loop.run(RunMode::Default), Ok(false), "nothing to run for");
/// let prepare = Prepare::new(&event_loop);
/// prepare.start(|_| println!("an iteration"))?;
/// assert_eq!(event_loop.run(RunMode::NoWait), Ok(true), "something is left to run for");
/// # Ok::<(), uv_core::Errno>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "uv_run_mode")]
pub enum RunMode {
    /// Until nothing is left that keeps the loop alive, or [`Loop::stop`].
    #[doc(alias = "UV_RUN_DEFAULT")]
    Default,
    /// One iteration, which waits for something to happen if it found nothing to do and something keeps the loop alive.
    #[doc(alias = "UV_RUN_ONCE")]
    Once,
    /// One iteration that does not wait. As `Once` it is run also when nothing keeps the loop alive.
    #[doc(alias = "UV_RUN_NOWAIT")]
    NoWait,
}

/// A single-threaded event loop.
///
/// A clone is another reference to the same loop. Handles refer to it weakly: when the last clone is dropped, every handle
/// still open is closed, its callbacks are dropped without being called, and later calls on it answer `EBADF`.
///
/// A callback that captures a clone of its loop keeps the loop alive, which may be as long as the loop keeps the callback:
/// for ever. Callbacks get their handle as an argument, which knows its loop.
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
/// assert!(event_loop.run(RunMode::Default)?, "the timer is active still");
/// drop(event_loop);
/// assert!(timer.is_closing());
/// # Ok::<(), uv_core::Errno>(())
/// ```
#[derive(Clone)]
#[doc(alias = "uv_loop_t")]
pub struct Loop {
    core: Rc<Core>,
}

impl Loop {
    /// A new loop with a poller of its own.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE` or `ENOMEM` when the poller cannot be made.
    #[doc(alias = "uv_loop_init")]
    pub fn new() -> Result<Self> {
        Ok(Self {
            core: Rc::new(Core::new()?),
        })
    }

    pub(crate) fn from_core(core: Rc<Core>) -> Self {
        Self { core }
    }

    pub(crate) fn downgrade(&self) -> Weak<Core> {
        Rc::downgrade(&self.core)
    }

    /// Runs callbacks, one iteration after another, and says whether anything is left that keeps the loop alive.
    ///
    /// A panic in a callback reaches the caller; the loop can be run again and has lost nothing but that call (and what a
    /// hook does in every iteration, in this one).
    ///
    /// # Errors
    ///
    /// `EDEADLK` inside a callback of this loop; `ESTALE` in a forked child, see
    /// [`reinit_after_fork`](Self::reinit_after_fork); otherwise what the poller says, which on a working system is nothing.
    #[doc(alias = "uv_run")]
    pub fn run(&self, mode: RunMode) -> Result<bool> {
        let core = &self.core;
        core.check_process()?;
        if core.running.replace(true) {
            return Err(Errno::EDEADLK);
        }
        let _running = Running(core);
        core.shared.wake_up();
        while !core.stopping.get() && (mode != RunMode::Default || core.alive()) {
            core.iterate(self, mode)?;
            if mode != RunMode::Default {
                break;
            }
        }
        Ok(core.alive())
    }

    /// Makes [`run`](Self::run) return after the current iteration, or the next `run` at once.
    #[doc(alias = "uv_stop")]
    pub fn stop(&self) {
        self.core.stopping.set(true);
    }

    /// Whether there is something to run for: an active and referenced handle, a handle that is closing, a post that has
    /// not run, or a [`KeepAlive`](crate::KeepAlive).
    #[doc(alias = "uv_loop_alive")]
    pub fn alive(&self) -> bool {
        self.core.alive()
    }

    /// The loop's clock in nanoseconds: monotonic, from an arbitrary start. Inside [`run`](Self::run) it is read once an
    /// iteration, or after a wait; outside, at every use. Timers do not count from it but from the call that starts them.
    #[doc(alias = "uv_now")]
    pub fn now(&self) -> u64 {
        self.core.now()
    }

    /// Reads the clock anew at its next use, after a callback that took long.
    #[doc(alias = "uv_update_time")]
    pub fn update_time(&self) {
        self.core.now.set(None);
    }

    /// The end of this loop that other threads may hold.
    pub fn proxy(&self) -> LoopProxy {
        LoopProxy::new(Arc::clone(&self.core.shared))
    }

    /// How long another loop may wait for the descriptor of this one ([`AsFd`]) to become readable before it calls
    /// [`run`](Self::run) with [`RunMode::NoWait`]; `None` is for ever.
    ///
    /// Ask before each wait: asking also prepares the poller for being waited on, and lets other threads know that they
    /// must wake the loop. So whoever ends with the loop looks at [`alive`](Self::alive) after asking. The answer is exact
    /// to the nanosecond; round it up for a coarser wait.
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
    ///     // Whatever else the outer loop waits for goes into the list.
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

    /// Whether the loop's descriptor is readable now: whether the next [`run`](Self::run) finds events without waiting for
    /// them. Due timers and work that is left are not events; [`poll_timeout`](Self::poll_timeout) knows of those.
    ///
    /// For an outer loop that reports changes only (edge-triggered): see [Embedding](crate#embedding).
    ///
    /// # Errors
    ///
    /// `ESTALE` in a forked child, see [`reinit_after_fork`](Self::reinit_after_fork); `ENOMEM`.
    pub fn has_events(&self) -> Result<bool> {
        self.core.poller.has_events()
    }

    /// Makes the loop usable in a child process after fork(2): it gets a poller of its own, with another descriptor
    /// ([`AsFd`]), which watches what the parent's watches. In the process that made the loop, nothing happens.
    ///
    /// Before this call the child shares the poller with its parent, and changes nothing there. It may close handles, drop
    /// them, and drop the loop: the parent goes on as if nothing had happened. [`run`](Self::run),
    /// [`poll_timeout`](Self::poll_timeout), and calls that begin to watch a descriptor fail with `ESTALE`. Children are
    /// recognised that were made by the C library's `fork`.
    ///
    /// Handles, timers and requests that are not complete exist in both processes then. The sockets are shared: of what
    /// arrives, each datagram goes to whichever process reads it first. Other threads do not exist in the child: a
    /// [`KeepAlive`](crate::KeepAlive) that one of them held is never dropped there, and a thread that was just posting leaves
    /// its lock behind. So a process forks best before it makes threads.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE` or `ENOMEM` when the poller cannot be made; the loop is then as before. A descriptor that the new
    /// poller does not accept is reported to its handle
    /// ([`Source::interest_refused`](crate::Source::interest_refused)).
    #[doc(alias = "uv_loop_fork")]
    pub fn reinit_after_fork(&self) -> Result<()> {
        self.core.reinit_after_fork()
    }

    /// The source with this name, if it is a `T`, unless it is closed or dropped, or belongs to another loop. One that is
    /// closing is found until its [`Phase::Closing`](crate::Phase::Closing) turn is over;
    /// [`Handle::is_closing`](crate::Handle::is_closing) tells. For handle types, which know their own `T`, whose turns nobody
    /// else then can give; see [`HandleId`]. Others ask for the [`handle`](Self::handle).
    pub fn source<T: Source>(&self, id: HandleId) -> Option<Rc<T>> {
        let source: Rc<dyn Any> = self.find(id)?;
        source.downcast().ok()
    }

    /// The handle with this name, unless it is closed or dropped, or belongs to another loop. One that is closing is found
    /// until its close callback was called.
    pub fn handle(&self, id: HandleId) -> Option<AnyHandle> {
        self.find(id).map(AnyHandle::new)
    }

    fn find(&self, id: HandleId) -> Option<Rc<dyn Source>> {
        let slots = self.core.slots.borrow();
        let slot = slots
            .get(id.key)
            .filter(|slot| slot.generation == id.generation)?;
        slot.source.upgrade()
    }

    /// Every handle with a slot in this loop, in no order: those that are or were active, have or had a deadline, a hook or
    /// a descriptor, were asked for their name, or are closing.
    #[doc(alias = "uv_walk")]
    pub fn handles(&self) -> Vec<AnyHandle> {
        self.core
            .slots
            .borrow()
            .iter()
            .filter_map(|(_, slot)| slot.source.upgrade())
            .map(AnyHandle::new)
            .collect()
    }

    /// The one `T` of this loop, made at first use and dropped with the loop: memory that all handles of a kind share, as
    /// the [`Pool`](crate::Pool) of their queues.
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
struct Running<'a>(&'a Core);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.set(false);
        self.0.stopping.set(false);
        self.0.now.set(None);
        self.0.shared.wake_up();
    }
}
