//! `uv_loop_t`: the loop, and the list of its handles.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{c_int, c_uint, c_void};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use uv_core::{Errno, Loop, RunMode};

use crate::asynchronous::{Hub, NewWakeup};
use crate::process::uv_hrtime;
use crate::types::{uv_handle_t, uv_loop_t, uv_walk_cb};

/// Behind `uv_loop_t.inner`.
#[derive(Debug)]
pub struct LoopBox {
    /// What wakes the loop for its async handles, from the first of them on.
    pub(crate) hub: OnceCell<Rc<Hub>>,
    pub(crate) lp: Loop,
    /// Every handle that is not closed, in the order in which they were made.
    handles: RefCell<BTreeMap<u64, *mut uv_handle_t>>,
    entered: Cell<u64>,
    /// The loop's clock began at this many nanoseconds of the system's.
    began: u64,
}

impl LoopBox {
    fn new() -> uv_core::Result<Self> {
        let lp = Loop::new()?;
        lp.update_time();
        Ok(Self {
            hub: OnceCell::new(),
            handles: RefCell::default(),
            entered: Cell::new(0),
            began: uv_hrtime().saturating_sub(lp.now()),
            lp,
        })
    }

    /// Takes a new handle into the list, and gives it its serial number.
    pub(crate) fn enter(&self, handle: *mut uv_handle_t) -> u64 {
        let serial = self.entered.get();
        self.entered.set(serial + 1);
        self.handles.borrow_mut().insert(serial, handle);
        serial
    }

    /// The handle with this serial number is closed.
    pub(crate) fn leave(&self, serial: u64) {
        self.handles.borrow_mut().remove(&serial);
    }

    /// The first handle from this serial number on.
    fn handle_from(&self, serial: u64) -> Option<(u64, *mut uv_handle_t)> {
        let handles = self.handles.borrow();
        let (serial, handle) = handles.range(serial..).next()?;
        Some((*serial, *handle))
    }

    /// Whether `is_it` says so of any handle.
    pub(crate) fn any(&self, is_it: impl Fn(*const uv_handle_t) -> bool) -> bool {
        self.handles.borrow().values().any(|&handle| is_it(handle))
    }

    fn millis(&self) -> u64 {
        (self.began + self.lp.now()) / 1_000_000
    }
}

/// The box of a loop; `None` for null, and once it is closed.
///
/// # Safety
///
/// `loop_` is null or was initialised; the answer is used as the crate says of references to boxes.
pub(crate) unsafe fn loop_box<'a>(loop_: *const uv_loop_t) -> Option<&'a LoopBox> {
    // SAFETY: the caller vouches for `loop_`; `inner` is null or a box that lives until `uv_loop_close`.
    unsafe { loop_.as_ref()?.inner.as_ref() }
}

/// Room for the default loop. Used by one thread at a time, as any loop.
struct DefaultLoop(std::cell::UnsafeCell<uv_loop_t>);

// SAFETY: only its address is taken here; whoever uses it as a loop promises to do so from one thread at a time.
unsafe impl Sync for DefaultLoop {}

