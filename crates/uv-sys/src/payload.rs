//! What one datagram carries.

use std::io::IoSlice;
use std::slice;

use crate::errno::{Errno, Result};

/// The largest payload in bytes that [`Payload::check`] lets through: what fits into an IPv4 packet without options
/// (65,535 minus 20 bytes of IP header and 8 of UDP header). IPv6 has room for 20 more, which nothing relies on.
pub const MAX_DATAGRAM: usize = 65_507;

/// The largest number of slices in one payload: `IOV_MAX`.
#[doc(alias = "IOV_MAX")]
#[doc(alias = "UIO_MAXIOV")]
pub const MAX_SLICES: usize = crate::sys::limits::IOV_MAX;

/// The bytes of one datagram (or of one run of segments): in one piece, or in pieces that are sent one after another.
///
/// ```
/// use std::io::IoSlice;
/// use uv_sys::Payload;
///
/// let whole = Payload::from("hello");
/// let pieces = [IoSlice::new(b"hel"), IoSlice::new(b"lo")];
/// let gathered = Payload::from(&pieces);
/// assert_eq!(whole.len(), gathered.len());
/// assert_eq!(gathered.slice_count(), 2);
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// One piece.
    Bytes(&'a [u8]),
    /// Several pieces, in order.
    Slices(&'a [IoSlice<'a>]),
}

impl<'a> Payload<'a> {
    /// Bytes in all; stops at `usize::MAX`, which slices that overlap can reach.
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

    /// Whether there are no bytes. An empty datagram is a datagram all the same.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Payload::Bytes(bytes) => bytes.is_empty(),
            Payload::Slices(slices) => slices.iter().all(|slice| slice.is_empty()),
        }
    }

    /// The number of pieces: 1 for [`Payload::Bytes`].
    #[inline]
    #[must_use]
    pub fn slice_count(&self) -> usize {
        match self {
            Payload::Bytes(_) => 1,
            Payload::Slices(slices) => slices.len(),
        }
    }

    /// The pieces, in order.
    #[inline]
    pub fn slices(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (one, many): (Option<&'a [u8]>, &'a [IoSlice<'a>]) = match *self {
            Payload::Bytes(bytes) => (Some(bytes), &[]),
            Payload::Slices(slices) => (None, slices),
        };
        one.into_iter().chain(many.iter().map(|slice| &**slice))
    }

    /// Whether this can be one datagram at all.
    ///
    /// # Errors
    ///
    /// `EINVAL` for an empty list of slices; `EMSGSIZE` for more than [`MAX_SLICES`] of them or more than
    /// [`MAX_DATAGRAM`] bytes.
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
