//! Multicast: groups, and how what is sent to them goes.

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
/// `ENODEV` if there is none; `EINVAL` for a name that is empty, has a NUL or more than 15 bytes.
///
/// See [if_nametoindex(3)](https://man7.org/linux/man-pages/man3/if_nametoindex.3.html).
#[doc(alias = "if_nametoindex")]
pub fn interface_index(name: &str) -> Result<u32> {
    sys::interface_index(name)
}

option! {
    "IP_MULTICAST_LOOP": bool;
    /// Hands what is sent to a group to this host's own members too. On by default.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html), [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    set_multicast_loop;
    /// Whether this host's own members get what is sent to a group.
    multicast_loop;
}

option! {
    "IP_MULTICAST_ALL": bool;
    /// Delivers what is sent to any group that any socket of this host joined, if this one is bound to the wildcard
    /// address and the port: **on by default on Linux**. Off, the socket gets what it joined itself, and nothing else.
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` on IPv6 before Linux 4.20.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html).
    set_multicast_all;
    /// Whether groups that others joined are delivered too.
    multicast_all;
}

option! {
    "IP_MULTICAST_TTL": u32;
    /// Sets how far what is sent to a group goes: time to live or hop limit, 0 (not beyond this host) to 255; 1 by
    /// default, this network.
    ///
    /// # Errors
    ///
    /// `EINVAL` above 255.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html), [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    set_multicast_ttl;
    /// How far what is sent to a group goes.
    multicast_ttl;
}

option! {
    "IP_MULTICAST_IF": Interface;
    /// Sets the interface by which datagrams to groups leave.
    ///
    /// # Errors
    ///
    /// `ENODEV`, `EADDRNOTAVAIL` without such an interface; `EAFNOSUPPORT` for an [`Interface::Address`] on IPv6.
    ///
    /// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html), [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
    set_multicast_interface;
    /// The interface by which datagrams to groups leave. Of an IPv4 socket, Linux tells the address it was set by, and
    /// [`Interface::Any`] for one that was set by index.
    multicast_interface;
}

fn check_group(group: IpAddr) -> Result<()> {
    if group.is_multicast() {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// Joins a group: what is sent to it on that interface is received, if the socket is bound to its port. So may be what
/// is sent to groups that others joined: see [`set_multicast_all`].
///
/// # Errors
///
/// `EINVAL` if `group` is no multicast address; `EAFNOSUPPORT` if it is of another family than the socket, or the
/// interface is given by [`Interface::Address`] on IPv6; `EADDRINUSE` if it is a member already; `ENODEV` without such
/// an interface, or without a route to find one; `ENOBUFS` beyond `net.ipv4.igmp_max_memberships`.
///
/// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html), [ipv6(7)](https://man7.org/linux/man-pages/man7/ipv6.7.html).
#[doc(alias = "IP_ADD_MEMBERSHIP")]
#[doc(alias = "IPV6_ADD_MEMBERSHIP")]
#[doc(alias = "IPV6_JOIN_GROUP")]
pub fn join_multicast(fd: impl AsFd, group: IpAddr, interface: Interface) -> Result<()> {
    check_group(group)?;
    sys::multicast(fd.as_fd(), group, interface, true)
}

/// Leaves a group that [`join_multicast`] joined with the same interface.
///
/// # Errors
///
/// `EADDRNOTAVAIL` if it is no member; otherwise as [`join_multicast`].
#[doc(alias = "IP_DROP_MEMBERSHIP")]
#[doc(alias = "IPV6_DROP_MEMBERSHIP")]
#[doc(alias = "IPV6_LEAVE_GROUP")]
pub fn leave_multicast(fd: impl AsFd, group: IpAddr, interface: Interface) -> Result<()> {
    check_group(group)?;
    sys::multicast(fd.as_fd(), group, interface, false)
}

/// Joins a group for what one host sends to it; to be repeated for further hosts.
///
/// # Errors
///
/// As [`join_multicast`]; `EINVAL` too if the group was joined without a source; `EADDRNOTAVAIL` if this source was
/// joined already; `EAFNOSUPPORT` too if group and source differ in family.
///
/// See [ip(7)](https://man7.org/linux/man-pages/man7/ip.7.html).
#[doc(alias = "IP_ADD_SOURCE_MEMBERSHIP")]
#[doc(alias = "MCAST_JOIN_SOURCE_GROUP")]
pub fn join_source(
    fd: impl AsFd,
    group: IpAddr,
    source: IpAddr,
    interface: Interface,
) -> Result<()> {
    check_group(group)?;
    sys::multicast_source(fd.as_fd(), group, source, interface, true)
}

/// Undoes [`join_source`].
///
/// # Errors
///
/// `EINVAL` or `EADDRNOTAVAIL` if it was not joined; otherwise as [`join_source`].
#[doc(alias = "IP_DROP_SOURCE_MEMBERSHIP")]
#[doc(alias = "MCAST_LEAVE_SOURCE_GROUP")]
pub fn leave_source(
    fd: impl AsFd,
    group: IpAddr,
    source: IpAddr,
    interface: Interface,
) -> Result<()> {
    check_group(group)?;
    sys::multicast_source(fd.as_fd(), group, source, interface, false)
}
