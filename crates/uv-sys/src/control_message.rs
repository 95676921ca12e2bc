//! One control message, decoded.

use crate::queued_error::ExtendedError;
use crate::transmit::PacketInfo;

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
    /// What became of an earlier datagram; only from the error queue.
    #[doc(alias = "IP_RECVERR")]
    #[doc(alias = "IPV6_RECVERR")]
    Error(ExtendedError),
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
