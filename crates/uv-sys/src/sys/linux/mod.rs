//! Linux.

pub(crate) mod addr;
pub(crate) mod cmsg;
#[cfg(feature = "poller")]
pub(crate) mod epoll;
pub(crate) mod errno;
pub(crate) mod error_queue;
#[cfg(any(feature = "poller", feature = "fault-injection"))]
pub(crate) mod fork;
pub(crate) mod limits;
pub(crate) mod multicast;
pub(crate) mod options;
#[cfg(miri)]
pub(crate) mod pretended;
pub(crate) mod recv;
pub(crate) mod recv_ring;
pub(crate) mod refusal;
pub(crate) mod send;
pub(crate) mod send_batch;
pub(crate) mod socket;
pub(crate) mod sockopt;
pub(crate) mod syscall;
