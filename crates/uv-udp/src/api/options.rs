//! The socket options of a handle.

use std::fmt;
use std::num::NonZeroU16;

use uv_sys::{Errno, PathMtuDiscovery, Result, TxTimeClock};

use crate::handle::{Inner, Udp};

/// A setter and a getter, each told about by its own sentences. The aliases find both.
macro_rules! options {
    ($module:ident: $(
        $type:ty, $($alias:literal)*;
        $(#[doc = $set_doc:literal])* $set:ident;
        $(#[doc = $get_doc:literal])* $get:ident;
    )*) => {$(
        $(#[doc = $set_doc])*
        $(#[doc(alias = $alias)])*
        pub fn $set(&self, value: $type) -> Result<()> {
            self.inner.with_socket(|socket| uv_sys::$module::$set(socket, value))
        }

        $(#[doc = $get_doc])*
        ///
        #[doc = concat!("See [`", stringify!($set), "`](Self::", stringify!($set), ").")]
        ///
        /// # Errors
        ///
        /// `EBADF` also while there is no socket yet.
        $(#[doc(alias = $alias)])*
        pub fn $get(&self) -> Result<$type> {
            self.inner.with_socket(|socket| uv_sys::$module::$get(socket))
        }
    )*};
}
pub(super) use options;

impl Udp {
    /// The options of the handle's socket.
    ///
    /// ```
    /// use uv_udp::{Loop, Udp};
    ///
    /// let event_loop = Loop::new()?;
    /// let udp = Udp::new(&event_loop);
    /// udp.bind("127.0.0.1:0".parse().unwrap())?;
    /// udp.options().set_ttl(3)?;
    /// assert_eq!(udp.options().ttl(), Ok(3));
    /// # Ok::<(), uv_udp::Errno>(())
    /// ```
    #[must_use]
    pub fn options(&self) -> Options<'_> {
        Options { inner: &self.inner }
    }
}

/// The options of a handle's socket, from [`Udp::options`]. They have the names that they have in `uv_sys`.
///
/// They need a socket: one that [`bind`](Udp::bind) or [`connect`](Udp::connect) made, or [`Udp::for_family`]. Without one, and
/// on a closed handle, they return `EBADF`. They survive disconnecting and reconnecting.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    pub(super) inner: &'a Inner,
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").finish_non_exhaustive()
    }
}

impl Options<'_> {
    options! { option:
        u32, "uv_udp_set_ttl" "IP_TTL" "IPV6_UNICAST_HOPS";
        /// Sets the time to live (IPv4) or hop limit (IPv6) of what is sent to single hosts: 1 to 255. For one datagram alone,
        /// see [`Transmit::with_ttl`](crate::Transmit::with_ttl).
        ///
        /// # Errors
        ///
        /// `EINVAL` for 0 and above 255. `EBADF` also while there is no socket yet.
        ///
        /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html), [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
        set_ttl;
        /// The time to live or hop limit: the system's default (64, mostly) if none was set.
        ttl;

        bool, "uv_udp_set_broadcast" "SO_BROADCAST";
        /// Allows sending to broadcast addresses, which is `EACCES` otherwise. IPv4 only; harmless on IPv6.
        ///
        /// # Errors
        ///
        /// `EBADF` also while there is no socket yet.
        ///
        /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
        set_broadcast;
        /// Whether broadcasts may be sent.
        broadcast;

        usize, "uv_send_buffer_size" "SO_SNDBUF";
        /// Sets how many bytes may be on their way out of the socket, before sends wait in the handle's own queue.
        ///
        /// **Linux doubles the value**, for its own book-keeping, and the getter reports the doubled one; it is cut to
        /// `net.core.wmem_max` before that and raised to a minimum silently. Ask what it became.
        ///
        /// # Errors
        ///
        /// `EINVAL` above `i32::MAX`. `EBADF` also while there is no socket yet.
        ///
        /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
        set_send_buffer_size;
        /// Bytes of the send buffer, as the kernel counts them: on Linux twice what was set.
        send_buffer_size;

        usize, "uv_recv_buffer_size" "SO_RCVBUF";
        /// Sets how many bytes of datagrams the socket holds until they are received; more are dropped. A small datagram takes
        /// 768 bytes and more of it.
        ///
        /// **Linux doubles the value**, for its own book-keeping, and the getter reports the doubled one; it is cut to
        /// `net.core.rmem_max` before that and raised to a minimum silently. Ask what it became.
        ///
        /// # Errors
        ///
        /// `EINVAL` above `i32::MAX`. `EBADF` also while there is no socket yet.
        ///
        /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
        set_recv_buffer_size;
        /// Bytes of the receive buffer, as the kernel counts them: on Linux twice what was set.
        recv_buffer_size;

        PathMtuDiscovery, "IP_MTU_DISCOVER" "IPV6_MTU_DISCOVER" "IP_DONTFRAG";
        /// Sets how the handle finds out, and minds, the size of packets that the path takes. The send of a datagram that is too
        /// large then completes with `EMSGSIZE`, and [`path_mtu`](Self::path_mtu) says what would do.
        ///
        /// # Errors
        ///
        /// `EBADF` also while there is no socket yet.
        ///
        /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html), [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
        set_path_mtu_discovery;
        /// How the size of packets is found out. `EINVAL` for a way that [`PathMtuDiscovery`] has no name for.
        path_mtu_discovery;

        u32, "SO_MARK";
        /// Marks what is sent, for routing rules and firewalls.
        ///
        /// # Errors
        ///
        /// `EPERM` without `CAP_NET_ADMIN` or `CAP_NET_RAW`. `EBADF` also while there is no socket yet.
        ///
        /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
        set_mark;
        /// The mark.
        mark;

        u32, "SO_PRIORITY";
        /// Sets the priority for queueing at the device: 0 to 6. On IPv4, [`set_tos`](Self::set_tos) sets this too.
        ///
        /// # Errors
        ///
        /// `EINVAL` above `i32::MAX`; `EPERM` above 6 without `CAP_NET_ADMIN` or `CAP_NET_RAW`. `EBADF` also while there is no
        /// socket yet.
        ///
        /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
        set_priority;
        /// The priority.
        priority;
    }

    /// Sets the whole byte of type of service (IPv4) or traffic class (IPv6) of what is sent: `DSCP << 2 | ECN`. For one datagram
    /// alone, see [`Transmit::with_tos`](crate::Transmit::with_tos), and [`Transmit::with_ecn`](crate::Transmit::with_ecn),
    /// which keeps the DSCP of this byte.
    ///
    /// # Errors
    ///
    /// `EBADF` also while there is no socket yet.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html), [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    #[doc(alias = "IP_TOS")]
    #[doc(alias = "IPV6_TCLASS")]
    #[doc(alias = "DSCP")]
    #[doc(alias = "ECN")]
    pub fn set_tos(&self, value: u8) -> Result<()> {
        self.inner.send.forget_tos();
        self.inner
            .with_socket(|socket| uv_sys::option::set_tos(socket, value))
    }

    /// The byte of type of service or traffic class.
    ///
    /// See [`set_tos`](Self::set_tos).
    ///
    /// # Errors
    ///
    /// `EBADF` also while there is no socket yet.
    #[doc(alias = "IP_TOS")]
    #[doc(alias = "IPV6_TCLASS")]
    pub fn tos(&self) -> Result<u8> {
        self.inner.with_socket(|socket| uv_sys::option::tos(socket))
    }

    /// The known path MTU towards the peer, in bytes of IP packet: 28 more (IPv4) or 48 more (IPv6) than the largest datagram
    /// that needs no fragmentation. It falls when a router reports "too big".
    ///
    /// # Errors
    ///
    /// `ENOTCONN` when the handle has no peer.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html), [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    #[doc(alias = "IP_MTU")]
    #[doc(alias = "IPV6_MTU")]
    pub fn path_mtu(&self) -> Result<usize> {
        self.inner.state.get().peer()?;
        self.inner
            .with_socket(|socket| uv_sys::option::path_mtu(socket))
    }

    /// Ties the handle to an interface by its name, or unties it: only what comes by it is received, and all is sent by it.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a name that is empty, has a NUL or more than 15 bytes; `ENODEV` without such an interface; `EPERM` on a
    /// handle that is rebound already, without `CAP_NET_RAW`. `EBADF` also while there is no socket yet.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    #[doc(alias = "SO_BINDTODEVICE")]
    pub fn bind_to_device(&self, name: Option<&str>) -> Result<()> {
        self.inner
            .with_socket(|socket| uv_sys::option::bind_to_device(socket, name))?;
        self.inner.socket.survivors().set_device(name);
        Ok(())
    }

    /// The name of the interface that the handle is rebound to.
    ///
    /// # Errors
    ///
    /// `EBADMSG` if the name is not UTF-8; `ENODEV` if the interface is gone. `EBADF` also while there is no socket yet.
    ///
    /// See [`bind_to_device`](Self::bind_to_device).
    #[doc(alias = "SO_BINDTODEVICE")]
    pub fn bound_device(&self) -> Result<Option<String>> {
        self.inner
            .with_socket(|socket| uv_sys::option::bound_device(socket))
    }

    /// Prefers this handle, within its [reuse-port group](crate::BindOptions::reuse_port), for datagrams that the given CPU
    /// processes. As with [`attach_reuseport_cpu_selector`](Self::attach_reuseport_cpu_selector), that holds until one of the
    /// group is connected.
    ///
    /// # Errors
    ///
    /// `EINVAL` above `i32::MAX`. `EBADF` also while there is no socket yet.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    #[doc(alias = "SO_INCOMING_CPU")]
    pub fn set_incoming_cpu(&self, cpu: u32) -> Result<()> {
        self.inner
            .with_socket(|socket| uv_sys::option::set_incoming_cpu(socket, cpu))?;
        self.inner.socket.survivors().set_incoming_cpu(cpu);
        Ok(())
    }

    /// The CPU that last processed a datagram for this handle, or was set; `None` before.
    ///
    /// # Errors
    ///
    /// `EBADF` also while there is no socket yet.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    #[doc(alias = "SO_INCOMING_CPU")]
    pub fn incoming_cpu(&self) -> Result<Option<u32>> {
        self.inner
            .with_socket(|socket| uv_sys::option::incoming_cpu(socket))
    }

    /// Makes the handle's [reuse-port group](crate::BindOptions::reuse_port) choose the receiver by CPU: the one that joined at
    /// position `cpu % group_len` gets what that CPU processes. To be called on one handle of the group; a handle that
    /// disconnects from an IPv6 peer joins anew, at another position.
    ///
    /// Attach it before any of the group connects: once one is connected, handles that are bound later may be in a second group,
    /// where the selector is ignored. See [`BindOptions::reuse_port`](crate::BindOptions::reuse_port).
    ///
    /// # Errors
    ///
    /// `EINVAL` if `group_len` is 0, or the handle belongs to no group. `EBADF` also while there is no socket yet.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    #[doc(alias = "SO_ATTACH_REUSEPORT_CBPF")]
    pub fn attach_reuseport_cpu_selector(&self, group_len: u32) -> Result<()> {
        if group_len == 0 {
            return Err(Errno::EINVAL);
        }
        self.inner.with_socket(|socket| {
            // The kernel also takes one for a handle whose port was shared while it connected anew.
            if !uv_sys::option::reuse_port(socket)? {
                return Err(Errno::EINVAL);
            }
            uv_sys::option::attach_reuseport_cpu_selector(socket, group_len)
        })
    }
}

/// Segmentation and transmit times.
impl Options<'_> {
    /// Cuts everything that is sent into datagrams of so many bytes, of which the last may be shorter; `None` for not. That goes
    /// for what is queued already, too, as it does for the options of the socket. For one buffer alone, see
    /// [`Transmit::segment_size`](crate::Transmit::segment_size), which takes precedence.
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` without segmentation ([`Capabilities::segmentation`](crate::Capabilities::segmentation), Linux 4.18). Sends complete with `EINVAL` for more
    /// segments than [`Capabilities::max_segments`](crate::Capabilities::max_segments), and with `EINVAL` or `EMSGSIZE` for
    /// segments that the path does not take. `EBADF` also while there is no socket yet.
    ///
    /// See [udp(7)](https://man7.org/linux/man-pages/man7/udp.7.html).
    #[doc(alias = "UDP_SEGMENT")]
    pub fn set_segment_size(&self, size: Option<NonZeroU16>) -> Result<()> {
        self.inner.with_socket(|socket| {
            // Some kernels take the option and ignore it, and a sandbox may refuse it.
            if size.is_some() && !uv_sys::capabilities().segmentation {
                return Err(Errno::ENOPROTOOPT);
            }
            uv_sys::option::set_segment_size(socket, size)
        })?;
        self.inner.send.set_socket_segments(size.is_some());
        Ok(())
    }

    /// Bytes of each datagram that sends are cut into.
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` where the kernel has no segmentation. `EBADF` also while there is no socket yet.
    #[doc(alias = "UDP_SEGMENT")]
    pub fn segment_size(&self) -> Result<Option<NonZeroU16>> {
        self.inner
            .with_socket(|socket| uv_sys::option::segment_size(socket))
    }

    /// Allows [`Transmit::with_transmit_time`](crate::Transmit::with_transmit_time), in the time of this clock. There is no way to take it back.
    ///
    /// Without it, a datagram with a time is `EINVAL`. Only the queueing disciplines `fq` and `etf` mind the time; the others
    /// send at once.
    ///
    /// # Errors
    ///
    /// `EPERM` for another clock than [`TxTimeClock::Monotonic`] without `CAP_NET_ADMIN`; `ENOPROTOOPT` before Linux 4.19.
    /// `EBADF` also while there is no socket yet.
    ///
    /// See [tc-etf(8)](https://man7.org/linux/man-pages/man8/tc-etf.8.html).
    #[doc(alias = "SO_TXTIME")]
    pub fn set_txtime(&self, clock: TxTimeClock) -> Result<()> {
        self.inner
            .with_socket(|socket| uv_sys::option::set_txtime(socket, clock))
    }

    /// The clock that [`set_txtime`](Self::set_txtime) chose.
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` before Linux 4.19. `EBADF` also while there is no socket yet.
    #[doc(alias = "SO_TXTIME")]
    pub fn txtime(&self) -> Result<Option<TxTimeClock>> {
        self.inner
            .with_socket(|socket| uv_sys::option::txtime(socket))
    }
}
