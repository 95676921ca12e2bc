//! The receiving half of a handle: its state between two reads.

use std::cell::Cell;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use uv_core::{Handle, Phase};
use uv_sys::{Errno, RecvOptions, Result};

use super::context::RecvContext;
use super::datagram::{Datagram, Filter};
use super::predictor::ReadPredictor;
use super::requested::{Kind, Requested};
use super::undelivered::{Stored, Undelivered};
use crate::error::NetworkError;
use crate::shared::Shared;

/// Whether the kernel coalesces datagrams (`UDP_GRO`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coalescing {
    /// Not yet: two bursts switch it on.
    Auto,
    /// Never, by the user's choice.
    Off,
    /// Yes, until the socket is closed: without the option, coalesced datagrams in the socket's
    /// buffer would lose their boundaries.
    On,
}

/// The receiving half of a handle.
pub(crate) struct RecvState {
    started: Cell<bool>,
    epoch: Cell<u32>,
    filter: Cell<Filter>,
    pub(super) undelivered: Undelivered,
    pub(super) predictor: ReadPredictor,
    /// Whether flow control counts the handle as driven only by the poller.
    poll_driven: Cell<bool>,
    /// Whether the poller need not watch, because the handle reads in every iteration.
    unwatched: Cell<bool>,
    coalescing: Cell<Coalescing>,
    requested: Requested,
    /// Whether the handle asked for an error queue (`IP_RECVERR`).
    recv_errors: Cell<bool>,
}

