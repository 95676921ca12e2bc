//! sendmmsg(2) and its arguments.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::addr::RawAddr;
use super::cmsg::ControlBuffer;
use super::refusal::Refusal;
use super::send::{iovec, send_header, understands, vector, whole_tos};
use super::syscall::{empty_header, syscall};
use crate::errno::{Errno, Result};
use crate::transmit::Transmit;
use crate::transmit_control::encode;

/// The arguments of sendmmsg(2) for a fixed number of messages.
///
/// Name and control pointers are set once: the vectors never grow, and moving them does not move
/// their elements. The payload pointers are those of the last `fill`, and only `send` follows them.
pub(crate) struct Scratch {
    headers: Vec<libc::mmsghdr>,
    names: Vec<RawAddr>,
    iovecs: Vec<libc::iovec>,
    controls: Vec<ControlBuffer>,
}

// SAFETY: the pointers point into the scratch's own heap memory, which moves with it, and at
// payloads. Only `send` follows the latter, whose caller guarantees that they are alive.
unsafe impl Send for Scratch {}
// SAFETY: no method takes a shared reference.
unsafe impl Sync for Scratch {}

impl Scratch {
    pub(crate) fn new(messages: usize) -> Scratch {
        let mut names = vec![RawAddr::zeroed(); messages];
        let mut controls = vec![ControlBuffer::zeroed(); messages];
        let headers = (0..messages)
            .map(|index| {
                let mut msg_hdr = empty_header();
                msg_hdr.msg_name = names.as_mut_ptr().wrapping_add(index).cast();
                msg_hdr.msg_control = controls.as_mut_ptr().wrapping_add(index).cast();
                libc::mmsghdr {
                    msg_hdr,
                    msg_len: 0,
                }
            })
            .collect();
        Scratch {
            headers,
            names,
            iovecs: vec![iovec(&[]); messages],
            controls,
        }
    }

    /// Encodes one message for this socket, whose TOS byte is read once and cached in `tos`.
    /// Returns `EINVAL` for an index out of range, and the errors of invalid messages.
    #[inline]
    pub(crate) fn fill(
        &mut self,
        fd: BorrowedFd<'_>,
        index: usize,
        transmit: &Transmit<'_>,
        tos: &mut Option<u8>,
    ) -> Result<()> {
        let (Some(message), Some(name), Some(control)) = (
            self.headers.get_mut(index),
            self.names.get_mut(index),
            self.controls.get_mut(index),
        ) else {
            return Err(Errno::EINVAL);
        };
        let header = &mut message.msg_hdr;
        // A length of 0 makes the kernel ignore the pointer.
        header.msg_namelen = match &transmit.destination {
            Some(destination) => name.set(destination),
            None => 0,
        };
        header.msg_controllen = if transmit.is_plain() {
            0
        } else {
            understands(fd, transmit)?;
            match transmit.ecn {
                None => encode(transmit, &mut control.0)? as _,
                Some(_) => encode(&whole_tos(fd, transmit, tos)?, &mut control.0)? as _,
            }
        };
        let mut single = iovec(&[]);
        let (list, len) = vector(transmit.payload, &mut single)?;
        header.msg_iovlen = len as _;
        header.msg_iov = if ptr::eq(list, &single) {
            let slot = self.iovecs.as_mut_ptr().wrapping_add(index);
            self.iovecs[index] = single;
            slot
        } else {
            list
        };
        Ok(())
    }

    /// Sends the first `count` messages, which may be none.
    ///
    /// # Safety
    ///
    /// `fill` must have filled them, and their payloads must still be borrowed.
    #[inline]
    pub(crate) unsafe fn send(&mut self, fd: BorrowedFd<'_>, count: usize) -> Result<usize> {
        let messages = self.headers.get_mut(..count).ok_or(Errno::EINVAL)?;
        match messages {
            [] => return Ok(0),
            [only] => {
                // SAFETY: name and control are in `names` and `controls`; the caller guarantees the
                // payload.
                return unsafe { send_header(fd, &only.msg_hdr) }.map(|_| 1);
            }
            _ if SENDMMSG.is_known() => {
                // SAFETY: as above for each of them.
                return unsafe { send_one_by_one(fd, messages) };
            }
            _ => {}
        }
        #[cfg(feature = "fault-injection")]
        let count = match crate::fault::before(crate::fault::Call::Sendmmsg) {
            // SAFETY: as above for each of them.
            Err(Errno::ENOSYS) => return unsafe { send_one_by_one(fd, messages) },
            step => step?.map_or(count, |most| most.min(count)),
        };
        // SAFETY: as above for each of them; `count` does not exceed the array.
        match unsafe { sendmmsg(fd.as_raw_fd(), messages.as_mut_ptr(), count) } {
            Err(error) if SENDMMSG.explains(error, probe_sendmmsg) => {
                // SAFETY: as above for each of them.
                unsafe { send_one_by_one(fd, messages) }
            }
            result => result,
        }
    }
}

/// Whether sendmmsg(2) is refused.
static SENDMMSG: Refusal = Refusal::new();

fn probe_sendmmsg() -> Errno {
    // SAFETY: no messages.
    let probed = unsafe { sendmmsg(-1, ptr::null_mut(), 0) };
    probed.err().unwrap_or(Errno::EBADF)
}

/// # Safety
///
/// `messages` must have `count` elements, whose pointers must be readable for the lengths given in
/// them.
#[inline]
unsafe fn sendmmsg(fd: libc::c_int, messages: *mut libc::mmsghdr, count: usize) -> Result<usize> {
    // SAFETY: the caller guarantees it.
    let sent = syscall!(unsafe {
        libc::sendmmsg(fd, messages, count as libc::c_uint, libc::MSG_DONTWAIT as _)
    })?;
    usize::try_from(sent).map_err(|_| Errno::EIO)
}

/// Replaces sendmmsg(2), with one system call per message.
///
/// # Safety
///
/// The headers' pointers must be readable for the lengths given in them.
#[cold]
unsafe fn send_one_by_one(fd: BorrowedFd<'_>, messages: &[libc::mmsghdr]) -> Result<usize> {
    for (sent, message) in messages.iter().enumerate() {
        // SAFETY: the caller guarantees it.
        match unsafe { send_header(fd, &message.msg_hdr) } {
            Ok(_) => {}
            Err(error) if sent == 0 => return Err(error),
            Err(_) => return Ok(sent),
        }
    }
    Ok(messages.len())
}
