//! Multicast options.

use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;

use super::addr::RawAddr;
use super::socket::family;
use super::sockopt::{get, interface_name, octet, set, set_bool};
use crate::addr::Family;
use crate::errno::{Errno, Result};
use crate::option_value::Interface;

pub(crate) fn interface_index(name: &str) -> Result<u32> {
    let name = interface_name(name)?;
    // SAFETY: a `CString`, borrowed for the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(Errno::last()),
        index => Ok(index),
    }
}

fn in_addr(address: Ipv4Addr) -> libc::in_addr {
    libc::in_addr {
        s_addr: u32::from_ne_bytes(address.octets()),
    }
}

fn in6_addr(address: Ipv6Addr) -> libc::in6_addr {
    libc::in6_addr {
        s6_addr: address.octets(),
    }
}

/// The index for an option that accepts only an index.
fn index(interface: Interface) -> Result<u32> {
    match interface {
        Interface::Any => Ok(0),
        Interface::Index(index) => Ok(index),
        Interface::Address(_) => Err(Errno::EAFNOSUPPORT),
    }
}

fn mreqn(group: Ipv4Addr, interface: Interface) -> Result<libc::ip_mreqn> {
    let (address, index) = match interface {
        Interface::Any => (Ipv4Addr::UNSPECIFIED, 0),
        Interface::Index(index) => (Ipv4Addr::UNSPECIFIED, index),
        Interface::Address(address) => (address, 0),
    };
    Ok(libc::ip_mreqn {
        imr_multiaddr: in_addr(group),
        imr_address: in_addr(address),
        imr_ifindex: libc::c_int::try_from(index).map_err(|_| Errno::ENODEV)?,
    })
}

pub(crate) fn set_multicast_loop(fd: BorrowedFd<'_>, on: bool) -> Result<()> {
    match family(fd)? {
        Family::V4 => set_bool(fd, libc::SOL_IP, libc::IP_MULTICAST_LOOP, on),
        Family::V6 => set_bool(fd, libc::SOL_IPV6, libc::IPV6_MULTICAST_LOOP, on),
    }
}

pub(crate) fn multicast_loop(fd: BorrowedFd<'_>) -> Result<bool> {
    let (level, name) = match family(fd)? {
        Family::V4 => (libc::SOL_IP, libc::IP_MULTICAST_LOOP),
        Family::V6 => (libc::SOL_IPV6, libc::IPV6_MULTICAST_LOOP),
    };
    Ok(get::<libc::c_int>(fd, level, name)? != 0)
}

fn all(fd: BorrowedFd<'_>) -> Result<(libc::c_int, libc::c_int)> {
    Ok(match family(fd)? {
        Family::V4 => (libc::SOL_IP, libc::IP_MULTICAST_ALL),
        Family::V6 => (libc::SOL_IPV6, libc::IPV6_MULTICAST_ALL),
    })
}

pub(crate) fn set_multicast_all(fd: BorrowedFd<'_>, on: bool) -> Result<()> {
    let (level, name) = all(fd)?;
    set_bool(fd, level, name, on)
}

pub(crate) fn multicast_all(fd: BorrowedFd<'_>) -> Result<bool> {
    let (level, name) = all(fd)?;
    Ok(get::<libc::c_int>(fd, level, name)? != 0)
}

fn hops(fd: BorrowedFd<'_>) -> Result<(libc::c_int, libc::c_int)> {
    Ok(match family(fd)? {
        Family::V4 => (libc::SOL_IP, libc::IP_MULTICAST_TTL),
        Family::V6 => (libc::SOL_IPV6, libc::IPV6_MULTICAST_HOPS),
    })
}

pub(crate) fn set_multicast_ttl(fd: BorrowedFd<'_>, ttl: u32) -> Result<()> {
    let (level, name) = hops(fd)?;
    set(fd, level, name, libc::c_int::from(octet(ttl)?))
}

pub(crate) fn multicast_ttl(fd: BorrowedFd<'_>) -> Result<u32> {
    let (level, name) = hops(fd)?;
    Ok(get::<libc::c_int>(fd, level, name)?.cast_unsigned())
}

pub(crate) fn set_multicast_interface(fd: BorrowedFd<'_>, interface: Interface) -> Result<()> {
    match family(fd)? {
        Family::V4 => {
            let mreqn = mreqn(Ipv4Addr::UNSPECIFIED, interface)?;
            set(fd, libc::SOL_IP, libc::IP_MULTICAST_IF, mreqn)
        }
        Family::V6 => {
            let index = libc::c_int::try_from(index(interface)?).map_err(|_| Errno::ENODEV)?;
            set(fd, libc::SOL_IPV6, libc::IPV6_MULTICAST_IF, index)
        }
    }
}

