//! Groups of a handle, and how what is sent to them goes.

use std::net::IpAddr;

use uv_sys::{Interface, Result};

use super::options::{Options, options};
use crate::handle::Udp;
use crate::socket::Membership;

/// Multicast.
///
/// It needs a socket, as the options do, and survives disconnecting and connecting anew as they do. An interface is given by
/// index, on IPv4 by address as well; [`interface_index`](crate::interface_index) finds one by its name.
impl Udp {
    /// Joins a group: what is sent to it on that interface is received, if the handle is bound to its port.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `group` is no multicast address; `EAFNOSUPPORT` if it is of another family than the socket, or the interface
    /// is given by address on IPv6; `EADDRINUSE` if the handle is a member already; `ENODEV` without such an interface, or
    /// without a route to find one; `ENOBUFS` beyond `net.ipv4.igmp_max_memberships`. `EBADF` also while there is no socket yet.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html), [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
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
    /// `EADDRNOTAVAIL` if the handle is no member; otherwise as `join_multicast`.
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

    /// Joins a group for what one host sends to it; to be repeated for further hosts.
    ///
    /// # Errors
    ///
    /// As [`join_multicast`](Self::join_multicast); `EINVAL` too if the group was joined without a source; `EADDRNOTAVAIL` if
    /// this source was joined already; `EAFNOSUPPORT` too if group and source differ in family.
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

    /// Undoes [`join_source`](Self::join_source).
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

/// Multicast options. They survive disconnecting and connecting anew.
impl Options<'_> {
    options! { multicast:
        bool, "uv_udp_set_multicast_loop" "IP_MULTICAST_LOOP" "IPV6_MULTICAST_LOOP";
        /// Hands what is sent to a group to this host's own members too. On by default.
        ///
        /// # Errors
        ///
        /// `EBADF` also while there is no socket yet.
        ///
        /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html), [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
        set_multicast_loop;
        /// Whether this host's own members get what is sent to a group.
        multicast_loop;

        bool, "IP_MULTICAST_ALL" "IPV6_MULTICAST_ALL";
        /// Delivers what is sent to groups that other sockets of this host joined, too, if the handle is bound to the wildcard
        /// address. On by default, surprisingly, on Linux; off, the handle hears of its own groups only.
        ///
        /// # Errors
        ///
        /// `ENOPROTOOPT` on IPv6 before Linux 4.20. `EBADF` also while there is no socket yet.
        ///
        /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html).
        set_multicast_all;
        /// Whether groups that others joined are delivered too.
        multicast_all;

        u32, "uv_udp_set_multicast_ttl" "IP_MULTICAST_TTL" "IPV6_MULTICAST_HOPS";
        /// Sets how far what is sent to a group goes: time to live or hop limit, 0 (not beyond this host) to 255; 1 by default,
        /// this network.
        ///
        /// # Errors
        ///
        /// `EINVAL` above 255. `EBADF` also while there is no socket yet.
        ///
        /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html), [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
        set_multicast_ttl;
        /// How far what is sent to a group goes.
        multicast_ttl;

        Interface, "uv_udp_set_multicast_interface" "IP_MULTICAST_IF" "IPV6_MULTICAST_IF";
        /// Sets the interface by which datagrams to groups leave.
        ///
        /// # Errors
        ///
        /// `ENODEV`, `EADDRNOTAVAIL` without such an interface; `EAFNOSUPPORT` for one given by address on IPv6. `EBADF` also
        /// while there is no socket yet.
        ///
        /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html), [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
        set_multicast_interface;
        /// The interface by which datagrams to groups leave. Of an IPv4 socket, Linux tells the address that it was set by, and
        /// [`Interface::Any`] for one that was set by index.
        multicast_interface;
    }
}
