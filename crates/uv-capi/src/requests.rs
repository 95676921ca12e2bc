//! What every request can be asked.

use std::ffi::{CStr, c_char, c_uint, c_void};
use std::ptr;

use crate::handle::name_of;
use crate::types::{UV_UDP_SEND, uv_req_t, uv_udp_send_t};

/// The name of each type, by its number.
const NAMES: [&CStr; 11] = [
    c"",
    c"req",
    c"connect",
    c"write",
    c"shutdown",
    c"udp_send",
    c"fs",
    c"work",
    c"getaddrinfo",
    c"getnameinfo",
    c"random",
];
/// `UV_REQ`: what has the members that all requests have.
pub(crate) const UV_REQ: c_uint = 1;

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_req_size(type_: c_uint) -> usize {
    match type_ {
        UV_REQ => size_of::<uv_req_t>(),
        UV_UDP_SEND => size_of::<uv_udp_send_t>(),
        _ => usize::MAX,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_req_get_type(req: *const uv_req_t) -> c_uint {
    // SAFETY: as the crate says.
    unsafe { req.as_ref() }.map_or(0, |req| req.type_)
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_req_type_name(type_: c_uint) -> *const c_char {
    name_of(&NAMES, type_)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_req_get_data(req: *const uv_req_t) -> *mut c_void {
    // SAFETY: as the crate says.
    unsafe { req.as_ref() }.map_or(ptr::null_mut(), |req| req.data)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_req_set_data(req: *mut uv_req_t, data: *mut c_void) {
    if !req.is_null() {
        // SAFETY: as the crate says.
        unsafe { (*req).data = data };
    }
}
