//! Functions of all requests.

use std::ffi::{CStr, c_char, c_uint};
use std::ptr;

use crate::handle::name_of;
use crate::pointers::{CPtr, UserData};
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
/// `UV_REQ`: the type of a request with the common members only.
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
pub extern "C" fn uvudp_req_get_type(req: CPtr<uv_req_t>) -> c_uint {
    req.get().map_or(0, |req| req.type_)
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_req_type_name(type_: c_uint) -> *const c_char {
    name_of(&NAMES, type_)
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_req_get_data(req: CPtr<uv_req_t>) -> UserData {
    let none = UserData::new(ptr::null_mut());
    req.get().map_or(none, |req| req.data.get())
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_req_set_data(req: CPtr<uv_req_t>, data: UserData) {
    if let Some(req) = req.get() {
        req.data.set(data);
    }
}
