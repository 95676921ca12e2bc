//! recvmsg(2) with MSG_ERRQUEUE.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::addr::RawAddr;
use super::cmsg::{CONTROL_SIZE, ControlBuffer, int};
use super::send::empty_header;
use crate::cmsg::{ControlMessage, ControlMessages};
use crate::errno::{Errno, Result};
use crate::error_queue::{ErrorOrigin, ExtendedError, QueuedError};

/// Decodes a `struct sock_extended_err` (16 bytes) and the offender's socket address behind it.
pub(crate) fn decode(data: &[u8]) -> Option<ExtendedError> {
    let &[origin, kind, code, _pad] = data.get(4..8)? else {
        return None;
    };
    Some(ExtendedError {
        errno: Errno::from_raw(int(data)?),
        origin: match origin {
            libc::SO_EE_ORIGIN_LOCAL => ErrorOrigin::Local,
            libc::SO_EE_ORIGIN_ICMP => ErrorOrigin::Icmp,
            libc::SO_EE_ORIGIN_ICMP6 => ErrorOrigin::Icmp6,
            other => ErrorOrigin::Other(other),
        },
        kind,
        code,
        info: int(data.get(8..)?)?.cast_unsigned(),
        offender: data.get(16..).and_then(offender),
    })
}

/// The address in a sockaddr_in or sockaddr_in6; the kernel sets AF_UNSPEC for none.
fn offender(sockaddr: &[u8]) -> Option<IpAddr> {
    let family = u16::from_ne_bytes(sockaddr.get(..2)?.try_into().ok()?);
    match i32::from(family) {
        libc::AF_INET => {
            let octets: [u8; 4] = sockaddr.get(4..8)?.try_into().ok()?;
            Some(IpAddr::V4(Ipv4Addr::from(octets)))
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = sockaddr.get(8..24)?.try_into().ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(octets)))
        }
        _ => None,
    }
}

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
    // SAFETY: the header's pointers are to what was made above and to the caller's buffer, all exclusively borrowed
    // here and as long as said.
    let len = syscall!(unsafe { libc::recvmsg(fd.as_raw_fd(), &mut header, flags) })?;
    let payload_len = super::length(len)?;
    let control = control
        .0
        .get(..super::control_len(&header))
        .unwrap_or_default();
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
