//! Memory to receive into, which may be uninitialised.

use std::fmt;
use std::mem::MaybeUninit;
use std::ptr;

/// Bytes that can be written but not read, because they may be uninitialised.
///
/// The kernel fills memory without reading it, so receive buffers may come straight from `malloc`.
/// Safe code can neither read an uninitialised byte from this type nor write one into it.
///
/// ```
/// use std::mem::MaybeUninit;
/// use uv_sys::UninitSlice;
///
/// let mut fresh = [MaybeUninit::uninit(); 8];
/// assert_eq!(UninitSlice::uninit(&mut fresh).write(b"hello"), 5);
///
/// let mut bytes = *b"........";
/// UninitSlice::new(&mut bytes).write(b"hello");
/// assert_eq!(&bytes, b"hello...");
/// ```
#[repr(transparent)]
pub struct UninitSlice([MaybeUninit<u8>]);

impl UninitSlice {
    /// Wraps bytes that are initialised, and stay so.
    #[inline]
    #[must_use]
    pub fn new(bytes: &mut [u8]) -> &mut UninitSlice {
        let bytes: *mut [u8] = bytes;
        // SAFETY: `UninitSlice` is transparent over `[MaybeUninit<u8>]`, which is laid out as
        // `[u8]`, and the result borrows `bytes`. Nothing uninitialised is ever written through it:
        // the only writers are `write` and the kernel.
        unsafe { &mut *(bytes as *mut UninitSlice) }
    }

    /// Wraps bytes that may be uninitialised.
    #[inline]
    #[must_use]
    pub fn uninit(bytes: &mut [MaybeUninit<u8>]) -> &mut UninitSlice {
        let bytes: *mut [MaybeUninit<u8>] = bytes;
        // SAFETY: `UninitSlice` is transparent over `[MaybeUninit<u8>]`, and the result borrows
        // `bytes`.
        unsafe { &mut *(bytes as *mut UninitSlice) }
    }

    /// The number of bytes.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Copies as many of `bytes` to the start as fit, and returns their number.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let count = self.len().min(bytes.len());
        // SAFETY: both have `count` bytes, and do not overlap: this one is exclusively borrowed.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.as_mut_ptr(), count) };
        count
    }

    /// Only for writes, such as the kernel's.
    #[inline]
    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast()
    }
}

impl fmt::Debug for UninitSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UninitSlice")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// A receive buffer: every `AsMut<[u8]>` (`Vec<u8>`, `[u8]`, arrays …), and your own types with
/// uninitialised memory.
///
/// ```
/// use std::mem::MaybeUninit;
/// use uv_sys::{RecvBuffer, UninitSlice};
///
/// /// Memory that is not zeroed.
/// struct Fresh(Box<[MaybeUninit<u8>]>);
///
/// impl RecvBuffer for Fresh {
///     fn as_uninit(&mut self) -> &mut UninitSlice {
///         UninitSlice::uninit(&mut self.0)
///     }
/// }
/// # assert_eq!(Fresh(Box::new_uninit_slice(9)).as_uninit().len(), 9);
/// ```
pub trait RecvBuffer {
    /// The memory of the buffer.
    fn as_uninit(&mut self) -> &mut UninitSlice;
}

impl<B: AsMut<[u8]> + ?Sized> RecvBuffer for B {
    #[inline]
    fn as_uninit(&mut self) -> &mut UninitSlice {
        UninitSlice::new(self.as_mut())
    }
}

impl RecvBuffer for UninitSlice {
    #[inline]
    fn as_uninit(&mut self) -> &mut UninitSlice {
        self
    }
}
