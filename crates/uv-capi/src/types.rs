//! The structures of the header, member by member. A test compares the two.
//!
//! Members are cells, because the program has pointers of its own to them and writes through those between calls.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU32};

use libc::sockaddr;

use crate::pointers::{CPtr, CStruct, UserData};

/// Values of `uv_handle_type` for the types that this library implements.
pub const UV_ASYNC: c_uint = 1;
pub const UV_CHECK: c_uint = 2;
pub const UV_IDLE: c_uint = 6;
pub const UV_PREPARE: c_uint = 9;
pub const UV_TIMER: c_uint = 13;
pub const UV_UDP: c_uint = 15;
/// The value of `uv_req_type` that this library implements.
pub const UV_UDP_SEND: c_uint = 5;

pub type uv_close_cb = Option<unsafe extern "C" fn(CPtr<uv_handle_t>)>;
pub type uv_walk_cb = Option<unsafe extern "C" fn(CPtr<uv_handle_t>, *mut c_void)>;
pub type uv_alloc_cb = Option<unsafe extern "C" fn(CPtr<uv_handle_t>, usize, *mut uv_buf_t)>;
pub type uv_async_cb = Option<unsafe extern "C" fn(CPtr<uv_async_t>)>;
pub type uv_udp_send_cb = Option<unsafe extern "C" fn(CPtr<uv_udp_send_t>, c_int)>;
pub type uv_udp_recv_cb =
    Option<unsafe extern "C" fn(CPtr<uv_udp_t>, isize, *const uv_buf_t, *const sockaddr, c_uint)>;

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
    pub data: Cell<UserData>,
    /// The box of the loop: see `loop_box.rs`.
    pub(crate) inner: Cell<*mut c_void>,
    pub(crate) reserved: [*mut c_void; 6],
}

/// The common first members of all handles.
#[repr(C)]
#[derive(Debug)]
pub struct uv_handle_t {
    pub data: Cell<UserData>,
    pub loop_: CPtr<uv_loop_t>,
    pub type_: c_uint,
    pub(crate) close_cb: Cell<uv_close_cb>,
    /// The box of the handle: see `handle_box.rs`.
    pub(crate) inner: Cell<*mut c_void>,
    pub(crate) reserved: [*mut c_void; 3],
}

/// Timers and hooks have no further members.
pub type uv_timer_t = uv_handle_t;

#[repr(C)]
#[derive(Debug)]
pub struct uv_async_t {
    pub(crate) base: uv_handle_t,
    pub(crate) async_cb: uv_async_cb,
    pub(crate) signal: Signal,
}

/// The members of a `uv_async_t` that other threads use.
#[repr(C)]
#[derive(Debug)]
pub struct Signal {
    /// The eventfd of the loop; -1 after `uv_close`.
    pub(crate) wakeup: AtomicI32,
    /// 1 from a send until the callback runs.
    pub(crate) pending: AtomicU32,
    /// The number of threads that are using `wakeup`.
    pub(crate) busy: AtomicU32,
}

#[repr(C)]
#[derive(Debug)]
pub struct uv_udp_t {
    pub(crate) base: uv_handle_t,
    pub send_queue_size: Cell<usize>,
    pub send_queue_count: Cell<usize>,
    pub(crate) more: [*mut c_void; 2],
}

/// The common first members of all requests.
#[repr(C)]
#[derive(Debug)]
pub struct uv_req_t {
    pub data: Cell<UserData>,
    pub type_: c_uint,
    pub(crate) reserved: [*mut c_void; 2],
}

#[repr(C)]
#[derive(Debug)]
pub struct uv_udp_send_t {
    pub(crate) base: uv_req_t,
    pub handle: CPtr<uv_udp_t>,
    pub(crate) cb: uv_udp_send_cb,
    /// The request's share of the handle's `send_queue_size`.
    pub(crate) bytes: usize,
}

/// A structure of the header that is a handle.
///
/// # Safety
///
/// It begins with a `uv_handle_t`.
pub(crate) unsafe trait Handle: CStruct {
    /// The `uv_handle_t` at the start.
    fn head(&self) -> &uv_handle_t;
}

impl<T: Handle> CPtr<T> {
    /// The handle that the structure begins with.
    #[inline]
    pub(crate) fn base(self) -> CPtr<uv_handle_t> {
        // SAFETY: the promise of `self` and that of the trait.
        unsafe { CPtr::new(self.as_ptr().cast()) }
    }
}

impl CPtr<uv_async_t> {
    /// The members that other threads and signal handlers may use.
    pub(crate) fn signal(&self) -> Option<&Signal> {
        let handle = self.as_ptr();
        // SAFETY: the promise of the type. These members are atomic, and no reference is made to the others.
        (!handle.is_null()).then(|| unsafe { &(*handle).signal })
    }
}

// SAFETY: `repr(C)`, and `data` comes first.
unsafe impl CStruct for uv_loop_t {}
// SAFETY: `repr(C)`, and `data` comes first.
unsafe impl CStruct for uv_handle_t {}
// SAFETY: `repr(C)`, and a `uv_handle_t` comes first.
unsafe impl CStruct for uv_async_t {}
// SAFETY: `repr(C)`, and a `uv_handle_t` comes first.
unsafe impl CStruct for uv_udp_t {}
// SAFETY: `repr(C)`, and a `uv_req_t` comes first, which begins with `data`.
unsafe impl CStruct for uv_udp_send_t {}

// SAFETY: the type is a `uv_handle_t`.
unsafe impl Handle for uv_handle_t {
    fn head(&self) -> &uv_handle_t {
        self
    }
}
// SAFETY: `repr(C)`, and a `uv_handle_t` comes first.
unsafe impl Handle for uv_async_t {
    fn head(&self) -> &uv_handle_t {
        &self.base
    }
}
// SAFETY: `repr(C)`, and a `uv_handle_t` comes first.
unsafe impl Handle for uv_udp_t {
    fn head(&self) -> &uv_handle_t {
        &self.base
    }
}
