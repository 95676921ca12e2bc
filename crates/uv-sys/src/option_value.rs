//! Values of socket options that are neither numbers nor switches.

use std::net::Ipv4Addr;

/// How a socket finds out, and minds, how large a packet may be on the way to a destination.
#[doc(alias = "IP_MTU_DISCOVER")]
#[doc(alias = "IPV6_MTU_DISCOVER")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum PathMtuDiscovery {
    /// Never forbids fragmentation.
    #[doc(alias = "IP_PMTUDISC_DONT")]
    Off,
    /// Forbids fragmentation on the way while a datagram fits the known path MTU, fragments it itself otherwise. What
    /// Linux does by default.
    #[doc(alias = "IP_PMTUDISC_WANT")]
    Want,
    /// Forbids fragmentation: a datagram larger than the known path MTU is `EMSGSIZE`.
    #[doc(alias = "IP_PMTUDISC_DO")]
    Do,
    /// Forbids fragmentation, and minds the interface's MTU only, whatever is known of the path: for transports that
    /// probe on their own ([RFC 8899](https://www.rfc-editor.org/rfc/rfc8899)).
    #[doc(alias = "IP_PMTUDISC_PROBE")]
    Probe,
}

/// The clock of [`Transmit::transmit_at`](crate::Transmit::transmit_at).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum TxTimeClock {
    /// The monotonic clock, as the queueing discipline `fq` takes it.
    #[doc(alias = "CLOCK_MONOTONIC")]
    Monotonic,
    /// International atomic time, as `etf` takes it; needs `CAP_NET_ADMIN`.
    #[doc(alias = "CLOCK_TAI")]
    Tai,
}

/// A network interface, as the multicast options take it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Interface {
    /// The one that the routing table says.
    #[default]
    Any,
    /// By index: see [`interface_index`](super::multicast::interface_index). 0 is any.
    Index(u32),
    /// By one of its addresses. IPv4 only: `EAFNOSUPPORT` on IPv6.
    Address(Ipv4Addr),
}
