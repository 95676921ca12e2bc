//! Types of socket option values.

use std::net::Ipv4Addr;

/// How a socket discovers the path MTU, and whether it forbids fragmentation.
#[doc(alias = "IP_MTU_DISCOVER")]
#[doc(alias = "IPV6_MTU_DISCOVER")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum PathMtuDiscovery {
    /// Allows fragmentation.
    #[doc(alias = "IP_PMTUDISC_DONT")]
    Off,
    /// Forbids routers to fragment a datagram that fits the known path MTU; the kernel fragments
    /// larger ones. The default on Linux.
    #[doc(alias = "IP_PMTUDISC_WANT")]
    Want,
    /// Forbids fragmentation. A datagram larger than the known path MTU returns `EMSGSIZE`.
    #[doc(alias = "IP_PMTUDISC_DO")]
    Do,
    /// Forbids fragmentation, and ignores the known path MTU; only the interface's MTU limits a
    /// datagram. For transports that probe the path ([RFC
    /// 8899](https://www.rfc-editor.org/rfc/rfc8899)).
    #[doc(alias = "IP_PMTUDISC_PROBE")]
    Probe,
}

/// The clock of [`Transmit::transmit_at`](crate::Transmit::transmit_at).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum TxTimeClock {
    /// The monotonic clock, for the queueing discipline `fq`.
    #[doc(alias = "CLOCK_MONOTONIC")]
    Monotonic,
    /// International atomic time, for `etf`; needs `CAP_NET_ADMIN`.
    #[doc(alias = "CLOCK_TAI")]
    Tai,
}

/// A network interface in the multicast options.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Interface {
    /// The routing table chooses it.
    #[default]
    Any,
    /// Its index: see [`interface_index`](super::multicast::interface_index). 0 means any.
    Index(u32),
    /// One of its addresses. IPv4 only: `EAFNOSUPPORT` on IPv6.
    Address(Ipv4Addr),
}
