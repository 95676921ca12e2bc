//! Memory and flow control that all UDP handles of a loop share.

use std::cell::RefCell;
use std::rc::Rc;

use uv_core::Pool;
use uv_sys::{RecvBatch, SendBatch};

use crate::flow_control::FlowControl;

/// Messages that one system call receives at most.
pub(crate) const RECV_SLOTS: usize = 32;
/// Bytes for each message: the kernel coalesces at most this much, and no datagram is longer.
pub(crate) const RECV_SLOT: usize = 64 * 1024;

/// The shared state of one loop. One handle uses it at a time.
pub(crate) struct Shared {
    /// Borrowed while datagrams in it are lent to a callback.
    pub(crate) recv: RefCell<RecvBatch>,
    pub(crate) send: RefCell<SendBatch>,
    /// Segments in one message at most; 1 where the kernel does not segment.
    pub(crate) max_segments: usize,
    pub(crate) flow: FlowControl,
    pool: Rc<Pool>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            recv: RefCell::new(RecvBatch::new(RECV_SLOTS, RECV_SLOT)),
            send: RefCell::new(SendBatch::new()),
            max_segments: uv_sys::capabilities().max_segments,
            flow: FlowControl::new(),
            pool: Rc::default(),
        }
    }

    pub(crate) fn pool(&self) -> Rc<Pool> {
        Rc::clone(&self.pool)
    }
}
