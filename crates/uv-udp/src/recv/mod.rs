//! The receiving half of a handle: one read loop for all forms of receiving, which differ in their [`Sink`].
//!
//! [`RecvState`] knows neither the handle's type nor its callback: what it needs comes as a [`RecvContext`] and a sink. A change
//! that ends a delivery (a stop, another peer, a close) counts up the epoch.

mod datagram;
mod drain;
mod error_queue;
mod predictor;
mod requested;
mod sink;
mod undelivered;

use std::cell::Cell;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use uv_core::{Handle, Phase, PollSource};
use uv_sys::{Errno, RecvOptions, Result};

pub(crate) use self::datagram::Filter;
pub use self::datagram::{Batch, Datagram, RecvMeta, Segments};
use self::datagram::{TakeBack, same_peer};
use self::predictor::ReadPredictor;
pub(crate) use self::predictor::ReadReason;
pub(crate) use self::requested::{Kind, Requested};
pub(crate) use self::sink::{LoopMemory, Outcome, Sink, UserBuffers, UserMemory};
use self::undelivered::Undelivered;
use crate::error::NetworkError;
use crate::lazy::LazyBox;
use crate::shared::Shared;
use crate::stats::Stats;

/// Datagrams and errors that a handle delivers in one phase, whatever their origin: stored, reported or read. Twice the datagrams
/// that one handle may flush in an iteration, so that a receiver keeps up with a sender on the same loop. The datagrams of one
/// system call are delivered together, also where they exceed it.
pub(crate) const MAX_DELIVERED: usize = 128;
/// Errors among them: half, so that datagrams are delivered also where each error causes another.
const MAX_ERRORS_DELIVERED: usize = MAX_DELIVERED / 2;

/// What the receiving half needs of its handle for the time of one call.
#[derive(Clone, Copy)]
pub(crate) struct RecvContext<'a> {
    pub(crate) handle: &'a Handle,
    pub(crate) socket: &'a PollSource,
    pub(crate) shared: &'a Shared,
    pub(crate) stats: &'a Stats,
}

/// Whether the kernel coalesces datagrams (`UDP_GRO`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coalescing {
    /// Not yet: it is switched on after two bursts.
    Auto,
    /// Never, by the user's choice.
    Off,
    /// Yes. Never taken back: coalesced datagrams in the socket's buffer would lose their boundaries.
    On,
}

/// The receiving half of a handle.
pub(crate) struct RecvState {
    started: Cell<bool>,
    epoch: Cell<u32>,
    filter: Cell<Filter>,
    undelivered: LazyBox<Undelivered>,
    predictor: ReadPredictor,
    /// Whether the handle is counted as driven only by the poller.
    poll_driven: Cell<bool>,
    /// Whether the poller need not watch, because the handle reads in every iteration.
    unwatched: Cell<bool>,
    coalescing: Cell<Coalescing>,
    requested: Requested,
    /// Whether the handle asked for an error queue (`IP_RECVERR`).
    recv_errors: Cell<bool>,
}

/// What reads found.
#[derive(Clone, Copy, Default)]
struct Found {
    messages: usize,
    datagrams: usize,
}

impl RecvState {
    pub(crate) fn new() -> Self {
        Self {
            started: Cell::new(false),
            epoch: Cell::new(0),
            filter: Cell::new(Filter::EVERYBODY),
            undelivered: LazyBox::new(),
            predictor: ReadPredictor::new(),
            poll_driven: Cell::new(false),
            unwatched: Cell::new(false),
            coalescing: Cell::new(Coalescing::Auto),
            requested: Requested::default(),
            recv_errors: Cell::new(false),
        }
    }

    pub(crate) fn is_started(&self) -> bool {
        self.started.get()
    }

    /// Starts, or takes a start back that failed.
    pub(crate) fn set_started(&self, started: bool) {
        self.started.set(started);
        self.next_epoch();
    }

    /// Stops for good, and drops what was not delivered.
    pub(crate) fn release(&self) {
        self.set_started(false);
        self.forget_undelivered();
    }

    /// Whether the poller must watch for datagrams.
    pub(crate) fn is_watched(&self) -> bool {
        self.started.get() && !self.unwatched.get()
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.get()
    }

    fn next_epoch(&self) {
        self.epoch.set(self.epoch.get().wrapping_add(1));
    }

    /// The kernel filters for `peer` from now on; its buffer may hold datagrams of others.
    pub(crate) fn set_peer(&self, peer: Option<SocketAddr>) {
        self.filter.set(Filter {
            peer,
            backlog: peer.is_some(),
        });
        self.next_epoch();
    }

    /// Ends the check for a backlog if the socket's queue is empty, after a read that found less than it asked for.
    ///
    /// The read itself proves nothing: it also ends early for an error, and before Linux 4.2 a datagram with a bad checksum is an
    /// `EAGAIN` although more are behind it. poll(2) looks at the queue. Once that was empty after the connect, only the peer can
    /// fill it.
    fn check_backlog(&self, socket: impl AsFd) {
        let filter = self.filter.get();
        if filter.backlog && uv_sys::socket::is_readable(socket) == Ok(false) {
            let backlog = false;
            self.filter.set(Filter { backlog, ..filter });
        }
    }

