//! One control message, decoded.

use crate::queued_error::ExtendedError;
use crate::transmit::PacketInfo;

/// One control message of a datagram.
#[doc(alias = "cmsghdr")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ControlMessage<'a> {
    /// The segment size of a send.
    #[doc(alias = "UDP_SEGMENT")]
    Segment(u16),
    /// The bytes of each coalesced datagram.
    #[doc(alias = "UDP_GRO")]
    Gro(u16),
    /// The type of service or traffic class.
    #[doc(alias = "IP_TOS")]
    #[doc(alias = "IPV6_TCLASS")]
    Tos(u8),
    /// The time to live or hop limit.
    #[doc(alias = "IP_TTL")]
    #[doc(alias = "IPV6_HOPLIMIT")]
    Ttl(u8),
    /// The destination address and the interface.
    #[doc(alias = "IP_PKTINFO")]
    #[doc(alias = "IPV6_PKTINFO")]
    PacketInfo(PacketInfo),
    /// Receive time in nanoseconds since the epoch.
    #[doc(alias = "SCM_TIMESTAMPNS")]
    Timestamp(u64),
    /// Datagrams that the socket has dropped so far because its buffer was full.
    #[doc(alias = "SO_RXQ_OVFL")]
    Drops(u32),
    /// An error about an earlier datagram; only from the error queue.
    #[doc(alias = "IP_RECVERR")]
    #[doc(alias = "IPV6_RECVERR")]
    Error(ExtendedError),
    /// Another type, or contents that do not match the type.
    Other {
        /// The protocol level, as `SOL_SOCKET`.
        level: i32,
        /// The type within the level.
        kind: i32,
        /// The contents.
        data: &'a [u8],
    },
}
