//! Multicast: membership, interfaces and options.

use std::ffi::{c_int, c_uint};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use uv_udp::{BindOptions, Family, Interface};

use super::access::udp_box;
use super::options::set;
use super::state::UdpBox;
use crate::address_text::{scope_id, split_scope};
use crate::pointers::{CPtr, CText};
use crate::results::{code, number};
use crate::types::uv_udp_t;

/// `uv_membership`.
const UV_LEAVE_GROUP: c_uint = 0;
const UV_JOIN_GROUP: c_uint = 1;

/// A numeric address, and the index of its scope or 0.
fn parse(ip: CText) -> Result<(IpAddr, u32), c_int> {
    let ip = ip.get().ok_or(-libc::EINVAL)?;
    if let Ok(ip) = ip.parse::<Ipv4Addr>() {
        return Ok((ip.into(), 0));
    }
    let (ip, scope) = split_scope(ip);
    let ip: Ipv6Addr = ip.parse().map_err(|_| -libc::EINVAL)?;
    Ok((ip.into(), scope.map_or(0, scope_id)))
}

/// The interface of libuv's `interface_addr`, and the family of that address.
///
/// IPv4 names an interface by its address, IPv6 by the scope of any address. Null means any
/// interface.
fn interface(address: CText) -> Result<(Interface, Option<Family>), c_int> {
    if address.is_null() {
        return Ok((Interface::Any, None));
    }
    Ok(match parse(address)? {
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), _) => (Interface::Any, Some(Family::V4)),
        (IpAddr::V4(address), _) => (Interface::Address(address), Some(Family::V4)),
        (IpAddr::V6(_), 0) => (Interface::Any, Some(Family::V6)),
        (IpAddr::V6(_), scope) => (Interface::Index(scope), Some(Family::V6)),
    })
}

/// Binds a handle without a socket to the wildcard address of the group's family.
fn make_socket(udp: &UdpBox, group: IpAddr) -> Result<(), c_int> {
    if udp.udp.with_fd(|_| ()).is_ok() {
        return Ok(());
    }
    let any = Family::of(&(group, 0).into()).unspecified();
    let options = BindOptions::default().reuse_address(true);
    udp.udp.bind_with((any, 0).into(), options).map_err(number)
}

fn change(
    udp: &UdpBox,
    group: CText,
    interface_addr: CText,
    source: Option<CText>,
    membership: c_uint,
) -> Result<(), c_int> {
    let (group, _) = parse(group)?;
    let source = source.map(parse).transpose()?;
    let (on, named) = interface(interface_addr)?;
    let family = Family::of(&(group, 0).into());
    let is_foreign = |ip: IpAddr| Family::of(&(ip, 0).into()) != family;
    if source.is_some_and(|(source, _)| is_foreign(source))
        || named.is_some_and(|named| named != family)
        || !matches!(membership, UV_JOIN_GROUP | UV_LEAVE_GROUP)
    {
        return Err(-libc::EINVAL);
    }
    make_socket(udp, group)?;
    let udp = &udp.udp;
    match (membership, source) {
        (UV_JOIN_GROUP, None) => udp.join_multicast(group, on),
        (UV_LEAVE_GROUP, None) => udp.leave_multicast(group, on),
        (UV_JOIN_GROUP, Some((source, _))) => udp.join_source(group, source, on),
        (UV_LEAVE_GROUP, Some((source, _))) => udp.leave_source(group, source, on),
        _ => return Err(-libc::EINVAL),
    }
    .map_err(number)
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_set_membership(
    handle: CPtr<uv_udp_t>,
    multicast_addr: CText,
    interface_addr: CText,
    membership: c_uint,
) -> c_int {
    code(
        udp_box(&handle)
            .and_then(|udp| change(udp, multicast_addr, interface_addr, None, membership)),
    )
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_set_source_membership(
    handle: CPtr<uv_udp_t>,
    multicast_addr: CText,
    interface_addr: CText,
    source_addr: CText,
    membership: c_uint,
) -> c_int {
    let source = Some(source_addr);
    code(
        udp_box(&handle)
            .and_then(|udp| change(udp, multicast_addr, interface_addr, source, membership)),
    )
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_set_multicast_loop(handle: CPtr<uv_udp_t>, on: c_int) -> c_int {
    set(handle, |udp| udp.options().set_multicast_loop(on != 0))
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_set_multicast_ttl(handle: CPtr<uv_udp_t>, ttl: c_int) -> c_int {
    match c_uint::try_from(ttl) {
        Ok(ttl @ 0..=255) => set(handle, |udp| udp.options().set_multicast_ttl(ttl)),
        _ => -libc::EINVAL,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_set_multicast_interface(
    handle: CPtr<uv_udp_t>,
    interface_addr: CText,
) -> c_int {
    code(udp_box(&handle).and_then(|udp| {
        let (interface, named) = interface(interface_addr)?;
        let own = udp.udp.local_addr().map(|local| Family::of(&local));
        // `Interface::Any` has no family, but its address does: libuv returns the kernel's
        // ENOPROTOOPT.
        if named.is_some_and(|named| own.is_ok_and(|own| own != named)) {
            return Err(-libc::ENOPROTOOPT);
        }
        udp.udp
            .options()
            .set_multicast_interface(interface)
            .map_err(number)
    }))
}
