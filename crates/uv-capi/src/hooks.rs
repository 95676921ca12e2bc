//! `uv_idle_t`, `uv_prepare_t` and `uv_check_t`: one implementation for the three.

use std::ffi::c_int;

use uv_core::{Check, Idle, Loop, Prepare};

use crate::handle_box::{Kind, open};
use crate::lifecycle::init;
use crate::pointers::{CPtr, OutPtr};
use crate::results::{code, number};
use crate::types::{UV_CHECK, UV_IDLE, UV_PREPARE, uv_handle_t, uv_loop_t};

type uv_hook_cb = Option<unsafe extern "C" fn(CPtr<uv_handle_t>)>;

macro_rules! hook {
    ($hook:ident, $type_:ident, $init:ident, $start:ident, $stop:ident) => {
        #[unsafe(no_mangle)]
        pub extern "C" fn $init(loop_: CPtr<uv_loop_t>, handle: OutPtr<uv_handle_t>) -> c_int {
            let make = |event_loop: &Loop, _| Ok(Kind::$hook($hook::new(event_loop)));
            init(loop_, handle, $type_, |base| base, make)
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn $start(handle: CPtr<uv_handle_t>, cb: uv_hook_cb) -> c_int {
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
            code(started.map_err(number))
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn $stop(handle: CPtr<uv_handle_t>) -> c_int {
            match open(&handle) {
                Some(Kind::$hook(hook)) => code(hook.stop().map_err(number)),
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
