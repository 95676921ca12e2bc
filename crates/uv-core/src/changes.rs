//! Changes of interest that are made before the next poll, and those that the poller refused.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Weak;

use uv_sys::Errno;

use crate::clock;
use crate::poll_source::Polled;

/// How long a refused change waits before it is tried again, in nanoseconds; each further wait is twice as long. The
/// kernel has memory again at any time, and does not say when.
const FIRST_PAUSE: u64 = 1_000_000;
/// How often the pause doubles: to 1.024 seconds, at which an attempt costs nothing to speak of.
const MAX_DOUBLINGS: u32 = 10;
/// At which refusal the handle is told: after 1 + 2 + … + 128 ms, as with a device without room (`uv-udp`).
const REPORTED_REFUSAL: u32 = 9;

/// What the loop's poller is yet to be told.
#[derive(Default)]
pub(crate) struct Changes {
    new: RefCell<Vec<Weak<Polled>>>,
    refused: RefCell<Vec<Refused>>,
    /// When the first of `refused` is to be tried again.
    next_attempt: Cell<Option<u64>>,
    reports: RefCell<VecDeque<Report>>,
}

struct Refused {
    polled: Weak<Polled>,
    /// Nanoseconds on the loop's clock.
    due: u64,
}

/// That a change cannot be made, for the handle that wants it.
pub(crate) struct Report {
    pub(crate) polled: Weak<Polled>,
    pub(crate) error: Errno,
}

impl Changes {
    pub(crate) fn add(&self, polled: Weak<Polled>) {
        self.new.borrow_mut().push(polled);
    }

    /// Makes all changes that are due.
    #[inline]
    pub(crate) fn apply(&self) {
        if !self.new.borrow().is_empty() || self.next_attempt.get().is_some() {
            self.apply_due();
        }
    }

    fn apply_due(&self) {
        while let Some(change) = { self.new.borrow_mut().pop() } {
            self.make(change);
        }
        let Some(next) = self.next_attempt.get() else {
            return;
        };
        let now = clock::now();
        if next > now {
            return;
        }
        let (due, later) = self
            .refused
            .take()
            .into_iter()
            .partition::<Vec<_>, _>(|refused| refused.due <= now);
        self.refused.replace(later);
        due.into_iter()
            .for_each(|refused| self.make(refused.polled));
        let refused = self.refused.borrow();
        let next = refused.iter().map(|refused| refused.due).min();
        self.next_attempt.set(next);
    }

    fn make(&self, change: Weak<Polled>) {
        let Some(polled) = change.upgrade() else {
            return;
        };
        let Err(error) = polled.apply() else {
            return;
        };
        if !matches!(error, Errno::ENOMEM | Errno::ENOSPC) {
            polled.give_up();
            self.report(change, error);
            return;
        }
        let refusals = polled.refused();
        if refusals == REPORTED_REFUSAL {
            self.report(change.clone(), error);
        }
        let due = clock::now() + (FIRST_PAUSE << (refusals - 1).min(MAX_DOUBLINGS));
        self.refused.borrow_mut().push(Refused {
            polled: change,
            due,
        });
        let next = self.next_attempt.get();
        self.next_attempt
            .set(Some(next.map_or(due, |next| next.min(due))));
    }

    fn report(&self, polled: Weak<Polled>, error: Errno) {
        self.reports
            .borrow_mut()
            .push_back(Report { polled, error });
    }

    /// When a refused change is to be tried again.
    #[inline]
    pub(crate) fn next_attempt(&self) -> Option<u64> {
        self.next_attempt.get()
    }

    #[inline]
    pub(crate) fn has_reports(&self) -> bool {
        !self.reports.borrow().is_empty()
    }

    pub(crate) fn next_report(&self) -> Option<Report> {
        self.reports.borrow_mut().pop_front()
    }
}
