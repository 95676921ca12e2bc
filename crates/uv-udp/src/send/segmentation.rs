//! Plans GSO messages (`UDP_SEGMENT`, udp(7)): datagrams of one size to one destination, which pass
//! the kernel's stack as one.

use std::num::NonZeroU16;
use std::ops::AddAssign;

use uv_core::{Pending, PendingRun, RequestQueue};
use uv_sys::{MAX_DATAGRAM, SendBatch, Transmit};

use super::queue::Header;
use crate::flow_control::Budget;

/// The limits of one system call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Messages in the batch.
    pub(super) messages: usize,
    /// Segments in a message.
    pub(super) segments: usize,
    /// Bytes in a segment; a larger datagram is a message of its own. 0 for no segmentation.
    pub(super) segment_size: u16,
    /// The budget of all messages together. A first message of one datagram may exceed its bytes.
    pub(super) budget: Budget,
}

impl Limits {
    /// The most datagrams of `size` bytes in one message.
    pub(super) fn datagrams_of(self, size: usize) -> usize {
        if size == 0 || size > usize::from(self.segment_size) {
            1
        } else {
            self.segments.min(MAX_DATAGRAM / size).max(1)
        }
    }
}

/// The datagrams and bytes of one message, or the sum of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// Datagrams as they were accepted: requests, or entries of a batch.
    pub(super) accepted: usize,
    /// Datagrams on the wire: more where one accepted buffer has a segment size of its own.
    pub(super) segments: usize,
    pub(super) bytes: usize,
}

impl Share {
    pub(super) fn of(accepted: usize, transmit: &Transmit<'_>) -> Self {
        let bytes = transmit.payload.len();
        let segment_size = transmit.segment_size.map(|size| usize::from(size.get()));
        Self {
            accepted,
            segments: segment_size.map_or(1, |size| bytes.div_ceil(size).max(1)),
            bytes,
        }
    }
}

impl AddAssign for Share {
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.segments += other.segments;
        self.bytes += other.bytes;
    }
}

/// The share of each message in a batch.
pub(super) type Shares = [Share; SendBatch::MAX];

/// Datagrams to send in order: the queue of a handle, or the caller's memory.
pub(super) trait Datagrams {
    fn is_empty(&self) -> bool;

    /// Bytes in the first datagram; 0 if there is none.
    fn first_len(&self) -> usize;

    /// The next messages within `limits`; at least one if there are datagrams. Once the iterator
    /// has returned a message, `shares` has its share.
    fn messages<'a>(
        &'a mut self,
        limits: Limits,
        shares: &'a mut Shares,
    ) -> impl Iterator<Item = Transmit<'a>>;

    /// Removes the first datagrams, which the kernel took.
    fn advance(&mut self, taken: Share);
}

/// The number of leading payloads that fit into one message: those as long as the first one, and a
/// shorter last one.
pub(super) fn segment_count(lengths: impl IntoIterator<Item = usize>, limits: Limits) -> usize {
    let mut lengths = lengths.into_iter();
    let Some(size) = lengths.next() else { return 0 };
    let most = limits.datagrams_of(size);
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

/// The pending requests of a queue.
pub(super) struct Queued<'q, C>(pub(super) &'q mut RequestQueue<Header, C>);

impl<C> Datagrams for Queued<'_, C> {
    fn is_empty(&self) -> bool {
        self.0.pending_count() == 0
    }

    fn first_len(&self) -> usize {
        self.0.pending().peek().map_or(0, |run| run.size)
    }

    fn messages<'a>(
        &'a mut self,
        limits: Limits,
        shares: &'a mut Shares,
    ) -> impl Iterator<Item = Transmit<'a>> {
        QueuedMessages {
            pending: self.0.pending(),
            shares: shares.iter_mut(),
            limits,
            left: limits.budget,
            messages: 0,
        }
    }

    fn advance(&mut self, taken: Share) {
        self.0.complete(taken.accepted, Ok(()));
    }
}

struct QueuedMessages<'q, 's, C> {
    pending: Pending<'q, Header, C>,
    shares: std::slice::IterMut<'s, Share>,
    limits: Limits,
    left: Budget,
    messages: usize,
}

impl<'q, C> Iterator for QueuedMessages<'q, '_, C> {
    type Item = Transmit<'q>;

    fn next(&mut self) -> Option<Transmit<'q>> {
        if self.messages >= self.limits.messages {
            return None;
        }
        let PendingRun { tag, count, size } = self.pending.peek()?;
        let header = &tag.transmit;
        let mut count = count
            .min(self.left.datagrams)
            .min(self.limits.datagrams_of(size));
        let fit = self.left.bytes.checked_div(size).unwrap_or(usize::MAX);
        if count > fit {
            // Only a first message may be shortened to fit the budget.
            count = if self.messages == 0 { fit.max(1) } else { 0 };
        }
        let payload = self.pending.take(count)?;
        let segment_size = if count > 1 {
            u16::try_from(size).ok().and_then(NonZeroU16::new)
        } else {
            header.segment_size
        };
        let mut transmit = header.with_payload(payload);
        transmit.segment_size = segment_size;
        let share = Share::of(count, &transmit);
        *self.shares.next()? = share;
        self.messages += 1;
        self.left = self.left.without(share.segments, share.bytes);
        Some(transmit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(lengths: &[usize], max_segments: usize, segment_size: u16) -> usize {
        let limits = Limits {
            messages: 1,
            segments: max_segments,
            segment_size,
            budget: Budget::FULL,
        };
        segment_count(lengths.iter().copied(), limits)
    }

    #[test]
    fn a_message_ends_with_a_shorter_datagram_and_before_a_longer_or_empty_one() {
        let count = |lengths| count(lengths, 64, u16::MAX);
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&[5]), 1);
        assert_eq!(count(&[5, 5, 5]), 3);
        assert_eq!(count(&[5, 5, 3, 5]), 3);
        assert_eq!(count(&[5, 6]), 1);
        assert_eq!(count(&[5, 0, 5]), 1);
        assert_eq!(count(&[0, 0]), 1);
    }

    #[test]
    fn a_message_has_at_most_max_segments_and_max_datagram_bytes() {
        assert_eq!(count(&[1; 1000], 64, u16::MAX), 64);
        assert_eq!(count(&[20_000; 10], 64, u16::MAX), 3);
        assert_eq!(count(&[65_507; 2], 64, u16::MAX), 1);
        assert_eq!(count(&[1200; 10], 64, 1199), 1);
        assert_eq!(count(&[1200; 10], 4, 1200), 4);
    }
}
