//! The interface between the read loop and the forms of receiving.

use uv_sys::{Errno, RecvBatch, Result};

use super::context::RecvContext;
use super::datagram::Filter;
use super::state::RecvState;
use super::undelivered::Stored;
use crate::error::NetworkError;

/// One form of receiving: memory for reads, and the delivery of datagrams and errors.
pub(crate) trait Sink {
    /// Provides memory for a read of up to `wanted` messages. Returns the number of messages that
    /// fit; `None` without memory.
    fn prepare(&mut self, state: &RecvState, cx: &RecvContext<'_>, wanted: usize) -> Option<usize>;

    /// Reads up to `width` messages with one system call, and returns their number.
    fn read(
        &mut self,
        state: &RecvState,
        cx: &RecvContext<'_>,
        width: usize,
        filter: &Filter,
    ) -> Result<usize>;

    /// Takes the error that ended the last read after it had received messages, if it is known.
    fn take_interruption(&mut self, cx: &RecvContext<'_>) -> Option<Errno>;

    /// Counts and delivers the messages of the last read, and returns the number of datagrams.
    fn deliver(
        &mut self,
        state: &RecvState,
        cx: &RecvContext<'_>,
        messages: usize,
        filter: &Filter,
    ) -> usize;

    /// Delivers a stored datagram. `false` if the callback left it, and it was stored again.
    fn deliver_stored(&mut self, state: &RecvState, cx: &RecvContext<'_>, stored: Stored) -> bool;

    /// Delivers an error, which is counted already.
    fn error(&mut self, error: NetworkError);

    /// Whether coalesced messages fit into the memory.
    fn has_room_for_coalesced(&self) -> bool;

    /// Ends the phase.
    fn finish(&mut self) {}
}

/// Counts filtered datagrams, and those that the kernel reports as dropped.
pub(super) fn count_lost(
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
