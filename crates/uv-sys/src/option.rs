//! Socket options, typed: a setter and a getter each.
//!
//! Every function may return three errors that its docs do not repeat:
//!
//! - `ENOTSOCK`: the descriptor is no socket.
//! - `ENOPROTOOPT`: the kernel lacks the option, or has it for another address family only.
//! - `EINVAL`: a value outside the documented range, checked before the system call.
//!
//! Options that IPv4 and IPv6 have separately (`ttl`, `tos`, path MTU discovery, most `recv_…`
//! ones) are set for both on an IPv6 socket: traffic with mapped addresses is IPv4.

use std::num::NonZeroU16;
use std::os::fd::AsFd;

use crate::errno::{Errno, Result};
pub use crate::option_value::{PathMtuDiscovery, TxTimeClock};
use crate::sys::options as sys;

/// Exports the setter and the getter of one option, with the C names as aliases of both.
macro_rules! option {
    (
        $($alias:literal),+: $type:ty;
        $(#[doc = $set_doc:literal])* $set:ident;
        $(#[doc = $get_doc:literal])* $get:ident;
    ) => {
        $(#[doc = $set_doc])*
        $(#[doc(alias = $alias)])+
        #[doc(alias = "setsockopt")]
        pub fn $set(fd: impl AsFd, value: $type) -> Result<()> {
            sys::$set(fd.as_fd(), value)
        }

        $(#[doc = $get_doc])*
        ///
        #[doc = concat!("See [`", stringify!($set), "`].")]
        $(#[doc(alias = $alias)])+
        #[doc(alias = "getsockopt")]
        pub fn $get(fd: impl AsFd) -> Result<$type> {
            sys::$get(fd.as_fd())
        }
    };
}
pub(crate) use option;

option! {
    "SO_REUSEADDR": bool;
    /// Lets several sockets bind the same address and port, if all of them set this before they
    /// bind.
    ///
    /// On Linux the socket that was bound last receives unicast datagrams; multicast reaches all
    /// sockets. Any program of any user can take the port over this way: [`set_reuse_port`] is
    /// restricted to one user.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    set_reuse_address;
    /// Whether the address may be shared.
    reuse_address;
}

option! {
    "SO_REUSEPORT": bool;
    /// Makes the socket a member of a group that shares its address and port. All members set this
    /// before they bind, and belong to one user. The kernel distributes flows over the group;
    /// [`attach_reuseport_cpu_selector`] replaces its choice.
    ///
    /// Bind all members before any of them is connected. With a connected member, later ones may
    /// form a second group, and all unmatched traffic goes to one of the two (Linux 6.18). On IPv4
    /// that is the later group if the connected member was the last to bind; on IPv6 it is the
    /// earlier one if the connected member was the first.
    ///
    /// Linux also accepts the option on a bound socket, with effect on sockets that bind later.
    /// `ENOPROTOOPT` before Linux 3.9.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    set_reuse_port;
    /// Whether the port is shared by a group.
    reuse_port;
}

option! {
    "SO_BROADCAST": bool;
    /// Allows sending to broadcast addresses, which returns `EACCES` otherwise. IPv4 only; has no
    /// effect on IPv6.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    set_broadcast;
    /// Whether broadcasts are allowed.
    broadcast;
}

option! {
    "IPV6_V6ONLY": bool;
    /// Excludes IPv4 traffic from an IPv6 socket. The default is `net.ipv6.bindv6only`, usually
    /// off.
    ///
    /// # Errors
    ///
    /// `EINVAL` on a bound socket; `ENOPROTOOPT` or `EOPNOTSUPP` on an IPv4 socket.
    ///
    /// See [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    set_ipv6_only;
    /// Whether the socket excludes IPv4 traffic.
    ipv6_only;
}

option! {
    "SO_SNDBUF": usize;
    /// Sets how many bytes the send buffer holds. A send that finds it full returns `EAGAIN`.
    ///
    /// **Linux doubles the value** for its own overhead, and [`send_buffer_size`] returns the
    /// doubled one. It silently limits the value to `net.core.wmem_max` before that, and raises the
    /// result to at least 4,608.
    ///
    /// # Errors
    ///
    /// `EINVAL` above `i32::MAX`.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    set_send_buffer_size;
    /// Bytes of the send buffer, as the kernel counts them: on Linux twice the value that was set.
    send_buffer_size;
}

option! {
    "SO_RCVBUF": usize;
    /// Sets how many bytes the receive buffer holds. The kernel drops datagrams that find it full:
    /// see [`set_recv_drops`].
    ///
    /// **Linux doubles the value** for its own overhead, and [`recv_buffer_size`] returns the
    /// doubled one. It silently limits the value to `net.core.rmem_max` before that, and raises the
    /// result to at least 2,304. A small datagram takes 768 bytes or more.
    ///
    /// # Errors
    ///
    /// `EINVAL` above `i32::MAX`.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    set_recv_buffer_size;
    /// Bytes of the receive buffer, as the kernel counts them: on Linux twice the value that was
    /// set.
    recv_buffer_size;
}

option! {
    "IP_TTL", "IPV6_UNICAST_HOPS": u32;
    /// Sets the time to live (IPv4) or hop limit (IPv6) of unicast datagrams, 1 to 255.
    ///
    /// # Errors
    ///
    /// `EINVAL` for 0 and above 255.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html),
    /// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    set_ttl;
    /// The time to live or hop limit; the system's default, usually 64, if none was set.
    ttl;
}

option! {
    "IP_TOS", "IPV6_TCLASS": u8;
    /// Sets the type of service (IPv4) or traffic class (IPv6) of sent datagrams:
    /// `DSCP << 2 | ECN`.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html),
    /// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    set_tos;
    /// The type of service or traffic class.
    tos;
}

option! {
    "IP_RECVTOS", "IPV6_RECVTCLASS": bool;
    /// Reports the type of service or traffic class of received datagrams:
    /// [`Metadata::tos`](crate::Metadata::tos).
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html),
    /// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    set_recv_tos;
    /// Whether the type of service is reported.
    recv_tos;
}

option! {
    "IP_RECVTTL", "IPV6_RECVHOPLIMIT": bool;
    /// Reports the time to live or hop limit of received datagrams:
    /// [`Metadata::ttl`](crate::Metadata::ttl).
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html),
    /// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    set_recv_ttl;
    /// Whether the time to live is reported.
    recv_ttl;
}

option! {
    "IP_PKTINFO", "IPV6_RECVPKTINFO": bool;
    /// Reports the destination of received datagrams:
    /// [`Metadata::destination`](crate::Metadata::destination). An IPv6 socket reports an IPv4
    /// destination as a mapped address.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html),
    /// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    set_recv_packet_info;
    /// Whether the destination is reported.
    recv_packet_info;
}

option! {
    "SO_TIMESTAMPNS": bool;
    /// Reports the kernel's receive time of each datagram:
    /// [`Metadata::timestamp`](crate::Metadata::timestamp).
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    set_recv_timestamps;
    /// Whether the receive time is reported.
    recv_timestamps;
}

option! {
    "SO_RXQ_OVFL": bool;
    /// Reports datagrams that the kernel dropped because the receive buffer was full:
    /// [`Metadata::kernel_drops`](crate::Metadata::kernel_drops).
    ///
    /// Linux attaches the count at a datagram's arrival to it, once the count is not 0. With
    /// [`set_gro`] it counts coalesced buffers instead of datagrams.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    set_recv_drops;
    /// Whether drops are reported.
    recv_drops;
}

option! {
    "UDP_GRO": bool;
    /// Lets the kernel deliver several datagrams of one flow in one buffer.
    /// [`Metadata::segment_size`](crate::Metadata::segment_size) is the length of each. Receive
    /// into 65,535 bytes, with control messages on. Linux 5.0.
    ///
    /// See [udp(7)](https://man7.org/linux/man-pages/man7/udp.7.html).
    set_gro;
    /// Whether datagrams are coalesced.
    gro;
}

option! {
    "UDP_SEGMENT": Option<NonZeroU16>;
    /// Splits every sent message into datagrams of this many bytes; `None` sends it whole.
    /// [`Transmit::segment_size`](crate::Transmit::segment_size) overrides it for one message.
    /// Linux 4.18.
    ///
    /// See [udp(7)](https://man7.org/linux/man-pages/man7/udp.7.html).
    set_segment_size;
    /// The bytes of each datagram into which messages are split.
    segment_size;
}

option! {
    "IP_RECVERR", "IPV6_RECVERR": bool;
    /// Queues errors about sent datagrams, with the datagrams, for
    /// [`recv_error`](super::error_queue::recv_error).
    ///
    /// The next send or receive call still returns a pending error, and sends nothing. An
    /// unconnected socket gets such errors only with this option.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html),
    /// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    set_recv_errors;
    /// Whether errors are queued.
    recv_errors;
}

option! {
    "IP_MTU_DISCOVER", "IPV6_MTU_DISCOVER": PathMtuDiscovery;
    /// Sets how the socket discovers the path MTU, and whether it forbids fragmentation.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html),
    /// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    set_path_mtu_discovery;
    /// How the path MTU is discovered. `EINVAL` for a value that [`PathMtuDiscovery`] lacks.
    path_mtu_discovery;
}

option! {
    "SO_MARK": u32;
    /// Marks sent datagrams for routing rules and firewalls.
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
    /// Sets the priority in the device's queue, 0 to 6. On IPv4, setting the TOS sets this too.
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

/// The known path MTU towards the peer, in bytes of an IP packet. The largest unfragmented datagram
/// is 28 bytes (IPv4) or 48 bytes (IPv6) smaller.
///
/// # Errors
///
/// `ENOTCONN` on an unconnected socket.
///
/// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html),
/// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
#[doc(alias = "IP_MTU")]
#[doc(alias = "IPV6_MTU")]
#[doc(alias = "getsockopt")]
pub fn path_mtu(fd: impl AsFd) -> Result<usize> {
    sys::path_mtu(fd.as_fd())
}

/// Binds the socket to the interface with this name; `None` removes the binding.
///
/// On Linux, [`disconnect`](super::socket::disconnect) removes it too; set it again afterwards.
///
/// # Errors
///
/// `EINVAL` for a name that is empty, has a NUL or more than 15 bytes; `ENODEV` without such an
/// interface; `EPERM` to change an existing binding without `CAP_NET_RAW`.
///
/// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
#[doc(alias = "SO_BINDTODEVICE")]
#[doc(alias = "setsockopt")]
pub fn bind_to_device(fd: impl AsFd, name: Option<&str>) -> Result<()> {
    sys::bind_to_device(fd.as_fd(), name)
}

/// The name of the interface to which the socket is bound.
///
/// # Errors
///
/// `EBADMSG` if the name is not UTF-8; `ENODEV` if the interface was removed.
///
/// See [`bind_to_device`].
#[doc(alias = "SO_BINDTODEVICE")]
#[doc(alias = "getsockopt")]
pub fn bound_device(fd: impl AsFd) -> Result<Option<String>> {
    sys::bound_device(fd.as_fd())
}

/// Prefers this socket within its [reuse-port group](set_reuse_port) for datagrams that the given
/// CPU processes.
///
/// # Errors
///
/// `EINVAL` above `i32::MAX`.
///
/// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
#[doc(alias = "SO_INCOMING_CPU")]
#[doc(alias = "setsockopt")]
pub fn set_incoming_cpu(fd: impl AsFd, cpu: u32) -> Result<()> {
    sys::set_incoming_cpu(fd.as_fd(), cpu)
}

/// The CPU that last processed a datagram for this socket or that was set; `None` before.
///
/// See [`set_incoming_cpu`].
#[doc(alias = "SO_INCOMING_CPU")]
#[doc(alias = "getsockopt")]
pub fn incoming_cpu(fd: impl AsFd) -> Result<Option<u32>> {
    sys::incoming_cpu(fd.as_fd())
}

/// Enables [`Transmit::transmit_at`](crate::Transmit::transmit_at), in the time of this clock. It
/// cannot be disabled again. Linux 4.19.
///
/// # Errors
///
/// `EPERM` for another clock than [`TxTimeClock::Monotonic`] without `CAP_NET_ADMIN`.
///
/// See [tc-etf(8)](https://man7.org/linux/man-pages/man8/tc-etf.8.html).
#[doc(alias = "SO_TXTIME")]
#[doc(alias = "setsockopt")]
pub fn set_txtime(fd: impl AsFd, clock: TxTimeClock) -> Result<()> {
    sys::set_txtime(fd.as_fd(), clock)
}

/// The clock that [`set_txtime`] set.
///
/// See [`set_txtime`].
#[doc(alias = "SO_TXTIME")]
#[doc(alias = "getsockopt")]
pub fn txtime(fd: impl AsFd) -> Result<Option<TxTimeClock>> {
    sys::txtime(fd.as_fd())
}

/// Takes the pending error, which the next send or receive call would return instead of doing its
/// work.
///
/// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
#[doc(alias = "SO_ERROR")]
#[doc(alias = "getsockopt")]
pub fn take_error(fd: impl AsFd) -> Result<Option<Errno>> {
    sys::take_error(fd.as_fd())
}

/// Makes the socket's [reuse-port group](set_reuse_port) choose the receiver by CPU: a datagram
/// that CPU `cpu` processes goes to member `cpu % group_len`, in the order of joining.
///
/// Call it on one member with [`set_reuse_port`] on, before any member is connected. Members that
/// bind after a connect may form a second group without the selector.
///
/// # Errors
///
/// `EINVAL` if `group_len` is 0, or the socket belongs to no group.
///
/// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
#[doc(alias = "SO_ATTACH_REUSEPORT_CBPF")]
#[doc(alias = "setsockopt")]
pub fn attach_reuseport_cpu_selector(fd: impl AsFd, group_len: u32) -> Result<()> {
    sys::attach_reuseport_cpu_selector(fd.as_fd(), group_len)
}
