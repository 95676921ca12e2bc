//! The payload of a message.

use std::io::IoSlice;
use std::slice;

use crate::errno::{Errno, Result};

/// The largest payload in bytes that [`Payload::check`] accepts: that of an IPv4 packet without
/// options (65,535 minus 20 bytes of IP header and 8 of UDP header). IPv6 allows 20 bytes more,
/// which this crate does not use.
pub const MAX_DATAGRAM: usize = 65_507;

/// The largest number of slices in one payload: `IOV_MAX`.
#[doc(alias = "IOV_MAX")]
#[doc(alias = "UIO_MAXIOV")]
pub const MAX_SLICES: usize = crate::sys::limits::IOV_MAX;

/// The bytes of one message, in one slice or in several that are sent back to back.
///
/// ```
/// use std::io::IoSlice;
/// use uv_sys::Payload;
///
/// let whole = Payload::from("hello");
/// let slices = [IoSlice::new(b"hel"), IoSlice::new(b"lo")];
/// let gathered = Payload::from(&slices);
/// assert_eq!(whole.len(), gathered.len());
/// assert_eq!(gathered.slice_count(), 2);
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// One slice.
    Bytes(&'a [u8]),
    /// Several slices, in order.
    Slices(&'a [IoSlice<'a>]),
}

impl<'a> Payload<'a> {
    /// Total bytes, at most `usize::MAX`, which overlapping slices can reach.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Payload::Bytes(bytes) => bytes.len(),
            Payload::Slices(slices) => slices
                .iter()
                .fold(0, |sum, slice| sum.saturating_add(slice.len())),
        }
    }

    /// Whether the payload has no bytes. An empty datagram is valid.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Payload::Bytes(bytes) => bytes.is_empty(),
            Payload::Slices(slices) => slices.iter().all(|slice| slice.is_empty()),
        }
    }

    /// The number of slices: 1 for [`Payload::Bytes`].
    #[inline]
    #[must_use]
    pub fn slice_count(&self) -> usize {
        match self {
            Payload::Bytes(_) => 1,
            Payload::Slices(slices) => slices.len(),
        }
    }

    /// The slices, in order.
    #[inline]
    pub fn slices(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (one, many): (Option<&'a [u8]>, &'a [IoSlice<'a>]) = match *self {
            Payload::Bytes(bytes) => (Some(bytes), &[]),
            Payload::Slices(slices) => (None, slices),
        };
        one.into_iter().chain(many.iter().map(|slice| &**slice))
    }

    /// Checks whether the payload can be one message.
    ///
    /// # Errors
    ///
    /// `EINVAL` for an empty list of slices; `EMSGSIZE` for more than [`MAX_SLICES`] of them or
    /// more than [`MAX_DATAGRAM`] bytes.
    #[inline]
    pub fn check(self) -> Result<()> {
        match self {
            Payload::Slices([]) => return Err(Errno::EINVAL),
            Payload::Slices(slices) if slices.len() > MAX_SLICES => return Err(Errno::EMSGSIZE),
            _ => {}
        }
        if self.len() > MAX_DATAGRAM {
            return Err(Errno::EMSGSIZE);
        }
        Ok(())
    }
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    #[inline]
    fn from(bytes: &'a [u8]) -> Payload<'a> {
        Payload::Bytes(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Payload<'a> {
    #[inline]
    fn from(bytes: &'a [u8; N]) -> Payload<'a> {
        Payload::Bytes(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Payload<'a> {
    #[inline]
    fn from(bytes: &'a Vec<u8>) -> Payload<'a> {
        Payload::Bytes(bytes)
    }
}

impl<'a> From<&'a str> for Payload<'a> {
    #[inline]
    fn from(text: &'a str) -> Payload<'a> {
        Payload::Bytes(text.as_bytes())
    }
}

impl<'a> From<&'a String> for Payload<'a> {
    #[inline]
    fn from(text: &'a String) -> Payload<'a> {
        Payload::Bytes(text.as_bytes())
    }
}

impl<'a> From<&'a [IoSlice<'a>]> for Payload<'a> {
    #[inline]
    fn from(slices: &'a [IoSlice<'a>]) -> Payload<'a> {
        Payload::Slices(slices)
    }
}

impl<'a, const N: usize> From<&'a [IoSlice<'a>; N]> for Payload<'a> {
    #[inline]
    fn from(slices: &'a [IoSlice<'a>; N]) -> Payload<'a> {
        Payload::Slices(slices)
    }
}

impl<'a> From<&'a Vec<IoSlice<'a>>> for Payload<'a> {
    #[inline]
    fn from(slices: &'a Vec<IoSlice<'a>>) -> Payload<'a> {
        Payload::Slices(slices)
    }
}

impl<'a> From<&'a IoSlice<'a>> for Payload<'a> {
    #[inline]
    fn from(slice: &'a IoSlice<'a>) -> Payload<'a> {
        Payload::Slices(slice::from_ref(slice))
    }
}
