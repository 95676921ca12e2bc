//! Socket addresses in C and in Rust.

use std::cell::Cell;
use std::ffi::c_int;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::slice;

use libc::{AF_INET, AF_INET6, sa_family_t, sockaddr, sockaddr_in, sockaddr_in6};

use crate::pointers::{CPtr, OutBytes};

/// Null, or a socket address of the length that belongs to its family.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Address(*const sockaddr);

impl Address {
    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    pub(crate) fn family(self) -> Option<c_int> {
        // SAFETY: the promise of the type; every socket address begins with its family.
        let family = || unsafe { (&raw const (*self.0).sa_family).read_unaligned() };
        (!self.0.is_null()).then(|| family().into())
    }

    /// The address.
    ///
    /// # Errors
    ///
    /// `EINVAL` for null, and for a family other than IPv4 and IPv6.
    #[inline]
    pub(crate) fn read(self) -> Result<SocketAddr, c_int> {
        match self.family() {
            Some(AF_INET) => {
                // SAFETY: the promise of the type, whose family was just read.
                let addr = unsafe { self.0.cast::<sockaddr_in>().read_unaligned() };
                let ip = Ipv4Addr::from(u32::from_be(addr.sin_addr.s_addr));
                Ok(SocketAddrV4::new(ip, u16::from_be(addr.sin_port)).into())
            }
            Some(AF_INET6) => {
                // SAFETY: the promise of the type, whose family was just read.
                let addr = unsafe { self.0.cast::<sockaddr_in6>().read_unaligned() };
                let ip = Ipv6Addr::from(addr.sin6_addr.s6_addr);
                let (port, flow) = (u16::from_be(addr.sin6_port), addr.sin6_flowinfo);
                Ok(SocketAddrV6::new(ip, port, flow, addr.sin6_scope_id).into())
            }
            _ => Err(-libc::EINVAL),
        }
    }
}

/// An address in its C form.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Raw {
    V4(sockaddr_in),
    V6(sockaddr_in6),
}

impl Raw {
    pub(crate) fn as_ptr(&self) -> *const sockaddr {
        match self {
            Self::V4(addr) => (&raw const *addr).cast(),
            Self::V6(addr) => (&raw const *addr).cast(),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        let len = match self {
            Self::V4(_) => size_of::<sockaddr_in>(),
            Self::V6(_) => size_of::<sockaddr_in6>(),
        };
        // SAFETY: both consist of integers without padding, `len` bytes in total, borrowed with
        // `self`.
        unsafe { slice::from_raw_parts(self.as_ptr().cast(), len) }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the two families are 2 and 10"
)]
pub(crate) fn v4(ip: Ipv4Addr, port: u16) -> sockaddr_in {
    sockaddr_in {
        sin_family: AF_INET as sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(ip).to_be(),
        },
        sin_zero: [0; 8],
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the two families are 2 and 10"
)]
pub(crate) fn v6(ip: Ipv6Addr, port: u16, flow: u32, scope: u32) -> sockaddr_in6 {
    sockaddr_in6 {
        sin6_family: AF_INET6 as sa_family_t,
        sin6_port: port.to_be(),
        sin6_flowinfo: flow,
        sin6_addr: libc::in6_addr {
            s6_addr: ip.octets(),
        },
        sin6_scope_id: scope,
    }
}

impl From<&SocketAddr> for Raw {
    fn from(addr: &SocketAddr) -> Self {
        match addr {
            SocketAddr::V4(addr) => Self::V4(v4(*addr.ip(), addr.port())),
            SocketAddr::V6(addr) => {
                let (flow, scope) = (addr.flowinfo(), addr.scope_id());
                Self::V6(v6(*addr.ip(), addr.port(), flow, scope))
            }
        }
    }
}

/// Stores an address as getsockname(2) does: the bytes that fit, and the whole length in `len`.
pub(crate) fn store(
    addr: &SocketAddr,
    mut name: OutBytes,
    len: CPtr<Cell<c_int>>,
) -> Result<(), c_int> {
    let len = len.get().ok_or(-libc::EINVAL)?;
    let room = usize::try_from(len.get()).map_err(|_| -libc::EINVAL)?;
    let raw = Raw::from(addr);
    let bytes = raw.as_bytes();
    name.room(room).ok_or(-libc::EINVAL)?.write(bytes);
    len.set(bytes.len().try_into().unwrap_or(c_int::MAX));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_way_to_c_and_back() {
        for text in ["192.0.2.1:7", "[2001:db8::1%3]:65535", "0.0.0.0:0"] {
            let addr: SocketAddr = text.parse().unwrap();
            let raw = Raw::from(&addr);
            assert_eq!(Address(raw.as_ptr()).read(), Ok(addr));
        }
    }
}
