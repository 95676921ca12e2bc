//! Where a handle is bound, and where it is connected.

use std::cell::Cell;
use std::ffi::c_int;
use std::net::SocketAddr;

use uv_udp::Udp;

use super::{code, number, udp_box};
use crate::address;
use crate::pointers::{Bytes, Given};
use crate::types::uv_udp_t;

fn store(
    handle: Given<uv_udp_t>,
    which: impl FnOnce(&Udp) -> uv_udp::Result<SocketAddr>,
    name: Bytes,
    namelen: Given<Cell<c_int>>,
) -> c_int {
    code(udp_box(&handle).and_then(|udp| {
        let addr = which(&udp.udp).map_err(number)?;
        address::store(&addr, name, namelen)
    }))
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_getsockname(
    handle: Given<uv_udp_t>,
    name: Bytes,
    namelen: Given<Cell<c_int>>,
) -> c_int {
    store(handle, Udp::local_addr, name, namelen)
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_getpeername(
    handle: Given<uv_udp_t>,
    name: Bytes,
    namelen: Given<Cell<c_int>>,
) -> c_int {
    store(handle, Udp::peer_addr, name, namelen)
}