static DEFAULT: DefaultLoop = DefaultLoop(std::cell::UnsafeCell::new(uv_loop_t {
    data: ptr::null_mut(),
    inner: ptr::null_mut(),
    reserved: [ptr::null_mut(); 6],
}));
/// The default loop while it is open.
static DEFAULT_OPEN: AtomicPtr<uv_loop_t> = AtomicPtr::new(ptr::null_mut());

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uv_default_loop() -> *mut uv_loop_t {
    let open = DEFAULT_OPEN.load(Ordering::Acquire);
    if !open.is_null() {
        return open;
    }
    let loop_ = DEFAULT.0.get();
    // SAFETY: room for a loop that is not open.
    if unsafe { uv_loop_init(loop_) } != 0 {
        return ptr::null_mut();
    }
    DEFAULT_OPEN.store(loop_, Ordering::Release);
    loop_
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uv_loop_init(loop_: *mut uv_loop_t) -> c_int {
    if loop_.is_null() {
        return -libc::EINVAL;
    }
    match LoopBox::new() {
        Ok(made) => {
            // `data` stays as it is, as in libuv: a program may set it first.
            // SAFETY: the caller gives room for a loop; members are written one by one, so that none is read.
            unsafe {
                (&raw mut (*loop_).inner).write(Box::into_raw(Box::new(made)));
                (&raw mut (*loop_).reserved).write([ptr::null_mut(); 6]);
            }
            0
        }
        Err(error) => -error.raw(),
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uv_loop_close(loop_: *mut uv_loop_t) -> c_int {
    // SAFETY: as the crate says.
    let Some(in_loop) = (unsafe { loop_box(loop_) }) else {
        return -libc::EINVAL;
    };
    if !in_loop.handles.borrow().is_empty() {
        return -libc::EBUSY;
    }
    // SAFETY: `inner` came from a box in `uv_loop_init`, and is taken once: it is null afterwards. `uv_run`, if this is one
    // of its callbacks, has a reference of its own to the loop in it, and looks at the box no more.
    let closed = unsafe { Box::from_raw((*loop_).inner) };
    // SAFETY: as the crate says.
    unsafe { (*loop_).inner = ptr::null_mut() };
    drop(closed);
    // If it is another loop, nothing is exchanged.
    let _ =
        DEFAULT_OPEN.compare_exchange(loop_, ptr::null_mut(), Ordering::AcqRel, Ordering::Acquire);
    0
}

/// In a forked child: a poller of its own, and a wake-up of its own for its async handles. In another process, nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uv_loop_fork(loop_: *mut uv_loop_t) -> c_int {
    // SAFETY: as the crate says.
    let Some(in_loop) = (unsafe { loop_box(loop_) }) else {
        return -libc::EINVAL;
    };
    if in_loop.lp.has_events() != Err(Errno::ESTALE) {
        return 0;
    }
    // Made first: without a free descriptor nothing changes.
    let renewed = NewWakeup::new(in_loop).and_then(|wakeup| {
        in_loop.lp.reinit_after_fork()?;
        wakeup.map_or(Ok(()), NewWakeup::install)
    });
    renewed.map_or_else(|error| -error.raw(), |()| 0)
}

#[unsafe(no_mangle)]
pub extern "C" fn uv_loop_size() -> usize {
    size_of::<uv_loop_t>()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uv_loop_alive(loop_: *const uv_loop_t) -> c_int {
    // SAFETY: as the crate says.
    unsafe { loop_box(loop_) }.map_or(0, |in_loop| in_loop.lp.alive().into())
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uv_loop_get_data(loop_: *const uv_loop_t) -> *mut c_void {
    // SAFETY: as the crate says.
    unsafe { loop_.as_ref() }.map_or(ptr::null_mut(), |loop_| loop_.data)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uv_loop_set_data(loop_: *mut uv_loop_t, data: *mut c_void) {
    if !loop_.is_null() {
        // SAFETY: as the crate says.
        unsafe { (*loop_).data = data };
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uv_run(loop_: *mut uv_loop_t, mode: c_uint) -> c_int {
    // SAFETY: as the crate says. The loop is cloned out: a callback may close it.
    let Some(lp) = (unsafe { loop_box(loop_) }).map(|in_loop| in_loop.lp.clone()) else {
        return -libc::EINVAL;
    };
    let mode = match mode {
        0 => RunMode::Default,
        1 => RunMode::Once,
        2 => RunMode::NoWait,
        _ => return -libc::EINVAL,
    };
    let mode = if lp.alive() {
        mode
    } else {
        lp.update_time();
        // libuv does not turn a loop that is not alive; the other modes would do so once.
        RunMode::Default
    };
    match lp.run(mode) {
        Ok(alive) => alive.into(),
        Err(error) => -error.raw(),
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uv_stop(loop_: *mut uv_loop_t) {
    // SAFETY: as the crate says.
    if let Some(in_loop) = unsafe { loop_box(loop_) } {
        in_loop.lp.stop();
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uv_now(loop_: *const uv_loop_t) -> u64 {
    // SAFETY: as the crate says.
    unsafe { loop_box(loop_) }.map_or(0, LoopBox::millis)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uv_update_time(loop_: *mut uv_loop_t) {
    // SAFETY: as the crate says.
    if let Some(in_loop) = unsafe { loop_box(loop_) } {
        in_loop.lp.update_time();
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uv_backend_fd(loop_: *const uv_loop_t) -> c_int {
    // SAFETY: as the crate says.
    unsafe { loop_box(loop_) }.map_or(-libc::EINVAL, |in_loop| in_loop.lp.as_fd().as_raw_fd())
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uv_backend_timeout(loop_: *const uv_loop_t) -> c_int {
    // SAFETY: as the crate says.
    let Some(in_loop) = (unsafe { loop_box(loop_) }).filter(|in_loop| in_loop.lp.alive()) else {
        return 0;
    };
    match in_loop.lp.poll_timeout() {
        Ok(Some(timeout)) => millis_up(timeout).try_into().unwrap_or(c_int::MAX),
        Ok(None) => -1,
        // `uv_run` will meet the same error, and tell it.
        Err(_) => 0,
    }
}

/// Milliseconds, never less than `duration`.
pub(crate) fn millis_up(duration: Duration) -> u64 {
    duration
        .as_nanos()
        .div_ceil(1_000_000)
        .try_into()
        .unwrap_or(u64::MAX)
}

/// Calls back with every handle that was open when this began and still is when its turn comes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uv_walk(loop_: *mut uv_loop_t, walk_cb: uv_walk_cb, arg: *mut c_void) {
    // SAFETY: as the crate says.
    let (Some(in_loop), Some(walk_cb)) = (unsafe { loop_box(loop_) }, walk_cb) else {
        return;
    };
    let end = in_loop.entered.get();
    let mut next = 0;
    loop {
        // SAFETY: as the crate says; asked anew each time, because a callback came between.
        let in_loop = unsafe { loop_box(loop_) };
        let found = in_loop.and_then(|in_loop| in_loop.handle_from(next));
        let Some((serial, handle)) = found.filter(|(serial, _)| *serial < end) else {
            return;
        };
        next = serial + 1;
        // SAFETY: the program's own function, with a handle that is not closed.
        unsafe { walk_cb(handle, arg) };
    }
}
