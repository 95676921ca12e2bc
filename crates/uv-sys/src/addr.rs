//! Address families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The address family of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Family {
    /// IPv4.
    #[doc(alias = "AF_INET")]
    V4,
    /// IPv6; with [`set_ipv6_only`](super::option::set_ipv6_only) off also IPv4, in mapped
    /// addresses (`::ffff:192.0.2.1`).
    #[doc(alias = "AF_INET6")]
    V6,
}

impl Family {
    /// The family of a socket for this address. A mapped IPv4 address needs an IPv6 socket.
    #[must_use]
    pub const fn of(address: &SocketAddr) -> Family {
        match address {
            SocketAddr::V4(_) => Family::V4,
            SocketAddr::V6(_) => Family::V6,
        }
    }

    /// The wildcard address: `0.0.0.0` or `::`.
    #[doc(alias = "INADDR_ANY")]
    #[doc(alias = "in6addr_any")]
    #[must_use]
    pub const fn unspecified(self) -> IpAddr {
        match self {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}
