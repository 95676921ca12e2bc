//! The sending half of a handle: a datagram on an empty queue goes straight to the kernel; later ones are queued, and leave in
//! batches at the end of the iteration.
//!
//! [`SendState`] knows neither the handle's type nor its callbacks: what it needs comes as a [`SendContext`], and what a
//! request keeps for its completion is a type parameter.

mod caller_memory;
mod defaults;
mod pending_error;
mod queue;
mod segmentation;

use std::cell::{Cell, Ref, RefCell};
use std::mem;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::rc::Rc;
use std::time::Duration;

use uv_core::{Handle, Phase, PollSource, Pool, RequestQueue};
use uv_sys::{Errno, Result, SendBatch, Transmit};

use self::defaults::Defaults;
use self::pending_error::PendingErrorFilter;
use self::queue::Header;
use self::segmentation::{Datagrams, Limits, Queued, Share};
use crate::flow_control::{Budget, Grant, MAX_FLUSH_BYTES, MAX_FLUSH_DATAGRAMS};
use crate::lazy::LazyBox;
use crate::shared::Shared;
use crate::stats::Stats;

/// Nanoseconds before a datagram is offered again that found the device's queue full (`ENOBUFS`). Doubles with each attempt.
const FIRST_PAUSE: u64 = 1_000_000;
/// Attempts before `ENOBUFS` is the datagram's result: 1 + 2 + … + 128 ms, a quarter of a second. A device with its link up
/// drains its queue in less.
const MAX_PAUSES: u32 = 8;
/// Messages offered at once after sendmmsg(2) took fewer than offered. It hides the error that stopped it, and a pending ICMP
/// error is lost with it; sendmsg(2) returns it.
const SINGLE: usize = 1;

/// What the sending half needs of its handle for the time of one call.
pub(crate) struct SendContext<'a> {
    pub(crate) handle: &'a Handle,
    pub(crate) socket: &'a PollSource,
    pub(crate) shared: &'a Shared,
    pub(crate) stats: &'a Stats,
    pub(crate) errors: &'a dyn SocketErrors,
}

/// How a handle takes errors that a send returned and that are about earlier datagrams.
pub(crate) trait SocketErrors {
    /// Whether the socket has an error queue that the handle reads (`IP_RECVERR`).
    fn has_error_queue(&self) -> bool;
    /// Empties the error queue, and returns whether it held an error about an earlier datagram.
    fn drain_error_queue(&self) -> bool;
    /// Reports an error about an earlier datagram to the receive callback.
    fn report(&self, errno: Errno);
}

/// A GSO message that the kernel refused.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    errno: Errno,
    /// Bytes in its segments.
    size: u16,
}

/// The sending half of a handle. `C` is what a request keeps for its completion.
pub(crate) struct SendState<C> {
    queue: RefCell<RequestQueue<Header, C>>,
    /// The socket buffer is full: the poller reports when it has room.
    blocked: Cell<bool>,
    /// The device's queue is full: a deadline runs.
    paused: Cell<bool>,
    /// The state of the oldest datagram's last error.
    filter: Cell<PendingErrorFilter>,
    /// Pauses since the kernel last took a datagram.
    pauses: Cell<u32>,
    /// The oldest refused GSO message, until single sends prove segmentation the cause.
    refused: Cell<Option<Refusal>>,
    /// Bytes in the largest segment that the path and the device are believed to take.
    largest_segment: Cell<u16>,
    defaults: LazyBox<Defaults>,
}

