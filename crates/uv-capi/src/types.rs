//! The structures of the header, member by member. A test compares the two.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU32};

use libc::sockaddr;

use crate::event_loop::LoopBox;
use crate::object::Object;

/// `uv_handle_type`: its values, for the types that can be made here.
pub const UV_ASYNC: c_uint = 1;
pub const UV_CHECK: c_uint = 2;
pub const UV_IDLE: c_uint = 6;
pub const UV_PREPARE: c_uint = 9;
pub const UV_TIMER: c_uint = 13;
pub const UV_UDP: c_uint = 15;
/// `uv_req_type`: the one that can be made here.
pub const UV_UDP_SEND: c_uint = 5;

pub type uv_close_cb = Option<unsafe extern "C" fn(*mut uv_handle_t)>;
pub type uv_walk_cb = Option<unsafe extern "C" fn(*mut uv_handle_t, *mut c_void)>;
pub type uv_alloc_cb = Option<unsafe extern "C" fn(*mut uv_handle_t, usize, *mut uv_buf_t)>;
pub type uv_async_cb = Option<unsafe extern "C" fn(*mut uv_async_t)>;
pub type uv_udp_send_cb = Option<unsafe extern "C" fn(*mut uv_udp_send_t, c_int)>;
pub type uv_udp_recv_cb =
    Option<unsafe extern "C" fn(*mut uv_udp_t, isize, *const uv_buf_t, *const sockaddr, c_uint)>;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct uv_buf_t {
    pub base: *mut c_char,
    pub len: usize,
}

impl uv_buf_t {
    pub(crate) const NONE: Self = Self {
        base: ptr::null_mut(),
        len: 0,
    };
}

#[repr(C)]
#[derive(Debug)]
pub struct uv_loop_t {
    pub data: *mut c_void,
    pub(crate) inner: *mut LoopBox,
    pub(crate) reserved: [*mut c_void; 6],
}

/// What every handle begins with.
#[repr(C)]
#[derive(Debug)]
pub struct uv_handle_t {
    pub data: *mut c_void,
    pub loop_: *mut uv_loop_t,
    pub type_: c_uint,
    pub(crate) close_cb: uv_close_cb,
    pub(crate) inner: *mut Object,
    pub(crate) reserved: [*mut c_void; 3],
}

/// Timers and hooks have nothing beside.
pub type uv_timer_t = uv_handle_t;

#[repr(C)]
#[derive(Debug)]
pub struct uv_async_t {
    pub(crate) base: uv_handle_t,
    pub(crate) async_cb: uv_async_cb,
    /// The descriptor that wakes the loop; -1 from `uv_close` on.
    pub(crate) wakeup: AtomicI32,
    /// Whether it was sent and the callback has not been called for it.
    pub(crate) pending: AtomicU32,
    /// How many threads are about to use `wakeup`.
    pub(crate) busy: AtomicU32,
}

#[repr(C)]
#[derive(Debug)]
pub struct uv_udp_t {
    pub(crate) base: uv_handle_t,
    pub send_queue_size: usize,
    pub send_queue_count: usize,
    pub(crate) more: [*mut c_void; 2],
}

/// What every request begins with.
#[repr(C)]
#[derive(Debug)]
pub struct uv_req_t {
    pub data: *mut c_void,
    pub type_: c_uint,
    pub(crate) reserved: [*mut c_void; 2],
}

#[repr(C)]
#[derive(Debug)]
pub struct uv_udp_send_t {
    pub(crate) base: uv_req_t,
    pub handle: *mut uv_udp_t,
    pub(crate) cb: uv_udp_send_cb,
    /// What the request adds to the handle's `send_queue_size`.
    pub(crate) bytes: usize,
}