    /// Metadata that the handle asked for.
    pub(crate) fn requested(&self) -> &Requested {
        &self.requested
    }

    pub(crate) fn recv_errors(&self) -> bool {
        self.recv_errors.get()
    }

    pub(crate) fn set_recv_errors(&self, on: bool) {
        self.recv_errors.set(on);
    }

    /// Whether the kernel coalesces datagrams.
    pub(crate) fn coalesces(&self) -> bool {
        self.coalescing.get() == Coalescing::On
    }

    /// Switches coalescing on, or prevents it.
    ///
    /// # Errors
    ///
    /// `EBUSY` to prevent it where it is on.
    pub(crate) fn set_coalescing(&self, socket: impl AsFd, on: bool) -> Result<()> {
        match (self.coalescing.get(), on) {
            (Coalescing::On, true) => Ok(()),
            (Coalescing::On, false) => Err(Errno::EBUSY),
            (_, true) => {
                uv_sys::option::set_gro(socket, true).map(|()| self.coalescing.set(Coalescing::On))
            }
            (_, false) => {
                self.coalescing.set(Coalescing::Off);
                Ok(())
            }
        }
    }

    /// Gives another socket of the handle what the one before had.
    pub(crate) fn prepare(&self, socket: impl AsFd) {
        if self.coalesces() {
            // Where the kernel cannot, single datagrams arrive.
            let _ = uv_sys::option::set_gro(socket, true);
        }
    }

    /// Takes over the state of a socket that somebody else made.
    pub(crate) fn recognize(&self, socket: impl AsFd) {
        let fd = socket.as_fd();
        if uv_sys::option::gro(fd) == Ok(true) {
            self.coalescing.set(Coalescing::On);
        }
        self.recv_errors
            .set(uv_sys::option::recv_errors(fd) == Ok(true));
        self.requested.recognize(fd);
    }

    fn options(&self, filter: &Filter) -> RecvOptions {
        RecvOptions {
            source: filter.peer.is_none() || filter.backlog,
            control: self.coalesces() || self.requested.any(),
            peek: false,
        }
    }

    /// Whether the handle receives and only the poller can tell it of datagrams.
    pub(crate) fn waits_for_poller(&self, handle: &Handle) -> bool {
        let scheduled =
            handle.is_scheduled(Phase::Dispatch) || handle.is_scheduled(Phase::Speculative);
        self.is_started() && !scheduled
    }

    /// Counts the handle among the receivers that only the poller drives, or no longer.
    pub(crate) fn set_poll_driven(&self, shared: &Shared, on: bool) {
        if self.poll_driven.replace(on) != on {
            shared.flow.set_poll_driven(on);
        }
    }

    /// Ends a phase of receiving, also after a panic in it: undelivered datagrams get another phase, and a handle that reads
    /// successfully in every iteration leaves the poller. Returns whether the poller's interest changed.
    pub(crate) fn end_phase(&self, handle: &Handle, shared: &Shared) -> bool {
        if self.is_started() && self.has_undelivered() {
            handle.schedule(Phase::Dispatch);
        }
        self.set_poll_driven(shared, self.waits_for_poller(handle));
        let unwatched = self.predictor.is_hot() && handle.is_scheduled(Phase::Dispatch);
        self.unwatched.replace(unwatched) != unwatched
    }

    /// Delivers what is stored, then reads, within one budget.
    pub(crate) fn receive(&self, cx: &RecvContext<'_>, sink: &mut dyn Sink, reason: ReadReason) {
        let (epoch, mut left) = (self.epoch.get(), MAX_DELIVERED);
        self.deliver_stored(cx, sink, &mut left);
        if self.epoch.get() == epoch && !self.has_stored_datagrams() {
            if left == 0 {
                cx.handle.schedule(Phase::Dispatch);
            } else {
                self.read(cx, sink, reason, left);
            }
        }
        sink.finish();
    }

