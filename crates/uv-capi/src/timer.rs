//! `uv_timer_t`. C counts milliseconds, the loop nanoseconds. A timer may fire up to a millisecond
//! later than the truncated `uv_now` suggests, and never earlier.

use std::ffi::c_int;
use std::time::Duration;

use uv_core::{Loop, Timer};

use crate::event_loop::millis_up;
use crate::handle_box::{Kind, open};
use crate::lifecycle::init;
use crate::pointers::{CPtr, OutPtr};
use crate::results::{code, number};
use crate::types::{UV_TIMER, uv_loop_t, uv_timer_t};

type uv_timer_cb = Option<unsafe extern "C" fn(CPtr<uv_timer_t>)>;

/// The timer behind a handle that is not closing.
fn timer(handle: &CPtr<uv_timer_t>) -> Option<&Timer> {
    match open(handle) {
        Some(Kind::Timer(timer)) => Some(timer),
        _ => None,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_timer_init(loop_: CPtr<uv_loop_t>, handle: OutPtr<uv_timer_t>) -> c_int {
    let make = |event_loop: &Loop, _| Ok(Kind::Timer(Timer::new(event_loop)));
    init(loop_, handle, UV_TIMER, |base| base, make)
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_timer_start(
    handle: CPtr<uv_timer_t>,
    cb: uv_timer_cb,
    timeout: u64,
    repeat: u64,
) -> c_int {
    let (Some(timer), Some(cb)) = (timer(&handle), cb) else {
        return -libc::EINVAL;
    };
    let (timeout, repeat) = (
        Duration::from_millis(timeout),
        Duration::from_millis(repeat),
    );
    // The handle stays in place until it is closed, after which no timer fires.
    code(
        timer
            .start(timeout, repeat, move |_| handle.call(cb))
            .map_err(number),
    )
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_timer_stop(handle: CPtr<uv_timer_t>) -> c_int {
    match timer(&handle) {
        Some(timer) => code(timer.stop().map_err(number)),
        // A timer that is closing is stopped.
        None if !handle.is_null() => 0,
        None => -libc::EINVAL,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_timer_again(handle: CPtr<uv_timer_t>) -> c_int {
    timer(&handle).map_or(-libc::EINVAL, |timer| code(timer.again().map_err(number)))
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_timer_set_repeat(handle: CPtr<uv_timer_t>, repeat: u64) {
    if let Some(timer) = timer(&handle) {
        timer.set_repeat(Duration::from_millis(repeat));
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_timer_get_repeat(handle: CPtr<uv_timer_t>) -> u64 {
    timer(&handle).map_or(0, |timer| millis_up(timer.repeat()))
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_timer_get_due_in(handle: CPtr<uv_timer_t>) -> u64 {
    timer(&handle).map_or(0, |timer| millis_up(timer.due_in()))
}
