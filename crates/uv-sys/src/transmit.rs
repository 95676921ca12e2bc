//! What is sent: one datagram, or one run of equal segments, and how.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use crate::errno::{Errno, Result};
use crate::payload::Payload;

/// One message for [`sendmsg`](super::message::sendmsg) or [`SendBatch`](crate::SendBatch): the bytes, and where and how they go.
///
/// What is `None` is left to the socket. Each field that is not costs a control message of 20 to 40 bytes, no syscall; only
/// [`ecn`](Self::ecn) without [`tos`](Self::tos) costs one per call, which asks the socket for the other bits.
///
/// ```
/// use uv_sys::{Ecn, Transmit};
///
/// let message = Transmit::new("hello").with_destination(([127, 0, 0, 1], 9).into()).with_ecn(Ecn::Ect0).with_ttl(3);
/// assert_eq!((message.ecn, message.ttl), (Some(Ecn::Ect0), Some(3)));
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Transmit<'a> {
    /// The bytes.
    pub payload: Payload<'a>,
    /// Where to; `None` on a connected socket. Giving one on a connected socket sends there all the same on Linux.
    pub destination: Option<SocketAddr>,
    /// Cut the payload into datagrams of this many bytes, the last one being what is left: one walk through the
    /// network stack for all of them.
    ///
    /// More segments than [`Capabilities::max_segments`](crate::Capabilities::max_segments) are `EINVAL`; more than
    /// 65,507 bytes in all (65,527 on IPv6) are `EMSGSIZE`. So is, unlike without segmentation, a datagram that would
    /// have to be fragmented on its way out (`EINVAL` on older kernels), and a device without checksum offload is `EIO`.
    /// Where the kernel cannot segment at all it is `ENOPROTOOPT`. Sockets of other protocols pass over it: see
    /// [`is_udp`](super::socket::is_udp).
    #[doc(alias = "UDP_SEGMENT")]
    pub segment_size: Option<NonZeroU16>,
    /// The whole byte of type of service (IPv4) or traffic class (IPv6): `DSCP << 2 | ECN`.
    #[doc(alias = "IP_TOS")]
    #[doc(alias = "IPV6_TCLASS")]
    pub tos: Option<u8>,
    /// The two ECN bits. The other six, the DSCP, are those of [`tos`](Self::tos), or else those that
    /// [`set_tos`](super::option::set_tos) set on the socket.
    pub ecn: Option<Ecn>,
    /// Time to live or hop limit, 1 to 255; 0 is `EINVAL`.
    #[doc(alias = "IP_TTL")]
    #[doc(alias = "IPV6_HOPLIMIT")]
    pub ttl: Option<u8>,
    /// The local address and interface to send from.
    #[doc(alias = "IP_PKTINFO")]
    #[doc(alias = "IPV6_PKTINFO")]
    pub source: Option<PacketInfo>,
    /// When the datagram may leave: nanoseconds of the clock that [`set_txtime`](super::option::set_txtime) chose, `EINVAL` where it
    /// chose none and `ENOPROTOOPT` where the kernel has none. Only the queueing disciplines `fq` and `etf` look at it; the
    /// others send at once.
    #[doc(alias = "SCM_TXTIME")]
    pub transmit_at: Option<u64>,
    /// Names the message for its sender. It is not sent: no function of this crate looks at it.
    pub token: usize,
}

