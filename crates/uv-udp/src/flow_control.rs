//! Limits what the handles of one loop send, so that receivers on the same loop lose nothing.

use std::cell::Cell;

/// Datagrams that the handles of a loop flush in one iteration. A receiver on the same loop with a
/// default buffer (208 KiB) has room for them: the smallest datagram takes 768 bytes, one of 1,500
/// bytes takes 2,304 (`SKB_TRUESIZE`).
pub(crate) const MAX_FLUSH_DATAGRAMS: usize = 64;
/// Bytes that the handles of a loop flush in one iteration: one full GSO message. The first
/// datagram of a flush may exceed the rest of the budget.
pub(crate) const MAX_FLUSH_BYTES: usize = 64 * 1024;
/// Bytes of receive buffer that may fill up between two polls: three quarters of a default buffer.
/// The kernel releases up to a quarter only some time after a read (`udp_rmem_release`).
const MAX_UNREAD: usize = 150 * 1024;

/// Datagrams and bytes that may still be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) datagrams: usize,
    pub(crate) bytes: usize,
}

impl Budget {
    /// The budget of one iteration.
    pub(crate) const FULL: Self = Self {
        datagrams: MAX_FLUSH_DATAGRAMS,
        bytes: MAX_FLUSH_BYTES,
    };

    pub(crate) fn without(self, datagrams: usize, bytes: usize) -> Self {
        Self {
            datagrams: self.datagrams.saturating_sub(datagrams),
            bytes: self.bytes.saturating_sub(bytes),
        }
    }

    pub(crate) fn is_empty(self) -> bool {
        self.datagrams == 0 || self.bytes == 0
    }

    /// Whether the rest is too small for a system call of its own.
    pub(crate) fn is_spent(self) -> bool {
        self.datagrams < MAX_FLUSH_DATAGRAMS / 4 || self.bytes < MAX_FLUSH_BYTES / 4
    }
}

/// The answer to a handle that asks to flush its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    /// The handle may send this much.
    Send(Budget),
    /// The budget of this iteration is spent.
    NextIteration,
    /// Receivers must read first: the loop has to poll in this iteration.
    AfterPoll,
}

/// Limits what the handles of one loop send, and forces a poll so that receivers on that loop read
/// first.
///
/// Invariant: in one iteration, the handles flush at most [`Budget::FULL`]. While a receiver is
/// driven only by the poller, they send at most [`MAX_UNREAD`] bytes of receive buffer between two
/// polls. So a receiver with a default buffer on the same loop loses nothing, even if it gets all
/// datagrams.
#[derive(Debug)]
pub(crate) struct FlowControl {
    /// The iteration of the last flush, and the rest of its budget.
    budget: Cell<(u64, Budget)>,
    /// Receivers that are driven only by the poller.
    poll_driven: Cell<usize>,
    /// Estimated unread socket-buffer bytes sent since the last forced poll.
    unread: Cell<usize>,
    /// The iteration of the last forced poll.
    forced_poll: Cell<Option<u64>>,
    /// System calls of this loop's handles that sent several datagrams, modulo 2³². Receivers on
    /// the loop read more after a burst.
    bursts: Cell<u32>,
}

impl FlowControl {
    pub(crate) fn new() -> Self {
        Self {
            budget: Cell::new((0, Budget::FULL)),
            poll_driven: Cell::new(0),
            unread: Cell::new(0),
            forced_poll: Cell::new(None),
            bursts: Cell::new(0),
        }
    }

    /// Asks for a flush of about `next` datagrams and bytes in the given iteration.
    pub(crate) fn grant(&self, iteration: u64, next: Budget) -> Grant {
        let left = match self.budget.get() {
            (of, left) if of == iteration => left,
            _ => Budget::FULL,
        };
        if left.is_spent() {
            return Grant::NextIteration;
        }
        let polled_last = self.forced_poll.get() == iteration.checked_sub(1);
        let room = MAX_UNREAD.saturating_sub(self.unread.get());
        if !polled_last && buffer_bytes(next.datagrams, next.bytes) > room {
            self.unread.set(0);
            if self.poll_driven.get() > 0 {
                self.forced_poll.set(Some(iteration));
                return Grant::AfterPoll;
            }
        }
        Grant::Send(left)
    }

    /// Records a granted flush, and the rest of its budget.
    pub(crate) fn flushed(&self, iteration: u64, granted: Budget, left: Budget) {
        self.budget.set((iteration, left));
        self.sent(
            granted.datagrams - left.datagrams,
            granted.bytes - left.bytes,
        );
    }

    /// Counts sent datagrams as unread.
    #[inline]
    pub(crate) fn sent(&self, datagrams: usize, bytes: usize) {
        let unread = self.unread.get();
        self.unread
            .set(unread.saturating_add(buffer_bytes(datagrams, bytes)));
    }

    /// Adds or removes a receiver that is driven only by the poller.
    pub(crate) fn set_poll_driven(&self, on: bool) {
        let others = self.poll_driven.get() - usize::from(!on);
        self.poll_driven.set(others + usize::from(on));
    }

    pub(crate) fn sent_burst(&self) {
        self.bursts.set(self.bursts.get().wrapping_add(1));
    }

    pub(crate) fn bursts(&self) -> u32 {
        self.bursts.get()
    }
}

/// Estimated bytes of receive buffer that the datagrams take: for each, a power of two with room
/// for its headers, and the structure that describes it (`SKB_TRUESIZE`).
#[inline]
fn buffer_bytes(datagrams: usize, bytes: usize) -> usize {
    let each = bytes.checked_div(datagrams).unwrap_or(0);
    datagrams * ((each + 384).next_power_of_two() + 256)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: Budget = Budget {
        datagrams: 54,
        bytes: 54 * 1200,
    };

    #[test]
    fn an_iteration_has_one_budget_for_all_handles() {
        let flow = FlowControl::new();
        assert_eq!(flow.grant(1, LARGE), Grant::Send(Budget::FULL));
        let left = Budget::FULL.without(40, 40 * 45);
        flow.flushed(1, Budget::FULL, left);
        assert_eq!(flow.grant(1, LARGE), Grant::Send(left));
        flow.flushed(1, left, left.without(20, 20 * 45));
        assert_eq!(flow.grant(1, LARGE), Grant::NextIteration);
        assert_eq!(flow.grant(2, LARGE), Grant::Send(Budget::FULL));
    }

    #[test]
    fn a_poll_is_forced_before_a_poll_driven_receiver_runs_out_of_buffer() {
        let flow = FlowControl::new();
        flow.set_poll_driven(true);
        let flushes = (1..100)
            .take_while(|&iteration| {
                let Grant::Send(budget) = flow.grant(iteration, LARGE) else {
                    return false;
                };
                flow.flushed(iteration, budget, budget.without(54, 54 * 1200));
                true
            })
            .count();
        assert!(flushes >= 1);
        assert!(flushes * buffer_bytes(54, 54 * 1200) <= MAX_UNREAD);
        // After the poll, the handles send again.
        let next = flushes as u64 + 2;
        assert_eq!(flow.grant(next, LARGE), Grant::Send(Budget::FULL));
    }

    #[test]
    fn without_a_poll_driven_receiver_no_poll_is_forced() {
        let flow = FlowControl::new();
        for iteration in 1..100 {
            let Grant::Send(budget) = flow.grant(iteration, LARGE) else {
                panic!("iteration {iteration}");
            };
            flow.flushed(iteration, budget, budget.without(54, 54 * 1200));
        }
    }
}
