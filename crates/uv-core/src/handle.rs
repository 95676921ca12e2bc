//! The life of a handle on its loop: active or not, referenced or not, open, closing or closed.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bitflags::bitflags;
use uv_sys::{Errno, Interest, Result};

use crate::clock;
use crate::core::{Core, HandleId};
use crate::interest::{Changes, Polled};
use crate::phase::{HookPhase, Phase};
use crate::poll_source::PollSource;

bitflags! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Flags: u8 {
        const ACTIVE = 1;
        const UNREFERENCED = 1 << 1;
        const CLOSING = 1 << 2;
        const CLOSED = 1 << 3;
        const COMPLETIONS = 1 << 4;
        const FLUSH = 1 << 5;
        const DISPATCH = 1 << 6;
        const AFTER_POLL = 1 << 7;
    }
}

/// The type of a handle, as its loop runs it.
///
/// A handle type embeds a [`Handle`] and is made with [`Rc::new_cyclic`];
/// [`on_phase`](Self::on_phase) and [`on_ready`](Self::on_ready) do its work. A panic in one of
/// them leaves the loop usable: sources that the loop had not reached stay scheduled. A
/// [`Phase::Closing`] that panicked is repeated, so the source must be able to continue it.
///
/// ```
/// use std::cell::Cell;
/// use std::rc::{Rc, Weak};
/// use uv_core::{Handle, Loop, Phase, RunMode, Source};
///
/// /// Counts down by one in each iteration.
/// struct Countdown {
///     handle: Handle,
///     left: Cell<u32>,
/// }
///
/// impl Source for Countdown {
///     fn handle(&self) -> &Handle {
///         &self.handle
///     }
///
///     fn on_phase(self: Rc<Self>, phase: Phase) {
///         if phase == Phase::Dispatch {
///             self.left.set(self.left.get() - 1);
///             if self.left.get() > 0 {
///                 self.handle.schedule(Phase::Dispatch);
///             } else {
///                 self.handle.set_active(false);
///             }
///         }
///     }
/// }
///
/// let event_loop = Loop::new()?;
/// let countdown = Rc::new_cyclic(|this: &Weak<Countdown>| Countdown {
///     handle: Handle::new(&event_loop, this.clone()),
///     left: Cell::new(10),
/// });
/// countdown.handle.set_active(true);
/// countdown.handle.schedule(Phase::Dispatch);
/// assert!(!event_loop.run(RunMode::Default)?);
/// assert_eq!(countdown.left.get(), 0);
/// # Ok::<(), uv_core::Errno>(())
/// ```
pub trait Source: Any {
    /// The embedded handle.
    fn handle(&self) -> &Handle;

    /// Called when a descriptor registered with [`Handle::register`] is ready for `readiness`. A
    /// handle with several descriptors tries each of them.
    ///
    /// Reports are level-triggered: every poll repeats them while the descriptor is ready, and the
    /// loop does not wait. An error or a hang-up is reported as both readable and writable,
    /// whatever the interest is. A report may be out of date.
    fn on_ready(self: Rc<Self>, readiness: Interest) {
        let _ = readiness;
    }

    /// Called when the poller refuses to watch a descriptor of this handle, after the dispatch of
    /// an iteration.
    ///
    /// `ENOMEM`, or `ENOSPC` at the system's limit of watches (`fs.epoll.max_user_watches`): the
    /// poller has refused for a quarter of a second, and the loop continues to try. Any other
    /// error: the loop has given up, and the interest is the one before the change. Until the watch
    /// begins, [`on_ready`](Self::on_ready) is not called for it. A handle type that registers
    /// descriptors reports the error to its user.
    fn interest_refused(self: Rc<Self>, error: Errno) {
        let _ = error;
    }

    /// Called in a phase that the handle requested, when it is closed, and when its loop is
    /// dropped.
    fn on_phase(self: Rc<Self>, phase: Phase);
}