pub(crate) fn multicast_interface(fd: BorrowedFd<'_>) -> Result<Interface> {
    match family(fd)? {
        Family::V4 => {
            let raw = get::<libc::c_int>(fd, libc::SOL_IP, libc::IP_MULTICAST_IF)?;
            match Ipv4Addr::from(raw.to_ne_bytes()) {
                Ipv4Addr::UNSPECIFIED => Ok(Interface::Any),
                address => Ok(Interface::Address(address)),
            }
        }
        Family::V6 => match get::<libc::c_int>(fd, libc::SOL_IPV6, libc::IPV6_MULTICAST_IF)? {
            0 => Ok(Interface::Any),
            index => Ok(Interface::Index(index.cast_unsigned())),
        },
    }
}

pub(crate) fn multicast(
    fd: BorrowedFd<'_>,
    group: IpAddr,
    interface: Interface,
    join: bool,
) -> Result<()> {
    match (family(fd)?, group) {
        (Family::V4, IpAddr::V4(group)) => {
            let name = if join {
                libc::IP_ADD_MEMBERSHIP
            } else {
                libc::IP_DROP_MEMBERSHIP
            };
            set(fd, libc::SOL_IP, name, mreqn(group, interface)?)
        }
        (Family::V6, IpAddr::V6(group)) => {
            let name = if join {
                libc::IPV6_ADD_MEMBERSHIP
            } else {
                libc::IPV6_DROP_MEMBERSHIP
            };
            let mreq = libc::ipv6_mreq {
                ipv6mr_multiaddr: in6_addr(group),
                ipv6mr_interface: index(interface)?,
            };
            set(fd, libc::SOL_IPV6, name, mreq)
        }
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// The options with an interface index, for either family.
fn source_by_index(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    (group, source): (IpAddr, IpAddr),
    index: u32,
    join: bool,
) -> Result<()> {
    const MCAST_JOIN_SOURCE_GROUP: libc::c_int = 46;
    const MCAST_LEAVE_SOURCE_GROUP: libc::c_int = 47;

    /// The kernel's `struct group_source_req`. Its addresses have 128 bytes and the alignment of a
    /// pointer.
    #[derive(Clone, Copy)]
    #[repr(C)]
    struct GroupSourceReq {
        interface: u32,
        group: libc::sockaddr_storage,
        source: libc::sockaddr_storage,
    }

    fn storage(address: IpAddr) -> libc::sockaddr_storage {
        RawAddr::encode(&SocketAddr::new(address, 0)).0.storage()
    }

    // SAFETY: it consists of integers, for which zeroes are valid.
    let mut request: GroupSourceReq = unsafe { mem::zeroed() };
    request.interface = index;
    request.group = storage(group);
    request.source = storage(source);
    let name = if join {
        MCAST_JOIN_SOURCE_GROUP
    } else {
        MCAST_LEAVE_SOURCE_GROUP
    };
    set(fd, level, name, request)
}

pub(crate) fn multicast_source(
    fd: BorrowedFd<'_>,
    group: IpAddr,
    source: IpAddr,
    interface: Interface,
    join: bool,
) -> Result<()> {
    match (family(fd)?, group, source, interface) {
        (Family::V4, IpAddr::V4(_), IpAddr::V4(_), Interface::Index(index)) => {
            source_by_index(fd, libc::SOL_IP, (group, source), index, join)
        }
        (Family::V4, IpAddr::V4(group), IpAddr::V4(source), _) => {
            let address = match interface {
                Interface::Address(address) => address,
                Interface::Any | Interface::Index(_) => Ipv4Addr::UNSPECIFIED,
            };
            let request = libc::ip_mreq_source {
                imr_multiaddr: in_addr(group),
                imr_interface: in_addr(address),
                imr_sourceaddr: in_addr(source),
            };
            let name = if join {
                libc::IP_ADD_SOURCE_MEMBERSHIP
            } else {
                libc::IP_DROP_SOURCE_MEMBERSHIP
            };
            set(fd, libc::SOL_IP, name, request)
        }
        (Family::V6, IpAddr::V6(_), IpAddr::V6(_), interface) => {
            source_by_index(fd, libc::SOL_IPV6, (group, source), index(interface)?, join)
        }
        _ => Err(Errno::EAFNOSUPPORT),
    }
}
