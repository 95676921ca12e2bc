//! What the handles of a loop may send before those who receive on it have their turn: no more than a receiver has room for.

use std::cell::Cell;

use crate::runs::Share;
use crate::udp::Inner;

/// Datagrams that the handles of a loop flush in an iteration. A receiver on the same loop with default buffers (208 KiB, of
/// which the smallest datagram takes 768 bytes, and one of 1,500 bytes 2,304) has room for them.
pub(crate) const MAX_FLUSH_DATAGRAMS: usize = 64;
/// Bytes of them: one full message. A datagram with more goes alone.
pub(crate) const MAX_FLUSH_BYTES: usize = 64 * 1024;

/// What may still be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) datagrams: usize,
    pub(crate) bytes: usize,
}

impl Budget {
    /// That of an iteration.
    pub(crate) const FULL: Self = Self {
        datagrams: MAX_FLUSH_DATAGRAMS,
        bytes: MAX_FLUSH_BYTES,
    };

    pub(crate) fn without(self, share: Share) -> Self {
        Self {
            datagrams: self.datagrams.saturating_sub(share.segments),
            bytes: self.bytes.saturating_sub(share.bytes),
        }
    }

    /// Whether what is left is not worth a system call of its own.
    pub(crate) fn is_spent(self) -> bool {
        self.datagrams < MAX_FLUSH_DATAGRAMS / 4 || self.bytes < MAX_FLUSH_BYTES / 4
    }
}

/// How the flushes of a loop go, and whether they are heard.
#[derive(Debug)]
pub(crate) struct Flushes {
    /// The iteration of the last one, and what that one left of its budget.
    left: Cell<(u64, Budget)>,
    /// Datagrams of the last ones that no handle of this loop has received.
    unheard: Cell<usize>,
}

impl Flushes {
    pub(crate) fn new() -> Self {
        Self {
            left: Cell::new((0, Budget::FULL)),
            unheard: Cell::new(0),
        }
    }

    /// What is left of an iteration's budget.
    fn left(&self, iteration: u64) -> Budget {
        match self.left.get() {
            (of, left) if of == iteration => left,
            _ => Budget::FULL,
        }
    }

    fn set_left(&self, iteration: u64, left: Budget) {
        let sent = self.left(iteration).datagrams - left.datagrams;
        self.unheard.set(self.unheard.get() + sent);
        self.left.set((iteration, left));
    }

    fn received(&self, datagrams: usize) {
        self.unheard
            .set(self.unheard.get().saturating_sub(datagrams));
    }
}

impl Inner {
    /// Offers what is queued, as far as the budget of this iteration goes.
    pub(crate) fn flush_within_budget(&self) {
        let (flushes, iteration) = (&self.scratch.flushes, self.handle.iteration());
        let mut left = flushes.left(iteration);
        if !left.is_spent() {
            self.mind_receivers();
            left = self.offer(left);
            flushes.set_left(iteration, left);
        }
        if left.is_spent() {
            self.handle.end_flush();
        }
    }

    /// Lets the loop ask its poller, unless this handle's last flushes were all received on this loop by now. The receiver may
    /// be one that only the poller knows of, with no room for another flush; or it is not on this loop, and then a question for
    /// each flush is nothing beside it.
    fn mind_receivers(&self) {
        let heard = self.scratch.flushes.unheard.replace(0) == 0;
        if !(self.sender.heard.replace(heard) && heard) {
            self.handle.ask_poller();
        }
    }

    pub(crate) fn count_received(&self, datagrams: usize, bytes: usize) {
        self.tally.received(datagrams, bytes);
        self.scratch.flushes.received(datagrams);
    }
}
