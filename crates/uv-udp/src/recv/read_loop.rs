//! The read loop: delivers stored errors and datagrams, then reads until a short read, the budget
//! or the epoch ends the phase.

use std::mem;

use uv_core::Phase;
use uv_sys::Errno;

use super::context::RecvContext;
use super::datagram::{Filter, same_peer};
use super::predictor::ReadReason;
use super::sink::Sink;
use super::state::RecvState;
use crate::error::NetworkError;

/// Datagrams and errors that a handle delivers in one phase: stored, reported or read. Twice the
/// datagrams that one handle flushes in an iteration, so that a receiver keeps up with a sender on
/// the same loop. The last system call may exceed it.
const MAX_DELIVERED: usize = 128;
/// Errors among them: half, so that datagrams are delivered even if each error causes another.
const MAX_ERRORS_DELIVERED: usize = MAX_DELIVERED / 2;

/// Messages and datagrams that reads found since the predictor last learned.
#[derive(Clone, Copy, Default)]
struct Found {
    messages: usize,
    datagrams: usize,
}

/// The state of one read loop.
struct Reads {
    reason: ReadReason,
    /// The epoch in which the loop began. Another epoch ends it.
    epoch: u32,
    /// Datagrams and errors that may be delivered at first, and the rest of them.
    budget: usize,
    left: usize,
    /// Whether errors were delivered in this phase. Further ones come in the next phase, after the
    /// datagrams behind them.
    had_errors: bool,
    found: Found,
    /// Messages that the predictor asks for.
    wanted: usize,
}

impl RecvState {
    /// Delivers stored errors and datagrams, then reads, within one budget.
    pub(crate) fn receive(&self, cx: &RecvContext<'_>, sink: &mut impl Sink, reason: ReadReason) {
        let (epoch, mut left) = (self.epoch(), MAX_DELIVERED);
        self.deliver_stored(cx, sink, &mut left);
        if self.epoch() == epoch && !self.undelivered.has_datagrams() {
            if left == 0 {
                cx.handle.schedule(Phase::Dispatch);
            } else {
                self.read(cx, sink, reason, left);
            }
        }
        sink.finish();
    }

    /// Delivers stored errors and datagrams, until the budget or the epoch ends.
    fn deliver_stored(&self, cx: &RecvContext<'_>, sink: &mut impl Sink, left: &mut usize) {
        let epoch = self.epoch();
        let end = left.saturating_sub(MAX_ERRORS_DELIVERED);
        while *left > end
            && self.epoch() == epoch
            && let Some(error) = self.undelivered.next_error()
        {
            *left -= 1;
            sink.error(error);
        }
        while *left > 0
            && self.epoch() == epoch
            && let Some(stored) = self.undelivered.next_datagram()
        {
            *left -= 1;
            let peer = self.filter().peer;
            if peer.is_some_and(|peer| !same_peer(&peer, &stored.source)) {
                cx.stats.filtered(1);
            } else if !sink.deliver_stored(self, cx, stored) {
                break;
            }
        }
    }

    fn read(&self, cx: &RecvContext<'_>, sink: &mut impl Sink, reason: ReadReason, budget: usize) {
        let mut reads = Reads {
            reason,
            epoch: self.epoch(),
            budget,
            left: budget,
            had_errors: budget < MAX_DELIVERED,
            found: Found::default(),
            wanted: self.predictor.width(cx.shared.flow.bursts()),
        };
        while let Some(width) = sink.prepare(self, cx, reads.wanted) {
            if self.epoch() != reads.epoch {
                self.schedule_if_started(cx);
                break;
            }
            let filter = self.filter();
            cx.stats.recv_call();
            let goes_on = match sink.read(self, cx, width, &filter) {
                Ok(messages) => {
                    self.on_messages(cx, sink, &mut reads, (messages, width), &filter)
                        && self.may_read_on()
                }
                Err(Errno::EAGAIN) => {
                    self.on_empty(cx, &reads);
                    false
                }
                Err(error) if reads.had_errors && reads.left > 0 => {
                    reads.left -= 1;
                    self.report(cx, error);
                    true
                }
                Err(error) => {
                    self.on_error(cx, sink, &mut reads, error);
                    reads.left > 0 && self.epoch() == reads.epoch && self.may_read_on()
                }
            };
            if !goes_on {
                break;
            }
        }
        if reads.found.messages > 0 {
            // Reads into a buffer with less room than wanted count as one.
            self.learn(cx, sink, reads.found, self.epoch() == reads.epoch);
        }
    }

