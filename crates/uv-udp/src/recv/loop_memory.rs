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

/// A callback that gets batches, without its handle.
pub(crate) type BatchCallback<'s> = dyn FnMut(std::result::Result<Batch<'_>, NetworkError>) + 's;

/// Datagrams in the loop's memory, lent to the callback.
pub(crate) struct LoopMemory<'s> {
    pub(crate) memory: RefMut<'s, RecvBatch>,
    pub(crate) callback: &'s mut BatchCallback<'s>,
}

impl Sink for LoopMemory<'_> {
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
        let batch = Batch::new(&self.memory, messages, *filter).lent_by(&lender);
        let (datagrams, bytes) = batch.totals();
        if datagrams > 0 {
            cx.stats.received(datagrams, bytes);
            (self.callback)(Ok(batch));
        }
        datagrams
    }

    fn deliver_stored(&mut self, state: &RecvState, cx: &RecvContext<'_>, stored: Stored) -> bool {
        let lender = Lender::new(state, cx);
        cx.stats.received(1, stored.data.len());
        (self.callback)(Ok(Batch::one(stored.datagram()).lent_by(&lender)));
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
