//! Types for the pointers that a C program passes. Each states the caller's promise.
//!
//! The exported functions take these types as parameters. Their fields are private, so that only a
//! call from C creates such a pointer. The crate documentation has the promises; only this file
//! relies on them.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;
use std::slice;

use libc::{AF_INET, AF_INET6};
use uv_sys::UninitSlice;

/// `void* data`: the program writes it before or after `init`, or never.
pub type UserData = MaybeUninit<*mut c_void>;

/// A structure of the header.
///
/// # Safety
///
/// It begins with `void* data`, and any bytes make its other members' C types.
pub(crate) unsafe trait CStruct {}

/// Null, or a pointer to an initialized `T` that stays in place.
///
/// A handle stays in place until its close callback, a request until its callback, a loop until
/// `uv_loop_close`, and everything else during the call.
#[repr(transparent)]
pub struct CPtr<T>(*mut T);

impl<T> CPtr<T> {
    pub(crate) const NULL: Self = Self(ptr::null_mut());

    /// # Safety
    ///
    /// `pointer` keeps the promise of the type.
    pub(crate) const unsafe fn new(pointer: *mut T) -> Self {
        Self(pointer)
    }

    /// A reference to the target; `None` for null. It must not be held across a callback that may
    /// end the promise.
    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        // SAFETY: the promise of the type. The members that the program writes are cells
        // (`types.rs`).
        unsafe { self.0.as_ref() }
    }

    /// A copy of the target, which need not be aligned.
    pub(crate) fn copied(self) -> Option<T>
    where
        T: Copy,
    {
        // SAFETY: the promise of the type.
        (!self.0.is_null()).then(|| unsafe { self.0.read_unaligned() })
    }

    /// The array that begins there, with the length that the program passes beside the pointer.
    pub(crate) fn list(&self, count: usize) -> Option<&[T]> {
        let most = isize::MAX.unsigned_abs() / size_of::<T>().max(1);
        // SAFETY: the promise of the type, for `count` elements. The limit is that of a slice.
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
        // SAFETY: the program passed the callback for this target, which is in place. Callers hold
        // no reference to it or into its box, as the crate documentation requires.
        unsafe { callback(self) };
    }
}

impl<T> Clone for CPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for CPtr<T> {}

impl<T> PartialEq for CPtr<T> {
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self.0, other.0)
    }
}

impl<T> fmt::Debug for CPtr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Pointer::fmt(&self.0, f)
    }
}

/// Null, or memory for a `T` that need not be initialized.
#[repr(transparent)]
pub struct OutPtr<T>(*mut T);

impl<T> OutPtr<T> {
    /// Wraps memory of this library.
    pub(crate) const unsafe fn new(pointer: *mut T) -> Self {
        Self(pointer)
    }

    pub(crate) fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// The address, from which `with_exposed_provenance` restores the pointer.
    #[inline]
    pub(crate) fn expose(&self) -> usize {
        self.0.expose_provenance()
    }

    /// Stores a value; `None` for null. The memory need not be aligned.
    pub(crate) fn store(self, value: T) -> Option<()> {
        // SAFETY: the promise of the type.
        (!self.0.is_null()).then(|| unsafe { self.0.write_unaligned(value) })
    }

    /// Initializes a structure. It keeps the `data` that the program may have written before.
    /// `None` for null.
    pub(crate) fn initialize(self, with: impl FnOnce(UserData) -> T) -> Option<CPtr<T>>
    where
        T: CStruct,
    {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: there is memory for a structure that begins with `data`; `MaybeUninit` allows any
        // bytes.
        let data = unsafe { self.0.cast::<UserData>().read() };
        // SAFETY: the promise of the type.
        unsafe { self.0.write(with(data)) };
        Some(CPtr(self.0))
    }
}

/// Null, or memory of the length that the program passes beside it. The bytes need not be
/// initialized.
#[repr(transparent)]
pub struct OutBytes(*mut c_void);

impl OutBytes {
    /// The memory, of `len` bytes; `None` for null.
    pub(crate) fn room(&mut self, len: usize) -> Option<&mut UninitSlice> {
        if self.0.is_null() {
            return None;
        }
        let (bytes, len) = (
            self.0.cast::<MaybeUninit<u8>>(),
            len.min(isize::MAX.unsigned_abs()),
        );
        // SAFETY: the promise of the type. The limit is that of a slice.
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
pub struct CText(*const c_char);

impl CText {
    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// The string; `None` for null and for invalid UTF-8, which no address contains.
    pub(crate) fn get(&self) -> Option<&str> {
        // SAFETY: the promise of the type.
        (!self.0.is_null())
            .then(|| unsafe { CStr::from_ptr(self.0) })?
            .to_str()
            .ok()
    }
}

/// Null, or the octets of an IP address of the family that the program passes beside it.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct IpOctets(*const c_void);

impl IpOctets {
    /// The address.
    ///
    /// # Errors
    ///
    /// `EINVAL` for null, `EAFNOSUPPORT` for a family other than IPv4 and IPv6.
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
