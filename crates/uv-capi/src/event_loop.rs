//! `uv_loop_t`: making, running and walking a loop.

use std::cell::Cell;
use std::ffi::{c_int, c_uint, c_void};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use uv_core::{Errno, RunMode};

use crate::hub::NewWakeup;
use crate::loop_box::{LoopBox, boxed, loop_box, take};
use crate::pointers::{Given, Room, UserData};
use crate::types::{uv_loop_t, uv_walk_cb};

/// Room for the default loop. Used by one thread at a time, as any loop.
struct DefaultLoop(std::cell::UnsafeCell<uv_loop_t>);

// SAFETY: only its address is taken here; whoever uses it as a loop promises to do so from one thread at a time.
unsafe impl Sync for DefaultLoop {}

static DEFAULT: DefaultLoop = DefaultLoop(std::cell::UnsafeCell::new(uv_loop_t {
    data: Cell::new(UserData::new(ptr::null_mut())),
    inner: Cell::new(ptr::null_mut()),
    reserved: [ptr::null_mut(); 6],
}));
/// The default loop while it is open.
static DEFAULT_OPEN: AtomicPtr<uv_loop_t> = AtomicPtr::new(ptr::null_mut());

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_default_loop() -> Given<uv_loop_t> {
    let open = DEFAULT_OPEN.load(Ordering::Acquire);
    if !open.is_null() {
        // SAFETY: stored below when the loop was open, and removed when it is closed; it is in place for ever.
        return unsafe { Given::new(open) };
    }
    // SAFETY: room for a loop, which is not open.
    if uvudp_loop_init(unsafe { Room::new(DEFAULT.0.get()) }) != 0 {
        return Given::NULL;
    }
    DEFAULT_OPEN.store(DEFAULT.0.get(), Ordering::Release);
    // SAFETY: just set up, and in place for ever.
    unsafe { Given::new(DEFAULT.0.get()) }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_loop_init(loop_: Room<uv_loop_t>) -> c_int {
    if loop_.is_null() {
        return -libc::EINVAL;
    }
    match LoopBox::new() {
        Ok(made) => {
            let placed = loop_.set_up(|data| uv_loop_t {
                data: Cell::new(data),
                inner: Cell::new(boxed(made)),
                reserved: [ptr::null_mut(); 6],
            });
            placed.map_or(-libc::EINVAL, |_| 0)
        }
        Err(error) => -error.raw(),
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_loop_close(loop_: Given<uv_loop_t>) -> c_int {
    match loop_box(&loop_) {
        None => return -libc::EINVAL,
        Some(in_loop) if !in_loop.is_empty() => return -libc::EBUSY,
        Some(_) => {}
    }
    // `uv_run`, if this is one of its callbacks, has a reference of its own to the loop in the box.
    drop(loop_.get().and_then(take));
    // If it is another loop, nothing is exchanged.
    let _ = DEFAULT_OPEN.compare_exchange(
        loop_.as_ptr(),
        ptr::null_mut(),
        Ordering::AcqRel,
        Ordering::Acquire,
    );
    0
}

/// In a forked child: a poller of its own, and a wake-up of its own for its async handles. In another process, nothing.
#[unsafe(no_mangle)]
pub extern "C" fn uvudp_loop_fork(loop_: Given<uv_loop_t>) -> c_int {
    let Some(in_loop) = loop_box(&loop_) else {
        return -libc::EINVAL;
    };
    if in_loop.event_loop.has_events() != Err(Errno::ESTALE) {
        return 0;
    }
    // Made first: without a free descriptor nothing changes.
    let wakeup = in_loop.made_hub().map(NewWakeup::new).transpose();
    let renewed = wakeup.and_then(|wakeup| {
        in_loop.event_loop.reinit_after_fork()?;
        wakeup.map_or(Ok(()), NewWakeup::install)
    });
    renewed.map_or_else(|error| -error.raw(), |()| 0)
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_loop_size() -> usize {
    size_of::<uv_loop_t>()
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_loop_alive(loop_: Given<uv_loop_t>) -> c_int {
    loop_box(&loop_).map_or(0, |in_loop| in_loop.event_loop.alive().into())
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_loop_get_data(loop_: Given<uv_loop_t>) -> UserData {
    let none = UserData::new(ptr::null_mut());
    loop_.get().map_or(none, |loop_| loop_.data.get())
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_loop_set_data(loop_: Given<uv_loop_t>, data: UserData) {
    if let Some(loop_) = loop_.get() {
        loop_.data.set(data);
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_run(loop_: Given<uv_loop_t>, mode: c_uint) -> c_int {
    // The loop is cloned out: a callback may close it.
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
        // libuv does not turn a loop that is not alive; the other modes would do so once.
        RunMode::Default
    };
    match event_loop.run(mode) {
        Ok(alive) => alive.into(),
        Err(error) => -error.raw(),
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_stop(loop_: Given<uv_loop_t>) {
    if let Some(in_loop) = loop_box(&loop_) {
        in_loop.event_loop.stop();
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_now(loop_: Given<uv_loop_t>) -> u64 {
    loop_box(&loop_).map_or(0, LoopBox::millis)
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_update_time(loop_: Given<uv_loop_t>) {
    if let Some(in_loop) = loop_box(&loop_) {
        in_loop.event_loop.update_time();
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_backend_fd(loop_: Given<uv_loop_t>) -> c_int {
    loop_box(&loop_).map_or(-libc::EINVAL, |in_loop| {
        in_loop.event_loop.as_fd().as_raw_fd()
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_backend_timeout(loop_: Given<uv_loop_t>) -> c_int {
    let Some(in_loop) = loop_box(&loop_).filter(|in_loop| in_loop.event_loop.alive()) else {
        return 0;
    };
    match in_loop.event_loop.poll_timeout() {
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
pub extern "C" fn uvudp_walk(loop_: Given<uv_loop_t>, walk_cb: uv_walk_cb, arg: *mut c_void) {
    let (Some(in_loop), Some(walk_cb)) = (loop_box(&loop_), walk_cb) else {
        return;
    };
    let end = in_loop.next_serial();
    let mut next = 0;
    loop {
        // Asked anew each time, because a callback came between.
        let in_loop = loop_box(&loop_);
        let found = in_loop.and_then(|in_loop| in_loop.handle_from(next));
        let Some((serial, handle)) = found.filter(|(serial, _)| *serial < end) else {
            return;
        };
        next = serial + 1;
        // SAFETY: the program's own function, with a handle that is not closed.
        unsafe { walk_cb(handle, arg) };
    }
}
