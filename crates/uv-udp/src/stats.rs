//! What a handle has done so far, in numbers.

use std::cell::{Cell, RefCell};

use uv_sys::Errno;

use crate::lazy::LazyBox;

/// What a handle has done since it was made. A copy: it does not go on counting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Datagrams that the kernel took. Those that it was to cut by a [default size](crate::Options::set_segment_size) count as one.
    pub datagrams_sent: u64,
    /// Bytes in them.
    pub bytes_sent: u64,
    /// Datagrams that were delivered to a receive callback.
    pub datagrams_received: u64,
    /// Bytes in them.
    pub bytes_received: u64,
    /// System calls that were to send.
    pub send_calls: u64,
    /// System calls that were to receive.
    pub recv_calls: u64,
    /// System calls that sent more than one datagram.
    pub batches_sent: u64,
    /// System calls that received more than one datagram.
    pub batches_received: u64,
    /// Messages that the kernel cut into datagrams.
    pub segmented_messages: u64,
    /// Datagrams in those messages.
    pub segments: u64,
    /// Messages that the kernel would not cut, and whose datagrams were sent one by one instead.
    pub fallbacks: u64,
    /// Datagrams that were longer than the memory they were received into.
    pub truncated: u64,
    /// Datagrams that the kernel dropped for want of room in the socket's buffer, as far as
    /// [`set_recv_drops`](crate::Options::set_recv_drops) has told: modulo 2³².
    pub kernel_drops: u64,
    /// Whether some of [`kernel_drops`](Self::kernel_drops) may be coalesced buffers (`UDP_GRO`), which the kernel counts as
    /// one each, whatever the number of datagrams in them: more were lost then.
    pub kernel_drops_coalesced: bool,
    /// Datagrams of filtered that were dropped: they came after the handle was bound, or began to connect, and before it was
    /// [connected](crate::Udp::connect).
    pub filtered: u64,
    /// Errors by name, and how often, in the order of their first time: of the network, also where nobody receives to be told
    /// them, of sends that completed with one, of those that a [`UdpSender`](crate::UdpSender) asked for and the handle
    /// refused; and `ENOBUFS` each time that a [supply](crate::Udp::recv_into_start) had no buffer.
    pub errors: Vec<(Errno, u64)>,
}

/// The counters while they count.
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

/// What does not happen to most handles.
#[derive(Debug, Default)]
struct RareStats {
    fallbacks: Cell<u64>,
    truncated: Cell<u64>,
    kernel_drops: Cell<u64>,
    /// Of them, those of sockets that the handle had before.
    drops_before: Cell<u64>,
    /// Whether the count rose while the kernel put datagrams together.
    drops_coalesced: Cell<bool>,
    filtered: Cell<u64>,
    errors: RefCell<Vec<(Errno, u64)>>,
}

#[inline]
fn add(counter: &Cell<u64>, count: usize) {
    counter.set(counter.get().wrapping_add(count as u64));
}

impl Stats {
    /// The kernel took so many datagrams.
    #[inline]
    pub(crate) fn sent(&self, datagrams: usize, bytes: usize) {
        add(&self.datagrams_sent, datagrams);
        add(&self.bytes_sent, bytes);
    }

    /// One message of so many segments was taken.
    #[inline]
    pub(crate) fn segmented(&self, segments: usize) {
        add(&self.segmented_messages, 1);
        add(&self.segments, segments);
    }

    /// One call took more than one datagram.
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

    /// So many datagrams were delivered.
    #[inline]
    pub(crate) fn received(&self, datagrams: usize, bytes: usize) {
        add(&self.datagrams_received, datagrams);
        add(&self.bytes_received, bytes);
    }

    /// So many of them were not taken, and are delivered again.
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

    /// The kernel's own count for the socket, which only grows, and whether it may count coalesced buffers.
    pub(crate) fn kernel_drops(&self, drops: u32, coalescing: bool) {
        let rare = self.rare();
        let before = rare.drops_before.get();
        let all = before.wrapping_add(drops.into());
        if rare.kernel_drops.replace(all) != all && coalescing {
            rare.drops_coalesced.set(true);
        }
    }

    /// Another socket takes the place of the old one, and counts from 0.
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
