//! Functions of all handles.

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::os::fd::AsRawFd;
use std::ptr;

use crate::handle_box::{Kind, handle_box, open};
use crate::lifecycle::close;
use crate::pointers::{CPtr, OutPtr, UserData};
use crate::results::number;
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
pub extern "C" fn uvudp_close(handle: CPtr<uv_handle_t>, close_cb: uv_close_cb) {
    if let Some(kind) = open(&handle) {
        close(handle, kind, close_cb);
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_is_closing(handle: CPtr<uv_handle_t>) -> c_int {
    open(&handle).is_none().into()
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_is_active(handle: CPtr<uv_handle_t>) -> c_int {
    handle_box(&handle).map_or(0, |boxed| boxed.kind.is_active().into())
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_ref(handle: CPtr<uv_handle_t>) {
    if let Some(boxed) = handle_box(&handle) {
        boxed.kind.set_ref(true);
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_unref(handle: CPtr<uv_handle_t>) {
    if let Some(boxed) = handle_box(&handle) {
        boxed.kind.set_ref(false);
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_has_ref(handle: CPtr<uv_handle_t>) -> c_int {
    handle_box(&handle).map_or(0, |boxed| boxed.kind.has_ref().into())
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_fileno(handle: CPtr<uv_handle_t>, fd: OutPtr<c_int>) -> c_int {
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
        Err(error) => number(error),
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
pub extern "C" fn uvudp_handle_get_type(handle: CPtr<uv_handle_t>) -> c_uint {
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
pub extern "C" fn uvudp_handle_get_data(handle: CPtr<uv_handle_t>) -> UserData {
    let none = UserData::new(ptr::null_mut());
    handle.get().map_or(none, |handle| handle.data.get())
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_handle_set_data(handle: CPtr<uv_handle_t>, data: UserData) {
    if let Some(handle) = handle.get() {
        handle.data.set(data);
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_handle_get_loop(handle: CPtr<uv_handle_t>) -> CPtr<uv_loop_t> {
    handle.get().map_or(CPtr::NULL, |handle| handle.loop_)
}
