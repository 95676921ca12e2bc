//! The sending half of a handle: accepting a datagram, and sending messages past errors of earlier
//! datagrams and past refused segmentation.

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::net::SocketAddr;
use std::rc::Rc;

use uv_core::{Phase, Pool, RequestQueue};
use uv_sys::{Errno, Result, SendBatch, Transmit};

use super::context::SendContext;
use super::defaults::Defaults;
use super::pending_error::PendingErrorFilter;
use super::queue::Header;
use super::segmentation::{Datagrams, Limits, Share};
use crate::flow_control::Budget;

/// Messages in the next system call after sendmmsg(2) took fewer than it got.
///
/// sendmmsg(2) hides the error that stopped it, and a pending ICMP error is lost; sendmsg(2)
/// returns it.
pub(super) const SINGLE: usize = 1;

/// A GSO message that the kernel refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    errno: Errno,
    /// Bytes in its segments.
    size: u16,
}

/// The sending half of a handle. `C` is the data that the completion of a request needs.
pub(crate) struct SendState<C> {
    queue: RefCell<RequestQueue<Header, C>>,
    /// Whether the socket buffer is full: the poller reports when it has room.
    blocked: Cell<bool>,
    /// Whether the device's queue is full: a deadline ends the pause.
    paused: Cell<bool>,
    /// The filter of the oldest pending datagram, between two flushes.
    pub(super) filter: Cell<PendingErrorFilter>,
    /// Pauses since the kernel last took a datagram.
    pub(super) pauses: Cell<u32>,
    /// The oldest refused GSO message, until single sends prove segmentation the cause.
    pub(super) refused: Cell<Option<Refusal>>,
    /// Bytes in the largest segment that the path and the device are believed to take.
    largest_segment: Cell<u16>,
    defaults: Defaults,
}

/// The state of one loop over datagrams.
pub(super) struct Attempt {
    pub(super) filter: PendingErrorFilter,
    /// Messages in the next system call.
    pub(super) width: usize,
    /// Segments in a message; 1 after a refusal.
    segments: usize,
}

impl<C> SendState<C> {
    pub(crate) fn new(pool: Rc<Pool>) -> Self {
        Self {
            queue: RefCell::new(RequestQueue::new(pool)),
            blocked: Cell::new(false),
            paused: Cell::new(false),
            filter: Cell::default(),
            pauses: Cell::new(0),
            refused: Cell::new(None),
            largest_segment: Cell::new(u16::MAX),
            defaults: Defaults::new(),
        }
    }