impl RecvState {
    pub(crate) fn new() -> Self {
        Self {
            started: Cell::new(false),
            epoch: Cell::new(0),
            filter: Cell::new(Filter::EVERYBODY),
            undelivered: Undelivered::default(),
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

    /// Starts, or undoes a start that failed.
    pub(crate) fn set_started(&self, started: bool) {
        self.started.set(started);
        self.next_epoch();
    }

    /// Stops for good, and drops undelivered datagrams and errors.
    pub(crate) fn release(&self) {
        self.set_started(false);
        self.undelivered.clear();
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

    pub(super) fn filter(&self) -> Filter {
        self.filter.get()
    }

    /// Sets the peer that the kernel filters for from now on. The socket's buffer may hold
    /// datagrams of others.
    pub(crate) fn set_peer(&self, peer: Option<SocketAddr>) {
        self.filter.set(Filter {
            peer,
            backlog: peer.is_some(),
        });
        self.next_epoch();
    }

    /// Ends the check for a backlog if the socket's buffer is empty. Called after a short read.
    ///
    /// A short read alone proves nothing: an error may have ended it. Before Linux 4.2, a datagram
    /// with a bad checksum is an `EAGAIN` although more are behind it. poll(2) looks at the
    /// buffer. Once the buffer was empty after the connect, only the peer can fill it.
    pub(super) fn check_backlog(&self, socket: impl AsFd) {
        let filter = self.filter.get();
        if filter.backlog && uv_sys::socket::is_readable(socket) == Ok(false) {
            let backlog = false;
            self.filter.set(Filter { backlog, ..filter });
        }
    }

    /// The metadata that the handle asked for.
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

    /// Whether two bursts switch coalescing on. The kernel counts a dropped coalesced buffer as one
    /// datagram: while that count is reported, datagrams stay single.
    pub(super) fn coalesces_bursts(&self) -> bool {
        self.coalescing.get() == Coalescing::Auto && !self.requested.has(Kind::Drops)
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
            (_, true) if !uv_sys::capabilities().gro => Err(Errno::ENOPROTOOPT),
            (_, true) => {
                uv_sys::option::set_gro(socket, true).map(|()| self.coalescing.set(Coalescing::On))
            }
            (_, false) => {
                self.coalescing.set(Coalescing::Off);
                Ok(())
            }
        }
    }

    /// Sets coalescing on a new socket of the handle, as on the one before.
    pub(crate) fn prepare(&self, socket: impl AsFd) {
        if self.coalesces() {
            // Where the kernel refuses, single datagrams arrive.
            let _ = uv_sys::option::set_gro(socket, true);
        }
    }

    /// Takes over the options of an adopted socket.
    pub(crate) fn recognize(&self, socket: impl AsFd) {
        let fd = socket.as_fd();
        if uv_sys::option::gro(fd) == Ok(true) {
            self.coalescing.set(Coalescing::On);
        }
        self.recv_errors
            .set(uv_sys::option::recv_errors(fd) == Ok(true));
        self.requested.recognize(fd);
    }

    pub(super) fn options(&self, filter: &Filter) -> RecvOptions {
        RecvOptions::new()
            .with_source(filter.peer.is_none() || filter.backlog)
            .with_control(self.coalesces() || self.requested.any())
    }

    /// Whether reads ask the kernel for the source of each datagram.
    #[cfg(test)]
    pub(crate) fn asks_for_source(&self) -> bool {
        self.options(&self.filter()).source
    }

    /// Whether the handle receives, and only the poller reports datagrams to it.
    pub(crate) fn waits_for_poller(&self, handle: &Handle) -> bool {
        let scheduled =
            handle.is_scheduled(Phase::Dispatch) || handle.is_scheduled(Phase::AfterPoll);
        self.is_started() && !scheduled
    }

    /// Sets whether flow control counts the handle as driven only by the poller.
    pub(crate) fn set_poll_driven(&self, shared: &Shared, on: bool) {
        if self.poll_driven.replace(on) != on {
            shared.flow.set_poll_driven(on);
        }
    }

    /// Ends a phase of receiving, also after a panic in it. Undelivered datagrams get another
    /// phase, and a handle that reads successfully in every iteration leaves the poller. Returns
    /// whether the poller's interest changed.
    pub(crate) fn end_phase(&self, handle: &Handle, shared: &Shared) -> bool {
        if self.is_started() && self.has_undelivered() {
            handle.schedule(Phase::Dispatch);
        }
        self.set_poll_driven(shared, self.waits_for_poller(handle));
        let unwatched = self.predictor.is_hot() && handle.is_scheduled(Phase::Dispatch);
        self.unwatched.replace(unwatched) != unwatched
    }

    pub(super) fn schedule_if_started(&self, cx: &RecvContext<'_>) {
        if self.is_started() {
            cx.handle.schedule(Phase::Dispatch);
        }
    }

    /// Counts datagrams that the kernel reports as dropped.
    #[inline]
    pub(super) fn count_drops(&self, cx: &RecvContext<'_>, drops: Option<u32>) {
        if let Some(drops) = drops {
            cx.stats.kernel_drops(drops, self.coalesces());
        }
    }
}

/// Undelivered errors and datagrams.
impl RecvState {
    #[inline]
    pub(crate) fn has_undelivered(&self) -> bool {
        !self.undelivered.is_empty()
    }

    /// Stores and counts an error.
    pub(crate) fn store_error(&self, cx: &RecvContext<'_>, error: NetworkError) {
        cx.stats.error(error.errno());
        self.undelivered.push_error(error);
        self.schedule_if_started(cx);
    }

    /// Stores datagrams after those that are stored already.
    pub(super) fn store<'a>(
        &self,
        cx: &RecvContext<'_>,
        datagrams: impl Iterator<Item = Datagram<'a>>,
    ) {
        if self.undelivered.append(datagrams) {
            self.schedule_if_started(cx);
        }
    }

    /// Stores datagrams that a callback left in its batch, before those that are stored already.
    pub(super) fn put_back<'a>(
        &self,
        cx: &RecvContext<'_>,
        datagrams: impl Iterator<Item = Datagram<'a>>,
    ) {
        if !cx.handle.is_closing() && self.undelivered.prepend(datagrams) {
            self.schedule_if_started(cx);
        }
    }

    /// Stores one datagram again, before all others.
    pub(super) fn put_back_first(&self, cx: &RecvContext<'_>, datagram: Stored) {
        if !cx.handle.is_closing() {
            self.undelivered.push_front(datagram);
            cx.handle.schedule(Phase::Dispatch);
        }
    }
}
