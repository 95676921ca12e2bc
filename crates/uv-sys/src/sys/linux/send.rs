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

/// Completes the TOS byte of a message: the kernel does not accept ECN bits alone.
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

/// Total bytes up to which slices are copied into one buffer. For a few small slices the copy is
/// faster than the kernel's import of the list.
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

/// Sends one slice with sendto(2): the kernel then copies no header and no list of slices, a tenth
/// of the cost of a small datagram.
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
    // SAFETY: the bytes and the name are borrowed for the call and have the given lengths; the
    // kernel only reads them.
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

/// Checks that the kernel supports the options of a message: an old kernel would ignore the segment
/// size and send one large datagram. It asks one socket for all.
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

/// Not inlined, so that the plain path does not reserve the buffer on its stack.
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
    // SAFETY: the header points at `name`, `control`, and `single` or the payload's slices. All are
    // borrowed here and have the given lengths; the kernel only reads them.
    unsafe { send_header(fd, &header) }
}

/// # Safety
///
/// The header's pointers must be readable for the lengths given in it.
#[inline]
pub(crate) unsafe fn send_header(fd: BorrowedFd<'_>, header: &libc::msghdr) -> Result<usize> {
    #[cfg(feature = "fault-injection")]
    crate::fault::before(crate::fault::Call::Sendmsg)?;
    // SAFETY: the caller guarantees it.
    let sent = syscall!(unsafe { libc::sendmsg(fd.as_raw_fd(), header, libc::MSG_DONTWAIT) })?;
    length(sent)
}

pub(crate) fn iovec(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

/// The kernel's list of slices: `single` for one slice, the caller's list otherwise. The standard
/// library guarantees that an IoSlice has the layout of an iovec.
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
