//! Connecting and disconnecting, in the proposal's form and in libuv 1.x's.

use std::ffi::c_int;
use std::net::SocketAddr;

use super::state::UdpBox;
use super::{code, number, udp_box};
use crate::address::Address;
use crate::pointers::Given;
use crate::types::uv_udp_t;

/// Gives the handle a peer, in the place of the one it may have.
fn connect(udp: &UdpBox, peer: SocketAddr) -> Result<(), c_int> {
    let connected = udp.udp.connect(peer);
    // Also after an error: the old peer may be gone.
    udp.peer_changed();
    connected.map_err(number)
}

fn disconnect(udp: &UdpBox) -> Result<(), c_int> {
    let disconnected = udp.udp.disconnect();
    udp.peer_changed();
    disconnected.map_err(number)
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_connect(handle: Given<uv_udp_t>, addr: Address) -> c_int {
    code(udp_box(&handle).and_then(|udp| connect(udp, addr.read()?)))
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_disconnect(handle: Given<uv_udp_t>) -> c_int {
    code(udp_box(&handle).and_then(disconnect))
}

/// libuv 1.x's `uv_udp_connect`: null disconnects, and a handle that is connected must do so first.
#[unsafe(no_mangle)]
pub extern "C" fn uvudp_v1_udp_connect(handle: Given<uv_udp_t>, addr: Address) -> c_int {
    if addr.is_null() {
        return uvudp_udp_disconnect(handle);
    }
    code(udp_box(&handle).and_then(|udp| {
        // Before the handle's state, as in libuv.
        let peer = addr.read()?;
        if udp.udp.is_connected() {
            return Err(-libc::EISCONN);
        }
        connect(udp, peer)
    }))
}
