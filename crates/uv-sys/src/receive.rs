//! Receiving: one datagram into the caller's memory, or many into a batch.

use std::fmt;
use std::io::IoSliceMut;
use std::os::fd::AsFd;

use crate::buffer::RecvBuffer;
use crate::cmsg::ControlMessages;
use crate::errno::{Errno, Result};
use crate::received::{Received, RecvOptions};
use crate::sys::{recv as sys, recv_ring::Ring};

/// Receives one datagram into `bufs`, one after another.
///
/// With [`set_gro`](super::option::set_gro) it may receive several coalesced datagrams of
/// [`segment_size`](crate::Metadata::segment_size) bytes each. Provide 65,535 bytes then.
///
/// # Errors
///
/// - `EAGAIN`: no datagram. Never waits, in either mode of the descriptor.
/// - `EMSGSIZE`: more than [`MAX_SLICES`](crate::MAX_SLICES) buffers.
/// - `ECONNREFUSED`, `EHOSTUNREACH` and others: an ICMP error about an earlier sent datagram.
///
/// See [recvmsg(2)](https://man7.org/linux/man-pages/man2/recvmsg.2.html).
///
/// ```
/// use std::io::IoSliceMut;
/// use std::net::UdpSocket;
/// use uv_sys::RecvOptions;
/// use uv_sys::message::recvmsg;
///
/// let receiver = UdpSocket::bind("127.0.0.1:0")?;
/// let sender = UdpSocket::bind("127.0.0.1:0")?;
/// sender.send_to(b"hello", receiver.local_addr()?)?;
///
/// let mut small = [0; 4];
/// let received = recvmsg(&receiver, &mut [IoSliceMut::new(&mut small)], RecvOptions::default())?;
/// assert_eq!((received.len, received.full_len, received.truncated), (4, 5, true));
/// assert_eq!(received.source, Some(sender.local_addr()?));
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "recv")]
#[doc(alias = "recvfrom")]
#[inline]
pub fn recvmsg(
    fd: impl AsFd,
    bufs: &mut [IoSliceMut<'_>],
    options: RecvOptions,
) -> Result<Received> {
    sys::recvmsg(fd.as_fd(), bufs, options)
}

/// Receives one datagram into one buffer, which may be uninitialised. Otherwise as [`recvmsg`].
///
/// Writes exactly [`Received::len`] bytes, from the start.
///
/// ```
/// use std::mem::MaybeUninit;
/// use std::net::UdpSocket;
/// use uv_sys::{RecvOptions, UninitSlice};
/// use uv_sys::message::recv_into;
///
/// let socket = UdpSocket::bind("127.0.0.1:0")?;
/// socket.send_to(b"hello", socket.local_addr()?)?;
///
/// let mut memory = [MaybeUninit::uninit(); 1_500];
/// let received = recv_into(&socket, UninitSlice::uninit(&mut memory), RecvOptions::default())?;
/// assert_eq!(received.len, 5);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// Those of [`recvmsg`], without `EMSGSIZE`.
///
/// See [recvmsg(2)](https://man7.org/linux/man-pages/man2/recvmsg.2.html).
#[doc(alias = "recvmsg")]
#[inline]
pub fn recv_into(
    fd: impl AsFd,
    buffer: &mut (impl RecvBuffer + ?Sized),
    options: RecvOptions,
) -> Result<Received> {
    sys::recv_into(fd.as_fd(), buffer.as_uninit(), options)
}

/// Receives one datagram, and returns its control messages undecoded, including those that
/// [`Metadata`](crate::Metadata) has no field for.
///
/// [`RecvOptions::control`] has no effect, and [`Received::metadata`] is empty:
/// [`Metadata::from_control`](crate::Metadata::from_control) makes it. The kernel drops messages
/// that do not fit into `control`.
///
/// # Errors
///
/// Those of [`recvmsg`].
///
/// See [recvmsg(2)](https://man7.org/linux/man-pages/man2/recvmsg.2.html),
/// [cmsg(3)](https://man7.org/linux/man-pages/man3/cmsg.3.html).
///
/// ```
/// use std::io::IoSliceMut;
/// use std::net::UdpSocket;
/// use uv_sys::{ControlMessage, RecvOptions};
/// use uv_sys::message::recvmsg_with_control;
/// use uv_sys::option::set_recv_ttl;
///
/// let socket = UdpSocket::bind("127.0.0.1:0")?;
/// set_recv_ttl(&socket, true)?;
/// socket.send_to(b"hello", socket.local_addr()?)?;
/// let (mut bytes, mut control) = ([0; 64], [0; 64]);
/// let bufs = &mut [IoSliceMut::new(&mut bytes)];
/// let (_, mut messages) = recvmsg_with_control(&socket, bufs, &mut control, RecvOptions::default())?;
/// assert!(matches!(messages.next(), Some(ControlMessage::Ttl(1..))));
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "recvmsg")]
pub fn recvmsg_with_control<'c>(
    fd: impl AsFd,
    bufs: &mut [IoSliceMut<'_>],
    control: &'c mut [u8],
    options: RecvOptions,
) -> Result<(Received, ControlMessages<'c>)> {
    let (received, len) = sys::recv_with(fd.as_fd(), bufs, control, options)?;
    let control: &'c [u8] = control;
    Ok((
        received,
        ControlMessages::new(control.get(..len).unwrap_or_default()),
    ))
}

