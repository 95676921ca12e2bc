//! The loop itself: what it holds, and the order in which an iteration runs it.

use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;
use uv_sys::{Errno, Interest, PollEvents, Poller, Result};

use crate::clock;
use crate::deadlines::{Deadline, Deadlines, HasDeadline, Moment};
use crate::handle::{HandleId, Polled};
use crate::remote::{Post, Remote, Shared};
use crate::source::{Phase, Source};

/// How many iterations [`RunMode::Default`] may go without asking the poller while it has work it can see without asking.
/// Asking costs about as much as a datagram, so one in 32 is 3 % at most; and 32 iterations of bounded work are well under
/// a millisecond, which is how long a handle that only the poller knows of may have to wait for its turn.
pub const MAX_UNPOLLED_ITERATIONS: u32 = 32;

/// How many readiness reports one poll takes in; more are taken in by the next one.
const EVENTS: usize = 1024;

/// How long [`Loop::run`] runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "uv_run_mode")]
pub enum RunMode {
    /// Until nothing is left that keeps the loop alive, or [`Loop::stop`].
    #[doc(alias = "UV_RUN_DEFAULT")]
    Default,
    /// One iteration, which waits for something to happen if it found nothing to do.
    #[doc(alias = "UV_RUN_ONCE")]
    Once,
    /// One iteration that does not wait.
    #[doc(alias = "UV_RUN_NOWAIT")]
    NoWait,
}

/// Where in an iteration a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPhase {
    /// After posts; an idle hook also keeps the loop from waiting.
    Idle,
    /// Before queued sends are flushed and the loop polls.
    Prepare,
    /// After the dispatch of what the poll reported.
    Check,
}

/// A single-threaded event loop.
///
/// A clone is another reference to the same loop. Handles refer to it weakly: when the last clone is dropped, every handle
/// still open is closed, its callbacks are dropped without being called, and later calls on it answer `EBADF`.
#[derive(Clone)]
#[doc(alias = "uv_loop_t")]
pub struct Loop {
    core: Rc<Core>,
}

pub(crate) struct Core {
    poller: Poller,
    shared: Arc<Shared>,
    slots: RefCell<Slab<Slot>>,
    generation: Cell<u64>,
    /// Handles that are active, referenced and not closing.
    live: Cell<usize>,
    deadlines: RefCell<Deadlines>,
    /// Deadlines taken from the heap whose turn has not come yet.
    due: RefCell<VecDeque<(usize, Moment)>>,
    completions: Turns,
    flushes: Turns,
    dispatches: Turns,
    revisits: Turns,
    closing: RefCell<VecDeque<Rc<dyn Source>>>,
    hooks: [RefCell<Vec<Rc<dyn Source>>>; 3],
    /// Posts taken over from other threads that have not run yet.
    posts: RefCell<VecDeque<Post>>,
    changes: RefCell<Vec<Weak<Polled>>>,
    events: RefCell<PollEvents>,
    locals: RefCell<HashMap<TypeId, Rc<dyn Any>>>,
    /// The clock of this iteration, read at its first use.
    now: Cell<Option<u64>>,
    unpolled: Cell<u32>,
    running: Cell<bool>,
    stopping: Cell<bool>,
}

/// Those who asked for a turn. To ask keeps nobody alive.
type Turns = RefCell<VecDeque<Weak<dyn Source>>>;

struct Slot {
    source: Weak<dyn Source>,
    /// Set while the handle is active.
    held: Option<Rc<dyn Source>>,
    generation: u64,
    deadline: Deadline,
}

impl HasDeadline for Slot {
    fn deadline(&mut self) -> &mut Deadline {
        &mut self.deadline
    }
}

