//! Addresses as text, and buffers.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::net::{Ipv4Addr, Ipv6Addr};

use libc::{AF_INET, AF_INET6, sockaddr, sockaddr_in, sockaddr_in6};

use crate::address::{v4, v6};
use crate::types::uv_buf_t;

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_buf_init(base: *mut c_char, len: c_uint) -> uv_buf_t {
    uv_buf_t {
        base,
        len: len.try_into().unwrap_or(usize::MAX),
    }
}

/// The text at `text`, if it can be an address at all.
///
/// # Safety
///
/// `text` is null or a string, which is not changed while the answer is used.
pub(crate) unsafe fn text<'a>(text: *const c_char) -> Option<&'a str> {
    if text.is_null() {
        return None;
    }
    // SAFETY: as the caller vouches.
    unsafe { CStr::from_ptr(text) }.to_str().ok()
}

/// Cuts "%scope" off.
pub(crate) fn split_scope(text: &str) -> (&str, Option<&str>) {
    text.split_once('%')
        .map_or((text, None), |(address, scope)| (address, Some(scope)))
}

/// The number of an interface that is given by name or by number; 0 if there is none, as in libuv.
pub(crate) fn scope_id(scope: &str) -> u32 {
    uv_sys::interface_index(scope)
        .ok()
        .or_else(|| scope.parse().ok())
        .unwrap_or(0)
}

/// The port's low 16 bits, as htons takes them.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "that is what libuv does with it"
)]
fn port_of(port: c_int) -> u16 {
    port as u16
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_ip4_addr(
    ip: *const c_char,
    port: c_int,
    addr: *mut sockaddr_in,
) -> c_int {
    if addr.is_null() {
        return -libc::EINVAL;
    }
    // SAFETY: as the crate says.
    let parsed = unsafe { text(ip) }.and_then(|ip| ip.parse::<Ipv4Addr>().ok());
    let ip = parsed.unwrap_or(Ipv4Addr::UNSPECIFIED);
    // SAFETY: the caller gives room for an address.
    unsafe { addr.write_unaligned(v4(ip, port_of(port))) };
    parsed.map_or(-libc::EINVAL, |_| 0)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_ip6_addr(
    ip: *const c_char,
    port: c_int,
    addr: *mut sockaddr_in6,
) -> c_int {
    if addr.is_null() {
        return -libc::EINVAL;
    }
    // SAFETY: as the crate says.
    let (ip, scope) = split_scope(unsafe { text(ip) }.unwrap_or(""));
    let parsed = ip.parse::<Ipv6Addr>().ok();
    let ip = parsed.unwrap_or(Ipv6Addr::UNSPECIFIED);
    let scope = scope.map_or(0, scope_id);
    // SAFETY: the caller gives room for an address.
    unsafe { addr.write_unaligned(v6(ip, port_of(port), 0, scope)) };
    parsed.map_or(-libc::EINVAL, |_| 0)
}

/// Stores a string and its NUL.
///
/// # Safety
///
/// `dst` is null or has room for `size` bytes.
unsafe fn store(text: &str, dst: *mut c_char, size: usize) -> c_int {
    if dst.is_null() {
        return -libc::EINVAL;
    }
    if text.len() >= size {
        return -libc::ENOSPC;
    }
    // SAFETY: there is room for the text and one byte more.
    unsafe {
        dst.cast::<u8>()
            .copy_from_nonoverlapping(text.as_ptr(), text.len())
    };
    // SAFETY: as above.
    unsafe { dst.add(text.len()).write(0) };
    0
}

/// What inet_ntop(3) makes of an address: unlike Rust it shows an embedded IPv4 address also without `ffff`.
fn v6_text(ip: Ipv6Addr) -> String {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => {
            let [.., a, b, c, d] = ip.octets();
            format!("::{a}.{b}.{c}.{d}")
        }
        _ => ip.to_string(),
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_ip4_name(
    src: *const sockaddr_in,
    dst: *mut c_char,
    size: usize,
) -> c_int {
    if src.is_null() {
        return -libc::EINVAL;
    }
    // SAFETY: the caller vouches for `src`; a member's address is taken without reading it.
    unsafe { uvudp_inet_ntop(AF_INET, (&raw const (*src).sin_addr).cast(), dst, size) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_ip6_name(
    src: *const sockaddr_in6,
    dst: *mut c_char,
    size: usize,
) -> c_int {
    if src.is_null() {
        return -libc::EINVAL;
    }
    // SAFETY: the caller vouches for `src`; a member's address is taken without reading it.
    unsafe { uvudp_inet_ntop(AF_INET6, (&raw const (*src).sin6_addr).cast(), dst, size) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_ip_name(
    src: *const sockaddr,
    dst: *mut c_char,
    size: usize,
) -> c_int {
    if src.is_null() {
        return -libc::EINVAL;
    }
    // SAFETY: every socket address begins with its family, and is what that says.
    unsafe {
        match c_int::from((*src).sa_family) {
            AF_INET => uvudp_ip4_name(src.cast(), dst, size),
            AF_INET6 => uvudp_ip6_name(src.cast(), dst, size),
            _ => -libc::EAFNOSUPPORT,
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_inet_ntop(
    af: c_int,
    src: *const c_void,
    dst: *mut c_char,
    size: usize,
) -> c_int {
    if src.is_null() {
        return -libc::EINVAL;
    }
    let text = match af {
        // SAFETY: the family says how many bytes the caller's address has.
        AF_INET => Ipv4Addr::from(unsafe { src.cast::<[u8; 4]>().read() }).to_string(),
        // SAFETY: the family says how many bytes the caller's address has.
        AF_INET6 => v6_text(Ipv6Addr::from(unsafe { src.cast::<[u8; 16]>().read() })),
        _ => return -libc::EAFNOSUPPORT,
    };
    // SAFETY: the caller gives `size` bytes of room.
    unsafe { store(&text, dst, size) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_inet_pton(af: c_int, src: *const c_char, dst: *mut c_void) -> c_int {
    // SAFETY: as the crate says.
    let (Some(src), false) = (unsafe { text(src) }, dst.is_null()) else {
        return -libc::EINVAL;
    };
    match af {
        AF_INET => match src.parse::<Ipv4Addr>() {
            // SAFETY: the family says how much room the caller gives.
            Ok(ip) => unsafe { dst.cast::<[u8; 4]>().write(ip.octets()) },
            Err(_) => return -libc::EINVAL,
        },
        AF_INET6 => match split_scope(src).0.parse::<Ipv6Addr>() {
            // SAFETY: the family says how much room the caller gives.
            Ok(ip) => unsafe { dst.cast::<[u8; 16]>().write(ip.octets()) },
            Err(_) => return -libc::EINVAL,
        },
        _ => return -libc::EAFNOSUPPORT,
    }
    0
}
