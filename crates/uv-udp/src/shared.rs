//! Memory that all UDP handles of a loop share: one of them uses it at a time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use uv_core::Pool;
use uv_sys::{RecvBatch, SendBatch};

use crate::budget::Budget;
use crate::user_memory::RecvMeta;

/// Messages that one system call may receive.
pub(crate) const RECV_SLOTS: usize = 32;
/// Bytes for each: what the kernel coalesces at most, and more than any datagram has.
pub(crate) const RECV_SLOT: usize = 64 * 1024;

pub(crate) struct Shared {
    /// Borrowed while datagrams in it are lent to a callback.
    pub(crate) recv: RefCell<RecvBatch>,
    pub(crate) send: RefCell<SendBatch>,
    /// What a read into the user's memory brought; taken while a callback looks at it.
    pub(crate) arrivals: Cell<Vec<RecvMeta>>,
    /// How many segments one message may have; 1 where the kernel does not segment.
    pub(crate) max_segments: usize,
    /// How often a handle of this loop sent several datagrams at once.
    pub(crate) bursts: Cell<u32>,
    /// The iteration in which a handle of this loop last flushed, and what it left of its budget.
    pub(crate) budget: Cell<(u64, Budget)>,
    /// How many handles of this loop receive, and have no turn but when the poller tells of something.
    pub(crate) resting: Cell<usize>,
    /// Bytes of a receive buffer that may be full for those who rest: of what was sent since they last had their turn for it.
    pub(crate) unread: Cell<usize>,
    /// The iteration in which they had it, if they did yet.
    pub(crate) read: Cell<Option<u64>>,
    pool: Rc<Pool>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            recv: RefCell::new(RecvBatch::new(RECV_SLOTS, RECV_SLOT)),
            send: RefCell::new(SendBatch::new()),
            arrivals: Cell::default(),
            max_segments: uv_sys::capabilities().max_segments,
            bursts: Cell::new(0),
            budget: Cell::new((0, Budget::FULL)),
            resting: Cell::new(0),
            unread: Cell::new(0),
            read: Cell::new(None),
            pool: Rc::default(),
        }
    }

    pub(crate) fn pool(&self) -> Rc<Pool> {
        Rc::clone(&self.pool)
    }
}
