//! Single messages: sendmsg(2), recvmsg(2). For several with one system call see [`SendBatch`](crate::SendBatch) and
//! [`RecvBatch`](crate::RecvBatch).

pub use crate::receive::{recv_into, recvmsg, recvmsg_with_control};
pub use crate::send::{sendmsg, sendmsg_with_control};
