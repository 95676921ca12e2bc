//! Where a handle is bound, and where it is connected.

use std::ffi::c_int;
use std::net::SocketAddr;

use libc::sockaddr;
use uv_udp::Udp;

use super::{code, number, udp_box};
use crate::address;
use crate::types::uv_udp_t;

/// # Safety
///
/// As the crate says, and as [`address::store`].
unsafe fn tell(
    handle: *const uv_udp_t,
    which: impl FnOnce(&Udp) -> uv_udp::Result<SocketAddr>,
    name: *mut sockaddr,
    namelen: *mut c_int,
) -> c_int {
    // SAFETY: as the caller vouches.
    code(unsafe {
        udp_box(handle).and_then(|udp| {
            let addr = which(&udp.udp).map_err(number)?;
            address::store(&addr, name, namelen)
        })
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_udp_getsockname(
    handle: *const uv_udp_t,
    name: *mut sockaddr,
    namelen: *mut c_int,
) -> c_int {
    // SAFETY: as the crate says.
    unsafe { tell(handle, Udp::local_addr, name, namelen) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_udp_getpeername(
    handle: *const uv_udp_t,
    name: *mut sockaddr,
    namelen: *mut c_int,
) -> c_int {
    // SAFETY: as the crate says.
    unsafe { tell(handle, Udp::peer_addr, name, namelen) }
}
