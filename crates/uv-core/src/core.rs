//! The state of a loop, and what its handles request of it. The module `iteration` runs them.
//!
//! `S` is the type of the loop's sources. This module knows only what the loop needs of it:
//! [`Runnable`].

use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use slab::Slab;
use uv_sys::{Errno, PollEvents, Poller, Result};

use crate::clock;
use crate::deadlines::{Deadline, Deadlines, HasDeadline, Moment};
use crate::hook_list::HookList;
use crate::interest::Changes;
use crate::phase::{HookPhase, Phase};
use crate::posts::{PostBatch, PostBatches, Shared};
use crate::runnable::Runnable;

/// Readiness reports that one poll collects; further ones are left to the next poll.
const EVENTS: usize = 1024;

pub(crate) struct Core<S: Runnable + ?Sized> {
    pub(crate) poller: Poller,
    pub(crate) shared: Arc<Shared<S::Loop>>,
    slots: RefCell<Slab<Slot<S>>>,
    generation: Cell<u64>,
    /// Handles that are active, referenced and not closing.
    pub(crate) live: Cell<usize>,
    deadlines: RefCell<Deadlines>,
    /// Deadlines taken from the heap that have not run yet.
    pub(crate) due: RefCell<VecDeque<(usize, Moment)>>,
    pub(crate) completions: Scheduled<S>,
    pub(crate) flushes: Scheduled<S>,
    pub(crate) dispatches: Scheduled<S>,
    pub(crate) after_poll: Scheduled<S>,
    pub(crate) closing: RefCell<VecDeque<Rc<S>>>,
    hooks: [HookList<S>; 3],
    /// Posts taken over from other threads that have not run yet.
    pub(crate) posts: RefCell<PostBatches<S::Loop>>,
    /// Whether the batch that is running has posts left.
    pub(crate) batch_continues: Cell<bool>,
    /// A batch of posts that has run: its memory serves for the next.
    pub(crate) spare_batch: Cell<Option<Box<dyn PostBatch<S::Loop>>>>,
    /// Interests that the poller does not have yet.
    pub(crate) changes: Rc<Changes>,
    pub(crate) events: RefCell<PollEvents>,
    pub(crate) locals: RefCell<HashMap<TypeId, Rc<dyn Any>>>,
    /// The clock of this iteration, from its first use on.
    pub(crate) now: Cell<Option<u64>>,
    /// Iterations since the last poll; one that flushes counts for several.
    pub(crate) unpolled: Cell<u32>,
    /// Iterations begun.
    pub(crate) iteration: Cell<u64>,
    /// Whether a source ended the flush phase of this iteration.
    pub(crate) flush_ended: Cell<bool>,
    pub(crate) running: Cell<bool>,
    pub(crate) stopping: Cell<bool>,
}

/// Sources scheduled for a phase. The queue does not keep them alive.
pub(crate) type Scheduled<S> = RefCell<VecDeque<Weak<S>>>;

struct Slot<S: ?Sized> {
    source: Weak<S>,
    /// Set while the handle is active.
    held: Option<Rc<S>>,
    generation: u64,
    deadline: Deadline,
}

impl<S: ?Sized> HasDeadline for Slot<S> {
    fn deadline(&mut self) -> &mut Deadline {
        &mut self.deadline
    }
}

/// Names a handle of one loop, also in other threads; see [`Handle::id`](crate::Handle::id),
/// [`Loop::source`](crate::Loop::source) and [`Loop::handle`](crate::Loop::handle).
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
///     proxy.post(move |event_loop| {
///         // `None` if the door was closed or dropped meanwhile.
///         if let Some(door) = event_loop.source::<Door>(id) {
///             // A door that is closing is found, too, and returns `EBADF`.
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
    generation: u64,
}

impl<S: Runnable + ?Sized> Core<S> {
    pub(crate) fn new() -> Result<Self> {
        // Generations of different loops differ, so that no loop finds a handle of another one.
        static LOOPS: AtomicU32 = AtomicU32::new(0);
        let number = LOOPS.fetch_add(1, Ordering::Relaxed);
        let poller = Poller::new()?;
        Ok(Self {
            shared: Arc::new(Shared::new(poller.clone())),
            poller,
            slots: RefCell::default(),
            generation: Cell::new(u64::from(number) << 40),
            live: Cell::new(0),
            deadlines: RefCell::default(),
            due: RefCell::default(),
            completions: RefCell::default(),
            flushes: RefCell::default(),
            dispatches: RefCell::default(),
            after_poll: RefCell::default(),
            closing: RefCell::default(),
            hooks: Default::default(),
            posts: RefCell::default(),
            batch_continues: Cell::new(false),
            spare_batch: Cell::default(),
            changes: Rc::default(),
            events: RefCell::new(PollEvents::with_capacity(EVENTS)),
            locals: RefCell::default(),
            now: Cell::new(None),
            unpolled: Cell::new(0),
            iteration: Cell::new(0),
            flush_ended: Cell::new(false),
            running: Cell::new(false),
            stopping: Cell::new(false),
        })
    }

    /// The clock. It is read once per iteration, and at every use outside of `run`.
    pub(crate) fn now(&self) -> u64 {
        self.now.get().unwrap_or_else(|| {
            let now = clock::now();
            if self.running.get() {
                self.now.set(Some(now));
            }
            now
        })
    }