impl Loop {
    /// A new loop with a poller of its own.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE` or `ENOMEM` when the poller cannot be made.
    #[doc(alias = "uv_loop_init")]
    pub fn new() -> Result<Self> {
        let poller = Poller::new()?;
        let core = Core {
            shared: Arc::new(Shared::new(poller.clone())),
            poller,
            slots: RefCell::default(),
            generation: Cell::new(0),
            live: Cell::new(0),
            deadlines: RefCell::default(),
            due: RefCell::default(),
            completions: RefCell::default(),
            flushes: RefCell::default(),
            dispatches: RefCell::default(),
            revisits: RefCell::default(),
            closing: RefCell::default(),
            hooks: Default::default(),
            posts: RefCell::default(),
            changes: RefCell::default(),
            events: RefCell::new(PollEvents::with_capacity(EVENTS)),
            locals: RefCell::default(),
            now: Cell::new(None),
            unpolled: Cell::new(0),
            running: Cell::new(false),
            stopping: Cell::new(false),
        };
        Ok(Self {
            core: Rc::new(core),
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
    /// A panic in a callback reaches the caller; the loop can be run again and has lost nothing but that call.
    ///
    /// # Errors
    ///
    /// `EDEADLK` inside a callback of this loop; otherwise what the poller says, which on a working system is nothing.
    #[doc(alias = "uv_run")]
    pub fn run(&self, mode: RunMode) -> Result<bool> {
        let core = &self.core;
        if core.running.replace(true) {
            return Err(Errno::EDEADLK);
        }
        let _running = Running(core);
        core.shared.wake_up();
        while core.alive() && !core.stopping.get() {
            core.iterate(self, mode)?;
            if mode != RunMode::Default {
                break;
            }
        }
        core.stopping.set(false);
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

    /// The loop's clock in nanoseconds: monotonic, from an arbitrary start, read once an iteration.
    #[doc(alias = "uv_now")]
    pub fn now(&self) -> u64 {
        self.core.now()
    }

    /// Reads the clock anew, after a callback that took long.
    #[doc(alias = "uv_update_time")]
    pub fn update_time(&self) {
        self.core.now.set(None);
    }

    /// The end of this loop that other threads may hold.
    pub fn remote(&self) -> Remote {
        Remote::new(Arc::clone(&self.core.shared))
    }

    /// How long another loop may wait for the descriptor of this one ([`AsFd`]) to become readable before it calls
    /// [`run`](Self::run) with [`RunMode::NoWait`]; `None` is for ever.
    ///
    /// Ask before each wait: asking also prepares the poller for being waited on. The answer is exact to the nanosecond;
    /// round it up for a coarser wait.
    ///
    /// # Errors
    ///
    /// What the poller says.
    #[doc(alias = "uv_backend_timeout")]
    pub fn poll_timeout(&self) -> Result<Option<Duration>> {
        self.core.now.set(None);
        self.core.apply_changes()?;
        Ok(self.core.prepare_to_wait())
    }

    /// The source with this name, unless it is closed or dropped.
    pub fn source(&self, id: HandleId) -> Option<Rc<dyn Source>> {
        let slots = self.core.slots.borrow();
        let slot = slots
            .get(id.key)
            .filter(|slot| slot.generation == id.generation)?;
        slot.source.upgrade()
    }

    /// Every handle with a slot in this loop: those that are or were active, or registered a descriptor.
    #[doc(alias = "uv_walk")]
    pub fn sources(&self) -> Vec<Rc<dyn Source>> {
        self.core
            .slots
            .borrow()
            .iter()
            .filter_map(|(_, slot)| slot.source.upgrade())
            .collect()
    }

    /// The one `T` of this loop, made at first use: memory that all handles of a kind share.
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
        self.0.shared.wake_up();
    }
}

/// One iteration.
impl Core {
    fn iterate(&self, lp: &Loop, mode: RunMode) -> Result<()> {
        self.now.set(None);
        // One iteration that found something to do has done its work, and need not wait for more.
        let worked = self.busy() | self.run_deadlines();
        self.run_scheduled(&self.completions, Phase::Completions);
        self.run_posts(lp);
        self.run_hooks(HookPhase::Idle);
        self.run_hooks(HookPhase::Prepare);
        self.run_scheduled(&self.flushes, Phase::Flush);
        let wait = mode == RunMode::Default || mode == RunMode::Once && !worked;
        let polled = self.poll(mode, wait)?;
        // What the reports schedule anew waits for the next iteration.
        let scheduled = self.dispatches.borrow().len();
        let revisits = self.revisits.borrow().len();
        if polled {
            self.dispatch_events();
        }
        self.run_some(&self.revisits, revisits, Phase::Revisit);
        self.run_some(&self.dispatches, scheduled, Phase::Dispatch);
        self.run_hooks(HookPhase::Check);
        self.run_closing();
        if mode == RunMode::Once {
            // The wait may have ended because a timer is due, and one iteration promises to make progress.
            self.run_deadlines();
        }
        Ok(())
    }

    /// Runs what is due, and says whether anything was.
    fn run_deadlines(&self) -> bool {
        if self.due.borrow().is_empty() && self.deadlines.borrow().is_empty() {
            return false;
        }
        let now = self.now();
        {
            // All that are due now, before the first one runs: what they start waits for the next iteration.
            let (mut slots, mut deadlines) = (self.slots.borrow_mut(), self.deadlines.borrow_mut());
            let mut due = self.due.borrow_mut();
            while let Some(next) = deadlines.pop(&mut slots, now) {
                due.push_back(next);
            }
        }
        let mut any = false;
        while let Some((key, moment)) = pop(&self.due) {
            let source = {
                let mut slots = self.slots.borrow_mut();
                let slot = slots.get_mut(key);
                slot.and_then(|slot| {
                    slot.deadline
                        .spend(moment)
                        .then(|| slot.source.upgrade())
                        .flatten()
                })
            };
            if let Some(source) = source {
                any = true;
                source.turn(Phase::Deadline);
            }
        }
        any
    }

    fn run_scheduled(&self, queue: &Turns, phase: Phase) {
        let scheduled = queue.borrow().len();
        self.run_some(queue, scheduled, phase);
    }

    fn run_some(&self, queue: &Turns, count: usize, phase: Phase) {
        for _ in 0..count {
            let Some(source) = pop(queue) else { break };
            if let Some(source) = source.upgrade()
                && source.handle().begin_turn(phase)
            {
                source.turn(phase);
            }
        }
    }

    fn run_posts(&self, lp: &Loop) {
        if self.posts.borrow().is_empty() && self.shared.pending() {
            self.shared.take_posts(&mut self.posts.borrow_mut());
        }
        while let Some(post) = pop(&self.posts) {
            post(lp);
        }
    }

    fn run_hooks(&self, place: HookPhase) {
        let hooks = &self.hooks[place as usize];
        if hooks.borrow().is_empty() {
            return;
        }
        // Hooks may come and go while they run: those that were there at the start and still are get their turn.
        let started = hooks.borrow().clone();
        for source in started {
            if hooks.borrow().iter().any(|hook| Rc::ptr_eq(hook, &source)) {
                source.turn(Phase::Hook);
            }
        }
    }

    /// Asks the poller, and says whether it did.
    fn poll(&self, mode: RunMode, wait: bool) -> Result<bool> {
        let unpolled = self.unpolled.get();
        if mode == RunMode::Default && unpolled < MAX_UNPOLLED_ITERATIONS && self.busy() {
            self.unpolled.set(unpolled + 1);
            return Ok(false);
        }
        self.unpolled.set(0);
        self.apply_changes()?;
        let timeout = if wait && self.alive() {
            self.prepare_to_wait()
        } else {
            Some(Duration::ZERO)
        };
        let waited = self.poller.wait(&mut self.events.borrow_mut(), timeout);
        self.shared.wake_up();
        if timeout != Some(Duration::ZERO) {
            self.now.set(None);
        }
        waited.map(|()| true)
    }

    /// How long the loop may wait: not at all while there is something to do. If it may, other threads know from here on
    /// that they must wake it.
    fn prepare_to_wait(&self) -> Option<Duration> {
        let kept_alive = self.shared.kept_alive();
        if self.busy() || !self.shared.fall_asleep(kept_alive) {
            return Some(Duration::ZERO);
        }
        let next = self
            .deadlines
            .borrow_mut()
            .next(&mut self.slots.borrow_mut());
        next.map(|due| Duration::from_nanos(due.saturating_sub(self.now())))
    }

    /// Whether there is work that can be seen without asking the poller.
    fn busy(&self) -> bool {
        !self.dispatches.borrow().is_empty()
            || !self.completions.borrow().is_empty()
            || !self.flushes.borrow().is_empty()
            || !self.closing.borrow().is_empty()
            || !self.due.borrow().is_empty()
            || !self.posts.borrow().is_empty()
            || !self.hooks[HookPhase::Idle as usize].borrow().is_empty()
            || self.stopping.get()
            || self.shared.pending()
    }

    fn alive(&self) -> bool {
        self.live.get() > 0
            || !self.closing.borrow().is_empty()
            || !self.posts.borrow().is_empty()
            || self.shared.pending()
            || self.shared.kept_alive()
    }

    fn dispatch_events(&self) {
        let events = self.events.borrow();
        for event in events.iter() {
            let source = self
                .slots
                .borrow()
                .get(event.key)
                .and_then(|slot| slot.source.upgrade());
            let Some(source) = source else { continue };
            let mut readiness = Interest::NONE;
            readiness.set(Interest::READABLE, event.readable);
            readiness.set(Interest::WRITABLE, event.writable);
            source.ready(readiness);
        }
    }

    fn run_closing(&self) {
        let closing = self.closing.borrow().len();
        for _ in 0..closing {
            let Some(source) = pop(&self.closing) else {
                break;
            };
            let turn = ClosingTurn { core: self, source };
            Rc::clone(&turn.source).turn(Phase::Closing);
            // Not reached by a panic, after which the turn is given again.
            turn.source.handle().closed();
        }
    }

    fn apply_changes(&self) -> Result<()> {
        while let Some(change) = { self.changes.borrow_mut().pop() } {
            if let Some(polled) = change.upgrade() {
                polled.apply()?;
            }
        }
        Ok(())
    }
}

fn pop<T>(queue: &RefCell<VecDeque<T>>) -> Option<T> {
    queue.borrow_mut().pop_front()
}

struct ClosingTurn<'a> {
    core: &'a Core,
    source: Rc<dyn Source>,
}

impl Drop for ClosingTurn<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.core
                .closing
                .borrow_mut()
                .push_front(Rc::clone(&self.source));
        }
    }
}

