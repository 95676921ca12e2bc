//! What is asked of the kernel beside each datagram. All of it is off at first, and costs nothing then.

use std::cell::Cell;
use std::os::fd::AsFd;

use uv_core::PollSource;
use uv_sys::Result;

use crate::udp::Udp;

/// What is asked for, a bit each.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    bits: Cell<u8>,
}

const TOS: u8 = 1;
const TTL: u8 = 1 << 1;
const DESTINATION: u8 = 1 << 2;
const TIMESTAMP: u8 = 1 << 3;
pub(crate) const DROPS: u8 = 1 << 4;

impl Wanted {
    /// Whether anything is.
    pub(crate) fn any(&self) -> bool {
        self.bits.get() != 0
    }

    pub(crate) fn has(&self, bit: u8) -> bool {
        self.bits.get() & bit != 0
    }

    fn set(&self, bit: u8, on: bool) {
        let others = self.bits.get() & !bit;
        self.bits.set(if on { others | bit } else { others });
    }

    /// What somebody else asked of a socket.
    pub(crate) fn recognise(&self, fd: impl AsFd) {
        let fd = fd.as_fd();
        for (bit, on) in [
            (TOS, uv_sys::recv_tos(fd)),
            (TTL, uv_sys::recv_ttl(fd)),
            (DESTINATION, uv_sys::recv_packet_info(fd)),
            (TIMESTAMP, uv_sys::timestamps(fd)),
            (DROPS, uv_sys::recv_drops(fd)),
        ] {
            // What the kernel does not know it does not report.
            self.set(bit, on == Ok(true));
        }
    }
}

/// What comes beside the datagrams, in [`Metadata`](crate::Metadata).
///
/// Each is off at first, is switched by itself, and costs nothing while it is off; all of it needs a socket, as the options do
/// (`EBADF`), and survives disconnecting and connecting anew. A datagram that is in the socket's buffer already comes with what
/// was asked for when it is received; a time stamp it may lack.
impl Udp {
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
        self.want(TOS, on, |socket| uv_sys::set_recv_tos(socket, on))
    }

    /// Whether the TOS byte or traffic class is reported: see [`set_recv_tos`](Self::set_recv_tos).
    #[must_use]
    #[doc(alias = "IP_RECVTOS")]
    #[doc(alias = "IPV6_RECVTCLASS")]
    pub fn recv_tos(&self) -> bool {
        self.inner.receiver.wanted().has(TOS)
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
        self.want(TTL, on, |socket| uv_sys::set_recv_ttl(socket, on))
    }

    /// Whether the time to live or hop limit is reported: see [`set_recv_ttl`](Self::set_recv_ttl).
    #[must_use]
    #[doc(alias = "IP_RECVTTL")]
    #[doc(alias = "IPV6_RECVHOPLIMIT")]
    pub fn recv_ttl(&self) -> bool {
        self.inner.receiver.wanted().has(TTL)
    }

    /// Reports the address and the interface that a datagram came to:
    /// [`Metadata::destination`](crate::Metadata::destination). An answer with
    /// [`Transmit::from_source`](crate::Transmit::from_source) leaves from there again.
    ///
    /// # Errors
    ///
    /// `EBADF` also while there is no socket yet.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html), [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    #[doc(alias = "IP_PKTINFO")]
    #[doc(alias = "IPV6_RECVPKTINFO")]
    pub fn set_recv_packet_info(&self, on: bool) -> Result<()> {
        let set = |socket: &PollSource| uv_sys::set_recv_packet_info(socket, on);
        self.want(DESTINATION, on, set)
    }

    /// Whether the destination is reported: see [`set_recv_packet_info`](Self::set_recv_packet_info).
    #[must_use]
    #[doc(alias = "IP_PKTINFO")]
    #[doc(alias = "IPV6_RECVPKTINFO")]
    pub fn recv_packet_info(&self) -> bool {
        self.inner.receiver.wanted().has(DESTINATION)
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
    pub fn set_recv_timestamp(&self, on: bool) -> Result<()> {
        self.want(TIMESTAMP, on, |socket| uv_sys::set_timestamps(socket, on))
    }

    /// Whether the time of arrival is reported: see [`set_recv_timestamp`](Self::set_recv_timestamp).
    #[must_use]
    #[doc(alias = "SO_TIMESTAMPNS")]
    pub fn recv_timestamp(&self) -> bool {
        self.inner.receiver.wanted().has(TIMESTAMP)
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
        self.want(DROPS, on, |socket| uv_sys::set_recv_drops(socket, on))
    }

    /// Whether the number of dropped datagrams is reported: see [`set_recv_drops`](Self::set_recv_drops).
    #[must_use]
    #[doc(alias = "SO_RXQ_OVFL")]
    pub fn recv_drops(&self) -> bool {
        self.inner.receiver.wanted().has(DROPS)
    }

    fn want(&self, bit: u8, on: bool, set: impl FnOnce(&PollSource) -> Result<()>) -> Result<()> {
        self.inner.with_socket(set)?;
        self.inner.receiver.wanted().set(bit, on);
        Ok(())
    }
}
