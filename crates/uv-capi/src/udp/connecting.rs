//! Connecting and disconnecting, in the proposal's form and in libuv 1.x's.

use std::ffi::c_int;

use libc::sockaddr;

use super::{UdpBox, code, number, udp_box};
use crate::address;
use crate::types::uv_udp_t;

/// Gives the handle a peer, in the place of the one it may have.
///
/// # Safety
///
/// As [`address::read`].
unsafe fn connect(udp: &UdpBox, addr: *const sockaddr) -> Result<(), c_int> {
    // SAFETY: as the caller vouches.
    let peer = unsafe { address::read(addr) }?;
    let connected = udp.udp.connect(peer);
    // Also after an error: the old peer may be gone.
    udp.receiver.peer_changed();
    connected.map_err(number)
}

fn disconnect(udp: &UdpBox) -> Result<(), c_int> {
    let disconnected = udp.udp.disconnect();
    udp.receiver.peer_changed();
    disconnected.map_err(number)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_udp_connect(handle: *mut uv_udp_t, addr: *const sockaddr) -> c_int {
    // SAFETY: as the crate says.
    code(unsafe { udp_box(handle).and_then(|udp| connect(udp, addr)) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_udp_disconnect(handle: *mut uv_udp_t) -> c_int {
    // SAFETY: as the crate says.
    code(unsafe { udp_box(handle) }.and_then(disconnect))
}

/// libuv 1.x's `uv_udp_connect`: null disconnects, and a handle that is connected must do so first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_v1_udp_connect(
    handle: *mut uv_udp_t,
    addr: *const sockaddr,
) -> c_int {
    if addr.is_null() {
        // SAFETY: as the crate says.
        return unsafe { uvudp_udp_disconnect(handle) };
    }
    // SAFETY: as the crate says.
    code(unsafe {
        udp_box(handle).and_then(|udp| {
            // Before the handle's state, as in libuv.
            address::read(addr)?;
            if udp.udp.is_connected() {
                return Err(-libc::EISCONN);
            }
            connect(udp, addr)
        })
    })
}
