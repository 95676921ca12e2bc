//! Counters of a handle.

use std::cell::{Cell, RefCell};

use uv_sys::Errno;

use crate::lazy::LazyBox;

/// A snapshot of a handle's counters, from [`Udp::counters`](crate::Udp::counters).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Datagrams that the kernel took. A buffer that the socket segments by its
    /// [default size](crate::Options::set_segment_size) counts as one.
    pub datagrams_sent: u64,
    /// Payload bytes of [`datagrams_sent`](Self::datagrams_sent).
    pub bytes_sent: u64,
    /// Datagrams that a receive callback got and did not leave in its batch.
    pub datagrams_received: u64,
    /// Payload bytes of [`datagrams_received`](Self::datagrams_received).
    pub bytes_received: u64,
    /// System calls to send, also those that failed.
    pub send_calls: u64,
    /// System calls to receive, also those that found nothing.
    pub recv_calls: u64,
    /// System calls that sent more than one datagram.
    pub batches_sent: u64,
    /// System calls that received more than one datagram.
    pub batches_received: u64,
    /// GSO messages (`UDP_SEGMENT`), which the kernel segmented into datagrams.
    pub segmented_messages: u64,
    /// Datagrams in [`segmented_messages`](Self::segmented_messages).
    pub segments: u64,
    /// Refused GSO messages, whose datagrams were sent one by one.
    pub fallbacks: u64,
    /// Datagrams that were longer than their receive buffer.
    pub truncated: u64,
    /// Datagrams that the kernel dropped because the socket's receive buffer was full, modulo 2³².
    /// Counted with [`set_recv_drops`](crate::Options::set_recv_drops), up to the last received
    /// datagram.
    pub kernel_drops: u64,
    /// Whether [`kernel_drops`](Self::kernel_drops) may be too low: the kernel counts a coalesced
    /// buffer (`UDP_GRO`) as one, whatever its number of datagrams.
    pub kernel_drops_coalesced: bool,
    /// Datagrams of others that a [connect](crate::Udp::connect) dropped: they arrived between the
    /// bind and the connect.
    pub filtered: u64,
    /// Errors and their numbers of occurrences, ordered by first occurrence:
    ///
    /// - network errors, also while the handle does not receive;
    /// - results of sends;
    /// - errors of sends through a [`UdpSender`](crate::UdpSender);
    /// - `ENOBUFS` for each missing buffer in [`recv_into_start`](crate::Udp::recv_into_start).
    pub errors: Vec<(Errno, u64)>,
}

/// The live counters of a handle.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    datagrams_sent: Cell<u64>,
    bytes_sent: Cell<u64>,
    datagrams_received: Cell<u64>,
    bytes_received: Cell<u64>,
    send_calls: Cell<u64>,
    recv_calls: Cell<u64>,
    batches_sent: Cell<u64>,
    batches_received: Cell<u64>,
    segmented_messages: Cell<u64>,
    segments: Cell<u64>,
    rare: LazyBox<RareStats>,
}

/// Counters that most handles never use.
#[derive(Debug, Default)]
struct RareStats {
    fallbacks: Cell<u64>,
    truncated: Cell<u64>,
    kernel_drops: Cell<u64>,
    /// Those of former sockets of the handle.
    drops_before: Cell<u64>,
    /// Whether the count rose while the kernel coalesced.
    drops_coalesced: Cell<bool>,
    filtered: Cell<u64>,
    errors: RefCell<Vec<(Errno, u64)>>,
}

#[inline]
fn add(counter: &Cell<u64>, count: usize) {
    counter.set(counter.get().wrapping_add(count as u64));
}

impl Stats {
    /// Counts datagrams that the kernel took.
    #[inline]
    pub(crate) fn sent(&self, datagrams: usize, bytes: usize) {
        add(&self.datagrams_sent, datagrams);
        add(&self.bytes_sent, bytes);
    }

    /// Counts a GSO message.
    #[inline]
    pub(crate) fn segmented(&self, segments: usize) {
        add(&self.segmented_messages, 1);
        add(&self.segments, segments);
    }

    /// Counts a system call that sent several datagrams.
    #[inline]
    pub(crate) fn sent_batch(&self) {
        add(&self.batches_sent, 1);
    }

    #[inline]
    pub(crate) fn send_call(&self) {
        add(&self.send_calls, 1);
    }

    #[inline]
    pub(crate) fn recv_call(&self) {
        add(&self.recv_calls, 1);
    }

    /// Counts delivered datagrams.
    #[inline]
    pub(crate) fn received(&self, datagrams: usize, bytes: usize) {
        add(&self.datagrams_received, datagrams);
        add(&self.bytes_received, bytes);
    }

    /// Subtracts datagrams that a callback left in its batch.
    pub(crate) fn returned(&self, datagrams: usize, bytes: usize) {
        for (counter, count) in [
            (&self.datagrams_received, datagrams),
            (&self.bytes_received, bytes),
        ] {
            counter.set(counter.get().wrapping_sub(count as u64));
        }
    }

    #[inline]
    pub(crate) fn received_batch(&self) {
        add(&self.batches_received, 1);
    }

    fn rare(&self) -> &RareStats {
        self.rare.get_or_init(Box::default)
    }

    pub(crate) fn fallback(&self) {
        add(&self.rare().fallbacks, 1);
    }

    pub(crate) fn truncated(&self) {
        add(&self.rare().truncated, 1);
    }

    pub(crate) fn filtered(&self, count: usize) {
        add(&self.rare().filtered, count);
    }

    /// Updates the socket's own count, which only grows. `coalescing`: it may count coalesced
    /// buffers.
    pub(crate) fn kernel_drops(&self, drops: u32, coalescing: bool) {
        let rare = self.rare();
        let before = rare.drops_before.get();
        let all = before.wrapping_add(drops.into());
        if rare.kernel_drops.replace(all) != all && coalescing {
            rare.drops_coalesced.set(true);
        }
    }

    /// Continues the count with another socket, which starts from 0.
    pub(crate) fn socket_replaced(&self) {
        if let Some(rare) = self.rare.get() {
            rare.drops_before.set(rare.kernel_drops.get());
        }
    }

    pub(crate) fn error(&self, errno: Errno) {
        let mut errors = self.rare().errors.borrow_mut();
        match errors.iter_mut().find(|(known, _)| *known == errno) {
            Some((_, count)) => *count += 1,
            None => errors.push((errno, 1)),
        }
    }
}

impl Stats {
    pub(crate) fn counters(&self) -> Counters {
        let none = RareStats::default();
        let rare = self.rare.get().map_or(&none, |rare| rare);
        Counters {
            datagrams_sent: self.datagrams_sent.get(),
            bytes_sent: self.bytes_sent.get(),
            datagrams_received: self.datagrams_received.get(),
            bytes_received: self.bytes_received.get(),
            send_calls: self.send_calls.get(),
            recv_calls: self.recv_calls.get(),
            batches_sent: self.batches_sent.get(),
            batches_received: self.batches_received.get(),
            segmented_messages: self.segmented_messages.get(),
            segments: self.segments.get(),
            fallbacks: rare.fallbacks.get(),
            truncated: rare.truncated.get(),
            kernel_drops: rare.kernel_drops.get(),
            kernel_drops_coalesced: rare.drops_coalesced.get(),
            filtered: rare.filtered.get(),
            errors: rare.errors.borrow().clone(),
        }
    }
}