    /// Whether the callback still receives, and caused no errors: those come before the datagrams
    /// that are in the socket.
    #[inline]
    fn may_read_on(&self) -> bool {
        self.is_started() && !self.has_undelivered()
    }

    /// Delivers the messages of a read. Returns whether to read again.
    #[inline]
    fn on_messages(
        &self,
        cx: &RecvContext<'_>,
        sink: &mut impl Sink,
        reads: &mut Reads,
        (messages, width): (usize, usize),
        filter: &Filter,
    ) -> bool {
        let was_single = reads.wanted == 1;
        let datagrams = self.deliver(cx, sink, messages, width, filter);
        reads.found.messages += messages;
        reads.found.datagrams += datagrams;
        if width == reads.wanted {
            let same_epoch = self.epoch() == reads.epoch;
            self.learn(cx, sink, mem::take(&mut reads.found), same_epoch);
            reads.wanted = self.predictor.width(cx.shared.flow.bursts());
        }
        self.predictor.read(reads.reason, true);
        reads.left = reads.left.saturating_sub(datagrams);
        let unfinished = reads.left == 0 || self.epoch() != reads.epoch;
        let ends = messages < width || was_single || unfinished;
        if ends && (unfinished || self.predictor.expects_more()) {
            self.schedule_if_started(cx);
        }
        !ends
    }

    /// Ends the loop after a read that found nothing.
    #[inline]
    fn on_empty(&self, cx: &RecvContext<'_>, reads: &Reads) {
        self.check_backlog(cx.socket);
        self.predictor.read(reads.reason, false);
        if matches!(reads.reason, ReadReason::Ready) && reads.left == reads.budget {
            // The poller reported something else: the error queue.
            self.drain_error_queue(cx);
        }
        if self.predictor.expects_more() {
            cx.handle.schedule(Phase::AfterPoll);
        }
    }

    /// Delivers the first error of a phase.
    fn on_error(
        &self,
        cx: &RecvContext<'_>,
        sink: &mut impl Sink,
        reads: &mut Reads,
        error: Errno,
    ) {
        reads.had_errors = true;
        if !self.collect_reports(cx) {
            cx.stats.error(error);
            sink.error(NetworkError::new(error));
        }
        reads.left = reads.left.saturating_sub(1);
    }

    /// Delivers the messages of one read, and returns the number of datagrams.
    fn deliver(
        &self,
        cx: &RecvContext<'_>,
        sink: &mut impl Sink,
        messages: usize,
        width: usize,
        filter: &Filter,
    ) -> usize {
        if messages < width {
            self.check_backlog(cx.socket);
            if let Some(error) = sink.take_interruption(cx) {
                self.report(cx, error);
            }
        }
        let datagrams = sink.deliver(self, cx, messages, filter).max(messages);
        if datagrams > 1 {
            cx.stats.received_batch();
        }
        datagrams
    }

    /// Updates the predictor after reads. Switches coalescing on after two bursts, unless the
    /// callback ended the epoch.
    fn learn(&self, cx: &RecvContext<'_>, sink: &impl Sink, found: Found, same_epoch: bool) {
        let bursts = self.predictor.sees_bursts(found.datagrams);
        self.predictor.found(found.messages, found.datagrams);
        if bursts && self.coalesces_bursts() && same_epoch && sink.has_room_for_coalesced() {
            let _ = self.set_coalescing(cx.socket, true);
        }
    }
}
