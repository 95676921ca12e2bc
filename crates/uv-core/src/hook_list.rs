//! The handles that have a turn in every iteration.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use crate::source::{Phase, Source};

/// Where in an iteration a hook runs: of a handle type, see [`Handle::set_hook`](crate::Handle::set_hook), or ready made,
/// see [`Idle`](crate::Idle), [`Prepare`](crate::Prepare) and [`Check`](crate::Check).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPhase {
    /// After posts; an idle hook also keeps the loop from waiting.
    Idle,
    /// Before queued sends are flushed and the loop polls.
    Prepare,
    /// After the dispatch of what the poll reported.
    Check,
}

/// The hooks of one place, in the order in which they were set.
#[derive(Default)]
pub(crate) struct HookList {
    sources: RefCell<Vec<Rc<dyn Source>>>,
    /// The next one to run, and where those end that were there when the turns began. Hooks come and go while they run: so
    /// this follows the list, which is cheaper than a copy of it.
    next: Cell<usize>,
    end: Cell<usize>,
}

impl HookList {
    pub(crate) fn is_empty(&self) -> bool {
        self.sources.borrow().is_empty()
    }

    pub(crate) fn add(&self, source: Rc<dyn Source>) {
        self.sources.borrow_mut().push(source);
    }

    pub(crate) fn remove(&self, source: &Weak<dyn Source>) {
        let removed = {
            let mut sources = self.sources.borrow_mut();
            let index = sources
                .iter()
                .position(|hook| std::ptr::addr_eq(Rc::as_ptr(hook), source.as_ptr()));
            index.map(|index| {
                for cursor in [&self.next, &self.end] {
                    let position = cursor.get();
                    cursor.set(position - usize::from(index < position));
                }
                sources.remove(index)
            })
        };
        // After the borrow: it may be the last reference to a handle, whose drop comes back here.
        drop(removed);
    }

    /// Gives a turn to each that is there now and still is when its turn comes.
    pub(crate) fn run(&self) {
        self.next.set(0);
        self.end.set(self.sources.borrow().len());
        while let Some(source) = self.next() {
            source.on_phase(Phase::Hook);
        }
    }

    fn next(&self) -> Option<Rc<dyn Source>> {
        let next = self.next.get();
        if next >= self.end.get() {
            return None;
        }
        self.next.set(next + 1);
        self.sources.borrow().get(next).cloned()
    }
}
