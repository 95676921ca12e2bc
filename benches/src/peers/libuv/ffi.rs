//! The part of uv.h that the workloads call, written by hand. Every structure but `uv_buf_t` is
//! opaque; libuv returns their sizes, so one declaration fits every version.

use std::ffi::{c_char, c_int, c_uint, c_void};

/// Any handle: `uv_handle_t` and what begins like it.
#[repr(C)]
pub(super) struct Handle {
    _opaque: [u8; 0],
}

/// Any request: `uv_req_t` and what begins like it.
#[repr(C)]
pub(super) struct Request {
    _opaque: [u8; 0],
}

/// `uv_loop_t`.
#[repr(C)]
pub(super) struct Loop {
    _opaque: [u8; 0],
}

/// `uv_buf_t`, as Unix systems have it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Buf {
    pub(super) base: *mut c_char,
    pub(super) len: usize,
}

/// `uv_handle_type`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) enum HandleType {
    Async = 1,
    Check = 2,
    Idle = 6,
    Prepare = 9,
    Timer = 13,
    Udp = 15,
}

/// `uv_req_type`: a send request.
pub(super) const UDP_SEND: c_int = 5;
/// `uv_run_mode`: until no handle is active or the loop is stopped.
pub(super) const RUN_DEFAULT: c_int = 0;
/// `uv_udp_flags`: receive with recvmmsg.
pub(super) const UDP_RECVMMSG: c_uint = 256;

pub(super) type HandleCb = unsafe extern "C" fn(*mut Handle);
pub(super) type AllocCb = unsafe extern "C" fn(*mut Handle, usize, *mut Buf);
pub(super) type SendCb = unsafe extern "C" fn(*mut Request, c_int);
pub(super) type RecvCb =
    unsafe extern "C" fn(*mut Handle, isize, *const Buf, *const libc::sockaddr, c_uint);

unsafe extern "C" {
    pub(super) fn uv_version_string() -> *const c_char;
    pub(super) fn uv_loop_size() -> usize;
    pub(super) fn uv_handle_size(kind: HandleType) -> usize;
    pub(super) fn uv_req_size(kind: c_int) -> usize;

    pub(super) fn uv_loop_init(event_loop: *mut Loop) -> c_int;
    pub(super) fn uv_loop_close(event_loop: *mut Loop) -> c_int;
    pub(super) fn uv_run(event_loop: *mut Loop, mode: c_int) -> c_int;
    pub(super) fn uv_stop(event_loop: *mut Loop);
    pub(super) fn uv_walk(
        event_loop: *mut Loop,
        walk: unsafe extern "C" fn(*mut Handle, *mut c_void),
        argument: *mut c_void,
    );

    pub(super) fn uv_close(handle: *mut Handle, closed: Option<HandleCb>);
    pub(super) fn uv_is_closing(handle: *const Handle) -> c_int;
    pub(super) fn uv_handle_get_data(handle: *const Handle) -> *mut c_void;
    pub(super) fn uv_handle_set_data(handle: *mut Handle, data: *mut c_void);
    pub(super) fn uv_req_get_data(request: *const Request) -> *mut c_void;
    pub(super) fn uv_req_set_data(request: *mut Request, data: *mut c_void);

    pub(super) fn uv_udp_init_ex(
        event_loop: *mut Loop,
        handle: *mut Handle,
        flags: c_uint,
    ) -> c_int;
    pub(super) fn uv_udp_bind(
        handle: *mut Handle,
        address: *const libc::sockaddr_in,
        flags: c_uint,
    ) -> c_int;
    pub(super) fn uv_udp_connect(handle: *mut Handle, address: *const libc::sockaddr_in) -> c_int;
    pub(super) fn uv_udp_getsockname(
        handle: *const Handle,
        name: *mut libc::sockaddr_in,
        len: *mut c_int,
    ) -> c_int;
    pub(super) fn uv_udp_send(
        request: *mut Request,
        handle: *mut Handle,
        bufs: *const Buf,
        count: c_uint,
        address: *const libc::sockaddr_in,
        sent: SendCb,
    ) -> c_int;
    pub(super) fn uv_udp_try_send(
        handle: *mut Handle,
        bufs: *const Buf,
        count: c_uint,
        address: *const libc::sockaddr_in,
    ) -> c_int;
    pub(super) fn uv_udp_recv_start(handle: *mut Handle, alloc: AllocCb, recv: RecvCb) -> c_int;

    pub(super) fn uv_timer_init(event_loop: *mut Loop, handle: *mut Handle) -> c_int;
    pub(super) fn uv_timer_start(
        handle: *mut Handle,
        fired: HandleCb,
        timeout_ms: u64,
        repeat_ms: u64,
    ) -> c_int;
    pub(super) fn uv_async_init(
        event_loop: *mut Loop,
        handle: *mut Handle,
        woken: HandleCb,
    ) -> c_int;
    pub(super) fn uv_async_send(handle: *mut Handle) -> c_int;
    pub(super) fn uv_idle_init(event_loop: *mut Loop, handle: *mut Handle) -> c_int;
    pub(super) fn uv_idle_start(handle: *mut Handle, callback: HandleCb) -> c_int;
    pub(super) fn uv_prepare_init(event_loop: *mut Loop, handle: *mut Handle) -> c_int;
    pub(super) fn uv_prepare_start(handle: *mut Handle, callback: HandleCb) -> c_int;
    pub(super) fn uv_check_init(event_loop: *mut Loop, handle: *mut Handle) -> c_int;
    pub(super) fn uv_check_start(handle: *mut Handle, callback: HandleCb) -> c_int;
}
