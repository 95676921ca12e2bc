//! Socket options, typed: a setter and a getter each.
//!
//! What every one of them may answer is not repeated there: `ENOTSOCK` for what is no socket, `ENOPROTOOPT` where the
//! kernel does not know the option or knows it for another family only, and `EINVAL` for a value outside the range that
//! is told, before the kernel is asked.
//!
//! On an IPv6 socket the options that exist per protocol (`ttl`, `tos`, the `recv_…` ones, path MTU discovery) are set
//! for its IPv4 traffic too, if it has any: mapped addresses travel as IPv4.

use std::num::NonZeroU16;
use std::os::fd::AsFd;

use crate::errno::{Errno, Result};
pub use crate::option_value::{PathMtuDiscovery, TxTimeClock};
use crate::sys::options as sys;

/// Exports the setter and the getter of one option. Each is told about; the C name finds both.
macro_rules! option {
    (
        $alias:literal: $type:ty;
        $(#[doc = $set_doc:literal])* $set:ident;
        $(#[doc = $get_doc:literal])* $get:ident;
    ) => {
        $(#[doc = $set_doc])*
        #[doc(alias = $alias)]
        pub fn $set(fd: impl AsFd, value: $type) -> Result<()> {
            sys::$set(fd.as_fd(), value)
        }

        $(#[doc = $get_doc])*
        ///
        #[doc = concat!("See [`", stringify!($set), "`].")]
        #[doc(alias = $alias)]
        pub fn $get(fd: impl AsFd) -> Result<$type> {
            sys::$get(fd.as_fd())
        }
    };
}
pub(crate) use option;

option! {
    "SO_REUSEADDR": bool;
    /// Lets several sockets bind the same address and port, if all of them set this before they bind.
    ///
    /// On Linux the socket that was bound last receives what is addressed to one host; multicast reaches all of them. It needs no privilege, so that another program of any user can take the port over: see [`set_reuse_port`] for the careful form.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    set_reuse_address;
    /// Whether the address may be shared.
    reuse_address;
}

option! {
    "SO_REUSEPORT": bool;
    /// Makes the socket one of a group that shares its address and port, if all of them set this before they bind and belong to one user. The kernel spreads datagrams over the group, each flow to one socket; [`attach_reuseport_cpu_selector`] chooses otherwise.
    ///
    /// Once a member is connected, the kernel may put members that are bound later into a second group, and gives everything that comes from no member's peer to one of the two: with IPv4 to the later one, if the connected member was the last to be bound; with IPv6 to the earlier one, if the connected member was the first (Linux 6.18). Bind all of them before.
    ///
    /// On Linux it may also be set and taken back on a bound socket, and counts for the sockets that bind after that. Before Linux 3.9 it is `ENOPROTOOPT`.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    set_reuse_port;
    /// Whether the port is shared by a group.
    reuse_port;
}

option! {
    "SO_BROADCAST": bool;
    /// Allows sending to broadcast addresses, which is `EACCES` otherwise. IPv4 only; harmless on IPv6.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    set_broadcast;
    /// Whether broadcasts may be sent.
    broadcast;
}

option! {
    "IPV6_V6ONLY": bool;
    /// Keeps IPv4 away from an IPv6 socket. To be set before the socket is bound: `EINVAL` later. The default is the system's: `net.ipv6.bindv6only`, usually off.
    ///
    /// # Errors
    ///
    /// `EINVAL` on a bound socket; `ENOPROTOOPT` or `EOPNOTSUPP` on an IPv4 socket.
    ///
    /// See [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    set_ipv6_only;
    /// Whether the socket leaves IPv4 alone.
    ipv6_only;
}

option! {
    "SO_SNDBUF": usize;
    /// Sets how many bytes may be on their way out of the socket, before sending is `EAGAIN`.
    ///
    /// **Linux doubles the value**, to account for its own book-keeping, and [`send_buffer_size`] reports the doubled one. It is cut to `net.core.wmem_max` before that and raised to a minimum (4,608 after doubling) silently; ask what it became.
    ///
    /// # Errors
    ///
    /// `EINVAL` above `i32::MAX`.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    set_send_buffer_size;
    /// Bytes of the send buffer, as the kernel counts them: on Linux twice what was set.
    send_buffer_size;
}

option! {
    "SO_RCVBUF": usize;
    /// Sets how many bytes of datagrams the socket holds until they are received. More are dropped: see [`set_recv_drops`].
    ///
    /// **Linux doubles the value**, to account for its own book-keeping, and [`recv_buffer_size`] reports the doubled one. It is cut to `net.core.rmem_max` before that and raised to a minimum (2,304 after doubling) silently; ask what it became. A small datagram takes 768 bytes and more of it.
    ///
    /// # Errors
    ///
    /// `EINVAL` above `i32::MAX`.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    set_recv_buffer_size;
    /// Bytes of the receive buffer, as the kernel counts them: on Linux twice what was set.
    recv_buffer_size;
}

option! {
    "IP_TTL": u32;
    /// Sets the time to live (IPv4) or hop limit (IPv6) of what is sent to single hosts: 1 to 255.
    ///
    /// # Errors
    ///
    /// `EINVAL` for 0 and above 255.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html), [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    set_ttl;
    /// The time to live or hop limit: the system's default (64, mostly) if none was set.
    ttl;
}

option! {
    "IP_TOS": u8;
    /// Sets the whole byte of type of service (IPv4) or traffic class (IPv6) of what is sent: `DSCP << 2 | ECN`.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html), [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    set_tos;
    /// The byte of type of service or traffic class.
    tos;
}

option! {
    "IP_RECVTOS": bool;
    /// Reports the TOS byte or traffic class of what is received: [`Metadata::tos`](crate::Metadata::tos).
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html).
    set_recv_tos;
    /// Whether the TOS byte is reported.
    recv_tos;
}

option! {
    "IP_RECVTTL": bool;
    /// Reports the time to live or hop limit of what is received: [`Metadata::ttl`](crate::Metadata::ttl).
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html), [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    set_recv_ttl;
    /// Whether the time to live is reported.
    recv_ttl;
}

option! {
    "IP_PKTINFO": bool;
    /// Reports where each datagram came to: [`Metadata::destination`](crate::Metadata::destination). On an IPv6 socket an IPv4 destination is reported as a mapped address.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html), [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    set_recv_packet_info;
    /// Whether the destination is reported.
    recv_packet_info;
}

option! {
    "SO_TIMESTAMPNS": bool;
    /// Reports when the kernel received each datagram: [`Metadata::timestamp`](crate::Metadata::timestamp).
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    set_recv_timestamps;
    /// Whether the time of arrival is reported.
    recv_timestamps;
}

option! {
    "SO_RXQ_OVFL": bool;
    /// Reports how many datagrams were dropped for want of room: [`Metadata::kernel_drops`](crate::Metadata::kernel_drops). Linux puts the count at the time of its arrival beside each datagram, once it is not 0. With [`set_gro`] on, it counts coalesced buffers and not the datagrams in them.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    set_recv_drops;
    /// Whether drops are reported.
    recv_drops;
}

option! {
    "UDP_GRO": bool;
    /// Lets the kernel hand over a run of equal datagrams of one flow as one: [`Metadata::segment_size`](crate::Metadata::segment_size) says how long each of them is. Receive into 65,535 bytes then, with control messages on. Linux 5.0.
    ///
    /// See [udp(7)](https://man7.org/linux/man-pages/man7/udp.7.html).
    set_gro;
    /// Whether datagrams are received together.
    gro;
}

option! {
    "UDP_SEGMENT": Option<NonZeroU16>;
    /// Cuts everything that is sent into datagrams of this many bytes, or leaves it whole. For one message alone, see [`Transmit::segment_size`](crate::Transmit::segment_size), which takes precedence. Linux 4.18.
    ///
    /// See [udp(7)](https://man7.org/linux/man-pages/man7/udp.7.html).
    set_segment_size;
    /// Bytes of each datagram that messages are cut into.
    segment_size;
}

option! {
    "IP_RECVERR": bool;
    /// Keeps errors about sent datagrams in a queue of their own, for [`recv_error`](super::error_queue::recv_error) to fetch, with what they were about. The next send or receive call is still told, and sends nothing; on a socket that is not connected it is told of errors only with this on.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html).
    set_recv_errors;
    /// Whether errors are queued.
    recv_errors;
}

option! {
    "IP_MTU_DISCOVER": PathMtuDiscovery;
    /// Sets how the socket finds out, and minds, the size of packets that the path takes.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html), [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    set_path_mtu_discovery;
    /// How the size of packets is found out. `EINVAL` for a way that [`PathMtuDiscovery`] has no name for.
    path_mtu_discovery;
}

option! {
    "SO_MARK": u32;
    /// Marks what is sent, for routing rules and firewalls.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_NET_ADMIN` or `CAP_NET_RAW`.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    set_mark;
    /// The mark.
    mark;
}

option! {
    "SO_PRIORITY": u32;
    /// Sets the priority for queueing at the device: 0 to 6. Setting the TOS sets this too on IPv4.
    ///
    /// # Errors
    ///
    /// `EINVAL` above `i32::MAX`; `EPERM` above 6 without `CAP_NET_ADMIN` or `CAP_NET_RAW`.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    set_priority;
    /// The priority.
    priority;
}

/// The known path MTU towards the peer, in bytes of IP packet: 28 more (IPv4) or 48 more (IPv6) than the largest
/// datagram that needs no fragmentation.
///
/// # Errors
///
/// `ENOTCONN` on a socket that is not connected.
///
/// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html), [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
#[doc(alias = "IP_MTU")]
#[doc(alias = "IPV6_MTU")]
pub fn path_mtu(fd: impl AsFd) -> Result<usize> {
    sys::path_mtu(fd.as_fd())
}

/// Ties the socket to an interface by its name, or unties it.
///
/// [`disconnect`](super::socket::disconnect) undoes it on Linux; set it again afterwards.
///
/// # Errors
///
/// `EINVAL` for a name that is empty, has a NUL or more than 15 bytes; `ENODEV` without such an interface; `EPERM` for
/// a socket that is tied already, without `CAP_NET_RAW`.
///
/// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
#[doc(alias = "SO_BINDTODEVICE")]
pub fn bind_to_device(fd: impl AsFd, name: Option<&str>) -> Result<()> {
    sys::bind_to_device(fd.as_fd(), name)
}

/// The name of the interface that the socket is tied to.
///
/// # Errors
///
/// `EBADMSG` if the name is not UTF-8; `ENODEV` if the interface is gone.
///
/// See [`bind_to_device`].
#[doc(alias = "SO_BINDTODEVICE")]
pub fn bound_device(fd: impl AsFd) -> Result<Option<String>> {
    sys::bound_device(fd.as_fd())
}

/// Prefers this socket, within its [reuse-port group](set_reuse_port), for datagrams that the given CPU processes.
///
/// # Errors
///
/// `EINVAL` above `i32::MAX`.
///
/// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
#[doc(alias = "SO_INCOMING_CPU")]
pub fn set_incoming_cpu(fd: impl AsFd, cpu: u32) -> Result<()> {
    sys::set_incoming_cpu(fd.as_fd(), cpu)
}

/// The CPU that last processed a datagram for this socket, or was set; `None` before.
///
/// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
#[doc(alias = "SO_INCOMING_CPU")]
pub fn incoming_cpu(fd: impl AsFd) -> Result<Option<u32>> {
    sys::incoming_cpu(fd.as_fd())
}

/// Allows [`Transmit::transmit_at`](crate::Transmit::transmit_at), in the time of this clock. Linux 4.19; there is no
/// way to take it back.
///
/// # Errors
///
/// `EPERM` for another clock than [`TxTimeClock::Monotonic`] without `CAP_NET_ADMIN`.
///
/// See [tc-etf(8)](https://man7.org/linux/man-pages/man8/tc-etf.8.html).
#[doc(alias = "SO_TXTIME")]
pub fn set_txtime(fd: impl AsFd, clock: TxTimeClock) -> Result<()> {
    sys::set_txtime(fd.as_fd(), clock)
}

/// The clock that [`set_txtime`] chose.
#[doc(alias = "SO_TXTIME")]
pub fn txtime(fd: impl AsFd) -> Result<Option<TxTimeClock>> {
    sys::txtime(fd.as_fd())
}

/// Takes the pending error, which the next call would otherwise be told instead of doing its work.
///
/// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
#[doc(alias = "SO_ERROR")]
pub fn take_error(fd: impl AsFd) -> Result<Option<Errno>> {
    sys::take_error(fd.as_fd())
}

/// Makes the socket's [reuse-port group](set_reuse_port) choose the receiver by CPU: the one that joined at position
/// `cpu % group_len` gets what that CPU processes. To be called on one of the group, with [`set_reuse_port`] on, before any of
/// them is connected: once one is, members bound later may be in a second group, where the selector is ignored.
///
/// # Errors
///
/// `EINVAL` if `group_len` is 0, or the socket belongs to no group.
///
/// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
#[doc(alias = "SO_ATTACH_REUSEPORT_CBPF")]
pub fn attach_reuseport_cpu_selector(fd: impl AsFd, group_len: u32) -> Result<()> {
    sys::attach_reuseport_cpu_selector(fd.as_fd(), group_len)
}
