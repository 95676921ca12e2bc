//! Groups, and how what is sent to them goes.

use std::ffi::{c_int, c_uint};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use uv_udp::{BindOptions, Family, Interface};

use super::options::set;
use super::state::UdpBox;
use super::{code, number, udp_box};
use crate::names::{scope_id, split_scope};
use crate::pointers::{Given, Text};
use crate::types::uv_udp_t;

/// `uv_membership`.
const UV_LEAVE_GROUP: c_uint = 0;
const UV_JOIN_GROUP: c_uint = 1;

/// A numeric address, with the interface it may name.
fn parse(ip: Text) -> Result<(IpAddr, u32), c_int> {
    let ip = ip.get().ok_or(-libc::EINVAL)?;
    if let Ok(ip) = ip.parse::<Ipv4Addr>() {
        return Ok((ip.into(), 0));
    }
    let (ip, scope) = split_scope(ip);
    let ip: Ipv6Addr = ip.parse().map_err(|_| -libc::EINVAL)?;
    Ok((ip.into(), scope.map_or(0, scope_id)))
}

/// The interface that libuv's callers mean: an IPv4 one by its address, an IPv6 one by the scope of any address, and null
/// for any; and the family of that address.
fn interface(address: Text) -> Result<(Interface, Option<Family>), c_int> {
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

/// A handle without a socket gets one of the group's family, on a port of the kernel's choice.
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
    group: Text,
    interface_addr: Text,
    source: Option<Text>,
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
    handle: Given<uv_udp_t>,
    multicast_addr: Text,
    interface_addr: Text,
    membership: c_uint,
) -> c_int {
    code(
        udp_box(&handle)
            .and_then(|udp| change(udp, multicast_addr, interface_addr, None, membership)),
    )
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_set_source_membership(
    handle: Given<uv_udp_t>,
    multicast_addr: Text,
    interface_addr: Text,
    source_addr: Text,
    membership: c_uint,
) -> c_int {
    let source = Some(source_addr);
    code(
        udp_box(&handle)
            .and_then(|udp| change(udp, multicast_addr, interface_addr, source, membership)),
    )
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_set_multicast_loop(handle: Given<uv_udp_t>, on: c_int) -> c_int {
    set(handle, |udp| udp.options().set_multicast_loop(on != 0))
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_set_multicast_ttl(handle: Given<uv_udp_t>, ttl: c_int) -> c_int {
    match c_uint::try_from(ttl) {
        Ok(ttl @ 0..=255) => set(handle, |udp| udp.options().set_multicast_ttl(ttl)),
        _ => -libc::EINVAL,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_set_multicast_interface(
    handle: Given<uv_udp_t>,
    interface_addr: Text,
) -> c_int {
    code(udp_box(&handle).and_then(|udp| {
        let (interface, named) = interface(interface_addr)?;
        let own = udp.udp.local_addr().map(|local| Family::of(&local));
        // "Any" is of no family, but the address that said so is: the kernel's answer to libuv.
        if named.is_some_and(|named| own.is_ok_and(|own| own != named)) {
            return Err(-libc::ENOPROTOOPT);
        }
        udp.udp
            .options()
            .set_multicast_interface(interface)
            .map_err(number)
    }))
}
