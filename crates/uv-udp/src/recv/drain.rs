//! Storing the datagrams of a socket that is about to be closed.

use std::os::fd::BorrowedFd;

use uv_sys::{Errno, RecvBatch, RecvOptions};

use super::context::RecvContext;
use super::datagram::{Batch, Filter};
use super::state::RecvState;
use crate::shared::RECV_SLOT;

/// Stored datagrams that end draining: more than a default buffer holds. Without a limit, a handle
/// without a receiver would store the datagrams of every connection.
const MAX_STORED: usize = 4096;
/// Stored bytes that end draining.
const MAX_STORED_BYTES: usize = 4 * 1024 * 1024;
/// Reads from such a socket: one for each datagram that may be stored, and some for errors.
const MAX_READS: usize = MAX_STORED + 16;

impl RecvState {
    /// Stores the datagrams in the buffer of `socket`, which need not be the handle's socket.
    pub(crate) fn drain(&self, cx: &RecvContext<'_>, socket: BorrowedFd<'_>) {
        let options = RecvOptions::new().with_control(true);
        let mut memory = RecvBatch::new(1, RECV_SLOT);
        let (mut datagrams, mut bytes) = self.undelivered.size();
        for _ in 0..MAX_READS {
            if datagrams >= MAX_STORED || bytes >= MAX_STORED_BYTES {
                // The rest is lost, as with a full socket buffer.
                break;
            }
            match memory.recv(socket, 1, options) {
                Ok(count) => {
                    if let Some((_, received)) = memory.get(0) {
                        self.count_drops(cx, received.metadata.kernel_drops);
                    }
                    let batch = Batch::new(&memory, count, &Filter::EVERYBODY);
                    let totals = batch.totals();
                    datagrams += totals.0;
                    bytes += totals.1;
                    self.store(cx, batch);
                }
                Err(Errno::EAGAIN) => break,
                Err(error) => self.report(cx, error),
            }
        }
    }
}