/// The part of a handle that its loop manages, embedded in every [`Source`].
///
/// A handle is *active* while it waits for something: a started timer, a receiving socket, an
/// accepted send. The loop keeps active handles alive, and runs while one of them is also
/// *referenced*, as all are at first. An inactive handle lives as long as a reference to it is
/// held. All methods are for the loop's own thread, and none of them calls back. Once the loop was
/// dropped, they behave as on a closed handle.
pub struct Handle {
    core: Weak<Core<dyn Source>>,
    this: Weak<dyn Source>,
    /// The handle's slot in the loop, made at first use.
    id: Cell<Option<HandleId>>,
    flags: Cell<Flags>,
    hook: Cell<Option<HookPhase>>,
    polled: RefCell<Vec<Weak<Polled>>>,
}

impl Handle {
    pub(crate) fn with_core(core: Weak<Core<dyn Source>>, this: Weak<dyn Source>) -> Self {
        Self {
            core,
            this,
            id: Cell::new(None),
            flags: Cell::new(Flags::empty()),
            hook: Cell::new(None),
            polled: RefCell::default(),
        }
    }

    #[inline]
    pub(crate) fn upgrade_core(&self) -> Option<Rc<Core<dyn Source>>> {
        self.core.upgrade()
    }

    /// Returns a name for this handle that other threads may hold. It is valid until the handle is
    /// dropped, or until its [`Phase::Closing`] is over.
    ///
    /// # Errors
    ///
    /// `EBADF` when the handle's closing phase is over, or its loop was dropped.
    pub fn id(&self) -> Result<HandleId> {
        let core = self.core()?;
        Ok(self.slot(&core))
    }

    #[inline]
    fn core(&self) -> Result<Rc<Core<dyn Source>>> {
        if self.flags().contains(Flags::CLOSED) {
            return Err(Errno::EBADF);
        }
        self.core.upgrade().ok_or(Errno::EBADF)
    }

    fn slot(&self, core: &Core<dyn Source>) -> HandleId {
        self.id.get().unwrap_or_else(|| {
            let id = core.insert(&self.this);
            self.id.set(Some(id));
            id
        })
    }

    #[inline]
    fn flags(&self) -> Flags {
        self.flags.get()
    }

    /// Sets or clears a flag, and returns whether it was set.
    #[inline]
    fn replace_flag(&self, flag: Flags, on: bool) -> bool {
        let mut flags = self.flags();
        let was = flags.contains(flag);
        flags.set(flag, on);
        self.flags.set(flags);
        was
    }

    /// Whether the handle waits for something.
    #[doc(alias = "uv_is_active")]
    #[must_use]
    #[inline]
    pub fn is_active(&self) -> bool {
        self.flags().contains(Flags::ACTIVE)
    }

    /// Marks the handle as waiting for something, or as inactive. Has no effect on a handle that is
    /// closing, being made or being dropped, which the loop could not keep alive.
    #[inline]
    pub fn set_active(&self, active: bool) {
        if self.is_active() != active {
            self.change_active(active);
        }
    }

    fn change_active(&self, active: bool) {
        if self.is_closing() {
            return;
        }
        let (Ok(core), Some(this)) = (self.core(), self.this.upgrade()) else {
            return;
        };
        self.replace_flag(Flags::ACTIVE, active);
        if self.has_ref() {
            core.count_live(active);
        }
        core.hold(self.slot(&core), active.then_some(this));
    }

    /// Whether the handle keeps the loop running while it is active.
    #[doc(alias = "uv_has_ref")]
    #[must_use]
    #[inline]
    pub fn has_ref(&self) -> bool {
        !self.flags().contains(Flags::UNREFERENCED)
    }

    /// Sets whether the handle keeps the loop running while it is active.
    #[doc(alias = "uv_ref")]
    #[doc(alias = "uv_unref")]
    pub fn set_ref(&self, referenced: bool) {
        if self.has_ref() == referenced {
            return;
        }
        self.replace_flag(Flags::UNREFERENCED, !referenced);
        if let (true, false, Ok(core)) = (self.is_active(), self.is_closing(), self.core()) {
            core.count_live(referenced);
        }
    }

