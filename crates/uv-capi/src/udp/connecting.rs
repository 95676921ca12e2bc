//! Connecting and disconnecting, in the proposal's form and in libuv 1.x's.

use std::ffi::c_int;
use std::net::SocketAddr;

use super::access::udp_box;
use super::state::UdpBox;
use crate::address::Address;
use crate::pointers::CPtr;
use crate::results::{code, number};
use crate::types::uv_udp_t;

/// Connects to a peer, in place of the current one.
fn connect(udp: &UdpBox, peer: SocketAddr) -> Result<(), c_int> {
    let connected = udp.udp.connect(peer);
    // After an error, too: the handle may have lost its old peer.
    udp.peer_changed();
    connected.map_err(number)
}

fn disconnect(udp: &UdpBox) -> Result<(), c_int> {
    let disconnected = udp.udp.disconnect();
    udp.peer_changed();
    disconnected.map_err(number)
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_connect(handle: CPtr<uv_udp_t>, addr: Address) -> c_int {
    code(udp_box(&handle).and_then(|udp| connect(udp, addr.read()?)))
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_disconnect(handle: CPtr<uv_udp_t>) -> c_int {
    code(udp_box(&handle).and_then(disconnect))
}

/// libuv 1.x's `uv_udp_connect`: null disconnects, and a connected handle is refused.
#[unsafe(no_mangle)]
pub extern "C" fn uvudp_v1_udp_connect(handle: CPtr<uv_udp_t>, addr: Address) -> c_int {
    if addr.is_null() {
        return uvudp_udp_disconnect(handle);
    }
    code(udp_box(&handle).and_then(|udp| {
        // Checked before the state of the handle, as in libuv.
        let peer = addr.read()?;
        if udp.udp.is_connected() {
            return Err(-libc::EISCONN);
        }
        connect(udp, peer)
    }))
}