    pub(crate) fn queue(&self) -> Ref<'_, RequestQueue<Header, C>> {
        self.queue.borrow()
    }

    pub(super) fn queue_mut(&self) -> RefMut<'_, RequestQueue<Header, C>> {
        self.queue.borrow_mut()
    }

    pub(crate) fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// Whether the poller must watch for room in the socket buffer.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.get()
    }

    pub(super) fn block(&self) {
        self.blocked.set(true);
    }

    /// Ends the wait for room in the socket buffer. `false` if there was none.
    pub(crate) fn unblock(&self) -> bool {
        self.blocked.replace(false)
    }

    pub(super) fn start_pause(&self) {
        self.paused.set(true);
    }

    pub(crate) fn end_pause(&self) {
        self.paused.set(false);
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.blocked.get() || self.paused.get()
    }

    pub(super) fn stop_waiting(&self) {
        self.blocked.set(false);
        self.paused.set(false);
    }

    /// Sets whether the socket itself segments everything that it sends.
    pub(crate) fn set_socket_segments(&self, on: bool) {
        self.defaults.set_socket_segments(on);
        self.reset_largest_segment();
    }

    /// Drops the learned segment size: another peer is another path. A socket with a segment size
    /// of its own gets no GSO messages, whose segments it would segment again.
    pub(crate) fn reset_largest_segment(&self) {
        let none = self.defaults.socket_segments();
        self.largest_segment.set(if none { 0 } else { u16::MAX });
    }

    fn learn(&self, refusal: Refusal) {
        match refusal.errno {
            // Longer than the path or the device allows; smaller ones may pass.
            Errno::EMSGSIZE | Errno::EINVAL => {
                self.largest_segment.set(refusal.size.saturating_sub(1));
            }
            // No segmentation: an IPsec route, a device without checksum offload, an old kernel.
            Errno::EIO | Errno::ENOPROTOOPT | Errno::EOPNOTSUPP => self.largest_segment.set(0),
            // About these datagrams, not about segmentation.
            _ => {}
        }
    }

    /// Returns `ENOBUFS` for a datagram beyond the limit of the queue.
    #[inline]
    pub(crate) fn check_limit(&self, bytes: usize) -> Result<()> {
        self.defaults
            .check_limit(|| self.queue.borrow().bytes(), bytes)
    }

    /// Accepts a datagram that equals the youngest queued one in length and header. The checks of
    /// that one hold for it, because a change of the peer and a close empty the queue. Gives
    /// `completion` back if there is no such datagram.
    #[inline]
    pub(crate) fn try_coalesce(
        &self,
        payload: &[u8],
        destination: Option<&SocketAddr>,
        completion: C,
    ) -> std::result::Result<(), C> {
        let queued = || self.queue.borrow().bytes();
        if !self.defaults.needs_none(queued, payload.len()) {
            return Err(completion);
        }
        self.queue
            .borrow_mut()
            .push_alike(payload, &destination, completion)
    }

    /// Accepts a datagram that was checked: sends it if the queue is empty, or queues it.
    #[inline]
    pub(crate) fn accept(&self, cx: &SendContext<'_>, transmit: &Transmit<'_>, completion: C) {
        let mut queue = self.queue.borrow_mut();
        if queue.count() > 0 {
            enqueue(&mut queue, transmit, completion);
            if !self.is_waiting() {
                cx.handle.schedule(Phase::Flush);
            }
            return;
        }
        drop(queue);
        let result = self.send_one(cx, transmit);
        cx.shared.flow.sent(1, transmit.payload.len());
        let mut queue = self.queue.borrow_mut();
        match result {
            Err(error) if error == Errno::EAGAIN || is_device_full(error) => {
                enqueue(&mut queue, transmit, completion);
                cx.handle.schedule(Phase::Flush);
            }
            result => {
                queue.push_completed(transmit.payload.len(), completion, result.map(drop));
                cx.handle.schedule(Phase::Completions);
            }
        }
        cx.handle.set_active(true);
    }

    /// Sends one message. Inlined into its two callers: the call costs 1 % of the instructions that a
    /// small datagram takes in user space (callgrind).
    #[inline(always)]
    pub(super) fn send_one(&self, cx: &SendContext<'_>, transmit: &Transmit<'_>) -> Result<usize> {
        let result = uv_sys::message::sendmsg(cx.socket, transmit);
        let bytes = if result.is_ok() {
            cx.stats.send_call();
            result
        } else {
            cx.retry_past_pending_errors(transmit, result)
        }?;
        cx.count(Share::of(1, transmit));
        Ok(bytes)
    }

    pub(super) fn attempt(&self, filter: PendingErrorFilter, max_segments: usize) -> Attempt {
        let segments = if self.refused.get().is_none() {
            max_segments
        } else {
            1
        };
        Attempt {
            filter,
            width: SendBatch::MAX,
            segments,
        }
    }

    /// Sends the next messages with one system call. Returns the datagrams that the kernel took, or
    /// the error of the first one.
    ///
    /// Repeats the call past errors about earlier datagrams, and with single datagrams where a GSO
    /// message is refused.
    pub(super) fn send_messages(
        &self,
        cx: &SendContext<'_>,
        datagrams: &mut impl Datagrams,
        attempt: &mut Attempt,
        budget: Budget,
    ) -> Result<Share> {
        loop {
            let limits = Limits {
                messages: attempt.width,
                segments: attempt.segments,
                segment_size: self.largest_segment.get(),
                budget,
            };
            let mut shares = [Share::default(); SendBatch::MAX];
            let mut batch = cx.shared.send.borrow_mut();
            let result = batch.send(cx.socket, datagrams.messages(limits, &mut shares));
            drop(batch);
            let [first, ..] = shares;
            match cx.classify(&mut attempt.filter, result) {
                None => {}
                Some(Ok(messages)) => {
                    self.pauses.set(0);
                    if let Some(refusal) = self.refused.take() {
                        self.learn(refusal);
                    }
                    let mut taken = Share::default();
                    for share in shares.iter().take(messages) {
                        taken += *share;
                        cx.count_segments(*share);
                    }
                    cx.count_sent(taken);
                    datagrams.advance(taken);
                    if shares.get(messages).is_some_and(|next| next.accepted > 0) {
                        attempt.width = SINGLE;
                    }
                    return Ok(taken);
                }
                Some(Err(errno)) if errno != Errno::EAGAIN && first.accepted > 1 => {
                    // Each datagram has a result of its own, and a full device may still take one.
                    cx.stats.fallback();
                    let size = u16::try_from(datagrams.first_len()).unwrap_or(u16::MAX);
                    self.refused.set(Some(Refusal { errno, size }));
                    attempt.segments = 1;
                }
                Some(Err(error)) => return Err(error),
            }
        }
    }
}

fn enqueue<C>(queue: &mut RequestQueue<Header, C>, transmit: &Transmit<'_>, completion: C) {
    // A datagram that was checked fits into the queue.
    let _ = queue.push(transmit.payload, transmit, completion);
}

pub(super) fn is_device_full(error: Errno) -> bool {
    matches!(error, Errno::ENOBUFS | Errno::ENOMEM)
}
