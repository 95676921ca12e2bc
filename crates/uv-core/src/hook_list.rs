//! The hooks of one place, which run in every iteration.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

/// Hooks in the order in which they were set.
pub(crate) struct HookList<S: ?Sized> {
    hooks: RefCell<Vec<Rc<S>>>,
    /// The range of hooks that the current iteration has still to run. `remove` moves it, which is
    /// cheaper than a copy of the list.
    next: Cell<usize>,
    end: Cell<usize>,
}

impl<S: ?Sized> Default for HookList<S> {
    fn default() -> Self {
        Self {
            hooks: RefCell::default(),
            next: Cell::new(0),
            end: Cell::new(0),
        }
    }
}

impl<S: ?Sized> HookList<S> {
    pub(crate) fn is_empty(&self) -> bool {
        self.hooks.borrow().is_empty()
    }

    pub(crate) fn add(&self, hook: Rc<S>) {
        self.hooks.borrow_mut().push(hook);
    }

    pub(crate) fn remove(&self, hook: &Weak<S>) {
        let removed = {
            let mut hooks = self.hooks.borrow_mut();
            let index = hooks
                .iter()
                .position(|known| std::ptr::addr_eq(Rc::as_ptr(known), hook.as_ptr()));
            index.map(|index| {
                for cursor in [&self.next, &self.end] {
                    let position = cursor.get();
                    cursor.set(position - usize::from(index < position));
                }
                hooks.remove(index)
            })
        };
        // Dropped after the borrow: the drop of a handle calls this list.
        drop(removed);
    }

    /// Calls `run` for each hook that is in the list now and still is when it is reached.
    pub(crate) fn run(&self, run: impl Fn(Rc<S>)) {
        self.next.set(0);
        self.end.set(self.hooks.borrow().len());
        while let Some(hook) = self.next() {
            run(hook);
        }
    }

    fn next(&self) -> Option<Rc<S>> {
        let next = self.next.get();
        if next >= self.end.get() {
            return None;
        }
        self.next.set(next + 1);
        self.hooks.borrow().get(next).cloned()
    }
}
