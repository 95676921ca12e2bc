//! Where received datagrams go: into the loop's memory, lent to a callback as a batch; or into buffers of the user.

use std::cell::RefMut;
use std::mem;

use uv_sys::{Errno, Received, RecvBatch, Result, UninitSlice};

use super::datagram::{Batch, Filter, RecvMeta};
use super::requested::Kind;
use super::undelivered::Stored;
use super::{Lender, RecvContext, RecvState};
use crate::error::NetworkError;
use crate::shared::RECV_SLOT;

/// One form of receiving, as the read loop sees it.
pub(crate) trait Sink {
    /// Makes room for a read of up to `wanted` messages, and returns for how many there is room; `None` for none.
    fn prepare(&mut self, state: &RecvState, cx: &RecvContext<'_>, wanted: usize) -> Option<usize>;

    /// Reads up to `width` messages with one system call, and returns their number.
    fn read(
        &mut self,
        state: &RecvState,
        cx: &RecvContext<'_>,
        width: usize,
        filter: &Filter,
    ) -> Result<usize>;

    /// The error that ended the last read after it had received something, if it is known.
    fn take_interruption(&mut self, cx: &RecvContext<'_>) -> Option<Errno>;

    /// Counts and delivers the messages of the last read, and returns the number of datagrams.
    fn deliver(
        &mut self,
        state: &RecvState,
        cx: &RecvContext<'_>,
        messages: usize,
        filter: &Filter,
    ) -> usize;

    /// Delivers a stored datagram. `false` if it was stored again, because the user did not take it.
    fn deliver_stored(&mut self, state: &RecvState, cx: &RecvContext<'_>, stored: Stored) -> bool;

    /// Delivers an error, which is counted already.
    fn error(&mut self, error: NetworkError);

    /// Whether coalesced datagrams fit in.
    fn has_room_for_coalesced(&self) -> bool;

    /// Ends the phase.
    fn finish(&mut self) {}
}

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
        if filter.backlog || state.requested.has(Kind::Drops) {
            count_beside(state, cx, &self.memory, messages, filter);
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
        !lender.took_back()
    }

    fn error(&mut self, error: NetworkError) {
        (self.callback)(Err(error));
    }

    fn has_room_for_coalesced(&self) -> bool {
        true
    }
}

/// Counts filtered datagrams, and what the kernel reports of those that it dropped.
fn count_beside(
    state: &RecvState,
    cx: &RecvContext<'_>,
    memory: &RecvBatch,
    messages: usize,
    filter: &Filter,
) {
    for (_, received) in (0..messages).filter_map(|index| memory.get(index)) {
        if filter.admit(received.source).is_none() {
            cx.stats.filtered(1);
        }
        state.count_drops(cx, received.metadata.kernel_drops);
    }
}

/// What a buffer comes back with.
pub(crate) type Outcome<'a> = std::result::Result<&'a [RecvMeta], NetworkError>;

/// The two callbacks of a user who receives into memory of his own, and the buffer that is on its way between them.
pub(crate) trait UserBuffers {
    /// Asks for a buffer; `false` if there is none, or one without room.
    fn supply(&mut self) -> bool;
    /// The memory of the buffer.
    fn memory(&mut self) -> &mut UninitSlice;
    /// Gives the buffer back with an outcome. Does nothing where there is neither a buffer nor an outcome.
    fn give_back(&mut self, outcome: Outcome<'_>);
    /// An empty list, whose memory is used again and again.
    fn list(&mut self) -> &mut Vec<RecvMeta>;
}

/// Datagrams in buffers of the user.
pub(crate) struct UserMemory<'s> {
    buffers: &'s mut dyn UserBuffers,
    /// Whether a buffer is here.
    supplied: bool,
    /// Messages that fit into the buffer with room for coalesced datagrams; 0 if it is shorter than that.
    slots: usize,
    /// Whether the last read went into the loop's memory, because a coalesced message does not fit into the buffer.
    indirect: bool,
    received: Vec<RecvMeta>,
}

impl<'s> UserMemory<'s> {
    pub(crate) fn new(buffers: &'s mut dyn UserBuffers) -> Self {
        let received = mem::take(buffers.list());
        Self {
            buffers,
            supplied: false,
            slots: 0,
            indirect: false,
            received,
        }
    }

    /// Whether there is a buffer with room. If not, the callback gets `ENOBUFS`, unless `supply` ended the epoch.
    fn supply(&mut self, state: &RecvState, cx: &RecvContext<'_>) -> bool {
        if self.supplied {
            return true;
        }
        let epoch = state.epoch();
        let has_room = self.buffers.supply();
        self.supplied = true;
        if state.epoch() == epoch && !has_room {
            cx.stats.error(Errno::ENOBUFS);
            self.give_back(Err(NetworkError::new(Errno::ENOBUFS)));
        }
        has_room
    }

    fn give_back(&mut self, outcome: Outcome<'_>) {
        self.supplied = false;
        self.buffers.give_back(outcome);
    }

    /// Counts a message in the buffer, and adds it unless it is filtered.
    fn add(
        &mut self,
        state: &RecvState,
        cx: &RecvContext<'_>,
        received: &Received,
        offset: usize,
        filter: &Filter,
    ) {
        state.count_drops(cx, received.metadata.kernel_drops);
        match filter.admit(received.source) {
            Some(source) => {
                let meta = RecvMeta::new(received, source, offset);
                Self::count(cx, &meta);
                self.received.push(meta);
            }
            None => cx.stats.filtered(1),
        }
    }

    fn count(cx: &RecvContext<'_>, meta: &RecvMeta) {
        cx.stats.received(meta.datagrams(), meta.len);
        if meta.truncated {
            cx.stats.truncated();
        }
    }
}

impl Sink for UserMemory<'_> {
    fn prepare(&mut self, state: &RecvState, cx: &RecvContext<'_>, wanted: usize) -> Option<usize> {
        if !self.supply(state, cx) {
            return None;
        }
        self.slots = self.buffers.memory().len() / RECV_SLOT;
        Some(wanted.min(self.slots.max(1)))
    }

    fn read(
        &mut self,
        state: &RecvState,
        cx: &RecvContext<'_>,
        width: usize,
        filter: &Filter,
    ) -> Result<usize> {
        self.received.clear();
        self.indirect = self.slots == 0 && state.coalesces();
        let options = state.options(filter);
        // No other handle receives during this phase.
        let mut batch = cx.shared.recv.borrow_mut();
        if self.indirect {
            return batch.recv(cx.socket, 1, options);
        }
        let memory = self.buffers.memory();
        if self.slots == 0 {
            let received = uv_sys::message::recv_into(cx.socket, memory, options)?;
            self.add(state, cx, &received, 0, filter);
            return Ok(1);
        }
        let count = batch.recv_into(cx.socket, memory, width, options)?;
        for index in 0..count {
            if let Some(received) = batch.received(index) {
                self.add(state, cx, received, index * RECV_SLOT, filter);
            }
        }
        Ok(count)
    }

    fn take_interruption(&mut self, cx: &RecvContext<'_>) -> Option<Errno> {
        cx.shared.recv.borrow_mut().take_interruption()
    }

    fn deliver(
        &mut self,
        state: &RecvState,
        cx: &RecvContext<'_>,
        messages: usize,
        filter: &Filter,
    ) -> usize {
        if self.indirect {
            // Its datagrams are copied into buffers: the first one now, the others in the next phase.
            let memory = cx.shared.recv.borrow();
            count_beside(state, cx, &memory, messages, filter);
            let batch = Batch::new(&memory, messages, *filter);
            let (datagrams, _) = batch.totals();
            state.store(cx, batch);
            drop(memory);
            if let Some(first) = state.next_datagram() {
                self.deliver_stored(state, cx, first);
            }
            return datagrams;
        }
        let datagrams = self.received.iter().map(RecvMeta::datagrams).sum();
        if !self.received.is_empty() {
            self.supplied = false;
            self.buffers.give_back(Ok(&self.received));
        }
        datagrams
    }

    fn deliver_stored(&mut self, state: &RecvState, cx: &RecvContext<'_>, stored: Stored) -> bool {
        let epoch = state.epoch();
        let mut unclaimed = Unclaimed {
            state,
            cx,
            stored: Some(stored),
        };
        if !self.supply(state, cx) || state.epoch() != epoch {
            return false;
        }
        let Some(stored) = unclaimed.stored.take() else {
            return false;
        };
        let len = self.buffers.memory().write(&stored.data);
        let meta = RecvMeta {
            offset: 0,
            len,
            full_len: stored.data.len(),
            source: stored.source,
            truncated: stored.truncated || len < stored.data.len(),
            metadata: stored.metadata,
        };
        Self::count(cx, &meta);
        self.give_back(Ok(&[meta]));
        true
    }

    fn error(&mut self, error: NetworkError) {
        self.give_back(Err(error));
    }

    fn has_room_for_coalesced(&self) -> bool {
        self.slots > 0
    }

    fn finish(&mut self) {
        if self.supplied {
            self.give_back(Ok(&[]));
        }
        self.received.clear();
        *self.buffers.list() = mem::take(&mut self.received);
    }
}

/// A stored datagram without a buffer yet. It is stored again unless it is taken, also after a panic.
struct Unclaimed<'a> {
    state: &'a RecvState,
    cx: &'a RecvContext<'a>,
    stored: Option<Stored>,
}

impl Drop for Unclaimed<'_> {
    fn drop(&mut self) {
        if let Some(stored) = self.stored.take() {
            self.state.put_back_first(self.cx, stored);
        }
    }
}
