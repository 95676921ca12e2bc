//! Multicast memberships and options.

use std::net::IpAddr;

use uv_sys::{Interface, Result};

use super::options::{Options, options};
use crate::handle::Udp;
use crate::socket::Membership;

/// Multicast.
///
/// Memberships need a socket, and survive disconnecting and reconnecting, as the options do. An
/// interface is given by index, on IPv4 also by address;
/// [`interface_index`](crate::interface_index) finds the index of a name.
impl Udp {
    /// Joins a group: the handle receives datagrams to it on that interface, to the port it is
    /// bound to.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if `group` is not a multicast address.
    /// - `EAFNOSUPPORT` if it is of another family than the socket, or if the interface is given by
    ///   address on IPv6.
    /// - `EADDRINUSE` if the handle is a member already.
    /// - `ENODEV` without such an interface, or without a route to find one.
    /// - `ENOBUFS` beyond `net.ipv4.igmp_max_memberships`.
    /// - `EBADF` also without a socket.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html),
    /// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    #[doc(alias = "uv_udp_set_membership")]
    #[doc(alias = "UV_JOIN_GROUP")]
    #[doc(alias = "IP_ADD_MEMBERSHIP")]
    #[doc(alias = "IPV6_JOIN_GROUP")]
    pub fn join_multicast(&self, group: IpAddr, interface: Interface) -> Result<()> {
        self.join(Membership {
            group,
            source: None,
            interface,
        })
    }

    /// Leaves a group that [`join_multicast`](Self::join_multicast) joined with the same interface.
    ///
    /// # Errors
    ///
    /// `EADDRNOTAVAIL` if the handle is not a member; otherwise as `join_multicast`.
    #[doc(alias = "uv_udp_set_membership")]
    #[doc(alias = "UV_LEAVE_GROUP")]
    #[doc(alias = "IP_DROP_MEMBERSHIP")]
    #[doc(alias = "IPV6_LEAVE_GROUP")]
    pub fn leave_multicast(&self, group: IpAddr, interface: Interface) -> Result<()> {
        self.leave(Membership {
            group,
            source: None,
            interface,
        })
    }

    /// Joins a group for the datagrams of one source. Repeat it for more sources.
    ///
    /// # Errors
    ///
    /// As [`join_multicast`](Self::join_multicast); `EINVAL` also if the group was joined without a
    /// source; `EADDRNOTAVAIL` if this source was joined already; `EAFNOSUPPORT` also if group
    /// and source differ in family.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html).
    #[doc(alias = "uv_udp_set_source_membership")]
    #[doc(alias = "IP_ADD_SOURCE_MEMBERSHIP")]
    #[doc(alias = "MCAST_JOIN_SOURCE_GROUP")]
    pub fn join_source(&self, group: IpAddr, source: IpAddr, interface: Interface) -> Result<()> {
        self.join(Membership {
            group,
            source: Some(source),
            interface,
        })
    }

    /// Leaves a group that [`join_source`](Self::join_source) joined for this source.
    ///
    /// # Errors
    ///
    /// `EINVAL` or `EADDRNOTAVAIL` if it was not joined; otherwise as `join_source`.
    #[doc(alias = "uv_udp_set_source_membership")]
    #[doc(alias = "IP_DROP_SOURCE_MEMBERSHIP")]
    #[doc(alias = "MCAST_LEAVE_SOURCE_GROUP")]
    pub fn leave_source(&self, group: IpAddr, source: IpAddr, interface: Interface) -> Result<()> {
        self.leave(Membership {
            group,
            source: Some(source),
            interface,
        })
    }

    fn join(&self, membership: Membership) -> Result<()> {
        self.inner.with_socket(|socket| membership.join(socket))?;
        self.inner.socket.survivors().joined(membership);
        Ok(())
    }

    fn leave(&self, membership: Membership) -> Result<()> {
        self.inner.with_socket(|socket| membership.leave(socket))?;
        self.inner.socket.survivors().left(membership);
        Ok(())
    }
}

/// Multicast.
impl Options<'_> {
    options! { multicast:
        bool, "uv_udp_set_multicast_loop" "IP_MULTICAST_LOOP" "IPV6_MULTICAST_LOOP";
        /// Delivers sent multicast datagrams to members on this host, too. On by default.
        ///
        /// # Errors
        ///
        /// `EBADF` also without a socket.
        ///
        /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html),
        /// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
        set_multicast_loop;
        /// Whether members on this host receive sent multicast datagrams.
        multicast_loop;

        bool, "IP_MULTICAST_ALL" "IPV6_MULTICAST_ALL";
        /// Also delivers datagrams to groups that only other sockets of this host joined, if the
        /// handle is bound to the wildcard address. On by default on Linux.
        ///
        /// # Errors
        ///
        /// `ENOPROTOOPT` on IPv6 before Linux 4.20. `EBADF` also without a socket.
        ///
        /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html).
        set_multicast_all;
        /// Whether datagrams to groups of other sockets are delivered.
        multicast_all;

        u32, "uv_udp_set_multicast_ttl" "IP_MULTICAST_TTL" "IPV6_MULTICAST_HOPS";
        /// Sets the time to live or hop limit of multicast datagrams: 0 (this host) to 255. The
        /// default is 1, the local network.
        ///
        /// # Errors
        ///
        /// `EINVAL` above 255. `EBADF` also without a socket.
        ///
        /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html),
        /// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
        set_multicast_ttl;
        /// The time to live or hop limit of multicast datagrams.
        multicast_ttl;

        Interface, "uv_udp_set_multicast_interface" "IP_MULTICAST_IF" "IPV6_MULTICAST_IF";
        /// Sets the interface for sending multicast datagrams.
        ///
        /// # Errors
        ///
        /// `ENODEV`, `EADDRNOTAVAIL` without such an interface; `EAFNOSUPPORT` for one given by
        /// address on IPv6. `EBADF` also without a socket.
        ///
        /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html),
        /// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
        set_multicast_interface;
        /// The interface for sending multicast datagrams. On IPv4, Linux returns the address that
        /// was set, and [`Interface::Any`] for an interface that was set by index.
        multicast_interface;
    }
}