/// The progress of one walk through datagrams.
struct Attempt {
    filter: PendingErrorFilter,
    /// Messages for the next system call.
    width: usize,
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
            defaults: LazyBox::new(),
        }
    }

    pub(crate) fn queue(&self) -> Ref<'_, RequestQueue<Header, C>> {
        self.queue.borrow()
    }

    /// Whether the poller must watch for room in the socket buffer.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.get()
    }

    /// The socket buffer has room again. `false` if nothing waited for it.
    pub(crate) fn unblock(&self) -> bool {
        self.blocked.replace(false)
    }

    pub(crate) fn end_pause(&self) {
        self.paused.set(false);
    }

    fn is_waiting(&self) -> bool {
        self.blocked.get() || self.paused.get()
    }

    /// Forgets what was learned of segment sizes: another peer is another path. A socket that cuts everything by itself must
    /// not get GSO messages, whose segments it would cut again.
    pub(crate) fn reset_largest_segment(&self) {
        let none = self.socket_segments();
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

    /// Accepts a datagram that equals the youngest queued one in length and header: the checks of that one hold for it, because
    /// the queue is empty after every change of the peer and after a close. Gives `completion` back if there is none.
    #[inline]
    pub(crate) fn try_coalesce(
        &self,
        payload: &[u8],
        destination: Option<&SocketAddr>,
        completion: C,
    ) -> std::result::Result<(), C> {
        self.queue
            .borrow_mut()
            .push_alike(payload, &destination, completion)
    }

    /// Accepts a datagram that was checked: sends it if nothing is before it, or queues it.
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

    /// Sends one message now. `EAGAIN` while datagrams are queued before it.
    pub(crate) fn try_send(&self, cx: &SendContext<'_>, transmit: &Transmit<'_>) -> Result<usize> {
        self.check_queue_is_empty()?;
        self.send_one(cx, transmit)
    }

    /// Sends the datagrams of a batch now, as far as the kernel takes them. Returns how many it took.
    pub(crate) fn try_transmit_batch(
        &self,
        cx: &SendContext<'_>,
        batch: &[Transmit<'_>],
    ) -> Result<usize> {
        let sent = self.send_now(cx, &mut caller_memory::Batch::new(batch))?;
        Ok(sent.accepted)
    }

    /// Sends a buffer now in datagrams of `size` bytes, as far as the kernel takes them. Returns how many bytes it took.
    pub(crate) fn try_send_buffer(
        &self,
        cx: &SendContext<'_>,
        header: &Transmit<'_>,
        data: &[u8],
        size: NonZeroU16,
    ) -> Result<usize> {
        let mut buffer = caller_memory::Buffer::new(header, data, size, self.socket_segments());
        Ok(self.send_now(cx, &mut buffer)?.bytes)
    }

    fn check_queue_is_empty(&self) -> Result<()> {
        if self.queue.borrow().pending_count() > 0 {
            Err(Errno::EAGAIN)
        } else {
            Ok(())
        }
    }

    fn send_now(&self, cx: &SendContext<'_>, datagrams: &mut impl Datagrams) -> Result<Share> {
        self.check_queue_is_empty()?;
        let mut attempt = self.attempt(PendingErrorFilter::default(), cx.shared.max_segments);
        let mut sent = Share::default();
        let result = loop {
            if datagrams.is_empty() {
                break Ok(sent);
            }
            match self.send_messages(cx, datagrams, &mut attempt, Budget::FULL) {
                Ok(taken) if taken.accepted > 0 => sent += taken,
                Ok(_) => break Ok(sent),
                Err(_) if sent.accepted > 0 => break Ok(sent),
                Err(error) => break Err(error),
            }
        };
        self.refused.set(None);
        attempt.filter.give_up(|error| cx.errors.report(error));
        result
    }

    #[inline]
    fn send_one(&self, cx: &SendContext<'_>, transmit: &Transmit<'_>) -> Result<usize> {
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

    fn attempt(&self, filter: PendingErrorFilter, max_segments: usize) -> Attempt {
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

    /// Sends the next messages with one system call, and returns what the kernel took of them; or the error of the first
    /// datagram. Repeats the call past errors about earlier datagrams, and with single datagrams where a GSO message is refused.
    fn send_messages(
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

    /// Sends from the queue what flow control grants in this iteration.
    pub(crate) fn flush(&self, cx: &SendContext<'_>) {
        if self.is_waiting() {
            return;
        }
        let Some(event_loop) = cx.handle.event_loop() else {
            return;
        };
        let (flow, iteration) = (&cx.shared.flow, event_loop.iteration_count());
        match flow.grant(iteration, self.next_flush()) {
            Grant::Send(budget) => {
                let left = self.send_queued(cx, budget);
                flow.flushed(iteration, budget, left);
                if left.is_spent() {
                    event_loop.end_flush();
                }
            }
            Grant::NextIteration => event_loop.end_flush(),
            Grant::AfterPoll => {
                event_loop.force_poll();
                event_loop.end_flush();
            }
        }
        if !self.is_waiting() && self.queue.borrow().pending_count() > 0 {
            cx.handle.schedule(Phase::Flush);
        }
    }

    /// Estimated datagrams and bytes of the next flush.
    fn next_flush(&self) -> Budget {
        let queue = self.queue.borrow();
        let average = queue.bytes() / queue.count().max(1);
        let first = queue.pending().peek().map_or(0, |run| run.size);
        let size = first.max(average);
        let most = MAX_FLUSH_BYTES.checked_div(size);
        let most = most.map_or(MAX_FLUSH_DATAGRAMS, |most| {
            most.clamp(1, MAX_FLUSH_DATAGRAMS)
        });
        let datagrams = most.min(queue.pending_count());
        Budget {
            datagrams,
            bytes: datagrams * size,
        }
    }

    /// Sends from the queue within a budget, and returns the rest of that. Each round completes a request, narrows the next
    /// offer, or ends the walk.
    fn send_queued(&self, cx: &SendContext<'_>, mut left: Budget) -> Budget {
        let mut queue = self.queue.borrow_mut();
        let mut attempt = self.attempt(
            self.filter.take(),
            MAX_FLUSH_DATAGRAMS.min(cx.shared.max_segments),
        );
        while !left.is_empty() && queue.pending_count() > 0 {
            match self.send_messages(cx, &mut Queued(&mut queue), &mut attempt, left) {
                Ok(taken) => {
                    left = left.without(taken.segments, taken.bytes);
                    if attempt.width > SINGLE {
                        break;
                    }
                }
                Err(Errno::EAGAIN) => {
                    self.blocked.set(true);
                    break;
                }
                Err(error) if is_device_full(error) => {
                    if self.pause(cx) {
                        break;
                    }
                    queue.complete(1, Err(error));
                    mem::take(&mut attempt.filter).give_up(|error| cx.errors.report(error));
                }
                Err(error) => {
                    self.refused.set(None);
                    queue.complete(1, Err(error));
                    left.datagrams -= 1;
                }
            }
        }
        self.filter.set(attempt.filter);
        if queue.completed_count() > 0 {
            cx.handle.schedule(Phase::Completions);
        }
        left
    }

    /// Waits before the next offer; `false` after [`MAX_PAUSES`].
    fn pause(&self, cx: &SendContext<'_>) -> bool {
        let pauses = self.pauses.get();
        if pauses >= MAX_PAUSES {
            self.pauses.set(0);
            return false;
        }
        self.pauses.set(pauses + 1);
        self.paused.set(true);
        cx.handle
            .set_timeout(Duration::from_nanos(FIRST_PAUSE << pauses));
        true
    }

    /// Offers the queue once more before the peer changes or the handle closes, and cancels the rest.
    pub(crate) fn flush_or_cancel(&self, cx: &SendContext<'_>) {
        if self.queue.borrow().pending_count() == 0 {
            return;
        }
        cx.handle.clear_deadline();
        self.stop_waiting();
        while !self.is_waiting() && self.queue.borrow().pending_count() > 0 {
            self.send_queued(cx, Budget::FULL);
        }
        cx.handle.clear_deadline();
        self.refused.set(None);
        self.filter.take().give_up(|error| cx.errors.report(error));
        self.cancel(cx.handle, Errno::ECANCELED);
    }

    /// Completes every pending request with `error`.
    pub(crate) fn cancel(&self, handle: &Handle, error: Errno) {
        self.queue.borrow_mut().cancel(error);
        self.stop_waiting();
        handle.schedule(Phase::Completions);
    }

    fn stop_waiting(&self) {
        self.blocked.set(false);
        self.paused.set(false);
    }

    /// Takes the oldest completed request.
    pub(crate) fn pop_completed(&self) -> Option<(C, Result<()>)> {
        self.queue.borrow_mut().pop_completed()
    }

    /// Gives the memory of a long queue back.
    pub(crate) fn trim(&self) {
        self.queue.borrow_mut().trim();
    }

    /// Drops all requests without a completion.
    pub(crate) fn clear(&self) {
        // Dropped after the borrow: a callback may own the last reference to this handle.
        let mut dropped = Vec::new();
        self.queue.borrow_mut().cancel(Errno::ECANCELED);
        while let Some(request) = self.pop_completed() {
            dropped.push(request);
        }
    }
}

fn enqueue<C>(queue: &mut RequestQueue<Header, C>, transmit: &Transmit<'_>, completion: C) {
    // A datagram that was checked fits into the queue.
    let _ = queue.push(transmit.payload, transmit, completion);
}

fn is_device_full(error: Errno) -> bool {
    matches!(error, Errno::ENOBUFS | Errno::ENOMEM)
}

impl SendContext<'_> {
    /// The result of a send, or `None` to repeat it, because its error was about an earlier datagram.
    #[inline]
    fn classify<T>(&self, filter: &mut PendingErrorFilter, result: Result<T>) -> Option<Result<T>> {
        self.stats.send_call();
        if let Err(error) = result
            && error != Errno::EAGAIN
            && self.errors.has_error_queue()
            && filter.retry(error)
            && self.errors.drain_error_queue()
        {
            return None;
        }
        filter.classify(result, |error| self.errors.report(error))
    }

    #[cold]
    fn retry_past_pending_errors(
        &self,
        transmit: &Transmit<'_>,
        mut result: Result<usize>,
    ) -> Result<usize> {
        let mut filter = PendingErrorFilter::default();
        loop {
            if let Some(result) = self.classify(&mut filter, result) {
                filter.give_up(|error| self.errors.report(error));
                return result;
            }
            result = uv_sys::message::sendmsg(self.socket, transmit);
        }
    }

    fn count(&self, share: Share) {
        self.count_segments(share);
        self.count_sent(share);
    }

    fn count_segments(&self, share: Share) {
        if share.segments > 1 {
            self.stats.segmented(share.segments);
        }
    }

    /// Counts what one system call sent.
    fn count_sent(&self, taken: Share) {
        self.stats.sent(taken.segments, taken.bytes);
        if taken.segments > 1 {
            self.stats.sent_batch();
            self.shared.flow.sent_burst();
        }
    }
}
