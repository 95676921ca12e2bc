//! What every handle can be asked.

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::os::fd::AsRawFd;
use std::ptr;

use crate::closing::close;
use crate::object::{Kind, object, open};
use crate::pointers::{Given, Room, UserData};
use crate::types::{
    UV_ASYNC, UV_CHECK, UV_IDLE, UV_PREPARE, UV_TIMER, UV_UDP, uv_async_t, uv_close_cb,
    uv_handle_t, uv_loop_t, uv_udp_t,
};

/// The name of each type, by its number.
const NAMES: [&CStr; 18] = [
    c"",
    c"async",
    c"check",
    c"fs_event",
    c"fs_poll",
    c"handle",
    c"idle",
    c"pipe",
    c"poll",
    c"prepare",
    c"process",
    c"stream",
    c"tcp",
    c"timer",
    c"tty",
    c"udp",
    c"signal",
    c"file",
];

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_close(handle: Given<uv_handle_t>, close_cb: uv_close_cb) {
    if let Some(kind) = open(&handle) {
        close(handle, kind, close_cb);
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_is_closing(handle: Given<uv_handle_t>) -> c_int {
    open(&handle).is_none().into()
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_is_active(handle: Given<uv_handle_t>) -> c_int {
    object(&handle).map_or(0, |object| object.kind.is_active().into())
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_ref(handle: Given<uv_handle_t>) {
    if let Some(object) = object(&handle) {
        object.kind.set_ref(true);
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_unref(handle: Given<uv_handle_t>) {
    if let Some(object) = object(&handle) {
        object.kind.set_ref(false);
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_has_ref(handle: Given<uv_handle_t>) -> c_int {
    object(&handle).map_or(0, |object| object.kind.has_ref().into())
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_fileno(handle: Given<uv_handle_t>, fd: Room<c_int>) -> c_int {
    let Some(type_) = handle.get().map(|handle| handle.type_) else {
        return -libc::EINVAL;
    };
    if type_ != UV_UDP || fd.is_null() {
        return -libc::EINVAL;
    }
    let Some(Kind::Udp(udp)) = open(&handle) else {
        return -libc::EBADF;
    };
    match udp.udp.with_fd(|fd| fd.as_raw_fd()) {
        Ok(number) => {
            fd.store(number);
            0
        }
        Err(error) => -error.raw(),
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_handle_size(type_: c_uint) -> usize {
    match type_ {
        UV_UDP => size_of::<uv_udp_t>(),
        UV_ASYNC => size_of::<uv_async_t>(),
        UV_TIMER | UV_IDLE | UV_PREPARE | UV_CHECK => size_of::<uv_handle_t>(),
        _ => usize::MAX,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_handle_get_type(handle: Given<uv_handle_t>) -> c_uint {
    handle.get().map_or(0, |handle| handle.type_)
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_handle_type_name(type_: c_uint) -> *const c_char {
    name_of(&NAMES, type_)
}

/// The name with this number; null for none.
pub(crate) fn name_of(names: &[&'static CStr], number: c_uint) -> *const c_char {
    usize::try_from(number)
        .ok()
        .and_then(|number| names.get(number))
        .filter(|name| !name.is_empty())
        .map_or(ptr::null(), |name| name.as_ptr())
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_handle_get_data(handle: Given<uv_handle_t>) -> UserData {
    let none = UserData::new(ptr::null_mut());
    handle.get().map_or(none, |handle| handle.data.get())
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_handle_set_data(handle: Given<uv_handle_t>, data: UserData) {
    if let Some(handle) = handle.get() {
        handle.data.set(data);
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_handle_get_loop(handle: Given<uv_handle_t>) -> Given<uv_loop_t> {
    handle.get().map_or(Given::NULL, |handle| handle.loop_)
}
