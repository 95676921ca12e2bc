//! Names and texts of errors.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::sync::{Mutex, PoisonError};

use crate::error_table::{ALL, Entry};
use crate::pointers::OutBytes;

fn entry(code: c_int) -> Option<&'static Entry> {
    ALL.iter().find(|entry| entry.code == code)
}

fn unknown(code: c_int) -> CString {
    CString::new(format!("Unknown system error {code}")).unwrap_or_default()
}

/// The text for an unknown number, which stays allocated: one string per number.
fn unknown_text(code: c_int) -> *const c_char {
    static TEXTS: Mutex<BTreeMap<c_int, CString>> = Mutex::new(BTreeMap::new());
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    // The string does not move when the map grows.
    texts.entry(code).or_insert_with(|| unknown(code)).as_ptr()
}

/// Copies the bytes that fit, and a NUL.
fn copy(text: &CStr, mut buf: OutBytes, len: usize) -> *mut c_char {
    if let (Some(to), Some(room)) = (buf.room(len), len.checked_sub(1)) {
        let bytes = text.to_bytes().iter().copied().take(room);
        to.write(&bytes.chain([0]).collect::<Vec<_>>());
    }
    buf.as_ptr()
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_strerror(err: c_int) -> *const c_char {
    entry(err).map_or_else(|| unknown_text(err), |entry| entry.text.as_ptr())
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_err_name(err: c_int) -> *const c_char {
    entry(err).map_or_else(|| unknown_text(err), |entry| entry.name.as_ptr())
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_strerror_r(err: c_int, buf: OutBytes, len: usize) -> *mut c_char {
    let named = entry(err).map(|entry| Cow::Borrowed(entry.text));
    let text = named.unwrap_or_else(|| Cow::Owned(unknown(err)));
    copy(&text, buf, len)
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_err_name_r(err: c_int, buf: OutBytes, len: usize) -> *mut c_char {
    let named = entry(err).map(|entry| Cow::Borrowed(entry.name));
    let text = named.unwrap_or_else(|| Cow::Owned(unknown(err)));
    copy(&text, buf, len)
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_translate_sys_error(sys_errno: c_int) -> c_int {
    if sys_errno <= 0 {
        sys_errno
    } else {
        -sys_errno
    }
}
