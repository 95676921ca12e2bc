//! One message to send: a datagram, or several of one length.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use crate::errno::{Errno, Result};
use crate::payload::Payload;

/// One message for [`sendmsg`](super::message::sendmsg) or [`SendBatch`](crate::SendBatch):
/// payload, destination and options.
///
/// The socket's setting applies to each field that is `None`. Other values cost a control message
/// of 20 to 40 bytes, but no system call; only [`ecn`](Self::ecn) without [`tos`](Self::tos) costs
/// one per call, which reads the socket's DSCP.
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
    /// The destination; `None` for the peer of a connected socket. Linux accepts another one on a
    /// connected socket, too.
    pub destination: Option<SocketAddr>,
    /// Splits the payload into datagrams of this many bytes; the last one may be shorter. All of
    /// them take one walk through the network stack.
    ///
    /// - `EINVAL`: more segments than
    ///   [`Capabilities::max_segments`](crate::Capabilities::max_segments).
    /// - `EMSGSIZE`: more than 65,507 bytes in all (65,527 on IPv6), or a datagram that needs
    ///   fragmentation (`EINVAL` on older kernels).
    /// - `EIO`: a device without checksum offload.
    /// - `ENOPROTOOPT`: a kernel without segmentation. Sockets of other protocols ignore the size:
    ///   see [`is_udp`](super::socket::is_udp).
    #[doc(alias = "UDP_SEGMENT")]
    pub segment_size: Option<NonZeroU16>,
    /// The type of service (IPv4) or traffic class (IPv6): `DSCP << 2 | ECN`.
    #[doc(alias = "IP_TOS")]
    #[doc(alias = "IPV6_TCLASS")]
    pub tos: Option<u8>,
    /// The two ECN bits. The DSCP is that of [`tos`](Self::tos), or else that of the socket
    /// ([`set_tos`](super::option::set_tos)).
    pub ecn: Option<Ecn>,
    /// Time to live or hop limit, 1 to 255; 0 is `EINVAL`.
    #[doc(alias = "IP_TTL")]
    #[doc(alias = "IPV6_HOPLIMIT")]
    pub ttl: Option<u8>,
    /// The source address and interface.
    #[doc(alias = "IP_PKTINFO")]
    #[doc(alias = "IPV6_PKTINFO")]
    pub source: Option<PacketInfo>,
    /// The earliest send time, in nanoseconds of the clock that
    /// [`set_txtime`](super::option::set_txtime) set. `EINVAL` without a clock; `ENOPROTOOPT` if
    /// the kernel lacks transmit times. Only the queueing disciplines `fq` and `etf` use it; others
    /// send at once.
    #[doc(alias = "SCM_TXTIME")]
    pub transmit_at: Option<u64>,
    /// An identifier for the sender's own use. It is not sent, and no function of this crate reads
    /// it.
    pub token: usize,
}

impl<'a> Transmit<'a> {
    /// Makes a message of one datagram to the peer of a connected socket.
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

    /// Replaces the payload.
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

    /// Merges [`ecn`](Self::ecn) into [`tos`](Self::tos), which is `default` if the message has
    /// none.
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

    /// Checks the message without a socket.
    ///
    /// # Errors
    ///
    /// Those of [`Payload::check`]; `EINVAL` for a [`ttl`](Self::ttl) of 0; `EAFNOSUPPORT` for a
    /// [`source`](Self::source) of another family than the destination, if both are given.
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

    /// Whether the message has only a payload and perhaps a destination.
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

/// Whether traffic with this address is IPv4, as with mapped addresses.
fn is_v4(address: IpAddr) -> bool {
    address.to_canonical().is_ipv4()
}

/// An address and an interface of this host: the destination of a received datagram, or the source
/// of a sent one.
#[doc(alias = "in_pktinfo")]
#[doc(alias = "in6_pktinfo")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PacketInfo {
    /// Received: the destination in the datagram's header, which may be a group or a broadcast
    /// address. Sent: the source; the kernel chooses it for `None`.
    pub address: Option<IpAddr>,
    /// The index of the interface; 0 means any.
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
    /// Not ECN-capable.
    NotEct = 0b00,
    /// ECN-capable, codepoint 1 (L4S).
    Ect1 = 0b01,
    /// ECN-capable, codepoint 0 (the usual one).
    Ect0 = 0b10,
    /// Congestion experienced on the path.
    Ce = 0b11,
}

impl Ecn {
    /// Returns `tos` with these ECN bits.
    #[inline]
    #[must_use]
    pub const fn in_tos(self, tos: u8) -> u8 {
        tos & !0b11 | self as u8
    }

    /// The ECN bits of a TOS byte.
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
