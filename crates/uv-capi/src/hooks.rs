//! `uv_idle_t`, `uv_prepare_t` and `uv_check_t`, which differ in their names.

use std::ffi::c_int;

use uv_core::{Check, Idle, Loop, Prepare};

use crate::closing::init;
use crate::object::{Kind, open};
use crate::pointers::{Given, Room};
use crate::types::{UV_CHECK, UV_IDLE, UV_PREPARE, uv_handle_t, uv_loop_t};

type uv_hook_cb = Option<unsafe extern "C" fn(Given<uv_handle_t>)>;

macro_rules! hook {
    ($hook:ident, $type_:ident, $init:ident, $start:ident, $stop:ident) => {
        #[unsafe(no_mangle)]
        pub extern "C" fn $init(loop_: Given<uv_loop_t>, handle: Room<uv_handle_t>) -> c_int {
            let make = |event_loop: &Loop, _| Ok(Kind::$hook($hook::new(event_loop)));
            init(loop_, handle, $type_, |base| base, make)
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn $start(handle: Given<uv_handle_t>, cb: uv_hook_cb) -> c_int {
            let Some(Kind::$hook(hook)) = open(&handle) else {
                return -libc::EINVAL;
            };
            if hook.is_active() {
                return 0;
            }
            let Some(cb) = cb else {
                return -libc::EINVAL;
            };
            // The handle stays in place until it is closed, after which no hook runs.
            let started = hook.start(move |_| handle.call(cb));
            started.map_or_else(|error| -error.raw(), |()| 0)
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn $stop(handle: Given<uv_handle_t>) -> c_int {
            match open(&handle) {
                Some(Kind::$hook(hook)) => hook.stop().map_or_else(|error| -error.raw(), |()| 0),
                Some(_) => -libc::EINVAL,
                // A hook that is closing is stopped.
                None if !handle.is_null() => 0,
                None => -libc::EINVAL,
            }
        }
    };
}

hook!(
    Idle,
    UV_IDLE,
    uvudp_idle_init,
    uvudp_idle_start,
    uvudp_idle_stop
);
hook!(
    Prepare,
    UV_PREPARE,
    uvudp_prepare_init,
    uvudp_prepare_start,
    uvudp_prepare_stop
);
hook!(
    Check,
    UV_CHECK,
    uvudp_check_init,
    uvudp_check_start,
    uvudp_check_stop
);
