//! Options for receiving: metadata, coalescing, network errors.

use uv_core::PollSource;
use uv_sys::Result;

use super::options::Options;
use crate::recv::Kind;

/// [`Metadata`](crate::Metadata) of received datagrams, coalescing, network errors.
///
/// Each kind of metadata is off by default, and costs nothing while it is off. The kernel adds
/// metadata when it returns a datagram, also to those that are in the socket's buffer already; only
/// a timestamp may be missing.
impl Options<'_> {
    /// Reports the TOS byte or traffic class, with the ECN bits:
    /// [`Metadata::tos`](crate::Metadata::tos).
    ///
    /// # Errors
    ///
    /// `EBADF` also without a socket.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html).
    #[doc(alias = "IP_RECVTOS")]
    #[doc(alias = "IPV6_RECVTCLASS")]
    pub fn set_recv_tos(&self, on: bool) -> Result<()> {
        self.request(Kind::Tos, on, |socket| {
            uv_sys::option::set_recv_tos(socket, on)
        })
    }

    /// Whether the TOS byte or traffic class is reported: see [`set_recv_tos`](Self::set_recv_tos).
    #[must_use]
    #[doc(alias = "IP_RECVTOS")]
    #[doc(alias = "IPV6_RECVTCLASS")]
    pub fn recv_tos(&self) -> bool {
        self.inner.recv.requested().has(Kind::Tos)
    }

    /// Reports the received time to live or hop limit: [`Metadata::ttl`](crate::Metadata::ttl).
    ///
    /// # Errors
    ///
    /// `EBADF` also without a socket.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html),
    /// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    #[doc(alias = "IP_RECVTTL")]
    #[doc(alias = "IPV6_RECVHOPLIMIT")]
    pub fn set_recv_ttl(&self, on: bool) -> Result<()> {
        self.request(Kind::Ttl, on, |socket| {
            uv_sys::option::set_recv_ttl(socket, on)
        })
    }

    /// Whether the time to live or hop limit is reported: see [`set_recv_ttl`](Self::set_recv_ttl).
    #[must_use]
    #[doc(alias = "IP_RECVTTL")]
    #[doc(alias = "IPV6_RECVHOPLIMIT")]
    pub fn recv_ttl(&self) -> bool {
        self.inner.recv.requested().has(Kind::Ttl)
    }

    /// Reports the destination address and the interface of a datagram:
    /// [`Metadata::destination`](crate::Metadata::destination). An answer with that as its
    /// [source](crate::Transmit::with_source) leaves from the same address.
    ///
    /// # Errors
    ///
    /// `EBADF` also without a socket.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html),
    /// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    #[doc(alias = "IP_PKTINFO")]
    #[doc(alias = "IPV6_RECVPKTINFO")]
    pub fn set_recv_packet_info(&self, on: bool) -> Result<()> {
        let set = |socket: &PollSource| uv_sys::option::set_recv_packet_info(socket, on);
        self.request(Kind::PacketInfo, on, set)
    }

    /// Whether the destination is reported: see
    /// [`set_recv_packet_info`](Self::set_recv_packet_info).
    #[must_use]
    #[doc(alias = "IP_PKTINFO")]
    #[doc(alias = "IPV6_RECVPKTINFO")]
    pub fn recv_packet_info(&self) -> bool {
        self.inner.recv.requested().has(Kind::PacketInfo)
    }

    /// Reports the time at which the kernel received a datagram:
    /// [`Metadata::timestamp`](crate::Metadata::timestamp).
    ///
    /// # Errors
    ///
    /// `EBADF` also without a socket.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    #[doc(alias = "SO_TIMESTAMPNS")]
    pub fn set_recv_timestamps(&self, on: bool) -> Result<()> {
        self.request(Kind::Timestamp, on, |socket| {
            uv_sys::option::set_recv_timestamps(socket, on)
        })
    }

    /// Whether the time of reception is reported: see
    /// [`set_recv_timestamps`](Self::set_recv_timestamps).
    #[must_use]
    #[doc(alias = "SO_TIMESTAMPNS")]
    pub fn recv_timestamps(&self) -> bool {
        self.inner.recv.requested().has(Kind::Timestamp)
    }

    /// Reports the number of datagrams that the kernel dropped because the socket's receive buffer
    /// was full: [`Metadata::kernel_drops`](crate::Metadata::kernel_drops).
    ///
    /// A handle that disconnects from an IPv6 peer gets another socket, which counts from 0;
    /// [`Counters::kernel_drops`](crate::Counters::kernel_drops) continues.
    ///
    /// The kernel counts a coalesced buffer (`UDP_GRO`) as one, whatever its number of datagrams.
    /// So while this option is on, bursts do not switch coalescing on, and cost more system
    /// calls. Coalescing that is on already stays on, after [`set_gro`](Self::set_gro), bursts,
    /// or on an adopted socket;
    /// [`Counters::kernel_drops_coalesced`](crate::Counters::kernel_drops_coalesced) is then set.
    ///
    /// # Errors
    ///
    /// `EBADF` also without a socket.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    #[doc(alias = "SO_RXQ_OVFL")]
    pub fn set_recv_drops(&self, on: bool) -> Result<()> {
        self.request(Kind::Drops, on, |socket| {
            uv_sys::option::set_recv_drops(socket, on)
        })
    }

    /// Whether the number of dropped datagrams is reported: see
    /// [`set_recv_drops`](Self::set_recv_drops).
    #[must_use]
    #[doc(alias = "SO_RXQ_OVFL")]
    pub fn recv_drops(&self) -> bool {
        self.inner.recv.requested().has(Kind::Drops)
    }

    fn request(
        &self,
        kind: Kind,
        on: bool,
        set: impl FnOnce(&PollSource) -> Result<()>,
    ) -> Result<()> {
        self.inner.with_socket(set)?;
        self.inner.recv.requested().set(kind, on);
        Ok(())
    }

    /// Lets the kernel coalesce datagrams of one source and size (`UDP_GRO`), or prevents it.
    ///
    /// By default, two bursts switch coalescing on, if coalesced messages fit into the receive
    /// buffers.
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` if the kernel cannot coalesce
    /// ([`Capabilities::gro`](crate::Capabilities::gro), Linux 5.0). `EBUSY` to prevent it once
    /// it is on: coalesced datagrams in the socket's buffer would lose their boundaries.
    /// `EBADF` also without a socket.
    ///
    /// See [udp(7)](https://man7.org/linux/man-pages/man7/udp.7.html).
    #[doc(alias = "UDP_GRO")]
    pub fn set_gro(&self, on: bool) -> Result<()> {
        let recv = &self.inner.recv;
        self.inner
            .with_socket(|socket| recv.set_coalescing(socket, on))
    }

    /// Whether the kernel coalesces datagrams for this handle.
    #[must_use]
    #[doc(alias = "UDP_GRO")]
    pub fn gro(&self) -> bool {
        self.inner.recv.coalesces()
    }

    /// Switches on full reports of network errors:
    /// [`NetworkError::report`](crate::NetworkError::report). Off by default.
    ///
    /// An unconnected handle gets errors about unreachable peers only with this option. They cost
    /// no datagram to or from another peer. See also
    /// [`BindOptions::recv_errors`](crate::BindOptions::recv_errors).
    ///
    /// # Errors
    ///
    /// `EBADF` also without a socket.
    ///
    /// See `IP_RECVERR` in [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html), and
    /// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    #[doc(alias = "UV_UDP_LINUX_RECVERR")]
    #[doc(alias = "IP_RECVERR")]
    #[doc(alias = "IPV6_RECVERR")]
    pub fn set_recv_errors(&self, on: bool) -> Result<()> {
        self.inner
            .with_socket(|socket| uv_sys::option::set_recv_errors(socket, on))?;
        self.inner.recv.set_recv_errors(on);
        Ok(())
    }

    /// Whether full reports of network errors are on.
    ///
    /// # Errors
    ///
    /// `EBADF` also without a socket.
    #[doc(alias = "UV_UDP_LINUX_RECVERR")]
    pub fn recv_errors(&self) -> Result<bool> {
        self.inner
            .with_socket(|socket| uv_sys::option::recv_errors(socket))
    }
}
