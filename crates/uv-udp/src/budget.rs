//! What the handles of a loop may send before those who receive on it have their turn: no more than a receiver has room for.

use crate::runs::Share;
use crate::sending::first_length;
use crate::shared::Shared;
use crate::udp::Inner;

/// Datagrams that the handles of a loop flush in an iteration. A receiver on the same loop with default buffers (208 KiB, of
/// which the smallest datagram takes 768 bytes, and one of 1,500 bytes 2,304) has room for them.
pub(crate) const MAX_FLUSH_DATAGRAMS: usize = 64;
/// Bytes of them: one full message. A datagram with more than is left of them goes all the same.
pub(crate) const MAX_FLUSH_BYTES: usize = 64 * 1024;

/// Bytes of a receive buffer that are flushed at most before those have their turn who have one only when the poller is asked:
/// three quarters of a default buffer, as the kernel may keep a quarter taken for a while after it was read.
const MAX_UNREAD: usize = 150 * 1024;

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
    /// Offers what is queued, as far as the budget of this iteration goes, and as those who rest have room for it.
    pub(crate) fn flush_within_budget(&self) {
        let iteration = self.handle.iteration();
        let mut left = match self.shared.budget.get() {
            (of, left) if of == iteration => left,
            _ => Budget::FULL,
        };
        if !left.is_spent() && self.has_room(iteration) {
            let before = left;
            left = self.offer(left);
            self.shared.budget.set((iteration, left));
            self.count_unread(before.datagrams - left.datagrams, before.bytes - left.bytes);
        }
        if left.is_spent() {
            self.handle.end_flush();
        }
    }

    /// Counts what was sent against the room of those who rest.
    #[inline]
    pub(crate) fn count_unread(&self, datagrams: usize, bytes: usize) {
        let unread = &self.shared.unread;
        unread.set(unread.get().saturating_add(memory_of(datagrams, bytes)));
    }

    /// Whether those who rest have room for the next flush, if one of them has to receive all of it, and what was sent before. If
    /// not, the poller gives them their turn in this iteration, and the flush is for the next one.
    fn has_room(&self, iteration: u64) -> bool {
        let Shared { unread, read, .. } = &*self.shared;
        let had_turn = read.get() == iteration.checked_sub(1);
        let room = MAX_UNREAD.saturating_sub(unread.get());
        if had_turn || self.next_flush() <= room {
            return true;
        }
        unread.set(0);
        if self.shared.resting.get() == 0 {
            return true;
        }
        read.set(Some(iteration));
        self.handle.ask_poller();
        self.handle.end_flush();
        false
    }

    /// Bytes of a receive buffer that the next flush takes, more or less.
    fn next_flush(&self) -> usize {
        let queue = self.sender.queue();
        let average = queue.bytes() / queue.count().max(1);
        let size = first_length(&queue).max(average);
        let most = MAX_FLUSH_BYTES.checked_div(size);
        let datagrams = most.map_or(MAX_FLUSH_DATAGRAMS, |most| {
            most.clamp(1, MAX_FLUSH_DATAGRAMS)
        });
        let datagrams = datagrams.min(queue.pending_count());
        memory_of(datagrams, datagrams * size)
    }
}

/// Bytes of a receive buffer that so many datagrams take, more or less: for each a block that it fits into with a header, and
/// what describes it (`SKB_TRUESIZE` in the kernel).
#[inline]
fn memory_of(datagrams: usize, bytes: usize) -> usize {
    let each = bytes.checked_div(datagrams).unwrap_or(0);
    datagrams * ((each + 384).next_power_of_two() + 256)
}
