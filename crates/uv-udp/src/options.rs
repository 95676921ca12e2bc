//! The socket options of a handle.

use std::os::fd::{AsFd, BorrowedFd};

use uv_core::PollSource;
use uv_sys::{Errno, PathMtuDiscovery, Result};

use crate::udp::{Inner, Udp};

impl Inner {
    /// Does something with the socket of an open handle; `EBADF` while there is none.
    pub(crate) fn with_socket<T>(&self, with: impl FnOnce(&PollSource) -> Result<T>) -> Result<T> {
        self.handle.check_open()?;
        with(&*self.socket()?)
    }
}

/// A setter and a getter, each told about by its own sentences. The aliases find both.
macro_rules! options {
    ($(
        $type:ty, $($alias:literal)*;
        $(#[doc = $set_doc:literal])* $set:ident;
        $(#[doc = $get_doc:literal])* $get:ident;
    )*) => {$(
        $(#[doc = $set_doc])*
        $(#[doc(alias = $alias)])*
        pub fn $set(&self, value: $type) -> Result<()> {
            self.inner.with_socket(|socket| uv_sys::$set(socket, value))
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
            self.inner.with_socket(|socket| uv_sys::$get(socket))
        }
    )*};
}
pub(crate) use options;

/// Options of the socket.
///
/// They need a socket: one that [`bind`](Udp::bind) or [`connect`](Udp::connect) made, or [`Udp::for_family`]. Without one they
/// answer `EBADF`. They survive disconnecting and connecting anew.
impl Udp {
    options! {
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
        self.inner.forget_tos();
        self.inner
            .with_socket(|socket| uv_sys::set_tos(socket, value))
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
        self.inner.with_socket(|socket| uv_sys::tos(socket))
    }

    /// Lends the handle's descriptor for what this crate does not wrap: options of other crates, filters. To read, write, bind
    /// or connect is the handle's own business, and so is the error queue, which it empties. The socket may be another one after
    /// `disconnect`, to which only the options are copied that this crate knows. A TOS byte that is set by a copy of the
    /// descriptor, after this call, is not in datagrams which have [ECN bits](crate::Transmit::with_ecn) of their own.
    ///
    /// ```
    /// use uv_udp::{Loop, Udp};
    ///
    /// let event_loop = Loop::new()?;
    /// let udp = Udp::new(&event_loop);
    /// udp.bind("127.0.0.1:0".parse().unwrap())?;
    /// let copy = udp.with_fd(|fd| fd.try_clone_to_owned())?.unwrap();
    /// # Ok::<(), uv_udp::Errno>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `EBADF` also while there is no socket yet.
    #[doc(alias = "uv_fileno")]
    #[doc(alias = "AsFd")]
    pub fn with_fd<T>(&self, with: impl FnOnce(BorrowedFd<'_>) -> T) -> Result<T> {
        let result = self.inner.with_socket(|socket| Ok(with(socket.as_fd())));
        self.inner.forget_tos();
        result
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
        self.peer_addr()?;
        self.inner.with_socket(|socket| uv_sys::path_mtu(socket))
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
            .with_socket(|socket| uv_sys::bind_to_device(socket, name))?;
        self.inner.settings().set_device(name);
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
            .with_socket(|socket| uv_sys::bound_device(socket))
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
            .with_socket(|socket| uv_sys::set_incoming_cpu(socket, cpu))?;
        self.inner.settings().set_incoming_cpu(cpu);
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
            .with_socket(|socket| uv_sys::incoming_cpu(socket))
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
            if !uv_sys::reuse_port(socket)? {
                return Err(Errno::EINVAL);
            }
            uv_sys::attach_reuseport_cpu_selector(socket, group_len)
        })
    }
}
