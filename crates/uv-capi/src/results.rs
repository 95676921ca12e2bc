//! Return values of the C functions: 0, or a negative errno.

use std::ffi::c_int;

use uv_sys::Errno;

/// The negative errno of an error.
pub(crate) fn number(error: Errno) -> c_int {
    -error.raw()
}

/// The return value for a result without a value.
pub(crate) fn code(result: Result<(), c_int>) -> c_int {
    result.err().unwrap_or(0)
}
