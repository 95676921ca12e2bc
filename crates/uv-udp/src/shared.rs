//! Memory that all UDP handles of a loop share: one of them uses it at a time.

use std::cell::RefCell;
use std::rc::Rc;

use uv_core::Pool;
use uv_sys::{RecvBatch, SendBatch};

use crate::flow_control::FlowControl;

/// Messages that one system call may receive.
pub(crate) const RECV_SLOTS: usize = 32;
/// Bytes for each: what the kernel coalesces at most, and more than any datagram has.
pub(crate) const RECV_SLOT: usize = 64 * 1024;

pub(crate) struct Shared {
    /// Borrowed while datagrams in it are lent to a callback.
    pub(crate) recv: RefCell<RecvBatch>,
    pub(crate) send: RefCell<SendBatch>,
    /// How many segments one message may have; 1 where the kernel does not segment.
    pub(crate) max_segments: usize,
    /// What the handles of the loop may send.
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
