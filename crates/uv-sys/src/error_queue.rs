//! The error queue: errors about sent datagrams, from ICMP and from this host.

use std::os::fd::AsFd;

use crate::errno::Result;
pub use crate::queued_error::{ErrorOrigin, ExtendedError, QueuedError};
use crate::sys::error_queue as sys;

/// Takes the oldest error from the queue that [`set_recv_errors`](super::option::set_recv_errors)
/// enables. Stores the beginning of its datagram in `buf`.
///
/// Taking the last one also clears the pending error that the next call would return.
///
/// # Errors
///
/// `EAGAIN` if the queue is empty; never waits. `EBADMSG` if the kernel queued something else, such
/// as a timestamp.
///
/// See [recvmsg(2)](https://man7.org/linux/man-pages/man2/recvmsg.2.html) and `IP_RECVERR` in
/// [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html).
///
/// ```
/// use std::net::UdpSocket;
/// use uv_sys::Errno;
/// use uv_sys::error_queue::recv_error;
/// use uv_sys::option::set_recv_errors;
///
/// let closed = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
/// let socket = UdpSocket::bind("127.0.0.1:0")?;
/// set_recv_errors(&socket, true)?;
/// socket.send_to(b"hello", closed)?;
/// let error = recv_error(&socket, &mut [0; 64])?;
/// assert_eq!((error.errno, error.destination), (Errno::ECONNREFUSED, Some(closed)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "MSG_ERRQUEUE")]
#[doc(alias = "recvmsg")]
pub fn recv_error(fd: impl AsFd, buf: &mut [u8]) -> Result<QueuedError> {
    sys::recv_error(fd.as_fd(), buf)
}
