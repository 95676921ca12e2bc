//! Which datagrams leave as one message: runs of equal size to one destination, which the kernel takes in one walk through
//! its stack (`UDP_SEGMENT`, udp(7)).

use std::num::NonZeroU16;
use std::ops::AddAssign;

use uv_core::{Pending, PendingRun};
use uv_sys::{MAX_DATAGRAM, Payload, SendBatch, Transmit};

use crate::budget::{Budget, MAX_FLUSH_DATAGRAMS};
use crate::request::{Completion, Header, SendQueue};
use crate::udp::Inner;

/// How many of the payloads can leave as one message: they are as long as the first, and the last may be shorter.
pub(crate) fn run_length(lengths: impl IntoIterator<Item = usize>, limits: Limits) -> usize {
    let mut lengths = lengths.into_iter();
    let Some(size) = lengths.next() else { return 0 };
    let most = limits.of(size);
    let mut count = 1;
    while count < most {
        match lengths.next() {
            Some(len) if len == size => count += 1,
            Some(len) if len < size && len > 0 => return count + 1,
            _ => break,
        }
    }
    count
}

/// The pending requests of a queue as messages, within the bounds of one turn.
pub(crate) struct Runs<'q, 'c> {
    pending: Pending<'q, Header, Completion>,
    /// What each message has.
    counts: &'c mut [Share; SendBatch::MAX],
    limits: Limits,
    /// What those have that were made so far, and how many they are.
    taken: Share,
    messages: usize,
}

/// What may be offered to the kernel at once.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Messages in a batch.
    pub(crate) messages: usize,
    /// Segments in a message.
    pub(crate) segments: usize,
    /// Bytes in a segment; 0 for no segmentation.
    pub(crate) segment_size: u16,
    /// For all messages together; the first may exceed the bytes with one datagram.
    pub(crate) budget: Budget,
}

impl Limits {
    /// How many datagrams of `size` bytes may be one message.
    fn of(self, size: usize) -> usize {
        if size == 0 || size > usize::from(self.segment_size) {
            1
        } else {
            self.segments.min(MAX_DATAGRAM / size).max(1)
        }
    }
}

/// What one message has, or several.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Share {
    /// Requests.
    pub(crate) datagrams: usize,
    /// Datagrams that the kernel makes of them: more where a request is to be cut.
    pub(crate) segments: usize,
    pub(crate) bytes: usize,
}

impl AddAssign for Share {
    fn add_assign(&mut self, other: Self) {
        self.datagrams += other.datagrams;
        self.segments += other.segments;
        self.bytes += other.bytes;
    }
}

impl<'q, 'c> Runs<'q, 'c> {
    pub(crate) fn new(
        queue: &'q SendQueue,
        counts: &'c mut [Share; SendBatch::MAX],
        limits: Limits,
    ) -> Self {
        Self {
            pending: queue.pending(),
            counts,
            limits,
            taken: Share::default(),
            messages: 0,
        }
    }
}

impl<'q> Iterator for Runs<'q, '_> {
    type Item = Transmit<'q>;

    fn next(&mut self) -> Option<Transmit<'q>> {
        if self.messages >= self.limits.messages {
            return None;
        }
        let PendingRun { tag, count, size } = self.pending.peek()?;
        let header = &tag.transmit;
        let room = self.limits.budget.without(self.taken);
        let mut count = count.min(room.datagrams).min(self.limits.of(size));
        let fit = room.bytes.checked_div(size).unwrap_or(usize::MAX);
        if count > fit {
            // To split a run is worth it for the first message only.
            count = if self.messages == 0 { fit.max(1) } else { 0 };
        }
        let payload = self.pending.take(count)?;
        let segment_size = if count > 1 {
            u16::try_from(size).ok().and_then(NonZeroU16::new)
        } else {
            header.segment_size
        };
        let transmit = Transmit {
            payload: Payload::Bytes(payload),
            segment_size,
            ..*header
        };
        let share = Share {
            datagrams: count,
            segments: segments_in(&transmit, payload.len()),
            bytes: payload.len(),
        };
        *self.counts.get_mut(self.messages)? = share;
        self.messages += 1;
        self.taken += share;
        Some(transmit)
    }
}

/// How many datagrams the kernel makes of a message of so many bytes.
pub(crate) fn segments_in(transmit: &Transmit<'_>, bytes: usize) -> usize {
    let size = transmit.segment_size.map(|size| size.get().into());
    size.map_or(1, |size| bytes.div_ceil(size).max(1))
}

impl Inner {
    /// What the kernel may be offered at once: so many messages, in segments or not, within a budget.
    pub(crate) fn limits(&self, messages: usize, segments: bool, budget: Budget) -> Limits {
        let largest = self.sender.largest_segment.get();
        Limits {
            messages,
            segments: self.shared.max_segments.min(MAX_FLUSH_DATAGRAMS),
            segment_size: if segments { largest } else { 0 },
            budget,
        }
    }

    /// Counts the messages that the kernel took, and says what they had together.
    pub(crate) fn count_taken(&self, messages: impl Iterator<Item = Share>) -> Share {
        let mut taken = Share::default();
        for message in messages {
            taken += message;
            if message.segments > 1 {
                self.stats.segmented(message.segments);
            }
        }
        self.stats.sent(taken.segments, taken.bytes);
        if taken.segments > 1 {
            self.count_batch();
        }
        taken
    }

    /// Counts a call that took more than one datagram, of which receivers on the same loop should know.
    fn count_batch(&self) {
        self.stats.sent_batch();
        let bursts = &self.shared.bursts;
        bursts.set(bursts.get().wrapping_add(1));
    }

    pub(crate) fn count_sent(&self, transmit: &Transmit<'_>, bytes: usize) {
        let segments = segments_in(transmit, bytes);
        self.stats.sent(segments, bytes);
        if segments > 1 {
            self.stats.segmented(segments);
            self.count_batch();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(segments: usize, segment_size: u16) -> Limits {
        Limits {
            messages: 1,
            segments,
            segment_size,
            budget: Budget::FULL,
        }
    }

    fn run(lengths: &[usize]) -> usize {
        run_length(lengths.iter().copied(), limits(64, u16::MAX))
    }

    #[test]
    fn a_run_ends_with_the_first_shorter_datagram_and_before_a_longer_or_empty_one() {
        assert_eq!(run(&[]), 0);
        assert_eq!(run(&[5]), 1);
        assert_eq!(run(&[5, 5, 5]), 3);
        assert_eq!(run(&[5, 5, 3, 5]), 3);
        assert_eq!(run(&[5, 6]), 1);
        assert_eq!(run(&[5, 0, 5]), 1);
        assert_eq!(run(&[0, 0]), 1);
    }

    #[test]
    fn a_run_has_no_more_segments_and_bytes_than_one_message_may_have() {
        assert_eq!(run(&[1; 1000]), 64);
        assert_eq!(run(&[20_000; 10]), 3);
        assert_eq!(run(&[65_507; 2]), 1);
        assert_eq!(run_length([1200; 10], limits(64, 1199)), 1);
        assert_eq!(run_length([1200; 10], limits(4, 1200)), 4);
    }
}