/// Memory to receive many datagrams with one system call: a number of slots of equal length.
///
/// The batch allocates zeroed memory in one piece. The kernel backs the pages of a large batch only
/// when it stores a datagram there.
///
/// ```
/// use std::net::UdpSocket;
/// use uv_sys::{RecvBatch, RecvOptions};
///
/// let receiver = UdpSocket::bind("127.0.0.1:0")?;
/// let sender = UdpSocket::bind("127.0.0.1:0")?;
/// sender.send_to(b"one", receiver.local_addr()?)?;
/// sender.send_to(b"two", receiver.local_addr()?)?;
///
/// let mut batch = RecvBatch::new(64, 1_500);
/// let count = batch.recv(&receiver, batch.slots(), RecvOptions::default())?;
/// let texts: Vec<&[u8]> = (0..count).filter_map(|i| batch.get(i)).map(|(bytes, _)| bytes).collect();
/// assert_eq!(texts, [b"one", b"two"]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct RecvBatch {
    ring: Ring,
}

impl RecvBatch {
    /// The maximum number of slots: the most that the kernel fills in one call.
    pub const MAX_SLOTS: usize = crate::sys::limits::IOV_MAX;
    /// The maximum bytes of a slot: no datagram and no coalesced buffer is longer.
    pub const MAX_SLOT_LEN: usize = 65_536;

    /// Makes a batch of `slots` slots (1 to [`MAX_SLOTS`](Self::MAX_SLOTS)) of `slot_len` bytes (1
    /// to [`MAX_SLOT_LEN`](Self::MAX_SLOT_LEN)). Clamps values outside of these ranges.
    #[must_use]
    pub fn new(slots: usize, slot_len: usize) -> RecvBatch {
        RecvBatch {
            ring: Ring::new(
                slots.clamp(1, Self::MAX_SLOTS),
                slot_len.clamp(1, Self::MAX_SLOT_LEN),
            ),
        }
    }

    /// The number of slots.
    #[inline]
    #[must_use]
    pub fn slots(&self) -> usize {
        self.ring.slots()
    }

    /// The bytes of one slot.
    #[inline]
    #[must_use]
    pub fn slot_len(&self) -> usize {
        self.ring.slot_len()
    }

