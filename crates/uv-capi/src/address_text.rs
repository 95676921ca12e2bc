//! Addresses as text, and buffer structures.

use std::ffi::{c_char, c_int, c_uint};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libc::{AF_INET, AF_INET6, sockaddr_in, sockaddr_in6};

use crate::address::{Address, v4, v6};
use crate::pointers::{CPtr, CText, IpOctets, OutBytes, OutPtr};
use crate::types::uv_buf_t;

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_buf_init(base: *mut c_char, len: c_uint) -> uv_buf_t {
    uv_buf_t {
        base,
        len: len.try_into().unwrap_or(usize::MAX),
    }
}

/// Splits an address from its "%scope".
pub(crate) fn split_scope(text: &str) -> (&str, Option<&str>) {
    text.split_once('%')
        .map_or((text, None), |(address, scope)| (address, Some(scope)))
}

/// The index of an interface that is given by name or by number; 0 if there is none, as in libuv.
pub(crate) fn scope_id(scope: &str) -> u32 {
    uv_sys::multicast::interface_index(scope)
        .ok()
        .or_else(|| scope.parse().ok())
        .unwrap_or(0)
}

/// The port's low 16 bits, as htons takes them.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "libuv truncates it in the same way"
)]
fn port_of(port: c_int) -> u16 {
    port as u16
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_ip4_addr(ip: CText, port: c_int, addr: OutPtr<sockaddr_in>) -> c_int {
    let parsed = ip.get().and_then(|ip| ip.parse::<Ipv4Addr>().ok());
    let ip = parsed.unwrap_or(Ipv4Addr::UNSPECIFIED);
    let stored = addr.store(v4(ip, port_of(port)));
    parsed.and(stored).map_or(-libc::EINVAL, |()| 0)
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_ip6_addr(ip: CText, port: c_int, addr: OutPtr<sockaddr_in6>) -> c_int {
    let (ip, scope) = split_scope(ip.get().unwrap_or(""));
    let parsed = ip.parse::<Ipv6Addr>().ok();
    let ip = parsed.unwrap_or(Ipv6Addr::UNSPECIFIED);
    let scope = scope.map_or(0, scope_id);
    let stored = addr.store(v6(ip, port_of(port), 0, scope));
    parsed.and(stored).map_or(-libc::EINVAL, |()| 0)
}

/// The text of inet_ntop(3): unlike Rust, it writes an embedded IPv4 address without `ffff`, too.
fn text_of(ip: IpAddr) -> String {
    match ip {
        IpAddr::V6(v6) => match v6.segments() {
            [0, 0, 0, 0, 0, 0, high, _] if high != 0 => {
                let [.., a, b, c, d] = v6.octets();
                format!("::{a}.{b}.{c}.{d}")
            }
            _ => ip.to_string(),
        },
        IpAddr::V4(_) => ip.to_string(),
    }
}

/// Stores the text of an address, with a NUL.
fn store(ip: IpAddr, mut dst: OutBytes, size: usize) -> c_int {
    let text = text_of(ip) + "\0";
    match dst.room(size) {
        None => -libc::EINVAL,
        Some(room) if text.len() > room.len() => -libc::ENOSPC,
        Some(room) => {
            room.write(text.as_bytes());
            0
        }
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_ip4_name(src: CPtr<sockaddr_in>, dst: OutBytes, size: usize) -> c_int {
    src.copied().map_or(-libc::EINVAL, |src| {
        let ip = Ipv4Addr::from(u32::from_be(src.sin_addr.s_addr));
        store(ip.into(), dst, size)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_ip6_name(src: CPtr<sockaddr_in6>, dst: OutBytes, size: usize) -> c_int {
    src.copied().map_or(-libc::EINVAL, |src| {
        store(Ipv6Addr::from(src.sin6_addr.s6_addr).into(), dst, size)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_ip_name(src: Address, dst: OutBytes, size: usize) -> c_int {
    match src.read() {
        Ok(addr) => store(addr.ip(), dst, size),
        Err(_) if src.is_null() => -libc::EINVAL,
        Err(_) => -libc::EAFNOSUPPORT,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_inet_ntop(af: c_int, src: IpOctets, dst: OutBytes, size: usize) -> c_int {
    match src.ip(af) {
        Ok(ip) => store(ip, dst, size),
        Err(error) => error,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_inet_pton(af: c_int, src: CText, mut dst: OutBytes) -> c_int {
    let parsed = src.get().and_then(|src| match af {
        AF_INET => src.parse().ok().map(IpAddr::V4),
        AF_INET6 => split_scope(src).0.parse().ok().map(IpAddr::V6),
        _ => None,
    });
    // The family determines the size of the destination.
    let stored = parsed.and_then(|ip| match ip {
        IpAddr::V4(ip) => Some(dst.room(4)?.write(&ip.octets())),
        IpAddr::V6(ip) => Some(dst.room(16)?.write(&ip.octets())),
    });
    match stored {
        Some(_) => 0,
        None if matches!(af, AF_INET | AF_INET6) || src.is_null() || dst.is_null() => -libc::EINVAL,
        None => -libc::EAFNOSUPPORT,
    }
}
