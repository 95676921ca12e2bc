//! Control messages: metadata and options beside a datagram's bytes.
//!
//! [`Transmit`](crate::Transmit) and [`Metadata`](crate::Metadata) cover the usual ones. Use this
//! module for others.

use std::fmt;
use std::net::IpAddr;

use crate::addr::Family;
use crate::control_message::ControlMessage;
use crate::errno::{Errno, Result};
use crate::sys::cmsg as sys;
use crate::transmit::PacketInfo;

/// Iterates over the control messages in the bytes that a receive call filled:
/// [`recvmsg_with_control`](super::message::recvmsg_with_control) returns one.
///
/// Accepts any bytes: a malformed message ends the iteration. See
/// [cmsg(3)](https://man7.org/linux/man-pages/man3/cmsg.3.html).
#[doc(alias = "CMSG_FIRSTHDR")]
#[doc(alias = "CMSG_NXTHDR")]
#[doc(alias = "CMSG_DATA")]
#[derive(Clone, Debug)]
pub struct ControlMessages<'a> {
    rest: &'a [u8],
}

impl<'a> ControlMessages<'a> {
    /// Iterates over `control`, all of whose bytes the kernel wrote.
    #[inline]
    #[must_use]
    pub fn new(control: &'a [u8]) -> ControlMessages<'a> {
        ControlMessages { rest: control }
    }
}

impl<'a> Iterator for ControlMessages<'a> {
    type Item = ControlMessage<'a>;

    #[inline]
    fn next(&mut self) -> Option<ControlMessage<'a>> {
        let (level, kind, data, rest) = sys::split(self.rest)?;
        self.rest = rest;
        Some(sys::decode(level, kind, data))
    }
}

impl std::iter::FusedIterator for ControlMessages<'_> {}

/// Writes control messages into the caller's buffer, for
/// [`sendmsg_with_control`](super::message::sendmsg_with_control).
///
/// [`as_bytes`](Self::as_bytes) is a complete list at any time. A method that finds too little room
/// returns `ENOBUFS`, and adds nothing.
///
/// ```
/// use uv_sys::{ControlEncoder, ControlMessage, ControlMessages};
///
/// let mut buffer = [0; ControlEncoder::space(2)];
/// let mut control = ControlEncoder::new(&mut buffer);
/// control.segment_size(1_200)?;
/// let mut messages = ControlMessages::new(control.as_bytes());
/// assert_eq!(messages.next(), Some(ControlMessage::Segment(1_200)));
/// # Ok::<(), uv_sys::Errno>(())
/// ```
#[doc(alias = "CMSG_SPACE")]
#[doc(alias = "CMSG_LEN")]
pub struct ControlEncoder<'b> {
    buffer: &'b mut [u8],
    /// Bytes used, at most the length of `buffer`.
    len: usize,
}

impl<'b> ControlEncoder<'b> {
    /// Makes an empty list in `buffer`.
    #[inline]
    #[must_use]
    pub fn new(buffer: &'b mut [u8]) -> ControlEncoder<'b> {
        ControlEncoder { buffer, len: 0 }
    }

    /// Bytes of buffer for one message with `data` bytes of contents.
    #[must_use]
    pub const fn space(data: usize) -> usize {
        sys::space(data)
    }

    /// Adds a message of any kind.
    ///
    /// # Errors
    ///
    /// `ENOBUFS`.
    #[inline]
    pub fn push(&mut self, level: i32, kind: i32, data: &[u8]) -> Result<()> {
        self.add(|free| sys::put(free, level, kind, data))
    }

    /// `put` writes one message to the start of the free bytes, and returns how many it used.
    #[inline]
    fn add(&mut self, put: impl FnOnce(&mut [u8]) -> Option<usize>) -> Result<()> {
        let free = self.buffer.get_mut(self.len..).unwrap_or_default();
        self.len += put(free).ok_or(Errno::ENOBUFS)?;
        Ok(())
    }

    /// Adds the segment size: the kernel splits the payload into datagrams of this many bytes.
    ///
    /// # Errors
    ///
    /// `ENOBUFS`.
    #[doc(alias = "UDP_SEGMENT")]
    #[inline]
    pub fn segment_size(&mut self, bytes: u16) -> Result<()> {
        self.add(|free| sys::put_segment_size(free, bytes))
    }

    /// Adds the type of service or traffic class. The kernel ignores it on a datagram of the other
    /// family.
    ///
    /// # Errors
    ///
    /// `ENOBUFS`.
    #[doc(alias = "IP_TOS")]
    #[doc(alias = "IPV6_TCLASS")]
    #[inline]
    pub fn tos(&mut self, family: Family, tos: u8) -> Result<()> {
        self.add(|free| sys::put_tos(free, family, tos))
    }

    /// Adds the time to live or hop limit, 1 to 255. The kernel ignores it on a datagram of the
    /// other family.
    ///
    /// # Errors
    ///
    /// `EINVAL` for 0; `ENOBUFS`.
    #[doc(alias = "IP_TTL")]
    #[doc(alias = "IPV6_HOPLIMIT")]
    #[inline]
    pub fn ttl(&mut self, family: Family, ttl: u8) -> Result<()> {
        if ttl == 0 {
            return Err(Errno::EINVAL);
        }
        self.add(|free| sys::put_ttl(free, family, ttl))
    }

    /// Adds the source address and interface. The kernel ignores it on a datagram of the other
    /// family.
    ///
    /// # Errors
    ///
    /// `EAFNOSUPPORT` for an address of the other family, except a mapped IPv4 address, which suits
    /// both; `ENOBUFS`.
    #[doc(alias = "IP_PKTINFO")]
    #[doc(alias = "IPV6_PKTINFO")]
    #[inline]
    pub fn source(&mut self, family: Family, source: PacketInfo) -> Result<()> {
        let fits = match (family, source.address) {
            (_, None) | (Family::V4, Some(IpAddr::V4(_))) | (Family::V6, Some(IpAddr::V6(_))) => {
                true
            }
            (Family::V4, Some(IpAddr::V6(ip))) => ip.to_ipv4_mapped().is_some(),
            (Family::V6, Some(IpAddr::V4(_))) => false,
        };
        if !fits {
            return Err(Errno::EAFNOSUPPORT);
        }
        self.add(|free| sys::put_source(free, family, source))
    }

    /// Adds the earliest send time, in nanoseconds of the clock that
    /// [`set_txtime`](super::option::set_txtime) set.
    ///
    /// # Errors
    ///
    /// `ENOBUFS`.
    #[doc(alias = "SCM_TXTIME")]
    #[inline]
    pub fn transmit_at(&mut self, nanoseconds: u64) -> Result<()> {
        self.add(|free| sys::put_transmit_at(free, nanoseconds))
    }

    /// The encoded messages.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}

impl fmt::Debug for ControlEncoder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(ControlMessages::new(self.as_bytes()))
            .finish()
    }
}
