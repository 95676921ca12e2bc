//! Control messages: what travels beside a datagram's bytes.
//!
//! [`SendBatch`](crate::SendBatch), [`sendmsg`](crate::sendmsg) and [`Metadata`](crate::Metadata) use this for
//! everything that they know by name; take it directly for the rest.

use crate::errno::Result;
use crate::sys::cmsg as sys;
use crate::transmit::PacketInfo;

pub use crate::sys::cmsg::ControlEncoder;

/// One control message that came with a datagram.
#[doc(alias = "cmsghdr")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ControlMessage<'a> {
    /// The segment size of a send.
    #[doc(alias = "UDP_SEGMENT")]
    Segment(u16),
    /// The bytes of each datagram in what was received together.
    #[doc(alias = "UDP_GRO")]
    Gro(u16),
    /// The TOS byte or traffic class.
    #[doc(alias = "IP_TOS")]
    #[doc(alias = "IPV6_TCLASS")]
    Tos(u8),
    /// The time to live or hop limit.
    #[doc(alias = "IP_TTL")]
    #[doc(alias = "IPV6_HOPLIMIT")]
    Ttl(u8),
    /// The address and interface that the datagram came to.
    #[doc(alias = "IP_PKTINFO")]
    #[doc(alias = "IPV6_PKTINFO")]
    PacketInfo(PacketInfo),
    /// When the kernel received it: nanoseconds since the epoch.
    #[doc(alias = "SCM_TIMESTAMPNS")]
    Timestamp(u64),
    /// How many datagrams the socket has dropped so far for want of room.
    #[doc(alias = "SO_RXQ_OVFL")]
    Drops(u32),
    /// Anything else, and anything whose contents are not what its type promises.
    Other {
        /// The protocol level, as `SOL_SOCKET`.
        level: i32,
        /// The type within the level.
        kind: i32,
        /// The contents.
        data: &'a [u8],
    },
}

/// Iterates over the control messages in the bytes that a receive call filled.
///
/// Takes any bytes: what is malformed ends the iteration, and nothing outside of them is read. See
/// [cmsg(3)](https://man7.org/linux/man-pages/man3/cmsg.3.html).
#[doc(alias = "CMSG_FIRSTHDR")]
#[doc(alias = "CMSG_NXTHDR")]
#[doc(alias = "CMSG_DATA")]
#[derive(Clone, Debug)]
pub struct ControlMessages<'a> {
    rest: &'a [u8],
}

impl<'a> ControlMessages<'a> {
    /// Over `control`, of which the kernel filled every byte.
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

impl ControlEncoder<'_> {
    /// Adds the segment size of a run, in bytes.
    ///
    /// # Errors
    ///
    /// `ENOBUFS` if the buffer is full; nothing is added then.
    #[inline]
    pub fn segment_size(&mut self, bytes: u16) -> Result<()> {
        sys::encode_segment_size(self, bytes)
    }
}