    /// The read loop. It ends with a read that finds less than it asks for, with the budget, or with the epoch.
    fn read(&self, cx: &RecvContext<'_>, sink: &mut dyn Sink, reason: ReadReason, budget: usize) {
        let epoch = self.epoch.get();
        let mut left = budget;
        // Further errors come in the next phase, after the datagrams behind them.
        let mut had_errors = budget < MAX_DELIVERED;
        let mut found = Found::default();
        let mut wanted = self.predictor.width(cx.shared.flow.bursts());
        while let Some(width) = sink.prepare(self, cx, wanted) {
            if self.epoch.get() != epoch {
                self.schedule_if_started(cx);
                break;
            }
            let filter = self.filter.get();
            cx.stats.recv_call();
            match sink.read(self, cx, width, &filter) {
                Ok(messages) => {
                    let was_single = wanted == 1;
                    let datagrams = self.take_messages(cx, sink, messages, width, &filter);
                    found.messages += messages;
                    found.datagrams += datagrams;
                    if width == wanted {
                        self.learn(cx, sink, mem::take(&mut found), self.epoch.get() == epoch);
                        wanted = self.predictor.width(cx.shared.flow.bursts());
                    }
                    self.predictor.read(reason, true);
                    left = left.saturating_sub(datagrams);
                    let unfinished = left == 0 || self.epoch.get() != epoch;
                    if messages < width || was_single || unfinished {
                        if unfinished || self.predictor.expects_more() {
                            self.schedule_if_started(cx);
                        }
                        break;
                    }
                }
                Err(Errno::EAGAIN) => {
                    self.check_backlog(cx.socket);
                    self.predictor.read(reason, false);
                    if matches!(reason, ReadReason::Ready) && left == budget {
                        // The poller reported something else: the error queue.
                        self.drain_error_queue(cx);
                    }
                    if self.predictor.expects_more() {
                        cx.handle.schedule(Phase::Speculative);
                    }
                    break;
                }
                Err(error) if had_errors && left > 0 => {
                    left -= 1;
                    self.report(cx, error);
                    continue;
                }
                Err(error) => {
                    had_errors = true;
                    if !self.collect_reports(cx) {
                        cx.stats.error(error);
                        sink.error(NetworkError::new(error));
                    }
                    left = left.saturating_sub(1);
                    if left == 0 || self.epoch.get() != epoch {
                        break;
                    }
                }
            }
            // Errors that a callback caused come before the datagrams behind them.
            if !self.is_started() || self.has_undelivered() {
                break;
            }
        }
        if found.messages > 0 {
            // Reads into a buffer with less room than wanted count as one.
            self.learn(cx, sink, found, self.epoch.get() == epoch);
        }
    }

    /// Counts what the kernel reports of datagrams that it dropped.
    #[inline]
    fn count_drops(&self, cx: &RecvContext<'_>, drops: Option<u32>) {
        if let Some(drops) = drops {
            cx.stats.kernel_drops(drops, self.coalesces());
        }
    }

    fn schedule_if_started(&self, cx: &RecvContext<'_>) {
        if self.is_started() {
            cx.handle.schedule(Phase::Dispatch);
        }
    }

    /// Delivers the messages of one read, and returns the number of datagrams.
    fn take_messages(
        &self,
        cx: &RecvContext<'_>,
        sink: &mut dyn Sink,
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

    /// Tells the predictor what reads found. Switches coalescing on after two bursts, unless a callback began anew.
    fn learn(&self, cx: &RecvContext<'_>, sink: &dyn Sink, found: Found, same_epoch: bool) {
        let bursts = self.predictor.sees_bursts(found.datagrams);
        self.predictor.found(found.messages, found.datagrams);
        // The kernel counts a dropped coalesced buffer as one: with that count on, datagrams stay single.
        let auto = self.coalescing.get() == Coalescing::Auto && !self.requested.has(Kind::Drops);
        if bursts && auto && same_epoch && sink.has_room_for_coalesced() {
            let _ = self.set_coalescing(cx.socket, true);
        }
    }

    /// Delivers stored errors and datagrams, until the budget or the epoch ends.
    fn deliver_stored(&self, cx: &RecvContext<'_>, sink: &mut dyn Sink, left: &mut usize) {
        let epoch = self.epoch.get();
        let end = left.saturating_sub(MAX_ERRORS_DELIVERED);
        while *left > end
            && self.epoch.get() == epoch
            && let Some(error) = self.next_error()
        {
            *left -= 1;
            sink.error(error);
        }
        while *left > 0
            && self.epoch.get() == epoch
            && let Some(stored) = self.next_datagram()
        {
            *left -= 1;
            let peer = self.filter.get().peer;
            if peer.is_some_and(|peer| !same_peer(&peer, &stored.source)) {
                cx.stats.filtered(1);
            } else if !sink.deliver_stored(self, cx, stored) {
                break;
            }
        }
    }
}

/// Gives datagrams back to the handle that a callback did not take from their batch.
struct Lender<'a> {
    state: &'a RecvState,
    cx: &'a RecvContext<'a>,
    took_back: Cell<bool>,
}

impl<'a> Lender<'a> {
    fn new(state: &'a RecvState, cx: &'a RecvContext<'a>) -> Self {
        let took_back = Cell::new(false);
        Self {
            state,
            cx,
            took_back,
        }
    }

    fn took_back(&self) -> bool {
        self.took_back.get()
    }
}

impl TakeBack for Lender<'_> {
    #[cold]
    fn take_back(&self, batch: &mut Batch<'_>) {
        let (datagrams, bytes) = batch.totals();
        if datagrams > 0 {
            self.cx.stats.returned(datagrams, bytes);
            self.state.put_back(self.cx, batch);
            self.took_back.set(true);
        }
    }
}
