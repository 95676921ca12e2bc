//! recvmsg(2) with MSG_ERRQUEUE.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::addr::RawAddr;
use super::cmsg::{CONTROL_SIZE, ControlBuffer};
use super::syscall::{control_len, empty_header, length, syscall};
use crate::cmsg::ControlMessages;
use crate::control_message::ControlMessage;
use crate::errno::{Errno, Result};
use crate::queued_error::QueuedError;

pub(crate) fn recv_error(fd: BorrowedFd<'_>, buf: &mut [u8]) -> Result<QueuedError> {
    let mut name = RawAddr::zeroed();
    let mut control = ControlBuffer::zeroed();
    let mut iovec = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    let mut header = empty_header();
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = RawAddr::SIZE;
    header.msg_iov = &raw mut iovec;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_SIZE as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the header points at the locals above and at the caller's buffer, which are
    // exclusively borrowed and have the given lengths.
    let len = syscall!(unsafe { libc::recvmsg(fd.as_raw_fd(), &mut header, flags) })?;
    let payload_len = length(len)?;
    let control = control.0.get(..control_len(&header)).unwrap_or_default();
    let error = ControlMessages::new(control)
        .find_map(|message| match message {
            ControlMessage::Error(error) => Some(error),
            _ => None,
        })
        .ok_or(Errno::EBADMSG)?;
    Ok(QueuedError {
        errno: error.errno,
        origin: error.origin,
        kind: error.kind,
        code: error.code,
        info: error.info,
        destination: name.decode(header.msg_namelen),
        offender: error.offender,
        payload_len,
    })
}
