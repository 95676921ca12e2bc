//! Reports of the error queue.

use std::net::{IpAddr, SocketAddr};

use crate::errno::Errno;

/// The origin of an error.
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
    /// Another one, by the kernel's number: 4 for send timestamps, 5 for zero-copy notifications, 6
    /// for missed transmit times.
    Other(u8),
}

/// An error in the kernel's control message.
#[doc(alias = "sock_extended_err")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ExtendedError {
    /// The error.
    pub errno: Errno,
    /// Its origin.
    pub origin: ErrorOrigin,
    /// The type of the ICMP message.
    pub kind: u8,
    /// The code of the ICMP message.
    pub code: u8,
    /// For `EMSGSIZE`, the largest packet size in bytes that the path takes.
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
    /// Its origin.
    pub origin: ErrorOrigin,
    /// The type of the ICMP message.
    pub kind: u8,
    /// The code of the ICMP message.
    pub code: u8,
    /// For `EMSGSIZE`, the largest packet size in bytes that the path takes.
    pub info: u32,
    /// The destination of the datagram.
    pub destination: Option<SocketAddr>,
    /// The host that sent the ICMP message. `None` for errors of this host.
    pub offender: Option<IpAddr>,
    /// Bytes of the datagram that were stored: limited by the quote in the ICMP message and by the
    /// buffer.
    pub payload_len: usize,
}
