//! Sockets: creating, binding, connecting and *disconnecting* them, their addresses and their
//! owner.
//!
//! `ENOTSOCK` for a descriptor that is no socket is not repeated in the docs of each function.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use crate::addr::Family;
use crate::errno::Result;
use crate::sys::socket as sys;

/// Whether an IPv6 socket still receives only from its former peer's address after [`disconnect`].
///
/// True on Linux: `__udp_disconnect` clears the peer's port and IPv4 address, but not the IPv6
/// address that look-ups compare with the sender's (verified on 6.18). Only a new socket receives
/// from others.
pub const DISCONNECT_KEEPS_IPV6_FILTER: bool = sys::DISCONNECT_KEEPS_IPV6_FILTER;

/// Whether [`disconnect`] unbinds a socket whose port the kernel chose.
///
/// True on Linux: `__udp_disconnect` keeps a port only if bind(2) named it.
pub const DISCONNECT_DROPS_EPHEMERAL_PORT: bool = sys::DISCONNECT_DROPS_EPHEMERAL_PORT;

/// Creates a UDP socket: non-blocking, and closed on exec.
///
/// # Errors
///
/// `EAFNOSUPPORT` if the kernel lacks the family; `EMFILE`, `ENFILE` without a free descriptor;
/// `ENOBUFS`, `ENOMEM` without memory; `EACCES`, `EPERM` if the process is not allowed to.
///
/// See [socket(2)](https://man7.org/linux/man-pages/man2/socket.2.html).
#[doc(alias = "SOCK_DGRAM")]
pub fn socket(family: Family) -> Result<OwnedFd> {
    sys::socket(family)
}

/// Binds the socket to a local address. With port 0 the kernel chooses one, which [`local_addr`]
/// returns.
///
/// # Errors
///
/// - `EADDRINUSE`: the address is taken.
/// - `EADDRNOTAVAIL`: the address is not of this host.
/// - `EACCES`: a port below 1024 without the privilege.
/// - `EINVAL`: the socket is bound already, or a link-local address has no scope.
/// - `EAFNOSUPPORT`: an address of another family.
///
/// See [bind(2)](https://man7.org/linux/man-pages/man2/bind.2.html).
pub fn bind(fd: impl AsFd, address: &SocketAddr) -> Result<()> {
    sys::bind(fd.as_fd(), address)
}

/// Connects the socket to a peer: sends go there by default, only its datagrams are received, and
/// ICMP errors are reported.
///
/// The kernel binds an unbound socket to a port of its choice, and one on the wildcard address to
/// the source address of the route. Earlier datagrams of other senders stay in the buffer.
/// `EINPROGRESS` counts as success: datagram sockets have no handshake.
///
/// # Errors
///
/// - `ENETUNREACH`, `EHOSTUNREACH`: no route.
/// - `EAGAIN`: no free port.
/// - `EAFNOSUPPORT`: an address of another family.
/// - `EACCES`: a broadcast address without [`set_broadcast`](super::option::set_broadcast).
/// - `EINVAL`: on Linux, the source address of a connected socket cannot reach the new peer.
///   [`disconnect`] first.
///
/// See [connect(2)](https://man7.org/linux/man-pages/man2/connect.2.html).
#[doc(alias = "uv_udp_connect")]
pub fn connect(fd: impl AsFd, peer: &SocketAddr) -> Result<()> {
    sys::connect(fd.as_fd(), peer)
}

/// Disconnects the socket from its peer, by connecting to an address of family `AF_UNSPEC`.
///
/// Linux resets more than the peer:
///
/// - a port that the kernel chose, in [`bind`] with port 0 or in [`connect`]
///   ([`DISCONNECT_DROPS_EPHEMERAL_PORT`]): the socket is then unbound and receives nothing;
/// - an address that [`connect`] chose, back to the wildcard address; one that [`bind`] named
///   stays;
/// - the device set by [`bind_to_device`](super::option::bind_to_device).
///
/// It keeps the filter by an IPv6 peer ([`DISCONNECT_KEEPS_IPV6_FILTER`]).
///
/// On an unconnected socket it resets the same. BSDs return `EAFNOSUPPORT` or `EINVAL` after
/// disconnecting, which counts as success here.
///
/// # Errors
///
/// None but `ENOTSOCK`.
///
/// See [connect(2)](https://man7.org/linux/man-pages/man2/connect.2.html).
#[doc(alias = "uv_udp_disconnect")]
#[doc(alias = "connect")]
#[doc(alias = "AF_UNSPEC")]
pub fn disconnect(fd: impl AsFd) -> Result<()> {
    sys::disconnect(fd.as_fd())
}

