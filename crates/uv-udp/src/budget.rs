//! What the handles of a loop may send before those who receive on it have their turn: no more than a receiver has room for.

use crate::runs::Share;
use crate::udp::Inner;

/// Datagrams that the handles of a loop flush in an iteration. A receiver on the same loop with default buffers (208 KiB, of
/// which the smallest datagram takes 768 bytes, and one of 1,500 bytes 2,304) has room for them.
pub(crate) const MAX_FLUSH_DATAGRAMS: usize = 64;
/// Bytes of them: one full message. A datagram with more than is left of them goes all the same.
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

impl Inner {
    /// Offers what is queued, as far as the budget of this iteration goes.
    pub(crate) fn flush_within_budget(&self) {
        let iteration = self.handle.iteration();
        let mut left = match self.scratch.budget.get() {
            (of, left) if of == iteration => left,
            _ => Budget::FULL,
        };
        if !left.is_spent() {
            if self.scratch.resting.get() > 0 {
                // It may be for one of them.
                self.handle.ask_poller();
            }
            left = self.offer(left);
            self.scratch.budget.set((iteration, left));
        }
        if left.is_spent() {
            self.handle.end_flush();
        }
    }
}