    /// Receives up to `max` datagrams, at most one per slot, and returns their number, at least 1.
    /// Discards the former contents of the slots, also after an error.
    ///
    /// A `max` of 1 is one recvmsg(2). So is [`RecvOptions::peek`] with any `max`, because the
    /// kernel would store the same datagram in each slot. After recvmmsg(2) was refused (`ENOSYS`,
    /// or `EPERM` from a sandbox), the batch calls recvmsg(2) several times: see
    /// [`take_interruption`](Self::take_interruption).
    ///
    /// # Errors
    ///
    /// `EINVAL` if `max` is 0; otherwise those of [`recvmsg`].
    ///
    /// See [recvmmsg(2)](https://man7.org/linux/man-pages/man2/recvmmsg.2.html).
    #[doc(alias = "recvmmsg")]
    #[inline]
    pub fn recv(&mut self, fd: impl AsFd, max: usize, options: RecvOptions) -> Result<usize> {
        let max = if options.peek { max.min(1) } else { max };
        if max == 0 {
            self.ring.forget();
            return Err(Errno::EINVAL);
        }
        self.ring.recv(fd.as_fd(), max, options)
    }

    /// As [`recv`](Self::recv), into `memory` instead of the batch's: datagram `i` is stored at
    /// `i * slot_len()`.
    ///
    /// [`received`](Self::received) describes the datagrams; [`get`](Self::get) returns `None` after
    /// this call. The memory may be uninitialised, and only bytes of datagrams are written.
    ///
    /// ```
    /// use std::net::UdpSocket;
    /// use uv_sys::{RecvBatch, RecvOptions};
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// socket.send_to(b"one", socket.local_addr()?)?;
    /// socket.send_to(b"four", socket.local_addr()?)?;
    ///
    /// let mut memory = vec![0; 10 * 1_500];
    /// let mut batch = RecvBatch::new(64, 1_500);
    /// assert_eq!(batch.recv_into(&socket, &mut memory, 10, RecvOptions::default())?, 2);
    /// assert_eq!(batch.received(1).map(|received| received.len), Some(4));
    /// assert_eq!(&memory[1_500..1_504], b"four");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `EINVAL` if `max` is 0, or `memory` shorter than one slot; otherwise those of [`recvmsg`].
    ///
    /// See [recvmmsg(2)](https://man7.org/linux/man-pages/man2/recvmmsg.2.html).
    #[doc(alias = "recvmmsg")]
    pub fn recv_into(
        &mut self,
        fd: impl AsFd,
        memory: &mut (impl RecvBuffer + ?Sized),
        max: usize,
        options: RecvOptions,
    ) -> Result<usize> {
        let memory = memory.as_uninit();
        let max = if options.peek { max.min(1) } else { max };
        if max == 0 || memory.len() < self.slot_len() {
            self.ring.forget();
            return Err(Errno::EINVAL);
        }
        self.ring.recv_into(fd.as_fd(), memory, max, options)
    }

    /// Takes the error that ended the last call after at least one datagram, where recvmsg(2)
    /// replaces recvmmsg(2). Otherwise `None`: recvmmsg(2) leaves such an error pending. The next
    /// call discards it, so check after a call that returned fewer than `max`.
    #[must_use]
    pub fn take_interruption(&mut self) -> Option<Errno> {
        self.ring.take_interruption()
    }

    /// A datagram of the last [`recv`](Self::recv): its bytes and their description. `None` if
    /// `index` is not below the number that it returned.
    #[inline]
    #[must_use]
    pub fn get(&self, index: usize) -> Option<(&[u8], &Received)> {
        self.ring.get(index)
    }

    /// The description of a datagram of the last [`recv`](Self::recv) or
    /// [`recv_into`](Self::recv_into). `None` if `index` is not below the number that it returned.
    #[inline]
    #[must_use]
    pub fn received(&self, index: usize) -> Option<&Received> {
        self.ring.received(index)
    }
}

impl fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvBatch")
            .field("slots", &self.slots())
            .field("slot_len", &self.slot_len())
            .finish_non_exhaustive()
    }
}
