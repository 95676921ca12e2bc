//! The interests of a loop's descriptors: changes made before the next poll, and changes that the
//! poller refused.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::{Rc, Weak};

use uv_sys::{Errno, Interest, Registration, Result};

use crate::clock;

/// Nanoseconds before the first retry of a refused change. Each further pause is twice as long: the
/// kernel may have memory again at any time, and does not report it.
const FIRST_PAUSE: u64 = 1_000_000;
/// The pause doubles up to 1.024 seconds, at which the cost of a retry is negligible.
const MAX_DOUBLINGS: u32 = 10;
/// The refusal that is reported to the handle: after 1 + 2 + … + 128 ms of pauses.
const REPORTED_REFUSAL: u32 = 9;

/// A descriptor in the loop's poller, with the interest that its handle wants.
pub(crate) struct Polled {
    registration: Registration,
    wanted: Cell<Interest>,
    /// Whether it is in [`Changes::new`].
    changing: Cell<bool>,
    /// Refusals of the wanted interest since the poller last accepted one.
    refusals: Cell<u32>,
    /// Whether its handle is closed.
    closed: Cell<bool>,
    /// Dropped with the loop.
    changes: Weak<Changes>,
}

impl Polled {
    pub(crate) fn new(registration: Registration, changes: &Rc<Changes>) -> Rc<Self> {
        Rc::new(Self {
            registration,
            wanted: Cell::new(Interest::NONE),
            changing: Cell::new(false),
            refusals: Cell::new(0),
            closed: Cell::new(false),
            changes: Rc::downgrade(changes),
        })
    }

    /// Ends all reports for a closed handle, also while its [`PollSource`](crate::PollSource) is
    /// held.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.wanted.set(Interest::NONE);
        // Removing a watch does not fail on a descriptor that is registered.
        let _ = self.registration.set_interest(Interest::NONE);
    }

    fn open_changes(&self) -> Result<Rc<Changes>> {
        let changes = self.changes.upgrade().filter(|_| !self.closed.get());
        changes.ok_or(Errno::EBADF)
    }

    pub(crate) fn wanted(&self) -> Interest {
        self.wanted.get()
    }

    /// Changes the interest before the next poll. A descriptor that is not watched is watched at
    /// once, so that the caller gets the error.
    pub(crate) fn set_interest(self: &Rc<Self>, interest: Interest) -> Result<()> {
        let changes = self.open_changes()?;
        if self.registration.interest() == Interest::NONE && interest != Interest::NONE {
            self.registration.set_interest(interest)?;
        } else {
            self.change(&changes, interest);
        }
        self.wanted.set(interest);
        Ok(())
    }

    /// Changes the interest before the next poll.
    pub(crate) fn request_interest(self: &Rc<Self>, interest: Interest) -> Result<()> {
        let changes = self.open_changes()?;
        self.change(&changes, interest);
        self.wanted.set(interest);
        Ok(())
    }

    pub(crate) fn replace(&self, fd: OwnedFd) -> std::result::Result<(), (Errno, OwnedFd)> {
        self.wanted.set(Interest::NONE);
        self.registration.replace(fd)
    }

    fn change(self: &Rc<Self>, changes: &Changes, interest: Interest) {
        if self.registration.interest() != interest {
            self.reapply(changes);
        }
    }

    /// Applies the wanted interest before the next poll.
    pub(crate) fn reapply(self: &Rc<Self>, changes: &Changes) {
        if !self.changing.replace(true) {
            changes.new.borrow_mut().push(Rc::downgrade(self));
        }
    }

    /// Passes the wanted interest to the poller. After an error the change stays wanted until
    /// [`give_up`](Self::give_up).
    fn apply(&self) -> Result<()> {
        self.registration.set_interest(self.wanted.get())?;
        self.refusals.set(0);
        self.changing.set(false);
        Ok(())
    }

    /// Counts a refusal, and returns how many there were.
    fn count_refusal(&self) -> u32 {
        let refusals = self.refusals.get().saturating_add(1);
        self.refusals.set(refusals);
        refusals
    }

    /// Takes the poller's interest for the wanted one.
    fn give_up(&self) {
        self.refusals.set(0);
        self.changing.set(false);
        self.wanted.set(self.registration.interest());
    }

    /// The slot of its handle, unless that is closed.
    pub(crate) fn key(&self) -> Option<usize> {
        (!self.closed.get()).then(|| self.registration.key())
    }
}

impl AsFd for Polled {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.registration.as_fd()
    }
}

/// Interests that the loop's poller does not have yet.
#[derive(Default)]
pub(crate) struct Changes {
    new: RefCell<Vec<Weak<Polled>>>,
    refused: RefCell<Vec<Refused>>,
    /// The earliest `due` in `refused`.
    next_attempt: Cell<Option<u64>>,
    reports: RefCell<VecDeque<Report>>,
}

struct Refused {
    polled: Weak<Polled>,
    /// Nanoseconds on the loop's clock.
    due: u64,
}

/// A refused change, for the handle that wants it.
pub(crate) struct Report {
    pub(crate) polled: Weak<Polled>,
    pub(crate) error: Errno,
}

impl Changes {
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
        let refusals = polled.count_refusal();
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

    /// When the next refused change is retried.
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