/// What handles ask of the loop.
impl Core {
    pub(crate) fn poller(&self) -> &Poller {
        &self.poller
    }

    pub(crate) fn now(&self) -> u64 {
        self.now.get().unwrap_or_else(|| {
            let now = clock::now();
            self.now.set(Some(now));
            now
        })
    }

    pub(crate) fn insert(&self, source: &Weak<dyn Source>) -> HandleId {
        let generation = self.generation.get() + 1;
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
        // Dropped after the borrow: it may be the last reference to a handle, whose drop comes back here.
        drop(slot);
    }

    /// Keeps the source alive while it is active.
    pub(crate) fn hold(&self, id: HandleId, active: bool) {
        let released = {
            let mut slots = self.slots.borrow_mut();
            let Some(slot) = slots.get_mut(id.key) else {
                return;
            };
            let held = if active { slot.source.upgrade() } else { None };
            std::mem::replace(&mut slot.held, held)
        };
        drop(released);
    }

    pub(crate) fn count_live(&self, up: bool) {
        let live = self.live.get();
        self.live
            .set(if up { live + 1 } else { live.saturating_sub(1) });
    }

    pub(crate) fn schedule(&self, phase: Phase, source: Weak<dyn Source>) {
        let queue = match phase {
            Phase::Completions => &self.completions,
            Phase::Flush => &self.flushes,
            Phase::Revisit => &self.revisits,
            _ => &self.dispatches,
        };
        queue.borrow_mut().push_back(source);
    }

