//! sendmsg(2) and sendmmsg(2).

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use super::addr::RawAddr;
use super::cmsg::ControlBuffer;
use super::options;
use super::syscall::{empty_header, length, syscall};
use crate::errno::{Errno, Result};
use crate::payload::{MAX_SLICES, Payload};
use crate::transmit::Transmit;
use crate::transmit_control::encode;

#[inline]
pub(crate) fn sendmsg(fd: BorrowedFd<'_>, transmit: &Transmit<'_>) -> Result<usize> {
    if !transmit.is_plain() {
        return send_controlled(fd, transmit);
    }
    match transmit.payload {
        Payload::Bytes(bytes) => send_bytes(fd, bytes, transmit.destination.as_ref()),
        payload @ Payload::Slices([_, ..]) if payload.len() <= GATHERED => {
            send_gathered(fd, payload, transmit.destination.as_ref())
        }
        payload => send_with(fd, payload, transmit.destination.as_ref(), &[]),
    }
}

/// The message with a whole TOS byte: the kernel takes no ECN bits alone.
pub(crate) fn whole_tos<'a>(
    fd: BorrowedFd<'_>,
    transmit: &Transmit<'a>,
    of_socket: &mut Option<u8>,
) -> Result<Transmit<'a>> {
    let default = match (transmit.tos, *of_socket) {
        (Some(own), _) => own,
        (None, Some(known)) => known,
        (None, None) => *of_socket.insert(options::tos(fd)?),
    };
    Ok(transmit.with_default_tos(default))
}

/// Slices with this many bytes together, or fewer, are copied into one buffer: the kernel takes longer to read a list of a
/// few small slices than we to copy them.
const GATHERED: usize = 256;

#[inline]
fn send_gathered(
    fd: BorrowedFd<'_>,
    payload: Payload<'_>,
    destination: Option<&std::net::SocketAddr>,
) -> Result<usize> {
    let mut gathered = [0; GATHERED];
    let mut len = 0;
    for slice in payload.slices() {
        let end = len + slice.len();
        gathered
            .get_mut(len..end)
            .ok_or(Errno::EMSGSIZE)?
            .copy_from_slice(slice);
        len = end;
    }
    send_bytes(fd, gathered.get(..len).unwrap_or_default(), destination)
}

/// Sends one slice without a message header: sendto(2) spares the kernel a copy of the header and the list of slices, which
/// is a tenth of a small datagram's cost.
#[inline]
fn send_bytes(
    fd: BorrowedFd<'_>,
    bytes: &[u8],
    destination: Option<&std::net::SocketAddr>,
) -> Result<usize> {
    #[cfg(feature = "fault-injection")]
    crate::fault::before(crate::fault::Call::Sendmsg)?;
    let name;
    let (name, name_len) = match destination {
        Some(destination) => {
            name = RawAddr::encode(destination);
            (name.0.as_ptr(), name.1)
        }
        None => (ptr::null(), 0),
    };
    // SAFETY: the bytes and the name are borrowed for the call, and as long as said; the kernel only reads them.
    let sent = syscall!(unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT,
            name,
            name_len,
        )
    })?;
    length(sent)
}

/// Whether the kernel knows what a message asks for: an old one would pass over the segment size and send one large datagram.
/// The socket is asked, once for all sockets.
pub(crate) fn understands(fd: BorrowedFd<'_>, transmit: &Transmit<'_>) -> Result<()> {
    static SEGMENTS: AtomicBool = AtomicBool::new(false);
    static TIMES: AtomicBool = AtomicBool::new(false);
    if transmit.segment_size.is_some() && !is_known(&SEGMENTS) {
        options::segment_size(fd)?;
        SEGMENTS.store(true, Ordering::Relaxed);
    }
    if transmit.transmit_at.is_some() && !is_known(&TIMES) {
        options::txtime(fd)?;
        TIMES.store(true, Ordering::Relaxed);
    }
    Ok(())
}

fn is_known(known: &AtomicBool) -> bool {
    #[cfg(feature = "fault-injection")]
    if crate::fault::lacks_something() {
        return false;
    }
    known.load(Ordering::Relaxed)
}

/// Apart, so that the plain path does not pay for the buffer.
#[inline(never)]
fn send_controlled(fd: BorrowedFd<'_>, transmit: &Transmit<'_>) -> Result<usize> {
    understands(fd, transmit)?;
    let mut control = ControlBuffer::zeroed();
    let len = match transmit.ecn {
        None => encode(transmit, &mut control.0)?,
        Some(_) => encode(&whole_tos(fd, transmit, &mut None)?, &mut control.0)?,
    };
    send_with(
        fd,
        transmit.payload,
        transmit.destination.as_ref(),
        &control.0[..len],
    )
}

#[inline]
pub(crate) fn send_with(
    fd: BorrowedFd<'_>,
    payload: Payload<'_>,
    destination: Option<&std::net::SocketAddr>,
    control: &[u8],
) -> Result<usize> {
    let mut header = empty_header();
    let name;
    if let Some(destination) = destination {
        name = RawAddr::encode(destination);
        header.msg_name = name.0.as_ptr().cast_mut().cast();
        header.msg_namelen = name.1;
    }
    let mut single = iovec(&[]);
    (header.msg_iov, header.msg_iovlen) = vector(payload, &mut single)?;
    if !control.is_empty() {
        header.msg_control = control.as_ptr().cast_mut().cast();
        header.msg_controllen = control.len() as _;
    }
    // SAFETY: the header's pointers are to `name`, `single` or the payload's slices, and `control`, all alive here and
    // as long as said; the kernel only reads them.
    unsafe { send_header(fd, &header) }
}

/// # Safety
///
/// What the header points at must be readable for the lengths given in it.
#[inline]
pub(crate) unsafe fn send_header(fd: BorrowedFd<'_>, header: &libc::msghdr) -> Result<usize> {
    #[cfg(feature = "fault-injection")]
    crate::fault::before(crate::fault::Call::Sendmsg)?;
    // SAFETY: the caller's promise.
    let sent = syscall!(unsafe { libc::sendmsg(fd.as_raw_fd(), header, libc::MSG_DONTWAIT) })?;
    length(sent)
}

pub(crate) fn iovec(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

/// The payload as the kernel takes it: `single` for one piece, the caller's own list otherwise, for the standard
/// library promises that an IoSlice is laid out as an iovec.
#[inline]
pub(crate) fn vector(
    payload: Payload<'_>,
    single: &mut libc::iovec,
) -> Result<(*mut libc::iovec, usize)> {
    match payload {
        Payload::Bytes(bytes) => {
            *single = iovec(bytes);
            Ok((single, 1))
        }
        Payload::Slices([]) => Err(Errno::EINVAL),
        Payload::Slices(slices) if slices.len() > MAX_SLICES => Err(Errno::EMSGSIZE),
        Payload::Slices(slices) => Ok((slices.as_ptr().cast_mut().cast(), slices.len())),
    }
}
