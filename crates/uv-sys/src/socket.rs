//! Sockets: making them, and where they are bound and connected.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use crate::addr::Family;
use crate::errno::Result;
use crate::sys::socket as sys;

/// Whether a socket goes on dropping datagrams from strangers after [`disconnect`], on IPv6.
///
/// True on Linux, whose `__udp_disconnect` clears the peer's IPv4 address and the port, but not the IPv6 address that
/// look-ups compare with the sender's: only the old peer's address still gets through. Verified on 6.18. What helps is
/// a new socket.
pub const DISCONNECT_KEEPS_IPV6_FILTER: bool = sys::DISCONNECT_KEEPS_IPV6_FILTER;

/// Whether [`disconnect`] gives back a port that the kernel chose: the socket is then bound to nothing.
///
/// True on Linux: `__udp_disconnect` keeps a port only if it was named at bind(2).
pub const DISCONNECT_DROPS_EPHEMERAL_PORT: bool = sys::DISCONNECT_DROPS_EPHEMERAL_PORT;

/// Makes a UDP socket: non-blocking, and closed on exec.
///
/// # Errors
///
/// `EAFNOSUPPORT` where the kernel lacks the family; `EMFILE`, `ENFILE` without a free descriptor; `ENOBUFS`, `ENOMEM`
/// without memory; `EACCES`, `EPERM` where it is not allowed.
///
/// See [socket(2)](https://man7.org/linux/man-pages/man2/socket.2.html).
#[doc(alias = "SOCK_DGRAM")]
pub fn socket(family: Family) -> Result<OwnedFd> {
    sys::socket(family)
}

/// Binds the socket to a local address. Port 0 lets the kernel choose one: ask [`local_addr`] which.
///
/// # Errors
///
/// `EADDRINUSE`; `EADDRNOTAVAIL` for an address that is not of this host; `EACCES` for a port below 1024 without the
/// privilege; `EINVAL` if it is bound already, or for a link-local address without a scope; `EAFNOSUPPORT` for an
/// address of another family.
///
/// See [bind(2)](https://man7.org/linux/man-pages/man2/bind.2.html).
pub fn bind(fd: impl AsFd, address: &SocketAddr) -> Result<()> {
    sys::bind(fd.as_fd(), address)
}

/// Gives the socket a peer: datagrams go there by default, come from there only, and ICMP errors are reported.
///
/// An unbound socket is bound to a port of the kernel's choice, and one bound to the wildcard address to the address
/// that the route to the peer starts from. Datagrams that were received before stay in the buffer, whoever sent them.
/// `EINPROGRESS` is success: for datagrams there is nothing to wait for.
///
/// # Errors
///
/// `ENETUNREACH`, `EHOSTUNREACH` without a route; `EAGAIN` without a free port; `EINVAL` on Linux if the socket was
/// connected elsewhere and its source address cannot reach the new peer: [`disconnect`] first; `EAFNOSUPPORT` for an
/// address of another family; `EACCES` for a broadcast address without [`set_broadcast`](super::option::set_broadcast).
///
/// See [connect(2)](https://man7.org/linux/man-pages/man2/connect.2.html).
#[doc(alias = "uv_udp_connect")]
pub fn connect(fd: impl AsFd, peer: &SocketAddr) -> Result<()> {
    sys::connect(fd.as_fd(), peer)
}

/// Dissolves the association with the peer, by connecting to an address of family `AF_UNSPEC`.
///
/// On Linux more than that is lost:
///
/// - the port, if the kernel chose it, at [`bind`] with port 0 or at [`connect`]
///   ([`DISCONNECT_DROPS_EPHEMERAL_PORT`]): the socket is then unbound, and receives nothing;
/// - the address that [`connect`] chose for a socket that was bound to the wildcard address: that becomes the wildcard
///   again (if the address was named at [`bind`], it stays);
/// - the device, if it was set by [`bind_to_device`](super::option::bind_to_device);
///
/// and one thing is kept that should not be: the filter by an IPv6 peer ([`DISCONNECT_KEEPS_IPV6_FILTER`]).
///
/// Harmless on a socket without a peer, but for the same losses. BSDs answer `EAFNOSUPPORT` or `EINVAL` and disconnect
/// all the same; that is success here.
///
/// # Errors
///
/// `EBADF`, `ENOTSOCK` for what is no socket.
///
/// See [connect(2)](https://man7.org/linux/man-pages/man2/connect.2.html).
#[doc(alias = "uv_udp_disconnect")]
#[doc(alias = "AF_UNSPEC")]
pub fn disconnect(fd: impl AsFd) -> Result<()> {
    sys::disconnect(fd.as_fd())
}

/// The address that the socket is bound to: wildcard and port 0 for one that is not.
///
/// # Errors
///
/// `EAFNOSUPPORT` for a socket of another family; `ENOTSOCK`.
///
/// See [getsockname(2)](https://man7.org/linux/man-pages/man2/getsockname.2.html).
#[doc(alias = "getsockname")]
pub fn local_addr(fd: impl AsFd) -> Result<SocketAddr> {
    sys::local_addr(fd.as_fd())
}