    pub(crate) fn close(&self, source: Rc<dyn Source>) {
        self.closing.borrow_mut().push_back(source);
    }

    pub(crate) fn set_deadline(&self, id: HandleId, due: u64) {
        if let Some(slot) = self.slots.borrow_mut().get_mut(id.key) {
            self.deadlines
                .borrow_mut()
                .set(&mut slot.deadline, id.key, due);
        }
    }

    pub(crate) fn clear_deadline(&self, id: HandleId) {
        if let Some(slot) = self.slots.borrow_mut().get_mut(id.key) {
            Deadlines::clear(&mut slot.deadline);
        }
    }

    pub(crate) fn deadline(&self, id: HandleId) -> Option<u64> {
        self.slots.borrow().get(id.key)?.deadline.due()
    }

    pub(crate) fn add_hook(&self, place: HookPhase, source: Rc<dyn Source>) {
        self.hooks[place as usize].borrow_mut().push(source);
    }

    pub(crate) fn remove_hook(&self, place: HookPhase, source: &Weak<dyn Source>) {
        let removed = {
            let mut hooks = self.hooks[place as usize].borrow_mut();
            let index = hooks
                .iter()
                .position(|hook| std::ptr::addr_eq(Rc::as_ptr(hook), source.as_ptr()));
            index.map(|index| hooks.remove(index))
        };
        drop(removed);
    }

    pub(crate) fn change_interest(&self, polled: Weak<Polled>) {
        self.changes.borrow_mut().push(polled);
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.shared.close();
        // Handles whose callbacks hold the handle itself would live on otherwise, with their descriptors open.
        let sources: Vec<_> = self
            .slots
            .get_mut()
            .iter()
            .filter_map(|(_, slot)| slot.source.upgrade())
            .collect();
        for source in sources {
            source.turn(Phase::Abandoned);
        }
    }
}
