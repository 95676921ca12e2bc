//! Receiving into buffers of the user.

use std::mem;

use uv_sys::{Errno, Received, Result, UninitSlice};

use super::context::RecvContext;
use super::datagram::{Batch, Filter, RecvMeta};
use super::sink::{Sink, count_lost};
use super::state::RecvState;
use super::undelivered::Stored;
use crate::error::NetworkError;
use crate::shared::RECV_SLOT;

/// The outcome of a read, which the callback gets with the buffer.
pub(crate) type Outcome<'a> = std::result::Result<&'a [RecvMeta], NetworkError>;

/// The user's two callbacks, which get the handle `H`, and the buffer between them.
pub(crate) trait UserBuffers<H> {
    /// Asks for a buffer; `false` for none, and for an empty one.
    fn supply(&mut self, handle: &H) -> bool;
    /// The memory of the buffer.
    fn memory(&mut self) -> &mut UninitSlice;
    /// Gives the buffer back with an outcome. Without both, nothing happens.
    fn give_back(&mut self, handle: &H, outcome: Outcome<'_>);
    /// An empty list, whose memory is reused.
    fn list(&mut self) -> &mut Vec<RecvMeta>;
}

/// Datagrams in buffers of the user.
pub(crate) struct UserMemory<'s, H> {
    handle: &'s H,
    buffers: &'s mut dyn UserBuffers<H>,
    /// Whether the user supplied a buffer that was not given back.
    supplied: bool,
    /// Coalesced messages that fit into the buffer; 0 if it is shorter than one.
    slots: usize,
    /// Whether the last read used the loop's memory, because a coalesced message does not fit into
    /// the buffer.
    indirect: bool,
    received: Vec<RecvMeta>,
}

impl<'s, H> UserMemory<'s, H> {
    pub(crate) fn new(handle: &'s H, buffers: &'s mut dyn UserBuffers<H>) -> Self {
        let received = mem::take(buffers.list());
        Self {
            handle,
            buffers,
            supplied: false,
            slots: 0,
            indirect: false,
            received,
        }
    }

    /// Whether there is a buffer with room. If not, the callback gets `ENOBUFS`, unless the user's
    /// callback ended the epoch.
    fn supply(&mut self, state: &RecvState, cx: &RecvContext<'_>) -> bool {
        if self.supplied {
            return true;
        }
        let epoch = state.epoch();
        let has_room = self.buffers.supply(self.handle);
        self.supplied = true;
        if state.epoch() == epoch && !has_room {
            cx.stats.error(Errno::ENOBUFS);
            self.give_back(Err(NetworkError::new(Errno::ENOBUFS)));
        }
        has_room
    }

    fn give_back(&mut self, outcome: Outcome<'_>) {
        self.supplied = false;
        self.buffers.give_back(self.handle, outcome);
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

impl<H> Sink for UserMemory<'_, H> {
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
        // Free: no other handle receives during this phase.
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
            // Copied into buffers: the first datagram now, the others in the next phase.
            let memory = cx.shared.recv.borrow();
            count_lost(state, cx, &memory, messages, filter);
            let batch = Batch::new(&memory, messages, filter);
            let (datagrams, _) = batch.totals();
            state.store(cx, batch);
            drop(memory);
            if let Some(first) = state.undelivered.next_datagram() {
                self.deliver_stored(state, cx, first);
            }
            return datagrams;
        }
        let datagrams = self.received.iter().map(RecvMeta::datagrams).sum();
        if !self.received.is_empty() {
            self.supplied = false;
            self.buffers.give_back(self.handle, Ok(&self.received));
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

/// A stored datagram without a buffer yet. It is stored again unless it is delivered, also after a
/// panic.
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