/// The address of the peer.
///
/// # Errors
///
/// `ENOTCONN` without one; `EAFNOSUPPORT` for a socket of another family; `ENOTSOCK`.
///
/// See [getpeername(2)](https://man7.org/linux/man-pages/man2/getpeername.2.html).
#[doc(alias = "getpeername")]
pub fn peer_addr(fd: impl AsFd) -> Result<SocketAddr> {
    sys::peer_addr(fd.as_fd())
}

/// The family of a socket that came from elsewhere.
///
/// # Errors
///
/// `EAFNOSUPPORT` for one that is neither IPv4 nor IPv6; `ENOTSOCK`.
///
/// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
#[doc(alias = "SO_DOMAIN")]
pub fn family(fd: impl AsFd) -> Result<Family> {
    sys::family(fd.as_fd())
}

/// Whether a socket that came from elsewhere is a datagram socket.
///
/// # Errors
///
/// `ENOTSOCK`.
///
/// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
#[doc(alias = "SO_TYPE")]
pub fn is_datagram(fd: impl AsFd) -> Result<bool> {
    sys::is_datagram(fd.as_fd())
}

/// Whether a socket that came from elsewhere speaks UDP, and not ICMP ("ping sockets") or UDP-Lite, which have datagram sockets
/// too. Those pass over a segment size or refuse it.
///
/// # Errors
///
/// `ENOTSOCK`.
///
/// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
#[doc(alias = "SO_PROTOCOL")]
pub fn is_udp(fd: impl AsFd) -> Result<bool> {
    sys::is_udp(fd.as_fd())
}

/// Whether something is in the receive queue of a socket. Never waits. Errors that wait to be read do not count.
///
/// A read that finds nothing does not prove an empty queue: before Linux 4.2 a datagram with a bad checksum is an `EAGAIN`
/// although more are behind it.
///
/// # Errors
///
/// `ENOMEM`; `EPERM` or `ENOSYS` where a sandbox refuses the call.
///
/// See [poll(2)](https://man7.org/linux/man-pages/man2/poll.2.html).
///
/// ```
/// use std::net::UdpSocket;
///
/// let socket = UdpSocket::bind("127.0.0.1:0")?;
/// assert_eq!(uv_sys::socket::is_readable(&socket), Ok(false));
/// socket.send_to(b"", socket.local_addr()?)?;
/// assert_eq!(uv_sys::socket::is_readable(&socket), Ok(true));
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "poll")]
#[doc(alias = "POLLIN")]
pub fn is_readable(fd: impl AsFd) -> Result<bool> {
    sys::is_readable(fd.as_fd())
}

/// The number of the user that the socket belongs to: who made it, unless [`set_owner`] changed that. Only sockets of one user
/// can share a port by [`set_reuse_port`](super::option::set_reuse_port).
///
/// # Errors
///
/// None that a valid descriptor can cause.
///
/// See [fstat(2)](https://man7.org/linux/man-pages/man2/fstat.2.html).
#[doc(alias = "fstat")]
pub fn owner(fd: impl AsFd) -> Result<u32> {
    sys::owner(fd.as_fd())
}

/// Makes the socket another user's.
///
/// # Errors
///
/// `EPERM` without `CAP_CHOWN`.
///
/// See [fchown(2)](https://man7.org/linux/man-pages/man2/chown.2.html).
#[doc(alias = "fchown")]
pub fn set_owner(fd: impl AsFd, user: u32) -> Result<()> {
    sys::set_owner(fd.as_fd(), user)
}

/// Whether the descriptor is in non-blocking mode.
///
/// # Errors
///
/// None that a valid descriptor can cause.
///
/// See [fcntl(2)](https://man7.org/linux/man-pages/man2/fcntl.2.html).
#[doc(alias = "O_NONBLOCK")]
pub fn nonblocking(fd: impl AsFd) -> Result<bool> {
    sys::nonblocking(fd.as_fd())
}

/// Switches the descriptor's non-blocking mode. No function of this crate needs it; others that share the descriptor may.
///
/// # Errors
///
/// None that a valid descriptor can cause.
///
/// See [fcntl(2)](https://man7.org/linux/man-pages/man2/fcntl.2.html).
#[doc(alias = "O_NONBLOCK")]
#[doc(alias = "fcntl")]
pub fn set_nonblocking(fd: impl AsFd, on: bool) -> Result<()> {
    sys::set_nonblocking(fd.as_fd(), on)
}

/// Switches whether the descriptor is closed on exec.
///
/// # Errors
///
/// None that a valid descriptor can cause.
///
/// See [fcntl(2)](https://man7.org/linux/man-pages/man2/fcntl.2.html).
#[doc(alias = "FD_CLOEXEC")]
pub fn set_cloexec(fd: impl AsFd, on: bool) -> Result<()> {
    sys::set_cloexec(fd.as_fd(), on)
}
