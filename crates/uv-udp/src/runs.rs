//! Which datagrams leave as one message: runs of equal size to one destination, which the kernel takes in one walk through
//! its stack (`UDP_SEGMENT`, udp(7)).

use std::num::NonZeroU16;

use uv_sys::{MAX_DATAGRAM, Payload, SendBatch, Transmit};

use crate::sending::{SendQueue, same_header};

/// Datagrams that one handle may send before others have their turn. A receiver on the same loop with default buffers
/// (208 KiB, and 768 bytes of them for the smallest datagram) has room for four times as many.
pub(crate) const MAX_FLUSH_DATAGRAMS: usize = 64;
/// Bytes that one handle may send before others have their turn; one message with more goes alone.
pub(crate) const MAX_FLUSH_BYTES: usize = 64 * 1024;

/// How many of the payloads can leave as one message: they are as long as the first, which may be `largest` bytes at most,
/// and the last may be shorter. `most` is how many segments a message may have.
pub(crate) fn run_length(
    lengths: impl IntoIterator<Item = usize>,
    largest: u16,
    most: usize,
) -> usize {
    let mut lengths = lengths.into_iter();
    let Some(size) = lengths.next() else { return 0 };
    if size == 0 || size > usize::from(largest) {
        return 1;
    }
    let most = most.min(MAX_DATAGRAM / size);
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
    queue: &'q SendQueue,
    /// How many datagrams each message has.
    counts: &'c mut [usize; SendBatch::MAX],
    messages: usize,
    /// The next request.
    next: usize,
    bytes: usize,
    /// Messages at most.
    width: usize,
    /// Bytes in a segment at most; 0 for no segmentation.
    largest: u16,
    /// Segments in a message at most.
    most: usize,
}

impl<'q, 'c> Runs<'q, 'c> {
    pub(crate) fn new(
        queue: &'q SendQueue,
        counts: &'c mut [usize; SendBatch::MAX],
        width: usize,
        largest: u16,
        most: usize,
    ) -> Self {
        Self {
            queue,
            counts,
            messages: 0,
            next: 0,
            bytes: 0,
            width,
            largest,
            most,
        }
    }
}

impl<'q> Iterator for Runs<'q, '_> {
    type Item = Transmit<'q>;

    fn next(&mut self) -> Option<Transmit<'q>> {
        let left = MAX_FLUSH_DATAGRAMS
            .checked_sub(self.next)
            .filter(|&left| left > 0)?;
        if self.messages >= self.width {
            return None;
        }
        let (bytes, header) = self.queue.pending(self.next)?;
        let mut end = bytes.as_ptr_range().end;
        let followers = (self.next + 1..).map_while(|index| {
            let (next, other) = self.queue.pending(index)?;
            let joins = next.as_ptr() == end && same_header(header, other);
            end = next.as_ptr_range().end;
            joins.then_some(next.len())
        });
        let count = run_length(
            std::iter::once(bytes.len()).chain(followers),
            self.largest,
            left.min(self.most),
        );
        let payload = if count > 1 {
            self.queue.span(self.next..self.next + count)?
        } else {
            bytes
        };
        if self.messages > 0 && self.bytes + payload.len() > MAX_FLUSH_BYTES {
            return None;
        }
        let segment_size = if count > 1 {
            bytes.len().try_into().ok().and_then(NonZeroU16::new)
        } else {
            None
        };
        *self.counts.get_mut(self.messages)? = count;
        self.messages += 1;
        self.next += count;
        self.bytes += payload.len();
        Some(Transmit {
            payload: Payload::Bytes(payload),
            segment_size,
            ..*header
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(lengths: &[usize]) -> usize {
        run_length(lengths.iter().copied(), u16::MAX, 64)
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
        assert_eq!(run_length([1200; 10], 1199, 64), 1);
        assert_eq!(run_length([1200; 10], 1200, 4), 4);
    }
}
