//! Storing what a socket has received that is about to be closed.

use std::os::fd::BorrowedFd;

use uv_sys::{Errno, RecvBatch, RecvOptions};

use super::datagram::{Batch, Filter};
use super::{RecvContext, RecvState};
use crate::shared::RECV_SLOT;

/// Datagrams that may be stored already when another one is stored from such a socket: more than a default buffer holds. A handle
/// without a receiver would store those of every connection otherwise.
const MAX_STORED: usize = 4096;
/// Bytes of them.
const MAX_STORED_BYTES: usize = 4 * 1024 * 1024;
/// Reads from such a socket: one for each that may be stored, and some for errors.
const MAX_READS: usize = MAX_STORED + 16;

impl RecvState {
    /// Stores the datagrams in the buffer of `socket`, which need not be the handle's socket.
    pub(crate) fn drain(&self, cx: &RecvContext<'_>, socket: BorrowedFd<'_>) {
        let options = RecvOptions::new().with_control(true);
        let mut memory = RecvBatch::new(1, RECV_SLOT);
        let (mut datagrams, mut bytes) = self.stored_size();
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
                    let batch = Batch::new(&memory, count, Filter::EVERYBODY);
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
