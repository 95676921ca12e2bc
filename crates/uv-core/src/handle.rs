//! The life of a handle on its loop: active or not, referenced or not, open, closing or closed.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bitflags::bitflags;
use uv_sys::{Errno, Interest, Result};

use crate::clock;
use crate::core::Core;
use crate::event_loop::Loop;
use crate::hook_list::HookPhase;
use crate::iteration::MAX_UNPOLLED_ITERATIONS;
use crate::poll_source::{PollSource, Polled};
use crate::source::{Phase, Source};

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
        const REVISIT = 1 << 7;
    }
}

/// Names a handle of one loop from anywhere, also from other threads; see [`Handle::id`], [`Loop::source`] and
/// [`Loop::handle`].
///
/// ```
/// use std::rc::{Rc, Weak};
/// use uv_core::{Handle, Loop, Phase, RunMode, Source};
///
/// struct Door(Handle);
///
/// impl Source for Door {
///     fn handle(&self) -> &Handle {
///         &self.0
///     }
///     fn on_phase(self: Rc<Self>, _: Phase) {}
/// }
///
/// let event_loop = Loop::new()?;
/// let door = Rc::new_cyclic(|this: &Weak<Door>| Door(Handle::new(&event_loop, this.clone())));
/// let (proxy, id) = (event_loop.proxy(), door.0.id()?);
/// let thread = std::thread::spawn(move || {
///     // `None` if the door is closed or dropped by the time.
///     proxy.post(move |event_loop| {
///         if let Some(door) = event_loop.source::<Door>(id) {
///             // One that is closing is found, too, and answers `EBADF`.
///             let _ = door.0.close();
///         }
///     })
/// });
/// thread.join().unwrap()?;
/// event_loop.run(RunMode::Default)?;
/// assert!(door.0.is_closing());
/// # Ok::<(), uv_core::Errno>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HandleId {
    pub(crate) key: usize,
    pub(crate) generation: u64,
}

/// The part of a handle that the loop knows, embedded in every [`Source`].
///
/// A handle is *active* while it waits for something (a started timer, a receiving socket, an accepted send). The loop
/// keeps active handles alive, and runs while there is one that is also *referenced*, which all are at first. An inactive
/// handle lives as long as somebody holds it. All methods are for the loop's own thread; none of them calls back. See
/// [`Source`] for an example.
pub struct Handle {
    core: Weak<Core>,
    this: Weak<dyn Source>,
    /// The handle's slot in the loop, from its first need of one.
    id: Cell<Option<HandleId>>,
    flags: Cell<Flags>,
    hook: Cell<Option<HookPhase>>,
    /// What is registered and still exists.
    polled: RefCell<Vec<Weak<Polled>>>,
}

impl Handle {
    /// The handle part of `this`, which is being made with [`Rc::new_cyclic`].
    pub fn new(event_loop: &Loop, this: Weak<dyn Source>) -> Self {
        Self {
            core: event_loop.downgrade(),
            this,
            id: Cell::new(None),
            flags: Cell::new(Flags::empty()),
            hook: Cell::new(None),
            polled: RefCell::default(),
        }
    }

    /// The loop, or `None` when it is gone.
    pub fn event_loop(&self) -> Option<Loop> {
        self.core.upgrade().map(Loop::from_core)
    }

    /// A name for this handle that threads may carry, good until the handle is dropped, or closed and its
    /// [`Phase::Closing`] turn over: it names a closing handle, too.
    ///
    /// # Errors
    ///
    /// `EBADF` when the handle is closed, with that turn over, or its loop is gone.
    pub fn id(&self) -> Result<HandleId> {
        let core = self.core()?;
        Ok(self.slot(&core))
    }

    #[inline]
    fn core(&self) -> Result<Rc<Core>> {
        if self.flags().contains(Flags::CLOSED) {
            return Err(Errno::EBADF);
        }
        self.core.upgrade().ok_or(Errno::EBADF)
    }

