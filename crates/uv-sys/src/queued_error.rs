//! Reports of the error queue.

use std::net::{IpAddr, SocketAddr};

use crate::errno::Errno;

/// Who says that something went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorOrigin {
    /// This host, before the datagram left it.
    #[doc(alias = "SO_EE_ORIGIN_LOCAL")]
    Local,
    /// An ICMP message.
    #[doc(alias = "SO_EE_ORIGIN_ICMP")]
    Icmp,
    /// An ICMPv6 message.
    #[doc(alias = "SO_EE_ORIGIN_ICMP6")]
    Icmp6,
    /// Something else, by the kernel's number: 4 for timestamps of sends, 5 for zero-copy notifications, 6 for
    /// transmit times that were missed.
    Other(u8),
}

/// What an error is and where it comes from, as the kernel tells it in a control message.
#[doc(alias = "sock_extended_err")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ExtendedError {
    /// The error.
    pub errno: Errno,
    /// Who tells.
    pub origin: ErrorOrigin,
    /// The type of the ICMP message.
    pub kind: u8,
    /// The code of the ICMP message.
    pub code: u8,
    /// For `EMSGSIZE`, the packet size in bytes that would do.
    pub info: u32,
    /// The host that sent the ICMP message.
    #[doc(alias = "SO_EE_OFFENDER")]
    pub offender: Option<IpAddr>,
}

/// An error about a datagram that was sent earlier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct QueuedError {
    /// The error.
    pub errno: Errno,
    /// Who tells.
    pub origin: ErrorOrigin,
    /// The type of the ICMP message.
    pub kind: u8,
    /// The code of the ICMP message.
    pub code: u8,
    /// For `EMSGSIZE`, the packet size in bytes that would do.
    pub info: u32,
    /// Where the datagram was going.
    pub destination: Option<SocketAddr>,
    /// The host that sent the ICMP message. `None` for errors of this host's own making.
    pub offender: Option<IpAddr>,
    /// Bytes of the datagram that were stored: as many as the ICMP message quoted and the buffer took.
    pub payload_len: usize,
}
