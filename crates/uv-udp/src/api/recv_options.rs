//! Options that decide what comes with received datagrams: metadata, coalescing, network errors.

use uv_core::PollSource;
use uv_sys::Result;

use super::options::Options;
use crate::recv::Kind;

/// What comes beside the datagrams, in [`Metadata`](crate::Metadata).
///
/// Each is off at first, is switched by itself, and costs nothing while it is off; all of it needs a socket, as the options do
/// (`EBADF`), and survives disconnecting and connecting anew. A datagram that is in the socket's buffer already comes with what
/// was asked for when it is received; a time stamp it may lack.
impl Options<'_> {
    /// Reports the TOS byte or traffic class, and with it the ECN bits: [`Metadata::tos`](crate::Metadata::tos).
    ///
    /// # Errors
    ///
    /// `EBADF` also while there is no socket yet.
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

    /// Reports the time to live or hop limit that was left: [`Metadata::ttl`](crate::Metadata::ttl).
    ///
    /// # Errors
    ///
    /// `EBADF` also while there is no socket yet.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html), [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
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

    /// Reports the address and the interface that a datagram came to:
    /// [`Metadata::destination`](crate::Metadata::destination). An answer with
    /// [`Transmit::with_source`](crate::Transmit::with_source) leaves from there again.
    ///
    /// # Errors
    ///
    /// `EBADF` also while there is no socket yet.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html), [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    #[doc(alias = "IP_PKTINFO")]
    #[doc(alias = "IPV6_RECVPKTINFO")]
    pub fn set_recv_packet_info(&self, on: bool) -> Result<()> {
        let set = |socket: &PollSource| uv_sys::option::set_recv_packet_info(socket, on);
        self.request(Kind::PacketInfo, on, set)
    }

    /// Whether the destination is reported: see [`set_recv_packet_info`](Self::set_recv_packet_info).
    #[must_use]
    #[doc(alias = "IP_PKTINFO")]
    #[doc(alias = "IPV6_RECVPKTINFO")]
    pub fn recv_packet_info(&self) -> bool {
        self.inner.recv.requested().has(Kind::PacketInfo)
    }

    /// Reports when the kernel received a datagram, in nanoseconds since the epoch:
    /// [`Metadata::timestamp`](crate::Metadata::timestamp).
    ///
    /// # Errors
    ///
    /// `EBADF` also while there is no socket yet.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    #[doc(alias = "SO_TIMESTAMPNS")]
    pub fn set_recv_timestamps(&self, on: bool) -> Result<()> {
        self.request(Kind::Timestamp, on, |socket| {
            uv_sys::option::set_recv_timestamps(socket, on)
        })
    }

    /// Whether the time of arrival is reported: see [`set_recv_timestamps`](Self::set_recv_timestamps).
    #[must_use]
    #[doc(alias = "SO_TIMESTAMPNS")]
    pub fn recv_timestamps(&self) -> bool {
        self.inner.recv.requested().has(Kind::Timestamp)
    }

    /// Reports how many datagrams the kernel has dropped so far for want of room in the socket's buffer:
    /// [`Metadata::kernel_drops`](crate::Metadata::kernel_drops). A handle that disconnects from an IPv6 peer gets another socket,
    /// which counts from 0; [`Counters::kernel_drops`](crate::Counters::kernel_drops) goes on.
    ///
    /// The kernel counts buffers: a coalesced one (`UDP_GRO`) as one, whatever the number of datagrams in it, and neither
    /// `/proc/net/udp` nor `SO_MEMINFO` says more. So while this is on, the handle does not let the kernel coalesce by itself,
    /// and the count is one of datagrams; bursts then cost a system call for some datagrams instead of one for a run of them.
    /// Where coalescing was asked for ([`set_gro`](Self::set_gro), an adopted socket) or had begun before, it goes
    /// on, and [`Counters::kernel_drops_coalesced`](crate::Counters::kernel_drops_coalesced) says so.
    ///
    /// # Errors
    ///
    /// `EBADF` also while there is no socket yet.
    ///
    /// See [socket(7)](https://man7.org/linux/man-pages/man7/socket.7.html).
    #[doc(alias = "SO_RXQ_OVFL")]
    pub fn set_recv_drops(&self, on: bool) -> Result<()> {
        self.request(Kind::Drops, on, |socket| {
            uv_sys::option::set_recv_drops(socket, on)
        })
    }

    /// Whether the number of dropped datagrams is reported: see [`set_recv_drops`](Self::set_recv_drops).
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

    /// Lets the kernel coalesce datagrams of one source and size (`UDP_GRO`): on now, or never. Without this call the handle
    /// switches it on after two bursts, when coalesced datagrams fit into what it receives into.
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` where the kernel cannot ([`Capabilities::gro`](crate::Capabilities::gro), Linux 5.0). `EBUSY` to prevent it
    /// where it is on: coalesced datagrams in the socket's buffer would lose their boundaries. `EBADF` also while there is no
    /// socket yet.
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

    /// Asks for full reports of what the network says of sent datagrams: [`NetworkError::report`](crate::NetworkError::report). Off at first, and free then.
    ///
    /// An unconnected handle hears of unreachable peers only with this on; that costs no datagram to or from another peer. It
    /// needs a socket, and survives disconnecting and connecting anew. See also
    /// [`BindOptions::recv_errors`](crate::BindOptions::recv_errors).
    ///
    /// # Errors
    ///
    /// `EBADF` also while there is no socket yet.
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

    /// Whether full reports were asked for.
    ///
    /// # Errors
    ///
    /// `EBADF` also while there is no socket yet.
    #[doc(alias = "UV_UDP_LINUX_RECVERR")]
    pub fn recv_errors(&self) -> Result<bool> {
        self.inner
            .with_socket(|socket| uv_sys::option::recv_errors(socket))
    }
}
