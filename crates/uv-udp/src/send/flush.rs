//! Sending the queue at the end of an iteration: flow control, a full socket buffer (`EAGAIN`), a
//! full device queue (`ENOBUFS`), and cancellation.

use std::mem;
use std::time::Duration;

use uv_core::{Handle, Phase};
use uv_sys::{Errno, Result};

use super::context::SendContext;
use super::segmentation::Queued;
use super::state::{SINGLE, SendState, is_device_full};
use crate::flow_control::{Budget, Grant, MAX_FLUSH_BYTES, MAX_FLUSH_DATAGRAMS};

/// Nanoseconds before the first retry after `ENOBUFS`. Doubles with each retry.
const FIRST_PAUSE: u64 = 1_000_000;
/// Retries before `ENOBUFS` is the datagram's result: 1 + 2 + … + 128 ms, a quarter of a second. A
/// device with its link up drains its queue in less.
const MAX_PAUSES: u32 = 8;

impl<C> SendState<C> {
    /// Sends from the queue within the budget of this iteration.
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
        if !self.is_waiting() && self.queue().pending_count() > 0 {
            cx.handle.schedule(Phase::Flush);
        }
    }

    /// Estimates the datagrams and bytes of the next flush.
    fn next_flush(&self) -> Budget {
        let queue = self.queue();
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

    /// Sends from the queue within a budget, and returns the rest of the budget. Each round
    /// completes a request, narrows the next system call, or ends the loop.
    fn send_queued(&self, cx: &SendContext<'_>, mut left: Budget) -> Budget {
        let mut queue = self.queue_mut();
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
                    self.block();
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

    /// Starts a pause before the next retry; `false` after [`MAX_PAUSES`].
    fn pause(&self, cx: &SendContext<'_>) -> bool {
        let pauses = self.pauses.get();
        if pauses >= MAX_PAUSES {
            self.pauses.set(0);
            return false;
        }
        self.pauses.set(pauses + 1);
        self.start_pause();
        cx.handle
            .set_timeout(Duration::from_nanos(FIRST_PAUSE << pauses));
        true
    }

    /// Sends the queue once more before the peer changes or the handle closes, and cancels the
    /// rest.
    pub(crate) fn flush_or_cancel(&self, cx: &SendContext<'_>) {
        if self.queue().pending_count() == 0 {
            return;
        }
        cx.handle.clear_deadline();
        self.stop_waiting();
        while !self.is_waiting() && self.queue().pending_count() > 0 {
            self.send_queued(cx, Budget::FULL);
        }
        cx.handle.clear_deadline();
        self.refused.set(None);
        self.filter.take().give_up(|error| cx.errors.report(error));
        self.cancel(cx.handle, Errno::ECANCELED);
    }

    /// Completes every pending request with `error`.
    pub(crate) fn cancel(&self, handle: &Handle, error: Errno) {
        self.queue_mut().cancel(error);
        self.stop_waiting();
        handle.schedule(Phase::Completions);
    }

    /// Takes the oldest completed request.
    pub(crate) fn pop_completed(&self) -> Option<(C, Result<()>)> {
        self.queue_mut().pop_completed()
    }

    /// Frees the memory of a queue that was long.
    pub(crate) fn trim(&self) {
        self.queue_mut().trim();
    }

    /// Drops all requests without completing them.
    pub(crate) fn clear(&self) {
        // Dropped after the borrow: a callback may own the last reference to this handle.
        let mut dropped = Vec::new();
        self.queue_mut().cancel(Errno::ECANCELED);
        while let Some(request) = self.pop_completed() {
            dropped.push(request);
        }
    }
}
