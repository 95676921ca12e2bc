//! The socket options of a handle.

use std::fmt;
use std::num::NonZeroU16;

use uv_sys::{Errno, PathMtuDiscovery, Result, TxTimeClock};

use crate::handle::{Inner, Udp};

/// Defines a setter and a getter, each with its own docs, and with the same aliases.
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
        /// `EBADF` also without a socket.
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
    pub fn options(&self) -> Options<'_> {
        Options { inner: &self.inner }
    }
}

/// The options of a handle's socket, from [`Udp::options`]. The names are those of
/// `uv_sys::option`.
///
/// They need a socket: after [`bind`](Udp::bind), [`connect`](Udp::connect) or [`Udp::for_family`].
/// Without one, and on a closed handle, they return `EBADF`. They survive disconnecting and
/// reconnecting.
#[derive(Clone, Copy)]
#[must_use]
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
        /// Sets the time to live (IPv4) or hop limit (IPv6) of unicast datagrams: 1 to 255. For a
        /// single datagram, see [`Transmit::with_ttl`](crate::Transmit::with_ttl).
        ///
        /// # Errors
        ///
        /// `EINVAL` for 0 and above 255. `EBADF` also without a socket.
        ///
        /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html),
        /// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
        set_ttl;
        /// The time to live or hop limit; by default the system's, typically 64.
        ttl;

        bool, "uv_udp_set_broadcast" "SO_BROADCAST";
        /// Allows sending to broadcast addresses, which is `EACCES` otherwise. No effect on IPv6.
        ///
        /// # Errors
        ///
        /// `EBADF` also without a socket.
        ///
        /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
        set_broadcast;
        /// Whether sending to broadcast addresses is allowed.
        broadcast;

        usize, "uv_send_buffer_size" "SO_SNDBUF";
        /// Sets the size of the send buffer in bytes. While it is full, sends stay in the handle's
        /// queue.
        ///
        /// **Linux doubles the value** for its overhead, and the getter returns the doubled one.
        /// Before that, it limits the value to `net.core.wmem_max`; it also applies a minimum.
        ///
        /// # Errors
        ///
        /// `EINVAL` above `i32::MAX`. `EBADF` also without a socket.
        ///
        /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
        set_send_buffer_size;
        /// The size of the send buffer in bytes: on Linux twice the value that was set.
        send_buffer_size;

        usize, "uv_recv_buffer_size" "SO_RCVBUF";
        /// Sets the size of the receive buffer in bytes. While it is full, the kernel drops
        /// datagrams. A small datagram takes at least 768 bytes of it.
        ///
        /// **Linux doubles the value** for its overhead, and the getter returns the doubled one.
        /// Before that, it limits the value to `net.core.rmem_max`; it also applies a minimum.
        ///
        /// # Errors
        ///
        /// `EINVAL` above `i32::MAX`. `EBADF` also without a socket.
        ///
        /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
        set_recv_buffer_size;
        /// The size of the receive buffer in bytes: on Linux twice the value that was set.
        recv_buffer_size;

        PathMtuDiscovery, "IP_MTU_DISCOVER" "IPV6_MTU_DISCOVER" "IP_DONTFRAG";
        /// Sets the mode of path MTU discovery. A send that exceeds the MTU may complete with
        /// `EMSGSIZE`; [`path_mtu`](Self::path_mtu) returns the limit.
        ///
        /// # Errors
        ///
        /// `EBADF` also without a socket.
        ///
        /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html),
        /// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
        set_path_mtu_discovery;
        /// The mode of path MTU discovery. `EINVAL` for one that [`PathMtuDiscovery`] lacks.
        path_mtu_discovery;

        u32, "SO_MARK";
        /// Sets the mark of sent packets, for routing rules and firewalls.
        ///
        /// # Errors
        ///
        /// `EPERM` without `CAP_NET_ADMIN` or `CAP_NET_RAW`. `EBADF` also without a socket.
        ///
        /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
        set_mark;
        /// The mark of sent packets.
        mark;

        u32, "SO_PRIORITY";
        /// Sets the priority in the device's queue: 0 to 6. On IPv4, [`set_tos`](Self::set_tos)
        /// also sets it.
        ///
        /// # Errors
        ///
        /// `EINVAL` above `i32::MAX`; `EPERM` above 6 without `CAP_NET_ADMIN` or `CAP_NET_RAW`.
        /// `EBADF` also without a socket.
        ///
        /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
        set_priority;
        /// The priority in the device's queue.
        priority;
    }

    /// Sets the TOS byte (IPv4) or traffic class (IPv6) of sent packets: `DSCP << 2 | ECN`.
    ///
    /// For a single datagram, see [`Transmit::with_tos`](crate::Transmit::with_tos), and
    /// [`Transmit::with_ecn`](crate::Transmit::with_ecn), which keeps the DSCP of this byte.
    ///
    /// # Errors
    ///
    /// `EBADF` also without a socket.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html),
    /// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    #[doc(alias = "IP_TOS")]
    #[doc(alias = "IPV6_TCLASS")]
    #[doc(alias = "DSCP")]
    #[doc(alias = "ECN")]
    pub fn set_tos(&self, value: u8) -> Result<()> {
        self.inner.send.defaults().forget_tos();
        self.inner
            .with_socket(|socket| uv_sys::option::set_tos(socket, value))
    }

    /// The TOS byte or traffic class.
    ///
    /// See [`set_tos`](Self::set_tos).
    ///
    /// # Errors
    ///
    /// `EBADF` also without a socket.
    #[doc(alias = "IP_TOS")]
    #[doc(alias = "IPV6_TCLASS")]
    pub fn tos(&self) -> Result<u8> {
        self.inner.with_socket(|socket| uv_sys::option::tos(socket))
    }

    /// The known MTU of the path to the peer, in bytes of an IP packet. The largest datagram
    /// without fragmentation has 28 (IPv4) or 48 (IPv6) bytes less. It falls when a router
    /// reports "too big".
    ///
    /// # Errors
    ///
    /// `ENOTCONN` on an unconnected handle.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html),
    /// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    #[doc(alias = "IP_MTU")]
    #[doc(alias = "IPV6_MTU")]
    pub fn path_mtu(&self) -> Result<usize> {
        self.inner.state.get().peer()?;
        self.inner
            .with_socket(|socket| uv_sys::option::path_mtu(socket))
    }

    /// Binds the handle to an interface by name, or removes the binding. The handle then receives
    /// and sends only through that interface.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a name that is empty, has a NUL or more than 15 bytes; `ENODEV` without such an
    /// interface; `EPERM` on a handle that is bound to an interface already, without `CAP_NET_RAW`.
    /// `EBADF` also without a socket.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    #[doc(alias = "SO_BINDTODEVICE")]
    pub fn bind_to_device(&self, name: Option<&str>) -> Result<()> {
        self.inner
            .with_socket(|socket| uv_sys::option::bind_to_device(socket, name))?;
        self.inner.socket.survivors().set_device(name);
        Ok(())
    }

    /// The name of the interface that the handle is bound to.
    ///
    /// # Errors
    ///
    /// `EBADMSG` if the name is not UTF-8; `ENODEV` if the interface is gone. `EBADF` also without
    /// a socket.
    ///
    /// See [`bind_to_device`](Self::bind_to_device).
    #[doc(alias = "SO_BINDTODEVICE")]
    pub fn bound_device(&self) -> Result<Option<String>> {
        self.inner
            .with_socket(|socket| uv_sys::option::bound_device(socket))
    }

    /// Prefers this handle, within its [reuse-port group](crate::BindOptions::reuse_port), for
    /// datagrams that the given CPU processes. As with
    /// [`attach_reuseport_cpu_selector`](Self::attach_reuseport_cpu_selector), that holds until a
    /// member of the group is connected.
    ///
    /// # Errors
    ///
    /// `EINVAL` above `i32::MAX`. `EBADF` also without a socket.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    #[doc(alias = "SO_INCOMING_CPU")]
    pub fn set_incoming_cpu(&self, cpu: u32) -> Result<()> {
        self.inner
            .with_socket(|socket| uv_sys::option::set_incoming_cpu(socket, cpu))?;
        self.inner.socket.survivors().set_incoming_cpu(cpu);
        Ok(())
    }

    /// The CPU that last processed a datagram for this handle, or that was set; `None` before.
    ///
    /// # Errors
    ///
    /// `EBADF` also without a socket.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    #[doc(alias = "SO_INCOMING_CPU")]
    pub fn incoming_cpu(&self) -> Result<Option<u32>> {
        self.inner
            .with_socket(|socket| uv_sys::option::incoming_cpu(socket))
    }

    /// Selects the receiver within the handle's [reuse-port group](crate::BindOptions::reuse_port)
    /// by CPU: the member at position `cpu % group_len`, in the order of binding.
    ///
    /// Call it on one member. A handle that disconnects from an IPv6 peer joins again at another
    /// position.
    ///
    /// Attach it before a member connects. After that, members that are bound later may be in a
    /// second group without the selector: see
    /// [`BindOptions::reuse_port`](crate::BindOptions::reuse_port).
    ///
    /// # Errors
    ///
    /// `EINVAL` if `group_len` is 0, or the handle belongs to no group. `EBADF` also without a
    /// socket.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    #[doc(alias = "SO_ATTACH_REUSEPORT_CBPF")]
    pub fn attach_reuseport_cpu_selector(&self, group_len: u32) -> Result<()> {
        if group_len == 0 {
            return Err(Errno::EINVAL);
        }
        self.inner.with_socket(|socket| {
            // The kernel also accepts it for a handle whose port was shared during a reconnect.
            if !uv_sys::option::reuse_port(socket)? {
                return Err(Errno::EINVAL);
            }
            uv_sys::option::attach_reuseport_cpu_selector(socket, group_len)
        })
    }
}

