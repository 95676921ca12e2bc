//! Single messages: sendmsg(2) and recvmsg(2).
//!
//! [`SendBatch`](crate::SendBatch) and [`RecvBatch`](crate::RecvBatch) move several messages with
//! one system call.

pub use crate::receive::{recv_into, recvmsg, recvmsg_with_control};
pub use crate::send::{sendmsg, sendmsg_with_control};
