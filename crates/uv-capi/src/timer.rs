//! `uv_timer_t`. Times are milliseconds here, and nanoseconds below: a timer may fire up to a millisecond later than the
//! loop's truncated clock suggests, and never earlier.

use std::ffi::c_int;
use std::time::Duration;

use uv_core::Timer;

use crate::closing::init;
use crate::event_loop::millis_up;
use crate::object::{Kind, open};
use crate::types::{UV_TIMER, uv_loop_t, uv_timer_t};

type uv_timer_cb = Option<unsafe extern "C" fn(*mut uv_timer_t)>;

/// The timer behind a handle that is not closing.
///
/// # Safety
///
/// As [`open`].
unsafe fn timer<'a>(handle: *const uv_timer_t) -> Option<&'a Timer> {
    // SAFETY: as the caller vouches.
    match unsafe { open(handle) } {
        Some(Kind::Timer(timer)) => Some(timer),
        _ => None,
    }
}

fn code(result: uv_core::Result<()>) -> c_int {
    result.map_or_else(|error| -error.raw(), |()| 0)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_timer_init(loop_: *mut uv_loop_t, handle: *mut uv_timer_t) -> c_int {
    // SAFETY: as the crate says.
    unsafe {
        init(loop_, handle, UV_TIMER, |lp| {
            Ok(Kind::Timer(Timer::new(lp)))
        })
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_timer_start(
    handle: *mut uv_timer_t,
    cb: uv_timer_cb,
    timeout: u64,
    repeat: u64,
) -> c_int {
    // SAFETY: as the crate says.
    let (Some(timer), Some(cb)) = (unsafe { timer(handle) }, cb) else {
        return -libc::EINVAL;
    };
    let (timeout, repeat) = (
        Duration::from_millis(timeout),
        Duration::from_millis(repeat),
    );
    // SAFETY: the program's own function, with a handle that stays in place until it is closed, after which no timer fires.
    code(timer.start(timeout, repeat, move |_| unsafe { cb(handle) }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_timer_stop(handle: *mut uv_timer_t) -> c_int {
    // SAFETY: as the crate says.
    match unsafe { timer(handle) } {
        Some(timer) => code(timer.stop()),
        // A timer that is closing is stopped.
        None if !handle.is_null() => 0,
        None => -libc::EINVAL,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_timer_again(handle: *mut uv_timer_t) -> c_int {
    // SAFETY: as the crate says.
    unsafe { timer(handle) }.map_or(-libc::EINVAL, |timer| code(timer.again()))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_timer_set_repeat(handle: *mut uv_timer_t, repeat: u64) {
    // SAFETY: as the crate says.
    if let Some(timer) = unsafe { timer(handle) } {
        timer.set_repeat(Duration::from_millis(repeat));
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_timer_get_repeat(handle: *const uv_timer_t) -> u64 {
    // SAFETY: as the crate says.
    unsafe { timer(handle) }.map_or(0, |timer| millis_up(timer.repeat()))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_timer_get_due_in(handle: *const uv_timer_t) -> u64 {
    // SAFETY: as the crate says.
    unsafe { timer(handle) }.map_or(0, |timer| millis_up(timer.due_in()))
}
