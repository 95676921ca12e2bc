//! Multicast: memberships of groups, and options of datagrams that are sent to groups.

use std::net::IpAddr;
use std::os::fd::AsFd;

use crate::errno::{Errno, Result};
use crate::option::option;
pub use crate::option_value::Interface;
use crate::sys::multicast as sys;

/// The index of the interface with this name.
///
/// # Errors
///
/// `ENODEV` without such an interface; `EINVAL` for a name that is empty, has a NUL or more than 15
/// bytes.
///
/// See [if_nametoindex(3)](https://man7.org/linux/man-pages/man3/if_nametoindex.3.html).
#[doc(alias = "if_nametoindex")]
pub fn interface_index(name: &str) -> Result<u32> {
    sys::interface_index(name)
}

option! {
    "IP_MULTICAST_LOOP", "IPV6_MULTICAST_LOOP": bool;
    /// Delivers datagrams that are sent to a group to members on this host, too. On by default.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html),
    /// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    set_multicast_loop;
    /// Whether members on this host receive the datagrams.
    multicast_loop;
}

option! {
    "IP_MULTICAST_ALL", "IPV6_MULTICAST_ALL": bool;
    /// Delivers datagrams of all groups that any socket of this host joined, if this one is bound
    /// to the wildcard address and the port. **On by default on Linux.** Off, the socket receives
    /// only groups that it joined itself.
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` on IPv6 before Linux 4.20.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html).
    set_multicast_all;
    /// Whether groups that other sockets joined are delivered too.
    multicast_all;
}

option! {
    "IP_MULTICAST_TTL", "IPV6_MULTICAST_HOPS": u32;
    /// Sets the time to live or hop limit of datagrams to groups: 0 (this host only) to 255. The
    /// default, 1, is the local network.
    ///
    /// # Errors
    ///
    /// `EINVAL` above 255.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html),
    /// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    set_multicast_ttl;
    /// The time to live or hop limit of datagrams to groups.
    multicast_ttl;
}

option! {
    "IP_MULTICAST_IF", "IPV6_MULTICAST_IF": Interface;
    /// Sets the interface through which datagrams to groups leave.
    ///
    /// # Errors
    ///
    /// `ENODEV`, `EADDRNOTAVAIL` without such an interface; `EAFNOSUPPORT` for an
    /// [`Interface::Address`] on IPv6.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html),
    /// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    set_multicast_interface;
    /// The interface through which datagrams to groups leave. For IPv4, Linux returns the address
    /// that set it, and [`Interface::Any`] after an index.
    multicast_interface;
}

fn check_group(group: IpAddr) -> Result<()> {
    if group.is_multicast() {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// Joins a group on an interface. The socket receives its datagrams if it is bound to their port,
/// and perhaps those of groups that other sockets joined: see [`set_multicast_all`].
///
/// # Errors
///
/// - `EINVAL`: `group` is no multicast address.
/// - `EAFNOSUPPORT`: `group` is of another family than the socket, or an [`Interface::Address`] on
///   IPv6.
/// - `EADDRINUSE`: the socket is a member already.
/// - `ENODEV`: no such interface, or no route to choose one.
/// - `ENOBUFS`: more groups than `net.ipv4.igmp_max_memberships`.
///
/// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html),
/// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
#[doc(alias = "IP_ADD_MEMBERSHIP")]
#[doc(alias = "IPV6_ADD_MEMBERSHIP")]
#[doc(alias = "IPV6_JOIN_GROUP")]
#[doc(alias = "setsockopt")]
pub fn join_multicast(fd: impl AsFd, group: IpAddr, interface: Interface) -> Result<()> {
    check_group(group)?;
    sys::multicast(fd.as_fd(), group, interface, true)
}

/// Leaves a group that [`join_multicast`] joined with the same interface.
///
/// # Errors
///
/// `EADDRNOTAVAIL` if the socket is no member; otherwise as [`join_multicast`].
///
/// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html),
/// [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
#[doc(alias = "IP_DROP_MEMBERSHIP")]
#[doc(alias = "IPV6_DROP_MEMBERSHIP")]
#[doc(alias = "IPV6_LEAVE_GROUP")]
#[doc(alias = "setsockopt")]
pub fn leave_multicast(fd: impl AsFd, group: IpAddr, interface: Interface) -> Result<()> {
    check_group(group)?;
    sys::multicast(fd.as_fd(), group, interface, false)
}

/// Joins a group for the datagrams of one source. Call it again for further sources.
///
/// # Errors
///
/// As [`join_multicast`], and: `EINVAL` if the group was joined without a source; `EADDRNOTAVAIL`
/// if this source was joined already; `EAFNOSUPPORT` if group and source differ in family.
///
/// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html).
#[doc(alias = "IP_ADD_SOURCE_MEMBERSHIP")]
#[doc(alias = "MCAST_JOIN_SOURCE_GROUP")]
#[doc(alias = "setsockopt")]
pub fn join_source(
    fd: impl AsFd,
    group: IpAddr,
    source: IpAddr,
    interface: Interface,
) -> Result<()> {
    check_group(group)?;
    sys::multicast_source(fd.as_fd(), group, source, interface, true)
}

/// Leaves a group that [`join_source`] joined for this source.
///
/// # Errors
///
/// `EINVAL` or `EADDRNOTAVAIL` if the source was not joined; otherwise as [`join_source`].
///
/// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html).
#[doc(alias = "IP_DROP_SOURCE_MEMBERSHIP")]
#[doc(alias = "MCAST_LEAVE_SOURCE_GROUP")]
#[doc(alias = "setsockopt")]
pub fn leave_source(
    fd: impl AsFd,
    group: IpAddr,
    source: IpAddr,
    interface: Interface,
) -> Result<()> {
    check_group(group)?;
    sys::multicast_source(fd.as_fd(), group, source, interface, false)
}
