//! `uv_loop_t`: creating, running and walking a loop.

use std::cell::Cell;
use std::ffi::{c_int, c_uint, c_void};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use uv_core::{Errno, RunMode};

use crate::loop_box::{LoopBox, boxed, loop_box, take};
use crate::pointers::{CPtr, OutPtr, UserData};
use crate::results::{code, number};
use crate::types::{uv_loop_t, uv_walk_cb};
use crate::wakeup::ForkedWakeup;

/// Memory for the default loop. One thread uses it at a time, as any loop.
struct DefaultLoop(std::cell::UnsafeCell<uv_loop_t>);

// SAFETY: this code takes only its address. The program promises to use a loop on one thread at a
// time.
unsafe impl Sync for DefaultLoop {}

static DEFAULT: DefaultLoop = DefaultLoop(std::cell::UnsafeCell::new(uv_loop_t {
    data: Cell::new(UserData::new(ptr::null_mut())),
    inner: Cell::new(ptr::null_mut()),
    reserved: [ptr::null_mut(); 6],
}));
/// The default loop while it is open.
static DEFAULT_OPEN: AtomicPtr<uv_loop_t> = AtomicPtr::new(ptr::null_mut());

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_default_loop() -> CPtr<uv_loop_t> {
    let open = DEFAULT_OPEN.load(Ordering::Acquire);
    if !open.is_null() {
        // SAFETY: `DEFAULT_OPEN` holds an initialized loop until it is closed, and `DEFAULT` is
        // static.
        return unsafe { CPtr::new(open) };
    }
    // SAFETY: memory for a loop, which is not open.
    if uvudp_loop_init(unsafe { OutPtr::new(DEFAULT.0.get()) }) != 0 {
        return CPtr::NULL;
    }
    DEFAULT_OPEN.store(DEFAULT.0.get(), Ordering::Release);
    // SAFETY: initialized above, and static.
    unsafe { CPtr::new(DEFAULT.0.get()) }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_loop_init(loop_: OutPtr<uv_loop_t>) -> c_int {
    if loop_.is_null() {
        return -libc::EINVAL;
    }
    match LoopBox::new() {
        Ok(made) => {
            let placed = loop_.initialize(|data| uv_loop_t {
                data: Cell::new(data),
                inner: Cell::new(boxed(made)),
                reserved: [ptr::null_mut(); 6],
            });
            placed.map_or(-libc::EINVAL, |_| 0)
        }
        Err(error) => number(error),
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_loop_close(loop_: CPtr<uv_loop_t>) -> c_int {
    match loop_box(&loop_) {
        None => return -libc::EINVAL,
        Some(in_loop) if !in_loop.is_empty() => return -libc::EBUSY,
        Some(_) => {}
    }
    // If a callback of `uv_run` calls this, `uv_run` keeps a clone of the loop.
    drop(loop_.get().and_then(take));
    // For any other loop this fails, and has no effect.
    let _ = DEFAULT_OPEN.compare_exchange(
        loop_.as_ptr(),
        ptr::null_mut(),
        Ordering::AcqRel,
        Ordering::Acquire,
    );
    0
}

/// Gives the loop of a forked child its own poller, and its async handles their own eventfd. In any
/// other process it has no effect.
#[unsafe(no_mangle)]
pub extern "C" fn uvudp_loop_fork(loop_: CPtr<uv_loop_t>) -> c_int {
    let Some(in_loop) = loop_box(&loop_) else {
        return -libc::EINVAL;
    };
    if in_loop.event_loop.has_events() != Err(Errno::ESTALE) {
        return 0;
    }
    // Created first: without a free descriptor nothing changes.
    let wakeup = in_loop.existing_wakeup().map(ForkedWakeup::new).transpose();
    let renewed = wakeup.and_then(|wakeup| {
        in_loop.event_loop.reinit_after_fork()?;
        wakeup.map_or(Ok(()), ForkedWakeup::install)
    });
    code(renewed.map_err(number))
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_loop_size() -> usize {
    size_of::<uv_loop_t>()
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_loop_alive(loop_: CPtr<uv_loop_t>) -> c_int {
    loop_box(&loop_).map_or(0, |in_loop| in_loop.event_loop.alive().into())
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_loop_get_data(loop_: CPtr<uv_loop_t>) -> UserData {
    let none = UserData::new(ptr::null_mut());
    loop_.get().map_or(none, |loop_| loop_.data.get())
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_loop_set_data(loop_: CPtr<uv_loop_t>, data: UserData) {
    if let Some(loop_) = loop_.get() {
        loop_.data.set(data);
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_run(loop_: CPtr<uv_loop_t>, mode: c_uint) -> c_int {
    // Cloned: a callback may close the loop.
    let Some(event_loop) = loop_box(&loop_).map(|in_loop| in_loop.event_loop.clone()) else {
        return -libc::EINVAL;
    };
    let mode = match mode {
        0 => RunMode::Default,
        1 => RunMode::Once,
        2 => RunMode::NoWait,
        _ => return -libc::EINVAL,
    };
    let mode = if event_loop.alive() {
        mode
    } else {
        event_loop.update_time();
        // libuv runs no iteration of a loop that is not alive; the other modes would run one.
        RunMode::Default
    };
    match event_loop.run(mode) {
        Ok(alive) => alive.into(),
        Err(error) => number(error),
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_stop(loop_: CPtr<uv_loop_t>) {
    if let Some(in_loop) = loop_box(&loop_) {
        in_loop.event_loop.stop();
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_now(loop_: CPtr<uv_loop_t>) -> u64 {
    loop_box(&loop_).map_or(0, LoopBox::millis)
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_update_time(loop_: CPtr<uv_loop_t>) {
    if let Some(in_loop) = loop_box(&loop_) {
        in_loop.event_loop.update_time();
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_backend_fd(loop_: CPtr<uv_loop_t>) -> c_int {
    loop_box(&loop_).map_or(-libc::EINVAL, |in_loop| {
        in_loop.event_loop.as_fd().as_raw_fd()
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_backend_timeout(loop_: CPtr<uv_loop_t>) -> c_int {
    let Some(in_loop) = loop_box(&loop_).filter(|in_loop| in_loop.event_loop.alive()) else {
        return 0;
    };
    match in_loop.event_loop.poll_timeout() {
        Ok(Some(timeout)) => millis_up(timeout).try_into().unwrap_or(c_int::MAX),
        Ok(None) => -1,
        // `uv_run` will return this error.
        Err(_) => 0,
    }
}

/// Milliseconds, rounded up.
pub(crate) fn millis_up(duration: Duration) -> u64 {
    duration
        .as_nanos()
        .div_ceil(1_000_000)
        .try_into()
        .unwrap_or(u64::MAX)
}

/// Calls back with every handle that existed at the start and is not closed by then.
#[unsafe(no_mangle)]
pub extern "C" fn uvudp_walk(loop_: CPtr<uv_loop_t>, walk_cb: uv_walk_cb, arg: *mut c_void) {
    let (Some(in_loop), Some(walk_cb)) = (loop_box(&loop_), walk_cb) else {
        return;
    };
    let end = in_loop.next_serial();
    let mut next = 0;
    loop {
        // Looked up each time: the callback may have changed the list.
        let in_loop = loop_box(&loop_);
        let found = in_loop.and_then(|in_loop| in_loop.handle_from(next));
        let Some((serial, handle)) = found.filter(|(serial, _)| *serial < end) else {
            return;
        };
        next = serial + 1;
        // SAFETY: a callback of the program, with a handle that is not closed.
        unsafe { walk_cb(handle, arg) };
    }
}
