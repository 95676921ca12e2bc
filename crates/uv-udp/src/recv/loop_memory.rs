//! Receiving into the loop's memory: the callback borrows the datagrams of a read as a batch.

use std::cell::{Cell, RefMut};

use uv_sys::{Errno, RecvBatch, Result};

use super::context::RecvContext;
use super::datagram::{Batch, Filter, TakeBack};
use super::requested::Kind;
use super::sink::{Sink, count_lost};
use super::state::RecvState;
use super::undelivered::Stored;
use crate::error::NetworkError;

/// Datagrams in the loop's memory, lent to the callback. It gets a batch by reference, because each
/// move of one is a call of `memcpy`.
pub(crate) struct LoopMemory<'s, F> {
    memory: RefMut<'s, RecvBatch>,
    callback: F,
}

impl<'s, F> LoopMemory<'s, F>
where
    F: FnMut(std::result::Result<&mut Batch<'_>, NetworkError>),
{
    pub(crate) fn new(cx: &RecvContext<'s>, callback: F) -> Self {
        // Free: callbacks never nest.
        let memory = cx.shared.recv.borrow_mut();
        Self { memory, callback }
    }
}

impl<F> Sink for LoopMemory<'_, F>
where
    F: FnMut(std::result::Result<&mut Batch<'_>, NetworkError>),
{
    fn prepare(&mut self, _: &RecvState, _: &RecvContext<'_>, wanted: usize) -> Option<usize> {
        Some(wanted)
    }

    fn read(
        &mut self,
        state: &RecvState,
        cx: &RecvContext<'_>,
        width: usize,
        filter: &Filter,
    ) -> Result<usize> {
        self.memory.recv(cx.socket, width, state.options(filter))
    }

    fn take_interruption(&mut self, _: &RecvContext<'_>) -> Option<Errno> {
        self.memory.take_interruption()
    }

    fn deliver(
        &mut self,
        state: &RecvState,
        cx: &RecvContext<'_>,
        messages: usize,
        filter: &Filter,
    ) -> usize {
        if filter.backlog || state.requested().has(Kind::Drops) {
            count_lost(state, cx, &self.memory, messages, filter);
        }
        let lender = Lender::new(state, cx);
        let mut batch = Batch::new(&self.memory, messages, filter);
        batch.lend(&lender);
        let (datagrams, bytes) = batch.totals();
        if datagrams > 0 {
            cx.stats.received(datagrams, bytes);
            (self.callback)(Ok(&mut batch));
        }
        datagrams
    }

    fn deliver_stored(&mut self, state: &RecvState, cx: &RecvContext<'_>, stored: Stored) -> bool {
        let lender = Lender::new(state, cx);
        cx.stats.received(1, stored.data.len());
        let mut batch = Batch::one(stored.datagram());
        batch.lend(&lender);
        (self.callback)(Ok(&mut batch));
        drop(batch);
        !lender.took_back.get()
    }

    fn error(&mut self, error: NetworkError) {
        (self.callback)(Err(error));
    }

    fn has_room_for_coalesced(&self) -> bool {
        true
    }
}

/// Stores the datagrams that a callback left in its batch.
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