    /// Whether [`close`](Self::close) was called, or the loop was dropped.
    #[doc(alias = "uv_is_closing")]
    #[must_use]
    #[inline]
    pub fn is_closing(&self) -> bool {
        self.flags().intersects(Flags::CLOSING | Flags::CLOSED) || self.core.strong_count() == 0
    }

    /// Returns an error unless the handle is open.
    ///
    /// # Errors
    ///
    /// `EBADF` when it [is closing](Self::is_closing).
    #[inline]
    pub fn check_open(&self) -> Result<()> {
        if self.is_closing() {
            Err(Errno::EBADF)
        } else {
            Ok(())
        }
    }

    /// Closes the handle. [`Phase::Closing`] runs at the end of an iteration, and no other phase
    /// from now on. The loop keeps the handle alive until then, and no longer polls its
    /// descriptors.
    ///
    /// Any walk over the loop's handles can close one
    /// ([`AnyHandle::close`](crate::AnyHandle::close)), without the `close` method of its type. So
    /// a handle type completes its requests in that phase.
    ///
    /// # Errors
    ///
    /// `EBADF` when it is closing already, or its loop was dropped.
    #[doc(alias = "uv_close")]
    pub fn close(&self) -> Result<()> {
        self.check_open()?;
        let core = self.core()?;
        let this = self.this.upgrade().ok_or(Errno::EBADF)?;
        // The slot lets the loop find the handle if the loop is dropped before the closing phase.
        self.slot(&core);
        self.clear_deadline();
        self.clear_hook();
        self.set_active(false);
        self.close_polled();
        self.replace_flag(Flags::CLOSING, true);
        core.close(this);
        Ok(())
    }

    pub(crate) fn end_closing(&self) {
        self.replace_flag(Flags::CLOSED, true);
        self.release();
    }

    /// The loop was dropped.
    pub(crate) fn detach(&self) {
        self.replace_flag(Flags::ACTIVE, false);
        self.replace_flag(Flags::CLOSED, true);
    }

    fn release(&self) {
        self.close_polled();
        if let (Some(id), Some(core)) = (self.id.take(), self.core.upgrade()) {
            core.remove(id);
        }
    }

    /// Ends all reports, also of descriptors whose [`PollSource`] is held. Such reports would keep
    /// the loop from waiting, and reach the next handle with this slot.
    fn close_polled(&self) {
        for polled in self.polled.take() {
            if let Some(polled) = polled.upgrade() {
                polled.close();
            }
        }
    }

    pub(crate) fn reapply_interests(&self, changes: &Changes) {
        let polled = self.polled.borrow();
        for polled in polled.iter().filter_map(Weak::upgrade) {
            polled.reapply(changes);
        }
    }

    /// Schedules the handle once for [`Completions`](Phase::Completions), [`Flush`](Phase::Flush),
    /// [`Dispatch`](Phase::Dispatch) or [`AfterPoll`](Phase::AfterPoll). Has no effect with other
    /// phases, on a handle that is scheduled for the phase already, or on one that is closing. A
    /// schedule neither keeps the handle alive nor makes it active.
    #[inline]
    pub fn schedule(&self, phase: Phase) {
        let Some(flag) = flag(phase) else { return };
        if !self.flags().intersects(flag | Flags::CLOSING) {
            self.schedule_flag(phase, flag);
        }
    }

    fn schedule_flag(&self, phase: Phase, flag: Flags) {
        if let Ok(core) = self.core() {
            self.replace_flag(flag, true);
            core.schedule(phase, self.this.clone());
        }
    }

    /// Whether the handle is scheduled for `phase`.
    #[must_use]
    #[inline]
    pub fn is_scheduled(&self, phase: Phase) -> bool {
        flag(phase).is_some_and(|flag| self.flags().contains(flag))
    }

    /// Clears the schedule for `phase`, and returns whether the handle is to run in it.
    #[inline]
    pub(crate) fn begin_phase(&self, phase: Phase) -> bool {
        flag(phase).is_some_and(|flag| self.replace_flag(flag, false)) && !self.is_closing()
    }

