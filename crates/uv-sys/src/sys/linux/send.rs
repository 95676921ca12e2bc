//! sendmsg(2) and sendmmsg(2).

use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use super::addr::RawAddr;
use super::cmsg::{self, ControlBuffer};
use super::options;
use super::refusal::Refusal;
use crate::errno::{Errno, Result};
use crate::payload::{MAX_SLICES, Payload};
use crate::transmit::Transmit;

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
fn whole_tos<'a>(
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
    super::length(sent)
}

/// Whether the kernel knows what a message asks for: an old one would pass over the segment size and send one large datagram.
/// The socket is asked, once for all sockets.
fn understands(fd: BorrowedFd<'_>, transmit: &Transmit<'_>) -> Result<()> {
    static SEGMENTS: AtomicBool = AtomicBool::new(false);
    static TIMES: AtomicBool = AtomicBool::new(false);
    if transmit.segment_size.is_some() && !is_known(&SEGMENTS) {
        super::options::segment_size(fd)?;
        SEGMENTS.store(true, Ordering::Relaxed);
    }
    if transmit.transmit_at.is_some() && !is_known(&TIMES) {
        super::options::txtime(fd)?;
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
        None => cmsg::encode(transmit, &mut control)?,
        Some(_) => cmsg::encode(&whole_tos(fd, transmit, &mut None)?, &mut control)?,
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
unsafe fn send_header(fd: BorrowedFd<'_>, header: &libc::msghdr) -> Result<usize> {
    #[cfg(feature = "fault-injection")]
    crate::fault::before(crate::fault::Call::Sendmsg)?;
    // SAFETY: the caller's promise.
    let sent = syscall!(unsafe { libc::sendmsg(fd.as_raw_fd(), header, libc::MSG_DONTWAIT) })?;
    super::length(sent)
}

pub(crate) fn empty_header() -> libc::msghdr {
    // SAFETY: a msghdr is integers and pointers, for which zeroes are valid.
    unsafe { mem::zeroed() }
}

fn iovec(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

/// The payload as the kernel takes it: `single` for one piece, the caller's own list otherwise, for the standard
/// library promises that an IoSlice is laid out as an iovec.
#[inline]
fn vector(payload: Payload<'_>, single: &mut libc::iovec) -> Result<(*mut libc::iovec, usize)> {
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

/// The arguments of sendmmsg(2) for a fixed number of messages.
///
/// Name and control pointers are set once: the vectors never grow, and moving them does not move what they hold. The
/// payload pointers are those of the last `fill`, and only `send` follows them.
pub(crate) struct Scratch {
    headers: Vec<libc::mmsghdr>,
    names: Vec<RawAddr>,
    iovecs: Vec<libc::iovec>,
    controls: Vec<ControlBuffer>,
}

// SAFETY: the pointers are to the scratch's own heap memory, which moves with it, and to payloads that only `send` looks
// at, which demands that they are there.
unsafe impl Send for Scratch {}
// SAFETY: nothing can be done with a shared reference.
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

    /// Lays out one message for this socket, whose TOS byte is asked for once and kept in `tos`. An index out of range or a message that cannot be one is `EINVAL` or what else it is.
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
                None => cmsg::encode(transmit, control)? as _,
                Some(_) => cmsg::encode(&whole_tos(fd, transmit, tos)?, control)? as _,
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

    /// Sends the first `count` messages; none is fine.
    ///
    /// # Safety
    ///
    /// They must have been filled, and the payloads that they were filled with must still be there.
    #[inline]
    pub(crate) unsafe fn send(&mut self, fd: BorrowedFd<'_>, count: usize) -> Result<usize> {
        let messages = self.headers.get_mut(..count).ok_or(Errno::EINVAL)?;
        match messages {
            [] => return Ok(0),
            [only] => {
                // SAFETY: name and control are in `names` and `controls`; the payload is still there, as `send` demands.
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

/// Whether sendmmsg(2) may not be made.
static SENDMMSG: Refusal = Refusal::new();

fn probe_sendmmsg() -> Errno {
    // SAFETY: no messages.
    let probed = unsafe { sendmmsg(-1, ptr::null_mut(), 0) };
    probed.err().unwrap_or(Errno::EBADF)
}

/// # Safety
///
/// `messages` must be `count` of them, and what they point at readable for the lengths given in them.
#[inline]
unsafe fn sendmmsg(fd: libc::c_int, messages: *mut libc::mmsghdr, count: usize) -> Result<usize> {
    // SAFETY: the caller's promise.
    let sent = syscall!(unsafe {
        libc::sendmmsg(fd, messages, count as libc::c_uint, libc::MSG_DONTWAIT as _)
    })?;
    usize::try_from(sent).map_err(|_| Errno::EIO)
}

/// What sendmmsg(2) does, with a system call for each message.
///
/// # Safety
///
/// What the headers point at must be readable for the lengths given in them.
#[cold]
unsafe fn send_one_by_one(fd: BorrowedFd<'_>, messages: &[libc::mmsghdr]) -> Result<usize> {
    for (sent, message) in messages.iter().enumerate() {
        // SAFETY: the caller's promise.
        match unsafe { send_header(fd, &message.msg_hdr) } {
            Ok(_) => {}
            Err(error) if sent == 0 => return Err(error),
            Err(_) => return Ok(sent),
        }
    }
    Ok(messages.len())
}