impl<'a> Transmit<'a> {
    /// The payload and nothing else: to the peer of a connected socket, in one datagram.
    #[inline]
    #[must_use]
    pub fn new(payload: impl Into<Payload<'a>>) -> Transmit<'a> {
        Transmit {
            payload: payload.into(),
            destination: None,
            segment_size: None,
            tos: None,
            ecn: None,
            ttl: None,
            source: None,
            transmit_at: None,
            token: 0,
        }
    }

    /// The same message with another payload.
    #[inline]
    #[must_use]
    pub fn with_payload<'b>(self, payload: impl Into<Payload<'b>>) -> Transmit<'b> {
        Transmit {
            payload: payload.into(),
            destination: self.destination,
            segment_size: self.segment_size,
            tos: self.tos,
            ecn: self.ecn,
            ttl: self.ttl,
            source: self.source,
            transmit_at: self.transmit_at,
            token: self.token,
        }
    }

    /// Sets [`destination`](Self::destination).
    #[inline]
    #[must_use]
    pub fn with_destination(mut self, destination: SocketAddr) -> Transmit<'a> {
        self.destination = Some(destination);
        self
    }

    /// Sets [`segment_size`](Self::segment_size), in bytes.
    #[inline]
    #[must_use]
    pub fn with_segment_size(mut self, size: NonZeroU16) -> Transmit<'a> {
        self.segment_size = Some(size);
        self
    }

    /// Sets [`tos`](Self::tos), the whole byte with its ECN bits.
    #[inline]
    #[must_use]
    pub fn with_tos(mut self, tos: u8) -> Transmit<'a> {
        self.tos = Some(tos);
        self.ecn = None;
        self
    }

    /// Sets the two ECN bits, and keeps the DSCP of this message, or else the socket's.
    #[inline]
    #[must_use]
    pub fn with_ecn(mut self, ecn: Ecn) -> Transmit<'a> {
        match self.tos {
            Some(tos) => self.tos = Some(ecn.in_tos(tos)),
            None => self.ecn = Some(ecn),
        }
        self
    }

    /// Puts [`ecn`](Self::ecn) into [`tos`](Self::tos), of which `default` is the byte where the message has none.
    #[inline]
    #[must_use]
    pub fn with_default_tos(mut self, default: u8) -> Transmit<'a> {
        if let Some(ecn) = self.ecn.take() {
            self.tos = Some(ecn.in_tos(self.tos.unwrap_or(default)));
        }
        self
    }

    /// Sets [`ttl`](Self::ttl).
    #[inline]
    #[must_use]
    pub fn with_ttl(mut self, ttl: u8) -> Transmit<'a> {
        self.ttl = Some(ttl);
        self
    }

    /// Sets [`source`](Self::source): an address, or a [`PacketInfo`] with an interface as well.
    #[inline]
    #[must_use]
    pub fn with_source(mut self, source: impl Into<PacketInfo>) -> Transmit<'a> {
        self.source = Some(source.into());
        self
    }

    /// Sets [`transmit_at`](Self::transmit_at), in nanoseconds.
    #[inline]
    #[must_use]
    pub fn with_transmit_time(mut self, nanoseconds: u64) -> Transmit<'a> {
        self.transmit_at = Some(nanoseconds);
        self
    }

    /// Sets [`token`](Self::token).
    #[inline]
    #[must_use]
    pub fn with_token(mut self, token: usize) -> Transmit<'a> {
        self.token = token;
        self
    }

    /// Whether this can be sent at all, as far as can be told without a socket.
    ///
    /// # Errors
    ///
    /// Those of [`Payload::check`]; `EINVAL` for a [`ttl`](Self::ttl) of 0; `EAFNOSUPPORT` for a [`source`](Self::source) of
    /// another family than the destination, if both are given.
    #[inline]
    pub fn check(&self) -> Result<()> {
        self.payload.check()?;
        if self.ttl == Some(0) {
            return Err(Errno::EINVAL);
        }
        let addresses = (
            self.source.and_then(|source| source.address),
            self.destination,
        );
        match addresses {
            (Some(source), Some(destination)) if is_v4(source) != is_v4(destination.ip()) => {
                Err(Errno::EAFNOSUPPORT)
            }
            _ => Ok(()),
        }
    }

    /// Whether there is nothing but a payload and perhaps a destination.
    #[inline]
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.segment_size.is_none()
            && self.tos.is_none()
            && self.ecn.is_none()
            && self.ttl.is_none()
            && self.source.is_none()
            && self.transmit_at.is_none()
    }
}

/// Whether datagrams to or from this address travel as IPv4, as those of mapped addresses do.
fn is_v4(address: IpAddr) -> bool {
    address.to_canonical().is_ipv4()
}

/// An address of this host and an interface: where a datagram came to, or shall leave from.
#[doc(alias = "in_pktinfo")]
#[doc(alias = "in6_pktinfo")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PacketInfo {
    /// The address. Received: the destination in the datagram's header, which may be a group or a broadcast address.
    /// Sent: the source to put there; `None` lets the kernel choose one.
    pub address: Option<IpAddr>,
    /// The index of the interface; 0 is any.
    pub interface: u32,
}

impl From<IpAddr> for PacketInfo {
    #[inline]
    fn from(address: IpAddr) -> PacketInfo {
        PacketInfo {
            address: Some(address),
            interface: 0,
        }
    }
}

/// Explicit congestion notification: the low two bits of the TOS byte or traffic class
/// ([RFC 3168](https://www.rfc-editor.org/rfc/rfc3168)).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ecn {
    /// The transport does not take part.
    NotEct = 0b00,
    /// Takes part, codepoint 1 (L4S).
    Ect1 = 0b01,
    /// Takes part, codepoint 0 (the usual one).
    Ect0 = 0b10,
    /// A router on the way is congested.
    Ce = 0b11,
}

impl Ecn {
    /// A whole TOS byte with these ECN bits.
    #[inline]
    #[must_use]
    pub const fn in_tos(self, tos: u8) -> u8 {
        tos & !0b11 | self as u8
    }

    /// The ECN bits of a whole TOS byte.
    #[inline]
    #[must_use]
    pub const fn from_tos(tos: u8) -> Ecn {
        match tos & 0b11 {
            0b00 => Ecn::NotEct,
            0b01 => Ecn::Ect1,
            0b10 => Ecn::Ect0,
            _ => Ecn::Ce,
        }
    }
}