    /// Schedules [`Phase::Deadline`] for when `timeout` has passed since this call, never earlier,
    /// and replaces the deadline before. The call reads the system's clock, because the
    /// [loop's](crate::Loop::now) may be as old as the iteration. Otherwise as
    /// [`set_deadline`](Self::set_deadline).
    pub fn set_timeout(&self, timeout: Duration) {
        self.set_deadline(clock::now().saturating_add(clock::nanos(timeout)));
    }

    /// Schedules [`Phase::Deadline`] for when the loop's clock reaches `due` nanoseconds, and
    /// replaces the deadline before. Among deadlines due at the same time, the one set first runs
    /// first. A deadline does not make the handle active.
    ///
    /// A duration belongs in [`set_timeout`](Self::set_timeout): [`Loop::now`](crate::Loop::now)
    /// stands still in an iteration, so the sum of both may have passed already.
    pub fn set_deadline(&self, due: u64) {
        if let (false, Ok(core)) = (self.is_closing(), self.core()) {
            core.set_deadline(self.slot(&core), due);
        }
    }

    /// Clears the deadline.
    pub fn clear_deadline(&self) {
        if let (Some(id), Ok(core)) = (self.id.get(), self.core()) {
            core.clear_deadline(id);
        }
    }

    /// When the deadline is due, in nanoseconds on the loop's clock.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        self.core().ok()?.deadline(self.id.get()?)
    }

    /// Schedules [`Phase::Hook`] in every iteration, at the given place, until
    /// [`clear_hook`](Self::clear_hook). A handle has at most one hook, and a new place replaces
    /// the one before. The loop keeps a handle with a hook alive.
    pub fn set_hook(&self, place: HookPhase) {
        if self.hook.get() == Some(place) || self.is_closing() {
            return;
        }
        if let (Ok(core), Some(this)) = (self.core(), self.this.upgrade()) {
            self.clear_hook();
            self.slot(&core);
            self.hook.set(Some(place));
            core.hooks(place).add(this);
        }
    }

    /// Removes the hook.
    pub fn clear_hook(&self) {
        if let (Some(place), Ok(core)) = (self.hook.take(), self.core()) {
            core.hooks(place).remove(&self.this);
        }
    }

    /// Registers a descriptor with the loop's poller, which owns it until the [`PollSource`] is
    /// dropped. Its interest is [`Interest::NONE`] at first. Read and write through the
    /// `PollSource`, which is [`AsFd`](std::os::fd::AsFd); a duplicate would cost each handle a
    /// second descriptor.
    ///
    /// # Errors
    ///
    /// Every error returns the descriptor, unchanged. `EBADF` when the handle is closing or its
    /// loop was dropped; those of [`Poller::register`](uv_sys::Poller::register) otherwise.
    pub fn register(&self, fd: OwnedFd) -> std::result::Result<PollSource, (Errno, OwnedFd)> {
        let core = match self.check_open().and_then(|()| self.core()) {
            Ok(core) => core,
            Err(errno) => return Err((errno, fd)),
        };
        let id = self.slot(&core);
        let registration = core.poller.register(fd, id.key, Interest::NONE)?;
        let polled = Polled::new(registration, &core.changes);
        let mut known = self.polled.borrow_mut();
        known.retain(|polled| polled.strong_count() > 0);
        known.push(Rc::downgrade(&polled));
        Ok(PollSource::new(polled))
    }
}

#[inline]
fn flag(phase: Phase) -> Option<Flags> {
    match phase {
        Phase::Completions => Some(Flags::COMPLETIONS),
        Phase::Flush => Some(Flags::FLUSH),
        Phase::Dispatch => Some(Flags::DISPATCH),
        Phase::AfterPoll => Some(Flags::AFTER_POLL),
        _ => None,
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.release();
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("id", &self.id.get())
            .field("flags", &self.flags())
            .finish_non_exhaustive()
    }
}
