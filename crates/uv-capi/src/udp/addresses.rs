//! The local address and the peer of a handle.

use std::cell::Cell;
use std::ffi::c_int;
use std::net::SocketAddr;

use uv_udp::Udp;

use super::access::udp_box;
use crate::address;
use crate::pointers::{CPtr, OutBytes};
use crate::results::{code, number};
use crate::types::uv_udp_t;

fn store(
    handle: CPtr<uv_udp_t>,
    which: impl FnOnce(&Udp) -> uv_udp::Result<SocketAddr>,
    name: OutBytes,
    namelen: CPtr<Cell<c_int>>,
) -> c_int {
    code(udp_box(&handle).and_then(|udp| {
        let addr = which(&udp.udp).map_err(number)?;
        address::store(&addr, name, namelen)
    }))
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_getsockname(
    handle: CPtr<uv_udp_t>,
    name: OutBytes,
    namelen: CPtr<Cell<c_int>>,
) -> c_int {
    store(handle, Udp::local_addr, name, namelen)
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_getpeername(
    handle: CPtr<uv_udp_t>,
    name: OutBytes,
    namelen: CPtr<Cell<c_int>>,
) -> c_int {
    store(handle, Udp::peer_addr, name, namelen)
}
