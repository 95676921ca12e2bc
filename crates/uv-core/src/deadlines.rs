//! The next deadline: a heap that is corrected lazily.
//!
//! Programs restart timers far more often than timers fire (a QUIC stack on every packet). So
//! moving a deadline later, or clearing it, does not touch the heap: its entry stays, and is
//! corrected when it reaches the top.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use slab::Slab;

/// The deadline of a slot of the loop.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deadline {
    /// When it is due, and its order among those due at the same time.
    wanted: Option<Moment>,
    /// Its heap entry, never later than `wanted`.
    entry: Option<Moment>,
}

/// Nanoseconds on the loop's clock, then the order of `set` calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    pub(crate) due: u64,
    order: u64,
}

/// A slot with a [`Deadline`].
pub(crate) trait HasDeadline {
    fn deadline(&mut self) -> &mut Deadline;
}

#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    heap: BinaryHeap<Reverse<(Moment, usize)>>,
    started: u64,
    /// Entries without a deadline.
    stale: usize,
}

impl Deadlines {
    pub(crate) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    pub(crate) fn set<T: HasDeadline>(&mut self, slots: &mut Slab<T>, key: usize, due: u64) {
        let Some(deadline) = slots.get_mut(key).map(T::deadline) else {
            return;
        };
        self.started += 1;
        let moment = Moment {
            due,
            order: self.started,
        };
        deadline.wanted = Some(moment);
        if deadline.entry.is_some_and(|entry| entry < moment) {
            return;
        }
        let replaced = deadline.entry.replace(moment);
        self.heap.push(Reverse((moment, key)));
        self.abandon(replaced, slots);
    }

    /// Called when the slot of `deadline` is removed.
    pub(crate) fn forget<T: HasDeadline>(&mut self, deadline: Deadline, slots: &mut Slab<T>) {
        self.abandon(deadline.entry, slots);
    }

    /// Called when `entry` lost its deadline.
    fn abandon<T: HasDeadline>(&mut self, entry: Option<Moment>, slots: &mut Slab<T>) {
        self.stale += usize::from(entry.is_some());
        // At most half of the heap is stale, at an amortised cost of one visit per stale entry.
        if self.stale > 64 && self.stale > self.heap.len() / 2 {
            self.heap.retain(|Reverse((moment, key))| {
                slots
                    .get_mut(*key)
                    .is_some_and(|slot| slot.deadline().entry == Some(*moment))
            });
            self.stale = 0;
        }
    }

    /// When the next deadline is due.
    pub(crate) fn next<T: HasDeadline>(&mut self, slots: &mut Slab<T>) -> Option<u64> {
        self.surface(slots).map(|(moment, _)| moment.due)
    }

    /// Takes the next deadline that is due by `now`.
    pub(crate) fn pop<T: HasDeadline>(
        &mut self,
        slots: &mut Slab<T>,
        now: u64,
    ) -> Option<(usize, Moment)> {
        let (moment, key) = self
            .surface(slots)
            .filter(|(moment, _)| moment.due <= now)?;
        self.heap.pop();
        slots.get_mut(key)?.deadline().entry = None;
        Some((key, moment))
    }

    /// Corrects the top of the heap until it is a deadline.
    fn surface<T: HasDeadline>(&mut self, slots: &mut Slab<T>) -> Option<(Moment, usize)> {
        loop {
            let Reverse((moment, key)) = *self.heap.peek()?;
            let Some(deadline) = slots
                .get_mut(key)
                .map(T::deadline)
                .filter(|held| held.entry == Some(moment))
            else {
                self.heap.pop();
                self.stale = self.stale.saturating_sub(1);
                continue;
            };
            if deadline.wanted == Some(moment) {
                return Some((moment, key));
            }
            self.heap.pop();
            deadline.entry = deadline.wanted;
            if let Some(wanted) = deadline.wanted {
                self.heap.push(Reverse((wanted, key)));
            }
        }
    }
}

impl Deadline {
    /// Clears the deadline; its heap entry stays.
    pub(crate) fn clear(&mut self) {
        self.wanted = None;
    }

    /// Clears the deadline if it is `moment`, which was taken from the heap, and returns whether it
    /// was.
    pub(crate) fn spend(&mut self, moment: Moment) -> bool {
        let due = self.wanted == Some(moment);
        if due {
            self.wanted = None;
        }
        due
    }

    pub(crate) fn due(&self) -> Option<u64> {
        self.wanted.map(|moment| moment.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl HasDeadline for Deadline {
        fn deadline(&mut self) -> &mut Deadline {
            self
        }
    }

    #[test]
    fn moving_a_deadline_keeps_the_heap_bounded() {
        let (mut deadlines, mut slots) = (Deadlines::default(), Slab::new());
        let keys = [(); 3].map(|()| slots.insert(Deadline::default()));
        for round in 0..100_000 {
            for key in keys {
                deadlines.set(&mut slots, key, 1_000_000 - round);
                deadlines.set(&mut slots, key, 2_000_000 + round);
            }
        }
        assert!(deadlines.heap.len() < 200, "{}", deadlines.heap.len());
        assert_eq!(deadlines.next(&mut slots), Some(2_099_999));
    }

    #[test]
    fn removing_deadlines_keeps_the_heap_bounded() {
        let (mut deadlines, mut slots) = (Deadlines::default(), Slab::new());
        for _ in 0..10_000 {
            let key = slots.insert(Deadline::default());
            deadlines.set(&mut slots, key, 1_000_000);
            let deadline = slots.remove(key);
            deadlines.forget(deadline, &mut slots);
        }
        assert!(deadlines.heap.len() < 200, "{}", deadlines.heap.len());
        assert_eq!(deadlines.next(&mut slots), None);
    }
}
