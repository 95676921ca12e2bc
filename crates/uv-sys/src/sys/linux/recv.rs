//! recvmsg(2) and recvmmsg(2).

use std::io::IoSliceMut;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

#[cfg(not(miri))]
use libc as kernel;

use super::addr::RawAddr;
use super::cmsg::ControlBuffer;
#[cfg(miri)]
use super::pretended as kernel;
use super::syscall::{control_len, empty_header, length, syscall};
use crate::buffer::UninitSlice;
use crate::cmsg::ControlMessages;
use crate::errno::Result;
use crate::received::{Metadata, Received, RecvOptions};

/// With MSG_TRUNC the kernel returns the length of the whole datagram.
pub(crate) fn flags(options: RecvOptions) -> libc::c_int {
    let peek = if options.peek { libc::MSG_PEEK } else { 0 };
    libc::MSG_DONTWAIT | libc::MSG_TRUNC | peek
}

#[inline]
pub(crate) fn recvmsg(
    fd: BorrowedFd<'_>,
    bufs: &mut [IoSliceMut<'_>],
    options: RecvOptions,
) -> Result<Received> {
    recv_decoded(fd, Room::of_slices(bufs), options)
}

#[inline]
pub(crate) fn recv_into(
    fd: BorrowedFd<'_>,
    memory: &mut UninitSlice,
    options: RecvOptions,
) -> Result<Received> {
    let mut iovec = libc::iovec {
        iov_base: memory.as_mut_ptr().cast(),
        iov_len: memory.len(),
    };
    // SAFETY: one buffer, `memory`, which is borrowed for the call.
    let room = unsafe { Room::new(&raw mut iovec, 1, memory.len()) };
    recv_decoded(fd, room, options)
}

/// Receives without decoding control messages, and returns their length in bytes.
#[inline]
pub(crate) fn recv_with(
    fd: BorrowedFd<'_>,
    bufs: &mut [IoSliceMut<'_>],
    control: &mut [u8],
    options: RecvOptions,
) -> Result<(Received, usize)> {
    recv_room(fd, Room::of_slices(bufs), control, options)
}

#[inline]
fn recv_decoded(fd: BorrowedFd<'_>, room: Room<'_>, options: RecvOptions) -> Result<Received> {
    if options.control {
        let mut control = ControlBuffer::zeroed();
        let (mut received, control_len) = recv_room(fd, room, &mut control.0, options)?;
        let control = control.0.get(..control_len).unwrap_or_default();
        received.metadata = Metadata::from_control(ControlMessages::new(control));
        Ok(received)
    } else {
        recv_room(fd, room, &mut [], options).map(|(received, _)| received)
    }
}

/// A list of buffers, borrowed for the kernel to write to.
struct Room<'a> {
    list: *mut libc::iovec,
    count: usize,
    /// The sum of all buffers.
    bytes: usize,
    borrowed: PhantomData<&'a mut [u8]>,
}

impl<'a> Room<'a> {
    /// # Safety
    ///
    /// `list` has `count` buffers with `bytes` bytes in all. The list and the buffers are
    /// exclusively borrowed for `'a`.
    #[inline]
    unsafe fn new(list: *mut libc::iovec, count: usize, bytes: usize) -> Room<'a> {
        Room {
            list,
            count,
            bytes,
            borrowed: PhantomData,
        }
    }

    #[inline]
    fn of_slices(bufs: &'a mut [IoSliceMut<'_>]) -> Room<'a> {
        let bytes = bufs
            .iter()
            .fold(0_usize, |sum, buf| sum.saturating_add(buf.len()));
        // SAFETY: the standard library guarantees that an IoSliceMut has the layout of an iovec. It
        // borrows its buffer exclusively.
        unsafe { Room::new(bufs.as_mut_ptr().cast(), bufs.len(), bytes) }
    }
}

#[inline]
fn recv_room(
    fd: BorrowedFd<'_>,
    room: Room<'_>,
    control: &mut [u8],
    options: RecvOptions,
) -> Result<(Received, usize)> {
    let mut name = RawAddr::zeroed();
    let mut header = empty_header();
    if options.source {
        header.msg_name = name.as_mut_ptr().cast();
        header.msg_namelen = RawAddr::SIZE;
    }
    header.msg_iov = room.list;
    header.msg_iovlen = room.count as _;
    if !control.is_empty() {
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = control.len() as _;
    }
    // SAFETY: the header points at `name`, `control` and `room`, which are exclusively borrowed and
    // have the given lengths: see `Room::new`.
    let full_len = unsafe { recv_header(fd, &mut header, flags(options)) }?;
    let received = Received {
        len: full_len.min(room.bytes),
        full_len,
        source: if options.source {
            name.decode(header.msg_namelen)
        } else {
            None
        },
        truncated: full_len > room.bytes,
        metadata: Metadata::default(),
    };
    Ok((received, control_len(&header)))
}

/// # Safety
///
/// The header's pointers must be writable for the lengths given in it.
#[inline]
unsafe fn recv_header(
    fd: BorrowedFd<'_>,
    header: &mut libc::msghdr,
    flags: libc::c_int,
) -> Result<usize> {
    #[cfg(feature = "fault-injection")]
    crate::fault::before(crate::fault::Call::Recvmsg)?;
    // SAFETY: the caller guarantees it.
    let len = syscall!(unsafe { kernel::recvmsg(fd.as_raw_fd(), header, flags) })?;
    length(len)
}

/// Receives into the header's one buffer. Without control messages it calls recvfrom(2): the kernel
/// then copies no header and no list of buffers, a tenth of the cost of a small datagram.
///
/// # Safety
///
/// The header's pointers must be writable for the lengths given in it, and it must have one buffer.
#[inline]
pub(crate) unsafe fn recv_one(
    fd: BorrowedFd<'_>,
    header: &mut libc::msghdr,
    flags: libc::c_int,
) -> Result<usize> {
    if !header.msg_control.is_null() {
        // SAFETY: the caller guarantees it.
        return unsafe { recv_header(fd, header, flags) };
    }
    #[cfg(feature = "fault-injection")]
    crate::fault::before(crate::fault::Call::Recvmsg)?;
    let name: *mut libc::sockaddr = header.msg_name.cast();
    let name_len = if name.is_null() {
        ptr::null_mut()
    } else {
        &raw mut header.msg_namelen
    };
    // SAFETY: the caller guarantees one buffer, and a name of msg_namelen bytes or none.
    let len = syscall!(unsafe {
        let buffer = &*header.msg_iov;
        kernel::recvfrom(
            fd.as_raw_fd(),
            buffer.iov_base,
            buffer.iov_len,
            flags,
            name,
            name_len,
        )
    })?;
    length(len)
}
