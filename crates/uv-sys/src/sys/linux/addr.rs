//! Socket addresses in the kernel's layout.

use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// An IPv4 or IPv6 socket address. Every byte is always initialised: constructors zero unused ones,
/// and the kernel only writes.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) union RawAddr {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl RawAddr {
    /// Bytes of the union, the initial msg_namelen.
    pub(crate) const SIZE: libc::socklen_t = mem::size_of::<RawAddr>() as libc::socklen_t;

    const ZERO: libc::sockaddr_in6 = libc::sockaddr_in6 {
        sin6_family: libc::AF_UNSPEC as libc::sa_family_t,
        sin6_port: 0,
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
        sin6_scope_id: 0,
    };

    #[inline]
    pub(crate) const fn zeroed() -> RawAddr {
        RawAddr { v6: Self::ZERO }
    }

    /// Encodes an address, and returns its length for the kernel.
    #[inline]
    pub(crate) fn encode(address: &SocketAddr) -> (RawAddr, libc::socklen_t) {
        let mut raw = RawAddr::zeroed();
        let len = raw.set(address);
        (raw, len)
    }

    /// Overwrites the address in place, and returns its length.
    #[inline]
    pub(crate) fn set(&mut self, address: &SocketAddr) -> libc::socklen_t {
        match address {
            SocketAddr::V4(v4) => {
                self.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: u32::from_ne_bytes(v4.ip().octets()),
                    },
                    sin_zero: [0; 8],
                };
                mem::size_of::<libc::sockaddr_in>() as libc::socklen_t
            }
            SocketAddr::V6(v6) => {
                self.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    // In the caller's byte order, as in the standard library.
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr {
                        s6_addr: v6.ip().octets(),
                    },
                    sin6_scope_id: v6.scope_id(),
                };
                mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t
            }
        }
    }

    /// Decodes the first `len` bytes; `None` for another family or too few bytes.
    #[inline]
    pub(crate) fn decode(&self, len: libc::socklen_t) -> Option<SocketAddr> {
        let len = len as usize;
        // SAFETY: every byte is initialised, and a sockaddr_in consists of integers.
        let v4 = unsafe { self.v4 };
        match i32::from(v4.sin_family) {
            libc::AF_INET if len >= mem::size_of::<libc::sockaddr_in>() => {
                Some(SocketAddr::V4(SocketAddrV4::new(
                    Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes()),
                    u16::from_be(v4.sin_port),
                )))
            }
            libc::AF_INET6 if len >= mem::size_of::<libc::sockaddr_in6>() => {
                // SAFETY: every byte is initialised, and a sockaddr_in6 consists of integers.
                let v6 = unsafe { self.v6 };
                Some(SocketAddr::V6(SocketAddrV6::new(
                    Ipv6Addr::from(v6.sin6_addr.s6_addr),
                    u16::from_be(v6.sin6_port),
                    v6.sin6_flowinfo,
                    v6.sin6_scope_id,
                )))
            }
            _ => None,
        }
    }

    /// The address with the padding that some options require.
    pub(crate) fn storage(&self) -> libc::sockaddr_storage {
        let mut storage = mem::MaybeUninit::<libc::sockaddr_storage>::zeroed();
        // SAFETY: every byte of `self` is initialised. `storage` is larger and consists of
        // integers, so any bytes are valid.
        unsafe {
            storage.as_mut_ptr().cast::<RawAddr>().write(*self);
            storage.assume_init()
        }
    }

    pub(crate) fn as_ptr(&self) -> *const libc::sockaddr {
        std::ptr::from_ref(self).cast()
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        std::ptr::from_mut(self).cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decoding_returns_the_encoded_address(
            ip in any::<std::net::IpAddr>(),
            port in any::<u16>(),
            flowinfo in any::<u32>(),
            scope_id in any::<u32>(),
        ) {
            let mut address = SocketAddr::new(ip, port);
            if let SocketAddr::V6(v6) = &mut address {
                v6.set_flowinfo(flowinfo);
                v6.set_scope_id(scope_id);
            }
            let (raw, len) = RawAddr::encode(&address);
            prop_assert_eq!(raw.decode(len), Some(address));
            prop_assert_eq!(raw.decode(RawAddr::SIZE), Some(address));
            prop_assert_eq!(raw.decode(len - 1), None);
            prop_assert_eq!(raw.decode(0), None);
        }
    }

    #[test]
    fn set_overwrites_the_former_address() {
        let v6 = SocketAddr::from(([0xffff; 8], 0xffff));
        let v4 = SocketAddr::from(([127, 0, 0, 1], 9));
        let (mut raw, _) = RawAddr::encode(&v6);
        let len = raw.set(&v4);
        assert_eq!(raw.decode(len), Some(v4));
        assert_eq!(RawAddr::zeroed().decode(RawAddr::SIZE), None);
    }
}
