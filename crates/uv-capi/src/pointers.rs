//! Pointers that a C program passes, as types that say what the program promises.
//!
//! The functions of the header take these types as parameters. The fields are private, so that only a call from C makes such
//! a pointer, and the program's promise (see the crate's docs) is relied on here and nowhere else.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;
use std::slice;

use libc::{AF_INET, AF_INET6};
use uv_sys::UninitSlice;

/// `void* data`, which the program writes before or after `init`, or never.
pub type UserData = MaybeUninit<*mut c_void>;

/// A structure of the header.
///
/// # Safety
///
/// It begins with `void* data`, and any bytes make its other members' C types.
pub(crate) unsafe trait Structure {}

/// Null, or a pointer to a `T` that is initialised and in place: a handle until its close callback, a request until its
/// callback, a loop until `uv_loop_close`, everything else during the call.
#[repr(transparent)]
pub struct Given<T>(*mut T);

impl<T> Given<T> {
    pub(crate) const NULL: Self = Self(ptr::null_mut());

    /// # Safety
    ///
    /// `pointer` keeps the promise of the type.
    pub(crate) const unsafe fn new(pointer: *mut T) -> Self {
        Self(pointer)
    }

    /// What it points to, unless it is null. A reference is not held across a callback that may end the promise.
    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        // SAFETY: the promise of the type. What the program writes there meanwhile are cells (`types.rs`).
        unsafe { self.0.as_ref() }
    }

    /// A copy of what it points to, which need not be aligned.
    pub(crate) fn copied(self) -> Option<T>
    where
        T: Copy,
    {
        // SAFETY: the promise of the type.
        (!self.0.is_null()).then(|| unsafe { self.0.read_unaligned() })
    }

    /// The list that begins there, of as many as the program says beside the pointer.
    pub(crate) fn list(&self, count: usize) -> Option<&[T]> {
        let most = isize::MAX.unsigned_abs() / size_of::<T>().max(1);
        // SAFETY: the promise of the type, for `count` of them; and no more than can be.
        (!self.0.is_null()).then(|| unsafe { slice::from_raw_parts(self.0, count.min(most)) })
    }

    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    pub(crate) fn as_ptr(self) -> *mut T {
        self.0
    }

    /// Calls a function of the program that takes this pointer.
    pub(crate) fn call(self, callback: unsafe extern "C" fn(Self)) {
        // SAFETY: the program gave the callback for what this points to, which is in place; and callers hold no reference
        // to it or into its box, as the crate's docs say.
        unsafe { callback(self) };
    }
}

impl<T> Clone for Given<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Given<T> {}

impl<T> PartialEq for Given<T> {
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self.0, other.0)
    }
}

impl<T> fmt::Debug for Given<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Pointer::fmt(&self.0, f)
    }
}

/// Null, or room for a `T` that need not be initialised.
#[repr(transparent)]
pub struct Room<T>(*mut T);

impl<T> Room<T> {
    /// Room of our own.
    ///
    /// # Safety
    ///
    /// `pointer` keeps the promise of the type.
    pub(crate) const unsafe fn new(pointer: *mut T) -> Self {
        Self(pointer)
    }

    pub(crate) fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// The address, from which the pointer can be made again.
    #[inline]
    pub(crate) fn expose(&self) -> usize {
        self.0.expose_provenance()
    }

    /// Stores a value there; `None` if it is null. The room need not be aligned.
    pub(crate) fn store(self, value: T) -> Option<()> {
        // SAFETY: the promise of the type.
        (!self.0.is_null()).then(|| unsafe { self.0.write_unaligned(value) })
    }

    /// Sets a structure up, with the `data` that the program may have written already; `None` if it is null.
    pub(crate) fn set_up(self, with: impl FnOnce(UserData) -> T) -> Option<Given<T>>
    where
        T: Structure,
    {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: there is room for a structure that begins with `data`, which is read without looking at it.
        let data = unsafe { self.0.cast::<UserData>().read() };
        // SAFETY: there is room for it.
        unsafe { self.0.write(with(data)) };
        Some(Given(self.0))
    }
}

/// Null, or room for as many bytes as the program says beside it. They need not be initialised.
#[repr(transparent)]
pub struct Bytes(*mut c_void);

impl Bytes {
    /// The room, of `len` bytes; `None` if it is null.
    pub(crate) fn room(&mut self, len: usize) -> Option<&mut UninitSlice> {
        if self.0.is_null() {
            return None;
        }
        let (bytes, len) = (
            self.0.cast::<MaybeUninit<u8>>(),
            len.min(isize::MAX.unsigned_abs()),
        );
        // SAFETY: the promise of the type; and no more than can be.
        Some(UninitSlice::uninit(unsafe {
            slice::from_raw_parts_mut(bytes, len)
        }))
    }

    pub(crate) fn is_null(&self) -> bool {
        self.0.is_null()
    }

    pub(crate) fn as_ptr(&self) -> *mut c_char {
        self.0.cast()
    }
}

/// Null, or a string that ends in a NUL and does not change during the call.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Text(*const c_char);

impl Text {
    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// The string, if it can be an address at all.
    pub(crate) fn get(&self) -> Option<&str> {
        // SAFETY: the promise of the type.
        (!self.0.is_null())
            .then(|| unsafe { CStr::from_ptr(self.0) })?
            .to_str()
            .ok()
    }
}

/// Null, or the octets of an IP address, as many as the family has that the program says beside it.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Octets(*const c_void);

impl Octets {
    /// The address; the error for null, and for a family that UDP does not have.
    pub(crate) fn ip(self, family: c_int) -> Result<IpAddr, c_int> {
        if self.0.is_null() {
            return Err(-libc::EINVAL);
        }
        match family {
            // SAFETY: the promise of the type: four octets.
            AF_INET => Ok(Ipv4Addr::from(unsafe { self.0.cast::<[u8; 4]>().read() }).into()),
            // SAFETY: the promise of the type: sixteen octets.
            AF_INET6 => Ok(Ipv6Addr::from(unsafe { self.0.cast::<[u8; 16]>().read() }).into()),
            _ => Err(-libc::EAFNOSUPPORT),
        }
    }
}
