//! The version, the clock, and functions of the process.

use std::ffi::{c_char, c_int, c_uint};
use std::time::Duration;

/// The version of libuv whose functions these are, as in the header.
pub(crate) const VERSION: [c_uint; 3] = [1, 52, 0];

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_version() -> c_uint {
    let [major, minor, patch] = VERSION;
    major << 16 | minor << 8 | patch
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_version_string() -> *const c_char {
    c"1.52.0".as_ptr()
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_hrtime() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is memory for a time. Every supported system has the monotonic clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let (seconds, nanos) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds * 1_000_000_000 + nanos
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_sleep(msec: c_uint) {
    std::thread::sleep(Duration::from_millis(msec.into()));
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_os_getpid() -> c_int {
    std::process::id().try_into().unwrap_or(c_int::MAX)
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_available_parallelism() -> c_uint {
    std::thread::available_parallelism()
        .map_or(1, |count| count.get().try_into().unwrap_or(c_uint::MAX))
}