    /// `ESTALE` in a forked child, whose poller is the parent's.
    #[inline]
    pub(crate) fn check_process(&self) -> Result<()> {
        if self.poller.is_stale() {
            Err(Errno::ESTALE)
        } else {
            Ok(())
        }
    }

    /// Gives a forked child a poller of its own, with the interests of its parent's.
    pub(crate) fn reinit_after_fork(&self) -> Result<()> {
        if !self.poller.is_stale() {
            return Ok(());
        }
        self.poller.renew()?;
        for source in self.sources() {
            source.reapply_interests(&self.changes);
        }
        self.changes.apply();
        Ok(())
    }

    pub(crate) fn hooks(&self, place: HookPhase) -> &HookList<S> {
        let [idle, prepare, check] = &self.hooks;
        match place {
            HookPhase::Idle => idle,
            HookPhase::Prepare => prepare,
            HookPhase::Check => check,
        }
    }

    pub(crate) fn insert(&self, source: &Weak<S>) -> HandleId {
        let generation = self.generation.get().wrapping_add(1);
        self.generation.set(generation);
        let slot = Slot {
            source: source.clone(),
            held: None,
            generation,
            deadline: Deadline::default(),
        };
        HandleId {
            key: self.slots.borrow_mut().insert(slot),
            generation,
        }
    }

    pub(crate) fn remove(&self, id: HandleId) {
        let slot = {
            let mut slots = self.slots.borrow_mut();
            let slot = slots.try_remove(id.key);
            if let Some(slot) = &slot {
                self.deadlines
                    .borrow_mut()
                    .forget(slot.deadline, &mut slots);
            }
            slot
        };
        // Dropped after the borrow: this may drop the last reference to a handle, which calls
        // `remove`.
        drop(slot);
    }

    pub(crate) fn find(&self, id: HandleId) -> Option<Rc<S>> {
        let slots = self.slots.borrow();
        let slot = slots
            .get(id.key)
            .filter(|slot| slot.generation == id.generation)?;
        slot.source.upgrade()
    }

    pub(crate) fn source_at(&self, key: usize) -> Option<Rc<S>> {
        let slots = self.slots.borrow();
        slots.get(key).and_then(|slot| slot.source.upgrade())
    }

    /// All sources with a slot.
    pub(crate) fn sources(&self) -> Vec<Rc<S>> {
        let slots = self.slots.borrow();
        let sources = slots.iter().map(|(_, slot)| slot.source.upgrade());
        sources.flatten().collect()
    }

    /// Keeps `source` alive in its slot; `None` releases it.
    pub(crate) fn hold(&self, id: HandleId, source: Option<Rc<S>>) {
        let released = {
            let mut slots = self.slots.borrow_mut();
            let Some(slot) = slots.get_mut(id.key) else {
                return;
            };
            std::mem::replace(&mut slot.held, source)
        };
        drop(released);
    }

    pub(crate) fn count_live(&self, up: bool) {
        let live = self.live.get();
        self.live
            .set(if up { live + 1 } else { live.saturating_sub(1) });
    }

    #[inline]
    pub(crate) fn schedule(&self, phase: Phase, source: Weak<S>) {
        let queue = match phase {
            Phase::Completions => &self.completions,
            Phase::Flush => &self.flushes,
            Phase::AfterPoll => &self.after_poll,
            _ => &self.dispatches,
        };
        queue.borrow_mut().push_back(source);
    }

    pub(crate) fn close(&self, source: Rc<S>) {
        self.closing.borrow_mut().push_back(source);
    }

    pub(crate) fn set_deadline(&self, id: HandleId, due: u64) {
        self.deadlines
            .borrow_mut()
            .set(&mut self.slots.borrow_mut(), id.key, due);
    }

    pub(crate) fn clear_deadline(&self, id: HandleId) {
        if let Some(slot) = self.slots.borrow_mut().get_mut(id.key) {
            slot.deadline.clear();
        }
    }

    pub(crate) fn deadline(&self, id: HandleId) -> Option<u64> {
        self.slots.borrow().get(id.key)?.deadline.due()
    }

    pub(crate) fn has_deadlines(&self) -> bool {
        !self.due.borrow().is_empty() || !self.deadlines.borrow().is_empty()
    }

    /// When the next deadline is due that is not in `due` yet.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.deadlines
            .borrow_mut()
            .next(&mut self.slots.borrow_mut())
    }

    /// Moves the deadlines that are due by `now` into `due`.
    pub(crate) fn collect_due(&self, now: u64) {
        let (mut slots, mut deadlines) = (self.slots.borrow_mut(), self.deadlines.borrow_mut());
        let mut due = self.due.borrow_mut();
        while let Some(next) = deadlines.pop(&mut slots, now) {
            due.push_back(next);
        }
    }

    /// Takes the source of a collected deadline, unless the deadline was moved or cleared since.
    pub(crate) fn take_due(&self, key: usize, moment: Moment) -> Option<Rc<S>> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.get_mut(key)?;
        slot.deadline.spend(moment).then(|| slot.source.upgrade())?
    }
}

impl<S: Runnable + ?Sized> Drop for Core<S> {
    fn drop(&mut self) {
        self.shared.close();
        // A handle whose callback captures it would keep itself and its descriptors alive
        // otherwise.
        for source in self.sources() {
            source.detach();
            source.on_phase(Phase::LoopDropped);
        }
    }
}
