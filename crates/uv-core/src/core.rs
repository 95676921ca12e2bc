//! What a loop holds, and what its handles ask of it. How it runs them is in `iteration`.

use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use slab::Slab;
use uv_sys::{Errno, PollEvents, Poller, Result};

use crate::changes::Changes;
use crate::clock;
use crate::deadlines::{Deadline, Deadlines, HasDeadline, Moment};
use crate::handle::HandleId;
use crate::hook_list::{HookList, HookPhase};
use crate::proxy::{PostBatch, PostBatches, Shared};
use crate::source::{Phase, Source};

/// How many readiness reports one poll takes in; more are taken in by the next one.
const EVENTS: usize = 1024;

pub(crate) struct Core {
    pub(crate) poller: Poller,
    pub(crate) shared: Arc<Shared>,
    pub(crate) slots: RefCell<Slab<Slot>>,
    generation: Cell<u64>,
    /// Handles that are active, referenced and not closing.
    pub(crate) live: Cell<usize>,
    pub(crate) deadlines: RefCell<Deadlines>,
    /// Deadlines taken from the heap whose turn has not come yet.
    pub(crate) due: RefCell<VecDeque<(usize, Moment)>>,
    pub(crate) completions: Turns,
    pub(crate) flushes: Turns,
    pub(crate) dispatches: Turns,
    pub(crate) revisits: Turns,
    pub(crate) closing: RefCell<VecDeque<Rc<dyn Source>>>,
    hooks: [HookList; 3],
    /// Posts taken over from other threads that have not run yet.
    pub(crate) posts: RefCell<PostBatches>,
    /// Whether the batch that is running has posts left.
    pub(crate) batch_continues: Cell<bool>,
    /// A batch of posts that has run: its memory serves for the next.
    pub(crate) spare_batch: Cell<Option<Box<dyn PostBatch>>>,
    /// What the poller is yet to be told.
    pub(crate) changes: Changes,
    pub(crate) events: RefCell<PollEvents>,
    pub(crate) locals: RefCell<HashMap<TypeId, Rc<dyn Any>>>,
    /// The clock of this iteration, from its first use on.
    pub(crate) now: Cell<Option<u64>>,
    pub(crate) unpolled: Cell<u32>,
    /// How many iterations were begun.
    pub(crate) iteration: Cell<u64>,
    /// Whether the flush of this iteration is over, whoever still waits for a turn in it.
    pub(crate) flush_over: Cell<bool>,
    pub(crate) running: Cell<bool>,
    pub(crate) stopping: Cell<bool>,
}

/// Those who asked for a turn. To ask keeps nobody alive.
pub(crate) type Turns = RefCell<VecDeque<Weak<dyn Source>>>;

pub(crate) struct Slot {
    pub(crate) source: Weak<dyn Source>,
    /// Set while the handle is active.
    held: Option<Rc<dyn Source>>,
    pub(crate) generation: u64,
    pub(crate) deadline: Deadline,
}

impl HasDeadline for Slot {
    fn deadline(&mut self) -> &mut Deadline {
        &mut self.deadline
    }
}

impl Core {
    pub(crate) fn new() -> Result<Self> {
        // Generations of different loops differ, so that a name means nothing to another loop than its own.
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
            revisits: RefCell::default(),
            closing: RefCell::default(),
            hooks: Default::default(),
            posts: RefCell::default(),
            batch_continues: Cell::new(false),
            spare_batch: Cell::default(),
            changes: Changes::default(),
            events: RefCell::new(PollEvents::with_capacity(EVENTS)),
            locals: RefCell::default(),
            now: Cell::new(None),
            unpolled: Cell::new(0),
            iteration: Cell::new(0),
            flush_over: Cell::new(false),
            running: Cell::new(false),
            stopping: Cell::new(false),
        })
    }

    /// The clock. In an iteration it stands still from its first use on; between two runs nothing says when it should be
    /// read anew, so it is read every time.
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

    /// Makes a forked child's own poller, and has it watch what the parent's does.
    pub(crate) fn reinit_after_fork(&self) -> Result<()> {
        if !self.poller.is_stale() {
            return Ok(());
        }
        self.poller.renew()?;
        let slots = self.slots.borrow();
        for source in slots.iter().filter_map(|(_, slot)| slot.source.upgrade()) {
            source.handle().reconsider_interests(self);
        }
        drop(slots);
        self.changes.apply();
        Ok(())
    }

    pub(crate) fn hooks(&self, place: HookPhase) -> &HookList {
        let [idle, prepare, check] = &self.hooks;
        match place {
            HookPhase::Idle => idle,
            HookPhase::Prepare => prepare,
            HookPhase::Check => check,
        }
    }

    pub(crate) fn insert(&self, source: &Weak<dyn Source>) -> HandleId {
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
        // Dropped after the borrow: it may be the last reference to a handle, whose drop comes back here.
        drop(slot);
    }

    /// Keeps `source` alive in its slot, while it is active; or lets go of it.
    pub(crate) fn hold(&self, id: HandleId, source: Option<Rc<dyn Source>>) {
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
    pub(crate) fn schedule(&self, phase: Phase, source: Weak<dyn Source>) {
        let queue = match phase {
            Phase::Completions => &self.completions,
            Phase::Flush => &self.flushes,
            Phase::Speculative => &self.revisits,
            _ => &self.dispatches,
        };
        queue.borrow_mut().push_back(source);
    }

    pub(crate) fn close(&self, source: Rc<dyn Source>) {
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
            source.handle().abandon();
            source.on_phase(Phase::LoopDropped);
        }
    }
}
