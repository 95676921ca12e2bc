//! Any options, flags and numbers on a handle, through the C face.

#![no_main]

use libfuzzer_sys::fuzz_target;
// The functions that the C part calls.
use uv_capi as _;

unsafe extern "C" {
    fn fuzz_options(data: *const u8, length: usize);
}

fuzz_target!(|data: &[u8]| {
    // SAFETY: the C part reads as many bytes as it is given the length of.
    unsafe { fuzz_options(data.as_ptr(), data.len()) };
});