/// Segmentation and transmit times.
impl Options<'_> {
    /// Segments each payload into datagrams of this many bytes; the last may be shorter. `None`
    /// switches it off.
    ///
    /// It also applies to queued sends. For a single buffer, see
    /// [`Transmit::segment_size`](crate::Transmit::segment_size), which takes precedence.
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` without segmentation
    /// ([`Capabilities::segmentation`](crate::Capabilities::segmentation), Linux 4.18). `EBADF`
    /// also without a socket.
    ///
    /// Later sends complete with `EINVAL` for more segments than
    /// [`Capabilities::max_segments`](crate::Capabilities::max_segments), and with `EINVAL` or
    /// `EMSGSIZE` for segments that exceed the path MTU.
    ///
    /// See [udp(7)](https://man7.org/linux/man-pages/man7/udp.7.html).
    #[doc(alias = "UDP_SEGMENT")]
    pub fn set_segment_size(&self, size: Option<NonZeroU16>) -> Result<()> {
        self.inner.with_socket(|socket| {
            // Some kernels accept the option without effect, and a sandbox may refuse it.
            if size.is_some() && !uv_sys::capabilities().segmentation {
                return Err(Errno::ENOPROTOOPT);
            }
            uv_sys::option::set_segment_size(socket, size)
        })?;
        self.inner.send.set_socket_segments(size.is_some());
        Ok(())
    }

    /// The segment size of [`set_segment_size`](Self::set_segment_size), in bytes.
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` if the kernel has no segmentation. `EBADF` also without a socket.
    #[doc(alias = "UDP_SEGMENT")]
    pub fn segment_size(&self) -> Result<Option<NonZeroU16>> {
        self.inner
            .with_socket(|socket| uv_sys::option::segment_size(socket))
    }

    /// Allows [`Transmit::with_transmit_time`](crate::Transmit::with_transmit_time), in the time of
    /// this clock. It cannot be switched off.
    ///
    /// Without it, a datagram with a transmit time is `EINVAL`. Only the queueing disciplines `fq`
    /// and `etf` wait for the time; others send at once.
    ///
    /// # Errors
    ///
    /// `EPERM` for another clock than [`TxTimeClock::Monotonic`] without `CAP_NET_ADMIN`;
    /// `ENOPROTOOPT` before Linux 4.19. `EBADF` also without a socket.
    ///
    /// See [tc-etf(8)](https://man7.org/linux/man-pages/man8/tc-etf.8.html).
    #[doc(alias = "SO_TXTIME")]
    pub fn set_txtime(&self, clock: TxTimeClock) -> Result<()> {
        self.inner
            .with_socket(|socket| uv_sys::option::set_txtime(socket, clock))
    }

    /// The clock of [`set_txtime`](Self::set_txtime).
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` before Linux 4.19. `EBADF` also without a socket.
    #[doc(alias = "SO_TXTIME")]
    pub fn txtime(&self) -> Result<Option<TxTimeClock>> {
        self.inner
            .with_socket(|socket| uv_sys::option::txtime(socket))
    }
}