    fn slot(&self, core: &Core) -> HandleId {
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

    #[inline]
    fn with(&self, flag: Flags, on: bool) -> bool {
        let mut flags = self.flags();
        let was = flags.contains(flag);
        flags.set(flag, on);
        self.flags.set(flags);
        was
    }

    /// Whether the handle waits for something.
    #[doc(alias = "uv_is_active")]
    #[inline]
    pub fn is_active(&self) -> bool {
        self.flags().contains(Flags::ACTIVE)
    }

    /// Says that the handle waits for something, or no longer does. Nothing happens on a closing handle, and none on one
    /// that is being made or dropped: the loop could not hold it.
    #[inline]
    pub fn set_active(&self, active: bool) {
        if self.is_active() != active {
            self.turn_active(active);
        }
    }

    fn turn_active(&self, active: bool) {
        if self.is_closing() {
            return;
        }
        let (Ok(core), Some(this)) = (self.core(), self.this.upgrade()) else {
            return;
        };
        self.with(Flags::ACTIVE, active);
        if self.has_ref() {
            core.count_live(active);
        }
        core.hold(self.slot(&core), active.then_some(this));
    }

    /// Whether the handle keeps the loop running while it is active.
    #[doc(alias = "uv_has_ref")]
    #[inline]
    pub fn has_ref(&self) -> bool {
        !self.flags().contains(Flags::UNREFERENCED)
    }

    /// Lets the handle keep the loop running while it is active, or not.
    #[doc(alias = "uv_ref")]
    #[doc(alias = "uv_unref")]
    pub fn set_ref(&self, referenced: bool) {
        if self.has_ref() == referenced {
            return;
        }
        self.with(Flags::UNREFERENCED, !referenced);
        if let (true, false, Ok(core)) = (self.is_active(), self.is_closing(), self.core()) {
            core.count_live(referenced);
        }
    }

    /// Whether [`close`](Self::close) was called, or the loop is gone.
    #[doc(alias = "uv_is_closing")]
    #[inline]
    pub fn is_closing(&self) -> bool {
        self.flags().intersects(Flags::CLOSING | Flags::CLOSED) || self.core.strong_count() == 0
    }

    /// Whether the handle can still be used.
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

    /// Closes the handle: it gets its [`Phase::Closing`] turn at the end of an iteration, and nothing else from now on. The
    /// loop keeps it alive until then, and polls its descriptors no longer.
    ///
    /// Anybody who walks over the loop's handles can do that ([`AnyHandle::close`](crate::AnyHandle::close)), past the type's
    /// own `close`. So a handle type completes its requests in the turn, whatever its own `close` did before.
    ///
    /// # Errors
    ///
    /// `EBADF` when it is closing already, or its loop is gone.
    #[doc(alias = "uv_close")]
    pub fn close(&self) -> Result<()> {
        self.check_open()?;
        let core = self.core()?;
        let this = self.this.upgrade().ok_or(Errno::EBADF)?;
        // With a slot the loop finds the handle if it goes before the turn.
        self.slot(&core);
        self.clear_deadline();
        self.clear_hook();
        self.set_active(false);
        self.silence();
        self.with(Flags::CLOSING, true);
        core.close(this);
        Ok(())
    }

    pub(crate) fn closed(&self) {
        self.with(Flags::CLOSED, true);
        self.release();
    }

    /// The loop is gone.
    pub(crate) fn abandon(&self) {
        self.with(Flags::ACTIVE, false);
        self.with(Flags::CLOSED, true);
    }

    fn release(&self) {
        self.silence();
        if let (Some(id), Some(core)) = (self.id.take(), self.core.upgrade()) {
            core.remove(id);
        }
    }

    /// Ends the reports for good, also of descriptors that somebody keeps open: nobody would take care of them, so that they
    /// would keep the loop from waiting, and they would go to whoever gets the slot next.
    fn silence(&self) {
        for polled in self.polled.take() {
            if let Some(polled) = polled.upgrade() {
                polled.silence();
            }
        }
    }

    /// Has the poller told of all that the handle's descriptors are to be watched for.
    pub(crate) fn reconsider_interests(&self, core: &Core) {
        let polled = self.polled.borrow();
        for polled in polled.iter().filter_map(Weak::upgrade) {
            polled.reconsider(core);
        }
    }

    /// Asks for a turn in the `Completions`, `Flush`, `Dispatch` or `Revisit` phase; asking twice before the turn is asking
    /// once. Other phases cannot be asked for, and closing handles get no such turns. To ask neither keeps the handle alive
    /// nor makes it active.
    #[inline]
    pub fn schedule(&self, phase: Phase) {
        let Some(flag) = flag(phase) else { return };
        if !self.flags().intersects(flag | Flags::CLOSING) {
            self.schedule_anew(phase, flag);
        }
    }

    fn schedule_anew(&self, phase: Phase, flag: Flags) {
        if let Ok(core) = self.core() {
            self.with(flag, true);
            core.schedule(phase, self.this.clone());
        }
    }

    /// Ends the `Flush` phase of this iteration: handles that still wait for their turn in it have it in the next one, before
    /// those that ask later. For a handle that shares with others what may be done in one iteration.
    pub fn end_flush(&self) {
        if let Ok(core) = self.core() {
            core.flush_over.set(true);
        }
    }

    /// Lets the loop ask its poller when it next could, though it has work that it can see without asking: in this iteration, if
    /// that has not come to it yet.
    pub fn ask_poller(&self) {
        if let Ok(core) = self.core() {
            core.unpolled.set(MAX_UNPOLLED_ITERATIONS);
        }
    }

    /// The number of the iteration that the loop is in or was in last, from 1 on; 0 without a loop.
    pub fn iteration(&self) -> u64 {
        self.core().map_or(0, |core| core.iteration.get())
    }

    /// Whether a turn in this phase was asked for and has not come yet.
    #[inline]
    pub fn is_scheduled(&self, phase: Phase) -> bool {
        flag(phase).is_some_and(|flag| self.flags().contains(flag))
    }

    /// The turn begins: the next [`schedule`](Self::schedule) asks for another one. `false` when it is not due any more.
    pub(crate) fn begin_turn(&self, phase: Phase) -> bool {
        flag(phase).is_some_and(|flag| self.with(flag, false)) && !self.is_closing()
    }

    /// Asks for a [`Phase::Deadline`] turn when `timeout` has passed since this call, in the place of the one asked for
    /// before: never earlier. The system's clock is read in the call, because the [loop's](Loop::now) may be as old as the
    /// iteration. Otherwise as [`set_deadline`](Self::set_deadline).
    pub fn set_timeout(&self, timeout: Duration) {
        self.set_deadline(clock::now().saturating_add(clock::nanos(timeout)));
    }

    /// Asks for a [`Phase::Deadline`] turn when the loop's clock reaches `due` nanoseconds, in the place of the one asked
    /// for before. Among deadlines due at the same time, the one set first comes first. It alone does not make the handle
    /// active.
    ///
    /// For moments that are known: [`Loop::now`] plus a duration may be over, as that clock stands still in an iteration. For
    /// durations there is [`set_timeout`](Self::set_timeout).
    pub fn set_deadline(&self, due: u64) {
        if let (false, Ok(core)) = (self.is_closing(), self.core()) {
            core.set_deadline(self.slot(&core), due);
        }
    }

    /// Takes back what [`set_deadline`](Self::set_deadline) asked for.
    pub fn clear_deadline(&self) {
        if let (Some(id), Ok(core)) = (self.id.get(), self.core()) {
            core.clear_deadline(id);
        }
    }

    /// When the deadline is due, in nanoseconds on the loop's clock.
    pub fn deadline(&self) -> Option<u64> {
        self.core().ok()?.deadline(self.id.get()?)
    }

    /// Asks for a [`Phase::Hook`] turn in every iteration, in the given place, until [`clear_hook`](Self::clear_hook). A
    /// handle has one such turn at most: another place takes the place of the one before. The loop keeps the handle alive.
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

    /// Ends the turns asked for with [`set_hook`](Self::set_hook).
    pub fn clear_hook(&self) {
        if let (Some(place), Ok(core)) = (self.hook.take(), self.core()) {
            core.hooks(place).remove(&self.this);
        }
    }

    /// Gives a descriptor to the loop's poller, which keeps it until the answer is dropped. At first it waits for nothing
    /// and costs nothing. Read and write through the answer, which is [`AsFd`](std::os::fd::AsFd): a copy of the descriptor
    /// would be a second one for each handle.
    ///
    /// # Errors
    ///
    /// With the descriptor, untouched: `EBADF` when the handle is closing or its loop is gone; those of
    /// [`Poller::register`](uv_sys::Poller::register) otherwise.
    pub fn register(&self, fd: OwnedFd) -> std::result::Result<PollSource, (Errno, OwnedFd)> {
        let core = match self.check_open().and_then(|()| self.core()) {
            Ok(core) => core,
            Err(errno) => return Err((errno, fd)),
        };
        let id = self.slot(&core);
        let registration = core.poller.register(fd, id.key, Interest::NONE)?;
        let polled = Polled::new(registration, self.core.clone());
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
        Phase::Speculative => Some(Flags::REVISIT),
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