/// The local address; the wildcard address with port 0 on an unbound socket.
///
/// # Errors
///
/// `EAFNOSUPPORT` for a socket of another family than IPv4 and IPv6.
///
/// See [getsockname(2)](https://man7.org/linux/man-pages/man2/getsockname.2.html).
#[doc(alias = "getsockname")]
pub fn local_addr(fd: impl AsFd) -> Result<SocketAddr> {
    sys::local_addr(fd.as_fd())
}

/// The peer's address.
///
/// # Errors
///
/// `ENOTCONN` without a peer; `EAFNOSUPPORT` for a socket of another family than IPv4 and IPv6.
///
/// See [getpeername(2)](https://man7.org/linux/man-pages/man2/getpeername.2.html).
#[doc(alias = "getpeername")]
pub fn peer_addr(fd: impl AsFd) -> Result<SocketAddr> {
    sys::peer_addr(fd.as_fd())
}

/// The address family of a socket that other code made.
///
/// # Errors
///
/// `EAFNOSUPPORT` if it is neither IPv4 nor IPv6.
///
/// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
#[doc(alias = "SO_DOMAIN")]
pub fn family(fd: impl AsFd) -> Result<Family> {
    sys::family(fd.as_fd())
}

/// Whether a socket that other code made is a datagram socket.
///
/// # Errors
///
/// None but `ENOTSOCK`.
///
/// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
#[doc(alias = "SO_TYPE")]
pub fn is_datagram(fd: impl AsFd) -> Result<bool> {
    sys::is_datagram(fd.as_fd())
}

/// Whether a socket that other code made is a UDP socket. ICMP ("ping sockets") and UDP-Lite have
/// datagram sockets too, which ignore or refuse a segment size.
///
/// # Errors
///
/// None but `ENOTSOCK`.
///
/// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
#[doc(alias = "SO_PROTOCOL")]
pub fn is_udp(fd: impl AsFd) -> Result<bool> {
    sys::is_udp(fd.as_fd())
}

/// Whether a datagram is in the receive buffer of a socket. Never waits. Pending errors do not
/// count.
///
/// `EAGAIN` from a read does not prove an empty buffer: before Linux 4.2 a datagram with a bad
/// checksum causes it although more follow.
///
/// # Errors
///
/// `ENOMEM` without memory; `EPERM` or `ENOSYS` if a sandbox refuses the call.
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

/// The id of the user who owns the socket: its creator, unless [`set_owner`] changed it. Only
/// sockets of one user can share a port with [`set_reuse_port`](super::option::set_reuse_port).
///
/// # Errors
///
/// None with a valid descriptor.
///
/// See [fstat(2)](https://man7.org/linux/man-pages/man2/fstat.2.html).
#[doc(alias = "fstat")]
pub fn owner(fd: impl AsFd) -> Result<u32> {
    sys::owner(fd.as_fd())
}

/// Changes the owner of the socket.
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
/// None with a valid descriptor.
///
/// See [fcntl(2)](https://man7.org/linux/man-pages/man2/fcntl.2.html).
#[doc(alias = "O_NONBLOCK")]
#[doc(alias = "fcntl")]
pub fn nonblocking(fd: impl AsFd) -> Result<bool> {
    sys::nonblocking(fd.as_fd())
}

/// Sets the descriptor's non-blocking mode. No function of this crate depends on it; other code
/// may.
///
/// # Errors
///
/// None with a valid descriptor.
///
/// See [fcntl(2)](https://man7.org/linux/man-pages/man2/fcntl.2.html).
#[doc(alias = "O_NONBLOCK")]
#[doc(alias = "fcntl")]
pub fn set_nonblocking(fd: impl AsFd, on: bool) -> Result<()> {
    sys::set_nonblocking(fd.as_fd(), on)
}

/// Sets whether the descriptor is closed on exec.
///
/// # Errors
///
/// None with a valid descriptor.
///
/// See [fcntl(2)](https://man7.org/linux/man-pages/man2/fcntl.2.html).
#[doc(alias = "FD_CLOEXEC")]
#[doc(alias = "fcntl")]
pub fn set_cloexec(fd: impl AsFd, on: bool) -> Result<()> {
    sys::set_cloexec(fd.as_fd(), on)
}
