//! The error queue: what became of datagrams that did not arrive.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use crate::errno::{Errno, Result};
use crate::sys::error_queue as sys;

/// Who says that something went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorOrigin {
    /// This host, before the datagram left it.
    #[doc(alias = "SO_EE_ORIGIN_LOCAL")]
    Local,
    /// An ICMP message.
    #[doc(alias = "SO_EE_ORIGIN_ICMP")]
    Icmp,
    /// An ICMPv6 message.
    #[doc(alias = "SO_EE_ORIGIN_ICMP6")]
    Icmp6,
    /// Something else, by the kernel's number: 4 for timestamps of sends, 5 for zero-copy notifications, 6 for
    /// transmit times that were missed.
    Other(u8),
}

/// What an error is and where it comes from, as the kernel tells it in a control message.
#[doc(alias = "sock_extended_err")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExtendedError {
    /// The error.
    pub errno: Errno,
    /// Who tells.
    pub origin: ErrorOrigin,
    /// The type of the ICMP message.
    pub kind: u8,
    /// The code of the ICMP message.
    pub code: u8,
    /// For `EMSGSIZE`, the packet size in bytes that would do.
    pub info: u32,
    /// The host that sent the ICMP message.
    #[doc(alias = "SO_EE_OFFENDER")]
    pub offender: Option<IpAddr>,
}

/// An error about a datagram that was sent earlier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueuedError {
    /// The error.
    pub errno: Errno,
    /// Who tells.
    pub origin: ErrorOrigin,
    /// The type of the ICMP message.
    pub kind: u8,
    /// The code of the ICMP message.
    pub code: u8,
    /// For `EMSGSIZE`, the packet size in bytes that would do.
    pub info: u32,
    /// Where the datagram was going.
    pub destination: Option<SocketAddr>,
    /// The host that sent the ICMP message. `None` for errors of this host's own making.
    pub offender: Option<IpAddr>,
    /// Bytes of the datagram that were stored: as many as the ICMP message quoted and the buffer took.
    pub payload_len: usize,
}

/// Takes the oldest error out of the queue that [`set_recv_errors`](crate::option::set_recv_errors) opened, and stores the
/// beginning of the datagram that it is about in `buf`.
///
/// Taking the last one also clears the pending error that the next call would have been told.
///
/// # Errors
///
/// `EAGAIN` if there is none; never waits. `EBADMSG` if the kernel queued something that is not an error.
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
/// let gone = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
/// let socket = UdpSocket::bind("127.0.0.1:0")?;
/// set_recv_errors(&socket, true)?;
/// socket.send_to(b"anyone?", gone)?;
/// let error = recv_error(&socket, &mut [0; 64])?;
/// assert_eq!((error.errno, error.destination), (Errno::ECONNREFUSED, Some(gone)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "MSG_ERRQUEUE")]
pub fn recv_error(fd: impl AsFd, buf: &mut [u8]) -> Result<QueuedError> {
    sys::recv_error(fd.as_fd(), buf)
}
